"""The slow, clear ring and the sleep protocol as a state space: oracles for ring.pyx and doorbell.pyx.

RingModel says what an SPSC ring must answer, as a deque of records and paddings. explore() walks every interleaving of
the two columns in doorbell.pyx, with each processor's stores held back in a store buffer for as long as it likes.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

HEADER_BYTES = 8


def stride(payload_bytes: int) -> int:
    return (HEADER_BYTES + payload_bytes + 7) // 8 * 8


@dataclass
class RingModel:
    """Accepts and returns exactly what the ring must."""

    capacity_bytes: int
    producer_pos: int = 0
    consumer_pos: int = 0
    failed_offers: int = 0
    entries: deque[tuple[int, int, bytes]] = field(default_factory=deque)  # stride, type (0 = padding), payload

    def offer(self, record_type: int, payload: bytes) -> bool | None:
        """True published, False full, None never fits."""
        if len(payload) > self.capacity_bytes // 8:
            return None
        size = stride(len(payload))
        to_end = self.capacity_bytes - self.producer_pos % self.capacity_bytes
        padding = to_end if size > to_end else 0
        if self.producer_pos - self.consumer_pos + padding + size > self.capacity_bytes:
            self.failed_offers += 1
            return False
        if padding:
            self.entries.append((padding, 0, b""))
        self.entries.append((size, record_type, payload))
        self.producer_pos += padding + size
        return True

    def peek(self) -> tuple[int, bytes] | None:
        while self.entries and self.entries[0][1] == 0:
            self.consumer_pos += self.entries.popleft()[0]
        return self.entries[0][1:] if self.entries else None

    def advance(self) -> None:
        assert self.peek() is not None
        self.consumer_pos += self.entries.popleft()[0]


@dataclass(frozen=True)
class Protocol:
    """The sleep protocol, with switches to leave a part of it out."""

    producer_fence: bool = True
    consumer_fence: bool = True
    consumer_looks_again: bool = True
    successor_rings: bool = True
    producer_lowers_flag: bool = False
    records: int = 2
    producers: int = 1
    deaths: int = 0


@dataclass(frozen=True)
class Producer:
    published: int = 0
    step: str = "publish"  # publish, fence, look, write, done
    buffer: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class State:
    producers: tuple[Producer, ...]
    positions: tuple[int, ...]  # shared: producer_pos of each ring
    sleeping: int = 0  # shared
    bell: int = 0  # the eventfd's count
    step: str = "raise"  # of the consumer: raise, fence, look, wait, lower, drain
    buffer: tuple[int, ...] = ()  # the consumer's pending stores to `sleeping`
    drained: tuple[int, ...] = ()
    deaths: int = 0


def _put(values: tuple[int, ...], i: int, value: int) -> tuple[int, ...]:
    return (*values[:i], value, *values[i + 1 :])


def _with_producer(state: State, i: int, producer: Producer, **changes: object) -> State:
    producers = (*state.producers[:i], producer, *state.producers[i + 1 :])
    return replace(state, producers=producers, **changes)  # type: ignore[arg-type]


def _apply(state: State, i: int, store: tuple[str, int]) -> State:
    """A store of producer i reaches memory."""
    if store[0] == "position":
        return replace(state, positions=_put(state.positions, i, store[1]))
    return replace(state, sleeping=store[1])


def _producer_moves(state: State, i: int, protocol: Protocol) -> Iterator[State]:
    me = state.producers[i]
    if me.buffer:
        yield _apply(_with_producer(state, i, replace(me, buffer=me.buffer[1:])), i, me.buffer[0])
    if state.deaths < protocol.deaths and me.step != "done":
        # Stores that were executed reach memory; the successor goes on from the published position.
        dead = state
        for store in me.buffer:
            dead = _apply(dead, i, store)
        step = "fence" if protocol.successor_rings else "publish"
        published = dead.positions[i]
        if not protocol.successor_rings and published == protocol.records:
            step = "done"
        yield _with_producer(dead, i, Producer(published, step), deaths=state.deaths + 1)
    if me.step == "publish":
        store = ("position", me.published + 1)
        yield _with_producer(
            state, i, replace(me, published=me.published + 1, step="fence", buffer=(*me.buffer, store))
        )
    elif me.step == "fence":
        if not protocol.producer_fence or not me.buffer:
            yield _with_producer(state, i, replace(me, step="look"))
    elif me.step == "look":
        if not state.sleeping:
            yield _with_producer(state, i, replace(me, step=_next(me, protocol)))
        elif protocol.producer_lowers_flag:
            yield _with_producer(state, i, replace(me, step="write"), sleeping=0)
        else:
            yield _with_producer(state, i, replace(me, step="write"))
    elif me.step == "write":
        yield _with_producer(state, i, replace(me, step=_next(me, protocol)), bell=state.bell + 1)


def _next(producer: Producer, protocol: Protocol) -> str:
    return "publish" if producer.published < protocol.records else "done"


def _consumer_moves(state: State, protocol: Protocol) -> Iterator[State]:
    if state.buffer:
        yield replace(state, sleeping=state.buffer[0], buffer=state.buffer[1:])
    if state.step == "raise":
        yield replace(state, step="fence", buffer=(*state.buffer, 1))
    elif state.step == "fence":
        if not protocol.consumer_fence or not state.buffer:
            yield replace(state, step="look" if protocol.consumer_looks_again else "wait")
    elif state.step == "look":
        if state.positions == state.drained:
            yield replace(state, step="wait")
        else:
            yield replace(state, step="drain", buffer=(*state.buffer, 0))
    elif state.step == "wait":
        if state.bell:
            yield replace(state, step="lower")
    elif state.step == "lower":
        yield replace(state, step="drain", bell=0, buffer=(*state.buffer, 0))
    elif state.step == "drain":
        yield replace(state, step="raise", drained=state.positions)


def explore(protocol: Protocol) -> tuple[int, list[State]]:
    """(number of states, the states in which nothing can move any more although a record is not drained)."""
    zeros = (0,) * protocol.producers
    start = State(producers=(Producer(),) * protocol.producers, positions=zeros, drained=zeros)
    seen = {start}
    todo = [start]
    lost = []
    while todo:
        state = todo.pop()
        moves = list(_consumer_moves(state, protocol))
        for i in range(protocol.producers):
            moves.extend(_producer_moves(state, i, protocol))
        if not moves and state.drained != (protocol.records,) * protocol.producers:
            lost.append(state)
        for move in moves:
            if move not in seen:
                seen.add(move)
                todo.append(move)
    return len(seen), lost
