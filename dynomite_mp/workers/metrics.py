"""`/metrics`: the counter slab in the Prometheus text format.

A custom collector makes every sample from one reading (`node_figures`) at the moment of the scrape; nothing is counted
twice and nothing is kept between scrapes. `METRICS` names each row of the counter table that has a source in this
version; `NOT_FED` has the rest, so that no series stands at zero for ever. A new row of the counter table belongs into
one of them.

Names are `dynomite_mp_<noun>[_<unit>][_total]`; labels are only role, dc, rack, peer, command_class (and le). A row
that several kinds of processes move has a sample for each of them, `role` being the name of the process (`io[0]`); all
others are sums over the io workers. Of the cluster there is a sample for each other node (`peer` is its address) and
for each other datacenter.

Imports prometheus_client, so only the admin process may import it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from dynomite_mp.enums import NodeState, ProcessState, Role
from dynomite_mp.ipc.counter_table import COMMAND_CLASSES, COUNTERS, Counter, Kind
from dynomite_mp.ipc.slab import HistogramValues, RingValues
from dynomite_mp.workers.cluster_figures import datacenters_of, peers_of
from dynomite_mp.workers.health import node_state
from dynomite_mp.workers.node_figures import NodeFigures, ProcessFigures, RingFigures
from dynomite_mp.workers.process_figures import SystemFigures

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "dynomite_mp_"
ROW_OF: Final[Mapping[str, Counter]] = {row.name: row for row in COUNTERS}

# Row of the counter table -> name of the metric, without prefix and `_total`.
METRICS: Final[Mapping[str, str]] = {
    "client_connections": "client_connections",
    "client_connections_total": "client_connections_accepted",
    "client_eof": "client_eofs",
    "client_err": "client_connection_errors",
    "client_read_requests": "client_read_requests",
    "client_write_requests": "client_write_requests",
    "client_local_requests": "client_local_requests",
    "client_request_bytes": "client_request_bytes",
    "client_responses": "client_responses",
    "client_response_bytes": "client_response_bytes",
    "client_dropped_requests": "client_dropped_requests",
    "client_protocol_errors": "client_protocol_errors",
    "client_refused_requests": "client_refused_requests",
    "client_timedout_requests": "client_timedout_requests",
    "client_unreachable_requests": "client_unreachable_requests",
    "client_error_responses": "client_error_responses",
    "client_requests_in_flight": "client_requests_in_flight",
    "client_paused": "client_connections_paused",
    "client_pauses": "client_pauses",
    "client_hard_limit_closes": "client_hard_limit_closes",
    "client_in_queue_bytes": "client_in_queue_bytes",
    "client_out_queue_bytes": "client_out_queue_bytes",
    "accept_pauses": "accept_pauses",
    "server_connections": "datastore_connections",
    "server_connections_total": "datastore_connections_opened",
    "server_reconnects": "datastore_reconnects",
    "server_eof": "datastore_eofs",
    "server_err": "datastore_connection_errors",
    "server_timedout_requests": "datastore_timedout_requests",
    "server_error_responses": "datastore_error_responses",
    "server_ejected_at": "datastore_last_loss_timestamp_seconds",
    "server_up": "datastore_up",
    "read_requests": "datastore_read_requests",
    "read_request_bytes": "datastore_read_request_bytes",
    "write_requests": "datastore_write_requests",
    "write_request_bytes": "datastore_write_request_bytes",
    "read_responses": "datastore_read_responses",
    "read_response_bytes": "datastore_read_response_bytes",
    "write_responses": "datastore_write_responses",
    "write_response_bytes": "datastore_write_response_bytes",
    "in_queue": "datastore_queued_requests",
    "in_queue_bytes": "datastore_queued_bytes",
    "out_queue": "datastore_requests_in_flight",
    "out_queue_bytes": "datastore_in_flight_bytes",
    "server_ejects": "datastore_ejects",
    "client_non_quorum_r_responses": "client_non_quorum_reads",
    "client_non_quorum_w_responses": "client_non_quorum_writes",
    "fragments": "request_fragments",
    "missed_writes": "missed_writes",
    "lead_executed": "lead_executed",
    "lead_effects": "lead_effects",
    "lead_unknown": "lead_unknown",
    "refused_writes": "refused_writes",
    "skipped_writes": "skipped_writes",
    "restamped_writes": "restamped_writes",
    "clock_skews": "clock_skews",
    "hints_received": "hints_received",
    "key_copies_received": "key_copies_received",
    "dnode_client_connections": "inbound_peer_connections",
    "dnode_client_connections_total": "inbound_peer_connections_accepted",
    "dnode_client_eof": "inbound_peer_eofs",
    "dnode_client_err": "inbound_peer_connection_errors",
    "dnode_client_requests": "inbound_peer_requests",
    "dnode_client_request_bytes": "inbound_peer_request_bytes",
    "dnode_client_response_bytes": "inbound_peer_response_bytes",
    "dnode_client_in_queue": "inbound_peer_requests_in_flight",
    "dnode_client_in_queue_bytes": "inbound_peer_in_flight_bytes",
    "dnode_client_out_queue_bytes": "inbound_peer_out_queue_bytes",
    "peer_connections": "peer_connections",
    "peer_connections_total": "peer_connections_opened",
    "peer_eof": "peer_eofs",
    "peer_err": "peer_connection_errors",
    "peer_ejected_at": "peer_last_loss_timestamp_seconds",
    "peer_ejects": "peer_ejects",
    "peer_requests": "peer_requests",
    "peer_request_bytes": "peer_request_bytes",
    "peer_responses": "peer_responses",
    "peer_response_bytes": "peer_response_bytes",
    "peer_dropped_requests": "peer_dropped_requests",
    "peer_timedout_requests": "peer_timedout_requests",
    "peer_mismatch_requests": "peer_mismatched_replies",
    "peer_in_queue": "peer_queued_requests",
    "peer_in_queue_bytes": "peer_queued_bytes",
    "peer_out_queue": "peer_requests_in_flight",
    "peer_out_queue_bytes": "peer_in_flight_bytes",
    "remote_peer_requests": "remote_peer_requests",
    "remote_peer_request_bytes": "remote_peer_request_bytes",
    "remote_peer_responses": "remote_peer_responses",
    "remote_peer_response_bytes": "remote_peer_response_bytes",
    "remote_peer_dropped_requests": "remote_peer_dropped_requests",
    "remote_peer_timedout_requests": "remote_peer_timedout_requests",
    "remote_peer_failover_requests": "remote_peer_failed_over_requests",
    "remote_peer_in_queue": "remote_peer_queued_requests",
    "remote_peer_in_queue_bytes": "remote_peer_queued_bytes",
    "remote_peer_out_queue": "remote_peer_requests_in_flight",
    "remote_peer_out_queue_bytes": "remote_peer_in_flight_bytes",
    "repair_runs": "repair_runs",
    "repair_keys_compared": "repair_keys_compared",
    "repair_keys_differing": "repair_keys_differing",
    "repair_keys_mended": "repair_keys_mended",
    "repair_call_bytes": "repair_call_bytes",
    "divergent_keys": "divergent_keys",
    "read_repairs": "read_repairs",
    "read_repair_keys_differing": "read_repair_keys_differing",
    "read_repair_keys_mended": "read_repair_keys_mended",
    "link_state_changes": "link_state_changes",
    "shard_requests_sent": "shard_requests_sent",
    "shard_requests_received": "shard_requests_received",
    "shard_replies_sent": "shard_replies_sent",
    "shard_replies_received": "shard_replies_received",
    "messages_sent": "messages_sent",
    "messages_received": "messages_received",
    "messages_dropped": "messages_dropped",
    "message_errors": "message_errors",
    "message_queue_bytes": "message_queue_bytes",
    "spill_files": "spill_files",
    "spill_file_bytes": "spill_file_bytes",
    "spill_refused": "spill_refused_values",
    "doorbell_wakeups": "doorbell_wakeups",
    "topology_version": "topology_version",
    "topology_swaps": "topology_swaps",
    "warm_up_keys": "warm_up_keys",
    "warm_up_copied_keys": "warm_up_copied_keys",
    "key_copies_pending": "key_copies_pending",
    "key_copies": "key_copies",
    "key_copies_failed": "key_copies_failed",
    "loop_turns": "loop_turns",
    "loop_busy_ns": "loop_busy_seconds",
    "loop_lag_ns": "loop_lag_seconds",
    "loop_lag_ns_max": "loop_lag_highest_seconds",
    "process_budget_used_bytes": "process_budget_used_bytes",
    "datastore_budget_used_bytes": "datastore_budget_used_bytes",
    "http_requests": "http_requests",
    "http_refused": "http_refused_requests",
    "log_lines_dropped": "log_lines_dropped",
}

# What is in shared memory in another unit than metrics have.
SCALES: Final[Mapping[str, float]] = {
    "server_ejected_at": 1e-3,
    "peer_ejected_at": 1e-3,
    "loop_busy_ns": 1e-9,
    "loop_lag_ns": 1e-9,
    "loop_lag_ns_max": 1e-9,
}

NOT_FED: Final = frozenset(
    {
        "dnode_client_out_queue",
        "peer_forward_error",
        "peer_timedout",
        "remote_peer_timedout",
        "server_dropped_requests",
        "server_timedout",
    }
)
DERIVED: Final = frozenset({"node_state", "catching_up"})
"""Rows that are one of several things a metric is made of."""

# Rows of all workers that only some of them move.
MOVED_BY: Final[Mapping[str, tuple[Role, ...]]] = {"loop_turns": (Role.IO,), "loop_busy_ns": (Role.IO,)}

# Bounds of the histograms of times: powers of two of nanoseconds, from 8 microseconds to 17 seconds. They are bounds
# of buckets in shared memory too, so no count is guessed.
OCTAVES: Final = range(13, 35)
FIRST_OCTAVE: Final = 2  # bucket b >= 8 begins with octave b // 8 + 2


@dataclass(frozen=True, slots=True)
class MetricsInput:
    """Everything a scrape is made of. `class_of_command` has the class of every command id."""

    node: NodeFigures
    histograms: Mapping[str, HistogramValues]
    system: Mapping[int, SystemFigures]
    class_of_command: Mapping[int, str]
    now_ns: int


class SlabCollector(Collector):
    """Asks for one reading per scrape and yields everything made of it."""

    def __init__(self, read: Callable[[], MetricsInput]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry would otherwise collect once just to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        given = self._read()
        yield from _node(given)
        yield from _requests(given)
        yield from _table(given.node)
        yield from _peers(given.node)
        yield from _datacenters(given.node)
        yield from _hints(given.node)
        yield from _processes(given)
        yield from _rings(given.node.rings)


def metrics_text(given: MetricsInput) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SlabCollector(lambda: given))
    return generate_latest(registry)


def _counter(name: str, doc: str, labels: tuple[str, ...] = ()) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, doc, labels=labels)


def _gauge(name: str, doc: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, doc, labels=labels)


def _node(given: MetricsInput) -> Iterator[Metric]:
    who = given.node.identity
    place = _gauge("node", "1; its labels say where this node is", ("dc", "rack"))
    place.add_metric((who.dc, who.rack), 1)
    state = _gauge("node_state", "state of this node: " + ", ".join(f"{s.value} {s.name}" for s in NodeState))
    state.add_metric((), node_state(given.node))
    yield from (place, state)


def _requests(given: MetricsInput) -> Iterator[Metric]:
    by_class = dict.fromkeys(COMMAND_CLASSES, 0)
    for command_id, count in enumerate(given.node.commands):
        by_class[given.class_of_command.get(command_id, COMMAND_CLASSES[0])] += count
    asked = _counter("requests", "requests of clients by class of the command", ("command_class",))
    for name, count in by_class.items():
        asked.add_metric((name,), count)
    yield asked
    yield _durations(given, "request_latency", "request_duration_seconds", "client requests: read to answered")
    yield _durations(
        given, "server_latency", "datastore_request_duration_seconds", "datastore requests: sent to answered"
    )


def _durations(given: MetricsInput, kind: str, name: str, doc: str) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, doc, labels=("command_class",))
    for command_class in COMMAND_CLASSES:
        histogram = given.histograms[f"{kind}_{command_class}"]
        family.add_metric((command_class,), buckets=octave_buckets(histogram), sum_value=histogram.sum / 1e9)
    return family


def octave_buckets(histogram: HistogramValues) -> list[tuple[str, float]]:
    """How many values lie below each bound in seconds; cumulative, the last without bound."""
    below = (0, *accumulate(histogram.buckets))
    bounded: list[tuple[str, float]] = [
        (repr(2**octave / 1e9), below[(octave - FIRST_OCTAVE) * 8]) for octave in OCTAVES
    ]
    return [*bounded, ("+Inf", below[-1])]


def _table(node: NodeFigures) -> Iterator[Metric]:
    for cell, name in METRICS.items():
        row = ROW_OF[cell]
        roles = MOVED_BY.get(cell, row.roles)
        scale = SCALES.get(cell, 1)
        labels = ("role",) if len(row.roles) > 1 else ()
        make = _counter if row.kind is Kind.COUNTER else _gauge
        family = make(name, row.doc, labels)
        if labels:
            for process in node.processes:
                if process.role in roles:
                    family.add_metric((process.name,), process.cell(cell) * scale)
        else:
            family.add_metric((), node.total(cell) * scale)
        yield family


def _peers(node: NodeFigures) -> Iterator[Metric]:
    who = ("peer", "dc", "rack")
    up = _gauge("peer_up", "1 while a connection to the peer is open", who)
    links = _gauge("peer_links_up", "connections to the peer that are open", who)
    state = _gauge("peer_state", "state of the peer as gossip says, else as its connections say; as node_state", who)
    silent = _gauge("peer_silent", "1 while the peer owes replies and says nothing", who)
    rests = _gauge("peer_out_of_service", "1 while an order keeps the peer out of service", who)
    waiting = _gauge("peer_waiting_requests", "requests to the peer that it has not answered", who)
    waiting_bytes = _gauge("peer_waiting_bytes", "bytes of the requests that the peer has not answered", who)
    for peer in peers_of(node.cluster):
        labels = (peer.address, peer.dc, peer.rack)
        up.add_metric(labels, peer.connected)
        links.add_metric(labels, peer.links_up)
        state.add_metric(labels, NodeState[peer.state])
        silent.add_metric(labels, peer.is_silent)
        rests.add_metric(labels, peer.is_resting)
        waiting.add_metric(labels, peer.in_flight)
        waiting_bytes.add_metric(labels, peer.waiting_bytes)
    yield from (up, links, state, silent, rests, waiting, waiting_bytes)


def _datacenters(node: NodeFigures) -> Iterator[Metric]:
    dc = ("dc",)
    waiting = _gauge("datacenter_lag_requests", "requests that another datacenter has not confirmed", dc)
    size = _gauge("datacenter_lag_bytes", "bytes of the requests that another datacenter has not confirmed", dc)
    oldest = _gauge("datacenter_lag_seconds", "age of the oldest request that it has not confirmed", dc)
    sent = _counter("datacenter_sent_requests", "requests sent to another datacenter", dc)
    failed_over = _counter("datacenter_failed_over_requests", "of them, sent to another rack than the first", dc)
    dropped = _counter("datacenter_dropped_requests", "requests for it dropped because no rack could be reached", dc)
    for other in datacenters_of(node.cluster):
        if other.is_local:
            continue
        labels = (other.name,)
        waiting.add_metric(labels, other.waiting)
        size.add_metric(labels, other.waiting_bytes)
        oldest.add_metric(labels, other.oldest_ms / 1000)
        sent.add_metric(labels, other.sent)
        failed_over.add_metric(labels, other.failed_over)
        dropped.add_metric(labels, other.dropped)
    yield from (waiting, size, oldest, sent, failed_over, dropped)


def _hints(node: NodeFigures) -> Iterator[Metric]:
    """`peer` is the address of a replica, or `datacenter NAME`."""
    who = ("peer",)
    records = _gauge("hints_pending", "writes that a replica or datacenter has still to get", who)
    size = _gauge("hints_pending_bytes", "bytes of the writes that it has still to get", who)
    oldest = _gauge("hints_oldest_seconds", "age of the oldest write that it has still to get", who)
    dirty = _gauge("hints_dirty", "1 while writes for it were not kept and a comparison has to mend it", who)
    lost = _counter("hints_lost", "writes for it that were not kept, since the process started", who)
    for row in node.cluster.hints:
        labels = (row.name,)
        records.add_metric(labels, row.records)
        size.add_metric(labels, row.size_bytes)
        oldest.add_metric(labels, row.oldest_ms / 1000)
        dirty.add_metric(labels, bool(row.dirty))
        lost.add_metric(labels, row.lost)
    yield from (records, size, oldest, dirty, lost)


def _processes(given: MetricsInput) -> Iterator[Metric]:
    role = ("role",)
    up = _gauge("process_up", "1 while the process runs", role)
    restarts = _counter("process_restarts", "times the process was started again", role)
    silence = _gauge("process_heartbeat_age_seconds", "time since the process showed a sign of life", role)
    cpu = _counter("process_cpu_seconds", "CPU time used, user and system, since the process started", role)
    rss = _gauge("process_resident_memory_bytes", "memory in RAM, shared pages counted in full (RSS)", role)
    pss = _gauge("process_proportional_memory_bytes", "memory in RAM, shared pages divided by their users (PSS)", role)
    fds = _gauge("process_open_fds", "file descriptors open now", role)
    for process in given.node.processes:
        who = (process.name,)
        up.add_metric(who, process.state is ProcessState.RUNNING)
        restarts.add_metric(who, process.restarts)
        if process.heartbeat_ns:
            silence.add_metric(who, max(0, given.now_ns - process.heartbeat_ns) / 1e9)
        _add_system(process, given.system.get(process.pid), who, (cpu, rss, pss, fds))
    yield from (up, restarts, silence, cpu, rss, pss, fds)


def _add_system(
    process: ProcessFigures,
    system: SystemFigures | None,
    who: tuple[str],
    families: tuple[CounterMetricFamily, GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily],
) -> None:
    if system is None:
        return
    cpu, rss, pss, fds = families
    cpu.add_metric(who, system.cpu_s)
    rss.add_metric(who, system.rss_bytes)
    if system.pss_bytes is not None:
        pss.add_metric(who, system.pss_bytes)
    if system.open_fds is not None:
        fds.add_metric(who, system.open_fds)


@dataclass(frozen=True, slots=True)
class _RingMetric:
    """A figure of rings, merged over the rings of the process at one end."""

    name: str
    doc: str
    kind: Kind
    end: Callable[[RingFigures], str]
    value: Callable[[RingValues], int]
    merge: Callable[[list[int]], int] = sum


_READER: Final = attrgetter("consumer")
_WRITER: Final = attrgetter("producer")
RING_METRICS: Final = (
    _RingMetric(
        "ring_depth_bytes",
        "bytes waiting in the rings that the process reads",
        Kind.GAUGE,
        _READER,
        attrgetter("depth_bytes"),
    ),
    _RingMetric(
        "ring_high_water_bytes",
        "most bytes that ever waited in one of the rings that the process reads",
        Kind.GAUGE,
        _READER,
        attrgetter("high_water_bytes"),
        max,
    ),
    _RingMetric(
        "ring_handler_errors",
        "records whose handler failed in the process that reads them",
        Kind.COUNTER,
        _READER,
        attrgetter("handler_errors"),
    ),
    _RingMetric(
        "ring_records", "records that the process published in rings", Kind.COUNTER, _WRITER, attrgetter("records")
    ),
    _RingMetric(
        "ring_bytes", "bytes that the process published in rings", Kind.COUNTER, _WRITER, attrgetter("total_bytes")
    ),
    _RingMetric(
        "ring_failed_offers",
        "offers of the process that found a ring full",
        Kind.COUNTER,
        _WRITER,
        attrgetter("failed_offers"),
    ),
    _RingMetric(
        "ring_dropped_records",
        "messages of the process dropped because a ring was full",
        Kind.COUNTER,
        _WRITER,
        attrgetter("dropped"),
    ),
)


def _rings(rings: tuple[RingFigures, ...]) -> Iterator[Metric]:
    for metric in RING_METRICS:
        values: dict[str, list[int]] = {}
        for ring in rings:
            values.setdefault(metric.end(ring), []).append(metric.value(ring.values))
        family = (_counter if metric.kind is Kind.COUNTER else _gauge)(metric.name, metric.doc, ("role",))
        for role, each in values.items():
            family.add_metric((role,), metric.merge(each))
        yield family
