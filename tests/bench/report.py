"""From medians to a table, a verdict on the goals, and a JSON file."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.measure import Median, Round
from tests.bench.scenarios import NODE, Goal, Scenario

RIVALS = ("other-tree", "dynomite-c", "nutcracker", "redis")
FIGURE_WORDS = {
    "cpu_us": "CPU per request",
    "coordinator_cpu_us": "CPU per request of the coordinator",
    "added_ms": "added latency",
    "p99_ms": "p99",
    "requests_per_s": "requests/s",
}


@dataclass(frozen=True)
class Verdict:
    """One goal under one load: `met` is None when a side of it was not measured."""

    goal: Goal
    load: str
    ratio: float | None
    met: bool | None

    def line(self) -> str:
        word = {True: "met", False: "MISSED", None: "not measured"}[self.met]
        ratio = "" if self.ratio is None else f"{self.ratio:.2f} x {self.goal.against}, "
        what = FIGURE_WORDS[self.goal.figure]
        hoped = "" if self.goal.hoped is None else f" (design: {self.goal.hoped:.2f})"
        return f"{what}, {self.load}: {ratio}wanted <= {self.goal.at_most:.2f} x {self.goal.against}{hoped}: {word}"


def judge(rows: list[Median], goals: tuple[Goal, ...]) -> list[Verdict]:
    """Every goal under every load it names."""
    by_place = {(row.load, row.peer): row for row in rows}
    verdicts = []
    for goal in goals:
        for load in goal.loads:
            ours, theirs = by_place.get((load, NODE)), by_place.get((load, goal.against))
            mine = getattr(ours, goal.figure) if ours else None
            other = getattr(theirs, goal.figure) if theirs else None
            if mine is None or other is None or other <= 0:  # noise can make an added latency negative
                verdicts.append(Verdict(goal, load, None, None))
            else:
                verdicts.append(Verdict(goal, load, mine / other, mine <= other * goal.at_most))
    return verdicts


def table(rows: list[Median]) -> str:
    """The table that people read. `first us`: the part of the node that the load goes to."""
    by_place = {(row.load, row.peer): row for row in rows}
    rivals = [name for name in RIVALS if any(row.peer == name for row in rows)]
    width = max(len(row.load) for row in rows)
    lines = [
        f"{'load':<{width}} {'':<12} {'us CPU/req':>10} {'(least-most)':>14} {'first us':>8} "
        + " ".join(f"{'x ' + name:>12}" for name in rivals)
        + f" {'kreq/s':>8} {'p50 ms':>7} {'p99 ms':>7} {'added ms':>8} {'store us':>8}"
    ]
    last_load = ""
    for row in rows:
        if row.load != last_load and last_load:
            lines.append("")
        spread = f"({row.cpu_us_least:.2f}-{row.cpu_us_most:.2f})"
        ratios = []
        for name in rivals:
            rival = by_place.get((row.load, name))
            ratios.append(f"{row.cpu_us / rival.cpu_us:>12.2f}" if rival and rival.cpu_us else f"{'':>12}")
        added = "" if row.added_ms is None else f"{row.added_ms:.3f}"
        lines.append(
            f"{row.load if row.load != last_load else '':<{width}} {row.peer:<12} {row.cpu_us:>10.2f} {spread:>14} "
            f"{row.coordinator_cpu_us:>8.2f} {' '.join(ratios)} {row.requests_per_s / 1000:>8.1f} {row.p50_ms:>7.3f} "
            f"{row.p99_ms:>7.3f} {added:>8} {row.store_cpu_us:>8.2f}"
        )
        last_load = row.load
    return "\n".join(lines)


def noise_line(rounds: list[Round]) -> str:
    """How much of the machine others used meanwhile."""
    shares = sorted(row.other_cpu_share for row in rounds)
    return f"CPU used by others meanwhile: median {shares[len(shares) // 2]:.1%}, most {shares[-1]:.1%} of the machine"


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def document(scenario: Scenario, versions: dict[str, str], missing: dict[str, str], rounds: list[Round],
             rows: list[Median], verdicts: list[Verdict]) -> dict[str, Any]:  # fmt: skip
    """Everything, as it is saved."""
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "scenario": scenario.name,
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "peers": versions,
        "missing": missing,
        "medians": [asdict(row) for row in rows],
        "goals": [{**asdict(v.goal), "load": v.load, "ratio": v.ratio, "met": v.met} for v in verdicts],
        "rounds": [asdict(row) for row in rounds],
    }


def save(found: dict[str, Any], path: Path | None) -> Path:
    """Write it to `path`, or into bench-results/ under its time."""
    if path is None:
        stamp = found["when"].replace(":", "").replace("+0000", "Z")
        path = Path("bench-results") / f"{found['scenario']}-{stamp}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path
