"""One node of a cluster on this machine: where its things are, whether it runs, and how it is ended.

It is found by its data directory: the counter slab and the lock file there are all that is needed, so this works for
whoever started the node, and after a kill of its supervisor.

Invariants:
- A process is signalled by a descriptor that was opened before it was seen to hold the node's lock file, so a signal
  never reaches a stranger that was given an old pid.
- "Runs" means that some process holds the lock: a worker that outlived its supervisor is still the node.
"""

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dynomite_mp.address_block import CLIENT_PORT, PEER_PORT, STATS_PORT
from dynomite_mp.errors import DynomiteError
from dynomite_mp.ipc.segment import slab_name, unlink
from dynomite_mp.ipc.slab import Slab, SlabError
from dynomite_mp.pidfile import holder

if TYPE_CHECKING:
    from dynomite_mp.status import NodeStatus

STOP_TIMEOUT_S = 30.0  # longer than drain_timeout_ms by default and the shutdown of a datastore
KILL_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 1.0
POLL_S = 0.01


class LocalClusterError(DynomiteError):
    """The cluster or one of its nodes did not do what it was told."""


@dataclass(frozen=True, slots=True)
class LocalNode:
    """One node. `starter` starts it: the addresses and the processes are the cluster's."""

    name: str
    datacenter: str
    rack: str
    host: str
    token: int
    directory: Path
    runtime_dir: Path
    starter: Callable[["LocalNode"], None] = field(repr=False, compare=False)

    @property
    def client_address(self) -> str:
        return f"{self.host}:{CLIENT_PORT}"

    @property
    def peer_address(self) -> str:
        return f"{self.host}:{PEER_PORT}"

    @property
    def stats_url(self) -> str:
        return f"http://{self.host}:{STATS_PORT}"

    @property
    def conf_path(self) -> Path:
        return self.directory / "node.yml"

    @property
    def log_path(self) -> Path:
        return self.directory / "node.log"

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def lock_path(self) -> Path:
        return self.data_dir / "lock"

    @property
    def store_path(self) -> Path:
        """The socket of its datastore."""
        return self.runtime_dir / "datastore.sock"

    # -- looking -----------------------------------------------------------------------------------------------------

    @property
    def slab_name(self) -> str:
        return slab_name(self.data_dir)

    @property
    def runs(self) -> bool:
        """Whether any of its processes is left. One that is ending has closed the lock before its pid is free."""
        return holder(self.lock_path) is not None or self.pid is not None

    @property
    def pid(self) -> int | None:
        """Of the supervisor; None when there is none."""
        slab = self._slab()
        return None if slab is None or slab.is_stale else slab.supervisor_pid

    def status(self) -> "NodeStatus | None":
        """What `status` knows of it, without rates; None if there is nothing to read."""
        from dynomite_mp import status

        with contextlib.suppress(SlabError):
            return status.collect(self.slab_name, interval_s=0.0)
        return None

    def accepts(self) -> bool:
        """Whether a client can connect."""
        try:
            with socket.create_connection((self.host, CLIENT_PORT), timeout=CONNECT_TIMEOUT_S):
                return True
        except OSError:
            return False

    def last_words(self) -> str:
        """The line of its log that says why it ended, else the last one."""
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        critical = [line for line in lines if "critical" in line]
        return "".join((critical or lines)[-1:])

    def _slab(self) -> Slab | None:
        with contextlib.suppress(SlabError):
            return Slab.open(self.slab_name)
        return None

    # -- starting and ending -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Until it serves. Raises LocalClusterError."""
        self.starter(self)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Let it drain, and wait until its last process is gone."""
        self.terminate()
        self.wait_ended(timeout_s)

    def terminate(self) -> None:
        """SIGTERM to the supervisor. Without one, its processes are draining by themselves."""
        self.signal(signal.SIGTERM, supervisor_only=True)

    def kill(self, timeout_s: float = KILL_TIMEOUT_S) -> None:
        """SIGKILL to all its processes, the supervisor first so that it starts no other, and wait."""
        deadline_s = time.monotonic() + timeout_s
        while self.runs:
            self.signal(signal.SIGKILL, wait_until_s=deadline_s)
            if time.monotonic() >= deadline_s:
                raise LocalClusterError(f"{self.name} does not end", f"see which processes hold {self.lock_path}")
            time.sleep(POLL_S)

    def signal(self, number: signal.Signals, *, supervisor_only: bool = False, wait_until_s: float = 0.0) -> None:
        """To all processes of the node, or the supervisor alone; then wait for their end, if a time is given."""
        with contextlib.ExitStack() as stack:
            found = [stack.enter_context(process) for process in self._own_processes(supervisor_only)]
            for process in found:
                process.send(number)
            for process in found if wait_until_s else ():
                process.wait_ended(wait_until_s)

    def wait_ended(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while self.runs:
            if time.monotonic() >= deadline_s:
                raise LocalClusterError(f"{self.name} has not ended after {timeout_s:g} s", f"see {self.log_path}")
            time.sleep(POLL_S)

    def forget_slab(self) -> None:
        """The counters that a killed node left in shared memory."""
        slab = self._slab()
        if slab is not None and slab.is_stale:
            unlink(self.slab_name)

    def _own_processes(self, supervisor_only: bool) -> Iterator["OwnProcess"]:
        """Supervisor first. A node that is starting has no counters yet, but a pid in its lock file."""
        slab = self._slab()
        pids = [holder(self.lock_path) or 0, slab.supervisor_pid if slab is not None and not slab.is_stale else 0]
        if slab is not None and not supervisor_only:
            pids += [process.pid for process in slab.processes()]
        for pid in dict.fromkeys(filter(None, pids)):
            process = OwnProcess.open(pid, self.lock_path)
            if process is not None:
                yield process


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """A process that was seen to hold the node's lock; the descriptor stands for it and for no other."""

    pid: int
    fd: int

    @classmethod
    def open(cls, pid: int, lock: Path) -> "OwnProcess | None":
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return None
        if has_open(pid, lock):
            return cls(pid, fd)
        os.close(fd)
        return None

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.fd, number)

    def wait_ended(self, deadline_s: float) -> None:
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000)

    def __enter__(self) -> "OwnProcess":
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)


def has_open(pid: int, path: Path) -> bool:
    """Whether the process has this very file open."""
    with contextlib.suppress(OSError):
        wanted = path.stat()
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(fd.stat(), wanted):
                    return True
    return False
