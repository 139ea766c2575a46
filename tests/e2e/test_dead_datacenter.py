"""Writes go on for long while the other datacenter is dead: they are answered, and what is kept for it is bounded."""

import signal
from collections.abc import Iterator

import pytest

from tests.accept.cluster_03_failover import signal_all
from tests.accept.cluster_08_dead_dc import LAYOUT, here, there
from tests.accept.cluster_parts import Cluster, running_cluster
from tests.accept.one_node import MB, own_pids
from tests.e2e.harness import Node, Resp
from tests.load import process_tree

KIB = 1024
VALUE = b"v" * 4096
BATCH = 100


@pytest.fixture(params=[signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two racks here; of the datacenter there every process has been sent a signal."""
    conf = {"replication_ring_bytes": 64 * KIB, "lane_overflow_bytes": 64 * KIB, "peer_budget_bytes": 256 * KIB}
    with running_cluster(LAYOUT, **conf) as running:
        processes = [process for node in there(running) for process in node.processes()]
        signal_all(processes, request.param)
        yield running
        signal_all(processes, signal.SIGCONT)


def write(node: Node, count: int) -> None:
    """Every write is answered OK."""
    with Resp(node.host, timeout_s=30.0) as client:
        for start in range(0, count, BATCH):
            for number in range(start, start + BATCH):
                client.send(b"SET", b"key:%d" % (number % BATCH), VALUE)
            for _ in range(BATCH):
                assert client.reply() == b"OK"


def test_it_costs_the_other_one_no_memory(cluster: Cluster) -> None:
    node = here(cluster)[0]
    write(node, 1500)  # more than may be kept
    before = process_tree.pss_bytes(own_pids(node))
    write(node, 5000)
    grown = process_tree.pss_bytes(own_pids(node)) - before
    assert grown < 6 * MB, f"{5000 * len(VALUE)} bytes written, grown by {grown}"
