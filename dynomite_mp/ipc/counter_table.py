"""The counter table: every number that the node counts, once.

`/info`, `/metrics`, `status` and the docs derive from these rows. A name that Netflix Dynomite's `/info` has is used as
it is there and means the same. Every process has all cells; `roles` says who moves a row. The value of the node is the
sum (or the maximum) over its processes.

A row with `groups` is one cell per datastore connection group, `name:resp2` and `name:resp3`; its value is their sum.
Counters survive the restart of a worker, gauges start again at 0.

Indices are taken once, at import, by cell_index() and histogram_index() of counters.pyx; they follow the order of the
rows and mean nothing outside one running version. A reader goes by the names that the slab carries.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from dynomite_mp.enums import Role

_IO = (Role.IO,)
_REPLICATION = (Role.REPLICATION,)
_PEERS = (Role.IO, Role.REPLICATION)
_WORKERS = (Role.GOSSIP, Role.REPLICATION, Role.ADMIN, Role.IO)
GROUPS: Final = ("resp2", "resp3")

COMMAND_CLASSES: Final = ("none", "read", "overwrite", "commute", "ordered", "lead")


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"


class Merge(Enum):
    """How the node's value is made from those of its processes."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Counter:
    name: str
    kind: Kind
    roles: tuple[Role, ...]
    doc: str
    groups: tuple[str, ...] = ()
    merge: Merge = Merge.SUM


@dataclass(frozen=True, slots=True)
class Histogram:
    name: str
    unit: str
    roles: tuple[Role, ...]
    doc: str


def _count(name: str, doc: str, roles: tuple[Role, ...] = _IO, groups: tuple[str, ...] = ()) -> Counter:
    return Counter(name, Kind.COUNTER, roles, doc, groups)


def _gauge(name: str, doc: str, roles: tuple[Role, ...] = _IO, groups: tuple[str, ...] = ()) -> Counter:
    return Counter(name, Kind.GAUGE, roles, doc, groups)


def _latest(name: str, doc: str, roles: tuple[Role, ...] = _IO, kind: Kind = Kind.GAUGE) -> Counter:
    return Counter(name, kind, roles, doc, (), Merge.MAX)


COUNTERS: Final[tuple[Counter, ...]] = (
    # clients
    _gauge("client_connections", "client connections open now"),
    _count("client_connections_total", "client connections accepted"),
    _count("client_eof", "client connections ended by the client"),
    _count("client_err", "client connections ended by a socket error"),
    _count("client_read_requests", "requests that only read"),
    _count("client_write_requests", "requests that may write"),
    _count("client_local_requests", "requests answered by the io worker itself: PING, HELLO, CLIENT, COMMAND"),
    _count("client_request_bytes", "bytes received from clients"),
    _count("client_responses", "replies handed to clients"),
    _count("client_response_bytes", "bytes sent to clients"),
    _count("client_dropped_requests", "requests dropped because their client had gone"),
    _count("client_non_quorum_w_responses", "writes whose replicas gave no quorum"),
    _count("client_non_quorum_r_responses", "reads whose replicas gave no quorum"),
    _count("client_protocol_errors", "client connections closed after a protocol error"),
    _count("client_refused_requests", "requests answered with an error because the command is not served"),
    _count("client_timedout_requests", "requests answered with an error because their deadline passed"),
    _count("client_unreachable_requests", "requests answered with an error because their target was unreachable"),
    _count("client_error_responses", "error replies of any kind handed to clients"),
    _gauge("client_requests_in_flight", "client requests not yet answered"),
    _gauge("client_paused", "clients not read now because a budget is used up"),
    _count("client_pauses", "times a client was paused"),
    _count("client_hard_limit_closes", "clients closed past client_hard_limit_bytes"),
    _gauge("client_in_queue_bytes", "request bytes of clients waiting for their targets"),
    _gauge("client_out_queue_bytes", "reply bytes not yet sent to clients"),
    _count("accept_pauses", "times accepting paused for lack of file descriptors"),
    _count("fragments", "parts of requests that were split over several owners"),
    _count("lead_executed", "commands executed here because this node led their key"),
    _count("lead_effects", "effects of such commands sent to other racks and datacenters"),
    _count("lead_unknown", "such commands of which nobody can say whether they were executed"),
    _count("missed_writes", "writes that a replica missed, or may have missed, handed on to be brought to it"),
    _count("refused_writes", "writes that one replica refused and another one took"),
    _count("skipped_writes", "writes kept from the datastore because a newer one was there, or the same"),
    _count("restamped_writes", "writes sent once more because this rack had a newer stamp"),
    _count("clock_skews", "stamps of nodes whose clock is more than max_clock_skew_ms ahead"),
    # datastore, per connection group
    _gauge("server_connections", "datastore connections open now", groups=GROUPS),
    _count("server_connections_total", "datastore connections made", groups=GROUPS),
    _count("server_reconnects", "datastore connections made again after a loss", groups=GROUPS),
    _count("server_eof", "datastore connections ended by the datastore", groups=GROUPS),
    _count("server_err", "datastore connections ended by a socket error", groups=GROUPS),
    _count("server_timedout", "datastore connections closed for silence", groups=GROUPS),
    _count("server_timedout_requests", "requests whose datastore reply came too late", groups=GROUPS),
    _count("server_dropped_requests", "requests dropped before they were sent to the datastore", groups=GROUPS),
    _count("server_error_responses", "error replies of the datastore", groups=GROUPS),
    _latest("server_ejected_at", "Unix ms of the last loss of a datastore connection"),
    _count("server_ejects", "times the datastore was taken for unreachable"),
    _gauge("server_up", "1 while the datastore of this worker answers"),
    _count("read_requests", "read requests sent to the datastore", groups=GROUPS),
    _count("read_request_bytes", "their bytes", groups=GROUPS),
    _count("write_requests", "write requests sent to the datastore", groups=GROUPS),
    _count("write_request_bytes", "their bytes", groups=GROUPS),
    _count("read_responses", "replies of the datastore to reads", groups=GROUPS),
    _count("read_response_bytes", "their bytes", groups=GROUPS),
    _count("write_responses", "replies of the datastore to writes", groups=GROUPS),
    _count("write_response_bytes", "their bytes", groups=GROUPS),
    _gauge("in_queue", "requests waiting to be sent to the datastore", groups=GROUPS),
    _gauge("in_queue_bytes", "their bytes", groups=GROUPS),
    _gauge("out_queue", "requests sent to the datastore and not answered", groups=GROUPS),
    _gauge("out_queue_bytes", "their bytes", groups=GROUPS),
    # inbound peer connections
    _gauge("dnode_client_connections", "peer connections accepted and open now"),
    _count("dnode_client_connections_total", "peer connections accepted"),
    _count("dnode_client_eof", "inbound peer connections ended by the peer"),
    _count("dnode_client_err", "inbound peer connections ended by a socket error"),
    _count("dnode_client_requests", "requests received from peers"),
    _count("dnode_client_request_bytes", "bytes received from peers that ask"),
    _count("dnode_client_response_bytes", "bytes sent to peers that asked"),
    _gauge("dnode_client_in_queue", "requests of peers not yet answered"),
    _gauge("dnode_client_in_queue_bytes", "their bytes"),
    _gauge("dnode_client_out_queue", "replies not yet sent to peers"),
    _gauge("dnode_client_out_queue_bytes", "their bytes"),
    # outbound peer connections, this datacenter
    _gauge("peer_connections", "peer connections made and open now", _PEERS),
    _count("peer_connections_total", "peer connections made", _PEERS),
    _count("peer_eof", "outbound peer connections ended by the peer", _PEERS),
    _count("peer_err", "outbound peer connections ended by a socket error", _PEERS),
    _count("peer_timedout", "outbound peer connections closed for silence"),
    _count("peer_requests", "requests sent to peers of this datacenter"),
    _count("peer_request_bytes", "their bytes"),
    _count("peer_responses", "replies of peers of this datacenter"),
    _count("peer_response_bytes", "their bytes"),
    _count("peer_dropped_requests", "requests for peers dropped before they were sent"),
    _count("peer_timedout_requests", "requests whose peer's reply came too late"),
    _count("peer_forward_error", "requests that could not be handed to a peer"),
    _count("peer_mismatch_requests", "replies of peers that no request waited for"),
    _latest("peer_ejected_at", "Unix ms of the last loss of a peer connection", _PEERS),
    _count("peer_ejects", "times a peer was taken for unreachable", _PEERS),
    _gauge("peer_in_queue", "requests waiting to be sent to peers"),
    _gauge("peer_in_queue_bytes", "their bytes"),
    _gauge("peer_out_queue", "requests sent to peers and not answered"),
    _gauge("peer_out_queue_bytes", "their bytes"),
    # other datacenters
    _count("remote_peer_requests", "requests sent to other datacenters", _REPLICATION),
    _count("remote_peer_request_bytes", "their bytes", _REPLICATION),
    _count("remote_peer_responses", "replies of other datacenters", _REPLICATION),
    _count("remote_peer_response_bytes", "their bytes", _REPLICATION),
    _count("remote_peer_dropped_requests", "requests for other datacenters dropped", _REPLICATION),
    _count("remote_peer_timedout_requests", "requests whose remote reply came too late", _REPLICATION),
    _count("remote_peer_failover_requests", "requests sent to another rack of a remote datacenter", _REPLICATION),
    _count("remote_peer_timedout", "links to other datacenters closed for silence", _REPLICATION),
    _count("hints_received", "writes that replicas of this datacenter missed, taken from the io workers", _REPLICATION),
    _count("key_copies_received", "keys to be mended, taken from the io workers", _REPLICATION),
    _gauge("remote_peer_in_queue", "requests waiting to be sent to other datacenters", _REPLICATION),
    _gauge("remote_peer_in_queue_bytes", "their bytes", _REPLICATION),
    _gauge("remote_peer_out_queue", "requests sent to other datacenters and not answered", _REPLICATION),
    _gauge("remote_peer_out_queue_bytes", "their bytes", _REPLICATION),
    # comparison of replicas
    _count("repair_runs", "comparisons of this node's keys with those of other replicas", _REPLICATION),
    _count("repair_keys_compared", "keys compared, once for each other replica", _REPLICATION),
    _count("repair_keys_differing", "keys that were found to differ between replicas", _REPLICATION),
    _count("repair_keys_mended", "of them, keys that were then equal everywhere", _REPLICATION),
    _count("repair_call_bytes", "bytes exchanged with other nodes to compare", _REPLICATION),
    _gauge("divergent_keys", "keys that the last comparison left different", _REPLICATION),
    _count("read_repairs", "quorum reads whose replicas answered differently"),
    _count("read_repair_keys_differing", "their keys, if they were found to differ between replicas", _REPLICATION),
    _count("read_repair_keys_mended", "of them, keys that were then equal everywhere", _REPLICATION),
    # shards
    _count("shard_requests_sent", "requests handed to the io worker that owns the key's shard"),
    _count("shard_requests_received", "requests taken from other io workers"),
    _count("shard_replies_sent", "answers handed to other io workers"),
    _count("shard_replies_received", "answers taken from other io workers"),
    # rings and messages
    _count("messages_sent", "messages published by proxies", _WORKERS),
    _count("messages_received", "messages handed to on_<name>", _WORKERS),
    _count("messages_dropped", "messages dropped under their ring's full policy", _WORKERS),
    _count("message_errors", "messages unknown, malformed, or whose handler raised", _WORKERS),
    _gauge("message_queue_bytes", "messages waiting in the sender for room in a ring", _WORKERS),
    _count("spill_files", "values that went through a spill file", _WORKERS),
    _count("spill_file_bytes", "their bytes", _WORKERS),
    _count("spill_refused", "values refused because spill_limit_bytes was used up or the disk was full", _WORKERS),
    _count("doorbell_wakeups", "times this process was woken for its rings", _WORKERS),
    # topology and links
    _latest("topology_version", "version of the topology in use", _WORKERS),
    _count("topology_swaps", "topologies taken into use", _WORKERS),
    _count("link_state_changes", "link changes reported to gossip", _PEERS),
    _latest("node_state", "state of this node, as in the gossip text", (Role.GOSSIP,)),
    _latest("catching_up", "1 while this node serves no reads because it may have missed writes"),
    _latest("warm_up_keys", "about how many keys the warm-up brings", _REPLICATION),
    _latest("warm_up_copied_keys", "keys that the warm-up has brought so far", _REPLICATION),
    _gauge("key_copies_pending", "keys that are being copied from other nodes, or are to be", _REPLICATION),
    _count("key_copies", "keys copied from other nodes", _REPLICATION),
    _count("key_copies_failed", "keys that could not be copied", _REPLICATION),
    # loop
    _count("loop_turns", "turns of the event loop", _WORKERS),
    _count("loop_busy_ns", "time the loop was not waiting", _WORKERS),
    _latest("loop_lag_ns", "lateness of the last 1 s tick", _WORKERS),
    _latest("loop_lag_ns_max", "greatest lateness of a tick", _WORKERS),
    _gauge("process_budget_used_bytes", "bytes counted to process_budget_bytes"),
    _gauge("datastore_budget_used_bytes", "bytes counted to datastore_budget_bytes"),
    _count("http_requests", "HTTP requests answered", (Role.ADMIN,)),
    _count("http_refused", "HTTP requests refused: address, token or a full ring", (Role.ADMIN,)),
    _count("log_lines_dropped", "log lines dropped because the log could not take them", _WORKERS),
)

HISTOGRAMS: Final[tuple[Histogram, ...]] = (
    *(
        Histogram(f"request_latency_{name}", "ns", _IO, f"client requests of class {name}: read to fully answered")
        for name in COMMAND_CLASSES
    ),
    *(
        Histogram(f"server_latency_{name}", "ns", _IO, f"datastore requests of class {name}: sent to answered")
        for name in COMMAND_CLASSES
    ),
    Histogram("payload_size", "bytes", _IO, "write requests of clients"),
    Histogram("server_queue_wait", "ns", _IO, "datastore requests: queued to sent"),
    Histogram("cross_zone_latency", "ns", _IO, "requests to peers of this datacenter: sent to answered"),
    Histogram("cross_zone_queue_wait", "ns", _IO, "requests to peers of this datacenter: queued to sent"),
    Histogram("cross_region_rtt", "ns", _REPLICATION, "requests to other datacenters: sent to answered"),
    Histogram("cross_region_queue_wait", "ns", _REPLICATION, "requests to other datacenters: queued to sent"),
    Histogram("client_out_queue_length", "requests", _IO, "requests of one client not yet answered, once a turn"),
    Histogram("server_in_queue_length", "requests", _IO, "requests to be sent to a datastore connection, once a turn"),
    Histogram("server_out_queue_length", "requests", _IO, "requests sent to a datastore connection, once a turn"),
    Histogram("dnode_client_out_queue_length", "requests", _IO, "requests of one inbound peer, once a turn"),
    Histogram("peer_in_queue_length", "requests", _IO, "requests to be sent to a peer, once a turn"),
    Histogram("peer_out_queue_length", "requests", _IO, "requests sent to a peer, once a turn"),
    Histogram("remote_peer_in_queue_length", "requests", _REPLICATION, "requests to be sent to another datacenter"),
    Histogram("remote_peer_out_queue_length", "requests", _REPLICATION, "requests sent to another datacenter"),
)


def cell_names(counters: tuple[Counter, ...] = COUNTERS) -> tuple[str, ...]:
    """Names of the cells in slab order; rows with groups have one cell each."""
    names: list[str] = []
    for row in counters:
        names.extend(f"{row.name}:{group}" for group in row.groups) if row.groups else names.append(row.name)
    return tuple(names)


def histogram_names() -> tuple[str, ...]:
    return tuple(row.name for row in HISTOGRAMS)


def describe() -> str:
    """The table as text, for `--describe-stats` and the docs."""
    return "\n".join(f"{row.name} ({row.kind.value}): {row.doc}" for row in COUNTERS)
