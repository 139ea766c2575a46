"""Starting processes and reading how they ended: fork for workers, fork and exec for the datastore.

Not here: which process, when and why (`restart_policy`), and what a worker does after the fork (`workers.base`).

Invariants:
- Signals are blocked from before the fork until the child has thrown away what it inherited, so a signal can never
  run the supervisor's handling inside a child.
- A child never returns into the code of its parent.
- An executed program dies with the supervisor (PDEATHSIG), also when the supervisor is killed before the child asked
  for that.
"""

import contextlib
import os
import resource
import signal
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from dynomite_mp.enums import ExitCode
from dynomite_mp.restart_policy import Exit

_PR_SET_PDEATHSIG = 1
_CAUGHT_IN_CHILD = ("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD", "SIGTTIN", "SIGTTOU", "SIGUSR1")


def fork_worker(child_main: Callable[[], None]) -> int:
    """Fork; in the child run `child_main`, which is expected never to return. All signals are blocked in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _run_and_exit(child_main)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def fork_program(argv: Sequence[str], *, directory: str, output_fd: int, inherit: Iterable[int]) -> int:
    """Start a program in a process group of its own, so that Ctrl-C in a terminal does not reach it before the drain.

    Its input is /dev/null, its output goes to `output_fd`; of our files it gets only those in `inherit`.
    """
    supervisor_pid = os.getpid()

    def execute() -> None:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for name in _CAUGHT_IN_CHILD:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        die_with(supervisor_pid)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output_fd, 1), (output_fd, 2)):
            os.dup2(source, target)
        pass_on({0, 1, 2, *inherit})
        os.chdir(directory)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execv(argv[0], list(argv))

    return fork_worker(execute)


def pass_on(fds: Collection[int]) -> None:
    """Of all open descriptors only these survive an exec; we may have inherited others ourselves."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a Path per descriptor is all it would add
        with contextlib.suppress(OSError):  # the directory's own descriptor is gone by now
            os.set_inheritable(int(name), int(name) in fds)


def die_with(parent_pid: int) -> None:
    """SIGTERM to this process when its parent ends; at once if the parent is gone already."""
    import ctypes  # only this child needs it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        os._exit(ExitCode.FAILURE)


def reap() -> Iterator[tuple[int, Exit]]:
    """Every child that has ended since the last call, also those we know nothing about (pid 1 of a container)."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, read_status(status)


def read_status(status: int) -> Exit:
    if os.WIFSIGNALED(status):
        return Exit(signal=os.WTERMSIG(status))
    return Exit(code=os.WEXITSTATUS(status))


def kill(pid: int, number: signal.Signals) -> bool:
    """Signal a child that is not reaped yet; False when it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def raise_file_limit() -> tuple[int, int]:
    """As many files as we may have: a connection is a file. Returns (soft, hard)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # an unlimited hard limit, above the kernel's maximum
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def _run_and_exit(child_main: Callable[[], None]) -> None:
    try:
        child_main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(ExitCode.BOOT_FAILED)
