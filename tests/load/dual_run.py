"""The dual run: the same random commands to a target and to a bare datastore; every pair of replies must be equal.

`python -m tests.load.dual_run --target HOST:PORT [--target ...] [--reference HOST:PORT] [--count 5000] [--seed 1]`

    command mix --step--> driver (one of six, by the seed) --+--> target: the node of that key ---> reply \\
                                                             |                                             same?
                                                             +--> reference: bare datastore ------> reply /

Drivers: redis-py (its own parser is hiredis) sync and asyncio, by RESP2 and RESP3, one command at a time; and raw
sockets by RESP2 and RESP3, pipelines of 1 to 40 cut at random bytes, replies compared by wire type and byte. All of
them share the keys, so what one wrote by RESP2 another reads by RESP3. With several targets each key keeps to one. At
the end the whole content of every key is read through both and compared once more.

Not for a target that others use: keys carry a prefix of the run, but nothing cleans up after it but the run itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any, Protocol, cast

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.load.bare_store import BareStore
from tests.load.command_mix import CommandMix, Step
from tests.load.command_rows import ALL_GROUPS, DEFAULT_GROUPS
from tests.load.replies import BrokenReplyError, Rule, read_frame, same

Address = tuple[str, int]
TIMEOUT_S = 20.0
SHOWN_DIFFERENCES = 20


class Driver(Protocol):
    """A way to send commands to one server and get the replies, errors included, as values."""

    pipelines: bool

    def send(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]: ...

    def close(self) -> None: ...


class RawDriver:
    """A plain socket; whole pipelines, sometimes as inline commands, cut at random bytes."""

    pipelines = True

    def __init__(self, address: Address, protocol: int, rng: random.Random) -> None:
        self.rng = rng
        self.socket = socket.create_connection(address, TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = cast(IO[bytes], self.socket.makefile("rb", buffering=1 << 16))
        if protocol == 3:
            self.socket.sendall(b"HELLO 3\r\n")
            hello = read_frame(self.stream)
            if hello.kind != "%":
                raise BrokenReplyError(f"HELLO 3 was answered with {hello}")

    def _encode(self, args: tuple[bytes, ...]) -> bytes:
        if self.rng.random() < 0.1 and all(arg.isalnum() for arg in args):
            return b" ".join(args) + b"\r\n"
        return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)

    def send(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        data = b"".join(self._encode(args) for args in commands)
        cuts = sorted(self.rng.randrange(len(data)) for _ in range(self.rng.randrange(4)))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            self.socket.sendall(data[start:end])
        return [read_frame(self.stream) for _ in commands]

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


class RedisPyDriver:
    """redis-py, retries off, without its reply callbacks: what its parser made of the bytes."""

    pipelines = False

    def __init__(self, address: Address, protocol: int | None) -> None:
        options: dict[str, Any] = {} if protocol is None else {"protocol": protocol}
        self.client = redis.Redis(
            host=address[0], port=address[1], retry=Retry(NoBackoff(), 0), socket_timeout=TIMEOUT_S, **options
        )
        self.client.response_callbacks.clear()

    def send(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        return [self._one(args) for args in commands]

    def _one(self, args: tuple[bytes, ...]) -> Any:
        try:
            return self.client.execute_command(*args)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            return error

    def close(self) -> None:
        self.client.close()


class AsyncRedisPyDriver:
    """redis-py's asyncio client, likewise."""

    pipelines = False

    def __init__(self, address: Address, protocol: int | None, runner: asyncio.Runner) -> None:
        options: dict[str, Any] = {} if protocol is None else {"protocol": protocol}
        self.runner = runner
        self.client = redis.asyncio.Redis(
            host=address[0], port=address[1], retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
            socket_timeout=TIMEOUT_S, **options,
        )  # fmt: skip
        self.client.response_callbacks.clear()

    def send(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        return [self.runner.run(self._one(args)) for args in commands]

    async def _one(self, args: tuple[bytes, ...]) -> Any:
        try:
            return await self.client.execute_command(*args)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            return error

    def close(self) -> None:
        self.runner.run(self.client.aclose())


DRIVER_NAMES = ("raw2", "raw3", "py2", "py3", "aio2", "aio3")


@dataclass
class Difference:
    """A step that was answered differently."""

    step: Step
    driver: str
    target: Address
    reply: Any
    wanted: Any

    def __str__(self) -> str:
        args = b" ".join(arg if len(arg) < 80 else arg[:60] + b"...(%d)" % len(arg) for arg in self.step.args)
        return (
            f"step {self.step.index} by {self.driver} to {self.target[0]}:{self.target[1]} [{self.step.rule.value}]: "
            f"{args!r}\n"
            f"    target:    {str(self.reply)[:300]}\n    reference: {str(self.wanted)[:300]}"
        )


@dataclass
class Outcome:
    """What a dual run found."""

    commands: int = 0
    errors_equal: int = 0  # commands that both answered with the same error
    keys_compared: int = 0
    by_driver: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    seconds: float = 0.0

    def line(self) -> str:
        drivers = ", ".join(f"{name} {count}" for name, count in sorted(self.by_driver.items()))
        return (
            f"{self.commands} commands, {len(self.differences)} different ({drivers}; {self.errors_equal} answered "
            f"with an error by both; {self.keys_compared} keys compared at the end; {self.seconds:.1f} s)"
        )


class DualRun:
    """The drivers of all targets and of the reference, and the comparing."""

    def __init__(self, targets: Sequence[Address], reference: Address, seed: int, names: Sequence[str]) -> None:
        self.rng = random.Random(seed ^ 0x5EED)
        self.targets = list(targets)
        self.runner = asyncio.Runner()
        self.names = list(names)
        self.weights = [1 if name.startswith("raw") else 4 for name in names]
        self.to_target = {(name, at): self._driver(name, at) for name in names for at in self.targets}
        self.to_reference = {name: self._driver(name, reference) for name in names}
        self.outcome = Outcome(by_driver=dict.fromkeys(names, 0))

    def _driver(self, name: str, address: Address) -> Driver:
        protocol = int(name[-1])
        if name.startswith("raw"):
            return RawDriver(address, protocol, self.rng)
        shown = None if protocol == 3 and redis.__version__ >= "8" else protocol  # RESP3 is the default of redis-py 8
        if name.startswith("aio"):
            return AsyncRedisPyDriver(address, shown, self.runner)
        return RedisPyDriver(address, shown)

    def _target_of(self, step: Step) -> Address:
        return self.targets[zlib.crc32(step.key or b"") % len(self.targets)]

    def _batches(self, steps: Iterator[Step]) -> Iterator[tuple[str, list[Step]]]:
        """A driver and the steps it sends together; a step with a pause ends its batch."""
        for first in steps:
            name = self.rng.choices(self.names, self.weights)[0]
            batch = [first]
            if self.to_reference[name].pipelines:
                for _ in range(self.rng.choice((0, 0, 3, 10, 39))):
                    if batch[-1].pause_ms:
                        break
                    following = next(steps, None)
                    if following is None:
                        break
                    batch.append(following)
            yield name, batch

    def run(self, steps: Iterator[Step]) -> None:
        """Send all of `steps` both ways and compare."""
        started = time.monotonic()
        for name, batch in self._batches(steps):
            self._run_batch(name, batch)
            pause_ms = max(step.pause_ms for step in batch)
            if pause_ms:
                time.sleep(pause_ms / 1000)
        self.outcome.seconds += time.monotonic() - started

    def _run_batch(self, name: str, batch: list[Step]) -> None:
        wanted = self.to_reference[name].send([step.args for step in batch])
        got: dict[int, Any] = {}
        for at in self.targets:
            mine = [step for step in batch if self._target_of(step) == at]
            if mine:
                replies = self.to_target[name, at].send([step.args for step in mine])
                got.update((step.index, reply) for step, reply in zip(mine, replies, strict=True))
        for step, want in zip(batch, wanted, strict=True):
            self._compare(name, step, got[step.index], want)
        self.outcome.commands += len(batch)
        self.outcome.by_driver[name] += len(batch)

    def _compare(self, name: str, step: Step, reply: Any, wanted: Any) -> None:
        if not same(reply, wanted, step.rule):
            self.outcome.differences.append(Difference(step, name, self._target_of(step), reply, wanted))
        elif isinstance(wanted, Exception) or getattr(wanted, "kind", "") == "-":
            self.outcome.errors_equal += 1

    def compare_contents(self, keys: Sequence[bytes]) -> None:
        """Read every key whole, both ways."""
        name = "raw2" if "raw2" in self.names else self.names[0]
        for number, key in enumerate(keys):
            kind_step = Step(-2 * number - 2, (b"TYPE", key), Rule.EXACT, key)
            kind = self.to_reference[name].send([kind_step.args])[0]
            text = kind.value if hasattr(kind, "value") else kind
            if text in CONTENT_READS:
                args, rule = CONTENT_READS[text]
                read = Step(-2 * number - 1, (args[0], key, *args[1:]), rule, key)
                before = self.outcome.commands, dict(self.outcome.by_driver)
                self._run_batch(name, [kind_step, read])
                self.outcome.commands, self.outcome.by_driver = before
            self.outcome.keys_compared += 1

    def delete(self, keys: Sequence[bytes]) -> None:
        """Remove `keys` from both sides."""
        for key in keys:
            step = Step(0, (b"DEL", key), Rule.EXACT, key)
            self.to_target[self.names[0], self._target_of(step)].send([step.args])
            self.to_reference[self.names[0]].send([step.args])

    def close(self) -> None:
        for driver in (*self.to_target.values(), *self.to_reference.values()):
            driver.close()
        self.runner.close()


CONTENT_READS: dict[bytes, tuple[tuple[bytes, ...], Rule]] = {
    b"none": ((b"EXISTS",), Rule.EXACT),
    b"string": ((b"GET",), Rule.CONTENT),
    b"list": ((b"LRANGE", b"0", b"-1"), Rule.EXACT),
    b"set": ((b"SMEMBERS",), Rule.UNORDERED),
    b"zset": ((b"ZRANGE", b"0", b"-1", b"WITHSCORES"), Rule.EXACT),
    b"hash": ((b"HGETALL",), Rule.PAIRS),
    b"stream": ((b"XRANGE", b"-", b"+"), Rule.EXACT),
}


def dual_run(
    targets: Sequence[Address], reference: Address, *, count: int = 5000, seed: int = 1,
    groups: Sequence[str] = DEFAULT_GROUPS, drivers: Sequence[str] = DRIVER_NAMES,
) -> Outcome:  # fmt: skip
    """Send `count` commands both ways and compare all replies, then all keys; removes its keys."""
    prefix = f"dual:{os.getpid():x}.{time.time_ns() & 0xFFFFFFFF:x}:".encode()
    mix = CommandMix(seed, prefix, groups, empty_key=len(targets) == 1)
    keys = [key for _, key in mix.all_keys()]
    run = DualRun(targets, reference, seed, drivers)
    try:
        run.delete([key for key in keys if not key])
        run.run(islice(iter(mix), count))
        run.compare_contents(keys)
        run.delete(keys)
    finally:
        run.close()
    return run.outcome


def address(text: str) -> Address:
    """HOST:PORT as a pair."""
    host, _, port = text.rpartition(":")
    return host or "127.0.0.1", int(port)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.dual_run", description=__doc__)
    parser.add_argument(
        "--target", type=address, action="append", metavar="HOST:PORT", help="default: a bare datastore"
    )
    parser.add_argument("--reference", type=address, metavar="HOST:PORT", help="default: a bare datastore of our own")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--short", action="store_true", help="300 commands")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--groups", default=",".join(DEFAULT_GROUPS), help="of " + ",".join(ALL_GROUPS))
    parser.add_argument("--drivers", default=",".join(DRIVER_NAMES))
    options = parser.parse_args(argv)
    stores = []
    targets, reference = options.target, options.reference
    if not targets:
        stores.append(BareStore())
        targets = [(stores[-1].host, stores[-1].port)]
    if not reference:
        stores.append(BareStore())
        reference = (stores[-1].host, stores[-1].port)
    try:
        outcome = dual_run(
            targets, reference, count=300 if options.short else options.count, seed=options.seed,
            groups=options.groups.split(","), drivers=options.drivers.split(","),
        )  # fmt: skip
    finally:
        for store in stores:
            store.__exit__(None, None, None)
    for difference in outcome.differences[:SHOWN_DIFFERENCES]:
        print(difference)
    print(outcome.line())
    return 1 if outcome.differences or not outcome.commands else 0


if __name__ == "__main__":
    sys.exit(main())
