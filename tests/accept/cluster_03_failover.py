"""Clients of one coordinator while a node that it needs, or that node's datastore, is killed or stopped for 5 s.

    clients ----> a1 (coordinator) ----> a2  owner of half the keys in rack a; it, or its datastore, is the victim
                    |   +--------------> b1
                    +------------------> b2  the same half in rack b: what stands in

5,000 operations a second, 80 % reads, no retries. Counted: client errors from the fault to the end, the longest time
without any acknowledged operation, and replies that contradict what was acknowledged. Datastores are processes of their
own, so that node and datastore can fail apart. What a node missed while it was away is another matter: what its stale
copy answers after its return is printed and not judged.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psutil

from tests.accept.cluster_parts import Cluster, running_cluster, target
from tests.accept.one_node import Findings, options
from tests.e2e.harness import Node
from tests.load.bare_store import BareStore
from tests.load.steady import SteadyLoad, SteadyPlan, SteadyResult

TOPIC = "cluster"
TITLE = "3: a node or its datastore killed or stopped for 5 s under load: no client error, and how long nothing came"
WARM_S = 2.0
KILL_GAP_S, STOP_GAP_S = 0.3, 1.0
LOADED_SHARE = 0.97  # of what is offered must have been acknowledged, else nothing has been measured
STORE_PORT = 22122
COORDINATOR, OWNER, OTHER_RACK = 0, 1, 3  # places in the cluster


@dataclass
class Stage:
    """The cluster, and the datastores by host."""

    cluster: Cluster
    stores: dict[str, BareStore]

    @property
    def coordinator(self) -> Node:
        return self.cluster.nodes[0]

    def store_of(self, node: Node) -> BareStore:
        return self.stores[node.host]


def kill_node(stage: Stage, victim: Node) -> None:
    """All its processes at once, as if the machine had lost its power."""
    signal_all(victim.processes(), signal.SIGKILL)
    victim.wait()


def start_node(stage: Stage, victim: Node) -> None:
    victim.start(wait=False)


def kill_store(stage: Stage, victim: Node) -> None:
    store = stage.store_of(victim)
    store.process.kill()
    store.process.wait()


def start_store(stage: Stage, victim: Node) -> None:
    host = victim.host
    stage.stores[host].__exit__(None, None, None)
    stage.stores[host] = BareStore(host, STORE_PORT)


def stop_node(stage: Stage, victim: Node) -> None:
    signal_all(victim.processes(), signal.SIGSTOP)


def continue_node(stage: Stage, victim: Node) -> None:
    signal_all(victim.processes(), signal.SIGCONT)


def stop_store(stage: Stage, victim: Node) -> None:
    os.kill(stage.store_of(victim).pid, signal.SIGSTOP)


def continue_store(stage: Stage, victim: Node) -> None:
    os.kill(stage.store_of(victim).pid, signal.SIGCONT)


def signal_all(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


@dataclass(frozen=True)
class Fault:
    """What is done to the victim, what undoes it, and how long the clients may get nothing."""

    name: str
    break_it: Callable[[Stage, Node], None]
    mend_it: Callable[[Stage, Node], None]
    gap_s: float
    place: int = OWNER


FAULTS = (
    Fault("owner killed", kill_node, start_node, KILL_GAP_S),
    Fault("owner's datastore killed", kill_store, start_store, KILL_GAP_S),
    Fault("owner stopped", stop_node, continue_node, STOP_GAP_S),
    Fault("owner's datastore stopped", stop_store, continue_store, STOP_GAP_S),
    Fault("coordinator's datastore killed", kill_store, start_store, KILL_GAP_S, COORDINATOR),
    Fault("coordinator's datastore stopped", stop_store, continue_store, STOP_GAP_S, COORDINATOR),
    Fault("other rack's node killed", kill_node, start_node, KILL_GAP_S, OTHER_RACK),
    Fault("other rack's node stopped", stop_node, continue_node, STOP_GAP_S, OTHER_RACK),
)


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    findings = Findings()
    for fault in FAULTS:
        with running_stage() as stage:
            rate_per_s, seconds = (1500.0, 2.0) if short else (5000.0, 5.0)
            report = run(stage, fault, rate_per_s, seconds, after_s=seconds)
        for text in report.details():
            print(text)
        findings.check(report.is_good(), f"{fault.name}: {report.line()}")
    return findings.code


@contextlib.contextmanager
def running_stage(**conf: object) -> Iterator[Stage]:
    """Two racks of two nodes, each with a datastore that no node has started."""
    with contextlib.ExitStack() as stack:
        stores: dict[str, BareStore] = {}
        stack.callback(lambda: [store.__exit__(None, None, None) for store in stores.values()])

        def with_store(nodes: list[Node]) -> None:
            for node in nodes:
                stores[node.host] = BareStore(node.host, STORE_PORT)
                node.conf["servers"] = [f"{node.host}:{STORE_PORT}:1"]

        cluster = stack.enter_context(running_cluster({"dc1": {"a": "oo", "b": "oo"}}, prepare=with_store, **conf))
        yield Stage(cluster, stores)


@dataclass
class Report:
    """What the clients saw; times are seconds since the start of the load."""

    fault: Fault
    result: SteadyResult
    broken_at: float
    mended_at: float
    rate_per_s: float

    @property
    def reached_per_s(self) -> float:
        """Operations acknowledged, on average of the whole load: what an outage delays is made up for after it."""
        return self.result.acknowledged / self.result.seconds

    @property
    def errors(self) -> int:
        return len(self.result.errors_between(self.broken_at, self.result.seconds + 10))

    @property
    def gap(self) -> tuple[float, float]:
        return self.result.longest_gap_s(self.broken_at, self.result.seconds)

    def wrong_before_return(self) -> list[str]:
        return [text for text in self.result.wrong if float(text.split(" s", 1)[0]) < self.mended_at]

    def is_good(self) -> bool:
        early = self.result.errors_between(0, self.broken_at)
        is_loaded = self.reached_per_s >= LOADED_SHARE * self.rate_per_s
        wrong = self.errors or early or self.wrong_before_return()
        return is_loaded and not wrong and self.gap[0] <= self.fault.gap_s

    def details(self) -> list[str]:
        """What went wrong, a line each; no line when nothing did."""
        return [line for line in (self.result.error_table(), *self.wrong_before_return()[:5]) if line]

    def line(self) -> str:
        gap, began = self.gap
        after = len(self.result.wrong) - len(self.wrong_before_return())
        where = "outage" if began < self.mended_at else "return"
        return (
            f"{self.errors} client errors, longest gap {gap * 1000:.0f} ms ({began - self.broken_at:+.3f} s after the "
            f"fault, in the {where}; at most {self.fault.gap_s * 1000:.0f}); {len(self.wrong_before_return())} wrong "
            f"replies in the outage, {after} from the stale copy after it; {self.reached_per_s:.0f} a second of "
            f"{self.rate_per_s:.0f} offered; {self.result.line()}"
        )


def run(
    stage: Stage, fault: Fault, rate_per_s: float, outage_s: float, *, warm_s: float = WARM_S, after_s: float = 5.0
) -> Report:
    """The load, the fault, its end, and a while after."""
    plan = SteadyPlan((target(stage.coordinator),), rate_per_s=rate_per_s, read_share=0.8)
    victim = stage.cluster.nodes[fault.place]
    with SteadyLoad(plan) as load:
        time.sleep(warm_s)
        broken_at = load.mark("fault")
        fault.break_it(stage, victim)
        time.sleep(max(0.0, broken_at + outage_s - load.now_s()))
        mended_at = load.mark("mended")
        fault.mend_it(stage, victim)
        time.sleep(after_s)
    return Report(fault, load.result, broken_at, mended_at, rate_per_s)
