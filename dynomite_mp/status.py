"""What `status` knows about a node: read from its counter slab and from /proc, asking no process of the node anything.

So it works when every worker hangs, and says so. A slab whose supervisor is gone is stale: the figures in it are the
last ones, and they are shown as that.

    find()/find_all()  -> names of slabs          collect() -> NodeStatus -> as_document(), status_text
"""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from dynomite_mp.config import Config
from dynomite_mp.enums import NodeState, ProcessState, Role
from dynomite_mp.ipc.bulletin import HintRow, RepairRow
from dynomite_mp.ipc.slab import SHM_DIRECTORY, ProcessValues, RingValues, Slab, SlabError
from dynomite_mp.paths import NodePaths
from dynomite_mp.pidfile import LOCK_NAME, holder
from dynomite_mp.workers.cluster_figures import DatacenterStatus, PeerStatus, datacenters_of, peers_of
from dynomite_mp.workers.health import node_state
from dynomite_mp.workers.node_figures import NodeIdentity, read_node

SILENT_MS = 3_000  # three missed heartbeats
# Counters whose growth per second is shown, by the name shown.
RATES: Mapping[str, tuple[str, ...]] = {
    "requests": ("client_read_requests", "client_write_requests", "client_local_requests"),
    "reads": ("client_read_requests",),
    "writes": ("client_write_requests",),
    "errors": ("client_error_responses",),
    "bytes_in": ("client_request_bytes",),
    "bytes_out": ("client_response_bytes",),
}


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process. None where it does not apply or the system does not tell."""

    name: str
    role: str
    index: int
    pid: int
    state: str
    cpu_percent: float | None
    rss_bytes: int | None
    restarts: int
    uptime_s: float | None
    silent_ms: int | None  # since the last heartbeat; None: a process without one
    last_exit: int

    @property
    def is_silent(self) -> bool:
        return self.silent_ms is not None and self.silent_ms >= SILENT_MS and self.state in ("running", "draining")


@dataclass(frozen=True, slots=True)
class RingRow:
    """One ring between two processes."""

    producer: str
    consumer: str
    depth_bytes: int
    capacity_bytes: int
    high_water_bytes: int
    failed_offers: int
    dropped: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node at one moment."""

    name: str
    identity: Mapping[str, Any]
    is_stale: bool
    leftover_pids: tuple[int, ...]  # processes that outlived their supervisor
    supervisor_pid: int
    started_at: float
    processes: tuple[ProcessRow, ...]
    rings: tuple[RingRow, ...]
    rates: Mapping[str, float]  # per second; empty without an interval
    client_connections: int
    requests_total: int
    problems: tuple[str, ...]
    node_state: str  # what /state/get_state says
    peers: tuple[PeerStatus, ...]
    datacenters: tuple[DatacenterStatus, ...]
    hints: tuple[HintRow, ...]  # writes that replicas and datacenters have still to get
    repairs: tuple[RepairRow, ...]  # the comparison of replicas under way, or the last one
    not_shown: int  # peers and members for which there was no room in shared memory


def find(config: Config) -> str | None:
    """The slab of the node with this configuration, if there is one.

    By its data directory; else by its place and address, because the default of the data directory depends on the
    environment, and that of a service differs from that of whoever asks for its status.
    """
    expected = NodePaths.of(config).slab_name
    place = (config.datacenter, config.rack, str(config.dyn_listen))
    for name in [expected, *find_all()]:
        try:
            identity = Slab.open(name).identity
        except SlabError:
            continue
        if name == expected or (identity.get("dc"), identity.get("rack"), identity.get("dyn_listen")) == place:
            return name
    return None


def find_all() -> list[str]:
    """Slabs of all nodes of this user; root sees those of everybody."""
    if os.getuid() != 0:
        return Slab.list_mine()
    return sorted(f"/{path.name}" for path in SHM_DIRECTORY.glob("dynomite-mp.*.*") if path.suffix != ".rings")


def collect(slab_name: str, interval_s: float = 0.25) -> NodeStatus:
    """Look twice, `interval_s` apart, for rates and CPU; with 0 look once. Raises SlabError."""
    slab = Slab.open(slab_name)
    usage = Usage(slab)
    before, before_s = slab.totals(), time.monotonic()
    if interval_s > 0 and not slab.is_stale:
        time.sleep(interval_s)
    totals, passed_s = slab.totals(), time.monotonic() - before_s
    stale = slab.is_stale
    rows = tuple(_process_row(values, usage, stale) for values in slab.processes() if values.pid or values.boot_count)
    identity = dict(slab.identity)
    node = read_node(slab, NodeIdentity())
    leftover = tuple(row.pid for row in rows if stale and usage.is_ours(row.pid)) if _is_held(identity) else ()
    return NodeStatus(
        name=f"{identity.get('dc', '?')}/{identity.get('rack', '?')} {identity.get('dyn_listen', '?')}",
        identity=identity,
        is_stale=stale,
        leftover_pids=leftover,
        supervisor_pid=slab.supervisor_pid,
        started_at=slab.created_at_ns / 1e9,
        processes=tuple(sorted(rows, key=lambda row: (Role[row.role.upper()], row.index))),
        rings=tuple(map(_ring_row, slab.rings())),
        rates=rates_of(before, totals, passed_s) if interval_s > 0 and not stale else {},
        client_connections=totals.get("client_connections", 0),
        requests_total=_sum(totals, RATES["requests"]),
        problems=tuple(find_problems(rows, stale)),
        node_state=NodeState.DOWN.name if stale else node_state(node).name,
        peers=peers_of(node.cluster),
        datacenters=datacenters_of(node.cluster),
        hints=node.cluster.hints,
        repairs=node.cluster.repairs,
        not_shown=node.cluster.left_out,
    )


class Usage:
    """CPU and memory of the processes, as psutil sees them between its making and the asking."""

    def __init__(self, slab: Slab) -> None:
        self._processes: dict[int, psutil.Process] = {}
        for values in slab.processes():
            if values.pid:
                try:
                    process = psutil.Process(values.pid)
                    process.cpu_percent()
                except psutil.Error:
                    continue
                self._processes[values.pid] = process

    def cpu_percent(self, pid: int) -> float | None:
        process = self._processes.get(pid)
        try:
            return float(process.cpu_percent()) if process is not None else None
        except psutil.Error:
            return None

    def rss_bytes(self, pid: int) -> int | None:
        process = self._processes.get(pid)
        try:
            return int(process.memory_info().rss) if process is not None else None
        except psutil.Error:
            return None

    def is_ours(self, pid: int) -> bool:
        """Whether a process with that pid still runs and looks like one of a node."""
        process = self._processes.get(pid)
        try:
            return process is not None and any("dynomite-mp:" in word for word in process.cmdline())
        except psutil.Error:
            return False


def as_document(status: NodeStatus) -> dict[str, Any]:
    return asdict(status)


def _process_row(values: ProcessValues, usage: Usage, stale: bool) -> ProcessRow:
    role = Role(values.role)
    has_pulse = role is not Role.DATASTORE and values.pid != 0
    return ProcessRow(
        name=f"{role.label}[{values.index}]" if role is Role.IO else role.label,
        role=role.label,
        index=values.index,
        pid=values.pid,
        state="gone" if stale and not usage.is_ours(values.pid) else ProcessState(values.state).name.lower(),
        cpu_percent=usage.cpu_percent(values.pid),
        rss_bytes=usage.rss_bytes(values.pid),
        restarts=max(0, values.boot_count - 1),
        uptime_s=time.time() - values.started_at_ns / 1e9 if values.pid and not stale else None,
        silent_ms=_since_ms(values.heartbeat_ns) if has_pulse and values.heartbeat_ns else None,
        last_exit=values.last_exit,
    )


def _since_ms(monotonic_ns: int) -> int:
    return max(0, time.monotonic_ns() - monotonic_ns) // 1_000_000


def _ring_row(values: RingValues) -> RingRow:
    return RingRow(
        producer=_end(values.producer_role, values.producer_index),
        consumer=_end(values.consumer_role, values.consumer_index),
        depth_bytes=values.depth_bytes,
        capacity_bytes=values.capacity_bytes,
        high_water_bytes=values.high_water_bytes,
        failed_offers=values.failed_offers,
        dropped=values.dropped,
    )


def _end(role: int, index: int) -> str:
    label = Role(role).label
    return f"{label}[{index}]" if role == Role.IO else label


def rates_of(before: Mapping[str, int], after: Mapping[str, int], passed_s: float) -> dict[str, float]:
    """Growth per second. A counter that was reset counts as not having grown."""
    return {
        shown: round(max(0, _sum(after, names) - _sum(before, names)) / passed_s, 1) for shown, names in RATES.items()
    }


def _sum(totals: Mapping[str, int], names: tuple[str, ...]) -> int:
    return sum(totals.get(name, 0) for name in names)


def find_problems(rows: tuple[ProcessRow, ...], stale: bool) -> list[str]:
    """Sentences about what is wrong; the first thing to read."""
    if stale:
        return ["the supervisor is gone; these are its last figures"]
    found = []
    for row in rows:
        if row.is_silent and row.silent_ms is not None:
            found.append(f"{row.name} has given no sign of life for {row.silent_ms / 1000:.0f} s")
        if row.state == "failed":
            found.append(f"{row.name} crashed too often and stays down; `dynomite-mp reload` tries again")
        if row.state == "backoff":
            found.append(f"{row.name} crashed (exit code {row.last_exit}) and waits to be started again")
    return found


def _is_held(identity: Mapping[str, Any]) -> bool:
    """Whether something of the node still runs, by the lock of its data directory."""
    data_dir = identity.get("data_dir")
    return bool(data_dir) and holder(Path(str(data_dir)) / LOCK_NAME) is not None
