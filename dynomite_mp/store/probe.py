"""Asks a managed datastore that is starting whether it answers yet.

For the supervisor, which has no event loop and must not wait: a unix socket connects at once or not at all, and a
server that serves answers PING within a moment. While it loads its data it says -LOADING, which is not an answer.
"""

import select
import socket

_PATIENCE_MS = 5


def answers(socket_path: str) -> bool:
    """Whether the server on this unix socket says PONG now."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect(socket_path)
            sock.send(b"PING\r\n")
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            return bool(poll.poll(_PATIENCE_MS)) and sock.recv(64).startswith(b"+PONG")
        except OSError:
            return False
