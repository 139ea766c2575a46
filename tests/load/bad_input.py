"""Hostile clients: malformed bytes, slow ones, deaf ones, vanishing ones; and what everybody else feels meanwhile.

`python -m tests.load.bad_input --target HOST:PORT [--pid SUPERVISOR] [--memory-limit-mb 512]`

Wanted: a clear error where the protocol allows one (Redis's own text), bounded memory, and no error for another client,
whose p99 is printed for every case beside its p99 before. Memory is that of the tree of `--pid`, datastores excluded
unless the pid is one.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.load import process_tree
from tests.load.bad_bytes import BAD_BYTES, BadBytes
from tests.load.bare_store import BareStore
from tests.load.bystander import Bystander
from tests.load.checked_load import parse_addresses

Address = tuple[str, int]
MB = 1024 * 1024


@dataclass(frozen=True)
class Scale:
    """How hard to push."""

    connections: int
    slow_bytes: int
    deaf_replies_mb: int
    garbage_connections: int
    quiet_s: float  # nothing for so long means: no more will come


FULL = Scale(connections=200, slow_bytes=30, deaf_replies_mb=512, garbage_connections=500, quiet_s=0.4)
SHORT = Scale(connections=20, slow_bytes=6, deaf_replies_mb=24, garbage_connections=40, quiet_s=0.12)


@dataclass
class CaseReport:
    """One case."""

    name: str
    problem: str
    seconds: float = 0.0
    growth_bytes: int = 0
    other_p99_ms: float = 0.0


@dataclass
class Report:
    """All cases, and the bystander."""

    cases: list[CaseReport] = field(default_factory=list)
    quiet_p99_ms: float = 0.0
    other_p99_ms: float = 0.0
    other_errors: list[str] = field(default_factory=list)
    memory_before: int = 0
    memory_after: int = 0
    memory_limit: int | None = None

    def failures(self) -> list[str]:
        found = [f"{case.name}: {case.problem}" for case in self.cases if case.problem]
        found += [f"another client: {error}" for error in self.other_errors[:5]]
        if self.memory_limit is not None:
            found += [
                f"{case.name}: memory grew by {case.growth_bytes / MB:.0f} MB, over {self.memory_limit / MB:.0f} MB"
                for case in self.cases
                if case.growth_bytes > self.memory_limit
            ]
        return found

    def table(self) -> str:
        lines = [f"{'case':<32} {'seconds':>7} {'memory +MB':>10} {'other p99 ms':>12}  "]
        for case in self.cases:
            lines.append(
                f"{case.name:<32} {case.seconds:>7.2f} {case.growth_bytes / MB:>10.1f} {case.other_p99_ms:>12.2f}"
                f"  {case.problem or 'ok'}"
            )
        return "\n".join(lines)

    def line(self) -> str:
        return (
            f"{len(self.cases)} cases, {len(self.failures())} failures; p99 of another client "
            f"{self.quiet_p99_ms:.2f} ms before, {self.other_p99_ms:.2f} ms during, {len(self.other_errors)} errors; "
            f"memory {self.memory_before / MB:.0f} MB before, {self.memory_after / MB:.0f} MB after, at most "
            f"+{max(case.growth_bytes for case in self.cases) / MB:.0f} MB"
        )


def connect(target: Address) -> socket.socket:
    sock = socket.create_connection(target, 10.0)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_until_quiet(sock: socket.socket, quiet_s: float, enough: int = 1 << 30) -> tuple[bytes, bool]:
    """What comes until nothing does for a while; and whether the connection ended."""
    got = bytearray()
    sock.settimeout(quiet_s)
    while len(got) < enough:
        try:
            data = sock.recv(65536)
        except TimeoutError:
            return bytes(got), False
        except OSError:
            return bytes(got), True
        if not data:
            return bytes(got), True
        got += data
    return bytes(got), False


def try_bytes(target: Address, case: BadBytes, scale: Scale) -> str:
    """Send the bytes of one row; what is wrong with the answer, or nothing."""
    with connect(target) as sock:
        with contextlib.suppress(OSError):  # closed before all was sent: the reply still lies in the socket
            sock.sendall(case.data)
        got, ended = read_until_quiet(sock, scale.quiet_s)
        if case.reply is not None and not (got.startswith(case.reply) and (case.reply or not got)):
            return f"wanted {case.reply!r}, got {got[:80]!r}"
        if case.closes is not None and ended != case.closes:
            return f"the connection {'was closed' if ended else 'stays open'} after {got[:80]!r}"
        if case.closes is False:
            sock.sendall(b"*1\r\n$4\r\nPING\r\n")
            again, _ = read_until_quiet(sock, 2.0, 7)
            if again != b"+PONG\r\n":
                return f"PING afterwards was answered with {again[:80]!r}"
    return ""


def slow_loris(target: Address, scale: Scale) -> str:
    """Many clients that send one byte at a time, and get their answer in the end."""
    request = b"*2\r\n$4\r\nECHO\r\n$200\r\n" + b"s" * 200 + b"\r\n"
    socks = [connect(target) for _ in range(scale.connections)]
    try:
        for place in range(scale.slow_bytes):
            for sock in socks:
                sock.sendall(request[place : place + 1])
            time.sleep(0.05)
        for sock in socks:
            sock.sendall(request[scale.slow_bytes :])
        for sock in socks:
            got, _ = read_until_quiet(sock, 5.0, 208)
            if got != b"$200\r\n" + b"s" * 200 + b"\r\n":
                return f"a slow client got {got[:60]!r}"
    finally:
        for sock in socks:
            sock.close()
    return ""


def never_reads(target: Address, scale: Scale) -> str:
    """A client that asks for megabytes again and again and reads nothing; closing it is the server's choice."""
    with connect(target) as sock:
        sock.sendall(b"*3\r\n$3\r\nSET\r\n$4\r\ndeaf\r\n$%d\r\n" % MB + b"d" * MB + b"\r\n")
        got, _ = read_until_quiet(sock, 5.0, 5)
        if got != b"+OK\r\n":
            return f"SET was answered with {got[:60]!r}"
        sock.settimeout(3.0)
        try:
            for _ in range(scale.deaf_replies_mb):
                sock.sendall(b"*2\r\n$3\r\nGET\r\n$4\r\ndeaf\r\n")
        except OSError:
            return ""  # closed, or not read any more: both bound its memory
        time.sleep(1.0)
    return ""


def half_closes(target: Address, scale: Scale) -> str:
    """A client that sends a pipeline, closes its sending side, and still gets every reply."""
    count = 1000
    with connect(target) as sock:
        sock.sendall(b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n" * count)
        sock.shutdown(socket.SHUT_WR)
        got, ended = read_until_quiet(sock, 5.0)
    if got != b"$2\r\nhi\r\n" * count:
        return f"{len(got)} bytes of replies, not {8 * count}"
    return "" if ended else "the server left the connection open"


def announces_much(target: Address, scale: Scale) -> str:
    """Many clients that announce 512 MB each and send little of it."""
    socks = [connect(target) for _ in range(scale.connections)]
    for sock in socks:
        sock.sendall(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$536870912\r\n" + b"x" * 1000)
    time.sleep(1.0)
    for sock in socks:
        sock.close()
    return ""


def resets(target: Address, scale: Scale) -> str:
    """Clients that vanish with a reset: at once, inside a request, with replies under way."""
    for number in range(scale.connections * 3):
        sock = connect(target)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if number % 3 == 1:
            sock.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100")
        elif number % 3 == 2:
            sock.sendall(b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n" * 200)
        sock.close()
    return ""


def garbage(target: Address, scale: Scale) -> str:
    """Random bytes, and right requests with one byte changed; seeded."""
    rng = random.Random(4)
    right = b"*3\r\n$3\r\nSET\r\n$7\r\ngarbage\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$7\r\ngarbage\r\n"
    for number in range(scale.garbage_connections):
        if number % 2:
            data = bytearray(right)
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        else:
            data = bytearray(rng.choice((b"", b"*", b"*2\r\n$")) + rng.randbytes(rng.randint(1, 3000)))
        with connect(target) as sock:
            try:
                sock.sendall(data)
            except OSError:
                continue
            read_until_quiet(sock, 0.01)
    with connect(target) as sock:
        sock.sendall(b"PING\r\n")
        got, _ = read_until_quiet(sock, 5.0, 7)
    return "" if got == b"+PONG\r\n" else f"PING afterwards was answered with {got[:60]!r}"


BEHAVIOURS: tuple[tuple[str, Callable[[Address, Scale], str]], ...] = (
    ("slow-loris clients", slow_loris),
    ("a client that never reads", never_reads),
    ("a client that half-closes", half_closes),
    ("many announce 512 MB each", announces_much),
    ("clients that reset", resets),
    ("random and damaged bytes", garbage),
)


class MemoryWatch:
    """The most memory that a tree of processes held since the last `begin`."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        self.start = self.most = 0
        self.ended = False
        self.thread = threading.Thread(target=self._watch, daemon=True)
        if pid is not None:
            self.thread.start()

    def now(self) -> int:
        return 0 if self.pid is None else process_tree.rss_bytes(process_tree.tree(self.pid))

    def _watch(self) -> None:
        while not self.ended:
            self.most = max(self.most, self.now())
            time.sleep(0.05)

    def begin(self) -> None:
        self.start = self.most = self.now()

    def growth(self) -> int:
        return max(0, max(self.most, self.now()) - self.start)


def bad_input(
    target: Address, *, short: bool = False, pid: int | None = None, memory_limit: int | None = None
) -> Report:
    """Run every case against `target` while another client goes on."""
    scale = SHORT if short else FULL
    report = Report(memory_limit=memory_limit)
    watch = MemoryWatch(pid)
    cases: list[tuple[str, Callable[[], str]]] = []
    for row in BAD_BYTES:
        cases.append((row.name, lambda row=row: try_bytes(target, row, scale)))  # type: ignore[misc]
    for name, behave in BEHAVIOURS:
        cases.append((name, lambda behave=behave: behave(target, scale)))  # type: ignore[misc]
    windows = []
    report.memory_before = watch.now()
    with Bystander(target) as other:
        quiet = time.monotonic()
        time.sleep(0.5 if short else 5.0)
        hostile = time.monotonic()
        for name, run in cases:
            watch.begin()
            started = time.monotonic()
            try:
                problem = run()
            except OSError as error:
                problem = f"{type(error).__name__}: {error}"
            ended = time.monotonic()
            report.cases.append(CaseReport(name, problem, ended - started, watch.growth()))
            windows.append((started, ended))
    watch.ended = True
    report.quiet_p99_ms = other.percentile_ms(0.99, quiet, hostile)
    report.other_p99_ms = other.percentile_ms(0.99, hostile)
    report.other_errors = other.errors
    for case, (started, ended) in zip(report.cases, windows, strict=True):
        case.other_p99_ms = other.percentile_ms(0.99, started, ended)
    report.memory_after = watch.now()
    return report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.bad_input", description=__doc__)
    parser.add_argument("--target", metavar="HOST:PORT", help="default: a bare datastore")
    parser.add_argument("--pid", type=int, help="root of the process tree whose memory is watched")
    parser.add_argument("--memory-limit-mb", type=int)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args(argv)
    store = None if options.target else BareStore()
    target = (store.host, store.port) if store is not None else parse_addresses([options.target])[0]
    limit = None if options.memory_limit_mb is None else options.memory_limit_mb * MB
    try:
        pid = store.pid if store is not None else options.pid
        report = bad_input(target, short=options.short, pid=pid, memory_limit=limit)
    finally:
        if store is not None:
            store.__exit__(None, None, None)
    print(report.table())
    for failure in report.failures():
        print(failure)
    print(report.line())
    return 1 if report.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
