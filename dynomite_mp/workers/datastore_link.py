"""Keeps one connection to the datastore: connects, shakes hands, comes back after a loss.

What it is: the cold side of a `DatastoreConn`. A connection is taken into use when the datastore answers PING; while it
is loading its data (`-LOADING`) it counts as unreachable and is asked again.

What it is not: it sends no client's request.

    down --connect--> connecting --AUTH, HELLO 3, PING--> up --lost--> down, again after 50 ms, 100 ms ... 1 s
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from dynomite_mp.workers.base import DatastoreAddress
from dynomite_mp.workers.data_path import GROUP_RESP3
from dynomite_mp.workers.datastore_conn import DatastoreConn
from dynomite_mp.workers.io_path import IoPath

log = logging.getLogger("dynomite_mp.io")

BACKOFF_FIRST_MS = 50
BACKOFF_MAX_MS = 1000
LOADING_RETRY_MS = 100
USER_TIMEOUT_MS = 2000


class DatastoreLink:
    """One place of one protocol group; `on_change(link)` is called when it goes up or down."""

    def __init__(
        self,
        path: IoPath,
        loop: asyncio.AbstractEventLoop,
        address: DatastoreAddress,
        group: int,
        index: int,
        on_change: Callable[["DatastoreLink"], None],
        backoff_max_ms: int = BACKOFF_MAX_MS,
    ) -> None:
        self._path = path
        self._loop = loop
        self._address = address
        self._on_change = on_change
        self._conn: DatastoreConn | None = None
        self._backoff_ms = BACKOFF_FIRST_MS
        self._backoff_max_ms = min(backoff_max_ms, BACKOFF_MAX_MS)
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._awaited: list[str] = []
        self.group = group
        self.index = index
        self.is_up = False
        self.is_unsupported = False  # the datastore does not speak this protocol
        self.times_up = 0
        self.hello: bytes = b""
        self.last_error = ""
        self.lost_by_error = False

    def start(self) -> None:
        self._loop.create_task(self._connect())

    def close(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._conn is not None:
            self._conn.close()

    def set_address(self, address: DatastoreAddress) -> None:
        """A new address: the connection to the old one is given up."""
        if address != self._address:
            self._address = address
            if self._conn is not None:
                self._conn.close()

    async def _connect(self) -> None:
        self._timer = None
        try:
            sock = await self._open_socket()
        except OSError as failure:
            self._retry(str(failure))
            return
        if self._is_closed:
            sock.close()
            return
        self._conn = DatastoreConn(self._path, self, self.group, self.index)
        self._conn.open(sock)

    async def _open_socket(self) -> socket.socket:
        address = self._address.address
        family: int
        target: Any
        if address.path:
            family, target = socket.AF_UNIX, address.path
        else:
            found = await self._loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            family, target = found[0][0], found[0][4]
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
            sock.connect(target)
        except BlockingIOError:
            pass  # in progress; EPOLLOUT tells the outcome
        except OSError:
            sock.close()
            raise
        return sock

    def _retry(self, why: str) -> None:
        if why != self.last_error:
            log.warning("datastore at %s: %s; trying again", self._address.address, why)
            self.last_error = why
        if self._is_closed or self.is_unsupported:
            return
        self._timer = self._loop.call_later(self._backoff_ms / 1000, self.start)
        self._backoff_ms = min(2 * self._backoff_ms, self._backoff_max_ms)

    # ---- called by DatastoreConn

    def on_connected(self, conn: DatastoreConn) -> None:
        self._awaited = []
        if self._address.password:
            words = [self._address.user, self._address.password] if self._address.user else [self._address.password]
            self._ask(conn, "AUTH", "AUTH", *words)
        if self.group == GROUP_RESP3:
            self._ask(conn, "HELLO", "HELLO", "3")
        self._ask(conn, "PING", "PING")

    def _ask(self, conn: DatastoreConn, what: str, *words: str) -> None:
        self._awaited.append(what)
        parts = [word.encode() for word in words]
        conn.send_handshake(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))

    def on_handshake(self, conn: DatastoreConn, reply: bytes) -> None:
        what = self._awaited.pop(0)
        line = reply.split(b"\r\n", 1)[0].decode(errors="replace")
        if what == "PING":
            self._on_ping(conn, reply, line)
        elif reply[:1] == b"-":
            if what == "HELLO":
                self.is_unsupported = True
                self.last_error = line
                log.warning("datastore at %s does not speak RESP3 (%s); clients get RESP2", self._address.address, line)
                self._on_change(self)
            else:
                log.error(
                    "datastore at %s refused %s: %s; see datastore_user and datastore_password",
                    self._address.address,
                    what,
                    line,
                )
            conn.close()
        elif what == "HELLO":
            self.hello = reply

    def _on_ping(self, conn: DatastoreConn, reply: bytes, line: str) -> None:
        if reply[:1] != b"+":
            if line != self.last_error:
                log.warning("datastore at %s is not ready: %s", self._address.address, line)
                self.last_error = line
            self._loop.call_later(LOADING_RETRY_MS / 1000, self._ask_again, conn)
            return
        self._backoff_ms = BACKOFF_FIRST_MS
        self.last_error = ""
        self.is_up = True
        self.times_up += 1
        conn.go_up()
        self._on_change(self)

    def _ask_again(self, conn: DatastoreConn) -> None:
        if conn is self._conn and conn.fd >= 0 and not self._is_closed:
            self._ask(conn, "PING", "PING")

    def on_lost(self, conn: DatastoreConn, error: int) -> None:
        was_up, self.is_up = self.is_up, False
        self.lost_by_error = bool(error)
        self._conn = None
        self._on_change(self)
        why = f"connection lost: {_error_text(error)}" if was_up else _error_text(error)
        self._retry(why)


def _error_text(error: int) -> str:
    return os.strerror(error) if error else "closed by the datastore"
