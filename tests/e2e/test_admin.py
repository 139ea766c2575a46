"""The admin port of a running node: figures that move under load, health that follows the processes, verbs that act."""

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.harness import STATS_PORT, Node, wait_for

PROMTOOL = os.environ.get("PROMTOOL_BIN") or shutil.which("promtool")
POOL = "dyn_o_mite"

# Counters that one client's reads and writes must move; gauges and failures have tests of their own.
MOVED = """
client_connections_accepted_total client_eofs_total client_read_requests_total client_write_requests_total
client_local_requests_total client_request_bytes_total client_responses_total client_response_bytes_total
client_refused_requests_total client_error_responses_total datastore_connections datastore_connections_opened_total
datastore_up datastore_read_requests_total datastore_read_request_bytes_total datastore_write_requests_total
datastore_write_request_bytes_total datastore_read_responses_total datastore_read_response_bytes_total
datastore_write_responses_total datastore_write_response_bytes_total datastore_error_responses_total requests_total
request_duration_seconds_count request_duration_seconds_sum datastore_request_duration_seconds_count
messages_sent_total messages_received_total doorbell_wakeups_total topology_version topology_swaps_total
loop_turns_total loop_busy_seconds_total http_requests_total process_up process_cpu_seconds_total
process_resident_memory_bytes process_proportional_memory_bytes process_open_fds ring_records_total ring_bytes_total
node node_state
"""


def ask(node: Node, path: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://{node.host}:{STATS_PORT}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def info(node: Node) -> dict[str, Any]:
    status, body = ask(node, "/info")
    assert status == 200
    document: dict[str, Any] = json.loads(body)
    return document


def metrics(node: Node) -> dict[str, float]:
    """Sums over labels, by name without the prefix."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(ask(node, "/metrics")[1]):
        for sample in family.samples:
            name = sample.name.removeprefix("dynomite_mp_")
            sums[name] = sums.get(name, 0) + sample.value
    return sums


def load(node: Node) -> None:
    """Reads, writes, an answer of the io worker's own, an error of the datastore and a refusal."""
    with node.connect() as client:
        for i in range(100):
            client.call("SET", f"k{i}", "v" * 100)
            client.call("GET", f"k{i}")
        client.call("PING")
        client.call("LPUSH", "k1", "wrong type")
        client.call("SUBSCRIBE", "nothing")


def test_every_figure_moves_under_load(node: Node) -> None:
    load(node)

    unmoved: list[str] = []

    def all_moved() -> bool:
        found = metrics(node)
        unmoved[:] = [name for name in MOVED.split() if not found.get(name)]
        return not unmoved

    try:
        wait_for(all_moved)
    except AssertionError:
        pytest.fail(f"these did not move: {' '.join(unmoved)}")


def test_info_counts_what_the_client_did(node: Node) -> None:
    load(node)
    document = info(node)
    pool = document[POOL]
    server = next(value for value in pool.values() if isinstance(value, dict))
    assert server["redis_req_get"] == server["redis_req_set"] == 100
    assert server["redis_req_lists"] == 1
    assert server["read_requests"] == server["read_responses"] == 100
    assert server["write_requests"] == 101
    assert pool["client_refused_requests"] == 1
    assert 0 < document["latency_mean"] <= document["latency_99th"] <= document["latency_max"]
    assert document["payload_size_max"] > 100


def test_historeset_forgets_what_info_shows(node: Node) -> None:
    load(node)
    assert info(node)["latency_max"] > 0
    assert ask(node, "/historeset") == (200, "OK\r\n")
    assert info(node)["latency_max"] == 0
    load(node)
    assert info(node)["latency_max"] > 0


@pytest.mark.skipif(not PROMTOOL, reason="no promtool; PROMTOOL_BIN may name one")
def test_promtool_accepts_the_metrics_of_a_node(node: Node) -> None:
    assert PROMTOOL is not None
    load(node)
    text = ask(node, "/metrics")[1]
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_ready_follows_the_datastore(node: Node) -> None:
    assert ask(node, "/health/ready")[0] == 200
    os.kill(node.pid_of("datastore"), signal.SIGKILL)
    wait_for(lambda: ask(node, "/health/ready")[0] == 503, what="the node to be unready")
    wait_for(lambda: ask(node, "/health/ready")[0] == 200, what="the node to be ready again")
    assert ask(node, "/health/live")[0] == 200
    assert metrics(node)["process_restarts_total"] == 1


def test_a_killed_admin_comes_back_with_all_figures_and_settings(node: Node) -> None:
    load(node)
    assert ask(node, "/set_timeout_factor/3") == (200, "OK\r\n")
    assert ask(node, "/get_timeout_factor")[1] == "Timeout factor: 3\n"
    before = node.pid_of("admin")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: node.pid_of("admin") not in (0, before), what="another admin process")
    wait_for(lambda: ask(node, "/get_timeout_factor")[1] == "Timeout factor: 3\n", what="the setting to be told again")
    assert info(node)[POOL]["client_write_requests"] == 101


def test_the_log_level_acts_on_every_process(node: Node) -> None:
    assert "level=debug" not in node.log()
    assert ask(node, "/setloglevel/7") == (200, "OK\r\n")
    # Gossip asks the others every ten seconds whether they handle their rings, and says so in detail.
    wait_for(lambda: "level=debug process=gossip" in node.log(), 30.0, "a line of gossip at the new level")


def test_changes_from_behind_a_proxy_need_the_token(nodes: Any) -> None:
    node = nodes.start(admin_token="open-sesame")
    proxied = {"X-Forwarded-For": "192.0.2.1"}
    assert ask(node, "/setloglevel/5", **proxied)[0] == 403
    assert ask(node, "/setloglevel/5", **proxied, Authorization="Bearer open-sesame")[0] == 200
    assert ask(node, "/info", **proxied)[0] == 200


def test_idle_clients_of_the_admin_port_harm_nobody(node: Node) -> None:
    idle = [socket.create_connection((node.host, STATS_PORT), timeout=5) for _ in range(200)]
    idle[0].sendall(b"GET /info HTTP/1.1\r\n")
    assert ask(node, "/ping") == (200, "OK\r\n")
    assert node.call("PING") in (b"PONG", "PONG")
    for sock in idle:
        sock.close()


def test_cluster_describe_names_the_node(node: Node) -> None:
    (dc,) = json.loads(ask(node, "/cluster_describe")[1])["dcs"]
    (server,) = dc["racks"][0]["servers"]
    assert (server["host"], server["port"], server["state"]) == (node.host, 8101, "NORMAL")
