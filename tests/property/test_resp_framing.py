"""The law of the framers: whole == cut anywhere == byte by byte == the model, for good input and for any other."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dynomite_mp.proto.framer import ReplyFramer, RequestFramer, frame_blind, frame_replies, frame_requests
from tests.models import resp_model

Answer = tuple[list[tuple[Any, ...]], int, str | None]

BYTES = st.binary(max_size=40) | st.sampled_from([b"", b"\r\n", b"$1\r\n", b"*2\r\n", b"x" * 200, b"get", b"\xff\r"])


def array(args: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


def quoted(arg: bytes, style: int) -> bytes:
    if style == 0:
        return b'"' + b"".join(b"\\x%02x" % byte for byte in arg) + b'"'
    if style == 1:
        return b'"' + arg.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'
    if style == 2:
        return b"'" + arg.replace(b"'", b"\\'").replace(b"\n", b" ") + b"'"
    return arg.replace(b"\n", b" ")


LINES = st.builds(
    lambda words, gap, end: gap.join(quoted(word, style) for word, style in words) + end,
    st.lists(st.tuples(st.binary(max_size=12), st.integers(0, 3)), max_size=6),
    st.sampled_from([b" ", b"  ", b"\t", b" \v "]),
    st.sampled_from([b"\r\n", b"\n", b" \r\n", b"\r\r\n"]),
)
REQUESTS = st.lists(BYTES, min_size=1, max_size=12).map(array)
SCRAPS = st.sampled_from(
    [
        *(b"*", b"*-", b"*0\r\n", b"*-1\r\n", b"*00\r\n", b"*1\r", b"*1\n", b"$", b"$-1\r\n", b"*+1\r\n", b"*-0\r\n"),
        *(b"*1048576\r\n", b"*1048577\r\n", b"*999999999999999999\r\n", b"*9999999999999999999999\r\n"),
        *(b"*1\r\n$536870912\r\n", b"*1\r\n$536870913\r\n", b"*1\r\n+x\r\n", b"*1\r\n$0\r\n\r\n", b"*1\r\n$1\r\na\n\n"),
        *(b"\r\n", b"\n", b'"', b"'a'b\r\n", b"\x00\r\n"),
    ]
)


def line(kind: bytes) -> st.SearchStrategy[bytes]:
    text = st.binary(max_size=50).map(lambda b: b.replace(b"\r\n", b""))
    return text.map(lambda b: kind + b + b"\r\n")


SCALARS = st.one_of(
    *(line(kind) for kind in (b"+", b"-", b":", b"_", b"#", b",", b"(")),
    st.builds(lambda kind, b: kind + b"%d\r\n%s\r\n" % (len(b), b), st.sampled_from([b"$", b"=", b"!"]), BYTES),
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"%0\r\n", b"~0\r\n", b">0\r\n"]),
)


def aggregates(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    def built(kind: bytes, parts: list[bytes]) -> bytes:
        if kind in (b"%", b"|"):
            parts = parts[: len(parts) // 2 * 2]
        count = len(parts) // 2 if kind in (b"%", b"|") else len(parts)
        tail = b":1\r\n" if kind == b"|" else b""
        return kind + b"%d\r\n" % count + b"".join(parts) + tail

    return st.builds(built, st.sampled_from([b"*", b"%", b"~", b">", b"|"]), st.lists(inner, max_size=4))


REPLIES = st.recursive(SCALARS, aggregates, max_leaves=12)
REPLY_SCRAPS = st.sampled_from(
    [
        *(b"$-2\r\n", b"%-1\r\n", b"~-1\r\n", b"*4294967295\r\n", b"*4294967296\r\n", b"$1\r\nab\r\n", b"?", b"$?\r\n"),
        *(b"|0\r\n", b"|1\r\n", b"+\r", b"+a\rb\r\n", b"+a\nb\r\n", b"-\r\n", b":\r\n", b"*" * 9),
        *(b"$1099511627776\r\n", b"$1099511627777\r\n"),
    ]
)


def damaged(parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Streams of which some have a byte changed, lost, added, or end early."""

    def damage(data: bytes, what: int, where: int, byte: int) -> bytes:
        at = where % (len(data) + 1)
        if what == 0:
            return data
        if what == 1:
            return data[:at] + bytes([byte]) + data[at + 1 :]
        if what == 2:
            return data[:at] + data[at + 1 :]
        if what == 3:
            return data[:at] + bytes([byte]) + data[at:]
        return data[:at]

    bytes_of_note = st.sampled_from(list(b"\r\n*$0123456789-+ \"'\\%~>|:_#,(=!x")) | st.integers(0, 255)
    streams = st.lists(parts, max_size=6).map(b"".join)
    return st.builds(damage, streams, st.integers(0, 4), st.integers(0, 2000), bytes_of_note)


REQUEST_STREAMS = damaged(REQUESTS | LINES | SCRAPS) | st.binary(max_size=60)
REPLY_STREAMS = damaged(REPLIES | REPLY_SCRAPS) | st.binary(max_size=60)


def answer(frames: Sequence[tuple[Any, ...]], consumed: int, error: str | None) -> Answer:
    return [tuple(frame) for frame in frames], consumed, error


def in_pieces(framer: RequestFramer | ReplyFramer, data: bytes, cuts: Sequence[int]) -> Answer:
    frames: list[tuple[Any, ...]] = []
    marks = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(marks):
        frames += framer.feed(data[start:end])
    return answer(frames, framer.consumed, framer.error)


def check(
    data: bytes,
    cuts: Sequence[int],
    framer: Callable[[], RequestFramer | ReplyFramer],
    whole: Answer,
    model: Answer,
) -> None:
    assert whole == model
    assert in_pieces(framer(), data, cuts) == whole
    assert in_pieces(framer(), data, range(len(data))) == whole


@settings(max_examples=400, deadline=None)
@given(REQUEST_STREAMS, st.lists(st.integers(0, 2000), max_size=8))
def test_requests_frame_alike_however_they_arrive(data: bytes, cuts: list[int]) -> None:
    check(data, cuts, RequestFramer, answer(*frame_requests(data)), answer(*resp_model.requests(data)))


@settings(max_examples=400, deadline=None)
@given(REPLY_STREAMS, st.lists(st.integers(0, 2000), max_size=8))
def test_replies_frame_alike_however_they_arrive(data: bytes, cuts: list[int]) -> None:
    check(data, cuts, ReplyFramer, answer(*frame_replies(data)), answer(*resp_model.replies(data)))


@given(st.lists(st.lists(BYTES, min_size=1, max_size=12), max_size=6))
def test_what_is_encoded_is_what_is_framed(commands: list[list[bytes]]) -> None:
    data = b"".join(array(args) for args in commands)
    frames, consumed, error = frame_requests(data)
    assert [frame.args for frame in frames] == commands
    assert (consumed, error) == (len(data), None)


@given(st.lists(REPLIES, max_size=6))
def test_every_reply_is_one_frame(replies: list[bytes]) -> None:
    frames, consumed, error = frame_replies(b"".join(replies))
    assert [frame.raw for frame in frames] == replies
    assert (consumed, error) == (sum(map(len, replies)), None)


@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=6))
def test_inline_words_in_hex_come_back_as_they_were(words: list[bytes]) -> None:
    frames, _, error = frame_requests(b" ".join(quoted(word, 0) for word in words) + b"\r\n")
    assert error is None
    assert [frame.args for frame in frames] == [words]


@given(st.lists(BYTES, min_size=1, max_size=12).map(array) | SCRAPS.filter(lambda b: b.startswith(b"*")))
def test_no_byte_of_a_request_is_looked_at_twice(data: bytes) -> None:
    assert frame_blind(data, range(len(data)), False) == frame_blind(data, (), False)


@given(REPLIES | REPLY_SCRAPS)
def test_no_byte_of_a_reply_is_looked_at_twice(data: bytes) -> None:
    assert frame_blind(data, range(len(data)), True) == frame_blind(data, (), True)
