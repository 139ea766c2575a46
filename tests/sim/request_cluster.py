"""A datacenter of simulated data nodes with clients that send requests: what is there, and what was seen from outside.

Not here: when what fails (request_scenarios.py), what must hold (request_checkers.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.proto.framer import ReplyFramer

from .coordinator import PEER_PORT, Coordinator, Dispatch
from .data_store import Book, Store
from .network import Network, Weather
from .streams import End, Streams

TOKENS = 2**32


@dataclass
class Asked:
    """A request as its client sees it."""

    client: Client
    words: list[bytes]
    level: int
    sent_ms: int
    order: int
    """Of all events of clients."""
    reply: bytes | None = None
    replied_ms: int = 0
    replied_order: int = 0
    is_lost: bool = False
    """The connection was lost before the answer came."""

    @property
    def id(self) -> bytes:
        return self.words[-1]

    @property
    def is_answered(self) -> bool:
        """With something else than an error."""
        return self.reply is not None and not self.reply.startswith(b"-")

    @property
    def value(self) -> bytes:
        """The third word of a reply: id, key, value."""
        assert self.reply is not None
        return self.reply.split(b"\r\n")[1].split(b" ")[2]


class Client:
    """One connection to one node, at one level; requests are sent without waiting for replies."""

    def __init__(self, cluster: RequestCluster, name: str, node: Coordinator, level: int) -> None:
        self.cluster = cluster
        self.name = name
        self.node = node
        self.level = level
        self.number = 0
        self.awaited: deque[Asked] = deque()
        self.end: End | None = None
        self.framer = ReplyFramer()
        self.is_connected = False

    def connect(self) -> None:
        if not self.is_connected and not self.awaited and (self.end is None or self.end.is_told):
            self.framer = ReplyFramer()
            self.end = self.cluster.streams.connect(self, (self.name, 0), self.node.client_address)

    def on_open(self, end: End) -> None:
        self.is_connected = True
        end.send(encode([b"LEVEL", b"%d" % self.level]))

    def on_closed(self, end: End) -> None:
        self.is_connected = False
        for asked in self.awaited:
            asked.is_lost = True
        self.awaited.clear()

    def ask(self, *words: bytes) -> None:
        if not self.is_connected or self.end is None:
            self.connect()
            return
        self.number += 1
        request = [*words, b"%s.%d" % (self.name.encode(), self.number)]
        asked = Asked(self, request, self.level, self.cluster.now_ms, self.cluster.next_event())
        self.cluster.asked.append(asked)
        self.awaited.append(asked)
        self.end.send(encode(request))

    def on_bytes(self, end: End, data: bytes) -> None:
        for reply in self.framer.feed(data):
            if not self.awaited:
                self.cluster.complain(f"{self.name} got a reply that it had not asked for: {reply.raw!r}")
                return
            asked = self.awaited.popleft()
            asked.reply, asked.replied_ms = reply.raw, self.cluster.now_ms
            asked.replied_order = self.cluster.next_event()
        if self.framer.error is not None:
            self.cluster.complain(f"{self.name} got bytes that are no reply: {self.framer.error}")
            end.close()
            self.on_closed(end)


def encode(words: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class RequestCluster:
    """All nodes, all clients, and the history."""

    def __init__(self, rng: Random, weather: Weather, racks: Sequence[Sequence[Sequence[int]]]) -> None:
        """`racks`: of each rack the tokens of its nodes."""
        self.rng = rng
        self.network = Network(Random(rng.getrandbits(64)), weather)
        self.streams = Streams(self.network, Random(rng.getrandbits(64)))
        self.book = Book()
        self.dispatched: dict[bytes, Dispatch] = {}
        self.asked: list[Asked] = []
        self.history: list[str] = []
        self.complaints: list[str] = []
        self.events = 0
        self.racks = len(racks)
        self.members = [
            Node("dc1", f"r{rack}", f"10.0.{rack}.{place + 1}", PEER_PORT, tuple(tokens))
            for rack, nodes in enumerate(racks)
            for place, tokens in enumerate(nodes)
        ]
        self.topologies: list[tuple[int, list[Node]]] = [(0, self.members)]
        """(when it was published, its nodes); versions count from 1."""
        self.nodes = [self._node(member) for member in self.members]
        self.clients: list[Client] = []

    def _node(self, member: Node) -> Coordinator:
        rng = Random(self.rng.getrandbits(64))
        store = Store(member.host, int(member.rack[1:]), self.streams, rng, self.book)
        topology = self.topology_for(member.host, self.members, 1)
        return Coordinator(member.host, member.host, topology, self.streams, store, rng, self.dispatched)

    @staticmethod
    def topology_for(host: str, members: Sequence[Node], version: int) -> Topology:
        return Topology.build([replace(node, is_local=node.host == host) for node in members], version)

    @property
    def now_ms(self) -> int:
        return self.network.now_ms

    def next_event(self) -> int:
        self.events += 1
        return self.events

    def start(self, clients: int, levels: Sequence[int]) -> None:
        for node in self.nodes:
            node.start()
        for number in range(clients):
            client = Client(self, f"c{number}", self.rng.choice(self.nodes), self.rng.choice(levels))
            self.clients.append(client)
            client.connect()

    def run(self, ms: int) -> None:
        self.network.run_until(self.now_ms + ms)

    def publish(self, members: list[Node], lag_ms: int) -> None:
        """A new topology, which nodes hear of at different times; messages may overtake each other."""
        self.topologies.append((self.now_ms, members))
        version = len(self.topologies)
        self.note(f"topology {version}: " + ", ".join(f"{n.host} {n.tokens}" for n in members))
        for node in self.nodes:
            topology = self.topology_for(node.name, members, version)
            self.network.call_at(
                self.now_ms + self.rng.randrange(lag_ms + 1), lambda n=node, t=topology: n.take_topology(t)
            )

    def note(self, text: str) -> None:
        self.history.append(f"{self.now_ms:8d} {text}")

    def complain(self, text: str) -> None:
        self.complaints.append(f"at {self.now_ms} ms: {text}")
