import socket
from collections.abc import Callable
from typing import Any

def rest_after(window_ns: int, sources: int, reads: int, requests: int, sent_on: int) -> int:
    """How long to rest before a turn, ns, when in a window of that length so many sources asked for something.

    `reads` brought those `requests`, of which `sent_on` frames went to peers.
    """

class PollSet:
    """An epoll set; `schedule_turn()` is called when `turn` is wanted although no event will come."""

    @property
    def fd(self) -> int:
        """What the event loop watches: readable when `turn` has something to do."""

    def __init__(self, schedule_turn: Callable[[], object]) -> None: ...
    def beat(self) -> None:
        """Shows that the process does not stand still."""
    def turn(self) -> None: ...
    def want_turn(self) -> None: ...
    def linger(self, doorbell_fd: int) -> None:
        """From now on turn() waits for awaited replies itself; a ring of the doorbell ends that at once."""
    def connections(self) -> list[Conn]: ...
    def buffered_bytes(self) -> int: ...
    def shrink_idle(self) -> None: ...
    def close_all(self) -> None: ...

class Conn:
    """A socket of a PollSet."""

    @property
    def fd(self) -> int:
        """-1 once it is closed."""

class Listener(Conn):
    """Calls `on_accept(fd, address)` for each new connection; address is what socket.accept() gives."""

    def __init__(
        self,
        poll: PollSet,
        sock: socket.socket,
        on_accept: Callable[[int, Any], object],
        on_exhausted: Callable[[], object],
    ) -> None: ...
    def stop(self) -> None: ...
    def restart(self) -> None: ...
    def close(self) -> None: ...

class Watch(Conn):
    """When `fd` is readable, the set stops lingering."""

    def __init__(self, poll: PollSet, fd: int) -> None: ...

class Timer(Conn):
    """A periodic timer of the kernel, in the epoll set."""

    def __init__(self, poll: PollSet, on_expiry: Callable[[], object]) -> None: ...
    def every(self, period_ms: int) -> None:
        """From now on `on_expiry()` is called with this period; 0: no more."""
