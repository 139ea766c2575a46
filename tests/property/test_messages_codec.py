"""The hot messages' codec: what it writes is msgpack, what it reads is what it wrote, and garbage is refused."""

import hypothesis.strategies as st
import msgpack
import pytest
from hypothesis import example, given, settings

from dynomite_mp.ipc import messages
from dynomite_mp.ipc.message_codec import decode_hot, encode_hot

u32 = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 127, 128, 255, 256, 2**16, 2**31, 2**32 - 1]))
u64 = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 2**32 - 1, 2**32, 2**63, 2**64 - 1]))
value = st.binary(max_size=400)
node = st.text(max_size=60)

SHAPES = {
    messages.SHARD_REQUEST: st.tuples(u64, u32, u64, value),
    messages.SHARD_REPLY: st.tuples(u64, u32, u64, value),
    messages.SHARD_WRITE: st.tuples(u64, u32, u64, u64, u64, u64, u32, u32, u64, u32, u32, value),
    messages.REPLICA_REPLY: st.tuples(u64, u32, u32, value),
    messages.HINT: st.tuples(u32, node, u64, u32, u32, u64, u64, u32, u32, value),
    messages.REPLICATE: st.tuples(u64, u64, u32, u32, u64, u64, u32, u32, u64, u32, u64, value),
}
any_message = st.sampled_from(sorted(SHAPES)).flatmap(lambda i: st.tuples(st.just(i), SHAPES[i]))


def test_there_is_a_shape_for_every_hot_row() -> None:
    assert set(SHAPES) == {row.id for row in messages.MESSAGES.values() if row.hot}


@given(any_message)
def test_what_is_written_is_msgpack_and_comes_back(message: tuple[int, tuple[object, ...]]) -> None:
    message_id, values = message
    payload = encode_hot(message_id, values)
    assert tuple(msgpack.unpackb(payload)) == values
    assert decode_hot(message_id, payload) == values
    assert messages.decode(message_id, payload) == values
    assert payload.endswith(values[-1])  # type: ignore[arg-type]


@given(any_message, st.data())
def test_a_cut_or_lengthened_payload_is_refused(message: tuple[int, tuple[object, ...]], data: st.DataObject) -> None:
    message_id, values = message
    payload = encode_hot(message_id, values)
    cut = data.draw(st.integers(0, len(payload) - 1))
    assert decode_hot(message_id, payload[:cut]) is None
    assert decode_hot(message_id, payload + b"x") is None


@given(any_message, st.data())
def test_a_changed_marker_is_refused(message: tuple[int, tuple[object, ...]], data: st.DataObject) -> None:
    message_id, values = message
    payload = bytearray(encode_hot(message_id, values))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    decoded = decode_hot(message_id, bytes(payload))
    if decoded is not None:  # a byte of a number or of the value: still msgpack, and the same to both readers
        assert tuple(msgpack.unpackb(bytes(payload))) == decoded != values


@given(st.sampled_from(sorted(SHAPES)), st.binary(max_size=200))
@example(messages.REPLICATE, b"\x81\x80\x00")  # a map whose key is a map
@settings(max_examples=300)
def test_garbage_is_refused_by_both_readers(message_id: int, garbage: bytes) -> None:
    decoded = decode_hot(message_id, garbage)
    if decoded is not None:
        assert encode_hot(message_id, decoded) == garbage
    try:
        messages.decode(message_id, garbage)
    except messages.MessageError:
        assert decoded is None


@pytest.mark.parametrize("message_id", sorted(SHAPES))
def test_numbers_out_of_range_are_refused(message_id: int) -> None:
    zeros = [0] * (len(messages.MESSAGES[message_id].fields) - 1)
    for bad in (-1, 2**64):
        with pytest.raises(OverflowError):
            encode_hot(message_id, (bad, *zeros[1:], b""))


def test_only_hot_rows_have_a_codec() -> None:
    with pytest.raises(KeyError):
        encode_hot(messages.CONTROL, ("drain", None))
    with pytest.raises(KeyError):
        decode_hot(messages.CONTROL, b"")
