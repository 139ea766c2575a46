"""CPU per request, throughput and latency beside C Dynomite, nutcracker and the datastore itself.

C Dynomite is the binary that DYNOMITE_BIN names; without one its ratios are not judged and the script is skipped after
printing the others. Run it on an otherwise idle machine: the share of CPU that others used is printed.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.accept.one_node import SKIPPED, Findings, options
from tests.bench.__main__ import bench
from tests.bench.report import Verdict
from tests.bench.scenarios import SCENARIOS, Goal

TOPIC = "node"
TITLE = "7: CPU per request and latency against C Dynomite, nutcracker and the datastore"


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    found = bench(SCENARIOS["single"], rounds=1 if short else 7, quick=short, json_path=None)
    findings = Findings()
    for row in found["goals"]:
        goal = Goal(row["figure"], tuple(row["loads"]), row["against"], row["at_most"], row["hoped"])
        if row["met"] is not None:
            findings.check(row["met"], Verdict(goal, row["load"], row["ratio"], row["met"]).line())
    for name, why in found["missing"].items():
        print(f"not measured: {name}: {why}")
    return findings.code or (SKIPPED if found["missing"] else 0)
