"""Copies of keys: which are made at all. The real ones, between nodes, are in tests/e2e/test_key_copies.py."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from dynomite_mp.cluster.key_sources import DISORDERED, Sources
from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.proto.dnode_frames import ExtensionFields
from dynomite_mp.workers import key_copies as subject
from dynomite_mp.workers.key_copies import KeyCopies

ID = [1, 1, 0, 1]
IN_ORDER = [9, 1, 0, [ID], [0, 0], [], [9]]
OUT_OF_ORDER = [9, 1, DISORDERED, [ID], [0, 0], [], [9]]


def resp_of(value: Any) -> bytes:
    if isinstance(value, int):
        return b":%d\r\n" % value
    return b"*%d\r\n" % len(value) + b"".join(map(resp_of, value))


class Source:
    """Another rack's node: what it knows of every key."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}
        self.asked: list[bytes] = []
        self.called: list[tuple[str, Sequence[bytes]]] = []
        self.known = IN_ORDER

    async def call(self, _address: str, verb: str, keys: Sequence[bytes], **_more: object) -> bool:
        self.called.append((verb, keys))
        return True

    async def ask_many(
        self, _address: str, payloads: Sequence[bytes], **_more: object
    ) -> list[tuple[bytes, ExtensionFields | None]]:
        self.asked += payloads
        replies = {b"DYNO": resp_of(self.known), b"PEXPIRETIME": b":-1\r\n", b"DUMP": b"$1\r\nx\r\n"}
        return [(replies[payload.split(b"\r\n")[2]], None) for payload in payloads]


class Holder:
    """The io worker: what its write table says, and what it was told to apply."""

    def __init__(self, known: list[Any]) -> None:
        self.known = known
        self.applied: list[bytes] = []
        self.copies: KeyCopies | None = None
        self.is_stopped = False
        self.gone: set[bytes] = set()  # keys of an io worker that has just ended

    def key_hold(self, copy_id: int, keys: Sequence[bytes]) -> None:
        assert self.copies is not None
        self.copies.on_held(0, copy_id, [(key, self.known) for key in keys])

    def key_ask(self, copy_id: int, keys: Sequence[bytes], most: int) -> None:
        if not self.is_stopped:
            asyncio.get_running_loop().call_soon(self.key_hold, copy_id, [key for key in keys if key not in self.gone])

    def key_apply(self, copy_id: int, rows: Sequence[tuple[bytes, Any, Any]]) -> None:
        assert self.copies is not None
        self.applied += [key for key, _known, _commands in rows]
        self.copies.on_applied(copy_id, [(key, b"") for key, _known, _commands in rows])

    def key_release(self, copy_id: int) -> None:
        pass


def made(known: list[Any]) -> tuple[KeyCopies, Holder, Source]:
    source, holder = Source(), Holder(known)
    nodes = [Node("dc", "r1", "me", 1, (0,), is_local=True), Node("dc", "r2", "other", 1, (0,))]
    sources = Sources(Topology.build(nodes), hash_name="murmur", hash_tag=b"")
    copies: Any = KeyCopies(source, lambda _index: holder, 1, sources)  # type: ignore[arg-type]
    holder.copies = copies
    return copies, holder, source


async def idle(copies: KeyCopies) -> None:
    while copies.pending:
        await asyncio.sleep(0)


async def test_what_came_in_the_wrong_order_is_copied() -> None:
    copies, holder, _source = made(OUT_OF_ORDER)
    copies.want([b"k"], is_order=True)
    await idle(copies)
    assert holder.applied == [b"k"] and copies.failed == 0


async def test_what_an_overwrite_has_put_in_order_meanwhile_is_not() -> None:
    copies, holder, source = made(IN_ORDER)
    copies.want([b"k"], is_order=True)
    await idle(copies)
    assert holder.applied == [] and source.asked == [] and copies.copied == 1


async def test_for_another_reason_it_is_copied_all_the_same() -> None:
    copies, holder, _source = made(IN_ORDER)
    copies.want([b"before", b"after"])
    copies.want([b"before"], is_order=True)
    copies.want([b"k"], is_order=True)
    copies.want([b"k"])
    await idle(copies)
    assert sorted(holder.applied) == [b"after", b"before", b"k"]


async def test_the_first_in_order_tells_the_others_to_look_again() -> None:
    """They may have looked before it had the writes; once is enough as long as no other write comes."""
    copies, holder, source = made(OUT_OF_ORDER)
    source.known = OUT_OF_ORDER
    for _ in range(2):
        copies.want([b"k"], is_order=True)
        await idle(copies)
    assert holder.applied == [] and source.called == [("look", [b"k"])]
    holder.known = source.known = [10, *OUT_OF_ORDER[1:]]
    copies.want([b"k"], is_order=True)
    await idle(copies)
    assert source.called == [("look", [b"k"])] * 2


async def test_what_is_known_is_told_to_all_who_ask_at_once() -> None:
    """Two comparisons that look at the same keys at the same time, and copies of these keys: a stamp that is not told
    would be taken for that of a key that was not written for long."""
    copies, _holder, _source = made(IN_ORDER)
    copies.want([b"k"])
    found = await asyncio.gather(copies.known([b"k", b"l"]), copies.known([b"l", b"k"]))
    assert all({key: one.stamp for key, one in known.items()} == {b"k": 9, b"l": 9} for known in found)
    await idle(copies)


async def test_what_cannot_be_told_is_not_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "ASKED_S", 0.01)
    copies, holder, _source = made(IN_ORDER)
    holder.gone = {b"l"}
    with pytest.raises(subject.UnknownError):
        await copies.known([b"k", b"l"])
    holder.is_stopped = True
    with pytest.raises(subject.UnknownError):
        await copies.known([b"k"])


async def test_who_is_told_so_looks_at_once() -> None:
    copies, holder, source = made(OUT_OF_ORDER)
    await source.handlers["look"]([b"k"])
    await idle(copies)
    assert holder.applied == [b"k"]


async def test_what_may_lose_nothing_waits_for_a_source_with_all_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "TRY_S", 0.2)
    copies, holder, source = made([9, 1, 0, [ID, [1, 1, 0, 2]], [0, 0], [], [9, 8]])
    lacks_it = [9, 1, 0, [ID], [0, 0], [], [9]]
    source.known = lacks_it
    assert await copies.on_call([b"k"], ["other:1"], "", True) == [b"k"]
    assert not holder.applied
    asyncio.get_running_loop().call_later(0.05, setattr, source, "known", holder.known)
    assert await copies.on_call([b"k"], ["other:1"], "", True) == []
    assert holder.applied == [b"k"]
    source.known, holder.applied = lacks_it, []
    assert await copies.on_call([b"k"], ["other:1"]) == []
    assert holder.applied == [b"k"], "where it is known that some will be lost"
