"""Overwrites racing with everything else: two clients, five coordinators in two datacenters, the same hundred keys.

    client 1, RESP2 --> r1, r2 of dc1, r1, r2 of dc2, in turn --+--> SET DEL APPEND HSET LPUSH INCR on the same keys
    client 2, RESP3 --> the same nodes, in another order -------+

Every acknowledged INCR of a counter is counted. When the load is over and the lanes are empty, all replicas of both
datacenters have to be equal and every counter exact. The second run kills the node of dc1's third rack in the middle.
"""

from __future__ import annotations

import argparse
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import hiredis

from tests.accept.cluster_03_failover import signal_all
from tests.accept.cluster_parts import Cluster, figures, running_cluster
from tests.accept.one_node import Findings
from tests.e2e.harness import Node, Resp, wait_for

TOPIC = "lost"
TITLE = "3: overwrites racing from two clients through four coordinators in two datacenters"
LAYOUT = {"dc1": {"r1": "o", "r2": "o", "r3": "o"}, "dc2": {"r1": "o", "r2": "o"}}
KEYS = 25  # of each kind
BATCH = 8
SETTLE_S = 60.0


@dataclass
class Racer:
    """One client; it remembers how many INCRs of each counter were acknowledged, and how many may have been."""

    nodes: Sequence[Node]
    protocol: int
    seed: int
    requests: int
    sent: int = 0
    errors: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        rng = random.Random(self.seed)
        conns = [Resp(node.host, timeout_s=20) for node in self.nodes]
        for conn in conns:
            if self.protocol == 3:
                conn.call("HELLO", "3")
        while self.sent < self.requests:
            conn = conns[(self.sent // BATCH + self.seed) % len(conns)]
            batch = [command(rng) for _ in range(BATCH)]
            for words in batch:
                conn.send(*words)
            for words in batch:
                self.take(words, conn.reply())
            self.sent += BATCH
        for conn in conns:
            conn.close()

    def take(self, words: tuple[str, ...], reply: object) -> None:
        is_error = isinstance(reply, hiredis.ReplyError) and not str(reply).startswith("WRONGTYPE")
        self.errors += is_error
        if words[0] == "INCR":
            (self.unknown if is_error else self.counted)[words[1]] += 1


def command(rng: random.Random) -> tuple[str, ...]:
    """Each kind of key has its writers, and DEL or SET that overwrite what they did."""
    number, word = rng.randrange(KEYS), f"{rng.randrange(10**6)}"
    kind = rng.choice(("text", "hash", "list", "count"))
    if kind == "count":
        return "INCR", f"count:{number}"
    if rng.random() < 0.2:
        return "DEL", f"{kind}:{number}"
    if kind == "hash":
        return "HSET", f"hash:{number}", f"f{rng.randrange(4)}", word
    if kind == "list":
        return "LPUSH", f"list:{number}", word
    return ("SET", f"text:{number}", word) if rng.random() < 0.5 else ("APPEND", f"text:{number}", word)


@dataclass
class Outcome:
    sent: int
    errors: int
    settled_s: float
    problems: list[str]
    wrong_counts: list[str]
    figures: Counter[str]

    def details(self) -> list[str]:
        return [*self.problems[:5], *self.wrong_counts[:5]]


def race(cluster: Cluster, requests: int, *, kills: bool, settle_s: float = SETTLE_S) -> Outcome:
    coordinators = [node for node in cluster.nodes if node is not cluster.nodes[2]]
    racers = [Racer(coordinators, protocol, seed, requests // 2) for protocol, seed in ((2, 0), (3, 1))]
    threads = [threading.Thread(target=racer.run) for racer in racers]
    for thread in threads:
        thread.start()
    if kills:
        victim = cluster.nodes[2]
        wait_for(lambda: racers[0].sent > requests // 8, 60, "a load under way")
        signal_all(victim.processes(), signal.SIGKILL)
        victim.wait()
        wait_for(lambda: racers[0].sent > requests // 4 or not threads[0].is_alive(), 60, "writes that it misses")
        victim.start()
    for thread in threads:
        thread.join()
    started = time.monotonic()
    cluster.wait_connected(60)
    problems = settle(cluster, settle_s)
    settled_s = time.monotonic() - started
    counted = sum((racer.counted for racer in racers), Counter[str]())
    unknown = sum((racer.unknown for racer in racers), Counter[str]())
    return Outcome(
        sum(racer.sent for racer in racers), sum(racer.errors for racer in racers), settled_s, problems,
        wrong_counts(cluster, counted, unknown), totals(cluster),
    )  # fmt: skip


def settle(cluster: Cluster, settle_s: float) -> list[str]:
    """What still differs once nothing does any more, or after settle_s."""
    end = time.monotonic() + settle_s
    while True:
        cluster.wait_quiet(60)
        problems = cluster.replica_problems()
        if not problems or time.monotonic() > end:
            return problems


def wrong_counts(cluster: Cluster, counted: Counter[str], unknown: Counter[str]) -> list[str]:
    wrong = []
    with cluster.nodes[0].store() as store:
        for key, least in sorted(counted.items()):
            value = int(store.call("GET", key) or 0)
            if not least <= value <= least + unknown[key]:
                wrong.append(f"{key} is {value}, {least} increments were acknowledged")
    return wrong


def totals(cluster: Cluster) -> Counter[str]:
    names = ("skipped_writes", "restamped_writes", "missed_writes", "key_copies_received")
    found: Counter[str] = Counter()
    for node in cluster.nodes:
        now = figures(node)
        found.update({name: now.get(name, 0) for name in names})
    return found


def run(requests: int, *, kills: bool, io_workers: int = 2, settle_s: float = SETTLE_S) -> Outcome:
    with running_cluster(LAYOUT, io_workers=io_workers, datastore_persistence="aof_everysec") as cluster:
        return race(cluster, requests, kills=kills, settle_s=settle_s)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="lost_03_races")
    parser.add_argument("--requests", type=int, default=60_000)
    options = parser.parse_args(argv)
    findings = Findings()
    for kills in (False, True):
        outcome = run(options.requests, kills=kills)
        what = "one node killed in the middle" if kills else "no faults"
        print(f"   {what}: {outcome.sent} requests, {outcome.errors} errors, equal after {outcome.settled_s:.1f} s")
        print(f"      {dict(outcome.figures)}")
        for line in outcome.details():
            print(f"      {line}")
        findings.check(not outcome.problems, f"{what}: all replicas of both datacenters are equal")
        findings.check(not outcome.wrong_counts, f"{what}: the sums of INCR are exact")
    return findings.code
