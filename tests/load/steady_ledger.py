"""The books of one client of the steady load: what it wrote, what was acknowledged, what a read may return.

A write is sent (its outcome unknown), then acknowledged, or left unknown for good after an error. A read is right when
it returns the last acknowledged value or one of a later write of unknown outcome; that one counts as acknowledged from
then on. An older value, or none without a DEL, is a lost write. Shared counters are incremented by other clients too;
each client counts only what it added.
"""

from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tests.load.replies import Frame, read_frame

Address = tuple[str, int]


@dataclass(frozen=True)
class Operation:
    """One request of the load."""

    name: str
    key: bytes
    args: tuple[bytes, ...]
    sequence: int = 0


@dataclass
class Entry:
    """What is known of one key: sequences for SET and LPUSH, counts for INCR."""

    acknowledged: int = 0
    unknown: set[int] = field(default_factory=set)
    pushed: set[int] = field(default_factory=set)
    deletes: set[int] = field(default_factory=set)  # which of the above sequences are DELs
    late: set[int] = field(default_factory=set)  # writes that a stopped node may still carry out, whatever came after
    maybe_more: int = 0  # increments of unknown outcome since the last acknowledged one


def make_value(key: bytes, sequence: int, size: int) -> bytes:
    """The value of a write: its sequence, then bytes that only this key and sequence have."""
    digest = hashlib.blake2b(b"%s %d" % (key, sequence), digest_size=32).hexdigest().encode()
    return (b"%d:" % sequence + digest * (size // 64 + 1))[: max(size, 12)]


def sequence_of(value: bytes) -> int:
    head = value.split(b":", 1)[0]
    return int(head) if head.isdigit() else -1


class Ledger:
    """Keys with `prefix`: values, one counter, one list; and counters that are `shared` with other clients."""

    def __init__(
        self, prefix: bytes, keys: int, value_bytes: int, *, shared: Sequence[bytes] = (), delete_share: float = 0.0
    ) -> None:
        self.keys = [prefix + b"%d" % n for n in range(keys)]
        self.counter = prefix + b"count"
        self.list = prefix + b"list"
        self.value_bytes = value_bytes
        self.shared = list(shared)
        self.delete_share = delete_share
        self.entries: dict[bytes, Entry] = {key: Entry() for key in (*self.keys, self.counter, self.list, *shared)}
        self.sequence = 0

    def choose(self, rng: random.Random, read_share: float, count_share: float) -> Operation:
        """The next operation; `sent` is called for it when it goes out."""
        key = self.keys[int(rng.random() * len(self.keys))]
        if rng.random() < read_share:
            return Operation("GET", key, (b"GET", key))
        self.sequence += 1
        number = b"%d" % self.sequence
        dice = rng.random()
        if dice < count_share / 2:
            return Operation("INCR", self.counter, (b"INCR", self.counter))
        if dice < count_share:
            return Operation("LPUSH", self.list, (b"LPUSH", self.list, number), self.sequence)
        if self.shared and dice < 1.25 * count_share:
            return Operation("SHARED", counter := rng.choice(self.shared), (b"INCR", counter))
        if dice > 1 - self.delete_share:
            return Operation("DEL", key, (b"DEL", key), self.sequence)
        value = make_value(key, self.sequence, self.value_bytes)
        return Operation("SET", key, (b"SET", key, value), self.sequence)

    def sent(self, operation: Operation) -> None:
        """From now on it may be applied."""
        entry = self.entries[operation.key]
        if operation.name in ("INCR", "SHARED"):
            entry.maybe_more += 1
        elif operation.name != "GET":
            entry.unknown.add(operation.sequence)
            if operation.name == "DEL":
                entry.deletes.add(operation.sequence)

    def timed_out(self, operation: Operation) -> None:
        """The client has gone to another node; the bytes still lie at the one that did not answer."""
        if operation.name in ("SET", "DEL"):
            self.entries[operation.key].late.add(operation.sequence)

    def acknowledged(self, operation: Operation, reply: Any) -> str:
        """Book a reply; what is wrong with it, or nothing."""
        entry = self.entries[operation.key]
        if operation.name == "GET":
            return self._read(operation.key, reply)
        if operation.name in ("SET", "DEL"):
            entry.acknowledged = operation.sequence
            entry.unknown = {other for other in entry.unknown if other > operation.sequence}
            entry.deletes = {other for other in entry.deletes if other >= operation.sequence or other in entry.late}
            is_right = reply == b"OK" if operation.name == "SET" else reply in (0, 1)
            return "" if is_right else f"{operation.name} {operation.key!r} was answered with {reply!r}"
        if operation.name == "SHARED":
            entry.acknowledged += 1
            entry.maybe_more -= 1
            return "" if isinstance(reply, int) else f"INCR {operation.key!r} was answered with {reply!r}"
        if operation.name == "LPUSH":
            entry.unknown.discard(operation.sequence)
            entry.pushed.add(operation.sequence)
            least, most = len(entry.pushed), len(entry.pushed) + len(entry.unknown)
        else:
            least, most = entry.acknowledged + 1, entry.acknowledged + entry.maybe_more
            if isinstance(reply, int) and least <= reply <= most:
                entry.maybe_more = most - reply
                entry.acknowledged = reply
        if isinstance(reply, int) and least <= reply <= most:
            return ""
        return f"{operation.name} {operation.key!r} gave {reply!r}, not {least} to {most}"

    def _read(self, key: bytes, reply: Any) -> str:
        entry = self.entries[key]
        if reply is None:
            if not entry.acknowledged or entry.deletes & (entry.unknown | entry.late | {entry.acknowledged}):
                return ""
            return f"GET {key!r} gave nothing, write {entry.acknowledged} was acknowledged"
        if not isinstance(reply, bytes):
            return f"GET {key!r} gave {reply!r}"
        sequence = sequence_of(reply)
        if sequence != entry.acknowledged and sequence not in entry.unknown | entry.late:
            return f"GET {key!r} gave write {sequence}, not {entry.acknowledged} or one of {sorted(entry.unknown)}"
        if reply != make_value(key, sequence, self.value_bytes):
            return f"GET {key!r} gave wrong bytes for write {sequence}: {reply[:60]!r}"
        if sequence in entry.late:
            return ""
        entry.acknowledged = sequence
        entry.unknown = {other for other in entry.unknown if other > sequence}
        return ""

    def reads(self) -> list[tuple[bytes, tuple[bytes, ...]]]:
        """The requests that show everything."""
        wanted: list[tuple[bytes, tuple[bytes, ...]]] = [(key, (b"GET", key)) for key in self.keys]
        wanted.append((self.counter, (b"GET", self.counter)))
        wanted.append((self.list, (b"LRANGE", self.list, b"0", b"-1")))
        return wanted

    def final_problem(self, key: bytes, reply: Frame) -> str:
        """What a reply to one of `reads` lacks."""
        entry = self.entries[key]
        if reply.kind == "-":
            return f"reading {key!r}: {reply.value!r}"
        if key == self.list:
            return self._list_problem(entry, [int(item.value) for item in reply.value or []])
        if key == self.counter:
            count, most = int(reply.value or 0), entry.acknowledged + entry.maybe_more
            return (
                "" if entry.acknowledged <= count <= most else f"{key!r} is {count}, not {entry.acknowledged} to {most}"
            )
        return self._read(key, reply.value)

    def _list_problem(self, entry: Entry, items: list[int]) -> str:
        held = set(items)
        if len(held) != len(items):
            return f"{self.list!r} holds {len(items) - len(held)} elements twice"
        missing, foreign = entry.pushed - held, held - entry.pushed - entry.unknown
        if missing or foreign:
            return f"{self.list!r} lacks {len(missing)} acknowledged elements and has {len(foreign)} that nobody pushed"
        return ""


def fetch_all(target: Address, commands: Sequence[tuple[bytes, ...]]) -> list[Frame]:
    """Send `commands` on a fresh connection; their replies."""
    with socket.create_connection(target, 10.0) as sock:
        stream = cast(Any, sock.makefile("rb"))
        for args in commands:
            sock.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args))
        return [read_frame(stream) for _ in commands]
