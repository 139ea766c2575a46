import socket

from dynomite_mp.workers.conn import Conn

class TargetConn(Conn):
    """A connection that requests go to. Its owner has on_connected(conn), on_handshake(conn, reply: bytes) for one
    whole reply to the oldest send_handshake(), and on_lost(conn, errno), 0 when the other side closed."""

    def open(self, sock: socket.socket) -> None: ...
    def send_handshake(self, command: bytes) -> None: ...
    def go_up(self) -> None: ...
    def close(self) -> None: ...
    @property
    def is_connecting(self) -> bool: ...
    @property
    def is_up(self) -> bool: ...
    @property
    def is_silent(self) -> bool: ...
    @property
    def in_flight(self) -> int:
        """Requests without a reply."""
    @property
    def waiting_bytes(self) -> int:
        """Bytes of requests without a reply, sent or not."""
