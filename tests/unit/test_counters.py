"""The counter table and both sides of the slab."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynomite_mp.enums import ProcessState, Role
from dynomite_mp.ipc import counter_table, layout, wiring
from dynomite_mp.ipc.counter_table import COUNTERS, HISTOGRAMS, Kind, Merge
from dynomite_mp.ipc.counters import SlabWriter, bucket_of, cell_index, histogram_index, process_record_bytes
from dynomite_mp.ipc.segment import Fabric, allocate, slab_name, unlink
from dynomite_mp.ipc.slab import HistogramValues, Slab, SlabError, process_start_ticks
from dynomite_mp.ipc.wiring import Endpoint

SIZES = {"io_ring_bytes": 4096, "replication_ring_bytes": 8192, "lane_overflow_bytes": 1000}
IDENTITY = {"dc": "dc1", "rack": "r1", "tokens": ["1", "2"], "listen": "127.0.0.1:8102"}

# Every number of the C server's /info that is a count of this node: pool, then datastore.
C_INFO_TEXT = """
client_eof client_err client_connections client_read_requests client_write_requests client_dropped_requests
client_non_quorum_w_responses client_non_quorum_r_responses server_ejects dnode_client_eof dnode_client_err
dnode_client_connections dnode_client_in_queue dnode_client_in_queue_bytes dnode_client_out_queue
dnode_client_out_queue_bytes peer_dropped_requests peer_timedout_requests remote_peer_dropped_requests
remote_peer_timedout_requests remote_peer_failover_requests peer_eof peer_err peer_timedout remote_peer_timedout
peer_connections peer_forward_error peer_requests peer_request_bytes peer_responses peer_response_bytes
peer_ejected_at peer_ejects peer_in_queue remote_peer_in_queue peer_in_queue_bytes remote_peer_in_queue_bytes
peer_out_queue remote_peer_out_queue peer_out_queue_bytes remote_peer_out_queue_bytes peer_mismatch_requests
fragments server_eof server_err server_timedout server_ejected_at server_dropped_requests
server_timedout_requests read_requests read_request_bytes write_requests write_request_bytes read_responses
read_response_bytes write_responses write_response_bytes in_queue in_queue_bytes out_queue out_queue_bytes
"""
C_INFO = frozenset(C_INFO_TEXT.split())


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[Fabric]:
    made = Fabric.create(slab_name(tmp_path), wiring.expand(2, SIZES), identity=IDENTITY, boot_id=2**63 + 5)
    yield made
    made.close()


def test_names_are_unique_and_every_row_says_what_it_is() -> None:
    names = [*(row.name for row in COUNTERS), *(row.name for row in HISTOGRAMS)]
    assert len(set(names)) == len(names)
    assert all(row.doc and row.roles for row in COUNTERS)
    assert all(row.doc and row.roles for row in HISTOGRAMS)


def test_every_number_of_the_c_info_is_a_row() -> None:
    assert C_INFO - {row.name for row in COUNTERS} == set()


def test_each_name_has_a_cell_of_its_own() -> None:
    names = counter_table.cell_names()
    assert sorted(cell_index(name) for name in names) == list(range(len(names)))
    assert sorted(histogram_index(row.name) for row in HISTOGRAMS) == list(range(len(HISTOGRAMS)))
    assert cell_index("server_eof:resp3") == cell_index("server_eof:resp2") + 1
    for unknown in ("server_eof", "no_such_counter", ""):
        with pytest.raises(KeyError):
            cell_index(unknown)


def test_latencies_of_a_class_lie_in_class_order() -> None:
    """The hot path adds the command's class to the index of the first."""
    for kind in ("request_latency", "server_latency"):
        places = [histogram_index(f"{kind}_{name}") for name in counter_table.COMMAND_CLASSES]
        assert places == list(range(places[0], places[0] + 6))


def test_what_is_written_is_read(fabric: Fabric) -> None:
    io0, io1 = fabric.port(Role.IO, 0).slab, fabric.port(Role.IO, 1).slab
    io0.count("client_eof")
    io0.count("client_eof", 4)
    io1.count("client_eof", 10)
    io0.count("server_connections:resp2", 3)
    io0.uncount("server_connections:resp2")
    io1.count("server_connections:resp3", 1)
    io0.set_gauge("topology_version", 9)
    io1.set_gauge("topology_version", 8)
    io1.record_command(17)
    io0.record_command(17)
    slab = Slab.open(fabric.name)
    totals = slab.totals()
    assert totals["client_eof"] == 15
    assert (totals["server_connections"], totals["server_connections:resp2"]) == (3, 2)
    assert totals["topology_version"] == 9  # the greatest, not the sum
    assert slab.commands()[17] == 2 and sum(slab.commands()) == 2
    by_process = {(p.role, p.index): p.counters["client_eof"] for p in slab.processes()}
    assert by_process[Role.IO, 0] == 5 and by_process[Role.IO, 1] == 10 and by_process[Role.GOSSIP, 0] == 0


def test_records_of_processes_do_not_overlap(fabric: Fabric) -> None:
    last = counter_table.cell_names()[-1]
    for endpoint in fabric.processes:
        record = fabric.process_slab(endpoint)
        record.count(last, 1)
        record.record_command(511)
        record.record(HISTOGRAMS[-1].name, 2**64 - 1)
        record.heartbeat(endpoint.role + 100)
    slab = Slab.open(fabric.name)
    assert [p.counters[last] for p in slab.processes()] == [1] * 7
    assert [p.heartbeat_ns for p in slab.processes()] == [e.role + 100 for e in fabric.processes]
    assert slab.totals()[counter_table.cell_names()[0]] == 0
    assert slab.commands()[511] == 7
    assert slab.histogram(HISTOGRAMS[-1].name).count == 7
    assert slab.identity["dc"] == "dc1"


def test_the_supervisor_writes_what_status_shows(fabric: Fabric) -> None:
    record = fabric.process_slab(Endpoint(Role.IO, 1))
    for word, value in {"pid": 4242, "state": ProcessState.RUNNING, "boot_count": 3, "started_at_ns": 99}.items():
        record.set_header(word, value)
    shown = next(p for p in Slab.open(fabric.name).processes() if (p.role, p.index) == (Role.IO, 1))
    assert (shown.pid, shown.state, shown.boot_count, shown.started_at_ns) == (4242, ProcessState.RUNNING, 3, 99)
    assert record.header_word("pid") == 4242
    roles = [p.role for p in Slab.open(fabric.name).processes()]
    assert roles == [0, 1, 2, 3, 4, 4, 5]
    with pytest.raises(KeyError):
        record.set_header("no_such_word", 1)


def test_identity_and_liveness(fabric: Fabric) -> None:
    slab = Slab.open(fabric.name)
    assert dict(slab.identity) == {**IDENTITY, "tokens": ("1", "2")}
    assert (slab.boot_id, slab.supervisor_pid, slab.is_stale) == (2**63 + 5, os.getpid(), False)
    assert fabric.name in Slab.list_mine()
    assert repr(slab) == f"<Slab {fabric.name} supervisor={os.getpid()} live>"


def test_a_slab_whose_supervisor_is_gone_is_stale(tmp_path: Path) -> None:
    name = slab_name(tmp_path)
    pid = os.fork()
    if pid == 0:
        Fabric.create(name, wiring.expand(1, SIZES), identity=IDENTITY, boot_id=1)
        os._exit(0)
    os.waitpid(pid, 0)
    try:
        assert name in Slab.list_mine()
        assert Slab.open(name).is_stale
    finally:
        unlink(name)


def test_a_zombie_and_a_reused_pid_are_not_the_supervisor() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_start_ticks(child.pid) is None
    child.wait()
    assert process_start_ticks(child.pid) is None
    assert process_start_ticks(os.getpid()) == process_start_ticks(os.getpid()) != process_start_ticks(1)


def test_ring_rows(fabric: Fabric) -> None:
    io = fabric.port(Role.IO, 0)
    ring = io.outbound[Endpoint(Role.REPLICATION, 0)]
    while ring.offer(0x50, b"x" * 1000):
        pass
    ring.count_drop()
    slab = Slab.open(fabric.name)
    row = next(r for r in slab.rings() if (r.producer_role, r.producer_index, r.consumer_role) == (4, 0, 2))
    assert (row.depth_bytes, row.records) == (0, 0)  # as last published
    fabric.publish_rings()
    row = next(r for r in slab.rings() if (r.producer_role, r.producer_index, r.consumer_role) == (4, 0, 2))
    assert (row.capacity_bytes, row.depth_bytes, row.records, row.failed_offers, row.dropped) == (8192, 8064, 8, 1, 1)
    assert row.high_water_bytes >= 8064 - 8192 // 64 and row.total_bytes == 8064 and row.sampled_at_ns > 0
    assert len(slab.rings()) == len(fabric.rings)


def test_gauges_start_again_and_counters_go_on() -> None:
    record = SlabWriter(bytearray(process_record_bytes()))
    for name in counter_table.cell_names():
        record.count(name, 3)
    record.reset_gauges()
    gauges = set(counter_table.cell_names(tuple(row for row in COUNTERS if row.kind is Kind.GAUGE)))
    assert all(record.get(name) == (0 if name in gauges else 3) for name in counter_table.cell_names())


def test_histogram_of_known_values(fabric: Fabric) -> None:
    record = fabric.port(Role.IO, 0).slab
    for value in range(1, 1001):
        record.record("payload_size", value)
    values = Slab.open(fabric.name).histogram("payload_size")
    assert (values.count, values.sum, values.max, values.mean) == (1000, 500500, 1000, 500.5)
    for percent, true in ((50, 500), (95, 950), (99, 990), (99.9, 999), (100, 1000)):
        assert true <= values.percentile(percent) <= true * 9 / 8
    record.reset_histograms()
    assert Slab.open(fabric.name).histogram("payload_size").count == 0


def test_percentile_of_nothing_and_of_the_overflow() -> None:
    nothing = HistogramValues((0,) * layout.HISTOGRAM_BUCKETS, 0, 0)
    assert (nothing.percentile(99), nothing.mean) == (0, 0.0)
    buckets = [0] * layout.HISTOGRAM_BUCKETS
    buckets[bucket_of(2**50)] = 1
    assert HistogramValues(tuple(buckets), 2**50, 2**50).percentile(50) == 2**50


def test_histograms_add_over_processes(fabric: Fabric) -> None:
    fabric.port(Role.IO, 0).slab.record("server_queue_wait", 10)
    fabric.port(Role.IO, 1).slab.record("server_queue_wait", 1000)
    values = Slab.open(fabric.name).histogram("server_queue_wait")
    assert (values.count, values.sum, values.max) == (2, 1010, 1000)


def test_merge_by_maximum_is_for_what_is_no_amount() -> None:
    assert {row.name for row in COUNTERS if row.merge is Merge.MAX} >= {"server_ejected_at", "topology_version"}


@pytest.mark.parametrize("size_bytes", [8, 4096])
def test_what_is_no_slab_is_refused(tmp_path: Path, size_bytes: int) -> None:
    name = slab_name(tmp_path)
    allocate(name, size_bytes, "")
    try:
        with pytest.raises(SlabError, match="not a counter slab"):
            Slab.open(name)
    finally:
        unlink(name)


def test_a_slab_of_another_layout_is_refused(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SLAB_LAYOUT_VERSION", 99)
    with pytest.raises(SlabError, match="another version"):
        Slab.open(fabric.name)


def test_memory_must_hold_a_record() -> None:
    with pytest.raises(ValueError, match="no process record fits"):
        SlabWriter(bytearray(process_record_bytes()), 8)


def test_describe_has_every_row() -> None:
    text = counter_table.describe()
    assert all(f"{row.name} ({row.kind.value})" in text for row in COUNTERS)
