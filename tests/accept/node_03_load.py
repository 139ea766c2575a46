"""Pipelines of random depth from 200 clients, every reply checked; and one value of 512 MB in and out."""

from __future__ import annotations

from collections.abc import Sequence

from tests.accept.one_node import MB, Findings, options, own_pids, running_node, target
from tests.load import big_value, process_tree
from tests.load.bad_input import MemoryWatch
from tests.load.checked_load import LoadPlan, checked_load

TOPIC = "node"
TITLE = "3: 60 s of checked pipelines from 200 clients, 0 errors; a value of 512 MB goes in and out"


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    findings = Findings()
    for io_workers in (1, 2):
        with running_node(io_workers=io_workers) as node:
            watch = MemoryWatch(node.pid)
            watch.begin()
            plan = LoadPlan(
                (target(node),),
                4.0 if short else 60.0,
                40 if short else 200,
                flood_depth=10_000 if short else 100_000,
            )
            result = checked_load(plan)
            watch.ended = True
            for error in result.errors:
                print(error)
            findings.check(result.replies and not result.error_count, f"io_workers {io_workers}: {result.line()}")
            after = process_tree.rss_bytes(own_pids(node)) / MB
            most, before = watch.most / MB, watch.start / MB
            print(f"     memory of the node {before:.0f} MB before, {most:.0f} MB at most, {after:.0f} MB after")
    with running_node() as node:
        report = big_value.round_trip(target(node), (16 if short else 512) * MB, node.pid)
        for problem in report.problems:
            print(problem)
        findings.check(not report.problems, report.line())
    return findings.code
