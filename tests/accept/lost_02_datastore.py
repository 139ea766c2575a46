"""Only the datastore of a node is killed, under writes: with an append-only file and without persistence.

What was acknowledged, before and after, is there when the node is NORMAL again; reads of known keys through the node
are never wrong, whatever its datastore lost.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Sequence

from tests.accept.cluster_parts import is_normal
from tests.accept.warm_parts import Watch, cluster_of_racks, fill, wait_alike
from tests.e2e.harness import Node, wait_for

TOPIC = "lost"
TITLE = "2: only the datastore is killed, under writes; append-only file and no persistence"


def lose(nodes: Sequence[Node], keys: int, persistence: str, outages: int) -> bool:
    first, second, _third = nodes
    good = True
    for _ in range(outages):
        warmed = second.log().count("warm-up is done")
        with Watch(first, (second,), keys) as watch:
            begun = time.monotonic()
            pid = second.pid_of("datastore")
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: second.pid_of("datastore") not in (0, pid), 60, "a new datastore")
            wait_for(lambda warmed=warmed: second.log().count("warm-up is done") > warmed, 600, "the warm-up")
            wait_for(lambda: is_normal(second), 60, "the node to be NORMAL")
            took_s = time.monotonic() - begun
        left = wait_alike(first, second)
        print(
            f"{persistence}: NORMAL {took_s:.1f} s after the kill; {watch.writes} writes, {watch.reads} reads through"
            f" the node: {len(watch.wrong)} wrong, {watch.errors} errors; {left} keys differ"
        )
        good = good and not watch.wrong and left == 0
    return good


def main(argv: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(prog=__name__, description=__doc__)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--outages", type=int, default=3)
    given = parser.parse_args(argv)
    good = True
    for persistence in ("aof_everysec", "none"):
        with cluster_of_racks(datastore_persistence=persistence) as nodes:
            fill(nodes[0], given.keys)
            wait_alike(nodes[0], nodes[1])
            good = lose(nodes, given.keys, persistence, given.outages) and good
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
