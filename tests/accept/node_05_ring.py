"""The ring and the parsers: state machine, two processes and 10 M records, kills, fuzzing, sanitizers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.accept.one_node import Findings, options
from tests.e2e.harness import REPO

TOPIC = "node"
TITLE = "5: ring against a deque, 10 M records between two processes, 20 kills; parser law; fuzz 30 min; asan"


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    findings = Findings()
    examples = "50" if short else "2000"
    python = sys.executable
    properties = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/property"]
    show(findings, "state machine of the ring, laws of the parsers", properties, {"HYPOTHESIS_EXAMPLES": examples})
    records = "200000" if short else "10000000"
    show(findings, "two processes", [python, "tests/stress/ring_stress.py", "--records", records])
    show(findings, "kills", [python, "tests/stress/ring_kill.py", "--kills", "4" if short else "20"])
    seconds = "10" if short else "1800"
    show(findings, f"fuzz {seconds} s", [python, "-m", "tests.fuzz.fuzz_proto", "--seconds", seconds])
    if not short:
        show(findings, "sanitizers", ["make", "asan"])
    return findings.code


def show(findings: Findings, what: str, command: Sequence[str], environ: dict[str, str] | None = None) -> None:
    """Run a program of this tree; its last line is the figure."""
    started = time.monotonic()
    done = subprocess.run(
        list(command), cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO), **(environ or {})}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    last = lines[-1].strip(" =") if lines else "(no output)"
    findings.check(not done.returncode, f"{what}, {time.monotonic() - started:.0f} s: {last}")
    if done.returncode:
        print("\n".join(lines[-30:]))
