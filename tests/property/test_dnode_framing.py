"""The law of the header reader: whole == cut anywhere == byte by byte == the model, for input good and bad."""

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dynomite_mp.proto.dnode_frames import DnodeFramer, encode_frame, frame_dnode
from tests.models import dnode_model

Answer = tuple[list[tuple[Any, ...]], int, str | None]

PAYLOADS = st.binary(max_size=40) | st.sampled_from(
    [b"", b"   $2014$ 1 3 0 2 1 *1 d *0\r\n", b"$2014$ ", b"\r\n", b" "]
)
DATA = st.binary(min_size=1, max_size=40) | st.sampled_from([b"d", b"$", b" ", b"k" * 128, b"   $2014$ 1 3 0"])
SMALL = st.integers(0, 13) | st.integers(0, 255)
GOOD = st.builds(
    lambda id, type, flags, same_dc, data, payload: encode_frame(
        id, type, payload, flags=flags, version=2, same_dc=same_dc, data=data
    ),
    st.integers(0, 99) | st.integers(0, (1 << 64) - 1), SMALL, st.integers(0, 15), st.booleans(), DATA, PAYLOADS,
)  # fmt: skip
NUMBERS = st.sampled_from(
    [b"0", b"1", b"3", b"007", b"255", b"256", b"", b"-1", b"18446744073709551615", b"18446744073709551616",
     b"99999999999999999999", b"000000000000000000002", b"16384", b"16385", b"1099511627776", b"1099511627777", b"/"]
)  # fmt: skip
ODD = st.builds(
    lambda magic, small, size, data, gap, length, end: (
        magic + b" ".join([*small[:3], b"2", *small[3:]]) + b" *" + size + b" " + data + gap + length + end
    ),
    st.sampled_from([b"   $2014$ ", b"$2014$ ", b" $2014$ ", b"    $2014$ ", b"   $2014$"]),
    st.lists(NUMBERS, min_size=4, max_size=5), NUMBERS, DATA, st.sampled_from([b" *", b"  *", b" ", b"*", b""]),
    NUMBERS, st.sampled_from([b"\r\n", b"\r", b"\n", b" "]),
)  # fmt: skip
SCRAPS = st.sampled_from(
    [b"$", b"$2", b"$2014", b"$2014$", b"$2014$2014$ ", b"$$2014$ ", b" ", b"   ", b"x" * 300, b"$" * 70, b"\r\n"]
) | st.binary(max_size=12)  # fmt: skip
STREAMS = st.lists(GOOD | GOOD | ODD | SCRAPS, max_size=8).map(b"".join)
LONG_JUNK = st.builds(
    lambda fill, size, tail, frame: (fill * (size // len(fill) + 1))[:size] + tail + frame,
    st.sampled_from([b"x", b" ", b"$", b"$2014", b"   $2014$ 1 3 "]),
    st.integers(64 * 1024 - 9, 64 * 1024 + 9), SCRAPS, GOOD,
)  # fmt: skip


def in_pieces(data: bytes, cuts: list[int]) -> Answer:
    framer = DnodeFramer()
    frames = []
    for start, end in pairwise([0, *cuts, len(data)]):
        frames += framer.feed(data[start:end])
    return frames, framer.consumed, framer.error


@given(st.lists(GOOD, max_size=6))
def test_frames_written_are_frames_read(frames: list[bytes]) -> None:
    read, used, error = frame_dnode(b"".join(frames))
    assert (used, error) == (sum(map(len, frames)), None)
    assert [
        encode_frame(
            one.id, one.type, one.payload, flags=one.flags, version=one.version, same_dc=one.same_dc, data=one.data
        )
        for one in read
    ] == frames


@settings(max_examples=600)
@given(st.data(), STREAMS)
def test_cuts_change_nothing(data: st.DataObject, stream: bytes) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    whole = frame_dnode(stream)
    assert in_pieces(stream, cuts) == whole
    assert in_pieces(stream, list(range(len(stream)))) == whole


@settings(max_examples=600)
@given(STREAMS)
def test_as_the_model_reads_it(stream: bytes) -> None:
    assert frame_dnode(stream) == dnode_model.frames(stream)


@settings(max_examples=60)
@given(LONG_JUNK)
def test_much_junk_as_the_model_reads_it(stream: bytes) -> None:
    whole = frame_dnode(stream)
    assert whole == dnode_model.frames(stream)
    end = len(stream)
    assert in_pieces(stream, list(range(max(0, end - 80), end))) == whole
