"""A whole cluster on this machine: up, its nodes one by one, down."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynomite_mp.enums import ExitCode
from dynomite_mp.local_cluster import LocalCluster, LocalClusterError
from dynomite_mp.local_layout import Layout
from dynomite_mp.local_node import LocalNode
from tests.e2e.harness import BLOCKS, REPO, Resp, hear_interrupts, wait_for
from tests.unit.test_local_cluster import is_locked

SETTINGS = {"datastore_persistence": "none"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes in racks of one and two."""
    with LocalCluster.create(Layout.parse(["dc1=1,2"]), tmp_path / "c", SETTINGS) as made:
        made.up()
        yield made


def answers(node: LocalNode) -> bool:
    with Resp(node.host) as client:
        return bool(client.call("PING") == b"PONG")


def pids_of(node: LocalNode) -> dict[str, int]:
    found = node.status()
    assert found is not None
    return {row.name: row.pid for row in found.processes}


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def cluster_command(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dynomite_mp", "cluster", *arguments, "--directory", str(directory)],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# ---- the library -----------------------------------------------------------------------------------------------------


def test_every_node_serves_and_has_all_its_processes(cluster):
    assert [node.name for node in cluster.nodes] == ["dc1-rack1-1", "dc1-rack2-1", "dc1-rack2-2"]
    assert all(answers(node) for node in cluster.nodes)
    pids = [pid for node in cluster.nodes for pid in pids_of(node).values()]
    assert len(set(pids)) == 18 and all(map(is_there, pids))
    for node in cluster.nodes:
        assert os.getsid(node.pid) == node.pid
        title = Path(f"/proc/{node.pid}/cmdline").read_bytes().rstrip(b"\0 ").decode()
        assert title == f"dynomite-mp: supervisor {node.datacenter}/{node.rack}"


def test_only_supervisors_keep_the_addresses(cluster):
    cluster.release()
    lock = BLOCKS / cluster.prefix
    holders = set()
    for node in cluster.nodes:
        for name, pid in pids_of(node).items():
            if any(str(fd.readlink()) == str(lock) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()):
                holders.add((node.name, name))
    assert holders == {(node.name, "supervisor") for node in cluster.nodes}
    assert is_locked(lock)
    for node in cluster.nodes:
        node.kill()
    assert not is_locked(lock)


def test_a_killed_node_is_gone_at_once_and_comes_back(cluster):
    victim = cluster.node("dc1-rack2-1")
    pids = pids_of(victim)
    victim.kill()
    assert not any(map(is_there, pids.values())) and victim.pid is None and not victim.runs
    assert answers(cluster.node("dc1-rack2-2"))
    victim.start()
    assert answers(victim) and victim.pid not in (None, pids["supervisor"])


def test_kill_ends_a_node_that_is_stopped_or_has_lost_its_supervisor(cluster):
    hung, orphaned = cluster.nodes[:2]
    hung.signal(signal.SIGSTOP)
    hung.kill()
    pids = pids_of(orphaned)
    os.kill(pids["io[0]"], signal.SIGSTOP)
    os.kill(pids["supervisor"], signal.SIGKILL)
    wait_for(lambda: orphaned.pid is None)
    assert orphaned.runs
    orphaned.kill()
    assert not any(map(is_there, pids.values()))


def test_a_stopped_node_comes_back_with_its_data(tmp_path):
    with LocalCluster.create(Layout.even(1, 1, 1), tmp_path / "c") as cluster:
        cluster.up()
        (node,) = cluster.nodes
        with Resp(node.host) as client:
            assert client.call("SET", "key", node.name) == b"OK"
        node.stop()
        assert not node.runs and not node.accepts()
        node.start()
        with Resp(node.host) as client:
            assert client.call("GET", "key") == node.name.encode()


def test_up_starts_what_does_not_run_and_leaves_the_rest(cluster):
    before = {node.name: node.pid for node in cluster.nodes}
    cluster.node("dc1-rack1-1").kill()
    LocalCluster.open(cluster.directory).up()
    after = {node.name: node.pid for node in cluster.nodes}
    assert after["dc1-rack2-1"] == before["dc1-rack2-1"] and after["dc1-rack1-1"] not in (None, before["dc1-rack1-1"])


def test_a_node_that_cannot_start_is_named_with_the_reason(tmp_path):
    with LocalCluster.create(Layout.even(1, 1, 2), tmp_path / "c", SETTINGS) as cluster:
        (cluster.nodes[1].data_dir / "datastore" / "appendonlydir").mkdir(parents=True)
        with pytest.raises(LocalClusterError, match=r"dc1-rack1-2 cannot start: .*append-only"):
            cluster.up()


def test_a_cluster_that_runs_is_not_changed(cluster):
    with pytest.raises(LocalClusterError, match="the cluster runs"):
        LocalCluster.create(cluster.layout, cluster.directory, {})


def test_down_ends_everything_even_a_node_that_hangs(tmp_path):
    with LocalCluster.create(Layout.even(1, 1, 2), tmp_path / "c", SETTINGS) as cluster:
        cluster.up()
        pids = [pid for node in cluster.nodes for pid in pids_of(node).values()]
        slabs = {node.slab_name for node in cluster.nodes}
        cluster.nodes[0].signal(signal.SIGSTOP)
        cluster.nodes[1].kill()
    assert not any(map(is_there, pids))
    assert not slabs & {f"/{path.name}" for path in Path("/dev/shm").iterdir()}
    assert not any(node.runtime_dir.exists() for node in cluster.nodes)
    assert not is_locked(BLOCKS / cluster.prefix)


# ---- the commands ----------------------------------------------------------------------------------------------------


def test_the_life_of_a_cluster_on_the_command_line(tmp_path):
    directory = tmp_path / "c"
    try:
        up = cluster_command(directory, "up", "--layout", "a=1", "--layout", "b=1", "--config", "timeout=700")
        assert up.returncode == ExitCode.OK, up.stderr
        found = {node["name"]: node for node in status(directory, ExitCode.OK)}
        assert list(found) == ["a-rack1-1", "b-rack1-1"] and "redis-cli -h" in up.stdout
        for node in found.values():
            assert node["state"] == "running" and node["listen"] in up.stdout and node["stats_url"] in up.stdout
            assert {row["state"] for row in node["status"]["processes"]} == {"running"}

        assert cluster_command(directory, "kill", "a-rack1-1").returncode == ExitCode.OK
        assert cluster_command(directory, "stop", "b-rack1-1").returncode == ExitCode.OK
        assert [node["state"] for node in status(directory, ExitCode.NOT_RUNNING)] == ["killed", "stopped"]
        assert cluster_command(directory, "start", "nobody").returncode == ExitCode.FAILURE
        assert cluster_command(directory, "start", "b-rack1-1").returncode == ExitCode.OK
        assert [node["state"] for node in status(directory, ExitCode.FAILURE)] == ["killed", "running"]

        again = cluster_command(directory, "up")
        assert again.returncode == ExitCode.OK, again.stderr
        assert [node["state"] for node in status(directory, ExitCode.OK)] == ["running", "running"]
        other = cluster_command(directory, "up", "--nodes", "5")
        assert other.returncode == ExitCode.FAILURE and "another layout" in other.stderr
        assert [node["state"] for node in status(directory, ExitCode.OK)] == ["running", "running"]
    finally:
        down = cluster_command(directory, "down", "--purge")
    assert down.returncode == ExitCode.OK, down.stderr
    assert not directory.exists()


def test_an_interrupted_up_leaves_nothing_running(tmp_path):
    directory = tmp_path / "c"
    with subprocess.Popen(
        [sys.executable, "-m", "dynomite_mp", "cluster", "up", "--nodes", "2", "--directory", str(directory)],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=hear_interrupts,
    ) as up:
        try:
            wait_for(lambda: any(directory.glob("*/data/lock")), 20)
            up.send_signal(signal.SIGINT)
            assert up.wait(30) == ExitCode.FAILURE
            cluster = LocalCluster.open(directory)
            # A supervisor that had not come to its own lock yet would still hold that of the block.
            assert not is_locked(BLOCKS / cluster.prefix)
            assert not any(node.runs for node in cluster.nodes)
        finally:
            up.kill()
            LocalCluster.open(directory).down()


def status(directory: Path, code: ExitCode) -> list[dict[str, object]]:
    done = cluster_command(directory, "status", "--json")
    assert done.returncode == code, done.stderr
    nodes: list[dict[str, object]] = json.loads(done.stdout)["nodes"]
    text = cluster_command(directory, "status")
    assert text.returncode == code and all(str(node["name"]) in text.stdout for node in nodes)
    return nodes
