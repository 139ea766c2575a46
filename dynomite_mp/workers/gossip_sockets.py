"""Membership on real sockets: the UDP socket on the peer port, its timer, the seeds, and C nodes over TCP.

    UDP socket --datagrams--+                          +--packets--> UDP socket (names through NameCache)
    loop timer --tick-------+--> cluster.Membership ---+--events---> on_event()
    SeedPoller --seeds------+                          +--version--> on_topology(version, blob), gathered for a moment
    worker: links, states,  |
    hints, C gossip text ---+          gos_interval: gossip text ----> one C node, a TCP connection of our own

Not here: what the protocol says (cluster/membership.py), rings and control (workers/gossip.py).

Invariants: a datagram that cannot be sent is counted and forgotten: the protocol repeats what matters. A reader turn
takes at most RECEIVE_LIMIT datagrams, so that timers run under a flood. The address told to others is never a wildcard.
"""

import asyncio
import contextlib
import logging
import random
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field

from dynomite_mp.cluster.failure import LAN, Timings
from dynomite_mp.cluster.membership import Membership
from dynomite_mp.cluster.membership_own import Identity
from dynomite_mp.cluster.membership_packets import LARGEST_PACKET_BYTES
from dynomite_mp.cluster.membership_post import Event, Outputs
from dynomite_mp.cluster.membership_record import Address, is_wildcard
from dynomite_mp.cluster.seeds import SeedError, SeedList
from dynomite_mp.enums import NodeState, SecureServerOption
from dynomite_mp.errors import DynomiteError
from dynomite_mp.workers.seed_sources import NameCache, SeedPoller, SeedSource, addresses_of, is_address

RECEIVE_LIMIT = 128
RECEIVE_BUFFER_BYTES = 1024 * 1024
PUBLISH_AFTER_S = 0.02
"""Changes that come together, as when a rack dies, make one topology."""
FAREWELL_S = 0.05
"""Between the two goodbyes of a node that leaves."""
C_CONNECT_S = 2.0
FIRST_SEEDS_S = 3.0
"""A node waits this long for its provider's first answer before it joins with what it has."""
_MAPPED = "::ffff:"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """What the gossip of one node needs to know."""

    identity: Identity
    listen: Address
    """Where the UDP socket is bound: dyn_listen."""
    timings: Timings = LAN
    key: bytes | None = None
    secure: SecureServerOption = SecureServerOption.NONE
    gossips: bool = True
    """enable_gossip; without it there is no socket, and the seeds are the cluster."""
    interval_ms: int = 30_000
    """gos_interval: how often the seed provider is asked and C nodes are told."""
    first_version: int = 1
    base_seeds: SeedList = field(default_factory=SeedList)
    """dyn_seeds; a provider adds to them."""


class GossipSockets:
    """One node's gossip."""

    def __init__(
        self,
        settings: GossipSettings,
        source: SeedSource,
        on_topology: Callable[[int, bytes], None],
        on_event: Callable[[Event], None],
    ) -> None:
        self.settings = settings
        self.membership = Membership(
            settings.identity, random.Random(), now_ms(), timings=settings.timings, key=settings.key,
            secure=settings.secure, c_interval_ms=settings.interval_ms, first_version=settings.first_version,
            gossips=settings.gossips,
        )  # fmt: skip
        self.send_failures = 0
        self.unresolved = 0
        self._on_topology = on_topology
        self._on_event = on_event
        self._names = NameCache()
        self._poller = SeedPoller(source, settings.interval_ms / 1000, self._take_seeds, settings.base_seeds)
        self._seeds = settings.base_seeds
        self._seeds_came = asyncio.Event()
        self._started = False
        self._socket: socket.socket | None = None
        self._maps_ipv4 = False
        self._wakeup: asyncio.TimerHandle | None = None
        self._wakeup_ms = 0
        self._published = 0
        self._publish_planned = False
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind, learn the seeds, join. Returns as soon as the node can serve; joining goes on."""
        loop = asyncio.get_running_loop()
        if self.settings.gossips:
            self._socket = await bind(self.settings.listen)
            self._maps_ipv4 = self._socket.family == socket.AF_INET6 and is_wildcard(self.settings.listen[0])
            loop.add_reader(self._socket.fileno(), self._on_readable)
        # The data path gets what the configuration says without waiting for anybody.
        self.membership.set_seeds(now_ms(), self.settings.base_seeds.seeds)
        self._publish()
        self._poller.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SEEDS_S):
                await self._seeds_came.wait()
        self._started = True
        self._do(self.membership.start(now_ms(), self._seeds.seeds, self._seeds.contacts))
        self._publish()
        self._spawn(self._tell_c_nodes())

    async def close(self, *, for_good: bool = False) -> None:
        """Say goodbye and let go of everything."""
        await self._poller.stop()
        if self._started:
            farewell = self.membership.leave(now_ms(), for_good=for_good)
            self._do(farewell)
            if farewell.packets:
                await asyncio.sleep(FAREWELL_S)
                for to, data in farewell.packets:
                    self._send(to, data)
        if self._wakeup is not None:
            self._wakeup.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._names.close()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what the worker passes on -------------------------------------------------------------------------------------

    def set_state(self, state: NodeState) -> None:
        self._do(self.membership.set_state(now_ms(), state))

    def set_hints(self, hints: Mapping[int, int]) -> None:
        self._do(self.membership.set_hints(now_ms(), hints))

    def take_link(self, address: Address, up: bool, is_c: bool | None = None) -> None:
        self._do(self.membership.take_link(now_ms(), address, up, is_c))

    def take_c_text(self, text: bytes) -> None:
        self._do(self.membership.take_c_text(now_ms(), text))

    def forget(self, node_id: int) -> None:
        self._do(self.membership.forget(now_ms(), node_id))

    def _take_seeds(self, found: SeedList) -> None:
        self._seeds = found
        self._seeds_came.set()
        if self._started:
            self._do(self.membership.set_seeds(now_ms(), found.seeds, found.contacts))

    # -- datagrams and time --------------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        assert self._socket is not None
        for _ in range(RECEIVE_LIMIT):
            try:
                data, source = self._socket.recvfrom(LARGEST_PACKET_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an ICMP error of an earlier datagram
            if self._started:
                host = str(source[0])
                if self._maps_ipv4:
                    host = host.removeprefix(_MAPPED)
                self._do(self.membership.step(now_ms(), (host, source[1]), data))

    def _on_wakeup(self) -> None:
        self._wakeup = None
        self._do(self.membership.tick(now_ms()))

    def _do(self, outputs: Outputs) -> None:
        """All that the state machine wants."""
        for to, data in outputs.packets:
            self._send(to, data)
        for event in outputs.events:
            self._on_event(event)
        self._plan_wakeup(outputs.next_wakeup_ms)
        if self.membership.version != self._published and not self._publish_planned:
            self._publish_planned = True
            asyncio.get_running_loop().call_later(PUBLISH_AFTER_S, self._publish)

    def _plan_wakeup(self, at_ms: int) -> None:
        if self._wakeup is not None:
            if at_ms >= self._wakeup_ms:
                return  # the timer finds out then that there is nothing to do yet
            self._wakeup.cancel()
        self._wakeup_ms = at_ms
        self._wakeup = asyncio.get_running_loop().call_later(max(0, at_ms - now_ms()) / 1000, self._on_wakeup)

    def _send(self, to: Address, data: bytes) -> None:
        if self._socket is None:
            return
        host = self._names.lookup(to[0])
        if host is None:
            self.unresolved += 1
            return
        if self._maps_ipv4 and ":" not in host:
            host = _MAPPED + host
        try:
            self._socket.sendto(data, (host, to[1]))
        except OSError:
            self.send_failures += 1  # full buffer, no route, wrong family

    def _publish(self) -> None:
        self._publish_planned = False
        version = self.membership.version
        if version != self._published:
            self._published = version
            self._on_topology(version, self.membership.to_topology())

    def publish_again(self) -> None:
        """For readers that started anew and saw nothing of what was published before."""
        self._published = 0
        self._publish()

    # -- C nodes -------------------------------------------------------------------------------------------------------

    async def _tell_c_nodes(self) -> None:
        """As C does: everybody when this node is new, then one at random per interval."""
        everybody = True
        while True:
            peers = self.membership.c_peers()
            if peers and self.settings.gossips:
                text = self.membership.c_text(int(time.time())).encode()
                for peer in peers if everybody else [random.choice(peers)]:
                    self._spawn(self._send_text(peer, text))
                everybody = False
            await asyncio.sleep(self.settings.interval_ms / 1000 if not everybody else 1.0)

    async def _send_text(self, peer: Address, text: bytes) -> None:
        try:
            async with asyncio.timeout(C_CONNECT_S):
                local = None if is_wildcard(self.settings.listen[0]) else (self.settings.listen[0], 0)
                _, writer = await asyncio.open_connection(*peer, local_addr=local)
                writer.write(text_frame(text))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError) as problem:
            logger.debug("gossip text to %s:%d: %s", *peer, problem)


def text_frame(text: bytes, number: int = 0) -> bytes:
    """Gossip text in a peer frame of type 7, as C sends it to any peer."""
    return b"   $2014$ %d 7 0 1 1 *1 a *%d\r\n%s" % (number, len(text), text)


def now_ms() -> int:
    """The clock of membership: it goes on while the process is stopped."""
    return time.monotonic_ns() // 1_000_000


async def bind(listen: Address) -> socket.socket:
    """The UDP socket at the peer port; DynomiteError says why there is none."""
    host, port = listen
    try:
        address = host if is_address(host) else (await addresses_of(host))[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    except (SeedError, OSError) as problem:
        raise DynomiteError(f"gossip cannot listen on {host}:{port}: {problem}", "check dyn_listen") from problem
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if is_wildcard(host) else 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.bind((address, port))
    except OSError as problem:
        sock.close()
        hint = "another process has UDP on the port of dyn_listen, or the address is not this machine's"
        raise DynomiteError(f"gossip cannot listen on {host}:{port}: {problem.strerror}", hint) from problem
    return sock


async def advertised(listen: Address, advertise: Address | None, others: SeedList) -> Address:
    """The address told to others: as configured, else that of dyn_listen, else the one this machine reaches them by."""
    if advertise is not None:
        return advertise[0], advertise[1] or listen[1]
    if not is_wildcard(listen[0]):
        return listen
    targets = [seed.address.host for seed in others.seeds] + [host for host, _ in others.contacts]
    for target in targets:
        with contextlib.suppress(SeedError, OSError):
            for address in await addresses_of(target):
                return own_address_towards(address), listen[1]
    with contextlib.suppress(SeedError):
        for address in await addresses_of(socket.gethostname()):
            if not address.startswith("127.") and address != "::1":
                return address, listen[1]
    logger.warning("dyn_listen is a wildcard and no address of this machine is known; set advertise:")
    return "127.0.0.1", listen[1]


def own_address_towards(address: str) -> str:
    """The address that the kernel would send from; nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((address, 9))
        return str(sock.getsockname()[0])
