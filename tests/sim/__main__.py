"""Runs of the simulator from the command line.

    python -m tests.sim --seeds 1000                 all scenarios but `large`, seeds 0..999
    python -m tests.sim --scenario large --seeds 20
    python -m tests.sim --scenario storm --seed 17   one run again, with its history
    python -m tests.sim --mutant NAME --seeds 100    with a defect built in; --list names them

A line per failed run, and at the end how long views took to converge. Exit code 1 if any run failed.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext

from .catalogue import SCENARIOS
from .mutants import MUTANTS
from .report import Report
from .request_scenarios import REQUEST_SCENARIOS

HISTORY_LINES = 200
SMALL = [name for name in SCENARIOS if name != "large"]


def run_one(job: tuple[str, int, int, str]) -> Report:
    scenario, seed, nodes, mutant = job
    with MUTANTS[mutant].applied() if mutant else nullcontext():
        return SCENARIOS[scenario](seed, nodes)


def run_light(job: tuple[str, int, int, str]) -> Report:
    """For another process: without the cluster and the history, which would have to travel."""
    report = run_one(job)
    report.cluster = None
    report.lines.clear()
    return report


def run_all(jobs: list[tuple[str, int, int, str]], processes: int) -> Iterator[Report]:
    if processes == 1 or len(jobs) == 1:
        yield from map(run_one, jobs)
    else:
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            yield from pool.imap_unordered(run_light, jobs, chunksize=4)


def spread(values: Iterable[int]) -> str:
    ordered = sorted(values)
    if not ordered:
        return "none"
    at = [ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 95, 99)]
    return f"p50 {at[0]} ms, p95 {at[1]} ms, p99 {at[2]} ms, most {ordered[-1]} ms ({len(ordered)})"


def print_history(report: Report) -> None:
    for line in report.lines:
        print(line)
    if report.cluster is None:
        return
    for at_ms, observer, event in report.cluster.history[-HISTORY_LINES:]:
        print(f"{at_ms:8d} {observer:24s} {event.happened.name:12s} {event.node_id:x} {event.address} {event.detail}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one only, and show its history")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="default: all but large")
    parser.add_argument("--nodes", type=int, default=0, help="default: drawn from the seed")
    parser.add_argument("--mutant", choices=MUTANTS, default="", help="build a defect in")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--list", action="store_true", help="list scenarios and mutants")
    options = parser.parse_args(arguments)
    if options.list:
        for name, scenario in SCENARIOS.items():
            print(f"scenario {name:14s} {(scenario.__doc__ or '').strip()}")
        for mutant in MUTANTS.values():
            print(f"mutant   {mutant.name:24s} {mutant.what}")
        return 0
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    jobs = [(name, seed, options.nodes, options.mutant) for seed in seeds for name in options.scenario or SMALL]
    started_s, used_s = time.monotonic(), time.process_time()
    reports = []
    for report in run_all(jobs, options.jobs):
        reports.append(report)
        if report.complaints:
            print(f"FAILED {report}", flush=True)
        if options.seed is not None:
            print_history(report)
        report.cluster = None
        report.lines.clear()
    failed = sum(bool(report.complaints) for report in reports)
    cpu = f", {time.process_time() - used_s:.0f} s CPU" if options.jobs == 1 else ""
    print(
        f"{len(reports)} runs, {failed} failed, {time.monotonic() - started_s:.0f} s{cpu}, "
        f"{sum(r.datagrams for r in reports)} datagrams"
    )
    for name in options.scenario or SMALL:
        own = [r for r in reports if r.scenario == name]
        if name in REQUEST_SCENARIOS:
            print(f"{name:10s} {sum(r.requests for r in own)} requests, {sum(r.answered for r in own)} without error")
            continue
        print(f"{name:10s} converged: {spread(ms for r in own for ms in r.converge_ms)}")
        if any(r.detect_ms for r in own):
            print(f"{name:10s} death known to all: {spread(ms for r in own for ms in r.detect_ms)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
