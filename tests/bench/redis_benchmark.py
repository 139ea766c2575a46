"""One run of redis-benchmark, and its figures."""

from __future__ import annotations

import csv
import io
import resource
import shutil
import subprocess
from dataclasses import dataclass

VALUE_BYTES = 32
KEYSPACE = 10_000


@dataclass(frozen=True)
class Load:
    """One kind of load, a row of the benchmark's table."""

    name: str
    command: str
    clients: int
    pipeline: int
    requests: int
    quick_requests: int


@dataclass(frozen=True)
class Figures:
    """What redis-benchmark printed, and the CPU it used itself."""

    requests_per_s: float
    average_ms: float
    p50_ms: float
    p99_ms: float
    generator_cpu_ns: int


def find_benchmark() -> str:
    path = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if path is None:
        raise RuntimeError("redis-benchmark is not installed (apt-get install redis-tools)")
    return path


def _children_cpu_ns() -> int:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


def run(host: str, port: int, load: Load, requests: int) -> Figures:
    """Put `requests` requests of `load` on host:port."""
    command = [
        find_benchmark(), "-h", host, "-p", str(port), "-c", str(load.clients), "-P", str(load.pipeline),
        "-n", str(requests), "-d", str(VALUE_BYTES), "-r", str(KEYSPACE), "-t", load.command.lower(), "--csv",
    ]  # fmt: skip
    before = _children_cpu_ns()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    rows = [row for row in csv.reader(io.StringIO(done.stdout)) if row and row[0].upper() == load.command.upper()]
    if done.returncode != 0 or not rows:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-400:]}\n{done.stderr[-400:]}")
    rps, average, _minimum, p50, _p95, p99 = (float(x) for x in rows[0][1:7])
    return Figures(rps, average, p50, p99, _children_cpu_ns() - before)
