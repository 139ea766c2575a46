"""A simulated data node: it coordinates requests of its clients and executes those of other nodes; as workers.fanout.

What decides is the real code: RouteTable (who owns a token, which plan), Replies (when is it enough), the continuum,
the hash, the frames and their ids, the framing of requests and replies. What is played here is what the data path does
around them, in the same words: one outcome per target, an answer per request, in the order of the requests.

    client --> ClientSide --> Coordinator.dispatch --> targets.StoreTarget / PeerTarget --> outcome() --> ClientSide
    other node --> PeerSide --> store --> PeerSide (in order, with the request's id)

Not here: when nodes die (request_scenarios.py), what must hold (request_checkers.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from dynomite_mp.cluster.quorum import QUORUM_DIFFER, QUORUM_FAILED, QUORUM_WAIT, Replies
from dynomite_mp.cluster.route import PLAN_LOCAL, PLAN_ONE_READ, PLAN_ONE_WRITE, PLAN_QUORUM, RouteTable
from dynomite_mp.cluster.token import hash_key
from dynomite_mp.cluster.topology import Topology
from dynomite_mp.proto.dnode import DNODE_RES, DNODE_VERSION_OURS
from dynomite_mp.proto.dnode_frames import DnodeFrame, DnodeFramer, encode_frame
from dynomite_mp.proto.framer import RequestFramer

from .data_store import Store
from .network import Address
from .streams import End, Streams
from .targets import PING, PONG, PeerTarget, StoreTarget, Target

TICK_MS = 50
LINKS = 2
"""Connections to each other node."""
STORAGE = b"-ERR Storage: "
UNREACHABLE = b"-ERR Peer: Peer is not connected %s\r\n"
NO_QUORUM = b"-ERR Dynomite: Failed to achieve Quorum %s\r\n"
PEER_PORT = 8101
CLIENT_PORT = 8102


class Source(Protocol):
    """Where a request came from."""

    def ready(self) -> None: ...


@dataclass
class Pending:
    """A request at its coordinator."""

    source: Source
    raw: bytes
    words: list[bytes]
    plan: int
    token: int
    replies: Replies | None = None
    texts: dict[int, bytes] = field(default_factory=dict)
    owed: int = 0
    primary: int = 0
    primary_failed: bool = False
    reserve: bytes | None = None
    racks_tried: int = 0
    answer: bytes | None = None

    @property
    def is_write(self) -> bool:
        return self.words[0] != b"GET"

    @property
    def id(self) -> bytes:
        return self.words[-1]


@dataclass
class Dispatch:
    """What is known of a request from outside."""

    coordinator: str
    life: int
    order: int
    at_ms: int
    level: int
    words: list[bytes]


class Coordinator:
    """One node in all its lives."""

    def __init__(
        self, name: str, host: str, topology: Topology, streams: Streams, store: Store, rng: Random,
        dispatched: dict[bytes, Dispatch],
    ) -> None:  # fmt: skip
        self.name = name
        self.address: Address = (host, PEER_PORT)
        self.client_address: Address = (host, CLIENT_PORT)
        self.streams = streams
        self.store = store
        self.rng = rng
        self.dispatched = dispatched
        self.table = RouteTable(topology)
        self.topology = topology
        self.life = 0
        self.is_running = False
        self.is_paused = False
        self.peers: dict[Address, list[PeerTarget]] = {}
        self.local: StoreTarget = StoreTarget(self, store)
        self.swallowed = 0.0
        """Share of frames from others that it drops without a word, as a C node does with what it cannot decrypt."""

    @property
    def now_ms(self) -> int:
        return self.streams.now_ms

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.life += 1
        self.is_running = True
        self.is_paused = False
        self.local = StoreTarget(self, self.store)
        self.peers = {}
        self.streams.listen(self.address, lambda end: PeerSide(self, end))
        self.streams.listen(self.client_address, lambda end: ClientSide(self, end))
        self.connect_peers()
        self.later(TICK_MS, self.tick)

    def crash(self) -> None:
        if not self.is_running:
            return
        self.is_running = False
        self.life += 1
        self.resume()
        for address in (self.address, self.client_address):
            self.streams.vanish(address)
        if self.rng.random() < 0.5:
            self.store.forget_connection()

    def pause(self) -> None:
        self.is_paused = True
        self.streams.stopped |= {self.address, self.client_address}

    def resume(self) -> None:
        self.is_paused = False
        self.streams.stopped -= {self.address, self.client_address}

    def later(self, ms: int, call: Callable[[], None]) -> None:
        """Call then, if this life lasts; a stopped process is late."""
        life = self.life

        def run() -> None:
            if life == self.life:
                if self.is_paused:
                    self.streams.at(self.now_ms + TICK_MS, run)
                else:
                    call()

        self.streams.at(self.now_ms + ms, run)

    def tick(self) -> None:
        for target in (self.local, *(link for links in self.peers.values() for link in links)):
            target.tick()
        self.later(TICK_MS, self.tick)

    def set_store(self, is_up: bool) -> None:
        """The datastore dies or is back."""
        self.store.is_up = is_up
        if is_up:
            self.local.is_up = True
        else:
            self.store.forget_connection()
            self.local.lost()

    # -- topology ------------------------------------------------------------------------------------------------------

    def take_topology(self, topology: Topology) -> None:
        """Only newer ones count, in whatever order they come."""
        if not self.is_news(topology):
            return
        self.topology = topology
        self.table = RouteTable(topology)
        if self.is_running:
            self.connect_peers()

    def is_news(self, topology: Topology) -> bool:
        return topology.version > self.table.version

    def connect_peers(self) -> None:
        wanted = {(node.host, node.port) for node in self.table.node_list if not node.is_local}
        for address in [a for a in self.peers if a not in wanted]:
            for link in self.peers.pop(address):
                link.close()
        for address in sorted(wanted - set(self.peers)):
            self.peers[address] = [PeerTarget(self, address) for _ in range(LINKS)]

    # -- a request's way -----------------------------------------------------------------------------------------------

    def dispatch(self, source: Source, raw: bytes, words: list[bytes], level: int) -> Pending:
        token = hash_key("murmur", words[1])
        pending = Pending(source, raw, words, self.table.plan_of(words[0] != b"GET", level), token)
        pending.primary = self.table.my_rack
        self.dispatched[pending.id] = Dispatch(self.name, self.life, len(self.dispatched), self.now_ms, level, words)
        if pending.plan == PLAN_ONE_READ:
            self.read_next(pending)
        else:
            self.copy_to_racks(pending)
        return pending

    def read_next(self, pending: Pending) -> None:
        """The next rack's owner; this rack's first."""
        while pending.racks_tried < self.table.racks:
            rack = (self.table.my_rack + pending.racks_tried) % self.table.racks
            pending.racks_tried += 1
            if self.to_rack(pending, rack):
                return
        self.finish(pending, UNREACHABLE % pending.id)

    def copy_to_racks(self, pending: Pending) -> None:
        racks = self.table.racks
        if pending.plan != PLAN_ONE_WRITE:
            pending.replies = self.new_replies()
        pending.owed = racks
        for i in range(racks):
            rack = (self.table.my_rack + i) % racks
            if not self.to_rack(pending, rack):
                self.unreachable(pending, rack)

    def new_replies(self) -> Replies:
        return Replies(self.table.racks)

    def to_rack(self, pending: Pending, rack: int) -> bool:
        target = self.target_of(self.owner_in(rack, pending.token), pending.token)
        return target is not None and target.send(pending, rack)

    def owner_in(self, rack: int, token: int) -> int:
        return self.table.owner_of(rack, token)

    def target_of(self, node: int, token: int) -> Target | None:
        """A key has one connection, or its writes would overtake each other."""
        if node == self.table.local_node:
            return self.local
        other = self.table.node_list[node]
        return self.peers[other.host, other.port][self.link_of(token)]

    def link_of(self, token: int) -> int:
        return token % LINKS

    def may_go_elsewhere(self, pending: Pending, rack: int) -> bool:
        """What a silent target owes is not waited for where something else can be had."""
        if pending.plan == PLAN_ONE_READ:
            return pending.racks_tried < self.table.racks
        return pending.plan == PLAN_ONE_WRITE and rack == pending.primary and (
            pending.owed > 1 or pending.reserve is not None
        )  # fmt: skip

    # -- outcomes ------------------------------------------------------------------------------------------------------

    def replied(self, pending: Pending, rack: int, reply: bytes) -> None:
        self.outcome(pending, rack, None if reply.startswith(STORAGE) else reply)

    def unreachable(self, pending: Pending, rack: int) -> None:
        self.outcome(pending, rack, None)

    def outcome(self, pending: Pending, rack: int, reply: bytes | None) -> None:
        """What became of one target; None: unreachable."""
        pending.owed -= 1
        if pending.answer is not None:
            return
        if pending.plan == PLAN_ONE_WRITE:
            self.one_write_outcome(pending, rack, reply)
        elif pending.plan >= PLAN_QUORUM:
            self.quorum_outcome(pending, rack, reply)
        elif reply is not None:
            self.finish(pending, reply)
        elif pending.plan == PLAN_ONE_READ:
            self.read_next(pending)
        else:
            self.finish(pending, STORAGE + b"Connection refused\r\n")

    def one_write_outcome(self, pending: Pending, rack: int, reply: bytes | None) -> None:
        """This rack's reply is the answer; when it will not come, the first other rack's."""
        if rack == pending.primary:
            if reply is not None:
                return self.finish(pending, reply)
            pending.primary_failed = True
            if pending.reserve is not None:
                return self.finish(pending, pending.reserve)
        elif reply is not None and (self.is_good(reply) or pending.reserve is None):
            if pending.primary_failed:
                return self.finish(pending, reply)
            if pending.reserve is None:
                pending.reserve = reply
        if pending.owed == 0:
            self.finish(pending, pending.reserve or UNREACHABLE % pending.id)
        return None

    def is_good(self, reply: bytes) -> bool:
        return not reply.startswith(b"-")

    def quorum_outcome(self, pending: Pending, rack: int, reply: bytes | None) -> None:
        assert pending.replies is not None
        if reply is not None:
            pending.texts[rack] = reply
        if reply is not None and self.is_good(reply):
            verdict = pending.replies.good(rack, self.digest(pending, reply))
        else:
            verdict = pending.replies.bad(rack, reply is not None)
        self.decide(pending, verdict)

    def digest(self, pending: Pending, reply: bytes) -> bytes:
        """Our nodes say whether a write was applied; what INCR gives may differ while writes cross."""
        return b"applied" if pending.is_write else reply

    def decide(self, pending: Pending, verdict: int) -> None:
        if verdict == QUORUM_WAIT:
            return
        assert pending.replies is not None
        goods = {rack: text for rack, text in pending.texts.items() if self.is_good(text)}
        if verdict == QUORUM_FAILED:
            self.finish(pending, pending.texts.get(pending.replies.first_bad, NO_QUORUM % pending.id))
        elif verdict == QUORUM_DIFFER and pending.plan != PLAN_QUORUM:
            self.differ(pending, goods)
        else:
            rack = pending.replies.chosen if verdict != QUORUM_DIFFER else next(iter(goods))
            own = goods.get(pending.primary)
            if own is not None and self.digest(pending, own) == self.digest(pending, goods[rack]):
                rack = pending.primary
            self.finish(pending, goods[rack])

    def differ(self, pending: Pending, goods: dict[int, bytes]) -> None:
        self.finish(pending, NO_QUORUM % pending.id)

    def finish(self, pending: Pending, answer: bytes) -> None:
        pending.answer = answer
        pending.source.ready()


class ClientSide:
    """A client's connection: replies leave in the order of the requests."""

    def __init__(self, coordinator: Coordinator, end: End) -> None:
        self.coordinator = coordinator
        self.end = end
        self.framer = RequestFramer()
        self.waiting: deque[Pending] = deque()
        self.level = 0

    def on_open(self, end: End) -> None:
        pass

    def on_closed(self, end: End) -> None:
        self.waiting.clear()

    def on_bytes(self, end: End, data: bytes) -> None:
        for request in self.framer.feed(data):
            if request.args[0] == b"LEVEL":
                self.level = int(request.args[1])
            else:
                self.waiting.append(self.coordinator.dispatch(self, request.raw, list(request.args), self.level))
        assert self.framer.error is None, self.framer.error
        self.ready()

    def ready(self) -> None:
        while self.waiting and self.waiting[0].answer is not None:
            self.end.send(self.waiting.popleft().answer or b"")


class PeerSide:
    """Another node's connection: its requests go to the datastore, replies leave in order and echo the id."""

    def __init__(self, coordinator: Coordinator, end: End) -> None:
        self.coordinator = coordinator
        self.end = end
        self.framer = DnodeFramer()
        self.waiting: deque[tuple[int, Pending]] = deque()

    def on_open(self, end: End) -> None:
        pass

    def on_closed(self, end: End) -> None:
        self.waiting.clear()

    def on_bytes(self, end: End, data: bytes) -> None:
        node = self.coordinator
        for frame in self.feed(data):
            if frame.payload != PING and node.rng.random() < node.swallowed:
                continue
            (request,) = RequestFramer().feed(frame.payload)
            pending = Pending(self, request.raw, list(request.args), PLAN_LOCAL, 0)
            self.waiting.append((frame.id, pending))
            if frame.payload == PING:
                pending.answer = PONG
            elif not node.local.send(pending, 0):
                pending.answer = STORAGE + b"Connection refused\r\n"
        assert self.framer.error is None, self.framer.error
        self.ready()

    def feed(self, data: bytes) -> list[DnodeFrame]:
        return self.framer.feed(data)

    def ready(self) -> None:
        while self.waiting and (answer := self.waiting[0][1].answer) is not None:
            frame_id, _ = self.waiting.popleft()
            self.end.send(encode_frame(frame_id, DNODE_RES, answer, version=DNODE_VERSION_OURS))
