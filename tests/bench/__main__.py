"""`python -m tests.bench`: measure the node, or clusters of it, against the datastore, nutcracker and C Dynomite.

Contenders that this machine does not have are named and left out. Exit status 0; with --judge 1 when a goal is missed.
DYNOMITE_MP_OTHER_TREE may name another checkout of this project, built: one more contender, to judge a change by.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import clusters, measure, peers, report
from tests.bench.measure import Contender
from tests.bench.scenarios import SCENARIOS, Part, Scenario


def contenders(scenario: Scenario) -> list[str]:
    """Their names; another tree is one only when it is named."""
    named = [peers.OTHER_TREE] if os.environ.get(peers.OTHER_TREE_VARIABLE) else []
    return [*scenario.peers[:1], *named, *scenario.peers[1:]]


def start(name: str, place: int, part: Part, directory: Path) -> Contender:
    """One contender; PeerMissingError when this machine does not have it."""
    if part.layout is None:
        return peers.STARTERS[name](directory, 21000 + 500 * place)
    return clusters.STARTERS[name](directory, part.layout)


def run_part(
    scenario: Scenario, part: Part, rounds: int, quick: bool, only: set[str] | None,
    versions: dict[str, str], missing: dict[str, str],
) -> list[measure.Round]:  # fmt: skip
    """Start the contenders of a part, measure, stop them. What runs and what is missing is noted in the last two."""
    running: list[Contender] = []
    with tempfile.TemporaryDirectory(prefix="dmp-bench-") as directory:
        try:
            for place, name in enumerate(contenders(scenario)):
                if only is not None and name not in only:
                    continue
                try:
                    running.append(start(name, place, part, Path(directory)))
                except peers.PeerMissingError as error:
                    if name not in missing:
                        print(f"{name:<12} left out: {error}")
                    missing[name] = str(error)
            for peer in running:
                if peer.name not in versions:
                    print(f"{peer.name:<12} {peer.version}")
                versions[peer.name] = peer.version
            if part.layout is not None:
                print(part.layout.name)
            return measure.run_rounds(running, part.loads, rounds, quick, lambda text: print(text, flush=True))
        finally:
            for peer in running:
                peer.stop()


def bench(
    scenario: Scenario, rounds: int, quick: bool, json_path: Path | None, only: set[str] | None = None
) -> dict[str, Any]:
    """Run a scenario, print its table and goals, save it; the saved document."""
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    runs = []
    for part in scenario.parts:
        runs += run_part(scenario, part, rounds, quick, only, versions, missing)
    rows = measure.medians(runs)
    loads, names = [load.name for load in scenario.loads], contenders(scenario)
    rows.sort(key=lambda row: (loads.index(row.load), names.index(row.peer)))
    verdicts = report.judge(rows, scenario.goals)
    print(f"\n{scenario.what}; medians of {rounds} interleaved rounds\n{report.table(rows)}\n")
    print(report.noise_line(runs))
    for verdict in verdicts:
        if verdict.met is not None:
            print(verdict.line())
    found = report.document(scenario, versions, missing, runs, rows, verdicts)
    print(f"saved in {report.save(found, json_path)}")
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a fifth of the requests")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="single")
    parser.add_argument("--only", help="contenders to run, comma separated: " + ", ".join(peers.STARTERS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to save (default: bench-results/)")
    parser.add_argument("--judge", action="store_true", help="exit with 1 when a goal is missed")
    options = parser.parse_args(argv)
    only = set(options.only.split(",")) if options.only else None
    found = bench(SCENARIOS[options.scenario], options.rounds, options.quick, options.json, only)
    missed = any(goal["met"] is False for goal in found["goals"])
    return 1 if options.judge and missed else 0


if __name__ == "__main__":
    sys.exit(main())
