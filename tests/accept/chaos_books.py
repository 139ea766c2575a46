"""What every replica of a chaos run must hold, and does not: the ledgers of all clients against each datastore.

    lost      an acknowledged write, list element or increment is not there, or an older value is
    doubled   a list element twice, a counter above what was ever sent
    wrong     bytes that nobody wrote
    diverged  each replica holds what it may (the outcome of a write was unknown), but not all the same

The load has to pause while this looks. It reads the datastores themselves, so no coordinator hides a replica.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.accept.cluster_parts import many
from tests.e2e.harness import Node
from tests.load.steady import SteadyLoad
from tests.load.steady_ledger import Entry, Ledger, make_value, sequence_of

KINDS = ("lost", "doubled", "wrong", "diverged", "unreadable")


@dataclass(frozen=True)
class Problem:
    kind: str
    host: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind} at {self.host}: {self.text}"


class Books:
    """All ledgers together."""

    def __init__(self, loads: Sequence[SteadyLoad]) -> None:
        self._ledgers = [client.ledger for load in loads for client in load.clients]

    def problems(self, nodes: Sequence[Node]) -> list[Problem]:
        """Of every replica, then between them."""
        found: list[Problem] = []
        held: dict[str, dict[bytes, Any]] = {}
        for node in nodes:
            try:
                held[node.host] = self._read(node)
            except OSError as error:
                found.append(Problem("unreadable", node.host, str(error) or type(error).__name__))
        for host, values in held.items():
            found += [Problem(kind, host, text) for kind, text in self._judged(values)]
        if not found:
            found = list(self._diverged(held))
        return found

    def _read(self, node: Node) -> dict[bytes, Any]:
        asked = [pair for ledger in self._ledgers for pair in ledger.reads()]
        asked += [(key, (b"GET", key)) for key in self._shared()]
        with node.store() as store:
            replies = many(store, [words for _, words in asked])
        return {key: reply for (key, _), reply in zip(asked, replies, strict=True)}

    def _shared(self) -> list[bytes]:
        return sorted({key for ledger in self._ledgers for key in ledger.shared})

    def _judged(self, values: dict[bytes, Any]) -> Iterator[tuple[str, str]]:
        for ledger in self._ledgers:
            for key, entry in ledger.entries.items():
                if key not in ledger.shared:
                    yield from judged(ledger, key, entry, values[key])
        for key in self._shared():
            entries = [ledger.entries[key] for ledger in self._ledgers]
            least = sum(entry.acknowledged for entry in entries)
            yield from count_judged(key, values[key], least, least + sum(entry.maybe_more for entry in entries))

    def _diverged(self, held: dict[str, dict[bytes, Any]]) -> Iterator[Problem]:
        for key in next(iter(held.values()), {}):
            values = {host: _hashable(values[key]) for host, values in held.items()}
            common, _ = collections.Counter(values.values()).most_common(1)[0]
            for host, value in values.items():
                if value != common:
                    yield Problem("diverged", host, f"{key!r}: {_short(value)}, others {_short(common)}")


def judged(ledger: Ledger, key: bytes, entry: Entry, reply: Any) -> Iterator[tuple[str, str]]:
    if isinstance(reply, Exception):
        yield "unreadable", f"{key!r}: {reply}"
    elif key == ledger.counter:
        yield from count_judged(key, reply, entry.acknowledged, entry.acknowledged + entry.maybe_more)
    elif key == ledger.list:
        yield from list_judged(key, entry, [int(item) for item in reply])
    elif reply is None:
        if entry.acknowledged and not entry.deletes & (entry.unknown | entry.late | {entry.acknowledged}):
            yield "lost", f"{key!r} is not there, write {entry.acknowledged} was acknowledged"
    else:
        sequence = sequence_of(reply)
        if reply != make_value(key, sequence, ledger.value_bytes):
            yield "wrong", f"{key!r} holds {_short(reply)}"
        elif sequence != entry.acknowledged and sequence not in entry.unknown | entry.late:
            kind = "lost" if sequence < entry.acknowledged else "wrong"
            yield kind, f"{key!r} has write {sequence}, acknowledged {entry.acknowledged}, {sorted(entry.unknown)} open"


def count_judged(key: bytes, reply: Any, least: int, most: int) -> Iterator[tuple[str, str]]:
    count = int(reply or 0)
    if not least <= count <= most:
        yield "lost" if count < least else "doubled", f"{key!r} is {count}, not {least} to {most}"


def list_judged(key: bytes, entry: Entry, items: list[int]) -> Iterator[tuple[str, str]]:
    held = set(items)
    if len(held) != len(items):
        yield "doubled", f"{key!r} holds {len(items) - len(held)} elements twice"
    if missing := entry.pushed - held:
        yield "lost", f"{key!r} lacks {len(missing)} acknowledged elements, such as {min(missing)}"
    if foreign := held - entry.pushed - entry.unknown:
        yield "wrong", f"{key!r} has {len(foreign)} elements that nobody pushed"


def counted(problems: Sequence[Problem]) -> str:
    """How many of each kind, in one line."""
    kinds = collections.Counter(problem.kind for problem in problems)
    return ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind]) or "nothing"


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:50]}...({len(text)})"
