"""One reading of a node: who it is, its processes with all their figures, its rings.

A reading is plain immutable data. Every document the admin process serves (`info_document`, `metrics`, `health`,
`cluster_document`) is a function of a reading, so each can be tested without shared memory. `slab_reading` makes one
from the counter slab.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dynomite_mp.enums import ProcessState, Role
from dynomite_mp.ipc.counter_table import COUNTERS, Merge
from dynomite_mp.workers.histogram_figures import HistogramFigures, merged

MERGES: Final[Mapping[str, Merge]] = {row.name: row.merge for row in COUNTERS}


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who the node is; as the supervisor wrote it when it started."""

    version: str = ""
    dc: str = ""
    rack: str = ""
    tokens: tuple[int, ...] = ()
    listen: str = ""
    dyn_listen: str = ""
    stats_listen: str = ""
    data_dir: str = ""
    pool: str = ""
    datastore: str = ""
    boot_id: str = ""
    started_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """One process.

    `cells` are its counters and gauges by the name of their row in the counter table, connection groups added up;
    `commands[i]` counts the requests for the command with id i. A process that writes no figures has no cells.
    """

    role: Role
    index: int
    pid: int
    state: ProcessState
    boot: int
    started_at_ns: int
    heartbeat_ns: int
    cells: Mapping[str, int] = field(default_factory=dict)
    commands: tuple[int, ...] = ()
    histograms: Mapping[str, HistogramFigures] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As the process title has it: `gossip`, `io[0]`."""
        return f"io[{self.index}]" if self.role is Role.IO else self.role.label

    @property
    def restarts(self) -> int:
        return max(0, self.boot - 1)

    def cell(self, name: str) -> int:
        return self.cells.get(name, 0)


@dataclass(frozen=True, slots=True)
class RingFigures:
    """One ring. What it holds now, what it can hold, and what happened to it since the node started."""

    producer: str
    consumer: str
    capacity_bytes: int
    depth_bytes: int
    high_water_bytes: int
    records: int
    total_bytes: int
    failed_offers: int
    dropped: int
    handler_errors: int


@dataclass(frozen=True, slots=True)
class NodeFigures:
    identity: NodeIdentity
    processes: tuple[ProcessFigures, ...]
    rings: tuple[RingFigures, ...] = ()

    def all(self, role: Role) -> tuple[ProcessFigures, ...]:
        return tuple(process for process in self.processes if process.role is role)

    def one(self, role: Role) -> ProcessFigures | None:
        return next(iter(self.all(role)), None)

    def total(self, name: str) -> int:
        """The node's value of a row of the counter table, merged from its processes as the row says."""
        values = [process.cell(name) for process in self.processes]
        return max(values, default=0) if MERGES[name] is Merge.MAX else sum(values)

    def histogram(self, *names: str) -> HistogramFigures:
        """The histograms of these names, over all processes, as one."""
        return merged(p.histograms[name] for p in self.processes for name in names if name in p.histograms)

    def command_counts(self) -> list[int]:
        """How often each command id was asked for, over all processes."""
        rows = [process.commands for process in self.processes if process.commands]
        return [sum(column) for column in zip(*rows, strict=True)]
