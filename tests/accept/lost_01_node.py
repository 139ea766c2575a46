"""A replica that is away under writes: everything acknowledged is there when it is back, and the counters are exact.

    clients --5,000 writes/s--> a (coordinator) ----> a's own datastore
                                   |  +-------------> b
                                   +----------------> c, the victim

Writes only, no retries, DC_ONE. The victim is killed, stopped, or cut off; meanwhile the coordinator's replication
process is killed, or the whole coordinator stopped and started again. "Back" is the first PONG of the victim's client
port; from then on its own datastore is read, key by key, until it holds what was acknowledged. The load goes on until
a second after the return.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.accept.chaos_faults import Cuts, both_ways
from tests.accept.cluster_03_failover import signal_all
from tests.accept.cluster_parts import Cluster, Layout, running_cluster, target
from tests.accept.one_node import Findings
from tests.e2e.harness import CLIENT_PORT, Node, Resp, wait_for
from tests.load.bare_store import BareStore
from tests.load.steady import SteadyLoad, SteadyPlan

TOPIC = "lost"
TITLE = "1: three racks, DC_ONE: a node killed, stopped or cut off for 5 s and 60 s under 5,000 writes/s"
LAYOUT = {"dc1": {"a": "o", "b": "o", "c": "o"}}
STORE_PORT = 22122
WARM_S = 2.0
BACK_S = 3.0  # after the first PONG everything is to be there
LONG_BACK_S = 60.0
GIVE_UP_S = 10.0  # and twice the outage


@dataclass
class Stage:
    cluster: Cluster
    stores: dict[str, BareStore]
    cuts: Cuts

    @property
    def coordinator(self) -> Node:
        return self.cluster.nodes[0]

    @property
    def victim(self) -> Node:
        return self.cluster.nodes[-1]

    def others(self) -> list[Node]:
        return [node for node in self.cluster.nodes if node is not self.victim]


Act = Callable[[Stage], None]


def kill(stage: Stage) -> None:
    signal_all(stage.victim.processes(), signal.SIGKILL)
    stage.victim.wait()


def start(stage: Stage) -> None:
    stage.victim.start(wait=False)


def stop(stage: Stage) -> None:
    signal_all(stage.victim.processes(), signal.SIGSTOP)


def go_on(stage: Stage) -> None:
    signal_all(stage.victim.processes(), signal.SIGCONT)


def cut(stage: Stage) -> None:
    stage.cuts.cut(both_ways([stage.victim], stage.others()))


def heal(stage: Stage) -> None:
    stage.cuts.heal()


def nothing(_stage: Stage) -> None:
    pass


def kill_replication(stage: Stage) -> None:
    """Of the coordinator; its successor has to take up what is in the log and in the rings."""
    pid = stage.coordinator.pid_of("replication")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: stage.coordinator.pid_of("replication") not in (0, pid), 10, "another replication process")


def restart_coordinator(stage: Stage) -> None:
    stage.coordinator.stop()
    stage.coordinator.start(wait=False)


@dataclass(frozen=True)
class Outage:
    name: str
    break_it: Act
    mend_it: Act
    meanwhile: Act = nothing
    seconds: float = 5.0
    loses_coordinator: bool = False  # then its clients see errors, which are not counted


OUTAGES = (
    Outage("killed", kill, start),
    Outage("stopped", stop, go_on),
    Outage("cut off", cut, heal),
    Outage("killed, replication process of the coordinator killed meanwhile", kill, start, kill_replication),
    Outage("killed, coordinator restarted meanwhile", kill, start, restart_coordinator, loses_coordinator=True),
    Outage("killed for a minute", kill, start, seconds=60.0),
    Outage("cut off for a minute", cut, heal, seconds=60.0),
)


@dataclass
class Report:
    outage: Outage
    line: str
    problems: list[str]
    took_s: float
    errors: int
    table: str
    acknowledged: int

    def is_good(self) -> bool:
        limit_s = LONG_BACK_S if self.outage.seconds > 10 else BACK_S
        return not self.problems and self.took_s <= limit_s and (self.outage.loses_coordinator or not self.errors)


@contextlib.contextmanager
def running_stage(layout: Layout = LAYOUT, **conf: object) -> Iterator[Stage]:
    """Nodes with datastores that no node has started, so that what is killed is the node alone."""
    with contextlib.ExitStack() as stack:
        stores: dict[str, BareStore] = {}
        stack.callback(lambda: [store.__exit__(None, None, None) for store in stores.values()])
        cuts = Cuts()
        stack.callback(cuts.remove)

        def with_store(nodes: list[Node]) -> None:
            for node in nodes:
                stores[node.host] = BareStore(node.host, STORE_PORT)
                node.conf["servers"] = [f"{node.host}:{STORE_PORT}:1"]
                setattr(node, "store", functools.partial(Resp, node.host, STORE_PORT))  # noqa: B010, a method

        cluster = stack.enter_context(running_cluster(layout, prepare=with_store, **conf))
        yield Stage(cluster, stores, cuts)


def run(stage: Stage, outage: Outage, rate_per_s: float, seconds: float, warm_s: float = WARM_S) -> Report:
    """The load, the outage, the return, and the time until the victim's datastore holds what was acknowledged."""
    plan = SteadyPlan((target(stage.coordinator),), rate_per_s=rate_per_s, read_share=0.0)
    with SteadyLoad(plan) as load:
        time.sleep(warm_s)
        broken_at = load.mark("broken")
        outage.break_it(stage)
        time.sleep(seconds / 3)
        outage.meanwhile(stage)
        time.sleep(max(0.0, broken_at + seconds - load.now_s()))
        outage.mend_it(stage)
        wait_for(lambda: answers(stage.victim), 30, "the first PONG")
        back = time.monotonic()
        time.sleep(1.0)
    store = (stage.victim.host, STORE_PORT)
    while True:
        problems = load.verify(store)
        took_s = time.monotonic() - back
        if not problems or took_s > GIVE_UP_S + 2 * seconds:
            break
        time.sleep(0.1)
    problems += [text for node in stage.others() for text in load.verify((node.host, STORE_PORT))]
    line = (
        f"{outage.name} for {seconds:g} s: {len(load.result.errors)} client errors, {len(problems)} keys not as "
        f"acknowledged, all there {took_s:.2f} s after the first PONG; {load.result.line()}"
    )
    return Report(
        outage, line, problems, took_s, len(load.result.errors), load.result.error_table(), load.result.acknowledged
    )


def answers(node: Node) -> bool:
    with Resp(node.host, CLIENT_PORT) as client:
        return bool(client.call("PING") == b"PONG")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument("--short", action="store_true", help="1,500 writes/s, no long outages")
    parser.add_argument("--only", default="", help="outages whose name holds this text")
    chosen = parser.parse_args(argv)
    findings = Findings()
    for outage in OUTAGES:
        if chosen.only not in outage.name or (chosen.short and outage.seconds > 10):
            continue
        with running_stage() as stage:
            if outage.break_it is cut and not stage.cuts.is_usable:
                print(f"{outage.name}: no nftables here, left out")
                continue
            report = run(stage, outage, 1500.0 if chosen.short else 5000.0, outage.seconds)
        for text in (report.table, *report.problems[:10]):
            if text:
                print(text)
        findings.check(report.is_good(), report.line)
    return findings.code
