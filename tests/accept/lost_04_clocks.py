"""One client that alternates SETs through two nodes whose clocks differ by seconds: its last write wins, always.

    client --SET k 1--> a (clock + offset)     --SET k 2--> b (clock - offset)     --SET k 3--> a ...
           --GET k----> a, then b: each reads what was acknowledged last

Both nodes own the key, each in its rack; DC_ONE, so each answers from its own copy. After every write it is read where
it was acknowledged; after every twentieth, which is the last to its key, through the other node too, as soon as the
copy has arrived there; in the end all three racks are compared.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.accept.cluster_parts import figures, running_cluster
from tests.accept.one_node import Findings
from tests.e2e.harness import Node, Resp

TOPIC = "lost"
TITLE = "4: clocks 3 s ahead and 3 s behind, one client alternating SETs through both: the last write wins"
WRITES_A_KEY = 20
SETTLE_READS = 2000


@dataclass
class Outcome:
    writes: int = 0
    wrong_here: int = 0  # a read through the node that acknowledged it gave another value
    wrong_there: int = 0  # the other node did not come to hold it
    late_reads: int = 0
    restamped: int = 0
    skipped: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if len(self.examples) < 5:
            self.examples.append(text)


def offsets(offset_ms: int, skew_max_ms: int) -> list[dict[str, int]]:
    """For racks r1, r2 and r3; the third one's clock is right."""
    return [
        {"debug_clock_offset_ms": shift_ms, "max_clock_skew_ms": skew_max_ms} for shift_ms in (offset_ms, -offset_ms, 0)
    ]


def prepare(offset_ms: int, skew_max_ms: int) -> object:
    def set_clocks(nodes: list[Node]) -> None:
        for node, conf in zip(nodes, offsets(offset_ms, skew_max_ms), strict=True):
            node.conf.update(conf)

    return set_clocks


def alternate(first: Node, second: Node, rounds: int) -> Outcome:
    outcome = Outcome()
    with Resp(first.host) as a, Resp(second.host) as b:
        for number, (here, there) in zip(range(rounds), itertools.cycle(((a, b), (b, a))), strict=False):
            key, value = f"clock:{number // WRITES_A_KEY}", f"{number}"
            if text(here.call("SET", key, value)) != "OK":
                outcome.note(f"SET {key} {value} was not acknowledged")
            outcome.writes += 1
            got = text(here.call("GET", key))
            if got != value:
                outcome.wrong_here += 1
                outcome.note(f"{key} is {got!r} where {value} was acknowledged")
            if number % WRITES_A_KEY == WRITES_A_KEY - 1:
                settle(there, key, value, outcome)
    return outcome


def settle(there: Resp, key: str, value: str, outcome: Outcome) -> None:
    """The other node's copy, once it has arrived."""
    got = ""
    for attempt in range(SETTLE_READS):
        got = text(there.call("GET", key))
        if got == value:
            outcome.late_reads += attempt > 0
            return
    outcome.wrong_there += 1
    outcome.note(f"{key} is {got!r} through the other node, {value} was acknowledged last")


def text(reply: object) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def run(rounds: int, offset_ms: int, skew_max_ms: int = 10_000) -> Outcome:
    """max_clock_skew_ms is above the difference of the two clocks: nobody promises anything beyond it."""
    with running_cluster(
        {"dc1": {"r1": "o", "r2": "o", "r3": "o"}},
        prepare=prepare(offset_ms, skew_max_ms),  # type: ignore[arg-type]
    ) as cluster:
        first, second, _third = cluster.nodes
        outcome = alternate(first, second, rounds)
        cluster.wait_quiet()
        for problem in cluster.replica_problems():
            outcome.wrong_there += 1
            outcome.note(problem)
        for node in cluster.nodes:
            outcome.restamped += figures(node)["restamped_writes"]
            outcome.skipped += figures(node)["skipped_writes"]
        return outcome


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="lost_04_clocks")
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--offset-ms", type=int, default=3000)
    options = parser.parse_args(argv)
    findings = Findings()
    outcome = run(options.rounds, options.offset_ms)
    print(
        f"   {outcome.writes} SETs: {outcome.wrong_here} reads wrong where they were acknowledged,"
        f" {outcome.wrong_there} not there in the end; {outcome.late_reads} copies were not there at the first read,"
        f" {outcome.restamped} writes stamped anew, {outcome.skipped} skipped as old"
    )
    for example in outcome.examples:
        print(f"      {example}")
    findings.check(not (outcome.wrong_here or outcome.wrong_there), "each read gives the last acknowledged value")
    return findings.code
