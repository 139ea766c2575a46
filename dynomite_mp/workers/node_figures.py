"""One reading of a node: who it is, its processes with their counters, its rings, and what it sees of the cluster.

A reading is plain immutable data. Every document the admin process serves (`info_document`, `metrics`, `health`,
`cluster_document`) is a function of a reading, so each can be tested without shared memory. `read_node` makes one from
the counter slab.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dynomite_mp import __version__
from dynomite_mp.config import Config
from dynomite_mp.enums import ProcessState, Role
from dynomite_mp.ipc.bulletin import Bulletin, decode, merged
from dynomite_mp.ipc.counter_table import COUNTERS, Merge
from dynomite_mp.ipc.slab import HistogramValues, ProcessValues, RingValues, Slab

MERGES: Final[Mapping[str, Merge]] = {row.name: row.merge for row in COUNTERS}
MANAGED_DATASTORE: Final = "managed"
NO_NEWS: Final = Bulletin()
NEGATIVE: Final = 1 << 63
"""A gauge read between a subtraction and the addition that belongs to it looks as large as this, and means 0."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who the node is."""

    dc: str = ""
    rack: str = ""
    tokens: tuple[int, ...] = ()
    client_port: int = 0
    stats_port: int = 0
    hash: str = ""
    hash_tag: str = ""
    pool: str = ""
    datastore: str = ""
    public_address: str = ""
    public_name: str = ""
    version: str = __version__
    started_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """One process. `cells` are its counters and gauges by the name of their row, connection groups added up."""

    role: Role
    index: int
    pid: int
    state: ProcessState
    boot_count: int = 1
    heartbeat_ns: int = 0
    cells: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As the process title has it: `gossip`, `io[0]`."""
        return process_name(self.role, self.index)

    @property
    def restarts(self) -> int:
        return max(0, self.boot_count - 1)

    def cell(self, name: str) -> int:
        return self.cells.get(name, 0)


@dataclass(frozen=True, slots=True)
class RingFigures:
    """One ring, with the names of the processes at its ends."""

    producer: str
    consumer: str
    values: RingValues


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """`commands[i]` counts the requests for the command with id i; `cluster` is what the processes have posted."""

    identity: NodeIdentity
    processes: tuple[ProcessFigures, ...] = ()
    rings: tuple[RingFigures, ...] = ()
    commands: tuple[int, ...] = ()
    cluster: Bulletin = NO_NEWS

    def all(self, role: Role) -> tuple[ProcessFigures, ...]:
        return tuple(process for process in self.processes if process.role is role)

    def one(self, role: Role) -> ProcessFigures | None:
        return next(iter(self.all(role)), None)

    def total(self, name: str) -> int:
        """The node's value of a row of the counter table, merged from its processes as the row says."""
        values = [process.cell(name) for process in self.processes]
        return max(values, default=0) if MERGES[name] is Merge.MAX else sum(values)


def process_name(role: Role, index: int) -> str:
    return f"{role.label}[{index}]" if role is Role.IO else role.label


def identity_of(config: Config, started_at_s: float, environ: Mapping[str, str]) -> NodeIdentity:
    """`environ` may say by which address and name others know a machine whose own are private; as in C."""
    return NodeIdentity(
        dc=config.datacenter,
        rack=config.rack,
        tokens=config.tokens,
        client_port=config.listen.port,
        stats_port=config.stats_listen.port,
        hash=config.hash,
        hash_tag=config.hash_tag.decode(errors="replace"),
        pool=config.pool,
        datastore=config.datastore.name if config.datastore else MANAGED_DATASTORE,
        public_address=environ.get("EC2_PUBLIC_IPV4", ""),
        public_name=environ.get("EC2_PUBLIC_HOSTNAME", ""),
        started_at_s=started_at_s,
    )


def read_node(slab: Slab, identity: NodeIdentity) -> NodeFigures:
    """Everything but the histograms, which few documents need and which are most of the slab."""
    return NodeFigures(
        identity,
        tuple(_process(values) for values in slab.processes() if values.pid),
        tuple(_ring(values) for values in slab.rings()),
        tuple(slab.commands()),
        read_cluster(slab),
    )


def read_cluster(slab: Slab) -> Bulletin:
    """What the processes see of the cluster, put together."""
    return merged([decode(slab.bulletin(place)) for place in range(slab.process_count)])


def read_histograms(slab: Slab) -> dict[str, HistogramValues]:
    return {name: slab.histogram(name) for name in slab.histogram_names()}


def _process(values: ProcessValues) -> ProcessFigures:
    cells: dict[str, int] = {}
    for cell, value in values.counters.items():
        name = cell.partition(":")[0]
        cells[name] = cells.get(name, 0) + (value if value < NEGATIVE else 0)
    return ProcessFigures(
        Role(values.role),
        values.index,
        values.pid,
        ProcessState(values.state),
        values.boot_count,
        values.heartbeat_ns,
        cells,
    )


def _ring(values: RingValues) -> RingFigures:
    return RingFigures(
        process_name(Role(values.producer_role), values.producer_index),
        process_name(Role(values.consumer_role), values.consumer_index),
        values,
    )
