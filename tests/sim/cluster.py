"""A cluster of Membership state machines on the simulated network: nodes start, crash, stop, return, leave.

Not here: which of that happens when (scenarios.py), what must hold (checkers.py).
"""

from dataclasses import dataclass, field
from random import Random

from dynomite_mp.cluster.failure import LAN, Timings
from dynomite_mp.cluster.membership import Membership
from dynomite_mp.cluster.membership_own import Identity
from dynomite_mp.cluster.membership_post import Event, Happened, Outputs
from dynomite_mp.cluster.membership_record import Profile
from dynomite_mp.config_values import Address as ConfigAddress
from dynomite_mp.config_values import Seed
from dynomite_mp.enums import NodeState

from .network import Address, Network, Weather

PORT = 8101
SOCKET_BUFFER = 400
"""Datagrams that wait for a stopped process; more are lost, as in a kernel."""
ID_BITS = 48
SMALL_CLUSTER = 20
"""Up to so many nodes every snapshot is looked at."""


@dataclass
class SimNode:
    """One node in all its lives."""

    cluster: "Cluster"
    node_id: int
    profile: Profile
    boot: int = 0
    membership: Membership | None = None
    paused: bool = False
    gone: bool = False
    """It left for good, or its machine is no more."""
    mailbox: list[tuple[Address, bytes]] = field(default_factory=list)
    last_version: int = 0
    shown: dict[int, str] = field(default_factory=dict)
    """Snapshots of this life by version, as text."""

    @property
    def address(self) -> Address:
        return self.profile.address

    @property
    def running(self) -> bool:
        return self.membership is not None

    @property
    def working(self) -> bool:
        return self.membership is not None and not self.paused

    @property
    def m(self) -> Membership:
        assert self.membership is not None
        return self.membership

    def start(self) -> None:
        """A new life."""
        cluster = self.cluster
        self.boot += 1
        self.paused = False
        self.mailbox.clear()
        self.last_version = 0
        self.shown.clear()
        identity = Identity(self.node_id, self.boot, self.profile, NodeState.NORMAL)
        rng = Random(cluster.rng.getrandbits(64))
        # Clocks of different machines have nothing to do with each other.
        self.membership = Membership(identity, rng, cluster.now_ms, timings=cluster.timings, key=cluster.key)
        cluster.network.attach(self.address, self)
        self.take(self.m.start(cluster.now_ms, cluster.seeds_for(self)))

    def crash(self) -> None:
        self.membership = None
        self.paused = False
        self.cluster.network.detach(self.address)

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True

    def resume(self) -> None:
        if not self.paused:
            return
        self.paused = False
        waiting, self.mailbox = self.mailbox, []
        # Timers or sockets first: an event loop may do either.
        tick_first = self.cluster.rng.random() < 0.5
        if tick_first:
            self.wake(self.cluster.now_ms)
        for source, data in waiting:
            self.receive(self.cluster.now_ms, source, data)
        self.wake(self.cluster.now_ms)

    def receive(self, now_ms: int, source: Address, data: bytes) -> None:
        if self.paused:
            if len(self.mailbox) < SOCKET_BUFFER:
                self.mailbox.append((source, data))
        else:
            self.take(self.m.step(now_ms, source, data))

    def wake(self, now_ms: int) -> None:
        if not self.paused:
            self.take(self.m.tick(now_ms))

    def take(self, outputs: Outputs) -> None:
        """Do what the state machine wants done."""
        network = self.cluster.network
        for to, data in outputs.packets:
            network.send(self.address, to, data)
        for event in outputs.events:
            self.cluster.note(self, event)
        if self.m.version < self.last_version:
            self.cluster.complain(f"{self} published version {self.m.version} after {self.last_version}")
        if outputs.events and len(self.cluster.nodes) <= SMALL_CLUSTER:
            self.check_version()
        self.last_version = self.m.version
        network.wake_at(self.address, outputs.next_wakeup_ms)

    def check_version(self) -> None:
        """A snapshot that differs has another version, or its readers would keep the old one."""
        version, rows, _ = self.m.snapshot()
        shown = str([(row.host, row.state, row.tokens, row.boot, dict(row.hints)) for row in rows])
        if self.shown.get(version, shown) != shown:
            self.cluster.complain(f"{self} has two snapshots of version {version}")
        self.shown[version] = shown

    def __str__(self) -> str:
        return f"{self.profile.host}/{self.node_id:x}.{self.boot}"


class Cluster:
    """All nodes, and what was seen to happen."""

    def __init__(self, rng: Random, weather: Weather, timings: Timings = LAN, key: bytes | None = None) -> None:
        self.rng = rng
        self.timings = timings
        self.key = key
        self.network = Network(Random(rng.getrandbits(64)), weather, far=lambda host: host.split(".")[1])
        self.nodes: list[SimNode] = []
        self.history: list[tuple[int, str, Event]] = []
        self.complaints: list[str] = []
        self.downs: list[tuple[int, SimNode, int]] = []
        self.seed_limit = 0
        """Nodes that every node has as seeds; 0: all of them."""

    @property
    def now_ms(self) -> int:
        return self.network.now_ms

    def add(self, dc: int, rack: int, token: int, *, host: str = "", tokens: int = 1) -> SimNode:
        """A node that does not run yet."""
        number = len(self.nodes)
        profile = Profile(
            f"dc{dc}", f"rack{rack}", tuple((token + i) % 2**32 for i in range(tokens)),
            host or f"10.{dc}.{number // 250}.{number % 250 + 1}", PORT, 8102, 22222, version="1",
        )  # fmt: skip
        node = SimNode(self, self.rng.getrandbits(ID_BITS) + 1, profile)
        self.nodes.append(node)
        return node

    def replacement(self, node: SimNode) -> SimNode:
        """A new machine for the place of a node."""
        dc, rack = int(node.profile.dc[2:]), int(node.profile.rack[4:])
        return self.add(dc, rack, node.profile.tokens[0], tokens=len(node.profile.tokens))

    def seeds_for(self, node: SimNode) -> list[Seed]:
        others = [n for n in self.nodes if n is not node and n.address != node.address and not n.gone]
        return [
            Seed(ConfigAddress(*n.address), n.profile.rack, n.profile.dc, n.profile.tokens, n.profile.host)
            for n in others[: self.seed_limit or len(others)]
        ]

    def provide_seeds(self) -> None:
        """A seed provider is asked by everybody; it knows who runs, be it only the first few of them."""
        running = [node for node in self.nodes if node.running]
        contacts = [node.address for node in running[: self.seed_limit or len(running)]]
        for node in self.working():
            node.take(node.m.set_seeds(self.now_ms, (), contacts))

    def node(self, node_id: int) -> SimNode | None:
        return next((node for node in self.nodes if node.node_id == node_id), None)

    def working(self) -> list[SimNode]:
        return [node for node in self.nodes if node.working]

    def note(self, observer: SimNode, event: Event) -> None:
        self.history.append((self.now_ms, str(observer), event))
        if event.happened is Happened.DOWN:
            self.downs.append((self.now_ms, observer, event.node_id))

    def complain(self, text: str) -> None:
        self.complaints.append(f"at {self.now_ms} ms: {text}")

    def leave(self, node: SimNode, *, for_good: bool) -> None:
        """Announce it and go."""
        outputs = node.m.leave(self.now_ms, for_good=for_good)
        node.take(outputs)
        for to, data in outputs.packets:
            self.network.send(node.address, to, data)
        node.gone = node.gone or for_good
        node.crash()
