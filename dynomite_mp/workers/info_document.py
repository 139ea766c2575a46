"""`/info`: one JSON document with every field name of the C server, in its order, and fields of ours after them.

Three tables hold the names: figures of the node (`NODE_FIELDS`), of the pool (`POOL_FIELDS`, nested under the pool's
name) and of the datastore (`SERVER_FIELDS`, nested under the datastore's name inside the pool). Most fields are rows of
the counter table under the same name; the exceptions stand beside the tables. A name that this version has nothing
to feed with stays 0, as it does in C for several of them.

Percentiles and means are those of the last minutes (`HistogramWindow`); latencies are in microseconds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dynomite_mp.enums import Role
from dynomite_mp.ipc.counter_table import COMMAND_CLASSES
from dynomite_mp.ipc.layout import HISTOGRAM_BUCKETS
from dynomite_mp.ipc.slab import HistogramValues
from dynomite_mp.workers.command_kinds import KINDS, counts_by_kind
from dynomite_mp.workers.health import node_state
from dynomite_mp.workers.node_figures import NodeFigures, ProcessFigures, RingFigures
from dynomite_mp.workers.process_figures import SystemFigures

SERVICE: Final = "dynomite"
NOTHING: Final = HistogramValues((0,) * HISTOGRAM_BUCKETS, 0, 0)


@dataclass(frozen=True, slots=True)
class InfoInput:
    """Everything the document is made of. `recent` has the histograms of the last minutes."""

    node: NodeFigures
    recent: Mapping[str, HistogramValues]
    system: Mapping[int, SystemFigures]
    command_names: Sequence[str]
    hostname: str
    now_unix_s: float

    def histogram(self, *names: str) -> HistogramValues:
        """The sum of these histograms."""
        return sum((self.recent[name] for name in names if name in self.recent), start=NOTHING)

    def percentile(self, names: Sequence[str], percent: float) -> int:
        return self.histogram(*names).percentile(percent)

    def mean(self, names: Sequence[str]) -> int:
        """Rounded up, as the C server has it."""
        return math.ceil(self.histogram(*names).mean)


Field = Callable[[InfoInput], int | str]


def _us(nanoseconds: int) -> int:
    return nanoseconds // 1000


def _uptime_s(given: InfoInput) -> int:
    return max(0, int(given.now_unix_s - given.node.identity.started_at_s))


def _memory_kib(given: InfoInput) -> int:
    """Of the node's own processes; the datastore has figures of its own."""
    pids = [process.pid for process in given.node.processes if process.role is not Role.DATASTORE]
    return sum(given.system[pid].rss_bytes for pid in pids if pid in given.system) // 1024


def _by_class(kind: str) -> tuple[str, ...]:
    return tuple(f"{kind}_{name}" for name in COMMAND_CLASSES)


REQUEST_LATENCY: Final = _by_class("request_latency")
SERVER_LATENCY: Final = _by_class("server_latency")


def _spread(prefix: str, names: tuple[str, ...], unit: Callable[[int], int]) -> dict[str, Field]:
    """The five fields that C makes of a histogram of client requests."""
    return {
        f"{prefix}_max": lambda given: unit(given.percentile(names, 100)),
        f"{prefix}_999th": lambda given: unit(given.percentile(names, 99.9)),
        f"{prefix}_99th": lambda given: unit(given.percentile(names, 99)),
        f"{prefix}_95th": lambda given: unit(given.percentile(names, 95)),
        f"{prefix}_mean": lambda given: unit(given.mean(names)),
    }


def _pair(noun: str, *names: str) -> dict[str, Field]:
    """The two fields that C makes of a time on the way to a target."""
    return {
        f"average_{noun}": lambda given: _us(given.mean(names)),
        f"99_{noun}": lambda given: _us(given.percentile(names, 99)),
    }


def _queue_99(name: str) -> dict[str, Field]:
    return {f"{name}_99": lambda given: given.percentile((f"{name}_length",), 99)}


NODE_FIELDS: Final[Mapping[str, Field]] = {
    "service": lambda given: SERVICE,
    "source": lambda given: given.hostname,
    "version": lambda given: given.node.identity.version,
    "uptime": _uptime_s,
    "timestamp": lambda given: int(given.now_unix_s),
    "rack": lambda given: given.node.identity.rack,
    "dc": lambda given: given.node.identity.dc,
    **_spread("latency", REQUEST_LATENCY, _us),
    **_spread("payload_size", ("payload_size",), int),
    **_pair("cross_region_rtt", "cross_region_rtt"),
    **_pair("cross_zone_latency", "cross_zone_latency"),
    **_pair("server_latency", *SERVER_LATENCY),
    **_pair("cross_region_queue_wait", "cross_region_queue_wait"),
    **_pair("cross_zone_queue_wait", "cross_zone_queue_wait"),
    **_pair("server_queue_wait", "server_queue_wait"),
    **_queue_99("client_out_queue"),
    **_queue_99("server_in_queue"),
    **_queue_99("server_out_queue"),
    **_queue_99("dnode_client_out_queue"),
    **_queue_99("peer_in_queue"),
    **_queue_99("peer_out_queue"),
    **_queue_99("remote_peer_out_queue"),
    **_queue_99("remote_peer_in_queue"),
    # C has pools of messages and buffers; here what is in use is counted and nothing lies in a pool.
    "alloc_msgs": lambda given: given.node.total("client_requests_in_flight"),
    "free_msgs": lambda given: 0,
    "alloc_mbufs": lambda given: 0,
    "free_mbufs": lambda given: 0,
    "dyn_memory": _memory_kib,
}

POOL_FIELDS: Final = (
    "client_eof",
    "client_err",
    "client_connections",
    "client_read_requests",
    "client_write_requests",
    "client_dropped_requests",
    "client_non_quorum_w_responses",
    "client_non_quorum_r_responses",
    "server_ejects",
    "dnode_client_eof",
    "dnode_client_err",
    "dnode_client_connections",
    "dnode_client_in_queue",
    "dnode_client_in_queue_bytes",
    "dnode_client_out_queue",
    "dnode_client_out_queue_bytes",
    "peer_dropped_requests",
    "peer_timedout_requests",
    "remote_peer_dropped_requests",
    "remote_peer_timedout_requests",
    "remote_peer_failover_requests",
    "peer_eof",
    "peer_err",
    "peer_timedout",
    "remote_peer_timedout",
    "peer_connections",
    "peer_forward_error",
    "peer_requests",
    "peer_request_bytes",
    "peer_responses",
    "peer_response_bytes",
    "peer_ejected_at",
    "peer_ejects",
    "peer_in_queue",
    "remote_peer_in_queue",
    "peer_in_queue_bytes",
    "remote_peer_in_queue_bytes",
    "peer_out_queue",
    "remote_peer_out_queue",
    "peer_out_queue_bytes",
    "remote_peer_out_queue_bytes",
    "peer_mismatch_requests",
    "forward_error",
    "fragments",
    "stats_count",
)

SERVER_FIELDS: Final = (
    "server_eof",
    "server_err",
    "server_timedout",
    "server_ejected_at",
    "server_dropped_requests",
    "server_timedout_requests",
    "read_requests",
    "read_request_bytes",
    "write_requests",
    "write_request_bytes",
    "read_responses",
    "read_response_bytes",
    "write_responses",
    "write_response_bytes",
    "in_queue",
    "in_queue_bytes",
    "out_queue",
    "out_queue_bytes",
    *(f"redis_req_{kind}" for kind in KINDS),
)

# Fields of the pool and the datastore whose counter has another name here.
RENAMED: Final[Mapping[str, str]] = {"stats_count": "http_requests", "forward_error": "client_unreachable_requests"}

# Counters of ours that say more about clients and the datastore than the C fields do; they follow those.
OUR_POOL_FIELDS: Final = (
    "client_connections_total",
    "client_local_requests",
    "client_request_bytes",
    "client_responses",
    "client_response_bytes",
    "client_error_responses",
    "client_protocol_errors",
    "client_refused_requests",
    "client_timedout_requests",
    "client_unreachable_requests",
    "client_requests_in_flight",
    "client_paused",
    "client_pauses",
    "client_hard_limit_closes",
    "accept_pauses",
    "shard_requests_sent",
)
OUR_SERVER_FIELDS: Final = (
    "server_up",
    "server_connections",
    "server_connections_total",
    "server_reconnects",
    "server_error_responses",
)


def _process(process: ProcessFigures, system: SystemFigures | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": process.name,
        "role": process.role.label,
        "pid": process.pid,
        "state": process.state.name.lower(),
        "restarts": process.restarts,
    }
    if system is not None:
        row["cpu_s"] = round(system.cpu_s, 2)
        row["rss_bytes"] = system.rss_bytes
        if system.pss_bytes is not None:
            row["pss_bytes"] = system.pss_bytes
        if system.open_fds is not None:
            row["open_fds"] = system.open_fds
    return row


def _ring(ring: RingFigures) -> dict[str, Any]:
    return {
        "producer": ring.producer,
        "consumer": ring.consumer,
        "capacity_bytes": ring.values.capacity_bytes,
        "depth_bytes": ring.values.depth_bytes,
        "high_water_bytes": ring.values.high_water_bytes,
        "records": ring.values.records,
        "failed_offers": ring.values.failed_offers,
        "dropped": ring.values.dropped,
    }


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    """A pool or a datastore may bear the name of a field; then it is said which of the two it is."""
    return name if name not in taken else f"{name} (name)"


def info_document(given: InfoInput) -> dict[str, Any]:
    node = given.node
    document: dict[str, Any] = {name: field(given) for name, field in NODE_FIELDS.items()}

    server: dict[str, Any] = {}
    kinds = counts_by_kind(given.command_names, node.commands)
    for name in SERVER_FIELDS:
        kind = name.removeprefix("redis_req_")
        server[name] = kinds[kind] if kind != name else node.total(name)
    server |= {name: node.total(name) for name in OUR_SERVER_FIELDS}

    pool: dict[str, Any] = {name: node.total(RENAMED.get(name, name)) for name in POOL_FIELDS}
    pool |= {name: node.total(name) for name in OUR_POOL_FIELDS}
    pool[_unused(node.identity.datastore, pool)] = server

    document[_unused(node.identity.pool, document)] = pool
    document["state"] = node_state(node).name
    document["tokens"] = list(node.identity.tokens)
    document["processes"] = [_process(process, given.system.get(process.pid)) for process in node.processes]
    document["rings"] = [_ring(ring) for ring in node.rings]
    return document
