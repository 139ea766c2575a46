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
from collections.abc import Callable
from typing import Any

from dynomite_mp.cluster.route import RouteTable
from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.proto.dnode import DNODE_VERSION_OURS
from dynomite_mp.workers.io_path import IoPath
from dynomite_mp.workers.peer_cipher import NodeKey
from dynomite_mp.workers.peer_out_conn import PeerOutConn

log = logging.getLogger("dynomite_mp.io")

BACKOFF_FIRST_MS = 50
BACKOFF_MAX_MS = 1000
USER_TIMEOUT_MS = 2000
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
        if not self._is_closed:
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
        """Connect anew."""
        if self.is_resting:
            self.wake()
        elif self.conn is not None:
            self.conn.close()

    async def _connect(self) -> None:
        try:
            sock = await self._open_socket()
        except OSError as failure:
            self._retry(failure.strerror or str(failure))
            return
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
        if why != self.last_error:
            log.warning("peer %s: %s; trying again", self.node.address, why)
            self.last_error = why
        if not self._is_closed and not self.is_resting:
            self._timer = self._loop.call_later(self._backoff_ms / 1000, self.start)
            self._backoff_ms = min(2 * self._backoff_ms, BACKOFF_MAX_MS)

    # ---- called by PeerOutConn

    def on_connected(self, conn: PeerOutConn) -> None:
        conn.send_handshake(QUESTION)

    def on_handshake(self, conn: PeerOutConn, _reply: bytes) -> None:
        """Whatever it answers, it is there; a C node passes the question to its datastore."""
        self.is_ours = conn.is_ours = conn.version_seen >= DNODE_VERSION_OURS
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

    def order(self, verb: str, name: str) -> None:
        """`up`, `down` or `reset` of the peers of that name (the host of their address), or of all of them."""
        for link in self._links.values():
            if name in ("all", link.node.name):
                {"up": link.wake, "down": link.rest, "reset": link.reset}[verb]()

    def all_up(self) -> bool:
        return all(link.is_up for link in self._links.values())

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()
