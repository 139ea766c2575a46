"""Processes killed and stopped under load: who notices, for how long, and what is left behind.

The load is 50 clients at a fixed rate with retries off, each checking that no acknowledged write is lost.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.accept.one_node import (
    WORKERS,
    Findings,
    is_running_anew,
    options,
    pss_mb,
    running_node,
    seconds_until,
    target,
    worker_pids,
)
from tests.e2e.harness import Node, wait_for
from tests.load import process_tree
from tests.load.steady import SteadyLoad, SteadyPlan

TOPIC = "node"
TITLE = "4: kill -9 and SIGSTOP of each process under load"
TIMEOUT_MS = 2000
GROWTH_LIMIT_MB = 30
KILLS_OF_A_NODE = 4  # more would be taken for a crash loop, which gives a process up


class Pace:
    """Rates and pauses of the full and the short version."""

    def __init__(self, short: bool) -> None:
        self.rate = 500.0 if short else 5000.0
        self.clients = 10 if short else 50
        self.settle_s = 0.5 if short else 2.0
        self.stop_s = 3.0 if short else 20.0
        self.random_kills = 4 if short else 20


def main(argv: Sequence[str]) -> int:
    pace = Pace(options(argv, TITLE).short)
    findings = Findings()
    parts: tuple[Callable[[Node, Pace, Findings], None], ...] = (
        kill_cold_workers,
        kill_io,
        kill_datastore,
        stop_datastore,
        stop_everything,
    )
    for part in parts:
        with running_node(managed=True, timeout=TIMEOUT_MS) as node:
            part(node, pace, findings)
    kill_supervisor(pace, findings)
    for seed in range(pace.random_kills // KILLS_OF_A_NODE):
        with running_node(managed=True, io_workers=2, timeout=TIMEOUT_MS) as node:
            random_kills(node, pace, findings, seed)
    return findings.code


def plan(node: Node, pace: Pace) -> SteadyPlan:
    return SteadyPlan((target(node),), pace.clients, pace.rate, timeout_s=10.0)


def judge(load: SteadyLoad, findings: Findings, what: str, *, errors_allowed: bool) -> None:
    """Errors, wrong values and lost writes of a load that has ended."""
    result, lost = load.result, load.verify()
    for problem in (*result.wrong[:5], *lost[:5]):
        print(f"     {problem}")
    if result.errors:
        print(result.error_table())
    good = not result.wrong and not lost and (errors_allowed or not result.errors)
    findings.check(good and result.acknowledged, f"{what}: {result.line()}; {len(lost)} keys not as acknowledged")


def is_running(node: Node, name: str) -> bool:
    return bool(node.row(name)["state"] == "running")


def kill_and_wait(node: Node, name: str, number: int = signal.SIGKILL) -> float:
    """Kill a process; seconds until another one runs in its place."""
    old = node.pid_of(name)
    os.kill(old, number)
    return seconds_until(lambda: is_running_anew(node, name, old), 20.0, f"{name} to be back")


def kill_cold_workers(node: Node, pace: Pace, findings: Findings) -> None:
    with SteadyLoad(plan(node, pace)) as load:
        time.sleep(pace.settle_s)
        for name in WORKERS:
            took = kill_and_wait(node, name)
            findings.check(took < 1.0, f"kill -9 of {name}: back after {took * 1000:.0f} ms, wanted < 1000")
            time.sleep(pace.settle_s)
    judge(load, findings, "clients meanwhile", errors_allowed=False)


def kill_io(node: Node, pace: Pace, findings: Findings) -> None:
    with SteadyLoad(plan(node, pace)) as load:
        time.sleep(pace.settle_s)
        killed = load.mark("kill -9 of io[0]")
        kill_and_wait(node, "io[0]")
        time.sleep(1.0 + pace.settle_s)
    gap, _ = load.result.longest_gap_s(killed - 0.5, killed + 2.0)
    findings.check(gap < 1.0, f"kill -9 of io[0]: service back after {gap * 1000:.0f} ms, wanted < 1000")
    late = load.result.errors_between(killed + 1.0, load.result.seconds)
    findings.check(not late, f"errors later than a second after it: {len(late)}")
    ready = {row["name"]: row["state"] for row in node.status()["processes"]}
    findings.check(set(ready.values()) == {"running"}, f"rings re-attached, all processes: {ready}")
    judge(load, findings, "clients meanwhile", errors_allowed=True)


def kill_datastore(node: Node, pace: Pace, findings: Findings) -> None:
    node.call("SET", "before", "kill")
    with SteadyLoad(plan(node, pace)) as load:
        time.sleep(pace.settle_s + 1.5)  # the append-only file is synced each second
        before = pss_mb(node)
        killed = load.mark("kill -9 of the datastore")
        took = kill_and_wait(node, "datastore")
        back = seconds_until(lambda: node.call("PING") and node.call("SET", "a", "b") == b"OK", 20.0, "writes to work")
        time.sleep(pace.settle_s)
    gap, _ = load.result.longest_gap_s(killed - 0.2, load.result.seconds)
    print(f"     kill -9 of the datastore: a new one after {took:.2f} s, writes {back:.2f} s later, gap {gap:.2f} s")
    texts = {error.text for error in load.result.errors}
    findings.check(
        all(text.startswith(("ERR Storage", "ERR dynomite-mp", "LOADING")) for text in texts), f"errors: {texts}"
    )
    grown = pss_mb(node) - before
    findings.check(grown < GROWTH_LIMIT_MB, f"memory +{grown:.1f} MB, wanted < {GROWTH_LIMIT_MB}")
    findings.check(node.call("GET", "before") == b"kill", "what was written before the kill is there")
    result = load.result
    findings.check(result.acknowledged, f"clients meanwhile: {result.line()}")


def stop_datastore(node: Node, pace: Pace, findings: Findings) -> None:
    with SteadyLoad(plan(node, pace)) as load:
        time.sleep(pace.settle_s)
        before, pid = pss_mb(node), node.pid_of("datastore")
        os.kill(pid, signal.SIGSTOP)
        stopped = load.mark("SIGSTOP of the datastore")
        time.sleep(2.5 * TIMEOUT_MS / 1000)
        grown = pss_mb(node) - before
        os.kill(pid, signal.SIGCONT)
        resumed = load.mark("SIGCONT")
        time.sleep(pace.settle_s + 1.0)
    first = min((error.at_s for error in load.result.errors), default=float("inf")) - stopped
    limit = TIMEOUT_MS / 1000 + 0.2
    findings.check(
        first <= limit, f"SIGSTOP of the datastore: first clear error after {first:.2f} s, wanted <= {limit}"
    )
    gap, began = load.result.longest_gap_s(resumed, load.result.seconds)
    findings.check(gap < 1.2, f"after SIGCONT the longest gap is {gap * 1000:.0f} ms (from {began - resumed:.2f} s)")
    findings.check(grown < GROWTH_LIMIT_MB, f"memory +{grown:.1f} MB while it was stopped, wanted < {GROWTH_LIMIT_MB}")
    judge(load, findings, "clients meanwhile", errors_allowed=True)


def stop_everything(node: Node, pace: Pace, findings: Findings) -> None:
    before = worker_pids(node)
    pids = process_tree.tree(node.pid, with_datastores=True)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(pace.stop_s)
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)
    back = seconds_until(lambda: node.call("SET", "woken", "1") == b"OK", 20.0, "service after SIGCONT")
    time.sleep(12.0 if pace.stop_s > 10 else 3.0)  # longer than a liveness check takes
    after = worker_pids(node)
    findings.check(
        before == after,
        f"SIGSTOP of all for {pace.stop_s:.0f} s: serves {back:.2f} s after SIGCONT, same pids: {before == after}",
    )


def kill_supervisor(pace: Pace, findings: Findings) -> None:
    with running_node(managed=True) as node:
        slab = Path("/dev/shm") / node.slab_name.lstrip("/")
        node.kill()
        gone = seconds_until(lambda: not node.processes(), 20.0, "all processes to end")
        findings.check(gone < 15.0, f"kill -9 of the supervisor: no orphan after {gone:.2f} s")
        node.start()
        findings.check(node.call("SET", "again", "1") == b"OK", "it starts again")
        node.stop()
        left = sorted(path.name for path in slab.parent.glob(slab.name + "*"))
        findings.check(not left, f"left in /dev/shm after the next start and stop: {left or 'nothing'}")


def random_kills(node: Node, pace: Pace, findings: Findings, seed: int) -> None:
    """Kills at random moments while requests cross the rings between two io processes."""
    rng = random.Random(seed)
    names = ("io[0]", "io[1]", rng.choice(WORKERS), rng.choice(("io[0]", "io[1]")))
    with SteadyLoad(plan(node, pace)) as load:
        time.sleep(pace.settle_s)
        for name in rng.sample(names, KILLS_OF_A_NODE):
            wait_for(partial(is_running, node, name), 60.0, f"{name} to run")
            os.kill(node.pid_of(name), signal.SIGKILL)
            load.mark(f"kill -9 of {name}")
            time.sleep(rng.uniform(0.3, 1.2))
        wait_for(lambda: {row["state"] for row in node.status()["processes"]} == {"running"}, 60.0, "all to run")
        time.sleep(pace.settle_s)
    corrupt = [line for line in node.log().splitlines() if "corrupt" in line.lower()]
    findings.check(not corrupt, f"{KILLS_OF_A_NODE} random kills: {len(corrupt)} corrupt records {corrupt[:2]}")
    judge(load, findings, "clients meanwhile", errors_allowed=True)
