"""SIGKILL at random moments: a ring must survive the death of either end.

    python tests/stress/ring_kill.py --kills 20

First the producer is killed again and again while it writes (values up to 1/8 of the ring, so most of its time is
inside a record) and restarted on the same ring, forked from a parent whose ring object is as old as the ring. Every
record that comes out must be whole, and each life's records must follow each other from its first.

Then the consumer is killed and restarted. It reports each record before its position moves on, so nothing may be
missing; a record may come twice at a death, and only there. Exit code 0 only if nothing is wrong.
"""

import argparse
import os
import random
import select
import signal
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dynomite_mp.ipc.doorbell import Doorbell
from dynomite_mp.ipc.layout import DOORBELL_BYTES, RECORD_HEADER_BYTES, RING_HEADER_BYTES
from dynomite_mp.ipc.mapping import Mapping
from dynomite_mp.ipc.ring import SpscRing
from tests.stress.checked_records import OVERHEAD_BYTES, Checker, Source, unseal
from tests.stress.ring_stress import WAKE_UP_MS, make

REPORT = struct.Struct("<q")
CORRUPT = -1
WATCH_BYTES = 16
START_S = 10.0


def source_of(ring: SpscRing, life: int, seed: int) -> Source:
    rng = random.Random(seed + life)
    return Source(life, [rng.randint(0, ring.max_record_bytes - OVERHEAD_BYTES) for _ in range(101)], seed)


def produce_until_killed(ring: SpscRing, doorbell: Doorbell, life: int, seed: int) -> None:
    doorbell.ring()  # what Port.attach does: a predecessor may have published and not rung
    for payload in source_of(ring, life, seed):
        while not ring.offer(1, payload):
            time.sleep(0.00005)
        doorbell.ring()


def start_producer(ring: SpscRing, doorbell: Doorbell, life: int, seed: int) -> int:
    pid = os.fork()
    if pid == 0:
        produce_until_killed(ring, doorbell, life, seed)
        os._exit(1)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def drain_for(ring: SpscRing, doorbell: Doorbell, checker: Checker, seconds: float) -> int:
    """Consume as a worker would; how many wake-ups did not come."""
    poll = select.poll()
    poll.register(doorbell.fd, select.POLLIN)
    end = time.monotonic() + seconds
    lost = 0
    while time.monotonic() < end:
        ring.drain(checker, 64)
        if doorbell.prepare_sleep():
            if not poll.poll(WAKE_UP_MS) and not ring.is_empty():
                lost += 1
            doorbell.awake()
    return lost


class Watch:
    """Looks over a producer's shoulder: whether it is inside a record, by what lies in the free space.

    It looks at the middle of the next record, because memcpy may store the first bytes last.
    """

    def __init__(self, memory: Mapping, ring: SpscRing, source: Source) -> None:
        self._data = memoryview(memory)[DOORBELL_BYTES + RING_HEADER_BYTES :][: ring.capacity_bytes]
        self._ring = ring
        self._source = source
        self._records_before = ring.records
        self._sequence = -1
        self._wanted = b""
        self._middle = 0

    def is_inside(self) -> bool:
        ring = self._ring
        sequence = ring.records - self._records_before
        if sequence != self._sequence:
            self._sequence = sequence
            payload = self._source.payload(sequence)
            self._middle = len(payload) // 2
            self._wanted = payload[self._middle :][:WATCH_BYTES]
        if len(self._wanted) < WATCH_BYTES:
            return False
        places = (ring.producer_pos % ring.capacity_bytes, 0)  # 0: behind a padding
        middles = (at + RECORD_HEADER_BYTES + self._middle for at in places)
        return any(self._data[middle:][:WATCH_BYTES] == self._wanted for middle in middles)

    def wait_inside(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.is_inside() and time.monotonic() < end:
            pass


def kill_producers(kills: int, capacity_bytes: int, seed: int) -> int:
    """The parent consumes; its ring object is never used to produce, so each child inherits old cached positions."""
    memory, ring, doorbell = make(capacity_bytes)
    rng = random.Random(seed)
    checker = Checker()
    lost = heard = inside = 0
    for life in range(kills):
        watch = Watch(memory, ring, source_of(ring, life, seed))
        pid = start_producer(ring, doorbell, life, seed)
        give_up = time.monotonic() + START_S
        while checker.life < life and time.monotonic() < give_up:
            lost += drain_for(ring, doorbell, checker, 0.001)
        lost += drain_for(ring, doorbell, checker, rng.uniform(0.0, 0.06))
        if life % 2:
            watch.wait_inside(0.05)
        elif life % 8 == 0:
            time.sleep(0.05)  # let it meet a full ring
        kill(pid)
        inside += watch.is_inside()
        while ring.drain(checker):
            pass
        heard += checker.life == life
    wrong = checker.wrong + lost + (not ring.is_empty()) + (heard < kills)
    print(
        f"producer: kills={kills} records={checker.records} lives_heard={heard} killed_inside_a_record={inside} "
        f"corrupt={checker.corrupt} out_of_order={checker.out_of_order} lost_wake_ups={lost} wrong={wrong}"
    )
    return wrong


def consume_until_killed(ring: SpscRing, doorbell: Doorbell, reports: int) -> None:
    poll = select.poll()
    poll.register(doorbell.fd, select.POLLIN)

    def handle(record_type: int, payload: bytes) -> None:
        read = unseal(payload)
        os.write(reports, REPORT.pack(CORRUPT if read is None or record_type != 1 else read[1]))

    while True:
        ring.drain(handle, 64)
        if doorbell.prepare_sleep():
            poll.poll(WAKE_UP_MS)
            doorbell.awake()


class Reports:
    """What the consumers said they handled, over all their lives."""

    def __init__(self) -> None:
        self.handled = self.repeated = self.missing = self.corrupt = 0
        self.next_sequence = 0
        self.after_death = False

    def add(self, sequence: int) -> None:
        self.handled += 1
        if sequence == CORRUPT:
            self.corrupt += 1
        elif self.after_death and sequence == self.next_sequence - 1:
            self.repeated += 1
        elif sequence == self.next_sequence:
            self.next_sequence += 1
        else:
            self.missing += 1
            self.next_sequence = sequence + 1
        self.after_death = False

    def read(self, fd: int, seconds: float) -> None:
        """Take reports for some time and then all that are left in the pipe."""
        end = time.monotonic() + seconds
        while True:
            select.select([fd], [], [], max(0.0, end - time.monotonic()))
            try:
                chunk = os.read(fd, 1 << 16)
            except BlockingIOError:
                if time.monotonic() >= end:
                    return
                continue
            for (sequence,) in REPORT.iter_unpack(chunk):
                self.add(sequence)


def kill_consumers(kills: int, capacity_bytes: int, seed: int) -> int:
    _, ring, doorbell = make(capacity_bytes)
    rng = random.Random(seed)
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    reports = Reports()
    producer = start_producer(ring, doorbell, 0, seed)
    for _ in range(kills):
        pid = os.fork()
        if pid == 0:
            consume_until_killed(ring, doorbell, write_fd)
            os._exit(1)
        select.select([read_fd], [], [], START_S)
        time.sleep(rng.uniform(0.0, 0.06))
        kill(pid)
        reports.read(read_fd, 0.0)
        reports.after_death = True
    kill(producer)
    rest = 0

    def handle(record_type: int, payload: bytes) -> None:
        nonlocal rest
        rest += 1
        read = unseal(payload)
        reports.add(CORRUPT if read is None or record_type != 1 else read[1])

    while ring.drain(handle):
        pass
    # A count taken just before its record was published may be one ahead.
    unaccounted = ring.records - reports.next_sequence
    wrong = reports.missing + reports.corrupt + (unaccounted not in (0, 1)) + (reports.handled <= rest)
    print(
        f"consumer: kills={kills} handled={reports.handled} repeated={reports.repeated} missing={reports.missing} "
        f"corrupt={reports.corrupt} wrong={wrong}"
    )
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--capacity-bytes", type=int, default=1 << 24)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    print(f"seed={args.seed}")
    wrong = kill_producers(args.kills, args.capacity_bytes, args.seed)
    wrong += kill_consumers(args.kills, min(args.capacity_bytes, 1 << 16), args.seed)
    print(f"wrong={wrong}")
    return 0 if wrong == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
