"""A PeerCalls of the test's own, which asks real nodes as their replication processes ask each other."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

import uvloop

from dynomite_mp.cluster import topology
from dynomite_mp.enums import Role
from dynomite_mp.ipc.segment import Fabric
from dynomite_mp.ipc.wiring import expand
from dynomite_mp.workers.peer_calls import CallWays, PeerCalls
from tests.e2e.harness import PEER_PORT, Node

SIZES = {"io_ring_bytes": 65536, "replication_ring_bytes": 65536, "lane_overflow_bytes": 0}


def address_of(node: Node) -> str:
    return f"{node.host}:{PEER_PORT}"


def with_calls(nodes: Sequence[Node], body: Callable[[PeerCalls], Awaitable[None]]) -> None:
    """Run `body` in a loop of its own."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        fabric = Fabric.create(f"/dmp-calls.{os.getpid()}", expand(1, SIZES), identity={}, boot_id=1)
        ways = CallWays("", None, lambda _here, _there: False, deadline_ms=5000)
        calls = PeerCalls(loop, fabric.port(Role.REPLICATION).slab, ways)
        here = topology.Node("dc", "test", "127.0.0.1", 1, (0,), is_local=True)
        there = [topology.Node("dc", f"r{i}", node.host, PEER_PORT, (0,)) for i, node in enumerate(nodes)]
        calls.swap(topology.Topology.build([here, *there]))
        calls.start()
        try:
            await body(calls)
        finally:
            calls.close()
            loop.remove_reader(calls.path.fd)
            fabric.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
