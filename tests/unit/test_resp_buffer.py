"""The growing buffer: content, reuse of consumed room, giving memory back."""

import pytest

from dynomite_mp.proto.buffer import ByteBuffer


def test_bytes_come_out_as_they_went_in() -> None:
    buffer = ByteBuffer()
    expected = b""
    for i in range(2000):
        piece = bytes([i % 251]) * (i % 97)
        buffer.append(piece)
        expected += piece
        eaten = (i * 7) % (len(expected) + 1)
        buffer.consume(eaten)
        expected = expected[eaten:]
        assert len(buffer) == len(expected)
    assert bytes(buffer) == expected


def test_consumed_room_is_used_again() -> None:
    buffer = ByteBuffer()
    for _ in range(1000):
        buffer.append(b"x" * 300)
        buffer.consume(300)
    assert buffer.capacity == 512
    buffer.append(b"y" * 100)
    for _ in range(1000):
        buffer.append(b"x" * 300)
        buffer.consume(300)
    assert buffer.capacity <= 2048


def test_growth_doubles() -> None:
    buffer = ByteBuffer()
    buffer.append(b"x" * 513)
    assert buffer.capacity == 1024
    buffer.reserve(5000)
    assert buffer.capacity == 8192
    assert bytes(buffer) == b"x" * 513


def test_an_idle_buffer_gives_memory_back_and_a_busy_one_does_not() -> None:
    buffer = ByteBuffer()
    buffer.append(b"x" * 100_000)
    buffer.shrink_idle(1024)
    assert len(buffer) == 100_000
    buffer.consume(100_000)
    buffer.shrink_idle(1024)
    assert buffer.capacity == 1024
    buffer.shrink_idle(0)
    assert (buffer.capacity, bytes(buffer)) == (0, b"")
    buffer.append(b"again")
    assert bytes(buffer) == b"again"


def test_more_than_any_machine_has_is_refused() -> None:
    buffer = ByteBuffer()
    buffer.append(b"x")
    for size in (2**64 - 1, 2**62, 2**63):
        with pytest.raises(MemoryError):
            buffer.reserve(size)
    assert bytes(buffer) == b"x"
