"""A cluster of two datacenters with three racks each, under a load that checks itself, while one thing after another is
broken: `make accept TOPIC=chaos ARGS="--minutes 30 --seed 7"`.

    the load runs --> a fault --> some seconds --> mended --> some seconds --> the load pauses
         ^                                                                           |
         +--- resumes <--- every replica of every key against the ledgers <--- replicas converge and every node knows
                                                                               that it is whole, or 60 s are over

One rack at a time is hurt, and the next fault comes when every replica is whole, so each finding belongs to one fault,
whose line names it. Faults, victims and durations follow from the seed. The expected content of every key follows from
the ledger that its one client keeps; counters that all clients increment are added up.

Counted against the run: values that are wrong, lost or doubled; processes that ended and were not meant to; replicas
that never became equal. The share of requests that were acknowledged is printed: clients do not retry, but a client
whose node is gone connects to the next one, as Dyno does.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dynomite_mp.settings import SETTINGS
from tests.accept.chaos_books import Books, Problem, counted
from tests.accept.chaos_faults import (
    CUTS,
    EVERYTHING,
    FAULTS,
    OFFSET_KEY,
    OFFSET_MS_MOST,
    Cuts,
    HintDisks,
    Stage,
    Strike,
)
from tests.accept.cluster_parts import is_normal, running_cluster, target
from tests.accept.one_node import Findings
from tests.e2e.harness import Node, wait_for
from tests.load.steady import SteadyError, SteadyLoad, SteadyPlan

TOPIC = "chaos"
TITLE = "two datacenters of three racks under random faults: nothing wrong, lost or doubled"
LAYOUT = {"dc1": {"r1": "o", "r2": "o", "r3": "o"}, "dc2": {"r1": "o", "r2": "o", "r3": "o"}}
CONVERGED_WITHIN_S = 60.0
SUCCESS_SHARE = 0.9999
SHOWN = 6


@dataclass
class Round:
    """One fault and its effect."""

    number: int
    kind: str
    where: str
    what: str
    seconds: float
    began: datetime.datetime
    began_s: float  # since the start of the load
    errors: list[SteadyError] = field(default_factory=list)
    acknowledged: int = 0
    wrong: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    converged_s: float = 0.0
    problems: list[Problem] = field(default_factory=list)
    hurt: list[str] = field(default_factory=list)  # nodes that do not know yet whether they have everything
    exits: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.wrong or self.problems or self.hurt or self.exits)

    def line(self) -> str:
        kinds = collections.Counter(error.kind for error in self.errors)
        errors = " ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
        left = f"after {self.converged_s:.1f} s: {counted(self.problems)}" if self.problems else (
            f"equal in {self.converged_s:.1f} s")  # fmt: skip
        return (
            f"{self.number:3d} {self.began:%H:%M:%S} {self.kind} {self.where}: {self.what}, {self.seconds:.1f} s; "
            f"{self.acknowledged} acknowledged, errors: {errors}; {len(self.wrong)} wrong reads, "
            f"{len(self.late)} late counts; replicas {left}"
            + (f"; NOT NORMAL: {', '.join(self.hurt)}" if self.hurt else "")
            + (f"; ENDED: {', '.join(self.exits)}" if self.exits else "")
        )

    def details(self) -> list[str]:
        groups: dict[str, list[float]] = collections.defaultdict(list)
        for error in self.errors:
            groups[f"{error.kind} {error.operation} at {error.target}: {error.text}"].append(error.at_s)
        most = sorted(groups.items(), key=lambda item: -len(item[1]))
        errors = [
            f"{len(times)} x {text} ({min(times) - self.began_s:+.1f} to {max(times) - self.began_s:+.1f} s)"
            for text, times in most[:SHOWN]
        ]
        return [*self.wrong[:SHOWN], *self.late[:SHOWN], *map(str, self.problems[:SHOWN]), *errors]


class Chaos:
    """The run: loads, faults, rounds."""

    def __init__(self, stage: Stage, options: argparse.Namespace) -> None:
        self.stage = stage
        self.options = options
        self.rng = random.Random(options.seed)
        self.rounds: list[Round] = []
        self.loads = [
            SteadyLoad(_plan(stage, name, options, options.seed + place)) for place, name in enumerate(LAYOUT)
        ]
        self.books = Books(self.loads)

    def run(self, seconds: float) -> None:
        with contextlib.ExitStack() as stack:
            for load in self.loads:
                stack.enter_context(load)
            self.books = Books(self.loads)
            end = time.monotonic() + seconds
            time.sleep(self.options.calm)
            while time.monotonic() < end or not self.rounds:
                done = self._round(len(self.rounds) + 1)
                self.rounds.append(done)
                for line in (done.line(), *(f"      {text}" for text in done.details())):
                    print(line, flush=True)
                if done.problems and not self.options.go_on:
                    break

    def _round(self, number: int) -> Round:
        kind = self.rng.choice(self.options.kinds)
        victim = self.rng.choice(self.stage.cluster.nodes)
        lasts_s = self.rng.uniform(0.5, self.options.longest)
        before = {node.host: pids(node) for node in self.stage.cluster.nodes}
        marks = [(len(load.result.errors), load.result.acknowledged, len(load.result.wrong)) for load in self.loads]
        began, began_s = datetime.datetime.now(datetime.UTC), self.loads[0].now_s()
        strike = FAULTS[kind](self.stage, victim, self.rng)
        time.sleep(lasts_s)
        strike.mend()
        for node in strike.restarted:
            node.wait_ready(60)
        for load in self.loads:
            load.go_home()
        time.sleep(self.options.calm)
        done = Round(number, kind, place_of(victim), strike.text, lasts_s, began, began_s)
        self._settle(done, before, strike)
        self._count(done, marks)
        return done

    def _settle(self, done: Round, before: dict[str, dict[str, int]], strike: Strike) -> None:
        """The load pauses until the replicas are equal, or for as long as they may take."""
        for load in self.loads:
            load.pause()
        started = time.monotonic()
        while True:
            if done.problems or not done.converged_s:
                done.problems = self.books.problems(self.stage.cluster.nodes)
                done.converged_s = time.monotonic() - started
            done.hurt = [place_of(node) for node in self.stage.cluster.nodes if not is_normal(node)]
            if not (done.problems or done.hurt) or time.monotonic() - started > self.options.patience:
                break
            time.sleep(0.1)
        done.exits = [
            f"{name} of {host}"
            for host, name in sorted(_ended(before, {node.host: pids(node) for node in self.stage.cluster.nodes}))
            if not strike.excused & {(host, name), (host, EVERYTHING)}
        ]
        for load in self.loads:
            load.resume()

    def _count(self, done: Round, marks: list[tuple[int, int, int]]) -> None:
        for load, (errors, acknowledged, wrong) in zip(self.loads, marks, strict=True):
            done.errors += load.result.errors[errors:]
            done.acknowledged += load.result.acknowledged - acknowledged
            for text in load.result.wrong[wrong:]:
                if " INCR " in text or " LPUSH " in text:  # right in the end, but answered by a replica that lags
                    done.late.append(text)
                else:
                    done.wrong.append(text)

    def report(self, findings: Findings) -> None:
        """The sums, by kind of fault and over all."""
        for kind in sorted({done.kind for done in self.rounds}):
            group = [done for done in self.rounds if done.kind == kind]
            print(
                f"  {kind}: {len(group)} times, {sum(len(done.errors) for done in group)} errors, "
                f"longest until replicas were equal {max(done.converged_s for done in group):.1f} s"
            )
        errors = sum(len(load.result.errors) for load in self.loads)
        acknowledged = sum(load.result.acknowledged for load in self.loads)
        share = acknowledged / max(1, acknowledged + errors)
        problems = [problem for done in self.rounds for problem in done.problems]
        wrong = sum(len(done.wrong) for done in self.rounds)
        late = sum(len(done.late) for done in self.rounds)
        exits = [text for done in self.rounds for text in done.exits]
        findings.check(not wrong, f"{wrong} wrong reads in {acknowledged} acknowledged requests")
        findings.check(not late, f"{late} replies to INCR or LPUSH that lagged behind earlier ones")
        findings.check(not problems, f"replicas after every fault: {counted(problems)} to complain of")
        hurt = [f"{place} after fault {done.number}" for done in self.rounds for place in done.hurt]
        findings.check(not hurt, f"every node is NORMAL again after every fault, but {hurt or None}")
        findings.check(not exits, f"{len(exits)} processes ended that nobody had killed")
        findings.check(
            share >= SUCCESS_SHARE,
            f"{share:.4%} of {acknowledged + errors} requests acknowledged ({errors} errors, at least "
            f"{SUCCESS_SHARE:.2%} wanted) over {len(self.rounds)} faults",
        )


def main(argv: Sequence[str]) -> int:
    options = parsed(argv)
    findings = Findings()
    with running_stage(options) as stage:
        usable = [
            kind
            for kind in options.kinds
            if (kind not in CUTS or stage.cuts.is_usable) and (kind != "fill-disks" or stage.disks.is_usable)
        ]
        for kind in set(options.kinds) - set(usable):
            print(f"cannot be done here, left out: {kind}")
        options.kinds = usable
        print(f"seed {options.seed}, {options.minutes:g} minutes, {options.rate:g} requests/s: {', '.join(usable)}")
        chaos = Chaos(stage, options)
        chaos.run(options.minutes * 60)
        chaos.report(findings)
        if findings.failed or options.keep_logs:
            for node in stage.cluster.nodes:
                keep_log(node, options.keep_logs or "/tmp")
    return findings.code


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make accept TOPIC=chaos ARGS=", description=TITLE)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2000.0, help="requests a second, of all clients together")
    parser.add_argument("--clients", type=int, default=12, help="of each datacenter")
    parser.add_argument("--longest", type=float, default=6.0, help="seconds that a fault may last")
    parser.add_argument("--calm", type=float, default=2.0, help="seconds of load after each fault")
    parser.add_argument("--patience", type=float, default=CONVERGED_WITHIN_S, help="seconds until replicas are equal")
    parser.add_argument("--kinds", default=",".join(FAULTS), help="which faults, by comma")
    parser.add_argument("--go-on", action="store_true", help="after a fault whose replicas do not become equal")
    parser.add_argument("--persistence", default="mixed", choices=("none", "aof_everysec", "mixed"))
    parser.add_argument("--keep-logs", metavar="DIR", help="where the logs of all nodes go; of a failed run: /tmp")
    parser.add_argument("--short", action="store_true", help="one minute")
    options = parser.parse_args(list(argv))
    options.kinds = options.kinds.split(",")
    if unknown := set(options.kinds) - FAULTS.keys():
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    if options.short:
        options.minutes = 1.0
    return options


@contextlib.contextmanager
def running_stage(options: argparse.Namespace) -> Iterator[Stage]:
    """Clocks that differ and datastores that keep something or nothing, by the seed."""
    rng = random.Random(options.seed)
    cuts, disks = Cuts(), HintDisks()

    def prepare(nodes: list[Node]) -> None:
        for place, node in enumerate(nodes):
            kept = ("none", "aof_everysec")[place % 2] if options.persistence == "mixed" else options.persistence
            node.conf["datastore_persistence"] = kept
            if OFFSET_KEY in SETTINGS:
                node.conf[OFFSET_KEY] = rng.randint(-OFFSET_MS_MOST, OFFSET_MS_MOST)
            if "fill-disks" in options.kinds:
                disks.mount(node)

    try:
        with running_cluster(LAYOUT, prepare=prepare, enable_gossip=True, timeout=1000) as cluster:
            try:
                yield Stage(cluster, cuts, disks)
            finally:
                disks.unmount()  # before their directories are removed
    finally:
        cuts.remove()
        disks.unmount()


def _plan(stage: Stage, datacenter: str, options: argparse.Namespace, seed: int) -> SteadyPlan:
    nodes = [node for node in stage.cluster.nodes if node.conf["datacenter"] == datacenter]
    return SteadyPlan(
        tuple(target(node) for node in nodes),
        clients=options.clients,
        rate_per_s=options.rate / len(LAYOUT),
        timeout_s=2.0,
        seed=seed,
        delete_share=0.05,
        shared=tuple(b"chaos:shared:%d" % n for n in range(4)),
        fail_over=True,
    )


def place_of(node: Node) -> str:
    return f"{node.conf['datacenter']}/{node.conf['rack']}"


def pids(node: Node) -> dict[str, int]:
    """Name and pid of its processes, once all of them run."""

    def running() -> dict[str, int]:
        rows = node.status()["processes"]
        return {row["name"]: int(row["pid"]) for row in rows} if all(row["pid"] for row in rows) else {}

    return wait_for(running, 20, f"all processes of {node}")


def _ended(before: dict[str, dict[str, int]], now: dict[str, dict[str, int]]) -> Iterator[tuple[str, str]]:
    for host, named in before.items():
        for name, pid in named.items():
            if now[host].get(name) != pid:
                yield host, name


def keep_log(node: Node, folder: str) -> None:
    """Where it can be read when the cluster is gone."""
    kept = f"{folder}/chaos-{node.host}.log"
    with open(kept, "w") as out:
        out.write(node.log())
    print(f"log of {place_of(node)} ({node.host}): {kept}")
