"""The measuring itself: interleaved rounds, and medians over them.

In every round each load is put on each contender once, the order of contenders rotating from round to round, so that a
slow minute of a shared machine falls on all of them. CPU is read right before and right after each run.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.bench import redis_benchmark
from tests.bench.redis_benchmark import Load
from tests.load import process_tree


class Contender(Protocol):
    """What is measured: a node, a cluster, or a datastore alone."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    def pids(self) -> list[int]: ...
    def coordinator_pids(self) -> list[int]: ...
    def store_pids(self) -> list[int]: ...
    def settle(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Round:
    """One run of one load on one contender."""

    peer: str
    load: str
    round: int
    requests: int
    cpu_us: float  # of the contender's processes, per request
    coordinator_cpu_us: float  # of them, the node that the load goes to
    store_cpu_us: float  # of the datastore behind it, per request
    requests_per_s: float
    average_ms: float
    p50_ms: float
    p99_ms: float
    other_cpu_share: float  # of the machine, used by neither contender, datastore nor load generator


def one_run(peer: Contender, load: Load, number: int, requests: int) -> Round:
    """Put one load on one contender."""
    groups = (peer.pids(), peer.coordinator_pids(), peer.store_pids())
    busy, started = process_tree.busy_ns(), time.monotonic()
    before = [process_tree.cpu_ns(pids) for pids in groups]
    figures = redis_benchmark.run(peer.host, peer.port, load, requests)
    peer.settle()
    cpu, coordinator, store = (process_tree.cpu_ns(pids) - was for pids, was in zip(groups, before, strict=True))
    elapsed_ns = (time.monotonic() - started) * 1e9
    known = figures.generator_cpu_ns + cpu + store
    other = max(0.0, process_tree.busy_ns() - busy - known) / (elapsed_ns * (os.cpu_count() or 1))
    return Round(
        peer.name, load.name, number, requests, cpu / requests / 1000, coordinator / requests / 1000,
        (store if groups[2] else cpu) / requests / 1000, figures.requests_per_s, figures.average_ms, figures.p50_ms,
        figures.p99_ms, other,
    )  # fmt: skip


def run_rounds(
    peers: Sequence[Contender], loads: tuple[Load, ...], rounds: int, quick: bool, say: Callable[[str], None]
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
            for peer in [*peers[turn:], *peers[:turn]]:
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
    coordinator_cpu_us: float
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
                middle(rows, "coordinator_cpu_us"),
                middle(rows, "store_cpu_us"),
                middle(rows, "requests_per_s"),
                middle(rows, "p50_ms"),
                middle(rows, "p99_ms"),
                average,
                added,
            )
        )
    return found
