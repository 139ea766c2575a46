"""`/info`: all names of the C server in its order, and values that move with the counters behind them."""

import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynomite_mp.enums import ProcessState, Role
from dynomite_mp.ipc.counter_table import COUNTERS, HISTOGRAMS
from dynomite_mp.proto.commands import COMMANDS
from dynomite_mp.workers import command_kinds
from dynomite_mp.workers.info_document import RENAMED, InfoInput, info_document
from dynomite_mp.workers.node_figures import identity_of, read_histograms, read_node
from dynomite_mp.workers.process_figures import ProcessTable, SystemFigures
from tests.unit.admin_node import CONFIG, STARTED_AT_S, FakeNode, fake_node


def words(text: str) -> list[str]:
    return text.split()


# As the C server emits them.
NODE_NAMES = words(
    """
    service source version uptime timestamp rack dc latency_max latency_999th latency_99th latency_95th
    latency_mean payload_size_max payload_size_999th payload_size_99th payload_size_95th payload_size_mean
    average_cross_region_rtt 99_cross_region_rtt average_cross_zone_latency 99_cross_zone_latency
    average_server_latency 99_server_latency average_cross_region_queue_wait 99_cross_region_queue_wait
    average_cross_zone_queue_wait 99_cross_zone_queue_wait average_server_queue_wait 99_server_queue_wait
    client_out_queue_99 server_in_queue_99 server_out_queue_99 dnode_client_out_queue_99 peer_in_queue_99
    peer_out_queue_99 remote_peer_out_queue_99 remote_peer_in_queue_99 alloc_msgs free_msgs alloc_mbufs free_mbufs
    dyn_memory
    """
)
POOL_NAMES = words(
    """
    client_eof client_err client_connections client_read_requests client_write_requests client_dropped_requests
    client_non_quorum_w_responses client_non_quorum_r_responses server_ejects dnode_client_eof dnode_client_err
    dnode_client_connections dnode_client_in_queue dnode_client_in_queue_bytes dnode_client_out_queue
    dnode_client_out_queue_bytes peer_dropped_requests peer_timedout_requests remote_peer_dropped_requests
    remote_peer_timedout_requests remote_peer_failover_requests peer_eof peer_err peer_timedout
    remote_peer_timedout peer_connections peer_forward_error peer_requests peer_request_bytes peer_responses
    peer_response_bytes peer_ejected_at peer_ejects peer_in_queue remote_peer_in_queue peer_in_queue_bytes
    remote_peer_in_queue_bytes peer_out_queue remote_peer_out_queue peer_out_queue_bytes
    remote_peer_out_queue_bytes peer_mismatch_requests forward_error fragments stats_count
    """
)
SERVER_NAMES = words(
    """
    server_eof server_err server_timedout server_ejected_at server_dropped_requests server_timedout_requests
    read_requests read_request_bytes write_requests write_request_bytes read_responses read_response_bytes
    write_responses write_response_bytes in_queue in_queue_bytes out_queue out_queue_bytes redis_req_get
    redis_req_set redis_req_del redis_req_incr_decr redis_req_keys redis_req_mget redis_req_scan redis_req_sort
    redis_req_lreqm redis_req_sunion redis_req_ping redis_req_lists redis_req_sets redis_req_hashes
    redis_req_sortedsets redis_req_other
    """
)
ID_OF = {row.name: command_id for command_id, row in enumerate(COMMANDS, start=1)}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    with fake_node(tmp_path) as made:
        made.start_all()
        yield made


def given(node: FakeNode, system: dict[int, SystemFigures] | None = None) -> InfoInput:
    return InfoInput(
        node.read(),
        read_histograms(node.slab),
        system or {},
        [row.name for row in COMMANDS],
        "host-1",
        STARTED_AT_S + 61.5,
    )


def document(node: FakeNode) -> dict:
    return json.loads(json.dumps(info_document(given(node))))


def server_of(doc: dict) -> dict:
    return doc["shop"]["127.0.0.1:22122"]


def test_names_of_the_node_come_first_in_the_order_of_c(node: FakeNode) -> None:
    names = list(document(node))
    assert names[: len(NODE_NAMES)] == NODE_NAMES
    assert names[len(NODE_NAMES)] == "shop"


def test_names_of_pool_and_datastore_come_first_in_the_order_of_c(node: FakeNode) -> None:
    doc = document(node)
    assert list(doc["shop"])[: len(POOL_NAMES)] == POOL_NAMES
    assert list(server_of(doc))[: len(SERVER_NAMES)] == SERVER_NAMES


def test_strings_and_times(node: FakeNode) -> None:
    doc = document(node)
    assert (doc["service"], doc["source"], doc["dc"], doc["rack"]) == ("dynomite", "host-1", "dc-a", "rack-1")
    assert (doc["uptime"], doc["timestamp"]) == (61, int(STARTED_AT_S) + 61)
    assert doc["state"] == "NORMAL"
    assert doc["tokens"] == [101134286]


def test_everything_else_is_a_whole_number(node: FakeNode) -> None:
    doc = document(node)
    texts = {"service", "source", "version", "rack", "dc"}
    numbers = [doc[name] for name in NODE_NAMES if name not in texts]
    numbers += [doc["shop"][name] for name in POOL_NAMES] + [server_of(doc)[name] for name in SERVER_NAMES]
    assert all(type(value) is int for value in numbers)


@pytest.mark.parametrize("name", [name for name in POOL_NAMES if name not in RENAMED])
def test_every_pool_field_moves_with_its_counter(node: FakeNode, name: str) -> None:
    row = next(row for row in COUNTERS if row.name == name)
    node.writer(row.roles[0]).count(name, 7)
    assert document(node)["shop"][name] == 7


@pytest.mark.parametrize("name", [name for name in SERVER_NAMES if not name.startswith("redis_req_")])
def test_every_datastore_field_moves_with_its_counters(node: FakeNode, name: str) -> None:
    row = next(row for row in COUNTERS if row.name == name)
    cells = [f"{name}:{group}" for group in row.groups] or [name]
    for cell in cells:
        node.writer(Role.IO, 1).count(cell, 7)
    assert server_of(document(node))[name] == 7 * len(cells)


def test_figures_of_all_io_workers_are_added_up(node: FakeNode) -> None:
    node.writer(Role.IO, 0).count("client_read_requests", 3)
    node.writer(Role.IO, 1).count("client_read_requests", 4)
    assert document(node)["shop"]["client_read_requests"] == 7


def test_latest_of_a_moment_is_taken_not_the_sum(node: FakeNode) -> None:
    node.writer(Role.IO, 0).set_gauge("server_ejected_at", 1_700_000_000_123)
    node.writer(Role.IO, 1).set_gauge("server_ejected_at", 1_700_000_000_456)
    assert server_of(document(node))["server_ejected_at"] == 1_700_000_000_456


def test_a_gauge_caught_below_zero_is_zero(node: FakeNode) -> None:
    node.writer(Role.IO, 0).uncount("client_connections", 1)
    assert document(node)["shop"]["client_connections"] == 0


@pytest.mark.parametrize(
    ("name", "role", "counter"),
    [("stats_count", Role.ADMIN, "http_requests"), ("forward_error", Role.IO, "client_unreachable_requests")],
)
def test_a_field_whose_counter_has_another_name_moves_with_it(
    node: FakeNode, name: str, role: Role, counter: str
) -> None:
    node.writer(role).count(counter, 3)
    assert document(node)["shop"][name] == 3


def test_latencies_are_microseconds_over_all_classes_and_workers(node: FakeNode) -> None:
    for _ in range(98):
        node.writer(Role.IO, 0).record("request_latency_read", 100_000)
    node.writer(Role.IO, 1).record("request_latency_overwrite", 1_000_000)
    node.writer(Role.IO, 1).record("request_latency_overwrite", 8_000_000)
    doc = document(node)
    assert doc["latency_max"] == 8000
    assert 100 <= doc["latency_95th"] <= 112
    assert 1000 <= doc["latency_99th"] <= 1125
    assert doc["latency_mean"] == (98 * 100 + 1000 + 8000) // 100


def test_latencies_of_an_idle_node_are_zero(node: FakeNode) -> None:
    assert [document(node)[name] for name in NODE_NAMES if "latency" in name or "wait" in name] == [0] * 15


@pytest.mark.parametrize(
    ("histogram", "field"),
    [
        ("server_latency_read", "99_server_latency"),
        ("server_queue_wait", "average_server_queue_wait"),
        ("cross_zone_latency", "99_cross_zone_latency"),
        ("cross_zone_queue_wait", "99_cross_zone_queue_wait"),
        ("cross_region_rtt", "average_cross_region_rtt"),
        ("cross_region_queue_wait", "99_cross_region_queue_wait"),
    ],
)
def test_times_on_the_way_have_their_histograms(node: FakeNode, histogram: str, field: str) -> None:
    row = next(row for row in HISTOGRAMS if row.name == histogram)
    node.writer(row.roles[0]).record(histogram, 2_000_000)
    assert document(node)[field] == 2000


@pytest.mark.parametrize("name", [row.name for row in HISTOGRAMS if row.unit == "requests"])
def test_queue_lengths_have_their_histograms(node: FakeNode, name: str) -> None:
    row = next(row for row in HISTOGRAMS if row.name == name)
    node.writer(row.roles[0]).record(name, 5)
    assert document(node)[f"{name.removesuffix('_length')}_99"] == 5


def test_payload_sizes_are_bytes(node: FakeNode) -> None:
    node.writer(Role.IO).record("payload_size", 512)
    doc = document(node)
    assert doc["payload_size_max"] == doc["payload_size_mean"] == 512


def test_memory_is_that_of_the_nodes_own_processes(node: FakeNode) -> None:
    node.start(Role.DATASTORE, pid=999_999_999)
    figures = SystemFigures(1.0, 0.5, 3_000_000, 2_000_000, 12)
    doc = info_document(given(node, {os.getpid(): figures, 999_999_999: figures}))
    assert doc["dyn_memory"] == 6 * 3_000_000 // 1024
    datastore = next(row for row in doc["processes"] if row["role"] == "datastore")
    assert datastore["rss_bytes"] == 3_000_000


def test_processes_and_rings_are_listed(node: FakeNode) -> None:
    node.start(Role.GOSSIP, state=ProcessState.BACKOFF)
    node.writer(Role.GOSSIP).set_header("boot_count", 4)
    node.port(Role.SUPERVISOR).outbound[node.port(Role.ADMIN).endpoint].offer(0x70, b"x" * 40)
    node.fabric.publish_rings()
    doc = document(node)
    gossip = next(row for row in doc["processes"] if row["name"] == "gossip")
    assert (gossip["state"], gossip["restarts"]) == ("backoff", 3)
    assert [row["name"] for row in doc["processes"] if row["role"] == "io"] == ["io[0]", "io[1]"]
    ring = next(row for row in doc["rings"] if (row["producer"], row["consumer"]) == ("supervisor", "admin"))
    assert (ring["records"], ring["depth_bytes"]) == (1, 48)


def test_a_datastore_named_like_a_field_does_not_hide_the_field(node: FakeNode) -> None:
    node.identity = identity_of(CONFIG, 0, {})
    figures = read_node(node.slab, type(node.identity)(pool="rack", datastore="client_eof", rack="r1"))
    doc = info_document(InfoInput(figures, {}, {}, [], "h", 0))
    assert doc["rack"] == "r1"
    assert doc["rack (name)"]["client_eof"] == 0
    assert "server_eof" in doc["rack (name)"]["client_eof (name)"]


# ---- commands by kind


def count(node: FakeNode, *names: str) -> dict[str, int]:
    for name in names:
        node.writer(Role.IO).record_command(ID_OF[name])
    server = server_of(document(node))
    return {kind: server[f"redis_req_{kind}"] for kind in command_kinds.KINDS if server[f"redis_req_{kind}"]}


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("get", {"get": 1}),
        ("set", {"set": 1}),
        ("setex", {"set": 1}),
        ("del", {"del": 1}),
        ("incr", {"incr_decr": 1}),
        ("decrby", {"incr_decr": 1}),
        ("keys", {"keys": 1}),
        ("mget", {"mget": 1}),
        ("scan", {"scan": 1}),
        ("sort", {"sort": 1}),
        ("lrem", {"lreqm": 1, "lists": 1}),
        ("sunion", {"sunion": 1, "sets": 1}),
        ("ping", {"ping": 1}),
        ("lpush", {"lists": 1}),
        ("sadd", {"sets": 1}),
        ("hget", {"hashes": 1}),
        ("zadd", {"sortedsets": 1}),
        ("getrange", {"other": 1}),
    ],
)
def test_commands_count_under_their_kind(node: FakeNode, name: str, kinds: dict[str, int]) -> None:
    assert count(node, name) == kinds


def test_unknown_commands_count_nowhere(node: FakeNode) -> None:
    node.writer(Role.IO).record_command(0)
    assert count(node) == {}


def test_every_command_named_by_a_kind_is_in_the_command_table() -> None:
    assert set(command_kinds.KINDS_OF_NAME) <= set(ID_OF)


# ---- the process table


def test_the_process_table_knows_this_process() -> None:
    figures = ProcessTable().read(os.getpid(), Role.IO, 0.0)
    assert figures is not None
    assert figures.cpu_s > 0
    assert figures.rss_bytes >= (figures.pss_bytes or 0) > 0
    assert (figures.open_fds or 0) >= 3


def test_the_memory_of_a_datastore_is_not_walked() -> None:
    figures = ProcessTable().read(os.getpid(), Role.DATASTORE, 0.0)
    assert figures is not None
    assert figures.pss_bytes is None


def test_a_process_that_is_gone_has_no_figures() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert ProcessTable().read(pid, Role.IO, 0.0) is None


def test_processes_that_the_node_does_not_have_any_more_are_forgotten() -> None:
    table = ProcessTable()
    first = table.read(os.getpid(), Role.IO, 0.0)
    table.keep_only(set())
    again = table.read(os.getpid(), Role.IO, 1.0)
    assert first is not None
    assert again is not None
    assert again.cpu_s >= first.cpu_s


def test_memory_is_walked_at_most_every_few_seconds() -> None:
    table = ProcessTable()
    first = table.read(os.getpid(), Role.IO, 0.0)
    with mmap.mmap(-1, 8_000_000) as grown:  # never from what the allocator still holds
        grown.write(b"x" * 8_000_000)
        soon, later = table.read(os.getpid(), Role.IO, 1.0), table.read(os.getpid(), Role.IO, 60.0)
    assert first is not None
    assert soon is not None
    assert later is not None
    assert soon.pss_bytes == first.pss_bytes
    assert (later.pss_bytes or 0) > (first.pss_bytes or 0) + 4_000_000
