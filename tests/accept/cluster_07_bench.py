"""CPU per request of clusters beside C Dynomite's, same layouts, interleaved.

C Dynomite is the binary that DYNOMITE_BIN names; without one the script is skipped after printing our own figures. The
share of CPU that others used meanwhile is printed.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.accept.one_node import SKIPPED, Findings, options
from tests.bench.__main__ import bench
from tests.bench.report import Verdict
from tests.bench.scenarios import SCENARIOS, Goal

TOPIC = "cluster"
TITLE = "7: CPU per request of clusters against C Dynomite"


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    scenario = SCENARIOS["cluster"]
    found = bench(scenario, rounds=1 if short else 5, quick=short, json_path=None, only={"dynomite-mp", "dynomite-c"})
    findings = Findings()
    for row in found["goals"]:
        goal = Goal(row["figure"], tuple(row["loads"]), row["against"], row["at_most"], row["hoped"])
        if row["met"] is not None:
            findings.check(row["met"], Verdict(goal, row["load"], row["ratio"], row["met"]).line())
    return findings.code or (SKIPPED if found["missing"] else 0)
