"""The command line against real nodes: status, stop, reload, and the options of C Dynomite."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dynomite_mp.enums import ExitCode
from tests.e2e.harness import MINIMAL_NODE, REPO, AddressBlock, Node, Nodes, hear_interrupts, wait_for


@pytest.fixture
def minimal(nodes: Nodes) -> Node:
    return nodes.make(program=MINIMAL_NODE)


@pytest.fixture
def running(minimal: Node) -> Node:
    return minimal.start()


@pytest.fixture(scope="module")
def shared(block: AddressBlock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running node for the tests that only look at it."""
    made = Nodes(block, tmp_path_factory.mktemp("shared"))
    yield made.start(program=MINIMAL_NODE)
    made.destroy()


def conf(node: Node) -> tuple[str, str]:
    return "--conf", str(node.conf_path)


def dynomite(*arguments: str) -> "subprocess.CompletedProcess[str]":
    code = "from dynomite_mp.cli import dynomite_main; dynomite_main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


# ---- status ----------------------------------------------------------------------------------------------------------


def test_status_shows_every_process(shared):
    done = shared.command("status", *conf(shared))
    assert done.returncode == ExitCode.OK
    for row in shared.status()["processes"]:
        assert row["name"] in done.stdout and str(row["pid"]) in done.stdout
    assert "requests/s" in done.stdout and shared.conf["listen"] in done.stdout


def test_status_as_json_has_name_role_pid_and_state_of_each_process(shared):
    done = shared.command("status", "--json", *conf(shared))
    document = json.loads(done.stdout)
    rows = {(row["name"], row["role"], row["pid"], row["state"]) for row in document["processes"]}
    assert ("supervisor", "supervisor", shared.pid, "running") in rows and len(rows) == 6
    assert document["identity"]["data_dir"] == shared.conf["data_dir"]
    assert all(row["cpu_percent"] is not None and row["rss_bytes"] > 0 for row in document["processes"])


def test_status_without_conf_lists_the_nodes_of_this_user(shared):
    document = json.loads(shared.command("status", "--json", "--interval", "0.05").stdout)
    assert shared.pid in {node["supervisor_pid"] for node in document["nodes"]}


def test_status_answers_when_every_worker_hangs(running):
    for row in running.status()["processes"]:
        if row["role"] in ("io", "gossip", "replication", "admin"):
            os.kill(row["pid"], signal.SIGSTOP)
    wait_for(lambda: len(running.status()["problems"]) >= 4, 8)
    done = running.command("status", *conf(running))
    assert done.returncode == ExitCode.OK and "silent for" in done.stdout


def test_status_tells_a_node_that_is_not_running_from_one_whose_supervisor_is_gone(running):
    running.kill()
    done = running.command("status", *conf(running))
    assert done.returncode == ExitCode.STALE and "STALE" in done.stdout
    assert running.row("supervisor")["state"] == "gone"
    wait_for(lambda: not running.processes(), 10)
    running.start()
    running.stop()
    done = running.command("status", *conf(running))
    assert done.returncode == ExitCode.NOT_RUNNING and "is not running" in done.stderr


def test_status_watch_goes_on_until_it_is_interrupted(shared):
    watching = subprocess.Popen(
        [sys.executable, "-m", "dynomite_mp", "status", "--watch", "--interval", "0.05", *conf(shared)],
        cwd=REPO,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )
    assert watching.stdout is not None
    seen = 0
    while seen < 3:
        seen += "requests/s" in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    watching.stdout.close()
    assert watching.wait(5) == 0


# ---- stop and reload -------------------------------------------------------------------------------------------------


def test_stop_returns_when_the_last_process_is_gone(running):
    done = running.command("stop", *conf(running))
    assert done.returncode == ExitCode.OK, done.stderr
    assert running.wait(1) == ExitCode.OK
    assert running.processes() == []
    assert running.command("stop", *conf(running)).returncode == ExitCode.NOT_RUNNING


def test_stop_by_pidfile_and_with_force(minimal):
    pid_file = minimal.directory / "pid"
    minimal.start("--pid-file", str(pid_file))
    with minimal.connect() as client:
        client.send("SLEEP", 60_000)
        wait_for(lambda: minimal.call("PING") == b"PONG")
        assert minimal.command("stop", "--force", "--pid-file", str(pid_file)).returncode == ExitCode.OK
    assert minimal.wait(1) == ExitCode.FAILURE


def test_reload_reaches_the_node_and_refuses_a_broken_file(running):
    running.conf |= {"log_level": 7}
    running.write_conf()
    assert running.command("reload", *conf(running)).returncode == ExitCode.OK
    running.logged("log_level: 6 -> 7")
    running.conf_path.write_text("dyn_o_mite:\n  listen: nonsense\n")
    done = running.command("reload", *conf(running))
    assert done.returncode == ExitCode.CONFIG_INVALID and 'directive "listen"' in done.stderr


# ---- start -----------------------------------------------------------------------------------------------------------


def test_a_daemon_is_started_when_the_command_returns(minimal):
    pid_file = minimal.directory / "pid"
    log = minimal.directory / "log"
    minimal.write_conf()
    minimal.spawn("start", *conf(minimal), "--daemonize", "--pid-file", str(pid_file), "--output", str(log))
    assert minimal.wait() == ExitCode.OK
    assert minimal.call("PING") == b"PONG"
    assert os.getpgid(int(pid_file.read_text())) != minimal.pid
    assert minimal.command("stop", "--pid-file", str(pid_file)).returncode == ExitCode.OK
    assert "stopped" in log.read_text()


def test_a_daemon_that_cannot_start_says_so_and_fails(shared, nodes):
    second = nodes.make(program=MINIMAL_NODE, listen=shared.conf["listen"])
    second.write_conf()
    second.spawn("start", *conf(second), "--daemonize")
    assert second.wait() == ExitCode.BOOT_FAILED
    assert "address already in use" in second.log()


def test_a_daemon_whose_worker_cannot_boot_fails_with_that_code(nodes):
    node = nodes.make(program=MINIMAL_NODE, environ={"MINIMAL_BOOT_FAILURE": "admin"})
    node.write_conf()
    node.spawn("start", *conf(node), "--daemonize", "--output", str(node.directory / "log"))
    assert node.wait() == ExitCode.BOOT_FAILED


def test_a_start_that_logs_to_a_file_still_says_on_the_terminal_why_it_failed(shared, nodes):
    second = nodes.make(program=MINIMAL_NODE, listen=shared.conf["listen"])
    log = second.directory / "log"
    second.start("--output", str(log), wait=False)
    assert second.wait() == ExitCode.BOOT_FAILED
    assert "address already in use" in second.log() and "address already in use" in log.read_text()


def test_a_broken_file_is_reported_whole(minimal):
    minimal.conf_path.write_text("dyn_o_mite:\n  listen: nonsense\n  lissten: 1\n")
    for arguments in (("start",), ("start", "--test-conf")):
        done = minimal.command(*arguments, *conf(minimal))
        assert done.returncode == ExitCode.CONFIG_INVALID
        assert 'directive "listen"' in done.stderr and 'directive "lissten" is unknown' in done.stderr
    done = minimal.command("conf", "check", str(minimal.conf_path))
    assert done.returncode == ExitCode.CONFIG_INVALID


def test_a_valid_file_is_called_valid(minimal):
    minimal.write_conf()
    assert minimal.command("start", "--test-conf", *conf(minimal)).returncode == ExitCode.OK
    assert "is valid" in minimal.command("conf", "check", str(minimal.conf_path)).stdout


def test_a_data_dir_that_cannot_be_made_is_refused(minimal):
    (minimal.directory / "file").write_text("")
    minimal.conf |= {"data_dir": str(minimal.directory / "file" / "data")}
    minimal.start(wait=False)
    assert minimal.wait() == ExitCode.BOOT_FAILED
    assert "data_dir" in minimal.log()


# ---- small commands --------------------------------------------------------------------------------------------------


def test_hash_names_token_and_owners(nodes):
    first, second = nodes.cluster({"dc1": {"r1": 2}})
    first.write_conf()
    done = first.command("hash", "foo", *conf(first))
    assert done.returncode == 0
    assert "token 3303027599 (murmur)" in done.stdout
    assert f"dc1/r1  {first.conf['dyn_listen']}" in done.stdout  # beyond the largest token: the smallest owns it
    assert "this node" in done.stdout
    done = first.command("hash", "bar", *conf(first))
    assert "token 516654467" in done.stdout and f"{second.conf['dyn_listen']}" in done.stdout


def test_version_names_the_datastore(minimal):
    done = minimal.command("version")
    assert done.returncode == 0 and "dynomite-mp" in done.stdout and "datastore" in done.stdout


# ---- the command line of C Dynomite ----------------------------------------------------------------------------------


def test_the_options_of_c_dynomite_that_only_print():
    version = dynomite("-V")
    assert version.returncode == 0 and version.stderr.startswith("This is dynomite-")
    usage = dynomite("-h")
    assert usage.returncode == 0 and "--conf-file" in usage.stderr
    stats = dynomite("--describe-stats")
    assert stats.returncode == 0 and "client_eof" in stats.stdout


@pytest.mark.parametrize("arguments", [("-y", "1"), ("-v", "x"), ("-m", "0"), ("-x", "0"), ("-x", "1"), ("--gossip",)])
def test_what_c_dynomite_refuses_is_refused_with_1(arguments):
    done = dynomite(*arguments)
    assert done.returncode == 1 and done.stderr.startswith("dynomite: ")


def test_c_dynomite_says_whether_the_syntax_is_valid(minimal):
    path = str(minimal.write_conf())
    good = dynomite("-t", "-c", path)
    assert good.returncode == 0
    assert good.stderr == f"dynomite: configuration file '{path}' syntax is valid\n"
    minimal.conf_path.write_text("nonsense")
    bad = dynomite("--test-conf", f"--conf-file={path}")
    assert bad.returncode == 1
    assert bad.stderr.endswith(f"dynomite: configuration file '{path}' syntax is invalid\n")


def test_a_start_with_the_options_of_c_dynomite_fails_with_1(shared, nodes):
    second = nodes.make(listen=shared.conf["listen"])
    second.write_conf()
    done = dynomite("-c", str(second.conf_path), "-p", str(second.directory / "pid"), "-v", "11", "-m", "16384")
    assert done.returncode == 1
    assert "address already in use" in done.stderr and "-m is deprecated" in done.stderr
