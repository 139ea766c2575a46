"""Connections from an io worker to every other node of its datacenter, as the topology names them.

What it is: the cold side of `PeerOutConn`. `PeerMesh.swap(topology)` keeps the links of nodes that stay, opens those of
new ones, closes those of nodes that left, and hands the data path its new route table in the same moment.

What it is not: it knows no request; the other datacenters are the replication process's.

    down --connect--> connecting --PING, version 2--> up (reply's version 2: one of ours, else a C node) --lost--> down
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dynomite_mp.cluster.route import RouteTable
from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.proto.dnode import DNODE_VERSION_BATCHES, DNODE_VERSION_OURS
from dynomite_mp.workers.io_path import IoPath
from dynomite_mp.workers.peer_cipher import NodeKey
from dynomite_mp.workers.peer_out_conn import PeerOutConn

log = logging.getLogger("dynomite_mp.io")

BACKOFF_FIRST_MS = 50
BACKOFF_MAX_MS = 1000
USER_TIMEOUT_MS = 2000
SETTLE_POLL_S = 0.010
PEER_SETTING = "peer/"
QUESTION = b"*1\r\n$4\r\nPING\r\n"


class PeerLink:
    """One connection to one node, made again after every loss."""

    def __init__(
        self,
        path: Any,
        loop: asyncio.AbstractEventLoop,
        node: Node,
        index: int,
        *,
        place: int,
        same_dc: bool,
        bind_host: str,
        key: NodeKey | None,
        on_change: Callable[["PeerLink"], None],
    ) -> None:
        self._path = path
        self._loop = loop
        self._bind_host = bind_host
        self._key = key
        self._on_change = on_change
        self._backoff_ms = BACKOFF_FIRST_MS
        self._timer: asyncio.TimerHandle | None = None
        self._is_opening = False
        self._is_closed = False
        self.is_resting = False
        self._same_dc = same_dc
        self.node = node
        self.index = index
        self.place = place
        self.conn: PeerOutConn | None = None
        self.is_up = False
        self.is_ours = False
        self.times_up = 0
        self.last_error = ""
        self.lost_by_error = False

    def start(self) -> None:
        self._timer = None
        if not self._is_closed and not self.is_resting and not self._is_opening:
            self._is_opening = True
            self._loop.create_task(self._connect())

    def move(self, place: int) -> None:
        """The node's place in the next route table."""
        self.place = place
        if self.conn is not None:
            self.conn.node = place

    def close(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self.conn is not None:
            self.conn.node = -1
            self.conn.close()

    def rest(self) -> None:
        """Taken out of service by the operator: closed, and not made again until wake()."""
        self.is_resting = True
        self.last_error = ""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.conn is not None:
            self.conn.close()

    def wake(self) -> None:
        if self.is_resting:
            self.is_resting = False
            self.start()

    def reset(self) -> None:
        """Connect anew, at once."""
        self._backoff_ms = BACKOFF_FIRST_MS
        if self.conn is not None:
            self.conn.close()
        elif self._timer is not None:
            self._timer.cancel()
            self.start()

    async def _connect(self) -> None:
        try:
            sock = await self._open_socket()
        except OSError as failure:
            self._is_opening = False
            self._retry(failure.strerror or str(failure))
            return
        self._is_opening = False
        if self._is_closed or self.is_resting:
            sock.close()
            return
        cipher = self._key.new_link() if self._key is not None else None
        self.conn = PeerOutConn(self._path, self, self.place, self.index, self._same_dc, cipher)
        self.conn.open(sock)

    async def _open_socket(self) -> socket.socket:
        found = await self._loop.getaddrinfo(self.node.host, self.node.port, type=socket.SOCK_STREAM)
        family, _kind, _proto, _name, target = found[0]
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
            self._bind(sock, family)
            sock.connect(target)
        except BlockingIOError:
            pass  # in progress; EPOLLOUT tells the outcome
        except OSError:
            sock.close()
            raise
        return sock

    def _bind(self, sock: socket.socket, family: int) -> None:
        """From the host of dyn_listen, so that one packet filter rule can cut a pair of nodes."""
        if not self._bind_host:
            return
        try:
            sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
            sock.bind((self._bind_host, 0))
        except OSError as failure:
            log.debug("cannot bind to %s: %s", self._bind_host, failure)

    def _retry(self, why: str) -> None:
        if self._is_closed or self.is_resting:
            return
        if why != self.last_error:
            log.warning("peer %s: %s; trying again", self.node.address, why)
            self.last_error = why
        self._timer = self._loop.call_later(self._backoff_ms / 1000, self.start)
        self._backoff_ms = min(2 * self._backoff_ms, BACKOFF_MAX_MS)

    # ---- called by PeerOutConn

    def on_connected(self, conn: PeerOutConn) -> None:
        conn.send_handshake(QUESTION)

    def on_handshake(self, conn: PeerOutConn, _reply: bytes) -> None:
        """Whatever it answers, it is there; a C node passes the question to its datastore."""
        self.is_ours = conn.is_ours = conn.version_seen >= DNODE_VERSION_OURS
        conn.takes_batches = conn.version_seen >= DNODE_VERSION_BATCHES
        self._backoff_ms = BACKOFF_FIRST_MS
        self.is_up = True
        self.times_up += 1
        self.last_error = ""
        log.info("peer %s is connected (%s)", self.node.address, "dynomite-mp" if self.is_ours else "C")
        conn.go_up()
        self._on_change(self)

    def on_lost(self, conn: PeerOutConn, error: int) -> None:
        was_up, self.is_up = self.is_up, False
        self.conn = None
        self.lost_by_error = bool(error)
        if self._is_closed:
            return
        if was_up:
            self._on_change(self)
        self._retry(os.strerror(error) if error else "closed by the peer")


def count_peer_change(slab: SlabWriter, link: PeerLink, links: Sequence[PeerLink]) -> None:
    """A link has come up or was lost."""
    if link.is_up:
        slab.count("peer_connections_total")
    else:
        slab.count("peer_err" if link.lost_by_error else "peer_eof")
        slab.set_gauge("peer_ejected_at", int(time.time() * 1000))
    slab.count("link_state_changes")
    slab.set_gauge("peer_connections", sum(one.is_up for one in links))


class PeerOrders:
    """What the operator has said of single peers. It outlives their links: a peer that leaves and returns still rests.

    An order is a setting: `peer/ADDRESS` is `up` or `down`, `peer_reset` names an address.
    """

    def __init__(self) -> None:
        self._resting: set[str] = set()

    def take(self, links: Iterable[PeerLink], key: str, value: str) -> bool:
        """Carry out a setting; False if it is none of these."""
        if key == "peer_reset":
            for link in links:
                if link.node.address == value:
                    link.reset()
            return True
        if not key.startswith(PEER_SETTING):
            return False
        address = key.removeprefix(PEER_SETTING)
        (self._resting.add if value == "down" else self._resting.discard)(address)
        self.apply(links)
        return True

    def apply(self, links: Iterable[PeerLink]) -> None:
        """Before links are started, and after an order."""
        for link in links:
            if link.node.address in self._resting and not link.is_resting:
                log.warning("peer %s is taken out of service", link.node.address)
                link.rest()
            elif link.node.address not in self._resting and link.is_resting:
                link.wake()


class PeerMesh:
    """All links of one io worker."""

    def __init__(
        self,
        path: IoPath,
        loop: asyncio.AbstractEventLoop,
        *,
        connections: int,
        bind_host: str,
        key: NodeKey | None,
        is_secured: Callable[[Node, Node], bool],
        on_change: Callable[[PeerLink], None],
    ) -> None:
        self._path = path
        self._loop = loop
        self._connections = connections
        self._bind_host = bind_host
        self._key = key
        self._is_secured = is_secured
        self._on_change = on_change
        self._links: dict[tuple[str, int, int], PeerLink] = {}
        self._orders = PeerOrders()
        self.topology: Topology | None = None

    @property
    def links(self) -> list[PeerLink]:
        return list(self._links.values())

    def swap(self, topology: Topology) -> None:
        """Take a topology into use: one reference for the data path, links for its nodes."""
        table = RouteTable(topology)
        kept: dict[tuple[str, int, int], PeerLink] = {}
        fresh: list[PeerLink] = []
        for place, node in enumerate(table.node_list):
            if node.is_local:
                continue
            for index in range(self._connections):
                identity = (node.host, node.port, index)
                link = self._links.pop(identity, None)
                if link is None:
                    link = self._new_link(topology.local, node, index, place)
                    fresh.append(link)
                link.node = node
                link.move(place)
                kept[identity] = link
        gone = list(self._links.values())
        self._links = kept
        self.topology = topology
        self._path.set_table(table, self._connections, [link.conn for link in kept.values() if link.conn is not None])
        for link in gone:
            link.close()
        self._orders.apply(fresh)
        for link in fresh:
            link.start()

    def _new_link(self, local: Node, node: Node, index: int, place: int) -> PeerLink:
        return PeerLink(
            self._path,
            self._loop,
            node,
            index,
            place=place,
            same_dc=True,
            bind_host=self._bind_host,
            key=self._key if self._is_secured(local, node) else None,
            on_change=self._on_change,
        )

    def take_order(self, key: str, value: str) -> bool:
        """A setting about a single peer; False if it is none."""
        return self._orders.take(self.links, key, value)

    async def settle(self, end: float) -> None:
        """Wait until peers have answered: a connection closed with replies unread takes back what it has sent, copies
        of answered writes among it."""
        while self._loop.time() < end and any(
            link.conn.in_flight and not link.conn.is_silent for link in self.links if link.conn is not None
        ):
            await asyncio.sleep(SETTLE_POLL_S)

    def all_up(self) -> bool:
        return all(link.is_up for link in self._links.values())

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()
