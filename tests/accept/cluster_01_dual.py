"""Dual runs through all nodes of clusters of one and of several datacenters, then every replica compared.

Each key keeps to one node, chosen by its hash; RESP2 and RESP3 clients share the keys. MGET, MSET, DEL, EXISTS,
UNLINK and TOUCH take several keys of the same node. When nothing is on its way any more, every datastore is read: each
key must be on exactly the nodes that own it by the models, and equal on all of them.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.accept.cluster_parts import LEVELS, Cluster, Layout, running_cluster, targets
from tests.accept.one_node import Findings, options
from tests.load.bare_store import BareStore
from tests.load.command_mix import CommandMix, Step
from tests.load.command_rows import ALL_GROUPS
from tests.load.dual_run import DRIVER_NAMES, DualRun
from tests.load.replies import Rule

TOPIC = "cluster"
TITLE = "1: dual run at every level through all nodes of 2 DCs x 3 racks x 2 nodes and others; all replicas equal"
MANY_KEYS = 40
THREE_BY_TWO = {"r1": "oo", "r2": "oo", "r3": "oo"}


@dataclass(frozen=True)
class Shape:
    """A cluster: its layout, and settings of all its nodes."""

    name: str
    layout: Layout
    io_workers: int = 1


SHAPES = (
    Shape("3 racks x 2", {"dc1": THREE_BY_TWO}),
    Shape("racks of 1, 2 and 3 nodes, 2 io workers", {"dc1": {"r1": "o", "r2": "oo", "r3": "ooo"}}, io_workers=2),
    Shape("2 datacenters x 3 racks x 2", {"dc1": THREE_BY_TWO, "dc2": THREE_BY_TWO}),
    Shape("3 racks x 2 and 1 rack x 3", {"dc1": THREE_BY_TWO, "dc2": {"r1": "ooo"}}),
    Shape(
        "3 datacenters of 2, 1 and 1 racks", {"dc1": {"r1": "oo", "r2": "o"}, "dc2": {"r1": "oo"}, "dc3": {"z": "o"}}
    ),
)
SHORT = (SHAPES[1],)


def main(argv: Sequence[str]) -> int:
    asked = options(argv, TITLE, is_dual=True)
    findings = Findings()
    for shape in SHORT if asked.short else SHAPES:
        if asked.only not in shape.name:
            continue
        print(f"{shape.name}: {shape.layout}")
        for line, problems in run_shape(shape, LEVELS, 400 if asked.short else 10_000, asked.seed):
            for problem in problems[:10]:
                print(problem)
            findings.check(not problems, line)
    return findings.code


def run_shape(shape: Shape, levels: Sequence[str], count: int, first_seed: int = 1) -> Iterator[tuple[str, list[str]]]:
    """A line and its problems for every level, and for the replicas after it."""
    with running_cluster(shape.layout, io_workers=shape.io_workers) as cluster, BareStore() as bare:
        for seed, level in enumerate(levels, first_seed):
            prefix = b"%s:" % level.encode()
            run = DualRun(targets(cluster.nodes), (bare.host, bare.port), seed, DRIVER_NAMES)
            try:
                for driver in run.to_target.values():
                    assert driver.send([(b"dyno_config:conn_consistency", level.encode())])
                mix = CommandMix(seed, prefix, ALL_GROUPS, empty_key=False)
                pools = key_pools(prefix, len(cluster.nodes))
                steps = mixed(iter(mix), many_key_steps(pools, seed), seed)
                run.run(itertools.islice(steps, count))
                run.compare_contents([key for _, key in mix.all_keys()] + list(itertools.chain(*pools)))
            finally:
                run.close()
            problems = [str(difference) for difference in run.outcome.differences]
            yield f"{level}: {run.outcome.line()}", problems
            yield replicas(cluster, prefix)


def replicas(cluster: Cluster, prefix: bytes) -> tuple[str, list[str]]:
    """Every datastore, once all queues are empty."""
    waited_s = cluster.wait_quiet()
    problems = cluster.replica_problems(prefix)
    copies = cluster.keys_held(prefix)
    return (
        f"  {copies} copies of keys, queues empty after {waited_s:.1f} s: {len(problems)} keys not as owned",
        problems,
    )


def mixed(one: Iterator[Step], several: Iterator[Step], seed: int) -> Iterator[Step]:
    """Mostly commands of one key; every tenth of several.

    None asks for the encoding: a datastore decides it by its own history. SORT makes a skip list of a sorted set, where
    it is executed. Nor is the count compared that PFCOUNT leaves in a HyperLogLog at the replica that was asked.
    """
    rng = random.Random(seed)
    for index in itertools.count(1):
        step = next(several if rng.random() < 0.1 else one)
        while step.args[0].lower() == b"object" and step.args[1].lower() == b"encoding":
            step = next(one)
        rule = Rule.CONTENT if step.rule is Rule.EXACT else step.rule
        yield Step(index, step.args, rule, step.key, step.pause_ms)


def key_pools(prefix: bytes, nodes: int) -> list[list[bytes]]:
    """For each node keys that go to it."""
    pools: list[list[bytes]] = [[] for _ in range(nodes)]
    for number in itertools.count():
        key = b"%smany:%d" % (prefix, number)
        pool = pools[zlib.crc32(key) % nodes]
        if len(pool) < MANY_KEYS:
            pool.append(key)
        if all(len(pool) == MANY_KEYS for pool in pools):
            return pools
    raise AssertionError


def many_key_steps(pools: Sequence[Sequence[bytes]], seed: int) -> Iterator[Step]:
    """Commands of several keys, all of them keys of one node."""
    rng = random.Random(seed)
    while True:
        keys = rng.choices(rng.choice(pools), k=rng.randint(2, 12))
        name = rng.choice((b"MGET", b"MGET", b"MSET", b"MSET", b"DEL", b"EXISTS", b"UNLINK", b"TOUCH"))
        args = [b"%s%d" % (key, rng.randrange(9)) if at % 2 else key for key in keys for at in (0, 1)]
        yield Step(0, (name, *(args if name == b"MSET" else keys)), Rule.EXACT, keys[0])
