"""Requests that are wrong on the wire, and what Redis answers to each: the table of `bad_input`.

`closes` says whether the connection ends: True, False (then it must still answer PING), or None where either is right.
"""

from __future__ import annotations

from typing import NamedTuple


class BadBytes(NamedTuple):
    """Bytes to send, and the beginning of the wanted reply (empty: none; None: any)."""

    name: str
    data: bytes
    reply: bytes | None
    closes: bool | None


MULTIBULK = b"-ERR Protocol error: invalid multibulk length"
BULK = b"-ERR Protocol error: invalid bulk length"
TOO_MANY_DIGITS = b"-ERR Protocol error: "  # Redis says so after 64 KB; whoever looks at once says "invalid length"
LONG = 70_000

BAD_BYTES: tuple[BadBytes, ...] = (
    BadBytes("count is no number", b"*abc\r\n", MULTIBULK, True),
    BadBytes("count 2^63", b"*9223372036854775808\r\n", MULTIBULK, True),
    BadBytes("count 2^31", b"*2147483648\r\n", MULTIBULK, True),
    BadBytes("count -5", b"*-5\r\n", b"", False),
    BadBytes("count -1", b"*-1\r\n", b"", False),
    BadBytes("count 0", b"*0\r\n", b"", False),
    BadBytes("count 1,000,000, few sent", b"*1000000\r\n$4\r\nSADD\r\n$1\r\nk\r\n", b"", None),
    BadBytes("length is no number", b"*1\r\n$abc\r\n", BULK, True),
    BadBytes("length -1", b"*1\r\n$-1\r\n", BULK, True),
    BadBytes("length -2^63", b"*1\r\n$-9223372036854775808\r\n", BULK, True),
    BadBytes("length 2^63", b"*1\r\n$9223372036854775808\r\n", BULK, True),
    BadBytes("length 2^64 + 4", b"*1\r\n$18446744073709551620\r\nPING\r\n", BULK, True),
    BadBytes("length 1 GB announced", b"*2\r\n$3\r\nGET\r\n$1073741824\r\n", BULK, True),
    BadBytes("length with a plus", b"*1\r\n$+4\r\nPING\r\n", BULK, True),
    BadBytes("length with leading zeros", b"*1\r\n$0004\r\nPING\r\n", BULK, True),
    BadBytes("no dollar", b"*1\r\n+PING\r\n", b"-ERR Protocol error: expected '$', got '+'", True),
    BadBytes("a reply sent as request", b"*1\r\n:5\r\n", b"-ERR Protocol error: expected '$', got ':'", True),
    BadBytes("512 MB announced, none sent", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n", b"", None),
    BadBytes("never-ending line", b"a" * LONG, b"-ERR Protocol error: too big inline request", True),
    BadBytes("never-ending count", b"*" + b"1" * LONG, TOO_MANY_DIGITS, True),
    BadBytes("never-ending length", b"*1\r\n$" + b"1" * LONG, TOO_MANY_DIGITS, True),
    BadBytes("unbalanced quotes", b'ECHO "abc\r\n', b"-ERR Protocol error: unbalanced quotes in request", True),
    BadBytes("nulls", b"\0" * 1000 + b"\r\n", None, None),
    BadBytes("nulls as name", b"*1\r\n$4\r\n\0\0\0\0\r\n", b"-ERR unknown command", False),
    BadBytes("empty name", b"*1\r\n$0\r\n\r\n", b"-ERR unknown command", False),
    BadBytes("name of 100 KB", b"*1\r\n$100000\r\n" + b"x" * 100_000 + b"\r\n", b"-ERR unknown command", False),
    BadBytes("name with line ends", b"*2\r\n$7\r\nGE\r\n+OK\r\n$1\r\nk\r\n", b"-ERR unknown command", False),
    BadBytes("unknown command", b"NOSUCHCOMMAND a b\r\n", b"-ERR unknown command 'NOSUCHCOMMAND'", False),
    BadBytes("too few arguments", b"*1\r\n$3\r\nGET\r\n", b"-ERR wrong number of arguments for 'get'", False),
    BadBytes("too many arguments", b"GET a b c\r\n", b"-ERR wrong number of arguments for 'get'", False),
    BadBytes("inline with bare LF", b"PING\n", b"+PONG", False),
    BadBytes("empty lines", b"\r\n\r\n\n\r\nPING\r\n", b"+PONG", False),
    BadBytes("HTTP", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nGET", None, True),
    BadBytes("TLS hello", bytes.fromhex("16030100c8010000c40303") + b"\x5a" * 190 + b"\r\n", None, None),
    BadBytes("half a command", b"*2\r\n$3\r\nGET\r\n$10\r\nabc", b"", None),
    BadBytes("wrong, then right", b"*1\r\n$-7\r\n*1\r\n$4\r\nPING\r\n", BULK, True),
    BadBytes("right, then wrong", b"*1\r\n$4\r\nPING\r\n*x\r\n", b"+PONG\r\n" + MULTIBULK, True),
)
