"""The reader's side of the counter slab: what `status`, `/info` and `/metrics` know about a node.

Opens the named segment read-only, needs no message and no answer from any process, and works when all of them hang.
Everything is found through the slab's own header and the names that it carries, so a reader of another version reads
what both know.
"""

import os
from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgpack  # type: ignore[import-untyped]
import posix_ipc  # type: ignore[import-not-found]

from dynomite_mp.ipc import counter_table, layout
from dynomite_mp.ipc.counters import read_bulletin
from dynomite_mp.ipc.mapping import Mapping

SHM_DIRECTORY = Path("/dev/shm")
_MERGE_MAX = frozenset(row.name for row in counter_table.COUNTERS if row.merge is counter_table.Merge.MAX)


class SlabError(Exception):
    """No slab of that name, or not one that this version can read."""


def name_prefix() -> str:
    return f"dynomite-mp.{os.getuid()}."


def process_start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine's boot; None if there is none (or only a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True, slots=True)
class HistogramValues:
    """One histogram at one moment; several are added with `+`."""

    buckets: tuple[int, ...]
    sum: int
    max: int

    @property
    def count(self) -> int:
        return sum(self.buckets)

    @property
    def mean(self) -> float:
        return self.sum / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """The highest value that this share of the observations can have, at most 1/8 above the true one."""
        rank = self.count * percent / 100
        seen = 0
        for bucket, amount in enumerate(self.buckets):
            seen += amount
            if amount and seen >= rank:
                last = bucket == len(self.buckets) - 1
                return self.max if last else min(layout.histogram_bucket_bounds(bucket)[1] - 1, self.max)
        return 0

    def __add__(self, other: "HistogramValues") -> "HistogramValues":
        buckets = tuple(a + b for a, b in zip(self.buckets, other.buckets, strict=True))
        return HistogramValues(buckets, self.sum + other.sum, max(self.max, other.max))


@dataclass(frozen=True, slots=True)
class RingValues:
    """One ring as the supervisor last saw it."""

    producer_role: int
    producer_index: int
    consumer_role: int
    consumer_index: int
    capacity_bytes: int
    depth_bytes: int
    high_water_bytes: int
    failed_offers: int
    records: int
    dropped: int
    total_bytes: int
    handler_errors: int
    sampled_at_ns: int


@dataclass(frozen=True, slots=True)
class ProcessValues:
    """One process as its record says; counters by name."""

    role: int
    index: int
    pid: int
    state: int
    boot_count: int
    started_at_ns: int
    last_exit: int
    heartbeat_ns: int
    counters: MappingType[str, int]


class Slab:
    """A node's slab, mapped read-only. The values move under it; every method reads them anew."""

    def __init__(self, memory: Mapping, name: str) -> None:
        self.name = name
        self._memory = memory
        self._bytes = memoryview(memory)
        self._words = self._bytes.cast("Q")
        words = len(layout.SLAB_HEADER_WORDS)
        self._header = dict(zip(layout.SLAB_HEADER_WORDS, self._words[:words], strict=True))
        if self._header["magic"] != layout.SLAB_MAGIC:
            raise SlabError(f"{name} is not a counter slab, or is still being made")
        if self._header["layout_version"] != layout.SLAB_LAYOUT_VERSION:
            raise SlabError(f"{name} was made by another version: layout {self._header['layout_version']}")
        schema = self._blob("schema")
        self._cell_names: tuple[str, ...] = tuple(schema["cells"])
        self._histogram_names: tuple[str, ...] = tuple(schema["histograms"])
        self.identity: MappingType[str, Any] = self._blob("identity")

    @classmethod
    def open(cls, name: str) -> Self:
        """Map the slab of that name; SlabError if there is none."""
        try:
            segment = posix_ipc.SharedMemory(name, read_only=True)
        except (posix_ipc.ExistentialError, posix_ipc.PermissionsError) as problem:
            raise SlabError(f"{name}: {problem}") from problem
        try:
            size_bytes = os.fstat(segment.fd).st_size
            if size_bytes < layout.SLAB_HEADER_BYTES:
                raise SlabError(f"{name} is not a counter slab, or is still being made")
            memory = Mapping(segment.fd, size_bytes, readonly=True)
        finally:
            segment.close_fd()
        return cls(memory, name)

    @staticmethod
    def list_mine() -> list[str]:
        """Names of all slabs of this user, running or stale."""
        own = f"{name_prefix()}*"
        return sorted(f"/{path.name}" for path in SHM_DIRECTORY.glob(own) if not path.name.endswith(".rings"))

    def _blob(self, which: str) -> Any:
        start = self._header[f"{which}_offset"]
        return msgpack.unpackb(self._bytes[start : start + self._header[f"{which}_bytes"]], use_list=False)

    @property
    def boot_id(self) -> int:
        return self._header["boot_id"]

    @property
    def supervisor_pid(self) -> int:
        return self._header["supervisor_pid"]

    @property
    def created_at_ns(self) -> int:
        return self._header["created_at_ns"]

    @property
    def is_stale(self) -> bool:
        """The supervisor that made the slab is gone: nothing in it moves any more."""
        return process_start_ticks(self.supervisor_pid) != self._header["supervisor_start_ticks"]

    @property
    def process_count(self) -> int:
        return self._header["process_count"]

    def _process_word(self, process: int) -> int:
        return (self._header["process_offset"] + process * self._header["process_stride_bytes"]) // 8

    def process(self, process: int) -> ProcessValues:
        """Header and counters of the process at that place."""
        word = self._process_word(process)
        head = dict(zip(layout.PROCESS_SUPERVISOR_WORDS, self._words[word : word + 7].tolist(), strict=True))
        cells = word + layout.PROCESS_HEADER_WORDS
        values = self._words[cells : cells + len(self._cell_names)].tolist()
        counters = dict(zip(self._cell_names, values, strict=True))
        heartbeat_ns = self._words[word + layout.PROCESS_HEARTBEAT_WORD]
        return ProcessValues(**head, heartbeat_ns=heartbeat_ns, counters=counters)

    def processes(self) -> list[ProcessValues]:
        return [self.process(i) for i in range(self.process_count)]

    def totals(self) -> dict[str, int]:
        """Every counter of the node, groups and processes merged, and each group's cell by its own name too."""
        totals: dict[str, int] = {}
        for process in self.processes():
            for cell, value in process.counters.items():
                base = cell.partition(":")[0]
                for name in {cell, base}:
                    before = totals.get(name, 0)
                    totals[name] = max(before, value) if base in _MERGE_MAX else before + value
        return totals

    def commands(self) -> list[int]:
        """Requests by command id, over all processes."""
        totals = [0] * self._header["command_count"]
        for process in range(self.process_count):
            start = self._command_word(process)
            for i, value in enumerate(self._words[start : start + len(totals)]):
                totals[i] += value
        return totals

    def _command_word(self, process: int) -> int:
        return self._process_word(process) + layout.PROCESS_HEADER_WORDS + layout.align(self._header["cell_count"], 16)

    def histogram(self, name: str) -> HistogramValues:
        """A histogram of the node, over all processes."""
        total = HistogramValues((0,) * layout.HISTOGRAM_BUCKETS, 0, 0)
        for process in range(self.process_count):
            values = self.process_histogram(process, name)
            if values.sum or values.count:
                total += values
        return total

    def process_histogram(self, process: int, name: str) -> HistogramValues:
        place = self._histogram_names.index(name)
        start = self._command_word(process) + self._header["command_count"] + place * self._header["histogram_words"]
        words = self._words[start : start + self._header["histogram_words"]].tolist()
        buckets = tuple(words[: layout.HISTOGRAM_BUCKETS])
        return HistogramValues(buckets, words[layout.HISTOGRAM_SUM], words[layout.HISTOGRAM_MAX])

    def bulletin(self, process: int) -> bytes:
        """What the process at that place last posted (see bulletin.py); empty when nothing."""
        histograms = self._header["histogram_count"] * self._header["histogram_words"]
        word = self._command_word(process) + self._header["command_count"] + histograms
        return read_bulletin(self._bytes, 8 * word)

    def histogram_names(self) -> tuple[str, ...]:
        return self._histogram_names

    def rings(self) -> list[RingValues]:
        """Every ring, as of the supervisor's last round."""
        rings = []
        for i in range(self._header["ring_count"]):
            start = self._header["ring_offset"] // 8 + i * self._header["ring_row_words"]
            rings.append(RingValues(*self._words[start : start + len(layout.RING_ROW_FIELDS)].tolist()))
        return rings

    def __repr__(self) -> str:
        return f"<Slab {self.name} supervisor={self.supervisor_pid} {'stale' if self.is_stale else 'live'}>"
