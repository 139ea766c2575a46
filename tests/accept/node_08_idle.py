"""What an idle node costs, and how long eight of them take to start together."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.accept.one_node import MB, Findings, options, own_pids, pss_mb, running_node, worker_pids
from tests.e2e.harness import AddressBlock, Nodes, wait_for
from tests.load import process_tree
from tests.load.bare_store import answers_ping

TOPIC = "node"
TITLE = "8: an idle node: PSS <= 70 MB, CPU <= 1 %; 8 nodes started together accept within 3 s"
PSS_LIMIT_MB = 70
CPU_LIMIT = 0.01
START_LIMIT_S = 3.0
NODES = 8


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    findings = Findings()
    idle_node(findings, 3.0 if short else 20.0)
    times = [start_together(NODES) for _ in range(1 if short else 3)]
    shown = ", ".join(f"{seconds:.2f} s" for seconds in times)
    findings.check(
        min(times) <= START_LIMIT_S, f"{NODES} nodes started together, all accept and answer PING after {shown}"
    )
    return findings.code


def idle_node(findings: Findings, seconds: float) -> None:
    """Memory and CPU of a node that nobody talks to, with its own datastore."""
    with running_node(managed=True) as node:
        time.sleep(2.0)
        pids = own_pids(node)
        before, started = process_tree.cpu_ns(pids), time.monotonic()
        time.sleep(seconds)
        share = (process_tree.cpu_ns(pids) - before) / 1e9 / (time.monotonic() - started)
        names = {pid: name for name, pid in worker_pids(node).items()}
        parts = ", ".join(f"{names.get(pid, pid)} {process_tree.pss_bytes([pid]) / MB:.1f}" for pid in pids)
        findings.check(pss_mb(node) <= PSS_LIMIT_MB, f"PSS {pss_mb(node):.1f} MB ({parts}), wanted <= {PSS_LIMIT_MB}")
        findings.check(
            share <= CPU_LIMIT, f"CPU {share:.2%} of one core over {seconds:.0f} s, wanted <= {CPU_LIMIT:.0%}"
        )


def start_together(count: int) -> float:
    """Seconds from the first start to the moment when every node answers PING; managed datastores."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dmp-accept-")))
        nodes = Nodes(stack.enter_context(AddressBlock.acquire()), directory)
        stack.callback(nodes.destroy)
        made = [nodes.make(replication_ring_bytes=1024 * 1024, io_ring_bytes=1024 * 1024) for _ in range(count)]
        started = time.monotonic()
        for node in made:
            node.start(wait=False)
        waiting = {node.host for node in made}

        def all_answer() -> bool:
            for host in sorted(waiting):
                if answers_ping(host, 8102, 0.2):
                    waiting.discard(host)
            return not waiting

        wait_for(all_answer, 60.0, f"{count} nodes to answer PING")
        return time.monotonic() - started
