"""The faults of the chaos script: what each does to a running cluster, and what undoes it. Not a script itself.

    strike = FAULTS["cut"](stage, victim, rng)      something is broken now; strike.text says what
    strike.mend()                                   it is whole again, as far as the cluster can be told so

Cuts are nftables rules between two loopback addresses, both ways or one way; a node's outgoing connections to its peers
are bound to its own address, and clients come from another one, so that a cut hurts nobody else. Where nftables cannot
be used the cuts are left out; so is the full disk where no small file system can be mounted. What a fault kills is in
`excused`: any other process that ends is a finding.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dynomite_mp.settings import SETTINGS
from tests.accept.cluster_parts import Cluster
from tests.e2e.harness import Node

WORKERS = ("io[0]", "replication", "gossip", "admin")
EVERYTHING = "*"
OFFSET_KEY = "debug_clock_offset_ms"
OFFSET_MS_MOST = 2400  # two clocks are never max_clock_skew_ms apart


@dataclass
class Strike:
    """One fault under way."""

    text: str
    mend: Callable[[], None]
    excused: set[tuple[str, str]] = field(default_factory=set)
    """(host, name of the process), or EVERYTHING as the name."""
    restarted: tuple[Node, ...] = ()


@dataclass
class Stage:
    cluster: Cluster
    cuts: Cuts
    disks: HintDisks

    def others(self, node: Node) -> list[Node]:
        return [other for other in self.cluster.nodes if other is not node]

    def datacenter_of(self, node: Node) -> tuple[list[Node], list[Node]]:
        """The nodes of its datacenter, and all others."""
        here = [other for other in self.cluster.nodes if other.conf["datacenter"] == node.conf["datacenter"]]
        return here, [other for other in self.cluster.nodes if other not in here]


class Cuts:
    """A table of nftables that is ours alone; gone at the end."""

    def __init__(self) -> None:
        self._table = f"inet dmp_chaos_{os.getpid()}"
        self.is_usable = os.geteuid() == 0 and shutil.which("nft") is not None and self._make()

    def _make(self) -> bool:
        chain = f"add chain {self._table} out {{ type filter hook output priority 0; }}"
        return _nft(f"add table {self._table}\n{chain}\n")

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Nothing passes from the first address of a pair to the second."""
        rules = (f"add rule {self._table} out ip saddr {here} ip daddr {there} drop\n" for here, there in pairs)
        if not _nft("".join(rules)):
            raise RuntimeError("nftables refused a rule that it took before")

    def heal(self) -> None:
        _nft(f"flush chain {self._table} out\n")

    def remove(self) -> None:
        if self.is_usable:
            _nft(f"delete table {self._table}\n")


def _nft(text: str) -> bool:
    return subprocess.run(["nft", "-f", "-"], input=text.encode(), capture_output=True, check=False).returncode == 0


class HintDisks:
    """A small file system for the log of missed writes of each node, which can be filled up. Only for root."""

    SIZE = "32m"  # what a node misses while it starts on a slow machine must fit: full is a fault of its own

    def __init__(self) -> None:
        self._mounted: list[Path] = []
        self.is_usable = os.geteuid() == 0 and shutil.which("mount") is not None

    def mount(self, node: Node) -> None:
        """Before the node starts."""
        folder = hint_folder(node)
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self.SIZE}", "dmp-chaos", str(folder)]
        if self.is_usable and not subprocess.run(command, capture_output=True, check=False).returncode:
            self._mounted.append(folder)
        else:
            self.is_usable = False

    def fill(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            with contextlib.suppress(OSError), open(hint_folder(node) / "filler", "wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))

    def empty(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            (hint_folder(node) / "filler").unlink(missing_ok=True)

    def unmount(self) -> None:
        mounted, self._mounted = self._mounted, []
        for folder in mounted:
            subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def hint_folder(node: Node) -> Path:
    return Path(str(node.conf["data_dir"])) / "hints"


def both_ways(left: Sequence[Node], right: Sequence[Node]) -> list[tuple[str, str]]:
    return [pair for one in left for other in right for pair in ((one.host, other.host), (other.host, one.host))]


# ---- processes -------------------------------------------------------------------------------------------------------


def signal_all(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def start_again(node: Node, rng: random.Random) -> None:
    """With a clock of another offset, where there is such a setting."""
    if OFFSET_KEY in SETTINGS:
        node.conf[OFFSET_KEY] = rng.randint(-OFFSET_MS_MOST, OFFSET_MS_MOST)
    node.start(wait=False)


def kill_node(stage: Stage, victim: Node, rng: random.Random) -> Strike:
    """All processes at once with the data in memory, as when a machine loses its power."""
    signal_all(victim.processes(), signal.SIGKILL)
    victim.wait()
    return Strike("killed", functools.partial(start_again, victim, rng), {(victim.host, EVERYTHING)}, (victim,))


def kill_supervisor(stage: Stage, victim: Node, rng: random.Random) -> Strike:
    victim.kill()
    mend = functools.partial(_start_when_gone, victim, rng)
    return Strike("supervisor killed", mend, {(victim.host, EVERYTHING)}, (victim,))


def _start_when_gone(victim: Node, rng: random.Random) -> None:
    psutil.wait_procs(victim.processes(), timeout=15)
    start_again(victim, rng)


def restart(stage: Stage, victim: Node, rng: random.Random) -> Strike:
    """In order: it drains, ends, and is started some time later."""
    victim.stop()
    mend = functools.partial(start_again, victim, rng)
    return Strike("stopped in order", mend, {(victim.host, EVERYTHING)}, (victim,))


def kill_worker(stage: Stage, victim: Node, rng: random.Random) -> Strike:
    """One process; the supervisor starts it again."""
    name = rng.choice(WORKERS)
    os.kill(victim.pid_of(name), signal.SIGKILL)
    return Strike(f"{name} killed", nothing, {(victim.host, name)})


def lose_datastore(stage: Stage, victim: Node, rng: random.Random) -> Strike:
    """With persistence it loses its last second at most, without it comes back empty."""
    os.kill(victim.pid_of("datastore"), signal.SIGKILL)
    kept = victim.conf.get("datastore_persistence", "aof_everysec")
    return Strike(f"datastore killed (persistence {kept})", nothing, {(victim.host, "datastore")})


def stop_node(stage: Stage, victim: Node, rng: random.Random) -> Strike:
    processes = victim.processes()
    signal_all(processes, signal.SIGSTOP)
    return Strike("SIGSTOP to all processes", functools.partial(signal_all, processes, signal.SIGCONT))


def stop_process(stage: Stage, victim: Node, rng: random.Random) -> Strike:
    name = rng.choice(("io[0]", "replication", "datastore"))
    process = psutil.Process(victim.pid_of(name))
    process.send_signal(signal.SIGSTOP)
    return Strike(f"SIGSTOP to {name}", functools.partial(signal_all, [process], signal.SIGCONT))


def fill_disks(stage: Stage, victim: Node, rng: random.Random) -> Strike:
    """What the victim misses can be kept nowhere: its lanes get DIRTY, and a comparison has to mend them."""
    others = stage.others(victim)
    stage.disks.fill(others)
    strike = kill_node(stage, victim, rng)
    start = strike.mend

    def mend() -> None:
        stage.disks.empty(others)
        start()

    return Strike("killed while no other node has room for hints", mend, strike.excused, strike.restarted)


def nothing() -> None:
    """What a fault needs that the node mends itself."""


# ---- the network -----------------------------------------------------------------------------------------------------


def cut_node(stage: Stage, victim: Node, rng: random.Random) -> Strike:
    stage.cuts.cut(both_ways([victim], stage.others(victim)))
    return Strike("cut off from all other nodes", stage.cuts.heal)


def cut_link(stage: Stage, victim: Node, rng: random.Random) -> Strike:
    """One other node, both ways or one way only."""
    other = rng.choice(stage.others(victim))
    pairs = both_ways([victim], [other])
    if rng.random() < 0.5:
        pairs = [rng.choice(pairs)]
    stage.cuts.cut(pairs)
    return Strike(f"cut between it and {other.host}, {len(pairs)} way(s)", stage.cuts.heal)


def cut_datacenter(stage: Stage, victim: Node, rng: random.Random) -> Strike:
    here, there = stage.datacenter_of(victim)
    stage.cuts.cut(both_ways(here, there))
    return Strike("the datacenters cut from each other", stage.cuts.heal)


Fault = Callable[[Stage, Node, random.Random], Strike]
FAULTS: dict[str, Fault] = {
    "kill-node": kill_node,
    "kill-supervisor": kill_supervisor,
    "restart": restart,
    "kill-worker": kill_worker,
    "lose-datastore": lose_datastore,
    "stop-node": stop_node,
    "stop-process": stop_process,
    "cut": cut_node,
    "cut-link": cut_link,
    "cut-datacenter": cut_datacenter,
    "fill-disks": fill_disks,
}
CUTS = frozenset({"cut", "cut-link", "cut-datacenter"})
