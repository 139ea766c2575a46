"""Relative expiries become absolute, and what a datastore would refuse stays as it was."""

import pytest

from dynomite_mp.proto.commands import CONFLICTS
from dynomite_mp.proto.effects import conflict, effect, probes
from dynomite_mp.proto.expiry import absolute
from dynomite_mp.proto.request_writer import request_of

NOW_MS = 1_700_000_000_000


def request(line: str) -> bytes:
    return request_of([word.encode() for word in line.split()])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("SET k v EX 10", "SET k v PXAT 1700000010000"),
        ("set k v NX px 10 GET", "set k v NX PXAT 1700000000010 GET"),
        ("SET k v IFEQ ex EX 1", "SET k v IFEQ ex PXAT 1700000001000"),
        ("SET ex ex EX 1", "SET ex ex PXAT 1700000001000"),
        ("SETEX k 10 v", "SET k v PXAT 1700000010000"),
        ("PSETEX k 10 v", "SET k v PXAT 1700000000010"),
        ("EXPIRE k 10", "PEXPIREAT k 1700000010000"),
        ("EXPIRE k -1 XX", "PEXPIREAT k 1699999999000 XX"),
        ("PEXPIRE k 0 GT", "PEXPIREAT k 1700000000000 GT"),
        ("HEXPIRE k 10 NX FIELDS 2 a b", "HPEXPIREAT k 1700000010000 NX FIELDS 2 a b"),
        ("HPEXPIRE k 10 FIELDS 1 a", "HPEXPIREAT k 1700000000010 FIELDS 1 a"),
        ("GETEX k EX 10", "GETEX k PXAT 1700000010000"),
        ("HGETEX k PX 10 FIELDS 1 ex", "HGETEX k PXAT 1700000000010 FIELDS 1 ex"),
        ("HSETEX k FNX EX 10 FIELDS 1 ex 5", "HSETEX k FNX PXAT 1700000010000 FIELDS 1 ex 5"),
        ("RESTORE k 10 bytes REPLACE", "RESTORE k 1700000000010 bytes REPLACE ABSTTL"),
    ],
)
def test_what_is_relative_becomes_absolute(line: str, expected: str) -> None:
    assert absolute(request(line), NOW_MS) == request(expected)


@pytest.mark.parametrize(
    "line",
    [
        *("SET k v", "SET k v NX", "SET k EX 10", "SET k v EX", "SET k v EX 0", "SET k v EX -1", "SET k v EX ten"),
        *("SET k v EX 9223372036854775807", "SET k v PXAT 5", "SET k v EXAT 5", "SET k v KEEPTTL", "SETEX k 0 v"),
        *("EXPIRE k x", "EXPIRE k 9223372036854775", "HEXPIRE k -1 FIELDS 1 a", "GETEX k", "GETEX k PERSIST"),
        *("HSETEX k FIELDS 2 EX 10 PX 10", "RESTORE k 0 bytes", "RESTORE k 5 bytes ABSTTL", "GET k", "EXPIREAT k 5"),
    ],
)
def test_what_is_not_relative_or_not_right_stays(line: str) -> None:
    assert absolute(request(line), NOW_MS) == request(line)


@pytest.mark.parametrize(
    ("line", "klass"),
    [
        *(("SET k v", "overwrite"), ("SET k v EX 5", "overwrite"), ("SET nx get", "overwrite")),
        *(("SET k v NX", "lead"), ("SET k v ex 5 xx", "lead"), ("SET k v GET", "lead"), ("SET k v IFEQ a", "lead")),
        *(("RESTORE k 0 b", "lead"), ("RESTORE k 0 b REPLACE", "overwrite"), ("RESTORE replace 0 b", "lead")),
        *(("HSETEX k FIELDS 1 fnx 2", "ordered"), ("HSETEX k FNX FIELDS 1 a 2", "lead"), ("LPOP k", "lead")),
        *(("LPUSH k v", "ordered"), ("INCR k", "commute"), ("DEL k", "overwrite"), ("XGROUP CREATE k g $", "lead")),
    ],
)  # fmt: skip
def test_options_decide_whether_a_write_runs_at_one_place(line: str, klass: str) -> None:
    assert CONFLICTS[conflict(request(line))] == klass


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("SET k v NX PXAT 5", b"+OK\r\n", "SET k v PXAT 5"),
        ("SET k v NX", b"$-1\r\n", ""),
        ("SET k v NX", b"_\r\n", ""),
        ("SET k v XX GET", b"$-1\r\n", ""),
        ("LMPOP 2 a b LEFT COUNT 5", b"*2\r\n$1\r\nb\r\n*2\r\n$1\r\nx\r\n$1\r\ny\r\n", "LPOP b 2"),
        ("SPOP k 5", b"~2\r\n$1\r\nx\r\n$1\r\ny\r\n", "SREM k x y"),
        ("ZPOPMIN k 2", b"*2\r\n*2\r\n$1\r\na\r\n,1.5\r\n*2\r\n$1\r\nb\r\n,2\r\n", "ZREM k a b"),
        ("SPOP k", b"-LOADING\r\n", ""),
        ("XADD k MAXLEN ~ 5 LIMIT 2 * f *", b"$3\r\n7-0\r\n", "XADD k MAXLEN ~ 5 LIMIT 2 7-0 f *"),
    ],
)
def test_the_effect_of_a_reply(line: str, reply: bytes, expected: str) -> None:
    assert effect(request(line), reply) == (request(expected) if expected else b"")


def test_probes_ask_for_what_a_command_wrote_and_become_a_copy() -> None:
    line = request("SUNIONSTORE d a b")
    assert probes(line) == request("DUMP d") + request("PTTL d")
    assert probes(request("SORT l")) == b"" and probes(request("SETNX a b")) == b""
    assert effect(line, b":2\r\n", b"$3\r\nxyz\r\n:-1\r\n", NOW_MS) == request("RESTORE d 0 xyz REPLACE ABSTTL")
    assert effect(line, b":2\r\n", b"$3\r\nxyz\r\n:5\r\n", 10) == request("RESTORE d 15 xyz REPLACE ABSTTL")
    assert effect(line, b":0\r\n", b"$-1\r\n:-2\r\n", 10) == request("DEL d")
    assert effect(line, b"-WRONGTYPE x\r\n", b"$-1\r\n:-2\r\n", 10) == b""
