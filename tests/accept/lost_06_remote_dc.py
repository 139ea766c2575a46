"""A datacenter that is cut off under writes in both: no error in either, and afterwards all replicas are equal.

    dc1: a, b  <---- cut for a minute ---->  dc2: c, d
    clients write at a and at c: keys of their own, counters shared by all, and keys that both sides overwrite

Then, with the cut healed, every replica is read until all are equal; the counters have to be what was acknowledged on
both sides together. The second part kills the node through which the other datacenter gets the writes, under INCR load,
and starts it again: both racks there have to hold the acknowledged count.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading
import time
from collections.abc import Sequence

from tests.accept.__main__ import SKIPPED
from tests.accept.chaos_faults import Cuts, both_ways
from tests.accept.cluster_03_failover import signal_all
from tests.accept.cluster_parts import Cluster, target
from tests.accept.lost_01_node import STORE_PORT, running_stage
from tests.accept.one_node import Findings
from tests.e2e.harness import Node, Resp, wait_for
from tests.load.steady import SteadyLoad, SteadyPlan

TOPIC = "lost"
TITLE = "6: a datacenter cut off for a minute, and the node killed through which it gets its writes"
LAYOUT = {"dc1": {"a": "o", "b": "o"}, "dc2": {"c": "o", "d": "o"}}
HEAL_S = 60.0
GIVE_UP_S = 120.0
CLASSES = (
    (b"SET", b"both:string", b"%d"),
    (b"APPEND", b"both:text", b"%d,"),
    (b"HSET", b"both:hash", b"field", b"%d"),
    (b"SADD", b"both:set", b"%d"),
    (b"LPUSH", b"both:list", b"%d"),
    (b"ZADD", b"both:zset", b"%d", b"member"),
    (b"INCRBY", b"both:count", b"1"),
)


class BothSides:
    """Every class of writes to the same keys, now here, now there; `counted` are the acknowledged increments."""

    def __init__(self, nodes: Sequence[Node], rate_per_s: float = 200.0) -> None:
        self.nodes = nodes
        self.errors: list[str] = []
        self.counted = 0
        self._pause_s = 1 / rate_per_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="both sides")

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Resp(*target(node))) for node in self.nodes]
            number = 0
            while not self._stopping.wait(self._pause_s):
                number += 1
                words = CLASSES[number % len(CLASSES)]
                command = [word % number if b"%d" in word else word for word in words]
                reply = clients[number % len(clients)].call(*command)
                if isinstance(reply, Exception):
                    self.errors.append(f"{words[0].decode()}: {reply}")
                elif words[0] == b"INCRBY":
                    self.counted += 1

    def __enter__(self) -> BothSides:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()


def seconds_until_equal(
    cluster: Cluster, since: float, most_s: float = GIVE_UP_S, only: str = ""
) -> tuple[float, list[str]]:
    """Until every key (with `only` in its name) is the same on all replicas; what still differs after a long time."""
    while True:
        problems = [text for text in cluster.replica_problems() if only in text.split(" ")[0]]
        took_s = time.monotonic() - since
        if not problems or took_s > most_s:
            return took_s, problems
        time.sleep(0.2)


def cut_off(cluster: Cluster, cuts: Cuts, findings: Findings, rate_per_s: float, outage_s: float) -> None:
    near, far = cluster.nodes[:2], cluster.nodes[2:]
    plan = SteadyPlan((target(near[0]), target(far[0])), rate_per_s=rate_per_s, read_share=0.0, count_share=0.3)
    with BothSides((near[0], far[0])) as both, SteadyLoad(plan) as load:
        time.sleep(2.0)
        cuts.cut(both_ways(near, far))
        time.sleep(outage_s)
        cuts.heal()
        healed = time.monotonic()
        time.sleep(2.0)
    took_s, problems = seconds_until_equal(cluster, healed)
    for node in cluster.nodes:
        problems += load.verify((node.host, STORE_PORT))
        count = node.call("GET", "both:count")
        if count != b"%d" % both.counted:
            problems.append(f"{node.host}: both:count is {count!r}, {both.counted} were acknowledged")
    errors = len(load.result.errors) + len(both.errors)
    for text in (load.result.error_table(), *both.errors[:5], *problems[:10]):
        if text:
            print(text)
    findings.check(
        not errors and not problems and took_s <= HEAL_S,
        f"datacenter cut off for {outage_s:g} s: {errors} client errors, {len(problems)} keys differ or are wrong, "
        f"all replicas equal {took_s:.1f} s after healing; {both.counted} shared increments; {load.result.line()}",
    )


def fan_out_killed(cluster: Cluster, findings: Findings, rate_per_s: float, outage_s: float) -> None:
    """dc2's first rack is what a's writes go through."""
    near, through, other = cluster.nodes[0], cluster.nodes[2], cluster.nodes[3]
    plan = SteadyPlan((target(near),), rate_per_s=rate_per_s, read_share=0.0, count_share=1.0)
    with SteadyLoad(plan) as load:
        time.sleep(2.0)
        signal_all(through.processes(), signal.SIGKILL)
        through.wait()
        time.sleep(outage_s)
        through.start(wait=False)
        wait_for(lambda: through.call("PING") == b"PONG", 30, "the first PONG")
        back = time.monotonic()
        time.sleep(1.0)
    took_s, problems = seconds_until_equal(cluster, back, 10.0 + 2 * outage_s, only="count'")
    lists = len(cluster.replica_problems())
    problems += [text for node in (near, other, through) for text in load.verify((node.host, STORE_PORT))]
    for text in (load.result.error_table(), *problems[:10]):
        if text:
            print(text)
    findings.check(
        not load.result.errors and not problems,
        f"node killed through which the other datacenter gets its writes: {len(load.result.errors)} client errors, "
        f"{len(problems)} counters not as acknowledged, all equal {took_s:.1f} s after its return; "
        f"{lists} lists in another order; "
        f"{load.result.line()}",
    )


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument("--short", action="store_true", help="1,000 writes/s and 5 s")
    short = parser.parse_args(argv).short
    findings = Findings()
    rate_per_s, outage_s = (1000.0, 5.0) if short else (5000.0, 60.0)
    with running_stage(LAYOUT) as stage:
        if not stage.cuts.is_usable:
            print("no nftables here")
            return SKIPPED
        cut_off(stage.cluster, stage.cuts, findings, rate_per_s, outage_s)
    with running_stage(LAYOUT) as stage:
        fan_out_killed(stage.cluster, findings, rate_per_s, min(outage_s, 10.0))
    return findings.code
