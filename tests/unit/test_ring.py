"""The ring, one case at a time. Random walks are in tests/property, two processes in tests/stress."""

import os
import struct

import pytest

from dynomite_mp.ipc import layout
from dynomite_mp.ipc.ring import RingCorrupt, SpscRing, footprint_bytes
from tests.models.ring_model import RingModel


def ring_over(capacity_bytes: int) -> tuple[SpscRing, bytearray]:
    memory = bytearray(footprint_bytes(capacity_bytes))
    return SpscRing(memory, 0, capacity_bytes, create=True), memory


def drain_all(ring: SpscRing) -> list[tuple[int, bytes]]:
    records: list[tuple[int, bytes]] = []
    ring.drain(lambda record_type, payload: records.append((record_type, payload)), 10_000)
    return records


def test_records_come_out_in_order_with_type_and_bytes() -> None:
    ring, _ = ring_over(1024)
    sent = [(i + 1, os.urandom(i)) for i in range(20)]
    assert all(ring.offer(*record) for record in sent)
    assert drain_all(ring) == sent
    assert ring.is_empty() and ring.depth_bytes == 0


@pytest.mark.parametrize("capacity_bytes", [32, 64, 128, 256])
def test_every_payload_size_survives_every_wrap(capacity_bytes: int) -> None:
    ring, _ = ring_over(capacity_bytes)
    for turn in range(500):
        payload = bytes([turn % 256]) * (turn % (ring.max_record_bytes + 1))
        assert ring.offer(7, payload)
        assert drain_all(ring) == [(7, payload)]


def test_full_is_false_is_counted_and_changes_nothing() -> None:
    ring, memory = ring_over(64)
    assert [ring.offer(1, b"12345678") for _ in range(4)] == [True] * 4
    before = bytes(memory[layout.RING_HEADER_BYTES :])
    assert ring.offer(2, b"x") is False
    assert ring.offer(2, b"") is False
    assert ring.failed_offers == 2
    assert memory[layout.RING_HEADER_BYTES :] == before
    assert drain_all(ring) == [(1, b"12345678")] * 4


def test_record_that_fits_neither_before_the_physical_end_nor_before_the_consumer_is_full() -> None:
    """aeron-io/aeron#2015: this offer answered success and overwrote the header of an unread record."""
    ring, memory = ring_over(64)
    model = RingModel(64)
    for payload in (b"", b"aaaaaaaa", b"bbbbbbbb", b"cccccccc"):  # 8 + 3 * 16 = 56: 8 bytes before the end
        assert ring.offer(1, payload) and model.offer(1, payload)
    assert ring.peek() == (1, b"")
    ring.advance()  # and 8 free bytes before the oldest record
    before = bytes(memory)
    assert not ring.has_room(8)
    assert ring.offer(2, b"dddddddd") is False
    after = bytearray(memory)
    after[16:24] = before[16:24]  # failed_offers
    assert after == before
    assert ring.offer(3, b"") is True  # one without payload does fit before the end
    assert drain_all(ring) == [(1, b"aaaaaaaa"), (1, b"bbbbbbbb"), (1, b"cccccccc"), (3, b"")]
    assert ring.offer(2, b"dddddddd") is True
    assert drain_all(ring) == [(2, b"dddddddd")]


def test_padding_is_published_only_with_the_record_behind_it() -> None:
    ring, _ = ring_over(64)
    for _ in range(3):
        ring.offer(1, b"12345678")
    ring.offer(1, b"")  # at 56
    ring.peek()
    ring.advance()  # 16 bytes free at the start
    assert ring.offer(2, b"12345678") is True  # 8 of padding + 16 do fit
    assert ring.producer_pos == 80
    drain_all(ring)
    assert ring.consumer_pos == 80


def test_too_large_is_an_error_and_not_full() -> None:
    ring, _ = ring_over(256)
    assert ring.max_record_bytes == 32
    with pytest.raises(ValueError, match="larger than 32"):
        ring.offer(1, b"x" * 33)
    assert ring.failed_offers == 0
    assert not ring.has_room(33)
    with pytest.raises(ValueError, match="padding"):
        ring.offer(0, b"x")


def test_debris_of_a_dead_producer_is_never_seen() -> None:
    ring, memory = ring_over(128)
    ring.offer(1, b"one")
    at = layout.RING_HEADER_BYTES + ring.producer_pos
    memory[at : at + 24] = struct.pack("<II", 24, 9) + b"half a record..."  # all written but producer_pos
    successor = SpscRing(memory, 0, 128)
    assert successor.offer(2, b"two")
    assert drain_all(SpscRing(memory, 0, 128)) == [(1, b"one"), (2, b"two")]


def test_successor_of_a_consumer_sees_the_record_that_was_in_hand() -> None:
    ring, memory = ring_over(128)
    ring.offer(1, b"one")
    ring.offer(2, b"two")
    assert ring.peek() == (1, b"one")
    assert drain_all(SpscRing(memory, 0, 128)) == [(1, b"one"), (2, b"two")]


def test_an_object_with_old_cached_positions_goes_on_where_the_ring_is() -> None:
    """A worker forked later inherits the object as it was when the supervisor made it."""
    ring, memory = ring_over(64)
    old_producer, old_consumer = SpscRing(memory, 0, 64), SpscRing(memory, 0, 64)
    for _ in range(100):
        assert ring.offer(1, b"12345678")
        drain_all(ring)
    assert old_consumer.peek() is None
    assert [old_producer.offer(2, b"x") for _ in range(5)] == [True] * 4 + [False]
    assert drain_all(old_consumer) == [(2, b"x")] * 4


def test_drain_stops_at_the_limit() -> None:
    ring, _ = ring_over(1024)
    for i in range(10):
        ring.offer(i + 1, b"")
    seen: list[int] = []
    assert ring.drain(lambda record_type, _: seen.append(record_type), 4) == 4
    assert ring.drain(lambda record_type, _: seen.append(record_type), 0) == 0
    assert ring.drain(lambda record_type, _: seen.append(record_type), 100) == 6
    assert seen == list(range(1, 11))


def test_a_record_whose_handler_raises_is_not_seen_again() -> None:
    ring, _ = ring_over(256)
    ring.offer(1, b"bad")
    ring.offer(2, b"good")

    def handler(record_type: int, payload: bytes) -> None:
        if payload == b"bad":
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        ring.drain(handler)
    assert ring.handler_errors == 1
    assert drain_all(ring) == [(2, b"good")]


def test_the_position_moves_after_the_handler() -> None:
    ring, _ = ring_over(256)
    ring.offer(1, b"x")
    positions: list[int] = []
    ring.drain(lambda *_: positions.append(ring.consumer_pos))
    assert positions == [0] and ring.consumer_pos == 16


def test_drain_inside_a_handler_is_refused() -> None:
    ring, _ = ring_over(256)
    ring.offer(1, b"x")
    ring.offer(1, b"y")
    with pytest.raises(RuntimeError, match="handler of the same ring"):
        ring.drain(lambda *_: ring.drain(print))
    assert drain_all(ring) == [(1, b"y")]


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 0), (0, 7), (0, 0xFFFFFFFF), (0, 4096), (0, 80), (4, 0)],
    ids=["zero", "below-header", "huge", "past-end", "past-producer", "padding-not-at-end"],
)
def test_damage_is_found(offset: int, value: int) -> None:
    ring, memory = ring_over(1024)
    ring.offer(1, b"x" * 40)
    struct.pack_into("<I", memory, layout.RING_HEADER_BYTES + offset, value)
    with pytest.raises(RingCorrupt):
        ring.drain(print)
    with pytest.raises(RingCorrupt):
        ring.peek()


@pytest.mark.parametrize("producer_pos", [2048, 2**63])
def test_impossible_positions_are_found(producer_pos: int) -> None:
    ring, memory = ring_over(1024)
    struct.pack_into("<Q", memory, layout.RING_PRODUCER_OFFSET, producer_pos)
    with pytest.raises(RingCorrupt):
        ring.drain(print)


def test_figures() -> None:
    ring, _ = ring_over(256)
    for _ in range(3):
        ring.offer(1, b"12345678")
    assert (ring.depth_bytes, ring.high_water_bytes, ring.records) == (48, 48, 3)
    drain_all(ring)
    ring.offer(1, b"")
    ring.count_drop()
    assert (ring.depth_bytes, ring.high_water_bytes, ring.records, ring.dropped) == (8, 48, 4, 1)
    assert repr(ring) == "<SpscRing 8/256 bytes, 4 records, 0 failed offers, 1 dropped>"


def test_high_water_is_true_to_a_64th() -> None:
    ring, _ = ring_over(1 << 16)
    for _ in range(10_000):
        ring.offer(1, b"x" * 56)
        drain_all(ring)
    assert ring.high_water_bytes <= 64 + (1 << 10)
    while ring.offer(1, b"x" * 56):
        pass
    assert ring.high_water_bytes >= (1 << 16) - (1 << 10)


def test_offer_many_stops_at_full() -> None:
    ring, _ = ring_over(64)
    assert ring.offer_many(1, [b"12345678"] * 10) == 4
    assert ring.offer_many(1, []) == 0
    assert len(drain_all(ring)) == 4


def test_any_buffer_is_a_payload() -> None:
    ring, _ = ring_over(256)
    assert ring.offer(1, bytearray(b"ab")) and ring.offer(1, memoryview(b"cd"))
    assert drain_all(ring) == [(1, b"ab"), (1, b"cd")]
    with pytest.raises(TypeError):
        ring.offer(1, "text")  # type: ignore[arg-type]


@pytest.mark.parametrize("capacity_bytes", [0, 16, 48, 100])
def test_capacity_must_be_a_power_of_two(capacity_bytes: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        SpscRing(bytearray(4096), 0, capacity_bytes, create=True)


def test_memory_must_hold_the_ring() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        SpscRing(bytearray(500), 0, 128, create=True)
    with pytest.raises(ValueError, match="no ring header"):
        SpscRing(bytearray(100), 0, 32, create=True)
    with pytest.raises(ValueError, match="no ring header"):
        SpscRing(bytearray(4096), -8, 32, create=True)
    with pytest.raises(BufferError):
        SpscRing(bytes(4096), 0, 32, create=True)


def test_what_is_no_ring_is_refused() -> None:
    _, memory = ring_over(128)
    with pytest.raises(RingCorrupt, match="128 bytes, 256 expected"):
        SpscRing(memory, 0, 256)
    with pytest.raises(RingCorrupt, match="magic"):
        SpscRing(bytearray(4096), 0, 128)


def test_memory_stays_mapped_while_a_ring_uses_it() -> None:
    ring, memory = ring_over(128)
    with pytest.raises(BufferError):
        memory.append(0)
    del ring
    memory.append(0)
