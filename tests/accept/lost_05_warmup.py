"""An empty replacement of a node, under writes: no read through any node is wrong or empty meanwhile, then it holds
what the other racks hold; and the same when its warm-up is killed in the middle and started again.

The replacement has the rack and token of its predecessor, whose machine is dead, an address of its own, and no data.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Sequence

from tests.accept.cluster_03_failover import signal_all
from tests.accept.cluster_parts import is_normal
from tests.accept.warm_parts import Watch, fill, racks_and_spares, wait_alike
from tests.e2e.harness import Node, Nodes, seed_line, wait_for

TOPIC = "lost"
TITLE = "5: an empty replacement node with a million keys under writes; its warm-up killed in the middle"


def replacement(nodes: Sequence[Node], spares: Nodes) -> Node:
    """For the last one, which ends here."""
    *others, dead = nodes
    signal_all(dead.processes(), signal.SIGKILL)
    dead.wait()
    place = {name: dead.conf[name] for name in ("datacenter", "rack", "tokens")}
    return spares.make(**place, enable_gossip=True, dyn_seeds=[seed_line(other) for other in others])


def begins_and_ends(node: Node) -> tuple[int, int]:
    log = node.log()
    return log.count("warm-up from rack"), log.count("warm-up is done")


def replace(nodes: Sequence[Node], third: Node, keys: int, *, is_killed: bool) -> bool:
    first, second = nodes
    begins, ends = begins_and_ends(third)
    with Watch(first, (first, second, third), keys) as watch:
        begun = time.monotonic()
        third.start(wait=False)
        if is_killed:
            wait_for(lambda: begins_and_ends(third)[0] > begins, 60, "the warm-up to begin")
            os.kill(third.pid_of("replication"), signal.SIGKILL)
            third.stop(60)
            third.start(wait=False)
        wait_for(lambda: begins_and_ends(third)[1] > ends, 3600, "the end of the warm-up")
        wait_for(lambda: is_normal(third), 120, "the node to be NORMAL")
        took_s = time.monotonic() - begun
    left = wait_alike(first, third)
    print(
        f"{'killed in the middle: ' if is_killed else ''}{keys} keys, NORMAL after {took_s:.1f} s; meanwhile"
        f" {watch.writes} writes, {watch.reads} reads: {len(watch.wrong)} wrong or empty, {watch.errors}"
        f" errors; {left} keys differ from another rack's"
    )
    for line in watch.wrong[:5]:
        print("  ", line)
    return not watch.wrong and left == 0


def main(argv: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(prog=__name__, description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    keys: int = parser.parse_args(argv).keys
    good = []
    with racks_and_spares(enable_gossip=True) as (nodes, spares):
        fill(nodes[0], keys)
        wait_alike(nodes[0], nodes[2], 120)
        for is_killed in (False, True):
            nodes[2] = replacement(nodes, spares)
            good.append(replace(nodes[:2], nodes[2], keys, is_killed=is_killed))
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
