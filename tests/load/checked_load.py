"""A load that checks itself: many clients, pipelines of random depth, every reply the right one in the right order.

`python -m tests.load.checked_load --target HOST:PORT [--seconds 60] [--clients 200]`

Each client owns its keys, so it knows what every command must answer: values derive from key and version, counters
count, errors are of a known kind. Requests are cut at random bytes; some clients send 100,000 commands before they read
a byte; values are 0 B to 5 MB; half the clients speak RESP3. Expected bytes are compared as they arrive and values are
made in pieces, so the load's own memory stays small, whatever is under way.

Any wrong byte, lost connection or missing reply is an error, printed with its place. The client then starts anew with
fresh keys.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import uvloop

from tests.load.bare_store import BareStore
from tests.load.expected_bytes import BLOCK_BYTES, Expected, ReplyChecker, ValuePieces, WrongReplyError, value

Address = tuple[str, int]
SHOWN_ERRORS = 20
BATCH_TIMEOUT_S = 90.0
WRITE_BUFFER_BYTES = 256 * 1024
SMALL_KEYS, MEDIUM_KEYS = 16, 3
KINDS = ("set", "get", "incr", "echo", "ping", "strlen", "del", "exists", "wrongtype", "unknown", "arity", "inline")
WEIGHTS = (34, 40, 8, 5, 2, 4, 2, 2, 1, 0.5, 0.5, 1)
FLOOD_KINDS = ("set", "get", "incr", "echo")


@dataclass(frozen=True)
class LoadPlan:
    """What to do."""

    targets: tuple[Address, ...]
    seconds: float = 60.0
    clients: int = 200
    flooders: int = 4  # clients that send `flood_depth` commands before they read
    flood_depth: int = 100_000
    big_share: float = 0.25  # of the clients have a key with values up to `max_value_bytes`
    max_value_bytes: int = 5 * 1024 * 1024
    unread_bytes_max: int = 1024 * 1024 * 1024  # of values that a client asks for before it waits; floods ask little
    seed: int = 1


@dataclass
class LoadResult:
    """What happened."""

    replies: int = 0
    batches: int = 0
    floods: int = 0
    deepest: int = 0
    biggest_value_bytes: int = 0
    most_asked_bytes: int = 0  # of values, by one client before it waited for all of them
    connections: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: float = 0.0
    error_count: int = 0
    errors: list[str] = field(default_factory=list)

    def add_error(self, text: str) -> None:
        self.error_count += 1
        if len(self.errors) < SHOWN_ERRORS:
            self.errors.append(text)

    def line(self) -> str:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return (
            f"{self.replies} replies checked, {self.error_count} errors; {self.seconds:.1f} s, "
            f"{self.replies / max(self.seconds, 0.001):.0f}/s, {self.connections} connections, "
            f"{self.batches} pipelines, deepest {self.deepest}, {self.floods} floods; "
            f"sent {self.sent_bytes / 1e6:.0f} MB, received {self.received_bytes / 1e6:.0f} MB, "
            f"biggest value {self.biggest_value_bytes} B; "
            f"own memory at most {peak:.0f} MB"
        )


class Connection(asyncio.Protocol):
    """One connection: bytes in go to the checker; writes wait while the transport is full."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.checker = ReplyChecker()
        self.failed: str = ""
        self.writable = asyncio.Event()
        self.writable.set()
        self.news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        if self.failed:
            return
        try:
            self.checker.feed(data)
        except WrongReplyError as error:
            self.fail(str(error))
        if not self.checker.due:
            self.news.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(f"connection lost ({error or 'closed by the other side'}), {len(self.checker.due)} replies due")
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def fail(self, why: str) -> None:
        self.failed = self.failed or why
        self.news.set()

    async def write(self, data: bytes) -> None:
        assert self.transport is not None
        if not self.writable.is_set():
            await asyncio.wait_for(self.writable.wait(), BATCH_TIMEOUT_S)
        if not self.failed:
            self.transport.write(data)

    async def all_sent(self) -> None:
        """Wait until the kernel has taken every byte."""
        assert self.transport is not None
        while self.transport.get_write_buffer_size() and not self.failed:
            await asyncio.sleep(0.002)

    async def all_answered(self) -> None:
        while self.checker.due and not self.failed:
            self.news.clear()
            await self.news.wait()


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(data), data)


def _command(*args: bytes) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(map(_bulk, args))


class Client:
    """One client: its keys and what they hold, and its endless sequence of pipelines."""

    def __init__(self, number: int, plan: LoadPlan, result: LoadResult) -> None:
        self.number = number
        self.plan = plan
        self.result = result
        self.rng = random.Random(plan.seed * 1_000_003 + number)
        self.flooder = number < plan.flooders
        self.big = not self.flooder and self.rng.random() < plan.big_share
        self.epoch = 0
        self.version = 0
        self.held: dict[bytes, tuple[int, int]] = {}  # key -> version and size of what the store holds
        self.counters: dict[bytes, int] = {}
        self.out = bytearray()
        self.cut_bytes = 0
        self.asked_bytes = 0  # of values, since everything was answered
        self.connection: Connection | None = None
        self.resp3 = False
        self.until = 0.0

    async def run(self, until: float) -> None:
        """Send pipelines until then; errors are counted, and a fresh connection follows them."""
        self.until = until
        while time.monotonic() < until:
            try:
                connection = await self._connect()
                for _ in range(self.rng.randint(5, 60)):
                    await asyncio.wait_for(self._batch(connection), BATCH_TIMEOUT_S)
                    if connection.failed or time.monotonic() >= until:
                        break
                self._end(connection, connection.failed)
            except TimeoutError:
                self._end(self.connection, self._stuck())
            except OSError as error:
                self._end(self.connection, f"cannot connect: {error}")
                await asyncio.sleep(0.2)

    def _stuck(self) -> str:
        due = self.connection.checker.due if self.connection else ()
        first = f", the first to {due[0].about}" if due else ""
        return f"no answer within {BATCH_TIMEOUT_S:g} s: {len(due)} replies due{first}"

    async def _connect(self) -> Connection:
        host, port = self.plan.targets[self.number % len(self.plan.targets)]
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, host, port)
        self.connection = connection
        self.result.connections += 1
        self.resp3 = self.rng.random() < 0.5
        if self.resp3:
            await self._hello(connection)
        return connection

    async def _hello(self, connection: Connection) -> None:
        """RESP3; the reply is a map whose content is the server's own affair, so wait for its end by a PING."""
        assert connection.transport is not None
        got = bytearray()
        done = asyncio.Event()
        checker = connection.checker

        def swallow(data: bytes) -> None:
            got.extend(data)
            if got.endswith(b"+PONG\r\n"):
                done.set()

        checker.feed = swallow  # type: ignore[method-assign]
        connection.transport.write(_command(b"HELLO", b"3") + _command(b"PING"))
        await asyncio.wait_for(done.wait(), BATCH_TIMEOUT_S)
        del checker.feed
        if not got.startswith(b"%"):
            connection.fail(f"HELLO 3 was answered with {bytes(got[:60])!r}")

    def _end(self, connection: Connection | None, error: str) -> None:
        if error:
            self.result.add_error(f"client {self.number}: {error}")
            self.epoch += 1
            self.held.clear()
            self.counters.clear()
        if connection is not None:
            self.result.replies += connection.checker.checked
            self.result.received_bytes += connection.checker.checked_bytes
            if connection.transport is not None:
                connection.transport.abort()
        self.connection = None
        self.out.clear()

    async def _batch(self, connection: Connection) -> None:
        """One pipeline: send it cut at random, then wait for all its replies."""
        assert connection.transport is not None
        rng = self.rng
        self.asked_bytes = 0
        flood = self.flooder and rng.random() < 0.5
        depth = self.plan.flood_depth if flood else int(2 ** rng.uniform(0, 9))
        self.cut_bytes = (
            1 if depth < 8 and rng.random() < 0.2 else rng.choices((7, 100, 1460, 16384, 65536), (1, 3, 6, 6, 4))[0]
        )
        if flood:
            self.cut_bytes = 65536
            connection.transport.pause_reading()
        paused = flood
        kinds = rng.choices(KINDS, WEIGHTS, k=depth) if not flood else rng.choices(FLOOD_KINDS, k=depth)
        for sent, kind in enumerate(kinds):
            await self._send_one(connection, kind, flood)
            if connection.failed:
                return
            if sent % 256 == 255 and time.monotonic() >= self.until:
                flood, depth = False, sent
                break
        await self._flush(connection, 0)
        if paused:
            await connection.all_sent()
            connection.transport.resume_reading()
            self.result.floods += flood
        await connection.all_answered()
        self.result.batches += 1
        self.result.deepest = max(self.result.deepest, depth)

    async def _flush(self, connection: Connection, leave: int) -> None:
        """Write what is gathered, cut at random bytes, until at most `leave` bytes are left."""
        while len(self.out) > leave:
            size = 1 + int(self.rng.random() * max(self.cut_bytes, len(self.out) // 64))
            data = bytes(self.out[:size])
            del self.out[:size]
            self.result.sent_bytes += len(data)
            await connection.write(data)
            if size < 65536 and self.rng.random() < 0.7:
                await asyncio.sleep(0)  # or the transport would join the pieces again

    async def _send_one(self, connection: Connection, kind: str, small: bool) -> None:
        key = b"load:%d:%d:%d:%d" % (self.plan.seed, self.number, self.epoch, self._key_number(small))
        if kind == "set":
            await self._send_set(connection, key, small)
        else:
            request, expected = self._request(kind, key)
            if expected.size > 0 and not small:
                await self._ask(connection, expected.size)
            self.out += request
            connection.checker.due.append(expected)
        if len(self.out) > self.cut_bytes * 4:
            await self._flush(connection, self.cut_bytes)

    async def _ask(self, connection: Connection, size: int) -> None:
        """Wait for what is due, if with this value it were more than a client may leave unread."""
        if self.asked_bytes + size > self.plan.unread_bytes_max:
            await self._flush(connection, 0)
            await connection.all_answered()
            self.asked_bytes = 0
        self.asked_bytes += size
        self.result.most_asked_bytes = max(self.result.most_asked_bytes, self.asked_bytes)

    def _key_number(self, small: bool) -> int:
        last = SMALL_KEYS - 1 if small else SMALL_KEYS + MEDIUM_KEYS - 1 + self.big
        return int(self.rng.random() * (last + 1))

    def _size(self, key: bytes, small: bool) -> int:
        number = int(key.rsplit(b":", 1)[1])
        if small:
            return self.rng.randint(0, 60)
        most = 1000 if number < SMALL_KEYS else 64 * 1024
        if number >= SMALL_KEYS + MEDIUM_KEYS:
            if self.rng.random() < 0.1:
                return self.plan.max_value_bytes
            most = self.plan.max_value_bytes
        return int((most + 1) ** self.rng.random()) - 1 if self.rng.random() < 0.95 else 0

    async def _send_set(self, connection: Connection, key: bytes, small: bool) -> None:
        size = self._size(key, small)
        self.version += 1
        self.held[key] = (self.version, size)
        self.result.biggest_value_bytes = max(self.result.biggest_value_bytes, size)
        self.out += b"*3\r\n$3\r\nSET\r\n" + _bulk(key) + b"$%d\r\n" % size
        connection.checker.due.append(Expected(f"SET {key.decode()}", b"+OK\r\n"))
        if size <= BLOCK_BYTES:
            self.out += value(key, self.version, size)
        else:
            pieces, at = ValuePieces(key, self.version, size), 0
            self.cut_bytes = max(self.cut_bytes, 1460)
            while at < size and not connection.failed:
                piece = pieces.piece(at, BLOCK_BYTES)
                self.out += piece
                at += len(piece)
                await self._flush(connection, BLOCK_BYTES)
        self.out += b"\r\n"

    def _request(self, kind: str, key: bytes) -> tuple[bytes, Expected]:
        about = f"{kind} {key.decode()}"
        held = self.held.get(key)
        if kind == "get":
            if held is None:
                return _command(b"GET", key), Expected(about, b"_\r\n" if self.resp3 else b"$-1\r\n")
            version, size = held
            if size <= 1000:
                return _command(b"GET", key), Expected(about, _bulk(value(key, version, size)))
            return _command(b"GET", key), Expected(about, b"$%d\r\n" % size, key, version, size)
        if kind == "incr":
            counter = key + b":n"
            self.counters[counter] = self.counters.get(counter, 0) + 1
            return _command(b"INCR", counter), Expected(about, b":%d\r\n" % self.counters[counter])
        if kind == "echo":
            word = b"echo-%d-%d" % (self.number, self.rng.getrandbits(40))
            return _command(b"ECHO", word), Expected(about, _bulk(word))
        if kind == "strlen":
            return _command(b"STRLEN", key), Expected(about, b":%d\r\n" % (held[1] if held else 0))
        if kind in ("del", "exists"):
            if kind == "del":
                self.held.pop(key, None)
            return _command(kind.encode(), key), Expected(about, b":1\r\n" if held else b":0\r\n")
        if kind == "wrongtype" and held:
            return _command(b"LPUSH", key, b"x"), Expected(about, b"-WRONGTYPE", size=-1)
        if kind == "unknown":
            return _command(b"NOSUCHCOMMAND", key), Expected(about, b"-ERR unknown command", size=-1)
        if kind == "arity":
            return _command(b"GET", key, key), Expected(about, b"-ERR wrong number of arguments for 'get'", size=-1)
        return (b"PING\r\n" if kind == "inline" else _command(b"PING")), Expected(about, b"+PONG\r\n")


async def run_load(plan: LoadPlan) -> LoadResult:
    """Put the load on, on the running loop."""
    result = LoadResult()
    started = time.monotonic()
    clients = [Client(number, plan, result) for number in range(plan.clients)]
    await asyncio.gather(*(client.run(started + plan.seconds) for client in clients))
    result.seconds = time.monotonic() - started
    return result


def checked_load(plan: LoadPlan) -> LoadResult:
    """Put the load on, on a loop of our own."""
    return uvloop.run(run_load(plan))


def parse_addresses(texts: Sequence[str]) -> tuple[Address, ...]:
    """HOST:PORT texts as pairs."""
    return tuple((text.rpartition(":")[0] or "127.0.0.1", int(text.rpartition(":")[2])) for text in texts)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.checked_load", description=__doc__)
    parser.add_argument("--target", action="append", metavar="HOST:PORT", help="default: a bare datastore")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--flooders", type=int, default=4)
    parser.add_argument("--max-value-bytes", type=int, default=5 * 1024 * 1024)
    parser.add_argument("--seed", type=int, default=os.getpid(), help="default: the process id, so runs do not meet")
    parser.add_argument("--short", action="store_true", help="3 s, 40 clients, floods of 10,000")
    options = parser.parse_args(argv)
    store = None if options.target else BareStore()
    targets = parse_addresses(options.target) if store is None else ((store.host, store.port),)
    plan = LoadPlan(
        targets, 3.0 if options.short else options.seconds, 40 if options.short else options.clients, options.flooders,
        10_000 if options.short else 100_000, max_value_bytes=options.max_value_bytes, seed=options.seed,
    )  # fmt: skip
    try:
        result = checked_load(plan)
    finally:
        if store is not None:
            store.__exit__(None, None, None)
    for error in result.errors:
        print(error)
    print(result.line())
    return 1 if result.error_count or not result.replies else 0


if __name__ == "__main__":
    sys.exit(main())
