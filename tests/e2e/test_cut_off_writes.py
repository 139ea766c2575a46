"""What a node acknowledged while it was cut off and could keep nothing for the others reaches them by comparison."""

from collections.abc import Iterator

import pytest

from tests.accept.chaos_faults import Cuts, both_ways
from tests.accept.cluster_parts import Cluster, is_normal, many, running_cluster
from tests.e2e.harness import Node, wait_for

LAYOUT = {"dc1": {"r1": "o", "r2": "o", "r3": "o"}, "dc2": {"r1": "o", "r2": "o"}}
KEYS = 60  # looked at in one go by every comparison


@pytest.fixture
def cuts() -> Iterator[Cuts]:
    made = Cuts()
    if not made.is_usable:
        pytest.skip("nftables cannot be used")
    yield made
    made.remove()


def held(node: Node, prefix: str) -> list[object]:
    with node.store() as store:
        return many(store, [(b"GET", b"%s%d" % (prefix.encode(), n)) for n in range(KEYS)])


def written(node: Node, prefix: str, value: str) -> None:
    with node.connect() as client:
        assert many(client, [(b"SET", b"%s%d" % (prefix.encode(), n), value.encode()) for n in range(KEYS)]) == (
            [b"OK"] * KEYS
        )


def is_everywhere(cluster: Cluster, **values: str) -> bool:
    return all(
        held(node, prefix) == [value.encode()] * KEYS for node in cluster.nodes for prefix, value in values.items()
    )


def test_writes_of_both_sides_of_a_cut_are_kept_without_any_log(cuts: Cuts) -> None:
    """Every lane is DIRTY afterwards, so all nodes compare at once."""
    with running_cluster(LAYOUT, hint_log_bytes_max=0) as cluster:
        here, victim = cluster.nodes[0], cluster.nodes[2]
        written(here, "old", "1")
        wait_for(lambda: is_everywhere(cluster, old="1"), 60, "the first values at all replicas")
        cuts.cut(both_ways([victim], [node for node in cluster.nodes if node is not victim]))
        written(victim, "old", "2")
        written(victim, "cut", "3")
        written(here, "other", "4")
        cuts.heal()
        wait_for(lambda: is_everywhere(cluster, old="2", cut="3", other="4"), 60, "all writes at all replicas")


def test_keys_that_only_a_restarted_node_has_are_kept(cuts: Cuts) -> None:
    """Its stamps are gone; its lanes still say that the others lack something."""
    with running_cluster(LAYOUT, hint_log_bytes_max=0, datastore_persistence="aof_everysec") as cluster:
        here, victim = cluster.nodes[0], cluster.nodes[2]
        cuts.cut(both_ways([victim], [node for node in cluster.nodes if node is not victim]))
        written(victim, "cut", "3")
        written(here, "other", "4")
        victim.stop()
        cuts.heal()
        victim.start()
        wait_for(lambda: is_normal(victim), 60, "the node to have caught up")
        wait_for(lambda: is_everywhere(cluster, cut="3", other="4"), 60, "all writes at all replicas")
