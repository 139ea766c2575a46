"""The ring against the deque model, with rings so small that nearly every record meets the physical end."""

import random
import struct

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dynomite_mp.ipc import layout
from dynomite_mp.ipc.ring import SpscRing, footprint_bytes
from tests.models.ring_model import RingModel


class RingMachine(RuleBasedStateMachine):
    """Two objects over one memory, as in two processes; either may be killed at any moment and succeeded."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence = 0

    @initialize(
        capacity_bytes=st.sampled_from([32, 64, 128, 256]),
        start=st.sampled_from([0, 8, 2**32 - 8, 2**32, 2**63 - 16, 2**40 + 24]),
        seed=st.integers(0, 255),
    )
    def make(self, capacity_bytes: int, start: int, seed: int) -> None:
        """A ring that has been running for long: positions far along, old bytes in the data."""
        self.memory = bytearray(footprint_bytes(capacity_bytes))
        SpscRing(self.memory, 0, capacity_bytes, create=True)
        old_bytes = random.Random(seed).randbytes(capacity_bytes)
        self.memory[layout.RING_HEADER_BYTES : layout.RING_HEADER_BYTES + capacity_bytes] = old_bytes
        for offset in (layout.RING_PRODUCER_OFFSET, layout.RING_CONSUMER_OFFSET):
            struct.pack_into("<Q", self.memory, offset, start)
        self.capacity_bytes = capacity_bytes
        self.early = SpscRing(self.memory, 0, capacity_bytes)  # the supervisor's object, never used by itself
        self.producer = SpscRing(self.memory, 0, capacity_bytes)
        self.consumer = SpscRing(self.memory, 0, capacity_bytes)
        self.model = RingModel(capacity_bytes, producer_pos=start, consumer_pos=start)

    def payload(self, size_bytes: int) -> bytes:
        self.sequence += 1
        return (self.sequence.to_bytes(4, "little") * (size_bytes // 4 + 1))[:size_bytes]

    @rule(size_bytes=st.integers(0, 40), record_type=st.integers(1, 2**32 - 1))
    def offer(self, size_bytes: int, record_type: int) -> None:
        payload = self.payload(size_bytes)
        room = self.producer.has_room(size_bytes)
        expected = self.model.offer(record_type, payload)
        assert room is (expected is True)
        if expected is None:
            try:
                self.producer.offer(record_type, payload)
            except ValueError:
                return
            raise AssertionError("larger than the largest record, but offered")
        assert self.producer.offer(record_type, payload) is expected

    @rule(sizes=st.lists(st.integers(0, 4), max_size=12))
    def offer_many(self, sizes: list[int]) -> None:
        payloads = [self.payload(size) for size in sizes]
        expected = 0
        for payload in payloads:
            if not self.model.offer(9, payload):
                break
            expected += 1
        assert self.producer.offer_many(9, payloads) == expected

    @rule()
    def peek(self) -> None:
        assert self.consumer.peek() == self.model.peek()

    @precondition(lambda self: self.model.entries)
    @rule()
    def advance(self) -> None:
        self.consumer.advance()
        self.model.advance()

    @rule(limit=st.integers(0, 6))
    def drain(self, limit: int) -> None:
        expected: list[tuple[int, bytes]] = []
        while len(expected) < limit and (record := self.model.peek()) is not None:
            expected.append(record)
            self.model.advance()
        drained: list[tuple[int, bytes]] = []
        assert self.consumer.drain(lambda *record: drained.append(record), limit) == len(expected)
        assert drained == expected

    @rule(limit=st.integers(0, 6), dies=st.booleans())
    def look_at_several_then_let_go(self, limit: int, dies: bool) -> None:
        """Who dies before it lets go leaves all of them to its successor."""
        found, position = self.consumer.next_records(limit)
        assert found == [entry[1:] for entry in self.model.entries if entry[1]][:limit]
        if not dies:
            self.consumer.let_go(position)
            for record in found:
                assert self.model.peek() == record
                self.model.advance()

    @rule(keep_old=st.booleans())
    def producer_dies_between_records(self, keep_old: bool) -> None:
        self.producer = self.early if keep_old else SpscRing(self.memory, 0, self.capacity_bytes)

    @rule(debris=st.binary(min_size=1, max_size=64))
    def producer_dies_inside_a_record(self, debris: bytes) -> None:
        """It wrote anything it likes into free space, then nothing."""
        free_bytes = self.capacity_bytes - (self.model.producer_pos - self.model.consumer_pos)
        for i, byte in enumerate(debris[:free_bytes]):
            at = (self.model.producer_pos + i) % self.capacity_bytes
            self.memory[layout.RING_HEADER_BYTES + at] = byte
        self.producer = SpscRing(self.memory, 0, self.capacity_bytes)

    @rule()
    def consumer_dies(self) -> None:
        self.consumer = SpscRing(self.memory, 0, self.capacity_bytes)

    @invariant()
    def positions_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        # The model skips a padding when it is looked at; so does the ring, but only its consumer looks.
        assert self.producer.producer_pos == self.model.producer_pos
        assert self.consumer.failed_offers == self.model.failed_offers
        assert 0 <= self.producer.depth_bytes <= self.capacity_bytes
        assert self.producer.depth_bytes <= self.producer.high_water_bytes + self.capacity_bytes // 64


RingMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestRingMachine = RingMachine.TestCase
