"""A datacenter whose only other one is dead, under load: its nodes' memory stays flat, its latency stays what it was.

    redis-benchmark / SteadyLoad ----> a1 <----> b1     racks a and b of dc1: measured
                                        |         |
                                        +----> c1 <+    dc2: stopped, or killed

Memory: SET as fast as it goes for the whole time while dc2 is dead; what may be kept for it is bounded, so once rings
and buffers have been used in full, the memory of every node (its processes less the datastore) grows no more. The load
is long enough for that many times over.
Latency: SETs and GETs at half the rate that the load can reach, in pairs: a stretch with dc2 alive, a stretch with it
stopped, which is the worse way to be dead; every pair begins with empty queues. The hint log and the datastores sync
their files, dead or alive; where the disk is slow or shared, TMPDIR=/dev/shm leaves it out of the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence

from tests.accept.cluster_03_failover import signal_all
from tests.accept.cluster_parts import Cluster, figures, running_cluster, target
from tests.accept.one_node import MB, Findings, own_pids
from tests.bench.redis_benchmark import find_benchmark
from tests.e2e.harness import Node
from tests.load import process_tree
from tests.load.steady import SteadyLoad, SteadyPlan, SteadyResult

TOPIC = "cluster"
TITLE = "8: a dead remote datacenter under load: memory flat, local p99 <= 1.25 x undisturbed + 0.2 ms"
LAYOUT = {"dc1": {"a": "o", "b": "o"}, "dc2": {"c": "o"}}
P99_FACTOR, P99_EXTRA_S = 1.25, 0.0002
FLAT_FACTOR, FLAT_EXTRA_MB = 1.05, 4.0
FLOOD_RATE_PER_S = 1e6  # more than can be reached: the load goes as fast as it can
RING_BYTES = 4 * MB  # as `cluster up` has it: soon used in full, also on a slow machine
VALUE_BYTES, KEYSPACE, CLIENTS = 64, 20_000, 50


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make accept ARGS=", description=TITLE)
    parser.add_argument("--short", action="store_true", help="a quick version of the same")
    parser.add_argument("--minutes", type=float, default=10.0, help="of load while memory is watched")
    parser.add_argument("--pairs", type=int, default=5, help="of stretches for the latency")
    parser.add_argument("--only", choices=("memory", "latency"))
    chosen = parser.parse_args(list(argv))
    minutes, pairs, stretch_s = (0.5, 2, 2.0) if chosen.short else (chosen.minutes, chosen.pairs, 8.0)
    findings = Findings()
    if chosen.only != "memory":
        with running_cluster(LAYOUT) as cluster:
            check_latency(cluster, findings, pairs, stretch_s)
    if chosen.only != "latency":
        with running_cluster(LAYOUT, replication_ring_bytes=RING_BYTES) as cluster:
            check_memory(cluster, findings, minutes * 60)
    return findings.code


def here(cluster: Cluster) -> list[Node]:
    """The nodes of the datacenter that lives."""
    return [node for node in cluster.nodes if node.conf["datacenter"] == "dc1"]


def there(cluster: Cluster) -> list[Node]:
    return [node for node in cluster.nodes if node.conf["datacenter"] == "dc2"]


# ---- latency ---------------------------------------------------------------------------------------------------------


def check_latency(cluster: Cluster, findings: Findings, pairs: int, stretch_s: float) -> None:
    """Pairs of stretches, undisturbed and with the other datacenter stopped; which comes first changes."""
    full = stretch(cluster, FLOOD_RATE_PER_S, stretch_s / 2)
    rate_per_s = full.acknowledged / full.seconds / 2
    print(f"the load reaches {2 * rate_per_s:.0f} operations a second; half of it is offered")
    cluster.wait_quiet()
    p99: dict[bool, list[float]] = {False: [], True: []}
    errors = 0
    for number in range(pairs):
        for is_dead in (False, True) if number % 2 == 0 else (True, False):
            with stopped(cluster) if is_dead else contextlib.nullcontext():
                result = stretch(cluster, rate_per_s, stretch_s)
            errors += len(result.errors) + len(result.wrong)
            p99[is_dead].append(result.percentile_s(0.99))
            print(f"  pair {number + 1}, {'dead' if is_dead else 'alive'}: {result.line()}", flush=True)
            cluster.wait_quiet(60)
    alive, dead = (statistics.median(p99[is_dead]) for is_dead in (False, True))
    findings.check(errors == 0, f"{errors} errors or wrong replies")
    findings.check(
        dead <= P99_FACTOR * alive + P99_EXTRA_S,
        f"p99, median of {pairs}: undisturbed {alive * 1000:.2f} ms, other datacenter dead {dead * 1000:.2f} ms "
        f"(at most {(P99_FACTOR * alive + P99_EXTRA_S) * 1000:.2f})",
    )


def stretch(cluster: Cluster, rate_per_s: float, seconds: float) -> SteadyResult:
    """One stretch of load on the local nodes."""
    targets = tuple(target(node) for node in here(cluster))
    with SteadyLoad(SteadyPlan(targets, rate_per_s=rate_per_s, clients=CLIENTS, count_share=0.0)) as load:
        time.sleep(seconds)
    return load.result


@contextlib.contextmanager
def stopped(cluster: Cluster) -> Iterator[None]:
    """The other datacenter stands still, then goes on."""
    processes = [process for node in there(cluster) for process in node.processes()]
    signal_all(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(processes, signal.SIGCONT)


# ---- memory ----------------------------------------------------------------------------------------------------------


def check_memory(cluster: Cluster, findings: Findings, seconds: float) -> None:
    """The other datacenter is killed, and as many writes as can be done are done for all the time."""
    for node in there(cluster):
        signal_all(node.processes(), signal.SIGKILL)
        node.wait()
    nodes = here(cluster)
    samples: dict[Node, list[float]] = {node: [] for node in nodes}
    before = {node: figures(node)["write_requests"] for node in nodes}
    started = time.monotonic()
    with flood(nodes):
        while time.monotonic() - started < seconds:
            time.sleep(min(5.0, seconds / 20))
            for node in nodes:
                samples[node].append(process_tree.pss_bytes(own_pids(node)) / MB)
    written = sum(figures(node)["write_requests"] - before[node] for node in nodes)
    elapsed = time.monotonic() - started
    print(f"{written} writes in {elapsed:.0f} s, {written / elapsed:.0f} a second")
    for node in nodes:
        found = samples[node]
        middle, last = (statistics.mean(part) for part in (thirds(found)[1], thirds(found)[2]))
        findings.check(
            last <= FLAT_FACTOR * middle + FLAT_EXTRA_MB,
            f"{node}: PSS {found[0]:.0f} MB at first, {middle:.0f} MB in the second third, {last:.0f} MB in the last, "
            f"{max(found):.0f} MB at most",
        )


def thirds(values: Sequence[float]) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    size = len(values) // 3
    return values[:size], values[size : 2 * size], values[-size:]


@contextlib.contextmanager
def flood(nodes: Sequence[Node]) -> Iterator[None]:
    """SETs without end on every node, as fast as they are answered."""
    loads = [
        subprocess.Popen(
            [find_benchmark(), "-h", node.host, "-p", str(target(node)[1]), "-c", str(CLIENTS), "-d", str(VALUE_BYTES),
             "-r", str(KEYSPACE), "-t", "set", "-n", str(2**31 - 1), "-l", "-q"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for node in nodes
    ]  # fmt: skip
    try:
        yield
        for load in loads:
            if load.poll() is not None:
                said = load.stderr.read().decode() if load.stderr else ""
                raise RuntimeError(f"redis-benchmark ended with {load.returncode}: {said[-500:]}")
    finally:
        for load in loads:
            load.kill()
            load.wait()
