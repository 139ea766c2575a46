"""`python -m tests.bench`: measure the node against the datastore, nutcracker and C Dynomite.

Contenders that this machine does not have are named and left out. Exit status 0; with --judge 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import measure, report
from tests.bench.peers import STARTERS, Peer, PeerMissingError
from tests.bench.scenarios import SCENARIOS, Scenario


def start_all(scenario: Scenario, directory: Path, only: set[str] | None) -> tuple[list[Peer], dict[str, str]]:
    """Start the contenders of `scenario`; those that are missing, with the reason."""
    peers: list[Peer] = []
    missing: dict[str, str] = {}
    try:
        for place, name in enumerate(scenario.peers):
            if only is not None and name not in only:
                continue
            try:
                peers.append(STARTERS[name](directory, 21000 + 500 * place))
            except PeerMissingError as error:
                missing[name] = str(error)
    except BaseException:
        for peer in peers:
            peer.stop()
        raise
    return peers, missing


def bench(
    scenario: Scenario, rounds: int, quick: bool, json_path: Path | None, only: set[str] | None = None
) -> dict[str, Any]:
    """Run a scenario, print its table and goals, save it; the saved document."""
    with tempfile.TemporaryDirectory(prefix="dmp-bench-") as name:
        peers, missing = start_all(scenario, Path(name), only)
        try:
            for peer in peers:
                print(f"{peer.name:<12} {peer.version}")
            for absent, why in missing.items():
                print(f"{absent:<12} left out: {why}")
            runs = measure.run_rounds(peers, scenario.loads, rounds, quick, lambda text: print(text, flush=True))
        finally:
            for peer in peers:
                peer.stop()
    rows = measure.medians(runs)
    rows.sort(key=lambda row: ([load.name for load in scenario.loads].index(row.load), scenario.peers.index(row.peer)))
    verdicts = report.judge(rows, scenario.goals)
    print(f"\n{scenario.what}; medians of {rounds} interleaved rounds\n{report.table(rows)}\n")
    print(report.noise_line(runs))
    for verdict in verdicts:
        if verdict.met is not None:
            print(verdict.line())
    found = report.document(scenario, peers, missing, runs, rows, verdicts)
    print(f"saved in {report.save(found, json_path)}")
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a fifth of the requests")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="single")
    parser.add_argument("--only", help="contenders to run, comma separated: " + ", ".join(STARTERS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to save (default: bench-results/)")
    parser.add_argument("--judge", action="store_true", help="exit with 1 when a goal is missed")
    options = parser.parse_args(argv)
    only = set(options.only.split(",")) if options.only else None
    found = bench(SCENARIOS[options.scenario], options.rounds, options.quick, options.json, only)
    missed = any(goal["met"] is False for goal in found["goals"])
    return 1 if options.judge and missed else 0


if __name__ == "__main__":
    sys.exit(main())
