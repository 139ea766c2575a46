"""The measuring itself: interleaved rounds, and medians over them.

In every round each load is put on each contender once, the order of contenders rotating from round to round, so that a
slow minute of a shared machine falls on all of them. CPU is read right before and right after each run.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench import redis_benchmark
from tests.bench.peers import Peer
from tests.bench.redis_benchmark import Load
from tests.load import process_tree


@dataclass(frozen=True)
class Round:
    """One run of one load on one contender."""

    peer: str
    load: str
    round: int
    requests: int
    cpu_us: float  # of the contender's processes, per request
    store_cpu_us: float  # of the datastore behind it, per request
    requests_per_s: float
    average_ms: float
    p50_ms: float
    p99_ms: float
    other_cpu_share: float  # of the machine, used by neither contender, datastore nor load generator


def one_run(peer: Peer, load: Load, number: int, requests: int) -> Round:
    """Put one load on one contender."""
    pids, store_pids = peer.pids(), [peer.store.pid]
    busy, started = process_tree.busy_ns(), time.monotonic()
    cpu, store_cpu = process_tree.cpu_ns(pids), process_tree.cpu_ns(store_pids)
    figures = redis_benchmark.run(peer.host, peer.port, load, requests)
    cpu = process_tree.cpu_ns(pids) - cpu
    store_cpu = process_tree.cpu_ns(store_pids) - store_cpu
    elapsed_ns = (time.monotonic() - started) * 1e9
    known = figures.generator_cpu_ns + cpu + (0 if peer.proxy is None else store_cpu)
    other = max(0.0, process_tree.busy_ns() - busy - known) / (elapsed_ns * (os.cpu_count() or 1))
    return Round(
        peer.name, load.name, number, requests, cpu / requests / 1000, store_cpu / requests / 1000,
        figures.requests_per_s, figures.average_ms, figures.p50_ms, figures.p99_ms, other,
    )  # fmt: skip


def run_rounds(
    peers: list[Peer], loads: tuple[Load, ...], rounds: int, quick: bool, say: Callable[[str], None]
) -> list[Round]:
    """All rounds; before them every contender is warmed up once, which also fills the key space for GET."""
    fill = Load("fill", "SET", 50, 16, 0, 0)
    for peer in peers:
        redis_benchmark.run(peer.host, peer.port, fill, 20 * redis_benchmark.KEYSPACE)
    found = []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for place, load in enumerate(loads):
            turn = (number + place) % len(peers)
            for peer in peers[turn:] + peers[:turn]:
                found.append(one_run(peer, load, number, load.quick_requests if quick else load.requests))
    return found


@dataclass(frozen=True)
class Median:
    """Medians of one contender under one load, with the least and greatest CPU per request."""

    peer: str
    load: str
    cpu_us: float
    cpu_us_least: float
    cpu_us_most: float
    store_cpu_us: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    average_ms: float
    added_ms: float | None  # average latency less that of the datastore alone, when it was measured


def medians(rounds: list[Round]) -> list[Median]:
    """One row for each contender and load, in order of first appearance."""
    groups: dict[tuple[str, str], list[Round]] = {}
    for row in rounds:
        groups.setdefault((row.load, row.peer), []).append(row)

    def middle(rows: list[Round], field: str) -> float:
        return float(statistics.median(getattr(row, field) for row in rows))

    found = []
    for (load, peer), rows in groups.items():
        direct = groups.get((load, "redis"))
        average = middle(rows, "average_ms")
        added = average - middle(direct, "average_ms") if direct and peer != "redis" else None
        cpu = [row.cpu_us for row in rows]
        found.append(
            Median(
                peer,
                load,
                statistics.median(cpu),
                min(cpu),
                max(cpu),
                middle(rows, "store_cpu_us"),
                middle(rows, "requests_per_s"),
                middle(rows, "p50_ms"),
                middle(rows, "p99_ms"),
                average,
                added,
            )
        )
    return found
