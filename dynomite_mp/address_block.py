"""A block of loopback addresses, 127.A.B.1 to 127.A.B.254, that no other cluster or test on this machine uses.

One lock file a block says whether it is in use. It is locked with flock, so the block is free again when the last
process that has the file open is gone, however it ended.

    acquire    exclusive lock     nobody else has the block: write the owner into the file
               -> shared lock     kept; processes forked from here inherit it and keep the block, each for itself
    reclaim    shared lock        only if the file still names this owner: another process of the same cluster

Those who lock a block exclusively for as long as they use it (the tests) are kept out by the shared lock and keep us
out by theirs.

Invariant: whoever holds the shared lock of a block is, or was started by, the owner that the file names. Turning an
exclusive lock into a shared one is two steps for the kernel; who loses the lock in between counts it as taken.
"""

import contextlib
import fcntl
import os
import random
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from dynomite_mp.errors import DynomiteError

LOCKS = Path("/tmp/dynomite-mp-test-blocks")
CLIENT_PORT, PEER_PORT, STATS_PORT = 8102, 8101, 22222
PORTS = (CLIENT_PORT, PEER_PORT, STATS_PORT)
HOSTS_PER_BLOCK = 254
# From 64 up: low ones are what people use by hand.
PREFIXES = tuple(f"127.{a}.{b}" for a in range(64, 128) for b in range(1, 255))
# How long a process of the same cluster may hold the exclusive lock.
RECLAIM_S = 1.0
RECLAIM_POLL_S = 0.01


class NoAddresses(DynomiteError):
    """There is no block to be had, or no room in it."""


@dataclass(slots=True)
class AddressBlock:
    """A block in our name; it stays so until every process that inherited `fd` has closed it."""

    prefix: str
    fd: int

    @classmethod
    def acquire(cls, owner: str) -> "AddressBlock":
        """Some free block. Raises NoAddresses."""
        LOCKS.mkdir(exist_ok=True)
        with contextlib.suppress(PermissionError):
            LOCKS.chmod(0o777)
        start = random.randrange(len(PREFIXES))  # a random place, so that those who start together do not queue
        for prefix in PREFIXES[start:] + PREFIXES[:start]:
            block = cls._take_over(prefix, owner)
            if block is not None:
                return block
        raise NoAddresses("every block of loopback addresses is in use", f"{LOCKS} has their locks")

    @classmethod
    def reclaim(cls, prefix: str, owner: str) -> "AddressBlock | None":
        """The block that this owner had before, shared with the processes of its that still have it.

        None if it belongs to another owner by now.
        """
        deadline_s = time.monotonic() + RECLAIM_S
        while True:
            block = cls._take_over(prefix, owner) or cls._join(prefix, owner)
            if block is not None or time.monotonic() >= deadline_s:
                return block
            time.sleep(RECLAIM_POLL_S)

    @classmethod
    def _take_over(cls, prefix: str, owner: str) -> "AddressBlock | None":
        """With an exclusive lock, nobody else has the block."""
        fd = _open(prefix)
        if fd is None:
            return None
        if _lock(fd, fcntl.LOCK_EX):
            os.ftruncate(fd, 0)
            os.pwrite(fd, os.fsencode(owner), 0)
            if _lock(fd, fcntl.LOCK_SH):
                return cls(prefix, fd)
        os.close(fd)
        return None

    @classmethod
    def _join(cls, prefix: str, owner: str) -> "AddressBlock | None":
        fd = _open(prefix)
        if fd is None:
            return None
        if _lock(fd, fcntl.LOCK_SH) and _owner(fd) == os.fsencode(owner):
            return cls(prefix, fd)
        os.close(fd)
        return None

    def hosts(self, count: int) -> list[str]:
        """So many addresses on which nothing listens (somebody may listen on 0.0.0.0). Raises NoAddresses."""
        found: list[str] = []
        for number in range(1, HOSTS_PER_BLOCK + 1):
            if len(found) == count:
                break
            host = f"{self.prefix}.{number}"
            if all(port_is_free(host, port) for port in PORTS):
                found.append(host)
        if len(found) < count:
            raise NoAddresses(
                f"{count} addresses wanted, {self.prefix}.0/24 has {len(found)} with ports {PORTS} free",
                "see what listens on 0.0.0.0 (ss -ltn), or make the cluster smaller",
            )
        return found

    def release(self) -> None:
        """For this process; those that inherited the block keep it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def port_is_free(host: str, port: int) -> bool:
    """Whether it can be listened on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError:
            return False
    return True


def _open(prefix: str) -> int | None:
    """The lock file; None when it is another user's or no plain file (the directory is everybody's)."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(LOCKS / prefix, flags, 0o666)
    except OSError:
        return None


def _lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)
