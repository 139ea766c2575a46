"""A node as a set of processes: who is restarted, who is stopped, what a signal does, and that nobody is left over."""

import os
import signal
import socket
from pathlib import Path

import psutil
import pytest

from dynomite_mp.enums import ExitCode
from tests.e2e.harness import MINIMAL_NODE, Node, Nodes, Resp, open_paths, wait_for

WORKERS = ("io[0]", "gossip", "replication", "admin")


@pytest.fixture
def minimal(nodes: Nodes) -> Node:
    """Not started yet."""
    return nodes.make(program=MINIMAL_NODE)


@pytest.fixture
def running(minimal: Node) -> Node:
    return minimal.start()


def replaced(node: Node, name: str, pid: int) -> dict:
    """The row of a process, once another pid runs in its place."""

    def row():
        found = node.row(name)
        return found if found["pid"] not in (0, pid) and found["state"] == "running" else None

    return wait_for(row, 15, f"{name} to be replaced")


# ---- start -----------------------------------------------------------------------------------------------------------


def test_the_started_pid_is_the_supervisor_and_every_process_says_what_it_is(running):
    rows = {row["name"]: row for row in running.status()["processes"]}
    assert rows.keys() == {"supervisor", "datastore", *WORKERS}
    assert rows["supervisor"]["pid"] == running.pid
    assert {row["state"] for row in rows.values()} == {"running"}
    for name, row in rows.items():
        title = " ".join(psutil.Process(row["pid"]).cmdline())
        assert title.startswith(f"dynomite-mp: {name} localdc/localrack"), title
    assert {process.pid for process in running.processes()} == {row["pid"] for row in rows.values()}


def test_a_worker_holds_its_own_descriptors_only(running):
    """A listening socket or a lifeline left open in a sibling would keep them alive."""

    def listening(name: str) -> set[str]:
        found = psutil.Process(running.pid_of(name)).net_connections("inet")
        return {f"{c.laddr.ip}:{c.laddr.port}" for c in found if c.status == psutil.CONN_LISTEN}

    conf = running.conf
    assert listening("io[0]") == {conf["listen"], conf["dyn_listen"]}
    assert listening("admin") == {conf["stats_listen"]}
    assert listening("gossip") == listening("replication") == set()
    # Of the supervisor's pipes a worker has the reading end of the lifeline, and nothing else.
    ours = {path for path in open_paths(running.pid) if path.startswith("pipe:")}
    for name in WORKERS:
        folder = Path(f"/proc/{running.pid_of(name)}/fd")
        shared = [fd for fd in folder.iterdir() if str(fd.readlink()) in ours]
        assert [fd.lstat().st_mode & 0o600 for fd in shared] == [0o400], f"{name}: {shared}"
    assert not any(path.startswith("pipe:") for path in open_paths(running.pid_of("datastore")) & ours)
    assert str(running.lock_path) in open_paths(running.pid_of("datastore"))


def test_a_second_start_of_the_same_node_is_refused(running, nodes):
    second = nodes.make(program=MINIMAL_NODE)
    second.conf |= {"data_dir": running.conf["data_dir"]}
    second.start(wait=False)
    assert second.wait() == ExitCode.ALREADY_RUNNING
    assert f"is locked by the node with pid {running.pid}" in second.log()
    assert running.call("PING") == b"PONG"


def test_an_address_in_use_is_refused_and_named(running, nodes):
    second = nodes.make(program=MINIMAL_NODE, dyn_listen=running.conf["dyn_listen"])
    second.start(wait=False)
    assert second.wait() == ExitCode.BOOT_FAILED
    assert f"cannot listen on {running.conf['dyn_listen']} (`dyn_listen:`): address already in use" in second.log()
    assert second.processes() == []


@pytest.mark.parametrize("role", ["io", "admin"])
def test_a_worker_that_cannot_boot_stops_the_node_with_its_reason(nodes, role):
    node = nodes.make(program=MINIMAL_NODE, environ={"MINIMAL_BOOT_FAILURE": role})
    node.start(wait=False)
    assert node.wait() == ExitCode.BOOT_FAILED
    assert "the node cannot start" in node.log() and "no luck today; try tomorrow" in node.log()
    wait_for(lambda: not node.processes(), 5, "all processes to be gone")


def test_two_io_workers_have_a_socket_each_and_one_survives_the_other(nodes):
    node = nodes.start(program=MINIMAL_NODE, io_workers=2)
    wait_for(lambda: len({node.call("PID") for _ in range(20)}) == 2, 5, "both workers to serve")
    first, second = node.pid_of("io[0]"), node.pid_of("io[1]")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: node.call("PID") == second, 5)
    replaced(node, "io[0]", first)
    assert node.pid_of("io[1]") == second


def test_the_pidfile_holds_the_pid_and_goes_with_the_node(minimal):
    pid_file = minimal.directory / "node.pid"
    minimal.start("--pid-file", str(pid_file))
    assert pid_file.read_text() == f"{minimal.pid}\n"
    assert minimal.stop() == ExitCode.OK
    assert not pid_file.exists()


# ---- crash -----------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_the_others_stay(running):
    for name in WORKERS:
        before = {row["name"]: row["pid"] for row in running.status()["processes"]}
        os.kill(before[name], signal.SIGKILL)
        row = replaced(running, name, before[name])
        assert row["restarts"] == 1 and row["last_exit"] == 128 + signal.SIGKILL
        after = {row["name"]: row["pid"] for row in running.status()["processes"]}
        assert {name: pid for name, pid in after.items() if before[name] != pid} == {name: row["pid"]}
        assert running.call("PING") == b"PONG"


def test_a_client_that_connects_while_no_worker_runs_is_served_by_the_next(running):
    pid = running.pid_of("io[0]")
    os.kill(pid, signal.SIGSTOP)
    with running.connect() as client:  # the kernel queues it in the socket that the supervisor keeps
        client.send("BOOT")
        os.kill(pid, signal.SIGKILL)
        assert client.reply() == 2


def test_a_restarted_worker_hears_what_was_set_and_gets_the_topology(running):
    running.signal(signal.SIGTTIN)
    running.logged("is ready")
    wait_for(lambda: running.call("SETTING", "log_level") == b"7", 5)
    with running.connect() as client:
        client.send("CRASH")
    wait_for(lambda: running.call("BOOT") == 2, 5)
    wait_for(lambda: running.call("SETTING", "log_level") == b"7", 5)


def test_a_crash_loop_ends_with_a_closed_door_and_reload_opens_it(nodes):
    node = nodes.start(program=MINIMAL_NODE)
    for boot in range(1, 5):
        wait_for(lambda expected=boot: node.call("BOOT") == expected, 5)
        with node.connect() as client:
            client.send("CRASH")
    wait_for(lambda: node.row("io[0]")["state"] == "failed", 5, "the io worker to be given up")
    with pytest.raises(ConnectionRefusedError):
        node.connect()
    assert any("io[0] crashed too often" in problem for problem in node.status()["problems"])
    assert node.row("gossip")["state"] == "running"
    node.signal(signal.SIGHUP)
    wait_for(lambda: node.call("PING") == b"PONG", 5)


# ---- hang ------------------------------------------------------------------------------------------------------------


def test_a_hanging_loop_is_aborted_with_a_stack_dump_and_replaced(running):
    pid = running.pid_of("io[0]")
    with running.connect() as client:
        client.send("HANG")
        row = replaced(running, "io[0]", pid)
    assert row["last_exit"] == 128 + signal.SIGABRT
    assert "SIGABRT" in running.log() and "minimal_workers.py" in running.log()


def test_a_stopped_worker_is_killed_and_replaced(running):
    pid = running.pid_of("io[0]")
    with running.connect() as client:
        client.send("STOP")
        row = replaced(running, "io[0]", pid)
    assert row["last_exit"] == 128 + signal.SIGKILL


def test_a_node_that_was_stopped_as_a_whole_goes_on_with_the_same_processes(running):
    """Longer than the liveness limit of this node, 2 s."""
    before = {row["name"]: row["pid"] for row in running.status()["processes"]}
    stopped = [psutil.Process(pid) for pid in before.values()]
    for process in stopped:
        process.suspend()
    try:
        wait_for(lambda: running.row("io[0]")["silent_ms"] > 3_500, 10)
    finally:
        for process in stopped:
            process.resume()
    wait_for(lambda: "the liveness clocks start again" in running.log(), 5)
    wait_for(lambda: not running.status()["problems"], 5)
    assert {row["name"]: row["pid"] for row in running.status()["processes"]} == before


# ---- stop ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_is_in_flight_and_takes_nothing_new(running, number):
    with running.connect() as client:
        client.send("SLEEP", 700)
        wait_for(lambda: running.call("PING") == b"PONG")
        if number == signal.SIGINT:
            os.killpg(running.pid, number)  # as Ctrl-C in a terminal does
        else:
            running.signal(number)
        wait_for(lambda: refuses(running), 5, "new clients to be refused")
        assert client.reply() == b"OK"
    assert running.wait() == ExitCode.OK
    assert running.processes() == []
    assert not running.has_status()


def refuses(node: Node) -> bool:
    """Whether nobody serves a new client: the supervisor's copy of the socket still takes the connection."""
    try:
        with Resp(node.host, timeout_s=0.2) as client:
            client.call("PING")
    except (ConnectionError, TimeoutError):
        return True
    return False


def test_the_second_signal_does_not_wait(running):
    with running.connect() as client:
        client.send("SLEEP", 60_000)
        wait_for(lambda: running.call("PING") == b"PONG")
        running.signal(signal.SIGTERM)
        wait_for(lambda: running.row("io[0]")["state"] == "draining", 5)
        running.signal(signal.SIGTERM)
        assert running.wait(8) == ExitCode.FAILURE
    assert running.processes() == []


def test_a_worker_that_does_not_drain_in_time_is_killed(nodes):
    node = nodes.start(program=MINIMAL_NODE, drain_timeout_ms=300)
    with node.connect() as client:
        client.send("HANG")
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.reply()
        node.signal(signal.SIGTERM)
        assert node.wait(15) == ExitCode.OK
    assert "SIGKILL" in node.log() or "SIGABRT" in node.log()


def test_when_the_supervisor_is_killed_the_others_finish_and_leave(running):
    with running.connect() as client:
        client.send("SLEEP", 700)
        wait_for(lambda: running.call("PING") == b"PONG")
        running.kill()
        assert client.reply() == b"OK"
    wait_for(lambda: not running.processes(), 10, "the orphans to leave")


def test_the_next_start_waits_for_the_orphans_and_replaces_the_stale_slab(running):
    orphan = running.pid_of("io[0]")
    with running.connect() as client:
        client.send("SLEEP", 60_000)
        wait_for(lambda: running.call("PING") == b"PONG")
        running.kill()
        assert running.status()["is_stale"]
        running.start(wait=False)
        running.logged("waiting until its processes have ended")
        os.kill(orphan, signal.SIGKILL)
        running.wait_ready()
    assert not running.status()["is_stale"]
    assert running.call("PING") == b"PONG"


# ---- signals and the service manager ---------------------------------------------------------------------------------


def test_reload_says_what_is_in_force_and_what_is_not(running):
    running.conf |= {"log_level": 7, "backlog": 77}
    running.write_conf()
    running.signal(signal.SIGHUP)
    running.logged("log_level: 6 -> 7, in force now")
    running.logged("backlog: 512 -> 77, takes effect at the next start")
    wait_for(lambda: running.call("SETTING", "log_level") == b"7", 5)


def test_a_broken_file_changes_nothing(running):
    running.conf_path.write_text("dyn_o_mite:\n  lissten: 127.0.0.1:1\n")
    running.signal(signal.SIGHUP)
    running.logged("the node goes on as it was")
    assert "did you mean 'listen'" in running.log()
    assert running.call("PING") == b"PONG"


def test_the_log_file_can_be_rotated(minimal):
    log = minimal.directory / "out.log"
    minimal.start("--output", str(log))
    log.rename(minimal.directory / "out.1")
    minimal.signal(signal.SIGHUP)
    wait_for(lambda: log.exists() and "reload" in log.read_text(), 5)
    os.kill(minimal.pid_of("io[0]"), signal.SIGTERM)  # a worker writes to the new file, too
    wait_for(lambda: "process=io[0]" in log.read_text(), 5)
    assert minimal.log() == ""


def test_ttin_and_ttou_change_the_log_level_of_all(running):
    running.signal(signal.SIGTTIN)
    wait_for(lambda: running.call("SETTING", "log_level") == b"7", 5)
    running.signal(signal.SIGTTOU)
    wait_for(lambda: running.call("SETTING", "log_level") == b"6", 5)


def test_the_service_manager_is_told(minimal):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(minimal.directory / "n"))
        manager.settimeout(10)
        minimal.environ |= {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "400000"}
        minimal.start()

        def told(what: str) -> str:
            while what not in (text := manager.recv(4096).decode()):
                pass
            return text

        assert f"MAINPID={minimal.pid}" in told("READY=1")
        told("WATCHDOG=1")
        minimal.signal(signal.SIGHUP)
        told("RELOADING=1")
        told("READY=1")
        minimal.signal(signal.SIGTERM)
        told("STOPPING=1")
        assert minimal.wait() == ExitCode.OK
