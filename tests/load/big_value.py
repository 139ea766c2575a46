"""One huge value in and out, every byte checked, while another client goes on.

`python -m tests.load.big_value --target HOST:PORT [--bytes 536870912] [--pid SUPERVISOR]`

The value is made and checked in pieces, so this client's memory stays small; what the server's processes hold at most
is printed when their root pid is given. 512 MiB is the largest bulk that Redis takes.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from dataclasses import dataclass, field

from tests.load.bad_input import MB, MemoryWatch
from tests.load.bare_store import BareStore
from tests.load.bystander import Bystander
from tests.load.checked_load import parse_addresses
from tests.load.expected_bytes import BLOCK_BYTES, Expected, ReplyChecker, ValuePieces, WrongReplyError

Address = tuple[str, int]
KEY = b"one big value"
TIMEOUT_S = 120.0


@dataclass
class BigValueReport:
    """How it went."""

    size: int
    in_s: float = 0.0
    out_s: float = 0.0
    growth_bytes: int = 0
    quiet_p99_ms: float = 0.0
    other_p99_ms: float = 0.0
    other_worst_ms: float = 0.0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        return (
            f"{self.size} bytes in within {self.in_s:.2f} s, out within {self.out_s:.2f} s, "
            f"{len(self.problems)} problems; memory at most +{self.growth_bytes / MB:.0f} MB; "
            f"another client's p99 {self.quiet_p99_ms:.2f} ms before, {self.other_p99_ms:.2f} ms meanwhile, "
            f"worst {self.other_worst_ms:.0f} ms"
        )


def _receive(sock: socket.socket, checker: ReplyChecker) -> None:
    while checker.due:
        data = sock.recv(1 << 20)
        if not data:
            raise WrongReplyError("the connection ended before the reply was whole")
        checker.feed(data)


def _send_value(sock: socket.socket, size: int) -> None:
    sock.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(KEY), KEY, size))
    pieces, at = ValuePieces(KEY, 1, size), 0
    while at < size:
        piece = pieces.piece(at, BLOCK_BYTES)
        sock.sendall(piece)
        at += len(piece)
    sock.sendall(b"\r\n")


def _both_ways(target: Address, report: BigValueReport) -> None:
    get = b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(KEY), KEY)
    checker = ReplyChecker()
    with socket.create_connection(target, 10.0) as sock:
        sock.settimeout(TIMEOUT_S)
        started = time.monotonic()
        checker.due.append(Expected("SET", b"+OK\r\n"))
        _send_value(sock, report.size)
        _receive(sock, checker)
        report.in_s = time.monotonic() - started
        started = time.monotonic()
        checker.due.append(Expected("GET", b"$%d\r\n" % report.size, KEY, 1, report.size))
        sock.sendall(get)
        _receive(sock, checker)
        report.out_s = time.monotonic() - started
        checker.due += [Expected("DEL", b":1\r\n"), Expected("PING", b"+PONG\r\n")]
        sock.sendall(b"*2\r\n$3\r\nDEL\r\n$%d\r\n%s\r\n*1\r\n$4\r\nPING\r\n" % (len(KEY), KEY))
        _receive(sock, checker)


def round_trip(target: Address, size: int, pid: int | None = None) -> BigValueReport:
    """SET, GET and DEL one value of `size` bytes."""
    report = BigValueReport(size)
    watch = MemoryWatch(pid)
    with Bystander(target) as other:
        quiet = time.monotonic()
        time.sleep(1.0)
        watch.begin()
        started = time.monotonic()
        try:
            _both_ways(target, report)
        except (OSError, WrongReplyError) as error:
            report.problems.append(f"{type(error).__name__}: {error}")
        report.growth_bytes = watch.growth()
    watch.ended = True
    report.problems += [f"another client: {error}" for error in other.errors[:5]]
    report.quiet_p99_ms = other.percentile_ms(0.99, quiet, started)
    report.other_p99_ms = other.percentile_ms(0.99, started)
    report.other_worst_ms = other.percentile_ms(1.0, started)
    return report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.big_value", description=__doc__)
    parser.add_argument("--target", metavar="HOST:PORT", help="default: a bare datastore")
    parser.add_argument("--bytes", type=int, default=512 * MB)
    parser.add_argument("--pid", type=int, help="root of the process tree whose memory is watched")
    parser.add_argument("--short", action="store_true", help="16 MB")
    options = parser.parse_args(argv)
    store = None if options.target else BareStore()
    target = (store.host, store.port) if store is not None else parse_addresses([options.target])[0]
    pid = store.pid if store is not None else options.pid
    try:
        report = round_trip(target, 16 * MB if options.short else options.bytes, pid)
    finally:
        if store is not None:
            store.__exit__(None, None, None)
    for problem in report.problems:
        print(problem)
    print(report.line())
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
