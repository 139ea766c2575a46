"""Calls between replication processes, asked by a PeerCalls of the test's own and answered by a real node."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import hiredis
import msgpack  # type: ignore[import-untyped]
import pytest

from dynomite_mp.proto.requests import request
from dynomite_mp.workers.peer_calls import CallError, PeerCalls
from tests.e2e.calls import address_of, with_calls
from tests.e2e.harness import AddressBlock, Node, Nodes


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with AddressBlock.acquire() as block:
        nodes = Nodes(block, tmp_path_factory.mktemp("calls"))
        try:
            yield nodes.start()
        finally:
            nodes.destroy()


def test_a_call_is_answered_by_the_replication_process(node: Node) -> None:
    async def body(calls: PeerCalls) -> None:
        address = address_of(node)
        assert await calls.call(address, "ping", "here", 1, b"\r\n\0") == ["here", 1, b"\r\n\0"]
        answers = await asyncio.gather(*(calls.call(address, "ping", i) for i in range(100)))
        assert answers == [[i] for i in range(100)]

    with_calls([node], body)


def test_an_unknown_verb_and_an_unknown_node_are_errors(node: Node) -> None:
    async def body(calls: PeerCalls) -> None:
        address = address_of(node)
        with pytest.raises(CallError, match="no such verb: nonsense"):
            await calls.call(address, "nonsense")
        with pytest.raises(CallError, match="no node of this cluster"):
            await calls.call("127.0.0.9:1", "ping")

    with_calls([node], body)


def test_a_long_call_does_not_keep_the_connection(node: Node) -> None:
    """`linger` is no verb of a node, so here the asker is asked itself, through its own answer()."""

    async def body(calls: PeerCalls) -> None:
        release = asyncio.Event()

        async def linger() -> str:
            await release.wait()
            return "at last"

        calls.handlers["linger"] = linger
        question = b"\x91\xa6linger"
        first = _unwrapped(await calls.answer(question))
        assert first[0] == 2
        again = _unwrapped(await calls.answer(_packed(["wait", first[1]])))
        assert again == first
        release.set()
        assert _unwrapped(await calls.answer(_packed(["wait", first[1]]))) == [0, "at last"]
        assert _unwrapped(await calls.answer(_packed(["wait", first[1]])))[0] == 1

    with_calls([node], body)


def test_many_requests_for_its_datastore_come_back_in_order(node: Node) -> None:
    async def body(calls: PeerCalls) -> None:
        address = address_of(node)
        sets = [request("SET", f"k{i}", f"v{i}") for i in range(1000)]
        assert {reply for reply, _ in await calls.ask_many(address, sets)} == {b"+OK\r\n"}
        gets = [request("GET", f"k{i}") for i in range(1000)]
        replies = await calls.ask_many(address, gets)
        assert [reply for reply, _ in replies] == [b"$%d\r\nv%d\r\n" % (len(f"v{i}"), i) for i in range(1000)]
        reply, _extension = await calls.ask(address, request("LPUSH", "k1", "x"))
        assert reply.startswith(b"-WRONGTYPE")

    with_calls([node], body)


def test_calls_go_on_after_the_replication_process_was_killed(node: Node) -> None:
    async def body(calls: PeerCalls) -> None:
        address = address_of(node)
        assert await calls.call(address, "ping", 1) == [1]
        os.kill(node.pid_of("replication"), signal.SIGKILL)
        for _ in range(100):
            try:
                assert await calls.call(address, "ping", 2, timeout_ms=1000) == [2]
            except CallError:
                continue
            return
        raise AssertionError("no call is answered any more")

    with_calls([node], body)


def test_clients_cannot_call(node: Node) -> None:
    assert isinstance(node.call("DYNO", "CALL", b"\x91\xa4ping"), hiredis.ReplyError)


def _packed(question: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(question)
    return packed


def _unwrapped(reply: bytes) -> list[Any]:
    reader = hiredis.Reader()
    reader.feed(reply)
    value: list[Any] = msgpack.unpackb(reader.gets())
    return value
