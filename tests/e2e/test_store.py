"""The managed datastore: a child like the others, whose data outlives it, and which never outlives its node."""

import os
import signal

import psutil
import pytest

from dynomite_mp.enums import ExitCode
from dynomite_mp.store import managed
from tests.e2e.harness import MINIMAL_NODE, Node, Nodes, wait_for


@pytest.fixture
def running(nodes: Nodes) -> Node:
    return nodes.start(program=MINIMAL_NODE)


def test_it_listens_on_a_unix_socket_in_a_private_directory_and_nowhere_else(running):
    process = psutil.Process(running.pid_of("datastore"))
    assert process.net_connections("inet") == []
    assert running.runtime_dir.stat().st_mode & 0o777 == 0o700
    with running.store() as store:
        assert store.call("PING") == b"PONG"
        assert store.call("CONFIG", "GET", "appendfsync") == [b"appendfsync", b"everysec"]
    assert running.status()["identity"]["datastore"].split()[0] in ("valkey", "redis")


def test_data_survives_a_restart_of_the_node(running):
    with running.store() as store:
        store.call("SET", "k", "v")
    running.restart()
    with running.store() as store:
        assert store.call("GET", "k") == b"v"


def test_without_persistence_nothing_survives(nodes):
    node = nodes.start(program=MINIMAL_NODE, datastore_persistence="none")
    with node.store() as store:
        store.call("SET", "k", "v")
    node.restart()
    with node.store() as store:
        assert store.call("GET", "k") is None


def test_a_killed_datastore_is_started_again_with_its_data_and_io_is_told(running):
    pid = running.pid_of("datastore")
    with running.store() as store:
        store.call("SET", "k", "v")
        store.call("WAITAOF", 1, 0, 2000)  # an error on servers that do not know it; then it was synced by the second
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: running.call("SETTING", "datastore_state") == b"down", 5)
    wait_for(lambda: running.call("SETTING", "datastore_state") == b"running", 10)
    row = running.row("datastore")
    assert row["pid"] not in (0, pid) and row["restarts"] == 1
    with running.store() as store:
        assert store.call("GET", "k") == b"v"


def test_it_ends_when_the_supervisor_is_killed(running):
    store = psutil.Process(running.pid_of("datastore"))
    running.kill()
    wait_for(lambda: not store.is_running() or store.status() == psutil.STATUS_ZOMBIE, 10)


def test_ctrl_c_reaches_it_only_after_the_workers_have_drained(running):
    with running.connect() as client:
        client.send("SLEEP", 500)
        wait_for(lambda: running.call("PING") == b"PONG")
        os.killpg(running.pid, signal.SIGINT)
        with running.store() as store:
            assert store.call("PING") == b"PONG"
        assert client.reply() == b"OK"
    assert running.wait() == ExitCode.OK
    ends = [line for line in running.log().splitlines() if "ended:" in line]
    assert "datastore" in ends[-1] and "exit code 0" in ends[-1]


def test_data_of_another_server_is_refused_with_the_fix(running):
    running.stop()
    directory = running.directory / "data" / "datastore"
    managed.write_record(directory, managed.StoreRecord("garnet", (1, 0, 0), "aof_everysec"))
    running.start(wait=False)
    assert running.wait() == ExitCode.BOOT_FAILED
    assert "was written by garnet 1.0.0" in running.log()
    assert "install garnet-server 1.0.0 or newer" in running.log()
    assert running.processes() == []


def test_a_datastore_that_cannot_start_stops_the_node_and_its_last_words_are_shown(running):
    running.stop()
    (manifest,) = (running.directory / "data" / "datastore" / "appendonlydir").glob("*.manifest")
    manifest.write_text("nonsense\n")
    running.start(wait=False)
    assert running.wait() == ExitCode.BOOT_FAILED
    (line,) = [line for line in running.log().splitlines() if "the node cannot start" in line]
    assert "datastore" in line and "datastore.log" in line and "AOF" in line


def test_with_servers_configured_none_is_run(nodes, running):
    node = nodes.start(program=MINIMAL_NODE, servers=[f"{running.runtime_dir}/datastore.sock:1"])
    assert "datastore" not in {row["name"] for row in node.status()["processes"]}
    assert node.status()["identity"]["datastore"] == f"{running.runtime_dir}/datastore.sock"
