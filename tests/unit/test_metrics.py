"""`/metrics`: what the slab holds, read back by parsers other than our own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dynomite_mp.enums import NodeState, ProcessState, Role
from dynomite_mp.ipc.bulletin import Bulletin, HintRow, LagRow, MemberRow, PeerRow, encode
from dynomite_mp.ipc.counter_table import COMMAND_CLASSES, COUNTERS, Kind
from dynomite_mp.workers import metrics
from dynomite_mp.workers.node_figures import read_histograms
from dynomite_mp.workers.process_figures import SystemFigures
from tests.unit.admin_node import NOW_NS, FakeNode, fake_node

PROMTOOL = os.environ.get("PROMTOOL_BIN") or shutil.which("promtool")
FIGURES = SystemFigures(2.5, 1.5, 30_000_000, 9_000_000, 17)
CLASSES = {1: "read", 2: "overwrite"}
CLUSTER = Bulletin(
    (
        MemberRow("dc-a", "rack-1", "10.0.0.1", 8101, 1, is_local=True),
        MemberRow("dc-a", "rack-2", "10.0.0.2", 8101, 1, state=NodeState.RESUMING),
        MemberRow("dc-b", "rack-1", "10.1.0.3", 8101, 1),
    ),
    (
        PeerRow("10.0.0.2", 8101, 2, 2, "ours", True, in_flight=5, waiting_bytes=700),
        PeerRow("10.1.0.3", 8101, 1, 0, is_resting=True),
    ),
)
Labels = frozenset[tuple[str, str]]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    with fake_node(tmp_path) as made:
        made.start_all()
        yield made


def text(node: FakeNode) -> str:
    given = metrics.MetricsInput(
        node.read(), read_histograms(node.slab), {os.getpid(): FIGURES}, CLASSES, NOW_NS + 250_000_000
    )
    return metrics.metrics_text(given).decode()


def samples(node: FakeNode) -> dict[tuple[str, Labels], float]:
    """Everything by name without the prefix, and labels."""
    found: dict[tuple[str, Labels], float] = {}
    for family in text_string_to_metric_families(text(node)):
        for sample in family.samples:
            key = (sample.name.removeprefix("dynomite_mp_"), frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(node: FakeNode, name: str, **labels: str) -> float:
    return samples(node)[name, frozenset(labels.items())]


def test_every_counter_has_a_metric_or_is_said_to_have_no_source() -> None:
    places = [*metrics.METRICS, *metrics.NOT_FED, *metrics.DERIVED]
    assert sorted(places) == sorted(row.name for row in COUNTERS)


def test_names_are_unique_and_have_the_prefix(node: FakeNode) -> None:
    names = [family.name for family in text_string_to_metric_families(text(node))]
    assert len(names) == len(set(names))
    assert all(name.startswith("dynomite_mp_") for name in names)


def test_labels_are_only_those_of_the_design(node: FakeNode) -> None:
    node.fabric.publish_rings()
    node.writer(Role.IO).post(encode(CLUSTER))
    used = {label for _, labels in samples(node) for label, _ in labels}
    assert used == {"role", "dc", "rack", "peer", "command_class", "le"}


def test_each_peer_has_figures_of_its_own(node: FakeNode) -> None:
    node.writer(Role.IO, 0).post(encode(CLUSTER))
    node.writer(Role.IO, 1).post(encode(Bulletin((), (PeerRow("10.0.0.2", 8101, 2, 1, in_flight=2),))))
    two = {"peer": "10.0.0.2:8101", "dc": "dc-a", "rack": "rack-2"}
    assert (value(node, "peer_up", **two), value(node, "peer_links_up", **two)) == (1, 3)
    assert (value(node, "peer_waiting_requests", **two), value(node, "peer_waiting_bytes", **two)) == (7, 700)
    assert (value(node, "peer_silent", **two), value(node, "peer_state", **two)) == (1, NodeState.RESUMING)
    three = {"peer": "10.1.0.3:8101", "dc": "dc-b", "rack": "rack-1"}
    assert (value(node, "peer_up", **three), value(node, "peer_out_of_service", **three)) == (0, 1)
    assert ("peer_up", frozenset({("peer", "10.0.0.1:8101"), ("dc", "dc-a"), ("rack", "rack-1")})) not in samples(node)


def test_each_other_datacenter_has_its_lag(node: FakeNode) -> None:
    node.writer(Role.IO).post(encode(CLUSTER))
    lag = Bulletin((), (), (LagRow("dc-b", 12, 5000, 1500, 100, 3, 4),))
    node.writer(Role.REPLICATION).post(encode(lag))
    names = ("lag_requests", "lag_bytes", "lag_seconds", "sent_requests_total", "failed_over_requests_total",
             "dropped_requests_total")  # fmt: skip
    assert [value(node, f"datacenter_{name}", dc="dc-b") for name in names] == [12, 5000, 1.5, 100, 3, 4]
    assert ("datacenter_lag_requests", frozenset({("dc", "dc-a")})) not in samples(node)


def test_each_lane_of_missed_writes_has_its_figures(node: FakeNode) -> None:
    rows = (HintRow("10.0.0.2:8101", 12, 5000, 1500, "", 3), HintRow("datacenter dc-b", dirty="the log was damaged"))
    node.writer(Role.REPLICATION).post(encode(Bulletin(hints=rows)))
    names = ("pending", "pending_bytes", "oldest_seconds", "dirty", "lost_total")
    assert [value(node, f"hints_{name}", peer="10.0.0.2:8101") for name in names] == [12, 5000, 1.5, 0, 3]
    assert [value(node, f"hints_{name}", peer="datacenter dc-b") for name in names] == [0, 0, 0, 1, 0]


@pytest.mark.parametrize("cell", metrics.METRICS)
def test_every_row_moves_with_its_counter(node: FakeNode, cell: str) -> None:
    row = metrics.ROW_OF[cell]
    role = metrics.MOVED_BY.get(cell, row.roles)[0]
    process = {"role": "io[0]" if role is Role.IO else role.label} if len(row.roles) > 1 else {}
    name = metrics.METRICS[cell] + ("_total" if row.kind is Kind.COUNTER else "")
    before = value(node, name, **process)
    moved = f"{cell}:{row.groups[0]}" if row.groups else cell
    node.writer(role).count(moved, 5_000_000)
    assert value(node, name, **process) - before == pytest.approx(5_000_000 * metrics.SCALES.get(cell, 1))


def test_a_row_of_the_io_workers_is_their_sum(node: FakeNode) -> None:
    node.writer(Role.IO, 0).count("client_request_bytes", 10)
    node.writer(Role.IO, 1).count("client_request_bytes", 5)
    assert value(node, "client_request_bytes_total") == 15


def test_a_row_of_all_workers_has_a_sample_for_each(node: FakeNode) -> None:
    node.writer(Role.IO, 1).count("loop_turns", 9)
    assert value(node, "loop_turns_total", role="io[1]") == 9
    assert value(node, "loop_turns_total", role="io[0]") == 0
    assert ("loop_turns_total", frozenset({("role", "gossip")})) not in samples(node)
    assert value(node, "messages_sent_total", role="gossip") == 0


def test_requests_by_class_of_the_command(node: FakeNode) -> None:
    for command_id in (1, 1, 2, 77):
        node.writer(Role.IO).record_command(command_id)
    by_class = {name: value(node, "requests_total", command_class=name) for name in COMMAND_CLASSES}
    assert by_class == {"none": 1, "read": 2, "overwrite": 1, "commute": 0, "ordered": 0, "lead": 0}


@pytest.mark.parametrize(
    ("histogram", "name"),
    [("request_latency_read", "request_duration"), ("server_latency_read", "datastore_request_duration")],
)
def test_latencies_are_histograms_in_seconds(node: FakeNode, histogram: str, name: str) -> None:
    for nanoseconds in (10_000, 2**20 - 1, 2**20, 60_000_000_000):
        node.writer(Role.IO).record(histogram, nanoseconds)
    found = {
        dict(labels)["le"]: sample
        for (metric, labels), sample in samples(node).items()
        if metric == f"{name}_seconds_bucket" and ("command_class", "read") in labels
    }
    bounds = [float(bound) for bound in found]
    assert bounds == sorted(bounds)
    assert list(found.values()) == sorted(found.values())
    assert (found[repr(2**20 / 1e9)], found[repr(2**21 / 1e9)], found[repr(2**34 / 1e9)]) == (2, 3, 3)
    assert found["+Inf"] == value(node, f"{name}_seconds_count", command_class="read") == 4
    total = (10_000 + 2**20 - 1 + 2**20 + 60_000_000_000) / 1e9
    assert value(node, f"{name}_seconds_sum", command_class="read") == pytest.approx(total)


def test_each_bound_is_a_bound_of_shared_memory() -> None:
    from dynomite_mp.ipc.layout import histogram_bucket_bounds

    for octave in metrics.OCTAVES:
        assert histogram_bucket_bounds((octave - metrics.FIRST_OCTAVE) * 8)[0] == 2**octave


def test_processes(node: FakeNode) -> None:
    node.start(Role.GOSSIP, state=ProcessState.BACKOFF)
    node.writer(Role.GOSSIP).set_header("boot_count", 3)
    assert value(node, "process_up", role="gossip") == 0
    assert value(node, "process_up", role="io[1]") == 1
    assert value(node, "process_restarts_total", role="gossip") == 2
    assert value(node, "process_heartbeat_age_seconds", role="admin") == pytest.approx(0.25)
    assert value(node, "process_cpu_seconds_total", role="io[0]") == 4
    assert value(node, "process_resident_memory_bytes", role="io[0]") == 30_000_000
    assert value(node, "process_proportional_memory_bytes", role="io[0]") == 9_000_000
    assert value(node, "process_open_fds", role="io[0]") == 17


def test_a_process_that_the_system_does_not_know_has_no_memory(node: FakeNode) -> None:
    node.start(Role.DATASTORE, pid=999_999_999)
    assert value(node, "process_up", role="datastore") == 1
    assert ("process_resident_memory_bytes", frozenset({("role", "datastore")})) not in samples(node)


def test_rings_by_the_process_at_their_end(node: FakeNode) -> None:
    to_admin = node.port(Role.SUPERVISOR).outbound[node.port(Role.ADMIN).endpoint]
    to_gossip = node.port(Role.SUPERVISOR).outbound[node.port(Role.GOSSIP).endpoint]
    for ring, size_bytes in ((to_admin, 8), (to_admin, 8), (to_gossip, 2040)):
        ring.offer(0x70, b"x" * size_bytes)
    node.fabric.publish_rings()
    assert value(node, "ring_depth_bytes", role="admin") == 32
    assert value(node, "ring_high_water_bytes", role="gossip") == 2048
    assert value(node, "ring_records_total", role="supervisor") == 3
    assert value(node, "ring_bytes_total", role="supervisor") == 2080
    assert value(node, "ring_failed_offers_total", role="supervisor") == 0
    assert value(node, "ring_dropped_records_total", role="gossip") == 0
    assert value(node, "ring_handler_errors_total", role="io[0]") == 0


def test_the_place_of_the_node_is_a_label(node: FakeNode) -> None:
    assert value(node, "node", dc="dc-a", rack="rack-1") == 1


def test_the_state_of_the_node_is_the_number_of_c(node: FakeNode) -> None:
    assert value(node, "node_state") == NodeState.NORMAL
    node.writer(Role.GOSSIP).set_gauge("node_state", NodeState.STANDBY)
    assert value(node, "node_state") == NodeState.STANDBY


@pytest.mark.skipif(not PROMTOOL, reason="no promtool; PROMTOOL_BIN may name one")
def test_promtool_has_nothing_to_say(node: FakeNode) -> None:
    assert PROMTOOL is not None
    node.start(Role.DATASTORE)
    node.fabric.publish_rings()
    checked = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=text(node), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
