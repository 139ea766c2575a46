"""What people read of a node's state: sizes and durations, columns, and the sentence about what is wrong."""

import json

import pytest

from dynomite_mp import status, status_text
from dynomite_mp.ipc.bulletin import HintRow, RepairRow
from dynomite_mp.status import NodeStatus, ProcessRow, RingRow


def process(name: str = "io[0]", **changes) -> ProcessRow:
    row = {
        "name": name, "role": name.partition("[")[0], "index": 0, "pid": 42, "state": "running", "cpu_percent": 1.5,
        "rss_bytes": 1536, "restarts": 0, "uptime_s": 61.0, "silent_ms": 10, "last_exit": 0,
    }  # fmt: skip
    return ProcessRow(**{**row, **changes})


def ring(depth_bytes: int = 0, **changes) -> RingRow:
    return RingRow(**{
        "producer": "io[0]", "consumer": "replication", "depth_bytes": depth_bytes, "capacity_bytes": 65536,
        "high_water_bytes": 0, "failed_offers": 0, "dropped": 0, **changes,
    })  # fmt: skip


def node(*processes: ProcessRow, rings=(), **changes) -> NodeStatus:
    rows = processes or (process(),)
    fields = {
        "name": "dc1/r1 127.0.0.1:8101",
        "identity": {"dc": "dc1", "rack": "r1", "tokens": (1, 2), "listen": "127.0.0.1:8102", "version": "0.1.0"},
        "is_stale": False, "leftover_pids": (), "supervisor_pid": 1, "started_at": 0.0, "processes": rows,
        "rings": tuple(rings), "rates": dict.fromkeys(status.RATES, 3.0), "client_connections": 7,
        "requests_total": 99, "problems": tuple(status.find_problems(rows, False)), "node_state": "NORMAL",
        "peers": (), "datacenters": (), "hints": (), "repairs": (), "not_shown": 0,
    }  # fmt: skip
    return NodeStatus(**{**fields, **changes})


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (5 * 1024**4, "5120.0 GiB"),
    ],
)
def test_sizes(count, shown):
    assert status_text.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (0, "0 s"), (12.9, "12 s"), (184, "3 min 4 s"), (7500, "2 h 5 min"), (273_600, "3 d 4 h")],
)
def test_durations(seconds, shown):
    assert status_text.duration(seconds) == shown


def test_columns_are_as_wide_as_their_widest_cell():
    assert status_text.table(("a", "bb"), [("ccc", "d")]) == "  a    bb\n  ccc  d"


def test_a_healthy_node_shows_who_it_is_and_what_it_does():
    text = status_text.node_text(node())
    assert text.startswith("dc1/r1  token 1,2  up ")
    assert "io[0]" in text and "1.5 KiB" in text and "1 min 1 s" in text
    assert "3 requests/s" in text and "7 clients" in text and "!" not in text


def test_rings_are_shown_when_something_is_in_them_or_went_wrong():
    quiet, busy, full = ring(), ring(100), ring(failed_offers=1)
    assert "io[0] > replication" not in status_text.node_text(node(rings=[quiet]))
    assert "io[0] > replication" in status_text.node_text(node(rings=[quiet]), all_rings=True)
    for row in (busy, full):
        assert "io[0] > replication" in status_text.node_text(node(rings=[row]))


def test_a_process_that_is_silent_is_the_first_thing_said():
    text = status_text.node_text(node(process(silent_ms=12_000)))
    assert "! io[0] has given no sign of life for 12 s" in text.splitlines()[3]
    assert "silent for 12 s" in text


def test_a_process_that_is_starting_or_has_no_pulse_is_not_silent():
    assert not process(state="starting", silent_ms=60_000).is_silent
    assert not process(silent_ms=None).is_silent


@pytest.mark.parametrize(("state", "sentence"), [("failed", "stays down"), ("backoff", "exit code 139")])
def test_a_process_that_is_down_is_a_problem(state, sentence):
    (problem,) = node(process(state=state, pid=0, last_exit=139)).problems
    assert sentence in problem


def test_a_stale_slab_is_called_stale():
    stale = node(is_stale=True, problems=tuple(status.find_problems((process(),), True)), rates={}, leftover_pids=(42,))
    text = status_text.node_text(stale)
    assert "STALE" in text and "supervisor is gone" in text and "still draining: 42" in text
    assert "requests/s" not in text


def test_as_json_it_has_the_same():
    document = json.loads(json.dumps(status.as_document(node()), default=str))
    assert document["processes"][0]["name"] == "io[0]" and document["processes"][0]["state"] == "running"


def test_rates_are_growth_per_second_and_never_negative():
    names = status.RATES["requests"]
    assert status.rates_of({names[0]: 10}, {names[0]: 30, names[1]: 10}, 2.0)["requests"] == 15.0
    assert status.rates_of({names[0]: 10}, {names[0]: 0}, 2.0)["requests"] == 0.0


def test_writes_to_come_are_shown_while_there_are_any_or_some_were_not_kept() -> None:
    idle = HintRow("10.0.0.1:8101")
    assert "writes to come" not in status_text.node_text(node(hints=(idle,)))
    waiting = HintRow("10.0.0.2:8101", 5, 2048, 61_000)
    dirty = HintRow("datacenter dc2", 0, 0, 0, "the log could not be written", 7)
    lines = status_text.node_text(node(hints=(idle, waiting, dirty))).splitlines()
    assert any(line.split() == ["10.0.0.2:8101", "5", "2.0", "KiB", "1", "min", "1", "s", "0"] for line in lines)
    [line] = [line for line in lines if "datacenter dc2" in line]
    assert line.endswith("7         DIRTY: the log could not be written")


def test_a_comparison_is_one_line() -> None:
    row = RepairRow("r", "round", "running", keys_read=7, keys_differing=2, keys_mended=1, text="a left out: dead")
    lines = status_text.node_text(node(repairs=(row,))).splitlines()
    assert "  comparison (round) running: 7 keys read, 2 differed, 1 mended; a left out: dead" in lines
