"""The contenders of a benchmark: what each is, how it is started, where it listens, which processes are it.

A contender is a proxy with a datastore of its own behind it (the same binary for all), or that datastore alone. Each
start writes a configuration into a temporary directory and waits for the first +PONG.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.load import process_tree
from tests.load.bare_store import BareStore, Child, free_port, own_address, wait_for_ping

TOKEN = 101134286
OTHER_TREE, OTHER_TREE_VARIABLE = "other-tree", "DYNOMITE_MP_OTHER_TREE"


@dataclass
class Peer:
    """One running contender."""

    name: str
    version: str
    host: str
    port: int
    root_pid: int
    store: BareStore
    proxy: Child | None = None

    def pids(self) -> list[int]:
        """The processes that are measured: the proxy's whole tree, or the datastore when there is no proxy."""
        return [self.store.pid] if self.proxy is None else process_tree.tree(self.root_pid)

    def coordinator_pids(self) -> list[int]:
        """Of one node there is no other part."""
        return self.pids()

    def store_pids(self) -> list[int]:
        """The datastores behind the proxy; none when the datastore is what is measured."""
        return [] if self.proxy is None else [self.store.pid]

    def settle(self) -> None:
        """Nothing is left to do when the last answer has come."""

    def stop(self) -> None:
        if self.proxy is not None:
            self.proxy.stop()
        self.store.__exit__(None, None, None)


class PeerMissingError(RuntimeError):
    """A contender that this machine does not have; says what would bring it."""


def first_line(command: list[str]) -> str:
    """The first line that a command prints: its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def _start_proxy(name: str, version: str, command: list[str], directory: Path, port: int, store: BareStore,
                 end_signal: int = signal.SIGTERM, death_signal: int = signal.SIGKILL,
                 env: dict[str, str] | None = None) -> Peer:  # fmt: skip
    proxy = Child(command, directory / f"{name}.log", end_signal=end_signal, death_signal=death_signal, env=env)
    try:
        wait_for_ping(own_address(), port, child=proxy.process)
    except (RuntimeError, TimeoutError) as error:
        proxy.stop()
        store.stop()
        raise RuntimeError(f"{name} did not start: {error}\n{proxy.last_log_lines()}") from error
    return Peer(name, version, own_address(), port, proxy.pid, store, proxy)


def start_redis(directory: Path, base_port: int) -> Peer:
    """The datastore itself, with nothing in front."""
    store = BareStore(port=free_port(own_address(), base_port))
    return Peer("redis", first_line([store.command[0], "--version"]), store.host, store.port, store.pid, store)


def start_nutcracker(directory: Path, base_port: int) -> Peer:
    """twemproxy, one server, murmur and ketama."""
    binary = shutil.which("nutcracker") or shutil.which("nutcracker", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise PeerMissingError("nutcracker is not installed (apt-get install nutcracker)")
    host = own_address()
    store = BareStore(port=free_port(host, base_port))
    port, stats_port = free_port(host, base_port + 1), free_port(host, base_port + 2)
    conf = directory / "nutcracker.yml"
    conf.write_text(
        f"bench:\n  listen: {host}:{port}\n  hash: murmur\n  distribution: ketama\n  redis: true\n  preconnect: true\n"
        f"  auto_eject_hosts: false\n  timeout: 5000\n  servers:\n  - {host}:{store.port}:1\n"
    )
    command = [binary, "-c", str(conf), "-a", host, "-s", str(stats_port)]
    return _start_proxy("nutcracker", first_line([binary, "-V"]), command, directory, port, store)


def _dynomite_conf(host: str, base_port: int, store_port: int) -> tuple[int, str]:
    """Client port and configuration text of a single node, in keys that C Dynomite and this project share."""
    listen, dyn_listen, stats = (free_port(host, base_port + n) for n in (1, 2, 3))
    return listen, (
        f"dyn_o_mite:\n  listen: {host}:{listen}\n  dyn_listen: {host}:{dyn_listen}\n  stats_listen: {host}:{stats}\n"
        f"  tokens: '{TOKEN}'\n  data_store: 0\n  servers:\n  - {host}:{store_port}:1\n"
    )


def start_dynomite_c(directory: Path, base_port: int) -> Peer:
    """The original, from the binary that DYNOMITE_BIN names."""
    binary = os.environ.get("DYNOMITE_BIN")
    if not binary:
        raise PeerMissingError("DYNOMITE_BIN names no C Dynomite binary")
    if not Path(binary).exists():
        raise PeerMissingError(f"DYNOMITE_BIN names {binary}, which does not exist")
    store = BareStore(port=free_port(own_address(), base_port))
    port, text = _dynomite_conf(own_address(), base_port, store.port)
    conf = directory / "dynomite-c.yml"
    conf.write_text(text)
    return _start_proxy("dynomite-c", first_line([binary, "-V"]), [binary, "-c", str(conf)], directory, port, store,
                        end_signal=signal.SIGKILL)  # fmt: skip


def node_command() -> list[str]:
    """How the node under test is called: DYNOMITE_MP, else this Python's dynomite_mp."""
    named = os.environ.get("DYNOMITE_MP")
    if named:
        return shlex.split(named)
    if importlib.util.find_spec("dynomite_mp.__main__") is None:
        raise PeerMissingError("this tree has no dynomite_mp/__main__.py yet, and DYNOMITE_MP names no command")
    return [sys.executable, "-m", "dynomite_mp"]


def start_node(directory: Path, base_port: int) -> Peer:
    """The node of this tree."""
    command = node_command()
    return _start_ours("dynomite-mp", first_line([*command, "version"]), command, directory, base_port)


def other_tree() -> Path:
    """Another checkout of this project, built, to measure a change against."""
    if OTHER_TREE_VARIABLE not in os.environ:
        raise PeerMissingError(f"{OTHER_TREE_VARIABLE} names no checkout")
    return Path(os.environ[OTHER_TREE_VARIABLE]).resolve()


def environ_of_tree(tree: Path) -> dict[str, str]:
    """What makes `python -m dynomite_mp` run the package of that checkout, wherever it is called."""
    return {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}


def start_other_tree(directory: Path, base_port: int) -> Peer:
    """The node of another checkout."""
    tree = other_tree()
    command = [sys.executable, "-m", "dynomite_mp"]
    return _start_ours(OTHER_TREE, str(tree), command, directory, base_port, {**os.environ, **environ_of_tree(tree)})


def _start_ours(name: str, version: str, command: list[str], directory: Path, base_port: int,
                env: dict[str, str] | None = None) -> Peer:  # fmt: skip
    store = BareStore(port=free_port(own_address(), base_port))
    port, text = _dynomite_conf(own_address(), base_port, store.port)
    conf = directory / f"{name}.yml"
    conf.write_text(f"{text}  data_dir: {directory / name}\n")
    return _start_proxy(name, version, [*command, "start", "--conf", str(conf)], directory, port, store,
                        death_signal=signal.SIGTERM, env=env)  # fmt: skip


STARTERS: dict[str, Callable[[Path, int], Peer]] = {
    "dynomite-mp": start_node,
    OTHER_TREE: start_other_tree,
    "redis": start_redis,
    "nutcracker": start_nutcracker,
    "dynomite-c": start_dynomite_c,
}
