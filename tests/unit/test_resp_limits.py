"""Exact answers of the framers: limits, error names, kinds of replies."""

from collections.abc import Iterator

import pytest

from dynomite_mp.proto.framer import RequestFramer, frame_replies, frame_requests
from dynomite_mp.proto.resp import set_max_bulk_bytes


@pytest.fixture
def small_bulk() -> Iterator[None]:
    set_max_bulk_bytes(50)
    yield
    set_max_bulk_bytes(512 * 1024 * 1024)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"*x\r\n", "protocol_multibulk_length"),
        (b"*-9999999999999999999\r\n", "protocol_multibulk_length"),
        (b"*\r\n", "protocol_multibulk_length"),
        (b"*1048577\r\n", "protocol_multibulk_length"),
        (b"*01\r\n", "protocol_multibulk_length"),
        (b"*1\rX", "protocol_multibulk_length"),
        (b"*1\r\n:1\r\n", "protocol_expected_bulk"),
        (b"*1\r\n$-1\r\n", "protocol_bulk_length"),
        (b"*1\r\n$536870913\r\n", "protocol_bulk_length"),
        (b"*1\r\n$1x\r\n", "protocol_bulk_length"),
        (b"*1\r\n$1\r\nab\r\n", "protocol_bulk_end"),
        (b'set k "v\r\n', "protocol_quotes"),
        (b"set k 'v'x\r\n", "protocol_quotes"),
        (b"x" * 65537, "protocol_inline_too_big"),
        (b"x" * 65537 + b"\r\n", "protocol_inline_too_big"),
    ],
)
def test_what_no_server_would_frame_is_an_error(data: bytes, error: str) -> None:
    assert frame_requests(data) == ([], 0, error)


def test_requests_before_the_error_are_framed_and_none_behind_it() -> None:
    framer = RequestFramer()
    assert [frame.args for frame in framer.feed(b"PING\r\n*x\r\nPING\r\n")] == [[b"PING"]]
    assert framer.error == "protocol_multibulk_length"
    assert framer.feed(b"PING\r\n") == []


@pytest.mark.parametrize("data", [b"\r\n", b"\n", b"  \r\n", b"*0\r\n", b"*-1\r\n", b"*-999999999999999999\r\n"])
def test_nothing_is_a_request_without_arguments(data: bytes) -> None:
    frames, consumed, error = frame_requests(data)
    assert [frame.args for frame in frames] == [[]]
    assert (consumed, error) == (len(data), None)


def test_the_largest_numbers_are_accepted() -> None:
    assert frame_requests(b"*1048576\r\n$536870912\r\n") == ([], 0, None)
    frames, _, _ = frame_requests(b"x" * 65534 + b"\r\n")
    assert frames[0].args == [b"x" * 65534]


def test_the_largest_bulk_is_a_setting(small_bulk: None) -> None:
    assert frame_requests(b"*1\r\n$50\r\n") == ([], 0, None)
    assert frame_requests(b"*1\r\n$51\r\n") == ([], 0, "protocol_bulk_length")
    assert frame_requests(b"*1\r\n$510\r\n") == ([], 0, "protocol_bulk_length")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"set k v", [b"set", b"k", b"v"]),
        (b"  set\tk   v ", [b"set", b"k", b"v"]),
        (b"set \"a b\" 'c d'", [b"set", b"a b", b"c d"]),
        (b'"\\x41\\n\\t\\"\\\\\\q"', [b'A\n\t"\\q']),
        (b"'it\\'s' '\\n'", [b"it's", b"\\n"]),
        (b'pre"fix"', [b"prefix"]),
        (b'""', [b""]),
        (b"\xff\x80 \x01", [b"\xff\x80", b"\x01"]),
    ],
)
def test_inline_words(line: bytes, words: list[bytes]) -> None:
    frames, consumed, error = frame_requests(line + b"\r\n")
    assert error is None
    assert (frames[0].args, frames[0].is_inline, consumed) == (words, True, len(line) + 2)


@pytest.mark.parametrize(
    ("data", "kind", "flags"),
    [
        (b"+OK\r\n", "+", ""),
        (b"-ERR no\r\n", "-", "error"),
        (b"!5\r\nERR x\r\n", "!", "error"),
        (b"$-1\r\n", "$", ""),
        (b"*-1\r\n", "*", ""),
        (b"_\r\n", "_", ""),
        (b"#t\r\n", "#", ""),
        (b",1.5\r\n", ",", ""),
        (b"(123\r\n", "(", ""),
        (b"=7\r\ntxt:abc\r\n", "=", ""),
        (b"%1\r\n+a\r\n*2\r\n:1\r\n$-1\r\n", "%", ""),
        (b"~2\r\n+a\r\n+b\r\n", "~", ""),
        (b">2\r\n+message\r\n-x\r\n", ">", "push"),
        (b"|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n", "$", "attribute"),
        (b"|1\r\n+a\r\n*1\r\n-x\r\n|0\r\n-ERR\r\n", "-", "error attribute"),
        (b"*1\r\n|1\r\n+k\r\n+v\r\n-inner\r\n", "*", ""),
        (b"*2\r\n*1\r\n*0\r\n*1\r\n:1\r\n", "*", ""),
    ],
)
def test_replies_of_every_kind(data: bytes, kind: str, flags: str) -> None:
    frames, consumed, error = frame_replies(data + b"+")
    assert error is None
    assert consumed == len(data)
    (frame,) = frames
    assert frame.raw == data
    assert frame.kind == kind
    assert (frame.is_error, frame.is_push, frame.has_attribute) == (
        "error" in flags, "push" in flags, "attribute" in flags,
    )  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [b"x", b"PING\r\n", b"$-2\r\n", b"%-1\r\n", b"$1\r\nab\r\n", b"*x\r\n", b"$?\r\n", b"*4294967296\r\n", b"\r\n"],
)
def test_what_is_no_reply_is_an_error(data: bytes) -> None:
    assert frame_replies(data) == ([], 0, "reply_malformed")


@pytest.mark.parametrize("noise", [b"x", b"\n", b"\r"])
def test_lines_of_every_length_end_at_their_crlf(noise: bytes) -> None:
    for size in range(120):
        data = b"+" + (noise * size)[:size] + b"x\r\n"
        frames, consumed, error = frame_replies(data + b":1\r\n")
        assert [frame.raw for frame in frames] == [data, b":1\r\n"]
        assert (consumed, error) == (len(data) + 4, None)


def test_deep_nesting_needs_no_stack() -> None:
    data = b"*1\r\n" * 200_000 + b":1\r\n"
    frames, consumed, error = frame_replies(data)
    assert (len(frames), consumed, error) == (1, len(data), None)
