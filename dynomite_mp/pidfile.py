"""Files that are locked as long as a node lives: the pidfile and the lock of the data directory.

The lock is an flock, so it belongs to the open file description and not to a process: every worker and the managed
datastore inherit it on purpose. Taken means "something of that node still runs", even when its supervisor was killed;
free means "the node is gone". The pid inside the file only says whom to signal.

Invariant: nobody calls LOCK_UN. The lock goes when the last holder closes the file, which is when it ends.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from dynomite_mp.errors import DynomiteError

LOCK_NAME = "lock"  # of the file in a data directory


class Held(DynomiteError):
    """Another process has the lock; `pid` is the one written in the file, 0 if none is."""

    def __init__(self, path: Path, pid: int) -> None:
        self.path = path
        self.pid = pid
        who = f"by the node with pid {pid}" if pid else "by another process"
        super().__init__(f"{path} is locked {who}", "stop that node first (dynomite-mp stop), or use another data_dir")


@dataclass(frozen=True, slots=True)
class LockedFile:
    """An open, locked file; it stays locked until every process that inherited `fd` is gone."""

    path: Path
    fd: int

    @classmethod
    def acquire(cls, path: Path, mode: int = 0o644) -> "LockedFile":
        """Lock the file and write our pid into it. Raises Held."""
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = _pid_in(fd)
                os.close(fd)
                raise Held(path, pid) from None
            if _still_there(path, fd):
                break
            os.close(fd)  # its former owner removed it between our open and our lock
        locked = cls(path, fd)
        locked.write_pid(os.getpid())
        return locked

    def write_pid(self, pid: int) -> None:
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{pid}\n".encode(), 0)

    def remove(self) -> None:
        """Take the file away while the lock is still held, so that nobody finds a name without a node."""
        self.path.unlink(missing_ok=True)


def holder(path: Path) -> int | None:
    """The pid written in a file that is locked by somebody; None when nobody holds it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(fd)
    else:
        return None
    finally:
        os.close(fd)


def _pid_in(fd: int) -> int:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _still_there(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
