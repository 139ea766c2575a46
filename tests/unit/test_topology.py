"""Order of datacenters and racks, checks, and the plain form."""

import msgpack
import pytest

from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.errors import TopologyError


def node(dc: str, rack: str, host: str, *tokens: int, local: bool = False, port: int = 8101) -> Node:
    return Node(dc, rack, host, port, tokens, is_local=local)


CLUSTER = [
    node("west", "r2", "10.0.2.1", 1),
    node("east", "r2", "10.0.0.2", 5, local=True),
    node("west", "r1", "10.0.1.1", 9),
    node("east", "r1", "10.0.0.1", 7, 3, 7),
    node("east", "r2", "10.0.0.3", 2),
    node("north", "r9", "10.0.3.1", 4),
]


def test_the_local_datacenter_is_first_and_racks_are_sorted() -> None:
    topology = Topology.build(CLUSTER)
    assert [dc.name for dc in topology.datacenters] == ["east", "west", "north"]
    assert [[rack.name for rack in dc.racks] for dc in topology.datacenters] == [["r1", "r2"], ["r1", "r2"], ["r9"]]
    assert topology.local.host == "10.0.0.2"
    assert topology.local_dc.name == "east"
    assert topology.local_rack.name == "r2"
    assert [n.host for n in topology.local_rack.nodes] == ["10.0.0.2", "10.0.0.3"]


def test_tokens_are_sorted_and_said_once() -> None:
    rack = Topology.build(CLUSTER).local_dc.rack("r1")
    assert rack is not None
    assert rack.nodes[0].tokens == (3, 7)


def test_the_preferred_remote_rack_is_the_one_at_the_own_racks_place() -> None:
    topology = Topology.build(CLUSTER)
    west, north = topology.datacenters[1:]
    assert [rack.name for rack in topology.rack_order(west)] == ["r2", "r1"]
    assert [rack.name for rack in topology.rack_order(north)] == ["r9"]


def test_the_plain_form_survives_a_message() -> None:
    topology = Topology.build(CLUSTER, version=7)
    plain = msgpack.unpackb(msgpack.packb(topology.to_plain()))
    assert Topology.from_plain(plain) == topology
    later = [plain[0], [[*row, "a field of a later version"] for row in plain[1]], "and one more"]
    assert Topology.from_plain(later) == topology


def test_new_members_make_a_new_version() -> None:
    before = Topology.build(CLUSTER, version=7)
    after = before.with_nodes(CLUSTER[:-1])
    assert (before.version, after.version) == (7, 8)
    assert after.datacenter("north") is None
    assert before.datacenter("north") is not None


def test_names_and_addresses() -> None:
    assert node("d", "r", "10.0.0.1", 1).address == "10.0.0.1:8101"
    assert node("d", "r", "::1", 1).address == "[::1]:8101"
    assert node("d", "r", "::1", 1).name == "::1"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (node("east", "r2", "10.0.0.9", 5), "token 5 belongs to 10.0.0.2:8101 and 10.0.0.9:8101 of rack east/r2"),
        (node("east", "r1", "10.0.0.3", 8), "two nodes have the peer address 10.0.0.3:8101"),
        (node("east", "r1", "10.0.0.9"), "has no token"),
        (node("east", "r1", "10.0.0.9", 2**32), "is not in 0 .. 4294967295"),
        (node("east", "", "10.0.0.9", 1), "lacks a datacenter, rack or host"),
        (node("east", "r1", "10.0.0.9", 11, local=True), "2 nodes are the local one"),
    ],
)
def test_nodes_that_make_no_cluster(extra: Node, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        Topology.build([*CLUSTER, extra])


def test_one_host_may_run_several_nodes() -> None:
    topology = Topology.build([*CLUSTER, node("east", "r2", "10.0.0.2", 6, port=9101)])
    assert len(topology.local_rack.nodes) == 3


def test_the_same_token_may_serve_in_every_rack() -> None:
    Topology.build([node("d", "r1", "a", 5, local=True), node("d", "r2", "b", 5), node("e", "r1", "c", 5)])
