"""A ring between two processes for millions of records, every one checked; and the same with kill -9 at random moments.

`python -m tests.load.ring_stress [--records 10000000] [--kills 20]`

A record is (life of the producer, number, CRC over both and the filling, filling of a varying size). The consumer wants
the numbers of one life without a gap and in order. A producer killed inside a write must leave nothing visible, and the
next one begins a new life at the next free place. A killed consumer's successor goes on where it died, and may see the
record that was being handled once more: no more than that.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import select
import signal
import struct
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from dynomite_mp.ipc.doorbell import Doorbell
from dynomite_mp.ipc.ring import SpscRing, footprint_bytes

HEAD = struct.Struct("<IQI")
WORDS = struct.Struct("<QQQQQ")  # what the consumer shares: life, number, records, wrong, repeated
RECORD_TYPE = 7
BATCH = 256
WAKE_LIMIT_S = 0.5
FILLING = bytes(range(256)) * 2


@dataclass(frozen=True)
class Seen:
    """What the consumer had seen in the end."""

    life: int
    number: int
    records: int
    wrong: int
    repeated: int


@dataclass
class StressReport:
    """How it went."""

    seen: Seen
    seconds: float
    producer_kills: int = 0
    consumer_kills: int = 0
    lost: int = 0

    def line(self) -> str:
        kills = (
            f", {self.producer_kills} producers and {self.consumer_kills} consumers killed" if self._killed() else ""
        )
        return (
            f"{self.seen.records} records, {self.seen.wrong} wrong, {self.lost} lost, "
            f"{self.seen.repeated} repeated{kills}; {self.seen.records / self.seconds / 1000:.0f} k records/s"
        )

    def _killed(self) -> int:
        return self.producer_kills + self.consumer_kills

    def holds(self) -> bool:
        return (
            self.seen.records > 0
            and not self.seen.wrong
            and not self.lost
            and self.seen.repeated <= self.consumer_kills
        )


def make_record(life: int, number: int) -> bytes:
    """One record; its size varies with its number, from 16 bytes to 400."""
    filling = FILLING[number % 31 : number % 31 + (number * 7919) % 384]
    return HEAD.pack(life, number, zlib.crc32(filling, number & 0xFFFFFFFF ^ life)) + filling


class Pipe:
    """The shared memory of one stress: a ring, its consumer's doorbell, and a page of what was seen and wanted."""

    def __init__(self, capacity_bytes: int) -> None:
        self.memory = mmap.mmap(-1, 4096 + footprint_bytes(capacity_bytes))
        self.page = mmap.mmap(-1, 4096)
        self.ring = SpscRing(self.memory, 4096, capacity_bytes, create=True)
        self.doorbell = Doorbell(self.memory, 0, os.eventfd(0, os.EFD_NONBLOCK))
        self.doorbell.watch(self.ring)

    def seen(self) -> Seen:
        return Seen(*WORDS.unpack_from(self.page))

    def produce(self, life: int, count: int) -> None:
        number = 0
        while number < count:
            batch = [make_record(life, n) for n in range(number, min(number + BATCH, count))]
            while batch:
                taken = self.ring.offer_many(RECORD_TYPE, batch)
                self.doorbell.ring()
                number += taken
                batch = batch[taken:]
                if batch:
                    time.sleep(0)

    def consume(self, until: Callable[[Seen], bool], watch_bell: bool = True) -> None:
        """Check records until `until` says so of what was seen. A killed producer may die before it rings the bell."""
        last_life, last_number, records, wrong, repeated = WORDS.unpack_from(self.page)
        fresh = True

        def handle(kind: int, payload: bytes) -> None:
            nonlocal last_life, last_number, records, wrong, repeated, fresh
            life, number, crc = HEAD.unpack_from(payload)
            filling = payload[HEAD.size :]
            whole = kind == RECORD_TYPE and crc == zlib.crc32(filling, number & 0xFFFFFFFF ^ life)
            again = fresh and (life, number) == (last_life, last_number) and records
            follows = (life == last_life and number == last_number + 1) or (life > last_life and number == 0)
            fresh = False
            records += not again
            repeated += bool(again)
            wrong += not whole or not (again or follows)
            last_life, last_number = life, number
            WORDS.pack_into(self.page, 0, life, number, records, wrong, repeated)

        while not until(self.seen()):
            if self.ring.drain(handle, 4096) == 0 and self.doorbell.prepare_sleep():
                rung = select.select([self.doorbell.fd], [], [], WAKE_LIMIT_S)[0]
                if not rung and not self.ring.is_empty() and watch_bell:
                    wrong += 1  # a wake-up was lost
                self.doorbell.awake()


def fork(body: Callable[[], object]) -> int:
    """A child that runs `body` and ends; its pid."""
    pid = os.fork()
    if pid == 0:
        _child(body)
    return pid


def _child(body: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        body()
        code = 0
    finally:
        os._exit(code)


def stress(records: int, capacity_bytes: int = 1 << 20) -> StressReport:
    """Producer and consumer, undisturbed."""
    pipe = Pipe(capacity_bytes)
    started = time.monotonic()
    consumer = fork(lambda: pipe.consume(lambda seen: seen.records >= records))
    producer = fork(lambda: pipe.produce(1, records))
    for pid in (producer, consumer):
        os.waitpid(pid, 0)
    seen = pipe.seen()
    return StressReport(seen, time.monotonic() - started, lost=records - seen.records)


def stress_with_kills(kills: int, seed: int = 1, capacity_bytes: int = 1 << 16) -> StressReport:
    """Producers and consumers killed in turn at random moments; the last producer ends by itself."""
    rng = random.Random(seed)
    pipe = Pipe(capacity_bytes)
    ended = mmap.mmap(-1, 8)

    def over(_seen: Seen) -> bool:
        return ended[0] == 1 and pipe.ring.is_empty()

    started = time.monotonic()
    life = 1
    consumer = fork(lambda: pipe.consume(over, watch_bell=False))
    producer = fork(lambda life=life: pipe.produce(life, 1 << 40))  # type: ignore[misc]
    for number in range(kills):
        time.sleep(rng.uniform(0.005, 0.1))
        if number % 2:
            os.kill(consumer, signal.SIGKILL)
            os.waitpid(consumer, 0)
            consumer = fork(lambda: pipe.consume(over, watch_bell=False))
        else:
            os.kill(producer, signal.SIGKILL)
            os.waitpid(producer, 0)
            life += 1
            producer = fork(lambda life=life: pipe.produce(life, 1 << 40))  # type: ignore[misc]
    os.kill(producer, signal.SIGKILL)
    os.waitpid(producer, 0)
    life += 1
    last = 10_000
    producer = fork(lambda: pipe.produce(life, last))
    os.waitpid(producer, 0)
    ended[0] = 1
    os.waitpid(consumer, 0)
    seen = pipe.seen()
    lost = 0 if (seen.life, seen.number) == (life, last - 1) else 1
    return StressReport(seen, time.monotonic() - started, kills - kills // 2, kills // 2, lost)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.ring_stress", description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--short", action="store_true", help="200,000 records, 6 kills")
    options = parser.parse_args(argv)
    plain = stress(200_000 if options.short else options.records)
    print(plain.line(), flush=True)
    killed = stress_with_kills(6 if options.short else options.kills)
    print(killed.line())
    return 0 if plain.holds() and killed.holds() else 1


if __name__ == "__main__":
    sys.exit(main())
