"""A node of C Dynomite beside ours: same addresses, same configuration file, a bare datastore of its own.

    nodes.make(factory=CNode, datacenter="dc1", rack="rack1", tokens="0")

It is a Node to everybody who starts, stops, signals and asks it; what only our nodes have (status, slab) it has not.
The binary is the one that DYNOMITE_BIN names; `needs_c_dynomite` skips a test without one.

What a client of it may not do: HELLO, CLIENT SETINFO and everything else outside its own command table; it closes the
connection instead of answering.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from tests.e2e.harness import PEER_PORT, Node, Resp, conf_text, wait_for
from tests.load.bare_store import BareStore, die_with_parent

STORE_PORT = 22122
OUR_KEYS = {"data_dir", "runtime_dir", "io_workers", "datastore_persistence", "peer_silence_ms"}


def c_binary() -> str | None:
    """Path of C Dynomite, or None."""
    named = os.environ.get("DYNOMITE_BIN", "")
    return named if named and Path(named).exists() else None


needs_c_dynomite = pytest.mark.skipif(c_binary() is None, reason="DYNOMITE_BIN names no C Dynomite binary")


class CNode(Node):
    """One C Dynomite and its datastore."""

    def __init__(self, host: str, directory: Path, *, environ: Mapping[str, str] | None = None, **conf: Any) -> None:
        self.datastore: BareStore | None = None
        kept = {key: value for key, value in conf.items() if key not in OUR_KEYS}
        super().__init__(host, directory, environ=environ, **kept)
        for key in OUR_KEYS:
            self.conf.pop(key, None)
        self.conf["data_store"] = 0
        self.conf["servers"] = [f"{host}:{STORE_PORT}:1"]

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self, *arguments: str, wait: bool = True, timeout_s: float = 20.0) -> Self:
        if self.datastore is None:
            self.datastore = BareStore(self.host, STORE_PORT)
        self.conf_path.write_text(conf_text(self.conf))
        self.spawn("-c", str(self.conf_path), "-v", "3", *arguments)
        if wait:
            self.wait_ready(timeout_s)
        return self

    def spawn(self, *arguments: str) -> "subprocess.Popen[bytes]":
        binary = c_binary()
        assert binary is not None, "DYNOMITE_BIN names no C Dynomite binary"
        assert self.process is None or self.process.poll() is not None, f"{self} runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [binary, *arguments],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        return self.process

    def _is_ready(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        if code is not None:
            raise AssertionError(f"{self} ended with exit code {code}")
        return self.call("PING") == b"PONG"

    def destroy(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        if self.datastore is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.datastore.pid, signal.SIGCONT)
            self.datastore.__exit__(None, None, None)
            self.datastore = None

    # -- looking at it -----------------------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        if self.process is None or self.process.poll() is not None:
            return []
        return [psutil.Process(self.process.pid)]

    def connected_hosts(self) -> set[str]:
        """Hosts whose peer port it has an established connection to."""
        return {
            conn.raddr.ip
            for process in self.processes()
            for conn in process.net_connections("tcp")
            if conn.status == psutil.CONN_ESTABLISHED and conn.raddr and conn.raddr.port == PEER_PORT
        }

    def wait_connected(self, others: set[str], timeout_s: float = 15.0) -> None:
        """Until it has a connection to each of these hosts; it tries again after 1, 2, 4 s."""
        wait_for(lambda: others <= self.connected_hosts(), timeout_s, f"{self} to reach {sorted(others)}", poll_s=0.1)

    def store(self) -> Resp:
        return Resp(self.host, STORE_PORT)
