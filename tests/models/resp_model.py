"""The slow, clear twin of proto/resp.pyx: frames RESP by regular expressions and recursion.

Works on all the bytes there are at once. What the bytes so far do not decide ends the frames without an error.
"""

import re
from typing import NamedTuple

MOST_ARGS = 1024 * 1024
LONGEST_INLINE = 64 * 1024
MAX_BULK = 512 * 1024 * 1024
MAX_REPLY_BULK = 1 << 40
MOST_COUNT = (1 << 32) - 1

NUMBER = re.compile(rb"(0|-?[1-9][0-9]{0,17})\r\n")
NUMBER_SO_FAR = re.compile(rb"-?|0\r?|-?[1-9][0-9]{0,17}\r?")
BLANKS = re.compile(rb"[ \t\n\v\f\r]*")
WORD = re.compile(
    rb"""([^ \t\r\n"']*)(?:"((?:\\.|[^"\\])*+)"(?=[ \t\n\v\f\r]|\Z)|'((?:\\'|[^'])*+)'(?=[ \t\n\v\f\r]|\Z)|(?=[ \t\r\n]|\Z))""",
    re.DOTALL,
)
ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


class More(Exception):
    """The bytes end inside a frame."""


class Bad(Exception):
    """The bytes cannot be a frame; the argument names the wire error."""


class ModelRequest(NamedTuple):
    args: list[bytes]
    raw: bytes
    is_inline: bool


class ModelReply(NamedTuple):
    kind: str
    is_push: bool
    is_error: bool
    has_attribute: bool
    raw: bytes


def number(data: bytes, at: int, error: str) -> tuple[int, int]:
    """The number at a place and the place behind its CRLF."""
    found = NUMBER.match(data, at)
    if found:
        return int(found[1]), found.end()
    if NUMBER_SO_FAR.fullmatch(data, at):
        raise More
    raise Bad(error)


def byte(data: bytes, at: int) -> bytes:
    if at >= len(data):
        raise More
    return data[at : at + 1]


def bulk(data: bytes, at: int, size: int, error: str) -> tuple[bytes, int]:
    """The bytes of a bulk string and the place behind its CRLF."""
    if len(data) < at + size + 2:
        raise More
    if data[at + size : at + size + 2] != b"\r\n":
        raise Bad(error)
    return data[at : at + size], at + size + 2


def unescape(found: re.Match[bytes]) -> bytes:
    what = found[1]
    if len(what) == 3:
        return bytes([int(what[1:], 16)])
    return ESCAPED.get(what, what)


def words(line: bytes) -> list[bytes]:
    """The words of an inline command, by the quoting rules of redis-cli."""
    out = []
    at = BLANKS.match(line).end()  # type: ignore[union-attr]
    while at < len(line):
        found = WORD.match(line, at)
        if not found:
            raise Bad("protocol_quotes")
        plain, double, single = found.groups()
        tail = b""
        if double is not None:
            tail = ESCAPE.sub(unescape, double)
        elif single is not None:
            tail = single.replace(b"\\'", b"'")
        out.append(plain + tail)
        at = BLANKS.match(line, found.end()).end()  # type: ignore[union-attr]
    return out


def request(data: bytes, at: int) -> tuple[ModelRequest, int]:
    start = at
    if byte(data, at) != b"*":
        end = data.find(b"\n", at, at + LONGEST_INLINE + 1)
        if end < 0:
            if len(data) - at > LONGEST_INLINE:
                raise Bad("protocol_inline_too_big")
            raise More
        line = data[at:end].removesuffix(b"\r")
        return ModelRequest(words(line), data[at : end + 1], True), end + 1
    count, at = number(data, at + 1, "protocol_multibulk_length")
    if count > MOST_ARGS:
        raise Bad("protocol_multibulk_length")
    args = []
    for _ in range(count):
        if byte(data, at) != b"$":
            raise Bad("protocol_expected_bulk")
        size, at = number(data, at + 1, "protocol_bulk_length")
        if not 0 <= size <= MAX_BULK:
            raise Bad("protocol_bulk_length")
        arg, at = bulk(data, at, size, "protocol_bulk_end")
        args.append(arg)
    return ModelRequest(args, data[start:at], False), at


def value(data: bytes, at: int) -> int:
    """The place behind the value (with its attributes) that starts at a place."""
    kind = byte(data, at)
    at += 1
    if kind in (b"+", b"-", b":", b"_", b"#", b",", b"("):
        end = data.find(b"\r\n", at)
        if end < 0:
            raise More
        return end + 2
    if kind not in (b"$", b"=", b"!", b"*", b"%", b"~", b"|", b">"):
        raise Bad("reply_malformed")
    count, at = number(data, at, "reply_malformed")
    if count < 0:
        if count == -1 and kind in (b"$", b"*"):
            return at
        raise Bad("reply_malformed")
    if kind in (b"$", b"=", b"!"):
        if count > MAX_REPLY_BULK:
            raise Bad("reply_malformed")
        return bulk(data, at, count, "reply_malformed")[1]
    if count > MOST_COUNT:
        raise Bad("reply_malformed")
    for _ in range(count * 2 if kind in (b"%", b"|") else count):
        at = value(data, at)
    return value(data, at) if kind == b"|" else at


def reply(data: bytes, at: int) -> tuple[ModelReply, int]:
    start = at
    attributes = 0
    while byte(data, at) == b"|":
        attributes += 1
        count, at = number(data, at + 1, "reply_malformed")
        if not 0 <= count <= MOST_COUNT:
            raise Bad("reply_malformed")
        for _ in range(count * 2):
            at = value(data, at)
    kind = byte(data, at)
    end = value(data, at)
    return ModelReply(kind.decode(), kind == b">", kind in (b"-", b"!"), attributes > 0, data[start:end]), end


def requests(data: bytes) -> tuple[list[ModelRequest], int, str | None]:
    """All requests, the bytes they take, and the wire error that ends them or None."""
    out: list[ModelRequest] = []
    at = 0
    try:
        while True:
            frame, at = request(data, at)
            out.append(frame)
    except More:
        return out, at, None
    except Bad as bad:
        return out, at, str(bad)


def replies(data: bytes) -> tuple[list[ModelReply], int, str | None]:
    """All replies, the bytes they take, and the wire error that ends them or None."""
    out: list[ModelReply] = []
    at = 0
    try:
        while True:
            frame, at = reply(data, at)
            out.append(frame)
    except More:
        return out, at, None
    except Bad as bad:
        return out, at, str(bad)
