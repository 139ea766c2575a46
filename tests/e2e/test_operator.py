"""A cluster through its operator's eyes and hands: REST verbs that change a running node, and what every view shows.

dc1  r1: west, east (the key space in halves)   r2: twin (all of it)        dc2  r1: far
"""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hiredis
import pytest

from dynomite_mp.cluster.token import hash_key
from tests.e2e.harness import STATS_PORT, AddressBlock, Node, Nodes, Resp, wait_for
from tests.e2e.test_admin import ask, metrics

HALF = 2**31


@dataclass(frozen=True)
class Stage:
    made: Nodes
    west: Node
    east: Node
    twin: Node
    far: Node

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.west, self.east, self.twin, self.far

    def restore(self) -> None:
        """Everything as it was at the start."""
        for node in self.nodes:
            for path in ("/state/normal", "/peer/up/all", "/set_consistency/read/dc_one",
                         "/set_consistency/write/dc_one"):  # fmt: skip
                assert ask(node, path) == (200, "OK\r\n")
        wait_for(self.is_whole, 20, "all to be connected and normal")

    def is_whole(self) -> bool:
        views = [node.status() for node in self.nodes]
        return all(
            len(view["peers"]) == 3
            and all(peer["connected"] and peer["state"] == "NORMAL" for peer in view["peers"])
            and view["node_state"] == "NORMAL"
            for view in views
        )


@pytest.fixture(scope="module")
def cluster(block: AddressBlock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Nodes(block, tmp_path_factory.mktemp("operator"))
    try:
        nodes = made.cluster({"dc1": {"r1": 2, "r2": 1}, "dc2": {"r1": 1}}, timeout=3000, enable_gossip=True)
        for node in nodes:
            node.start(wait=False)
        for node in nodes:
            node.wait_ready(40)
        yield Stage(made, *nodes)
    finally:
        made.destroy()


@pytest.fixture
def stage(cluster: Stage) -> Iterator[Stage]:
    cluster.restore()
    yield cluster


def key_of(name: str, *, east: bool) -> str:
    """A key whose owner in r1 is east, or west; as murmur and two even tokens have it."""
    for i in range(1000):
        if (0 < hash_key("murmur", f"{name}{i}".encode()) <= HALF) == east:
            return f"{name}{i}"
    raise AssertionError("unreachable")


def tell(node: Node, path: str) -> None:
    assert ask(node, path) == (200, "OK\r\n")


def is_error(reply: Any) -> bool:
    return isinstance(reply, hiredis.ReplyError)


def peer(node: Node, other: Node) -> dict[str, Any]:
    """What `status` says of another node; nothing while it knows of none."""
    rows = [row for row in node.status()["peers"] if row["name"] == other.host]
    return dict(rows[0]) if rows else {"connected": False, "is_resting": False, "times_up": 0, "last_error": ""}


def lose(node: Node, name: str) -> None:
    pid = node.pid_of(name)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: node.pid_of(name) not in (0, pid) and node.row(name)["state"] == "running", 15, f"another {name}")


def put(node: Node, key: str, value: str) -> None:
    """Into its datastore, past the node."""
    with node.store() as store:
        assert store.call("SET", key, value) == b"OK"


def stored(node: Node, key: str) -> Any:
    with node.store() as store:
        return store.call("GET", key)


# ---- consistency -----------------------------------------------------------------------------------------------------


def can_write(client: Resp) -> bool:
    return not is_error(client.call("SET", "level", "x"))


def test_a_level_set_by_rest_is_that_of_new_connections_also_after_a_restart(stage: Stage) -> None:
    """DC_SAFE_QUORUM over two racks needs both, and the other one is taken out."""
    node = stage.west
    tell(node, f"/peer/down/{stage.twin.host}")
    wait_for(lambda: not peer(node, stage.twin)["connected"], what="the link to be closed")
    with node.connect() as old:
        assert can_write(old)
        tell(node, "/set_consistency/write/dc_safe_quorum")
        assert "Write Consistency: DC_SAFE_QUORUM" in ask(node, "/get_consistency")[1]
        assert can_write(old)
        with node.connect() as new:
            assert not can_write(new)
            assert new.call("dyno_config:conn_consistency", "DC_ONE") == b"OK"
            assert can_write(new)
        assert old.call("dyno_config:conn_consistency", "dc_safe_quorum") == b"OK"
        assert not can_write(old)
    lose(node, "io[0]")
    lose(node, "admin")
    with wait_for(node.connect, 10, "clients to be accepted") as again:
        assert not can_write(again)  # both the level and the peer that is out were told to the new process
    assert peer(node, stage.twin)["is_resting"]
    tell(node, "/set_consistency/write/dc_one")
    assert "Write Consistency: DC_ONE" in ask(node, "/get_consistency")[1]
    with node.connect() as back:
        assert can_write(back)


# ---- peers -----------------------------------------------------------------------------------------------------------


def test_a_peer_that_is_taken_out_gets_what_it_missed_when_it_is_up_again(stage: Stage) -> None:
    node, other = stage.west, stage.far
    tell(node, f"/peer/down/{other.host}:8101")
    row = wait_for(lambda: (p := peer(node, other))["is_resting"] and not p["connected"] and p, what="it to be out")
    assert "taken out" in node.command("status", "--conf", str(node.conf_path)).stdout
    assert row["last_error"] == ""
    lose(node, "replication")
    wait_for(lambda: peer(node, other)["is_resting"], what="the new process to be told")
    assert node.call("SET", "unseen", "1") == b"OK"
    lag = wait_for(lambda: waiting(node), 5, "the write to wait")
    assert (lag["sent"], lag["waiting"], lag["dropped"]) == (0, 1, 0)
    assert stored(other, "unseen") is None
    tell(node, f"/peer/up/{other.host}")
    wait_for(lambda: stored(other, "unseen") == b"1", what="what it missed there")
    node.call("SET", "seen", "1")
    wait_for(lambda: stored(other, "seen") == b"1", what="a write there")


def test_a_reset_connects_anew_and_ends_an_earlier_down(stage: Stage) -> None:
    node, other = stage.west, stage.twin
    before = wait_for(lambda: peer(node, other)["times_up"], what="the first connection")
    tell(node, f"/peer/reset/{other.host}")
    wait_for(lambda: (p := peer(node, other))["times_up"] > before and p["connected"], what="another connection")
    tell(node, "/peer/down/all")
    wait_for(lambda: not any(row["connected"] for row in node.status()["peers"]), what="all to be out")
    tell(node, "/peer/reset/all")
    wait_for(lambda: all(row["connected"] for row in node.status()["peers"]), what="all to be back")
    assert ask(node, "/peer/down/nobody.example")[0] == 404


# ---- states ----------------------------------------------------------------------------------------------------------


def test_standby_node_is_passed_over_for_reads_and_writes(stage: Stage) -> None:
    key = key_of("standby", east=True)
    put(stage.east, key, "local")
    put(stage.twin, key, "other")
    assert {stage.east.call("GET", key), stage.west.call("GET", key)} == {b"local"}
    tell(stage.east, "/state/standby")
    assert ask(stage.east, "/state/get_state") == (200, "State: STANDBY\n")
    for coordinator in (stage.east, stage.west):
        put(stage.twin, key, "other")
        assert coordinator.call("GET", key) == b"other"
        assert coordinator.call("SET", key, f"by {coordinator.host}") == b"OK"
        assert stored(stage.twin, key) == f"by {coordinator.host}".encode()
    assert stored(stage.east, key) == b"local"
    other = key_of("elsewhere", east=False)
    assert stage.east.call("SET", other, "1") == b"OK"  # it still coordinates
    assert stage.east.call("GET", other) == b"1"


def test_all_processes_know_the_state_after_they_were_killed(stage: Stage) -> None:
    key = key_of("killed", east=True)
    put(stage.east, key, "local")
    put(stage.twin, key, "other")
    tell(stage.east, "/state/standby")
    for name in ("io[0]", "gossip", "admin"):
        lose(stage.east, name)
    assert stage.east.call("GET", key) == b"other"
    wait_for(lambda: ask(stage.east, "/state/get_state")[1] == "State: STANDBY\n", what="the state to be said again")
    tell(stage.east, "/state/normal")
    assert stage.east.call("GET", key) == b"local"


def test_writes_only_keeps_writes_for_later_and_reads_go_elsewhere(stage: Stage) -> None:
    key = key_of("later", east=True)
    put(stage.twin, key, "other")
    tell(stage.east, "/state/writes_only")
    assert stage.east.call("GET", key) == b"other"
    assert stage.east.call("SET", key, "new") == b"OK"  # the other rack's answer, at once
    assert stored(stage.twin, key) == b"new"
    assert stored(stage.east, key) is None
    tell(stage.east, "/state/resuming")
    wait_for(lambda: stored(stage.east, key) == b"new", what="the write that was kept")
    put(stage.east, key, "local")
    assert stage.east.call("GET", key) == b"new"  # reads still go elsewhere
    assert stage.west.call("SET", key, "newer") == b"OK"
    assert stored(stage.east, key) == b"newer"
    tell(stage.east, "/state/normal")
    put(stage.east, key, "local")
    assert stage.west.call("GET", key) == b"local"


def test_a_node_without_another_rack_says_what_its_state_forbids(stage: Stage) -> None:
    tell(stage.far, "/state/standby")
    for words in (("GET", "k"), ("SET", "k", "v")):
        assert str(stage.far.call(*words)) == "ERR Dynomite: Dynomite's current state does not allow this request"


# ---- what is shown ---------------------------------------------------------------------------------------------------


def described(node: Node) -> dict[str, dict[str, Any]]:
    document = json.loads(ask(node, "/cluster_describe")[1])
    return {server["host"]: server for dc in document["dcs"] for rack in dc["racks"] for server in rack["servers"]}


def test_the_topology_is_the_same_by_http_and_by_dyno_and_shows_states(stage: Stage) -> None:
    node = stage.west
    assert set(described(node)) == {other.host for other in stage.nodes}
    assert described(node)[stage.east.host]["tokens"] == [HALF]
    assert {server["client_port"] for server in described(node).values()} == {8102}
    with node.connect() as client:
        for protocol in (2, 3):
            client.call("HELLO", protocol)
            told = wait_for(lambda: (t := topology(client)) == by_http(node) and t, what="both to be the same")
        assert [dc["name"] for dc in told["dcs"]] == ["dc1", "dc2"]
        assert any(b"TOPOLOGY" in line for line in client.call("DYNO", "HELP"))
        assert is_error(client.call("DYNO", "NONSENSE"))
    tell(stage.east, "/state/standby")
    wait_for(lambda: described(node)[stage.east.host]["state"] == "STANDBY", 20, "gossip to tell the state")


def topology(client: Resp) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(client.call("DYNO", "TOPOLOGY"))
    return document


def by_http(node: Node) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(ask(node, "/cluster_describe")[1])
    return document


def test_the_lag_of_another_datacenter_is_seen_while_it_hangs(stage: Stage) -> None:
    node, pid = stage.west, stage.far.pid_of("io[0]")
    os.kill(pid, signal.SIGSTOP)
    try:
        for i in range(5):
            assert node.call("SET", f"lag{i}", "x" * 1000) == b"OK"  # the local datacenter is not slowed
        lag = wait_for(lambda: waiting(node), 5, "the lag to be seen")
        assert lag["oldest_ms"] > 0 and lag["waiting_bytes"] > 1000
        assert peer(node, stage.far)["in_flight"] > 0
        shown = metrics(node)
        assert shown["datacenter_lag_requests"] > 0 and shown["datacenter_lag_seconds"] > 0
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: not waiting(node), 10, "the lag to be gone")


def waiting(node: Node) -> dict[str, Any]:
    (row,) = [dc for dc in node.status()["datacenters"] if not dc["is_local"]]
    return dict(row) if row["waiting"] and row["oldest_ms"] else {}


# Counters of clusters that ordinary reads and writes through one node move there, and at the node that it asks.
ASKING = """
peer_requests_total peer_request_bytes_total peer_responses_total peer_response_bytes_total peer_connections
peer_connections_opened_total remote_peer_requests_total remote_peer_request_bytes_total remote_peer_responses_total
remote_peer_response_bytes_total link_state_changes_total request_fragments_total peer_up peer_links_up peer_state
datacenter_sent_requests_total
"""
ASKED = """
inbound_peer_connections inbound_peer_connections_accepted_total inbound_peer_requests_total
inbound_peer_request_bytes_total inbound_peer_response_bytes_total
"""


def test_the_counters_of_a_cluster_move(stage: Stage) -> None:
    words = [(key_of(f"m{i}", east=bool(i % 2)), str(i)) for i in range(20)]
    with stage.west.connect() as client:
        assert client.call("MSET", *(word for pair in words for word in pair)) == b"OK"
        for key, value in words:
            assert client.call("GET", key) == value.encode()
    for node, names in ((stage.west, ASKING), (stage.east, ASKED)):
        wait_for(lambda node=node, names=names: not unmoved(node, names), 5, "all to move")


def unmoved(node: Node, names: str) -> list[str]:
    found = metrics(node)
    return [name for name in names.split() if not found.get(name)]


def test_status_names_every_node_and_why_one_is_not_there(stage: Stage) -> None:
    """The last but one: the datacenter is not started again."""
    node = stage.west
    text = node.command("status", "--conf", str(node.conf_path)).stdout
    for other in stage.nodes:
        assert f"{other.host}:8101" in text
    stage.far.stop()
    row = wait_for(lambda: (p := peer(node, stage.far))["last_error"] and p, 10, "the loss to be seen")
    assert not row["connected"]
    document = json.loads(node.command("status", "--json", "--conf", str(node.conf_path)).stdout)
    assert [p["address"] for p in document["peers"]] == [f"{n.host}:8101" for n in (stage.east, stage.twin, stage.far)]
    assert [(dc["name"], dc["nodes_connected"]) for dc in document["datacenters"]] == [("dc1", 3), ("dc2", 0)]


def test_a_new_node_finds_the_cluster_through_any_node(cluster: Stage) -> None:
    """It asks for seeds where Dynomite's nodes ask dynomite-manager. The last test: the cluster has a rack more now."""
    asked = {"DYNOMITE_FLORIDA_IP": cluster.east.host, "DYNOMITE_FLORIDA_PORT": str(STATS_PORT)}
    node = cluster.made.make(
        datacenter="dc1", rack="r3", tokens="0", dyn_seed_provider="florida_provider", enable_gossip=True, environ=asked
    ).start()
    others = [cluster.west, cluster.east, cluster.twin]
    wait_for(lambda: all(peer(node, other)["connected"] for other in others), 20, "it to be connected to all")
    wait_for(lambda: node.host in described(cluster.west), 20, "the others to know of it")
