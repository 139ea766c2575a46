"""`make check`, and the line coverage of the pure Python modules by all tests, their child processes included."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.accept.one_node import Findings, options
from tests.e2e.harness import REPO

TOPIC = "node"
TITLE = "10: make check is clean; line coverage of the pure Python modules >= 95 %"
WANTED_PERCENT = 95
COVERAGE_CONF = """\
[run]
source = dynomite_mp
parallel = true
data_file = {data}
concurrency = multiprocessing, thread
patch = subprocess, _exit, fork
sigterm = true

[report]
exclude_also =
    if TYPE_CHECKING:
    ^\\s*\\.\\.\\.$
"""


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    findings = Findings()
    done = subprocess.run(["make", "check"], cwd=REPO, capture_output=True, text=True, check=False)
    findings.check(not done.returncode, "make check")
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-1500:])
    with tempfile.TemporaryDirectory(prefix="dmp-coverage-") as name:
        folders = [f"tests/{folder}" for folder in ("unit", "property", "sim", "e2e")]
        folders = [folder for folder in folders if any((REPO / folder).glob("test_*.py"))]
        percent, table = coverage(Path(name), folders[: 1 if short else None])
    print(table)
    findings.check(percent >= WANTED_PERCENT or short, f"line coverage {percent:.1f} %, wanted >= {WANTED_PERCENT} %")
    return findings.code


def coverage(directory: Path, tests: Sequence[str]) -> tuple[float, str]:
    """Run the tests under coverage; the total, and the modules with gaps."""
    conf = directory / "coveragerc"
    conf.write_text(COVERAGE_CONF.format(data=directory / "data"))
    environ = {**os.environ, "COVERAGE_PROCESS_START": str(conf), "PYTHONPATH": str(REPO)}
    module = [sys.executable, "-m", "coverage"]
    pytest = ["run", f"--rcfile={conf}", "-m", "pytest", "-q", "-n", "4", "-p", "no:cacheprovider", *tests]
    done = subprocess.run([*module, *pytest], cwd=REPO, env=environ, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout.splitlines()[-8:]))
    subprocess.run([*module, "combine", f"--rcfile={conf}"], cwd=REPO, env=environ, capture_output=True, check=False)
    report = [*module, "report", f"--rcfile={conf}", "--skip-covered", "--precision=1"]
    table = subprocess.run(report, cwd=REPO, env=environ, capture_output=True, text=True, check=False).stdout
    total = [line for line in table.splitlines() if line.startswith("TOTAL")]
    return (float(total[0].split()[-1].rstrip("%")) if total else 0.0), table
