"""A steady load for failure tests: a fixed rate, no retries, every error with its time, no acknowledged write lost.

    with SteadyLoad(SteadyPlan(((host, port),), rate_per_s=5000)) as load:   # runs on a thread of its own
        load.mark("kill"); os.kill(pid, SIGKILL); time.sleep(5)
    result = load.result                       # errors, longest gap, latencies
    problems = load.verify()                   # what is stored against what was acknowledged

`python -m tests.load.steady --target HOST:PORT [--rate 5000] [--seconds 10]` does the same from the shell.

Each client has one connection and one operation under way; operations are due at fixed times, so an outage shows as
late ones (latency counts from the due time) and, past a second of lag, as skipped ones. Each client owns its keys and
knows what a read may return: the last acknowledged value, or that of a later write whose outcome is unknown (an error,
a time-out). INCR and LPUSH keys are counted likewise. A connection that fails is opened again for the next operation.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import collections
import random
import select
import sys
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, cast

import hiredis
import uvloop

from tests.load.bare_store import BareStore
from tests.load.checked_load import parse_addresses
from tests.load.steady_ledger import Address, Ledger, fetch_all

CATCH_UP_S = 1.0
PAUSE_POLL_S = 0.005
WATCH_S = 0.05
CONNECT_TIMEOUT_S = 2.0
STOOD_STILL_S = 1.0


@dataclass(frozen=True)
class SteadyPlan:
    """What to offer, and to whom: client n talks to target n modulo their number."""

    targets: tuple[Address, ...]
    clients: int = 50
    rate_per_s: float = 5000.0
    read_share: float = 0.5
    timeout_s: float = 5.0
    value_bytes: int = 64
    keys_per_client: int = 20
    count_share: float = 0.1  # of the writes are INCR or LPUSH
    seed: int = 1
    protocol: int = 2
    delete_share: float = 0.0  # of the writes are DEL
    shared: tuple[bytes, ...] = ()  # counters that other loads increment too
    fail_over: bool = False  # a client whose connection is lost or refused goes to the next target, as Dyno does


@dataclass(frozen=True)
class SteadyError:
    """An operation that was not acknowledged."""

    at_s: float
    client: int
    operation: str
    kind: str  # refused, lost, timeout, reply
    text: str
    target: str = ""


@dataclass
class SteadyResult:
    """What happened; times are seconds since the start of the load."""

    acknowledged_at: array.array[float] = field(default_factory=lambda: array.array("d"))
    latency_s: array.array[float] = field(default_factory=lambda: array.array("d"))  # from the due time
    errors: list[SteadyError] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    skipped: int = 0
    reconnects: int = 0
    seconds: float = 0.0
    marks: list[tuple[str, float]] = field(default_factory=list)

    @property
    def acknowledged(self) -> int:
        return len(self.acknowledged_at)

    def longest_gap_s(self, start_s: float = 0.0, end_s: float | None = None) -> tuple[float, float]:
        """The longest time without an acknowledged operation inside the window, and when it began."""
        end_s = self.seconds if end_s is None else min(end_s, self.seconds)
        last, longest, began = start_s, 0.0, start_s
        for at in (*(t for t in sorted(self.acknowledged_at) if start_s <= t <= end_s), end_s):
            if at - last > longest:
                longest, began = at - last, last
            last = at
        return longest, began

    def errors_between(self, start_s: float, end_s: float) -> list[SteadyError]:
        return [error for error in self.errors if start_s <= error.at_s < end_s]

    def percentile_s(self, share: float) -> float:
        ordered = sorted(self.latency_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def error_table(self) -> str:
        """Errors grouped by text, with how many and when."""
        groups: dict[tuple[str, str], list[float]] = collections.defaultdict(list)
        for error in self.errors:
            groups[error.kind, error.text].append(error.at_s)
        return "\n".join(
            f"  {len(times)} x {kind}: {text} ({min(times):.3f} s to {max(times):.3f} s)"
            for (kind, text), times in sorted(groups.items(), key=lambda item: -len(item[1]))
        )

    def line(self) -> str:
        gap, began = self.longest_gap_s()
        return (
            f"{self.acknowledged} acknowledged, {len(self.errors)} errors, {len(self.wrong)} wrong, "
            f"{self.skipped} skipped in {self.seconds:.1f} s; longest gap {gap * 1000:.0f} ms at {began:.3f} s; "
            f"p50 {self.percentile_s(0.5) * 1000:.2f} ms, p99 {self.percentile_s(0.99) * 1000:.2f} ms; "
            f"{self.reconnects} reconnects"
        )


class Link(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.reader = hiredis.Reader()
        self.waiting: asyncio.Future[Any] | None = None
        self.asked_at = 0.0
        self.closed = False
        self._poll = select.poll()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._poll.register(transport.get_extra_info("socket"), select.POLLIN | select.POLLRDHUP)

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        try:
            reply = self.reader.gets()
        except hiredis.ProtocolError as error:
            self._settle_error(ConnectionResetError(f"no RESP: {error}"))
            return
        if reply is not False and self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._settle_error(ConnectionResetError(str(error) if error else "closed by the other side"))

    def _settle_error(self, error: Exception) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(error)

    def was_closed(self) -> bool:
        """Whether the other side has ended the connection between two requests; redis-py looks likewise before it
        sends."""
        return self.closed or bool(self._poll.poll(0))

    async def ask(self, *args: bytes) -> Any:
        assert self.transport is not None
        if self.transport.is_closing():  # uvloop raises RuntimeError for a write to a transport that has gone
            self.closed = True
            raise ConnectionResetError("closed by the other side")
        self.waiting = asyncio.get_running_loop().create_future()
        self.asked_at = time.monotonic()
        self.transport.write(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
        return await self.waiting

    def expire(self, before: float) -> None:
        """No reply has come to what was asked before then."""
        if self.waiting is not None and self.asked_at < before and not self.waiting.done():
            self.waiting.set_exception(TimeoutError())

    def drop(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()


class SteadyClient:
    """One client: its due times, its connection, its ledger of what it wrote."""

    def __init__(self, number: int, plan: SteadyPlan, load: SteadyLoad) -> None:
        self.number = number
        self.plan = plan
        self.load = load
        self.rng = random.Random(plan.seed * 7919 + number)
        self.ledger = Ledger(
            b"steady:%s:%d:" % (load.run_id, number), plan.keys_per_client, plan.value_bytes,
            shared=plan.shared, delete_share=plan.delete_share,
        )  # fmt: skip
        self.link: Link | None = None
        self.away = 0  # how many targets it has gone on from its own
        self.homesick = False

    async def run(self) -> None:
        interval = self.plan.clients / self.plan.rate_per_s
        due = self.load.started + interval * self.number / self.plan.clients
        while not self.load.stopping:
            while self.load.pausing and not self.load.stopping:
                self.load.resting.add(self.number)
                await asyncio.sleep(PAUSE_POLL_S)
                due = max(due, time.monotonic())
            self.load.resting.discard(self.number)
            now = time.monotonic()
            if due > now:
                await asyncio.sleep(due - now)
            elif now - due > CATCH_UP_S:
                late = int((now - due) / interval)
                self.load.result.skipped += late
                due += late * interval
            if not self.load.stopping:
                await self._operation(due)
            due += interval
        if self.link is not None:
            self.link.drop()

    async def _operation(self, due: float) -> None:
        if self.homesick:
            self._go_home()
        operation = self.ledger.choose(self.rng, self.plan.read_share, self.plan.count_share)
        try:
            link = await self._connected()
        except (OSError, TimeoutError) as error:
            self._failed(operation.name, "refused", str(error) or type(error).__name__)
            return
        self.ledger.sent(operation)
        try:
            reply = await link.ask(*operation.args)  # SteadyLoad.watch sees to its time-out
        except TimeoutError:
            link.drop()
            self._failed(operation.name, "timeout", f"no reply within {self.plan.timeout_s:g} s")
            if self.plan.fail_over:
                self.away += 1
                self.ledger.timed_out(operation)
        except OSError as error:
            self._failed(operation.name, "lost", str(error))
            self.away += self.plan.fail_over
        else:
            if isinstance(reply, hiredis.ReplyError):
                self._failed(operation.name, "reply", str(reply))
                return
            problem = self.ledger.acknowledged(operation, reply)
            now = time.monotonic()
            self.load.result.acknowledged_at.append(now - self.load.started)
            self.load.result.latency_s.append(now - due)
            if problem:
                self.load.result.wrong.append(f"{now - self.load.started:.3f} s, at {self._target()[0]}: {problem}")

    async def _connected(self) -> Link:
        if self.link is not None:
            if not self.link.was_closed():
                return self.link
            self.link.drop()
        self.load.result.reconnects += self.link is not None
        for _ in range(len(self.plan.targets) - 1 if self.plan.fail_over else 0):
            try:
                return await self._connect()
            except (OSError, TimeoutError):
                self.away += 1
        return await self._connect()

    async def _connect(self) -> Link:
        host, port = self._target()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, link = await loop.create_connection(Link, host, port)
            if self.plan.protocol == 3:
                await link.ask(b"HELLO", b"3")
        self.link = link
        return link

    def _target(self) -> Address:
        return self.plan.targets[(self.number + self.away) % len(self.plan.targets)]

    def _go_home(self) -> None:
        """The next operation is for its own target again."""
        self.homesick = False
        self.away = 0
        if self.link is not None:
            self.link.drop()

    def _failed(self, operation: str, kind: str, text: str) -> None:
        at = time.monotonic() - self.load.started
        self.load.result.errors.append(SteadyError(at, self.number, operation, kind, text, self._target()[0]))


class SteadyLoad:
    """The load as a whole; `start` and `stop`, or `with`."""

    def __init__(self, plan: SteadyPlan) -> None:
        self.plan = plan
        self.result = SteadyResult()
        self.run_id = b"%x" % (time.time_ns() & 0xFFFFFFFFFF)
        self.started = 0.0
        self.stopping = False
        self.pausing = False
        self.resting: set[int] = set()
        self.clients: list[SteadyClient] = []
        self._thread = threading.Thread(target=lambda: uvloop.run(self.run()), name="steady load", daemon=True)

    async def run(self) -> None:
        """The load on the running loop, until `stopping` is set."""
        self.clients = [SteadyClient(number, self.plan, self) for number in range(self.plan.clients)]
        self.started = time.monotonic()  # `start` returns now
        watch = asyncio.ensure_future(self.watch())
        await asyncio.gather(*(client.run() for client in self.clients))
        watch.cancel()

    async def watch(self) -> None:
        """Time-outs of all clients together: a timer for each operation would cost as much as the operation. What this
        process stood still itself, as everything does on a machine that is suspended, does not count."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(WATCH_S)
            now = time.monotonic()
            late = now - began - WATCH_S
            for client in self.clients:
                if client.link is not None:
                    client.link.asked_at += late if late > STOOD_STILL_S else 0.0
                    client.link.expire(now - self.plan.timeout_s)

    def start(self) -> SteadyLoad:
        self._thread.start()
        while not self.started:
            time.sleep(0.001)
        return self

    def pause(self) -> None:
        """Returns when no operation is under way; none begins before `resume`."""
        self.pausing = True
        deadline = time.monotonic() + self.plan.timeout_s + CONNECT_TIMEOUT_S * len(self.plan.targets) + 10
        while len(self.resting) < len(self.clients):
            now = time.monotonic()
            if now > deadline:
                raise RuntimeError("the steady load did not pause")
            time.sleep(PAUSE_POLL_S)
            late = time.monotonic() - now - PAUSE_POLL_S
            deadline += late if late > STOOD_STILL_S else 0.0

    def resume(self) -> None:
        self.pausing = False

    def go_home(self) -> None:
        """Every client goes back to its own target, between two operations."""
        for client in self.clients:
            if client.away:
                client.homesick = True

    def stop(self) -> SteadyResult:
        if not self.stopping:
            self.result.seconds = self.now_s()
        self.stopping = True
        self._thread.join(self.plan.timeout_s + CONNECT_TIMEOUT_S + 10)
        if self._thread.is_alive():
            raise RuntimeError("the steady load did not stop")
        return self.result

    def __enter__(self) -> SteadyLoad:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def now_s(self) -> float:
        """Seconds since the start of the load."""
        return time.monotonic() - self.started

    def mark(self, what: str) -> float:
        """Remember that something happened now; its time."""
        at = self.now_s()
        self.result.marks.append((what, at))
        return at

    def verify(self, target: Address | None = None) -> list[str]:
        """Read every key from `target` (default: the first one): what differs from what was acknowledged."""
        problems: list[str] = []
        for client in self.clients:
            reads = client.ledger.reads()
            replies = fetch_all(target or self.plan.targets[0], [args for _, args in reads])
            for (key, _), reply in zip(reads, replies, strict=True):
                problem = client.ledger.final_problem(key, reply)
                if problem:
                    problems.append(problem)
        return problems


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.steady", description=__doc__)
    parser.add_argument("--target", action="append", metavar="HOST:PORT", help="default: a bare datastore")
    parser.add_argument("--rate", type=float, default=5000.0, help="operations a second, of all clients together")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--reads", type=float, default=0.5, help="share of reads")
    parser.add_argument("--protocol", type=int, choices=(2, 3), default=2)
    parser.add_argument("--short", action="store_true", help="2 s at 1,000 a second")
    options = parser.parse_args(argv)
    store = None if options.target else BareStore()
    targets = parse_addresses(options.target) if store is None else ((store.host, store.port),)
    rate, seconds = (1000.0, 2.0) if options.short else (options.rate, options.seconds)
    plan = SteadyPlan(targets, options.clients, rate, options.reads, protocol=options.protocol)
    try:
        with SteadyLoad(plan) as load:
            time.sleep(seconds)
        problems = load.verify()
    finally:
        if store is not None:
            store.__exit__(None, None, None)
    for problem in (*load.result.wrong[:20], *problems[:20]):
        print(problem)
    print(load.result.error_table(), end="\n" if load.result.errors else "")
    print(f"{load.result.line()}; {len(problems)} keys not as acknowledged")
    return 1 if load.result.errors or load.result.wrong or problems or not load.result.acknowledged else 0


if __name__ == "__main__":
    sys.exit(main())
