"""Byte streams in virtual time: connections that deliver in order, in pieces, late, or not at all.

    end.send() --> cut into pieces --> delay; blocked or stopped? wait --> other end's on_bytes()
    cut()      --> both ends' on_closed(), what was under way is lost

The heap, the clock and the partitions are those of network.py; TCP hides loss, so here loss is a lost connection, and a
partition is silence until it heals. Pieces of one direction keep their order, those of different connections do not.

Not here: what the bytes mean.

Invariants: the order of events depends on the seed alone; nothing arrives at an end that was told that it is closed.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Protocol

from .network import Address, Network

RETRY_MS = 20
"""How often a piece that is held up tries again."""


class Owner(Protocol):
    """Whoever holds one end."""

    def on_open(self, end: "End") -> None: ...

    def on_bytes(self, end: "End", data: bytes) -> None: ...

    def on_closed(self, end: "End") -> None: ...


class End:
    """One end of a connection."""

    def __init__(self, streams: "Streams", owner: Owner, address: Address) -> None:
        self.streams = streams
        self.owner = owner
        self.address = address
        self.other: End | None = None
        self.is_open = False
        self.is_told = False
        """on_closed() was called, or the owner itself closed it."""
        self._under_way: deque[tuple[int, bytes]] = deque()
        self._last_ms = 0

    def send(self, data: bytes) -> None:
        if not self.is_open or self.is_told:
            return
        streams, rng = self.streams, self.streams.rng
        while data:
            size = rng.randrange(1, len(data) + 1) if rng.random() < streams.pieces else len(data)
            piece, data = data[:size], data[size:]
            assert self.other is not None
            at_ms = max(self._last_ms, streams.now_ms + streams.delay_ms(self.address, self.other.address))
            self._last_ms = at_ms
            self._under_way.append((at_ms, piece))
            streams.at(at_ms, self._deliver)

    def _deliver(self) -> None:
        """Each piece has one call; a call that finds the head of the queue held up comes again."""
        other = self.other
        if other is None or not other.is_open or other.is_told or not self._under_way:
            return
        if self.streams.is_held(self.address, other.address) or self._under_way[0][0] > self.streams.now_ms:
            self.streams.at(self.streams.now_ms + RETRY_MS, self._deliver)
            return
        _, piece = self._under_way.popleft()
        other.owner.on_bytes(other, piece)

    def cut(self) -> None:
        """The connection is lost: both learn it, each at its time, and what is under way is gone."""
        for end in (self, self.other):
            if end is not None and end.is_open:
                end._under_way.clear()
                end.is_open = False
                self.streams.at(self.streams.now_ms + self.streams.delay_ms(self.address, end.address), end.tell)

    def close(self) -> None:
        """Its owner has done with it, now; the other end learns it."""
        self.is_told = True
        self.cut()

    def tell(self) -> None:
        if not self.is_told:
            if self.streams.is_stopped(self.address):
                self.streams.at(self.streams.now_ms + RETRY_MS, self.tell)
                return
            self.is_told = True
            self.owner.on_closed(self)


class Streams:
    """All connections."""

    def __init__(self, network: Network, rng: Random, pieces: float = 0.1) -> None:
        self.network = network
        self.rng = rng
        self.pieces = pieces
        """How likely a piece is cut once more."""
        self.stopped: set[Address] = set()
        """Processes that do not run; their sockets take bytes."""
        self.is_blocked: Callable[[Address, Address], bool] = lambda source, to: False
        self._listeners: dict[Address, Callable[[End], Owner]] = {}
        self._ends: list[End] = []

    @property
    def now_ms(self) -> int:
        return self.network.now_ms

    def at(self, at_ms: int, call: Callable[[], None]) -> None:
        self.network.call_at(at_ms, call)

    def delay_ms(self, source: Address, to: Address) -> int:
        if source[0] == to[0]:
            return 0
        low, high = self.network.weather.delay_ms
        return low + int(self.rng.random() * (high - low + 1))

    def is_stopped(self, address: Address) -> bool:
        return address in self.stopped

    def is_held(self, source: Address, to: Address) -> bool:
        return to in self.stopped or (source != to and self.is_blocked(source, to))

    def listen(self, address: Address, accept: Callable[[End], Owner]) -> None:
        self._listeners[address] = accept

    def connect(self, owner: Owner, source: Address, to: Address) -> End:
        """on_open() or on_closed() follows, or nothing for as long as the way is blocked."""
        end = End(self, owner, source)
        self._ends.append(end)

        def arrive() -> None:
            if end.is_told:
                return
            if self.is_held(source, to):
                self.at(self.now_ms + RETRY_MS, arrive)
            elif (accept := self._listeners.get(to)) is None:
                end.tell()
            else:
                there = End(self, owner, to)
                there.owner = accept(there)
                end.other, there.other = there, end
                end.is_open = there.is_open = True
                self._ends.append(there)
                end.owner.on_open(end)

        self.at(self.now_ms + self.delay_ms(source, to), arrive)
        return end

    def vanish(self, address: Address) -> None:
        """The process at the address is dead: its connections are lost and nobody listens; itself it learns nothing."""
        self._listeners.pop(address, None)
        for end in self.ends(address):
            end.is_told = True
            end.cut()

    def ends(self, address: Address | None = None) -> list[End]:
        """Open ends, of one address or all."""
        self._ends = [end for end in self._ends if not end.is_told or end.is_open]
        return [end for end in self._ends if address is None or end.address == address]
