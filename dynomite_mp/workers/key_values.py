"""Values of keys on their way from one datastore to another: what was read, and the commands that write it.

Not here: whose value is the right one (cluster.key_sources), reading and sending (key_copies, warm_up).
"""

from dataclasses import dataclass
from typing import Any

import hiredis

from dynomite_mp.cluster.key_sources import Known
from dynomite_mp.proto.requests import request


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it stood at its source; `dump` is None when it did not exist."""

    known: Known
    expire_at_ms: int  # negative: never
    dump: bytes | None


def commands_for(key: bytes, value: KeyValue) -> list[bytes]:
    """What makes the local datastore hold the same."""
    if value.dump is None:
        return [request(b"DEL", key)]
    return [request(b"RESTORE", key, max(value.expire_at_ms, 0), value.dump, b"REPLACE", b"ABSTTL")]


def known_of(reply: bytes) -> Known:
    """The reply to DYNO KEY; whoever answers an error knows nothing."""
    return Known.of_plain(value_of(reply)) if reply[:1] == b"*" else Known()


def value_of(reply: bytes) -> Any:
    """Any whole RESP reply as Python values; an error is a value, too."""
    reader = hiredis.Reader()
    reader.feed(reply)
    return reader.gets()


def bulk_of(reply: bytes) -> bytes | None:
    """A bulk string's bytes, None for a missing one."""
    if reply[:2] == b"$-" or reply[:1] == b"_":
        return None
    return reply[reply.index(b"\n") + 1 : -2]
