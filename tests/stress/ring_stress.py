"""Two processes, one ring, millions of checksummed records; every one must arrive once, in order, unchanged.

    python tests/stress/ring_stress.py --records 10000000

The consumer sleeps on its doorbell whenever the ring is empty, so the run also proves that no wake-up is lost: one that
does not come within 5 s while a record waits counts as wrong. The last line is `... records/s ... wrong=0`; the exit
code is 0 only for that.
"""

import argparse
import os
import random
import select
import sys
import time
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dynomite_mp.ipc.doorbell import Doorbell
from dynomite_mp.ipc.layout import DOORBELL_BYTES
from dynomite_mp.ipc.mapping import Mapping
from dynomite_mp.ipc.ring import SpscRing, footprint_bytes
from dynomite_mp.ipc.segment import allocate, unlink
from tests.stress.checked_records import OVERHEAD_BYTES, Checker, Source

BATCH = 256
WAKE_UP_MS = 5000


def make(capacity_bytes: int) -> tuple[Mapping, SpscRing, Doorbell]:
    """A real shared segment with a ring and its consumer's doorbell."""
    name = f"/dynomite-mp-stress.{os.getpid()}"
    memory = allocate(name, DOORBELL_BYTES + footprint_bytes(capacity_bytes), "")
    unlink(name)
    doorbell = Doorbell(memory, 0, os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
    ring = SpscRing(memory, DOORBELL_BYTES, capacity_bytes, create=True)
    doorbell.watch(ring)
    return memory, ring, doorbell


def produce(ring: SpscRing, doorbell: Doorbell, records: int, body_max: int, seed: int) -> None:
    sizes = [random.Random(seed).randint(0, body_max) for _ in range(1009)]
    source = islice(Source(0, sizes, seed), records)
    while batch := list(islice(source, BATCH)):
        sent = ring.offer_many(1, batch)
        doorbell.ring()
        while sent < len(batch):
            time.sleep(0.0001)
            sent += ring.offer_many(1, batch[sent:])
            doorbell.ring()


def consume(ring: SpscRing, doorbell: Doorbell, records: int, checker: Checker) -> tuple[int, int]:
    """(times slept, wake-ups lost)"""
    poll = select.poll()
    poll.register(doorbell.fd, select.POLLIN)
    sleeps = lost = 0
    while checker.records < records:
        ring.drain(checker, 1 << 16)
        if checker.records < records and doorbell.prepare_sleep():
            sleeps += 1
            woken = poll.poll(WAKE_UP_MS)
            if not woken:
                if ring.is_empty():
                    break  # the producer is gone, or starved for seconds
                lost += 1
            doorbell.awake()
    return sleeps, lost


def run(records: int, capacity_bytes: int, body_max: int, seed: int) -> int:
    """The number of wrong things; prints the figures."""
    body_max = min(body_max, capacity_bytes // 8 - OVERHEAD_BYTES)
    _, ring, doorbell = make(capacity_bytes)
    pid = os.fork()
    if pid == 0:
        produce(ring, doorbell, records, body_max, seed)
        os._exit(0)
    checker = Checker()
    started = time.perf_counter()
    sleeps, lost = consume(ring, doorbell, records, checker)
    elapsed_s = time.perf_counter() - started
    producer_failed = os.waitpid(pid, 0)[1] != 0
    wrong = checker.wrong + lost + abs(records - checker.records) + producer_failed + (not ring.is_empty())
    print(
        f"records={checker.records} ring={capacity_bytes} bytes payload<={body_max + OVERHEAD_BYTES} "
        f"turns_of_ring={ring.producer_pos // capacity_bytes} full={ring.failed_offers} sleeps={sleeps} "
        f"seconds={elapsed_s:.1f} {checker.records / elapsed_s:,.0f} records/s wrong={wrong}"
    )
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--capacity-bytes", type=int, default=1 << 18)
    parser.add_argument("--body-max", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    return 0 if run(args.records, args.capacity_bytes, args.body_max, args.seed) == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
