"""A whole cluster on one machine, for newcomers, tests and benchmarks: real nodes on loopback addresses of their own.

    with LocalCluster.create(Layout.even(2, 3, 2), directory, {"datastore_persistence": "none"}) as cluster:
        cluster.up()
        cluster.node("dc1-rack1-2").kill()
        cluster.node("dc1-rack1-2").start()

    directory/
      cluster.json           layout, settings, address block, nodes
      launcher.log           what went wrong before a node had a log
      dc1-rack1-1/           node.yml  node.log  data/

Not here: starting nodes from one set of imports (launcher.py), one node (local_node.py), shapes (local_layout.py).

The address block belongs to the cluster as long as any of its supervisors lives, because each has the block's lock open
by inheritance; and as long as an object of this class does that has started something. So `cluster up` may end, and
after the last node the block is free by itself, however that node ended. A cluster that comes up again takes its old
block if nobody has it, else another one, and then all of its configurations are written anew.

Invariant: all nodes of a cluster that run have been configured with the same block, layout and settings.
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dynomite_mp import config as configuration
from dynomite_mp.address_block import CLIENT_PORT, PEER_PORT, STATS_PORT, AddressBlock
from dynomite_mp.errors import ConfigError
from dynomite_mp.local_layout import DEFAULTS, NODE_KEYS, Layout, Place, conf_text
from dynomite_mp.local_node import POLL_S, STOP_TIMEOUT_S, LocalClusterError, LocalNode

UP_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 10.0
STATE_FORMAT = 1
REPORT_BYTES = 65536
OTHER_DIRECTORY = "choose another --directory"
LAUNCH = "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from dynomite_mp.launcher import main; main()"


class LocalCluster:
    """The nodes of one directory. Several clusters run side by side in directories of their own."""

    def __init__(self, directory: Path, layout: Layout, config: Mapping[str, str], prefix: str) -> None:
        self.directory = directory
        self.layout = layout
        self.config = dict(config)
        self.prefix = prefix  # of the addresses: 127.A.B
        self.nodes: tuple[LocalNode, ...] = ()
        self._block: AddressBlock | None = None

    # -- making ------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, layout: Layout, directory: str | os.PathLike[str], config: Mapping[str, str] | None = None) -> Self:
        """Take addresses and write every configuration; nothing runs yet.

        A directory that holds a cluster of the same layout keeps its data and gets these settings. Raises
        LocalClusterError, also when that cluster runs.
        """
        directory = Path(os.path.realpath(directory))
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_settings(config or {})
        with exclusively(directory):
            prefix = ""
            if state_path(directory).exists():
                former = cls.open(directory)
                former.check_replaceable(layout)
                prefix = former.prefix
            else:
                check_no_strangers(layout, directory)
            cluster = cls(directory, layout, config or {}, prefix)
            cluster._take_addresses()
        return cluster

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Self:
        """The cluster that was made in this directory, running or not. Raises LocalClusterError."""
        directory = Path(os.path.realpath(directory))
        state = read_state(directory)
        layout = Layout({name: tuple(sizes) for name, sizes in state["layout"].items()})
        cluster = cls(directory, layout, state["config"], state["prefix"])
        cluster._make_nodes(state["nodes"])
        return cluster

    @staticmethod
    def exists(directory: str | os.PathLike[str]) -> bool:
        return state_path(Path(directory)).exists()

    def check_replaceable(self, layout: Layout) -> None:
        if layout.racks != self.layout.racks:
            raise LocalClusterError(
                f"{self.directory} holds a cluster of another layout: {self.layout}",
                f"remove it (cluster down --purge), or {OTHER_DIRECTORY}",
            )
        running = [node.name for node in self.nodes if node.runs]
        if running:
            raise LocalClusterError(f"the cluster runs: {', '.join(running)}", "stop it first (cluster down)")

    def _take_addresses(self) -> None:
        """The former block, else a new one; then the files. Only while nothing runs."""
        owner = str(self.directory)
        self._block = (AddressBlock.reclaim(self.prefix, owner) if self.prefix else None) or AddressBlock.acquire(owner)
        self.prefix = self._block.prefix
        places = list(self.layout.places())
        hosts = self._block.hosts(len(places))
        seeds = {
            place.name: f"{host}:{PEER_PORT}:{place.rack}:{place.datacenter}:{self._token(place)}"
            for place, host in zip(places, hosts, strict=True)
        }
        rows = []
        for place, host in zip(places, hosts, strict=True):
            settings = self._settings(place, host, [seed for name, seed in seeds.items() if name != place.name])
            settings["runtime_dir"] = str(read_settings(settings).runtime_dir)
            directory = self.directory / place.name
            directory.mkdir(mode=0o700, exist_ok=True)
            (directory / "node.yml").write_text(conf_text(settings))
            rows.append({**row_of(place), "host": host, "token": self._token(place),
                         "runtime_dir": settings["runtime_dir"]})  # fmt: skip
        write_state(self, rows)
        self._make_nodes(rows)

    def _token(self, place: Place) -> int:
        return place.token(self.config.get("hash", "murmur"))

    def _settings(self, place: Place, host: str, seeds: Sequence[str]) -> dict[str, str | Sequence[str]]:
        return {
            "listen": f"{host}:{CLIENT_PORT}",
            "dyn_listen": f"{host}:{PEER_PORT}",
            "stats_listen": f"{host}:{STATS_PORT}",
            "datacenter": place.datacenter,
            "rack": place.rack,
            "tokens": str(self._token(place)),
            "dyn_seeds": seeds,
            "data_dir": str(self.directory / place.name / "data"),
            **DEFAULTS,
            **self.config,
        }

    def _make_nodes(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.nodes = tuple(
            LocalNode(
                name=row["name"],
                datacenter=row["datacenter"],
                rack=row["rack"],
                host=row["host"],
                token=row["token"],
                directory=self.directory / row["name"],
                runtime_dir=Path(row["runtime_dir"]),
                starter=lambda node: self.start([node]),
            )
            for row in rows
        )

    # -- life --------------------------------------------------------------------------------------------------------

    def node(self, name: str) -> LocalNode:
        for node in self.nodes:
            if node.name == name:
                return node
        raise LocalClusterError(f"there is no node {name}", f"one of {', '.join(node.name for node in self.nodes)}")

    def up(self, timeout_s: float = UP_TIMEOUT_S) -> float:
        """Start every node that has no supervisor and wait until all are ready; the seconds it took."""
        began_s = time.monotonic()
        with exclusively(self.directory):
            if self._block is None and not any(node.runs for node in self.nodes):
                self._take_addresses()
            self.start([node for node in self.nodes if node.pid is None], timeout_s)
        return time.monotonic() - began_s

    def start(self, nodes: Sequence[LocalNode], timeout_s: float = UP_TIMEOUT_S) -> None:
        """Start these, all at once, and wait until each is ready."""
        deadline_s = time.monotonic() + timeout_s
        if not nodes:
            return
        with Launch(self.directory, self._have_block()) as launch:
            for node in nodes:
                launch.order(node)
            launch.wait({node.name: node for node in nodes}, deadline_s)
        for node in nodes:
            wait_until_ready(node, deadline_s)

    def _have_block(self) -> AddressBlock:
        if self._block is None:
            self._block = AddressBlock.reclaim(self.prefix, str(self.directory))
        if self._block is None:
            raise LocalClusterError(
                f"the addresses {self.prefix}.0/24 are another cluster's by now",
                "stop all nodes and bring the cluster up again: it will get new ones",
            )
        return self._block

    def down(self, timeout_s: float = STOP_TIMEOUT_S, *, purge: bool = False) -> None:
        """Stop every node, all at once, whatever state it is in; then the addresses are free.

        With `purge` everything that the cluster has written is removed.
        """
        with exclusively(self.directory):
            for node in self.nodes:
                node.signal(signal.SIGCONT)
                node.terminate()
            deadline_s = time.monotonic() + timeout_s
            for node in self.nodes:
                with contextlib.suppress(LocalClusterError):
                    node.wait_ended(max(0.0, deadline_s - time.monotonic()))
            for node in self.nodes:
                node.kill()
                node.forget_slab()
                shutil.rmtree(node.runtime_dir, ignore_errors=True)
            self.release()
            if purge:
                self._purge()

    def _purge(self) -> None:
        for node in self.nodes:
            shutil.rmtree(node.directory)
        for path in (launcher_log(self.directory), state_path(self.directory), lock_path(self.directory)):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what somebody else put there stays
            self.directory.rmdir()

    def release(self) -> None:
        """Let go of the addresses; nodes that run keep them."""
        if self._block is not None:
            self._block.release()
            self._block = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()


def wait_until_ready(node: LocalNode, deadline_s: float) -> None:
    while not is_ready(node):
        if not node.runs:
            raise LocalClusterError(f"{node.name} has ended", node.last_words())
        if time.monotonic() >= deadline_s:
            raise LocalClusterError(f"{node.name} serves, but is not ready in time", f"see {node.log_path}")
        time.sleep(POLL_S)


def is_ready(node: LocalNode) -> bool:
    """What `up` waits for, of a node that has said it serves."""
    return node.accepts()


class Launch:
    """One run of the launcher: orders go in, what became of them comes out. On leaving it has ended."""

    def __init__(self, directory: Path, block: AddressBlock) -> None:
        self._log_path = launcher_log(directory)
        self._reports, reports = os.pipe()
        paths = json.dumps([str(Path(path).absolute()) for path in sys.path if path])
        try:
            with open(self._log_path, "wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", LAUNCH, str(reports), str(block.fd), paths],
                    cwd=directory,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(reports, block.fd),
                    start_new_session=True,
                )
        finally:
            os.close(reports)

    def order(self, node: LocalNode) -> None:
        """Start this node."""
        assert self._process.stdin is not None
        order = {"name": node.name, "conf": str(node.conf_path), "log": str(node.log_path)}
        with contextlib.suppress(BrokenPipeError):  # it has ended: then so do its reports
            self._process.stdin.write(json.dumps(order).encode() + b"\n")

    def wait(self, ordered: Mapping[str, LocalNode], deadline_s: float) -> None:
        """Until all of these serve. Raises LocalClusterError, which says why one does not."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        waiting = dict(ordered)
        for report in self._read_reports(deadline_s):
            node = waiting.pop(report["name"])
            if report["event"] != "serving":
                raise LocalClusterError(
                    f"{node.name} cannot start: {report['detail'] or node.last_words()}", f"see {node.log_path}"
                )
            if not waiting:
                return
        raise LocalClusterError(f"not up: {', '.join(waiting)}", self._why(next(iter(waiting.values()))))

    def _read_reports(self, deadline_s: float) -> Iterator[dict[str, str]]:
        """Until the deadline, or until every process that could report has ended."""
        poll = select.poll()
        poll.register(self._reports, select.POLLIN)
        rest = b""
        while poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
            data = os.read(self._reports, REPORT_BYTES)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from map(json.loads, lines)

    def _why(self, node: LocalNode) -> str:
        with contextlib.suppress(OSError):
            said = self._log_path.read_text(errors="replace").strip()
            if said:
                return said.splitlines()[-1]
        return node.last_words() or f"see {node.log_path}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._process.kill()  # it may still be about to start some
        self._process.wait()
        if kind is not None:
            self._settle()
        os.close(self._reports)

    def _settle(self) -> None:
        """Until every node that was started serves or has ended: before that nobody could find it to end it."""
        poll = select.poll()
        poll.register(self._reports, select.POLLIN)
        while poll.poll(SETTLE_TIMEOUT_S * 1000) and os.read(self._reports, REPORT_BYTES):
            continue


# ---- settings --------------------------------------------------------------------------------------------------------


def check_settings(config: Mapping[str, str]) -> None:
    """Raises LocalClusterError if a node could not be configured with these."""
    taken = sorted(NODE_KEYS & config.keys())
    if taken:
        raise LocalClusterError(f"the cluster sets {', '.join(taken)} itself", "leave it out")
    read_settings({"listen": "127.0.0.1:1", "dyn_listen": "127.0.0.1:2", **config})


def read_settings(settings: Mapping[str, str | Sequence[str]]) -> configuration.Config:
    try:
        return configuration.build(settings)
    except ConfigError as error:
        raise LocalClusterError(error.detail, "dynomite-mp conf describe explains every setting") from error


# ---- files -----------------------------------------------------------------------------------------------------------


def default_directory() -> Path:
    """Beside the data of single nodes."""
    return configuration.defaults().data_dir.parent / "cluster"


def state_path(directory: Path) -> Path:
    return directory / "cluster.json"


def launcher_log(directory: Path) -> Path:
    return directory / "launcher.log"


def lock_path(directory: Path) -> Path:
    return directory / "cluster.lock"


@contextlib.contextmanager
def exclusively(directory: Path) -> Iterator[None]:
    """Two commands that make, start or end the cluster of a directory wait for each other."""
    try:
        fd = os.open(lock_path(directory), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalClusterError(f"{directory} cannot be used: {error.strerror}", OTHER_DIRECTORY) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def check_no_strangers(layout: Layout, directory: Path) -> None:
    """What is there already is not ours to use, still less to purge."""
    for place in layout.places():
        if (directory / place.name).exists():
            raise LocalClusterError(f"{directory / place.name} exists already", OTHER_DIRECTORY)


def row_of(place: Place) -> dict[str, str]:
    return {"name": place.name, "datacenter": place.datacenter, "rack": place.rack}


def write_state(cluster: LocalCluster, rows: Sequence[Mapping[str, Any]]) -> None:
    """In one step, so that there is never half a file."""
    state = {
        "format": STATE_FORMAT,
        "prefix": cluster.prefix,
        "layout": cluster.layout.racks,
        "config": cluster.config,
        "nodes": rows,
    }
    path = state_path(cluster.directory)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(state, indent=2) + "\n")
    new.replace(path)


def read_state(directory: Path) -> dict[str, Any]:
    path = state_path(directory)
    try:
        state: dict[str, Any] = json.loads(path.read_text())
        if state["format"] != STATE_FORMAT:
            raise ValueError(f"format {state['format']}")
    except FileNotFoundError:
        raise LocalClusterError(f"there is no cluster in {directory}", "make one: dynomite-mp cluster up") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LocalClusterError(f"{path} cannot be read: {error}", f"remove it, or {OTHER_DIRECTORY}") from error
    return state
