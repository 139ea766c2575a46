"""Datagrams and wake-ups in virtual time: one heap, one clock, one source of randomness.

    actor --send()--> loss? partition? --> delay, reorder, duplicate, clog --> heap --> actor.receive()
    actor ------------- wake_at() ------------------------------------------> heap --> actor.wake()

It knows nothing of what the datagrams mean, so that any pure state machine of the package can be put on it.

Invariants: the order of events depends on the seed alone; time never goes back; what is sent now arrives later.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

Address = tuple[str, int]


class Actor(Protocol):
    """Whoever has an address."""

    def receive(self, now_ms: int, source: Address, data: bytes) -> None: ...

    def wake(self, now_ms: int) -> None: ...


@dataclass
class Weather:
    """How bad the network is."""

    loss: float = 0.0
    delay_ms: tuple[int, int] = (1, 3)
    far_delay_ms: tuple[int, int] = (40, 60)
    """Between hosts whose far() differs."""
    reorder: float = 0.0
    """Share of datagrams that take up to ten times the longest delay."""
    duplicate: float = 0.0


class Network:
    """All datagrams under way."""

    def __init__(self, rng: Random, weather: Weather, far: Callable[[str], object] = lambda host: 0) -> None:
        self.now_ms = 0
        self.weather = weather
        self.sent = 0
        self.delivered = 0
        self._rng = rng
        self._far = far
        self._actors: dict[Address, Actor] = {}
        self._heap: list[tuple[int, int, Address, Address | None, bytes]] = []
        self._order = 0
        self._wakeups: dict[Address, int] = {}
        self._calls: dict[int, Callable[[], None]] = {}
        self._blocked: Callable[[Address, Address], bool] | None = None
        self._clogged: dict[tuple[Address, Address], int] = {}

    # -- actors --------------------------------------------------------------------------------------------------------

    def attach(self, address: Address, actor: Actor) -> None:
        self._actors[address] = actor
        self._wakeups.pop(address, None)

    def detach(self, address: Address) -> None:
        """Nobody is at the address any more; what is under way to it is lost."""
        self._actors.pop(address, None)
        self._wakeups.pop(address, None)

    def send(self, source: Address, to: Address, data: bytes) -> None:
        self.sent += 1
        weather, rng = self.weather, self._rng
        if weather.loss and rng.random() < weather.loss:
            return
        if self._blocked is not None and self._blocked(source, to):
            return
        self._deliver_later(source, to, data)
        if weather.duplicate and rng.random() < weather.duplicate:
            self._deliver_later(source, to, data)

    def _deliver_later(self, source: Address, to: Address, data: bytes) -> None:
        weather, rng = self.weather, self._rng
        low, high = weather.delay_ms if self._far(source[0]) == self._far(to[0]) else weather.far_delay_ms
        delay_ms = low + int(rng.random() * (high - low + 1))
        if weather.reorder and rng.random() < weather.reorder:
            delay_ms += rng.randrange(10 * high + 1)
        at_ms = max(self.now_ms + delay_ms, self._clogged.get((source, to), 0))
        self._push(at_ms, to, source, data)

    def wake_at(self, address: Address, at_ms: int) -> None:
        """Wake the actor then, instead of when it last asked for."""
        at_ms = max(at_ms, self.now_ms)
        if self._wakeups.get(address) != at_ms:
            self._wakeups[address] = at_ms
            self._push(at_ms, address, None, b"")

    def call_at(self, at_ms: int, call: Callable[[], None]) -> None:
        """Do something to the world then."""
        self._calls[self._order] = call
        self._push(max(at_ms, self.now_ms), ("", self._order), None, b"")

    def _push(self, at_ms: int, to: Address, source: Address | None, data: bytes) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at_ms, self._order, to, source, data))

    # -- faults --------------------------------------------------------------------------------------------------------

    def partition(self, blocked: Callable[[Address, Address], bool] | None) -> None:
        """From now on datagrams from a to b are lost where blocked(a, b); None heals."""
        self._blocked = blocked

    def clog(self, source: Address, to: Address, until_ms: int) -> None:
        """Datagrams of one direction wait until then and come all at once."""
        self._clogged[source, to] = until_ms

    # -- time ----------------------------------------------------------------------------------------------------------

    def run_until(self, end_ms: int) -> None:
        """Let everything happen that happens up to then."""
        heap, actors, wakeups = self._heap, self._actors, self._wakeups
        while heap and heap[0][0] <= end_ms:
            at_ms, _, to, source, data = heapq.heappop(heap)
            self.now_ms = at_ms
            if source is None:
                if to[0] == "":
                    self._calls.pop(to[1])()
                elif wakeups.get(to) == at_ms:
                    del wakeups[to]
                    actors[to].wake(at_ms)
            elif (actor := actors.get(to)) is not None:
                self.delivered += 1
                actor.receive(at_ms, source, data)
        self.now_ms = end_ms
