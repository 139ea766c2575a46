"""The slow, clear twin of proto/fragment.pyx, and a datastore of one dict that answers the commands it splits.

Works on lists of arguments and lists of elements; bytes are framed by resp_model.
"""

from collections.abc import Sequence

from dynomite_mp.errors import WIRE_ERRORS
from dynomite_mp.proto.commands import COMMAND_BY_NAME
from tests.models import resp_model

PART_FAILED = WIRE_ERRORS["part_failed"].line
WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"


def array(args: Sequence[bytes]) -> bytes:
    """A request frame."""
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


def step(args: Sequence[bytes]) -> int:
    """Arguments a key."""
    return 2 if COMMAND_BY_NAME[args[0].decode().lower()].split == "pairs" else 1


def split(args: Sequence[bytes], groups: Sequence[int]) -> dict[int, list[bytes]]:
    """The arguments of every part by its group, in the order in which the groups appear."""
    width = step(args)
    parts: dict[int, list[bytes]] = {}
    for i, group in enumerate(groups):
        parts.setdefault(group, [args[0]]).extend(args[1 + i * width : 1 + (i + 1) * width])
    return parts


def strip_attributes(reply: bytes) -> bytes:
    at = 0
    while reply[at : at + 1] == b"|":
        count, at = resp_model.number(reply, at + 1, "part_failed")
        if not 0 <= count <= resp_model.MOST_COUNT:
            raise resp_model.Bad("part_failed")
        for _ in range(count * 2):
            at = resp_model.value(reply, at)
    return reply[at:]


def is_error(reply: bytes) -> bool:
    frames, _, error = resp_model.replies(reply)
    return error is None and len(frames) == 1 and frames[0].is_error and frames[0].raw == reply


def elements(reply: bytes, count: int) -> list[bytes]:
    """The elements of an array of `count`; Bad or More for any other reply."""
    value = strip_attributes(reply)
    if value[:1] != b"*":
        raise resp_model.Bad("part_failed")
    announced, at = resp_model.number(value, 1, "part_failed")
    out = []
    for _ in range(announced):
        frame, end = resp_model.reply(value, at)
        if frame.is_push:
            raise resp_model.Bad("part_failed")
        out.append(value[at:end])
        at = end
    if len(out) != count or at != len(value):
        raise resp_model.Bad("part_failed")
    return out


def integer(reply: bytes) -> int:
    value = strip_attributes(reply)
    if value[:1] != b":":
        raise resp_model.Bad("part_failed")
    found, at = resp_model.number(value, 1, "part_failed")
    if at != len(value):
        raise resp_model.Bad("part_failed")
    return found


def merge(name: bytes, groups: Sequence[int], replies: Sequence[bytes]) -> bytes:
    """The one reply; replies are in the order in which the groups appear."""
    for reply in replies:
        if is_error(reply):
            return reply
    by_group = dict(zip(dict.fromkeys(groups), replies, strict=True))
    try:
        how = COMMAND_BY_NAME[name.decode().lower()].merge
        if how == "sum":
            return b":%d\r\n" % sum(integer(reply) for reply in replies)
        if how == "ok":
            good = all(strip_attributes(reply) == b"+OK\r\n" for reply in replies)
            return b"+OK\r\n" if good else PART_FAILED
        queues = {group: elements(reply, list(groups).count(group)) for group, reply in by_group.items()}
    except (resp_model.Bad, resp_model.More):
        return PART_FAILED
    return b"*%d\r\n" % len(groups) + b"".join(queues[group].pop(0) for group in groups)


class DictStore:
    """What a datastore answers to one request after the other. Keys in `broken` refuse to be read or written."""

    def __init__(self, values: dict[bytes, bytes], broken: frozenset[bytes] = frozenset(), protocol: int = 2) -> None:
        self.values = dict(values)
        self.broken = broken
        self.missing = b"$-1\r\n" if protocol == 2 else b"_\r\n"

    def execute(self, args: Sequence[bytes]) -> bytes:
        name, rest = args[0].lower(), args[1:]
        keys = rest[::2] if name == b"mset" else rest
        if self.broken.intersection(keys):
            return WRONG_TYPE
        if name == b"mget":
            return b"*%d\r\n" % len(keys) + b"".join(map(self.get, keys))
        if name == b"mset":
            self.values.update(zip(keys, rest[1::2], strict=True))
            return b"+OK\r\n"
        if name in (b"del", b"unlink"):
            return b":%d\r\n" % sum(self.values.pop(key, None) is not None for key in keys)
        assert name in (b"exists", b"touch")
        return b":%d\r\n" % sum(key in self.values for key in keys)

    def get(self, key: bytes) -> bytes:
        value = self.values.get(key)
        return self.missing if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
