"""The listening sockets of a node: bound once by the supervisor, before the first fork, and kept open by it.

A worker that is restarted therefore finds the connections that were queued meanwhile, and a port that is taken is
reported by the process the operator started, before anything else runs.

With several io workers each gets a socket of its own (SO_REUSEPORT), so that the kernel spreads the connections. That
option would also let a second node bind the same port without an error, hence one plain bind first proves it free.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dynomite_mp.config_values import Address
from dynomite_mp.enums import Role
from dynomite_mp.errors import DynomiteError


class ListenFailed(DynomiteError):
    """An address of the configuration cannot be listened on."""


@dataclass(slots=True)
class Listeners:
    """Sockets by use; `clients` and `peers` hold one per io worker, which gets them in this order."""

    listen: Address
    dyn_listen: Address
    backlog: int
    clients: list[socket.socket] = field(default_factory=list)
    peers: list[socket.socket] = field(default_factory=list)
    stats: list[socket.socket] = field(default_factory=list)

    def bind(self, stats_listen: Address, io_workers: int) -> None:
        """All or nothing. Raises ListenFailed, which names the key and the address."""
        try:
            self.clients = bind_address("listen", self.listen, io_workers, self.backlog)
            self.peers = bind_address("dyn_listen", self.dyn_listen, io_workers, self.backlog)
            self.stats = bind_address("stats_listen", stats_listen, 1, self.backlog)
        except ListenFailed:
            self.close()
            raise

    def of(self, role: Role, index: int) -> list[socket.socket]:
        """What a worker inherits: io its client socket, then its peer socket; admin the one for statistics."""
        if role is Role.IO:
            return [self.clients[index], self.peers[index]]
        return list(self.stats) if role is Role.ADMIN else []

    def keep_only(self, role: Role, index: int) -> None:
        """In a worker, which closes the descriptors of others by number: these objects must never do it again."""
        own = self.of(role, index)
        for sock in (*self.clients, *self.peers, *self.stats):
            if sock not in own:
                sock.detach()

    def close_io(self, index: int) -> None:
        """Nobody serves here any more: refuse instead of letting clients queue. A shared unix socket stays."""
        for sockets in (self.clients, self.peers):
            if sockets[index].family != socket.AF_UNIX or len(sockets) == 1:
                sockets[index].close()

    def open_io(self, index: int) -> None:
        """Undo close_io. Raises ListenFailed."""
        for key, address, sockets in (
            ("listen", self.listen, self.clients),
            ("dyn_listen", self.dyn_listen, self.peers),
        ):
            if sockets[index].fileno() < 0:
                (sockets[index],) = bind_address(key, address, 1, self.backlog, reuse_port=len(sockets) > 1)

    def close(self) -> None:
        for sock in (*self.clients, *self.peers, *self.stats):
            if sock.fileno() >= 0 and sock.family == socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    Path(sock.getsockname()).unlink()
            sock.close()


def bind_address(
    key: str, address: Address, count: int, backlog: int, *, reuse_port: bool = False
) -> list[socket.socket]:
    """`count` listening sockets for one address; `reuse_port` joins those that exist. Raises ListenFailed."""
    try:
        if address.path is not None:
            first = _bind_unix(address.path)
            sockets = [first, *(first.dup() for _ in range(count - 1))]
        else:
            sockets = _bind_tcp(address, count, reuse_port)
        for sock in sockets:
            sock.listen(backlog)
            sock.setblocking(False)
        return sockets
    except OSError as error:
        raise ListenFailed(f"cannot listen on {address} (`{key}:`): {_reason(error)}", _hint(address, error)) from error


def _bind_tcp(address: Address, count: int, join: bool) -> list[socket.socket]:
    family, kind, protocol, _, name = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]

    def bound(reuse_port: bool) -> socket.socket:
        sock = socket.socket(family, kind, protocol)
        try:
            # Connections of the previous run in TIME_WAIT are no reason not to start.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # These two are for the connections, which Linux accepts with the options of their listener.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.bind(name)
        except OSError:
            sock.close()
            raise
        return sock

    if join:
        return [bound(reuse_port=True)]
    plain = bound(reuse_port=False)
    if count == 1:
        return [plain]
    plain.close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(bound(reuse_port=True))
    except OSError:
        _close_all(sockets)
        raise
    return sockets


def _bind_unix(path: str) -> socket.socket:
    """A socket file that nobody answers is a leftover and goes; anything else in its place stays."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_socket(path):
            if sock.connect_ex(path) == 0:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            Path(path).unlink()
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    return sock


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except FileNotFoundError:
        return False


def _close_all(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]


def _hint(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        if address.path is not None:
            return "another process listens there; stop it, or choose another path"
        return (
            f"another process listens there (ss -ltnp 'sport = :{address.port}' names it); "
            "stop it, or choose another port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return "no network interface of this machine has that address"
    if error.errno == errno.EACCES:
        return "ports below 1024 need a privilege, a unix socket needs a directory that may be written"
    if isinstance(error, socket.gaierror):
        return "the host name is not known here"
    return "choose another address"
