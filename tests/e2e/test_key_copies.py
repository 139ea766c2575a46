"""Copies of keys: what was damaged in one rack's datastore is as in the others again, also under writes."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from dynomite_mp.workers.peer_calls import PeerCalls
from tests.e2e.calls import address_of, with_calls
from tests.e2e.harness import AddressBlock, Node, Nodes, Resp, wait_for

KINDS = {
    b"string": ("SET", "string", b"\r\n\x00v"),
    b"list": ("RPUSH", "list", "a", "b", "a"),
    b"set": ("SADD", "set", 1, 2),
    b"zset": ("ZADD", "zset", "1.5", "a", "2", "b"),
    b"hash": ("HSET", "hash", "f", "v"),
    b"stream": ("XADD", "stream", "1-1", "f", "v"),
}


@pytest.fixture(scope="module", params=[1, 2], ids=["one io worker", "two io workers"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    with AddressBlock.acquire() as block:
        nodes = Nodes(block, tmp_path_factory.mktemp("copies"))
        try:
            made = nodes.cluster({"dc": {"r1": 1, "r2": 1, "r3": 1}}, io_workers=request.param)
            for node in made:
                node.start(wait=False)
            for node in made:
                node.wait_ready()
            wait_for(lambda: everywhere(made, b"ready"), what="writes to reach all racks")
            yield made
        finally:
            nodes.destroy()


def everywhere(nodes: list[Node], key: bytes) -> bool:
    nodes[0].call("SET", key, "1")
    return all(value(node, key) == b"1" for node in nodes)


def value(node: Node, *key: bytes) -> object:
    with node.store() as store:
        return store.call("GET", *key)


def dump(node: Node, key: bytes) -> object:
    with node.store() as store:
        return store.call("DUMP", key), store.call("PEXPIRETIME", key)


def test_keys_of_every_type_come_back(cluster: list[Node]) -> None:
    first, damaged, third = cluster
    for command in KINDS.values():
        first.call(*command)
    first.call("SET", "late", "v")
    first.call("PEXPIREAT", "late", 4102444800000)
    first.call("DEL", "gone")
    keys = [*KINDS, b"late", b"gone"]
    wait_for(lambda: [dump(third, key) for key in keys] == [dump(first, key) for key in keys])
    with damaged.store() as store:
        store.call("FLUSHALL")
        store.call("SET", "hash", "of another type")
        store.call("SET", "gone", "an extra")

    async def body(calls: PeerCalls) -> None:
        assert await calls.call(address_of(damaged), "copy", keys) == []

    with_calls(cluster, body)
    assert [dump(damaged, key) for key in keys] == [dump(first, key) for key in keys]


def test_a_large_value_is_copied(cluster: list[Node]) -> None:
    first, damaged, _third = cluster
    large = b"x" * 3_000_000
    first.call("SET", "large", large)
    wait_for(lambda: value(damaged, b"large") == large)
    with damaged.store() as store:
        store.call("DEL", "large")

    async def body(calls: PeerCalls) -> None:
        assert await calls.call(address_of(damaged), "copy", [b"large"]) == []

    with_calls(cluster, body)
    assert value(damaged, b"large") == large


def test_keys_that_nobody_has_are_copied_as_missing(cluster: list[Node]) -> None:
    node = cluster[0]
    keys = [b"none%d" % i for i in range(300)]
    with node.store() as store:
        for key in keys:
            store.call("SET", key, "an extra")

    async def body(calls: PeerCalls) -> None:
        asked = [calls.call(address_of(node), "copy", keys[i : i + 100], timeout_ms=20000) for i in (0, 100, 200)]
        assert await asyncio.gather(*asked) == [[], [], []]

    with_calls(cluster, body)
    assert [value(node, key) for key in keys] == [None] * 300


def test_without_a_source_the_keys_are_named_and_left_alone(cluster: list[Node]) -> None:
    node, *others = cluster
    with node.store() as store:
        store.call("SET", "alone", "v")
    stopped = [other.pid_of("io[0]") for other in others] + (
        [other.pid_of("io[1]") for other in others] if others[0].conf["io_workers"] == 2 else []
    )

    async def body(calls: PeerCalls) -> None:
        assert await calls.call(address_of(node), "copy", [b"alone"], timeout_ms=60000) == [b"alone"]

    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with_calls(cluster, body)
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):  # its supervisor may have lost patience
                os.kill(pid, signal.SIGCONT)
    assert value(node, b"alone") == b"v"


def test_writes_during_the_copy_are_neither_lost_nor_reordered(cluster: list[Node]) -> None:
    """Overwrites of a key, each with the next number, while the key is copied again and again."""
    first, copied, third = cluster
    stop = threading.Event()
    last = [0] * 20

    def write() -> None:
        with Resp(first.host) as client:
            number = 0
            while not stop.is_set():
                number += 1
                place = number % 20
                if client.call("SET", f"busy{place}", number) == b"OK":
                    last[place] = number

    writer = threading.Thread(target=write)
    writer.start()
    keys = [b"busy%d" % place for place in range(20)]

    async def body(calls: PeerCalls) -> None:
        for _ in range(20):
            assert await calls.call(address_of(copied), "copy", keys, timeout_ms=20000) == []

    try:
        with_calls(cluster, body)
    finally:
        stop.set()
        writer.join()
    for node in (copied, third):
        wait_for(lambda node=node: [value(node, key) for key in keys] == [b"%d" % number for number in last])
