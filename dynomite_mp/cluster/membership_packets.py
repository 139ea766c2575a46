"""Gossip packets as bytes: one datagram each, complete in itself, understood in any order and any number of times.

    "DG" version flags [HMAC-SHA256, 32 bytes] msgpack [kind, sender, fingerprint, stamp, body, rumours]

`sender` says who speaks, `fingerprint` sums up its view of the cluster (membership_view.py), `stamp` is its hybrid
clock. The body depends on the kind; rumours ride on every kind: each is either News as a list
(membership_record.py) or a record of the C gossip text as a string. Later versions may append to every list.

    PING      [seq, target]                answered by ACK; target 0: whoever listens there
    ACK       [seq, responder]             responder is the target also when a relay passes it on
    RELAY     [seq, target, host, port]    please PING it for me; answered by ACK or NACK
    NACK      [seq]                        the relay lives but got no answer
    RUMOURS   []
    EXCHANGE  [nonce, low, high, entries]  all that I know of ids low..high, as [id, boot, incarnation, liveness]
    RECORDS   [nonce, index, count, want]  the rumours are full news that you lack; please send RECORDS of `want`

Not here: what any of it means (membership.py).

Invariants: decode() returns a Packet whose header and body have the right shapes, or raises BadNews, whatever the bytes
are; rumours are only known to be a list. With a key, nothing without its HMAC is looked at.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgpack  # type: ignore[import-untyped]

from dynomite_mp.cluster.membership_record import LARGEST_ID, LARGEST_NUMBER, NAME_LIMIT, BadNews, is_id

MAGIC = b"DG"
VERSION = 1
SIGNED = 1
"""Flag: an HMAC follows."""
MAC_BYTES = 32
HEAD_BYTES = 4
PACKET_BYTES = 1300
"""What a packet is filled up to, so that it crosses usual networks whole. News that alone is larger travels alone."""
LARGEST_PACKET_BYTES = 65_507
ENTRIES_LIMIT = 64
"""Entries of one EXCHANGE: each is up to 28 bytes long."""

_PLAIN_HEAD = MAGIC + bytes([VERSION, 0])
_SIGNED_HEAD = MAGIC + bytes([VERSION, SIGNED])
_ARRAY_OF_6 = b"\x96"


class Kind(IntEnum):
    """What a packet is for. Append only."""

    PING = 1
    ACK = 2
    RELAY = 3
    NACK = 4
    RUMOURS = 5
    EXCHANGE = 6
    RECORDS = 7


@dataclass(slots=True)
class Packet:
    """One packet that was understood."""

    kind: Kind
    sender: int
    fingerprint: int
    stamp: int
    body: list[Any]
    rumours: list[Any]


@dataclass(slots=True)
class Writer:
    """Makes the packets of one node."""

    sender: int
    key: bytes | None = None
    stamp: int = 0

    def encode(self, kind: Kind, fingerprint: int, body: Sequence[Any], rumours: Sequence[bytes] = ()) -> bytes:
        """A packet; rumours are encoded already."""
        front = msgpack.packb((kind, self.sender, fingerprint, self.stamp, body))
        # The rumours become the sixth element of the array just packed, without being packed again.
        content = b"".join((_ARRAY_OF_6, memoryview(front)[1:], _array_head(len(rumours)), *rumours))
        if self.key is None:
            return _PLAIN_HEAD + content
        return _SIGNED_HEAD + _mac(self.key, content) + content


def _array_head(count: int) -> bytes:
    return bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


def _mac(key: bytes, content: bytes | memoryview) -> bytes:
    return hmac.digest(key, _SIGNED_HEAD + content, "sha256")


def decode(data: bytes, key: bytes | None = None) -> Packet:
    """The packet in a datagram."""
    if len(data) < HEAD_BYTES + 1 or data[:2] != MAGIC or data[2] != VERSION:
        raise BadNews("not a gossip packet of this version")
    start = HEAD_BYTES
    if key is not None:
        start += MAC_BYTES
        if data[3] != SIGNED or not hmac.compare_digest(data[HEAD_BYTES:start], _mac(key, memoryview(data)[start:])):
            raise BadMac("the packet is not signed with this cluster's key")
    elif data[3] != 0:
        raise BadMac("the packet is signed, and this node has no key")
    try:
        plain = msgpack.unpackb(memoryview(data)[start:], strict_map_key=False)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as problem:
        raise BadNews(f"not msgpack: {problem}") from problem
    return _check(plain)


class BadMac(BadNews):
    """A packet of another cluster, or a forged one."""


def _check(plain: Any) -> Packet:
    if not isinstance(plain, list) or len(plain) < 6:
        raise BadNews("a packet is a longer list")
    kind, sender, fingerprint, stamp, body, rumours, *_ = plain
    if type(kind) is not int or kind not in _BODIES or not is_id(sender):
        raise BadNews("a packet has a wrong kind or sender")
    if not _is_number(fingerprint, LARGEST_ID) or not _is_number(stamp, LARGEST_ID):
        raise BadNews("a packet has a wrong fingerprint or stamp")
    if not isinstance(body, list) or not isinstance(rumours, list):
        raise BadNews("a packet lacks its body or rumours")
    shape = _BODIES[Kind(kind)]
    if len(body) < len(shape) or not all(fits(value) for fits, value in zip(shape, body, strict=False)):
        raise BadNews(f"a packet of kind {kind} has a wrong body")
    return Packet(Kind(kind), sender, fingerprint, stamp, body, rumours)


def _is_number(value: Any, largest: int) -> bool:
    return type(value) is int and 0 <= value <= largest


def _sequence(value: Any) -> bool:
    return _is_number(value, 2**32 - 1)


def _id_or_0(value: Any) -> bool:
    return _is_number(value, LARGEST_ID)


def _host(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= NAME_LIMIT


def _port(value: Any) -> bool:
    return _is_number(value, 65535) and value > 0


def _entries(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 4 * ENTRIES_LIMIT and all(map(_entry, value))


def _entry(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 4
        and is_id(value[0])
        and all(_is_number(number, LARGEST_NUMBER) for number in value[1:4])
    )


def _ids(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 4 * ENTRIES_LIMIT and all(map(is_id, value))


_BODIES = {
    Kind.PING: (_sequence, _id_or_0),
    Kind.ACK: (_sequence, is_id),
    Kind.RELAY: (_sequence, is_id, _host, _port),
    Kind.NACK: (_sequence,),
    Kind.RUMOURS: (),
    Kind.EXCHANGE: (_sequence, _id_or_0, _id_or_0, _entries),
    Kind.RECORDS: (_sequence, _sequence, _sequence, _ids),
}


def batches(encoded: Iterable[bytes], limit_bytes: int = PACKET_BYTES - 100) -> list[list[bytes]]:
    """Rumours in groups of which each fits a packet; at least one group, which may be empty."""
    groups: list[list[bytes]] = [[]]
    room = limit_bytes
    for rumour in encoded:
        if len(rumour) > room and groups[-1]:
            groups.append([])
            room = limit_bytes
        groups[-1].append(rumour)
        room -= len(rumour)
    return groups
