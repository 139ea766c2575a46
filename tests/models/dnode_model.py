"""The slow, clear twin of proto/dnode.pyx: reads headers by regular expressions, the extension by the msgpack package.

Works on all the bytes there are at once, for frames whose payload length is exact. What the bytes so far do not decide
ends the frames without an error.
"""

import re
from typing import Any, NamedTuple

import msgpack

MOST_JUNK = 64 * 1024
MOST_DATA = 16 * 1024
MOST_PAYLOAD = 1 << 40
MOST_U64 = (1 << 64) - 1

MAGIC = re.compile(rb"\$2014\$ ")
DIGITS = re.compile(rb"[0-9]{0,20}")
SMALL_FIELDS = ("type", "flags", "version", "same_dc")


class More(Exception):
    """The bytes end inside a frame."""


class Bad(Exception):
    """No header after all: the place of the byte that does not fit."""


class Refused(Exception):
    """A header that is understood and not accepted."""


class ModelFrame(NamedTuple):
    id: int
    type: int
    flags: int
    version: int
    same_dc: bool
    data: bytes
    payload: bytes
    skipped: int


def number(data: bytes, at: int, end: bytes, most: int) -> tuple[int, int]:
    """The number at a place and the place behind the byte that ends it."""
    found = DIGITS.match(data, at)
    assert found
    digits, stop = found[0], found.end()
    if len(digits) == 20 and int(digits) > MOST_U64:
        raise Bad(stop - 1)
    if stop == len(data):
        raise More
    if data[stop : stop + 1] != end or not digits or int(digits) > most:
        raise Bad(stop)
    return int(digits), stop + 1


def literal(data: bytes, at: int, wanted: bytes) -> int:
    if at >= len(data):
        raise More
    if data[at : at + 1] != wanted:
        raise Bad(at)
    return at + 1


def header(data: bytes, at: int) -> tuple[dict[str, Any], int, int]:
    """Fields, payload length and place of the payload of the header whose id starts at `at`."""
    fields: dict[str, Any] = {}
    fields["id"], at = number(data, at, b" ", MOST_U64)
    for name in SMALL_FIELDS:
        fields[name], at = number(data, at, b" ", 255)
    at = literal(data, at, b"*")
    size, at = number(data, at, b" ", MOST_U64)
    if size > MOST_DATA:
        raise Refused("data field too long")
    if len(data) - at < size:
        raise More
    fields["data"] = data[at : at + size]
    at = literal(data, at + size, b" ")
    at = literal(data, at, b"*")
    payload_len, at = number(data, at, b"\r", MOST_U64)
    if payload_len > MOST_PAYLOAD:
        raise Refused("payload too long")
    at = literal(data, at, b"\n")
    fields["flags"] &= 15
    fields["same_dc"] = fields["same_dc"] != 0
    return fields, payload_len, at


def next_header(data: bytes, start: int) -> tuple[dict[str, Any], int, int]:
    """The first sound header at or behind `start`, as `header`, with what was skipped."""
    at = start
    while True:
        magic = MAGIC.search(data, at)
        if magic is None or magic.start() - start > MOST_JUNK:
            if first_open_magic(data, at) - start > MOST_JUNK:
                raise Refused("no frame header")
            raise More
        before = data[max(start, magic.start() - 3) : magic.start()]
        blanks = len(before) - len(before.rstrip(b" "))
        try:
            fields, payload_len, end = header(data, magic.end())
        except Bad as bad:
            at = bad.args[0]
            continue
        fields["skipped"] = magic.start() - blanks - start
        return fields, payload_len, end


def first_open_magic(data: bytes, at: int) -> int:
    """Where a magic may still begin: at the start of an incomplete one at the end of the bytes, or behind them all."""
    for size in range(6, 0, -1):
        if len(data) - size >= at and data.endswith(b"$2014$ "[:size]):
            return len(data) - size
    return len(data)


def frames(data: bytes) -> tuple[list[ModelFrame], int, str | None]:
    found: list[ModelFrame] = []
    at = 0
    try:
        while True:
            fields, payload_len, end = next_header(data, at)
            if len(data) - end < payload_len:
                raise More
            at = end + payload_len
            found.append(ModelFrame(payload=data[end:at], **fields))
    except More:
        return found, at, None
    except Refused as refused:
        return found, at, str(refused)


KEYS = (
    "version", "clock", "flags", "protocol", "stamp", "origin_node", "origin_boot", "origin_worker", "sequence",
    "conflict_class", "epoch", "data_set", "run",
)  # fmt: skip
NARROW = {"version", "flags", "protocol", "origin_boot", "origin_worker", "conflict_class", "run"}
GROUPS = ((1, {"stamp"}), (2, set(KEYS[5:10])), (4, {"epoch"}), (8, {"data_set"}), (16, {"run"}))


def extension(data: bytes) -> dict[str, int] | None:
    """The fields of an extension, or None. For maps whose keys are in their shortest form."""
    try:
        pairs = msgpack.unpackb(data, object_pairs_hook=list, strict_map_key=False, raw=True)
    except Exception:
        return None
    if not isinstance(pairs, list) or (data[0] & 0xF0 != 0x80 and data[0] not in (0xDE, 0xDF)):
        return None
    known: dict[str, int] = {}
    for key, value in pairs:
        if isinstance(key, bool) or not isinstance(key, int) or not 0 <= key < len(KEYS):
            continue
        name = KEYS[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            return None
        if name in NARROW and value >= 1 << 32:
            return None
        known[name] = value
    if "version" not in known:
        return None
    fields = sum(bit for bit, names in GROUPS if names <= known.keys())
    return dict.fromkeys(KEYS, 0) | {"protocol": 2} | known | {"fields": fields}
