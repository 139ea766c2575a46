"""Forking and reading how it ended, with real children."""

import os
import signal

import pytest

from dynomite_mp import process
from dynomite_mp.enums import ExitCode
from dynomite_mp.restart_policy import Exit


def ended(pid: int) -> Exit:
    return process.read_status(os.waitpid(pid, 0)[1])


def test_a_child_runs_with_all_signals_blocked_and_the_parent_gets_its_mask_back():
    reading, writing = os.pipe()

    def child() -> None:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        os.write(writing, b"yes" if {signal.SIGTERM, signal.SIGCHLD} <= blocked else b"no")
        os._exit(0)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    pid = process.fork_worker(child)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert os.read(reading, 10) == b"yes"
    assert ended(pid) == Exit(code=0)
    os.close(reading)
    os.close(writing)


def test_a_child_never_returns_into_its_parent(capfd):
    assert ended(process.fork_worker(lambda: None)) == Exit(code=ExitCode.BOOT_FAILED)

    def fails() -> None:
        raise ValueError("told")

    assert ended(process.fork_worker(fails)) == Exit(code=ExitCode.BOOT_FAILED)
    assert "ValueError: told" in capfd.readouterr().err


def test_an_end_by_signal_is_told_from_an_exit_code():
    assert ended(process.fork_worker(lambda: os._exit(7))) == Exit(code=7)
    assert ended(process.fork_worker(lambda: os.kill(os.getpid(), signal.SIGKILL))) == Exit(signal=9)
    assert Exit(signal=9).shell_code == 137 and Exit(code=7).shell_code == 7


def run_program(tmp_path, script: str, inherit=()) -> str:
    output = tmp_path / "out"
    fd = os.open(output, os.O_WRONLY | os.O_CREAT)
    pid = process.fork_program(["/bin/sh", "-c", script], directory=str(tmp_path), output_fd=fd, inherit=inherit)
    os.close(fd)
    assert ended(pid) == Exit(code=0)
    return output.read_text()


def test_a_program_gets_its_own_group_its_directory_and_no_descriptors_of_ours(tmp_path):
    stray = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(stray, True)
    out = run_program(tmp_path, "pwd; ls /proc/self/fd; cut -d' ' -f5 /proc/self/stat; cat")
    os.close(stray)
    directory, *fds, group = out.split()
    assert directory == str(tmp_path)
    assert len(fds) == 4 and str(stray) not in fds  # 0, 1, 2 and the one by which ls reads the directory
    assert int(group) != os.getpgid(0)


def test_a_program_inherits_what_it_is_given(tmp_path):
    reading, writing = os.pipe()
    assert run_program(tmp_path, f"echo hello > /proc/self/fd/{writing}", inherit=[writing]) == ""
    assert os.read(reading, 10) == b"hello\n"
    os.close(reading)
    os.close(writing)


def test_a_program_dies_when_its_parent_is_killed(tmp_path):
    """The parent here is a child of ours, which executes `sleep` and is killed."""
    reading, writing = os.pipe()

    def parent() -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        pid = process.fork_program(["/bin/sleep", "60"], directory="/", output_fd=null, inherit=[writing])
        os.waitpid(pid, 0)

    pid = process.fork_worker(parent)
    os.close(writing)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert os.read(reading, 1) == b""  # the last holder of the writing end, sleep, is gone
    os.close(reading)


def test_reap_takes_every_child_that_has_ended():
    pids = {process.fork_worker(lambda: os._exit(3)) for _ in range(3)}
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    seen = dict(process.reap())
    assert {pid: seen.get(pid) for pid in pids} == dict.fromkeys(pids, Exit(code=3))


def test_a_signal_to_a_process_that_is_gone_is_no_error():
    pid = process.fork_worker(lambda: os._exit(0))
    os.waitpid(pid, 0)
    assert process.kill(pid, signal.SIGTERM) is False


@pytest.mark.parametrize("ask", [process.raise_file_limit])
def test_the_file_limit_is_raised_to_the_hard_one(ask):
    soft, hard = ask()
    assert soft == hard
