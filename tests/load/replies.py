"""Replies as values that keep their wire type, and the rules by which two of them are the same.

`read_frame` is a plain, blocking RESP2/RESP3 reader that shares nothing with the code under test. `same` compares
replies under the rule of the command: exactly, or as far as Redis itself promises anything (members of a set have no
order, a time to live runs on between two calls). It takes what redis-py returns, too: bytes, lists, dicts, exceptions.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import IO, Any, NamedTuple

TTL_TOLERANCE_S = 10
NEAR_TOLERANCE = 60_000


class Frame(NamedTuple):
    """A RESP value and its first byte; the value of an aggregate is a list of frames, of a map a list of pairs."""

    kind: str
    value: Any


class BrokenReplyError(Exception):
    """The bytes are no RESP reply, or the connection ended inside one."""


def _line(stream: IO[bytes]) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise BrokenReplyError(f"connection ended, or no CRLF, after {line[-80:]!r}")
    return line[:-2]


def read_frame(stream: IO[bytes]) -> Frame:
    """The next reply of a connection; attributes before it are dropped."""
    line = _line(stream)
    kind, rest = chr(line[0]) if line else "", line[1:]
    if kind in "+-:_,#(" and kind:
        return Frame(kind, rest)
    if kind not in ("$", "=", "!", "*", "~", ">", "%", "|"):
        raise BrokenReplyError(f"a reply begins with {line[:40]!r}")
    size = int(rest)
    if size < 0:
        return Frame(kind, None)
    if kind in "$=!":
        data = stream.read(size + 2)
        if len(data) != size + 2 or data[-2:] != b"\r\n":
            raise BrokenReplyError(f"a bulk of {size} bytes ends with {data[-10:]!r}")
        return Frame(kind, data[:-2])
    if kind in "%|":
        pairs = [(read_frame(stream), read_frame(stream)) for _ in range(size)]
        return read_frame(stream) if kind == "|" else Frame(kind, pairs)
    return Frame(kind, [read_frame(stream) for _ in range(size)])


class Rule(Enum):
    """What has to be equal."""

    EXACT = "exact"
    UNORDERED = "unordered"  # a set of elements
    PAIRS = "pairs"  # a flat list of pairs, or a map, in any order
    SCAN = "scan"  # [cursor, unordered elements]
    SCAN_PAIRS = "scan pairs"
    TTL_S = "ttl s"  # integers within TTL_TOLERANCE_S
    TTL_MS = "ttl ms"
    NEAR = "near"  # exact, but integers within NEAR_TOLERANCE (idle times)
    SHAPE = "shape"  # same types, same lengths of aggregates
    PRESENCE = "presence"  # nil, error or a value
    CONTENT = "content"  # exact, but for the count that PFCOUNT leaves in the value at the replica that is asked


def canon(value: Any) -> Any:
    """A reply as nested tuples that compare by type and value."""
    if isinstance(value, Frame):
        if value.kind == "%" and value.value is not None:
            return ("%", tuple((canon(k), canon(v)) for k, v in value.value))
        if isinstance(value.value, list):
            return (value.kind, tuple(canon(item) for item in value.value))
        return (value.kind, value.value)
    if isinstance(value, dict):
        return ("map", tuple((canon(k), canon(v)) for k, v in value.items()))
    if isinstance(value, set | frozenset):
        return ("set", tuple(sorted((canon(item) for item in value), key=repr)))
    if isinstance(value, list | tuple):
        return ("list", tuple(canon(item) for item in value))
    if isinstance(value, Exception):
        return ("error", type(value).__name__ + ": " + str(value))
    return (type(value).__name__, repr(value) if isinstance(value, float) else value)


def _sorted(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted(items, key=repr))


def _unordered(reply: Any) -> Any:
    kind, items = reply
    return (kind, _sorted(items)) if isinstance(items, tuple) else reply


def _pairs(reply: Any) -> Any:
    kind, items = reply
    if not isinstance(items, tuple):
        return reply
    if kind in ("%", "map") or all(item[0] in ("*", "list") for item in items):
        return (kind, _sorted(items))
    if len(items) % 2:
        return reply
    return (kind, _sorted(tuple(zip(items[::2], items[1::2], strict=True))))


def _scan(reply: Any, inner: Callable[[Any], Any]) -> Any:
    kind, items = reply
    if not isinstance(items, tuple) or len(items) != 2:
        return reply
    return (kind, (items[0], inner(items[1])))


def _shape(reply: Any) -> Any:
    kind, value = reply
    if not isinstance(value, tuple):
        return (kind, value is None)
    if kind in ("%", "map"):
        return (kind, len(value))
    return (kind, tuple(_shape(item) for item in value))


def _presence(reply: Any) -> Any:
    kind, value = reply
    return (kind, value if kind in ("-", "error") else value is None)


def uncounted(value: Any) -> Any:
    """A HyperLogLog without the count that PFCOUNT leaves in it where it was asked; other values as they are."""
    is_hyperloglog = isinstance(value, bytes) and value.startswith(b"HYLL") and len(value) > 16
    return value[:8] + value[16:] if is_hyperloglog else value


def _content(reply: Any) -> Any:
    kind, value = reply
    return (kind, uncounted(value))


def _integer(reply: Any) -> int | None:
    kind, value = reply
    if kind in (":", "int") and value is not None:
        return int(value)
    return None


def _near(left: Any, right: Any, tolerance: int) -> bool:
    if left == right:
        return True
    a, b = _integer(left) if _is_leaf(left) else None, _integer(right) if _is_leaf(right) else None
    if a is not None and b is not None:
        return a >= 0 and b >= 0 and abs(a - b) <= tolerance
    if isinstance(left, tuple) and isinstance(right, tuple) and len(left) == len(right):
        return all(_near(x, y, tolerance) for x, y in zip(left, right, strict=True))
    return False


def _is_leaf(reply: Any) -> bool:
    return isinstance(reply, tuple) and len(reply) == 2 and isinstance(reply[0], str)


NORMAL: dict[Rule, Callable[[Any], Any]] = {
    Rule.EXACT: lambda reply: reply,
    Rule.UNORDERED: _unordered,
    Rule.PAIRS: _pairs,
    Rule.SCAN: lambda reply: _scan(reply, _unordered),
    Rule.SCAN_PAIRS: lambda reply: _scan(reply, _pairs),
    Rule.SHAPE: _shape,
    Rule.PRESENCE: _presence,
    Rule.CONTENT: _content,
}
TOLERANCE = {Rule.TTL_S: TTL_TOLERANCE_S, Rule.TTL_MS: TTL_TOLERANCE_S * 1000, Rule.NEAR: NEAR_TOLERANCE}


def same(left: Any, right: Any, rule: Rule) -> bool:
    """Whether two replies to one command are equal under its rule."""
    a, b = canon(left), canon(right)
    if a == b:
        return True
    if rule in TOLERANCE:
        return _near(a, b, TOLERANCE[rule])
    return bool(NORMAL[rule](a) == NORMAL[rule](b))
