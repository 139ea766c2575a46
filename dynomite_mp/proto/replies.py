"""Replies that the node makes itself, from Python values to RESP2 or RESP3 bytes.

Not for the data path: replies of datastores pass through as the bytes they came in.
"""

from collections.abc import Mapping, Sequence


class Status(str):
    """A simple string: `+OK`."""


class Error(str):
    """An error line; the text starts with its code word: `ERR ...`."""


Reply = Status | Error | str | bytes | int | None | Sequence["Reply"] | Mapping[str, "Reply"] | frozenset[str]


def encode_reply(value: Reply, protocol: int) -> bytes:
    """The bytes of a reply for protocol 2 or 3; maps and sets become arrays in RESP2."""
    if isinstance(value, Status):
        return b"+%s\r\n" % value.encode()
    if isinstance(value, Error):
        return b"-%s\r\n" % value.encode(errors="replace")
    if isinstance(value, str):
        value = value.encode(errors="surrogateescape")
    if isinstance(value, bytes):
        return b"$%d\r\n%s\r\n" % (len(value), value)
    if value is None:
        return b"_\r\n" if protocol == 3 else b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, Mapping):
        head = b"%%%d\r\n" % len(value) if protocol == 3 else b"*%d\r\n" % (2 * len(value))
        return head + b"".join(encode_reply(k, protocol) + encode_reply(v, protocol) for k, v in value.items())
    if isinstance(value, frozenset):
        head = b"~%d\r\n" % len(value) if protocol == 3 else b"*%d\r\n" % len(value)
        return head + b"".join(encode_reply(Status(item), protocol) for item in sorted(value))
    return b"*%d\r\n" % len(value) + b"".join(encode_reply(item, protocol) for item in value)
