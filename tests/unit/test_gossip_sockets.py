"""Gossip over real sockets on loopback addresses."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from dynomite_mp.cluster.failure import Timings
from dynomite_mp.cluster.membership_own import Identity
from dynomite_mp.cluster.membership_post import Event, Happened
from dynomite_mp.cluster.membership_record import Liveness, Profile
from dynomite_mp.cluster.membership_topology import decode_snapshot
from dynomite_mp.cluster.seeds import SeedError, SeedList
from dynomite_mp.config_values import Address, Seed
from dynomite_mp.enums import NodeState
from dynomite_mp.errors import DynomiteError
from dynomite_mp.workers import gossip_sockets
from dynomite_mp.workers.gossip_sockets import GossipSettings, GossipSockets, advertised, bind, text_frame
from dynomite_mp.workers.seed_sources import SimpleSource

QUICK = Timings(probe_interval_ms=50, suspicion_min_ms=400, reconnect_interval_ms=200)
LIMIT_S = 20.0

pytestmark = pytest.mark.asyncio


class Node:
    """One node's gossip, and what it told its worker."""

    def __init__(self, number: int, port: int, others: list[int], *, host: str = "", **more) -> None:
        self.number = number
        self.address = (host or f"127.0.78.{number}", port)
        self.topologies: list[tuple[int, bytes]] = []
        self.events: list[Event] = []
        self.changed = asyncio.Event()
        seeds = [
            Seed(Address(f"127.0.78.{other}", port), f"rack{other}", "dc1", (other,), str(other)) for other in others
        ]
        profile = Profile("dc1", f"rack{number}", (number,), *self.address)
        settings = GossipSettings(
            Identity(number, 1, profile, NodeState.NORMAL), self.address, timings=QUICK, interval_ms=500, **more
        )
        self.gossip = GossipSockets(settings, SimpleSource(seeds), self.on_topology, self.on_event)

    def on_topology(self, version: int, blob: bytes) -> None:
        self.topologies.append((version, blob))
        self.changed.set()

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self.changed.set()

    def rows(self) -> dict[int, object]:
        return {row.node_id: row for row in decode_snapshot(self.topologies[-1][1])[1]}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def shows(self, number: int, state: NodeState) -> bool:
        row = self.rows().get(number)
        return row is not None and row.state is state

    def kill(self) -> None:
        """As if the process were gone: no goodbye."""
        asyncio.get_running_loop().remove_reader(self.gossip._socket.fileno())
        self.gossip._socket.close()
        self.gossip._socket = None
        self.gossip._wakeup.cancel()
        self.gossip._wakeup = None
        self.gossip._plan_wakeup = lambda at_ms: None


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.78.1", 0))
        return sock.getsockname()[1]


@contextlib.asynccontextmanager
async def cluster(count: int, **more) -> AsyncIterator[list[Node]]:
    port = free_port()
    numbers = range(1, count + 1)
    nodes = [Node(number, port, [n for n in numbers if n != number], **more) for number in numbers]
    try:
        await asyncio.gather(*(node.gossip.start() for node in nodes))
        for node in nodes:
            await node.until(lambda node=node: all(node.shows(n, NodeState.NORMAL) for n in numbers))
        yield nodes
    finally:
        for node in nodes:
            await node.gossip.close()


async def test_nodes_find_each_other_and_notice_a_death():
    async with cluster(4) as nodes:
        victim, *others = nodes
        victim.kill()
        for node in others:
            await node.until(lambda node=node: node.shows(victim.number, NodeState.DOWN))
        assert all(Happened.DOWN in [event.happened for event in node.events] for node in others)
        versions = [version for version, _ in others[0].topologies]
        assert versions == sorted(set(versions))


async def test_a_goodbye_is_heard_at_once_and_states_travel():
    async with cluster(3, key=b"k" * 16) as nodes:
        first, second, third = nodes
        first.gossip.set_state(NodeState.RESUMING)
        await second.until(lambda: second.shows(1, NodeState.RESUMING))
        first.gossip.set_hints({3: 7})
        await third.until(lambda: third.gossip.membership.hints_for_me() == {1: 7})
        await first.gossip.close(for_good=True)
        await third.until(lambda: 1 not in third.rows())
        await second.gossip.close()
        await third.until(lambda: third.shows(2, NodeState.DOWN))
        assert third.gossip.membership.view.members[2].liveness is Liveness.DOWN


async def test_a_stranger_s_datagrams_change_nothing():
    async with cluster(2) as nodes:
        node = nodes[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.78.99", 0))
            for data in (b"", b"x", b"DG\x01\x00", b"\x00" * 60_000, b"DG\x01\x00" + b"\xff" * 1000):
                stranger.sendto(data, node.address)
        figures = node.gossip.membership.figures
        async with asyncio.timeout(LIMIT_S):
            before = figures.probes
            while figures.bad_packets < 5 or figures.probes < before + 3:
                await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        assert node.shows(2, NodeState.NORMAL)


async def test_without_gossip_there_is_no_socket_and_links_decide():
    node = Node(1, free_port(), [2], gossips=False)
    await node.gossip.start()
    assert node.gossip._socket is None
    assert node.rows()[0].state is NodeState.UNKNOWN
    node.gossip.take_link(("127.0.78.2", node.address[1]), False)
    await node.until(lambda: node.rows()[0].state is NodeState.DOWN)
    await node.gossip.close()


async def test_text_goes_to_c_nodes_and_comes_from_them():
    node = Node(1, free_port(), [])
    frames: asyncio.Queue[bytes] = asyncio.Queue()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames.put_nowait(await reader.read())
        writer.close()

    server = await asyncio.start_server(handle, "127.0.78.50", node.address[1])
    async with server:
        await node.gossip.start()
        node.gossip.take_c_text(b"dc1$rack50$50,1700000000,4,127.0.78.50")
        async with asyncio.timeout(LIMIT_S):
            frame = await frames.get()
    assert frame.startswith(b"   $2014$ 0 7 0 1 1 *1 a *")
    records = frame.partition(b"\r\n")[2].decode().split("|")
    assert [record.partition(",")[0] for record in records] == ["dc1$rack1$1", "dc1$rack50$50"]
    await node.gossip.close()


async def test_the_frame_is_the_one_that_c_writes():
    text = b"dc1$rack1$101134286,1700000000,4,127.0.0.1"
    assert text_frame(text) == b"   $2014$ 0 7 0 1 1 *1 a *42\r\n" + text


async def test_a_provider_that_never_answers_does_not_stop_the_node(monkeypatch):
    monkeypatch.setattr(gossip_sockets, "FIRST_SEEDS_S", 0.05)

    class Broken:
        async def fetch(self) -> SeedList:
            raise SeedError("no answer", "")

    profile = Profile("dc1", "r", (1,), "127.0.78.1", 8101)
    base = SeedList((Seed(Address("127.0.78.2", 8101), "r", "dc1", (2,), "x"),))
    settings = GossipSettings(Identity(1, 1, profile), ("127.0.78.1", free_port()), base_seeds=base)
    topologies = []
    gossip = GossipSockets(settings, Broken(), lambda version, blob: topologies.append(blob), lambda event: None)
    await gossip.start()
    assert len(decode_snapshot(topologies[0])[1]) == 2, "what is configured is published at once"
    await gossip.close()


async def test_a_name_that_nobody_knows_is_not_waited_for():
    node = Node(1, free_port(), [])
    await node.gossip.start()
    seed = Seed(Address("no-such-host.invalid", 8101), "rack9", "dc1", (9,), "x")
    node.gossip._take_seeds(SeedList((seed,)))
    async with asyncio.timeout(LIMIT_S):
        while not node.gossip.unresolved:
            node.changed.clear()
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    assert node.gossip.membership.announced
    await node.gossip.close()


@pytest.mark.parametrize("host", ["127.0.78.1", "::1", "localhost"])
async def test_a_port_in_use_is_a_clear_error(host):
    sock = await bind((host, 0))
    address = sock.getsockname()[:2]
    with pytest.raises(DynomiteError, match="cannot listen"):
        await bind((host, address[1]))
    sock.close()


async def test_ipv4_nodes_reach_a_node_that_listens_everywhere():
    port = free_port()
    other = Node(2, port, [])
    profile = Profile("dc1", "rack1", (1,), "127.0.78.1", port)
    # Bound to a port of its own, because `::` takes all addresses of one.
    sock = await bind(("::", 0))
    own_port = sock.getsockname()[1]
    sock.close()
    profile = Profile("dc1", "rack1", (1,), "127.0.78.1", own_port)
    settings = GossipSettings(Identity(1, 1, profile, NodeState.NORMAL), ("::", own_port), timings=QUICK)
    seed = Seed(Address("127.0.78.2", port), "rack2", "dc1", (2,), "x")
    topologies: list[bytes] = []
    everywhere = GossipSockets(settings, SimpleSource([seed]), lambda v, blob: topologies.append(blob), lambda e: None)
    await other.gossip.start()
    await everywhere.start()
    await other.until(lambda: other.shows(1, NodeState.NORMAL))
    assert other.rows()[1].host == "127.0.78.1"
    await everywhere.close()
    await other.gossip.close()


async def test_the_address_that_others_are_told():
    nobody = SeedList()
    seeds = SeedList((Seed(Address("127.0.78.9", 8101), "r", "d", (1,), "x"),))
    assert await advertised(("127.0.0.1", 8101), None, nobody) == ("127.0.0.1", 8101)
    assert await advertised(("0.0.0.0", 8101), ("10.0.0.1", 0), seeds) == ("10.0.0.1", 8101)
    assert await advertised(("0.0.0.0", 8101), ("10.0.0.1", 9000), seeds) == ("10.0.0.1", 9000)
    host, port = await advertised(("0.0.0.0", 8101), None, seeds)
    assert host.startswith("127.") and port == 8101
    host, _ = await advertised(("::", 8101), None, nobody)
    assert host not in ("::", "0.0.0.0")
