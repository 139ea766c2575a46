"""`/cluster_describe` and its like: the forms of the C server and of dynomite-manager, what is known of each node."""

from dataclasses import replace

import pytest

from dynomite_mp.cluster.membership_topology import OURS, C, NodeRow, encode_snapshot
from dynomite_mp.cluster.topology import Topology
from dynomite_mp.config import Config, build
from dynomite_mp.config_values import read_seed
from dynomite_mp.enums import NodeState
from dynomite_mp.ipc.bulletin import Bulletin, PeerRow
from dynomite_mp.workers.cluster_document import ClusterDocument
from dynomite_mp.workers.cluster_view import ClusterView
from dynomite_mp.workers.node_figures import identity_of

CONFIG = build(
    {
        "listen": "[::1]:8102",
        "dyn_listen": "[::1]:8101",
        "stats_listen": "127.0.0.1:22223",
        "datacenter": "dc-a",
        "rack": "rack-1",
        "tokens": "5",
        "hash": "fnv1a_64",
        "hash_tag": "{}",
        "dyn_seeds": ["10.0.0.2:8101:rack-1:dc-a:2147483648", "10.1.0.1:8101:rack-9:dc-b:7"],
    }
)
ROWS = [
    NodeRow("dc-a", "rack-1", "::1", 8101, (5,), is_local=True, state=NodeState.NORMAL),
    NodeRow(
        "dc-a", "rack-1", "10.0.0.2", 8101, (9, 2147483648), state=NodeState.RESUMING, flavour=OURS, client_port=18102,
        stats_port=1, hash="fnv1a_64", hash_tag=b"<>",
    ),
    NodeRow("dc-b", "rack-9", "10.1.0.1", 8101, (7,), flavour=C),
]  # fmt: skip
NOTHING = Bulletin()
PUBLISHED = ClusterView.published(encode_snapshot(3, ROWS))


def document(
    view: ClusterView,
    state: NodeState = NodeState.NORMAL,
    seen: Bulletin = NOTHING,
    config: Config = CONFIG,
    environ: dict[str, str] | None = None,
) -> ClusterDocument:
    return ClusterDocument(view, identity_of(config, 0.0, environ or {}), state, seen)


def servers(made: ClusterDocument) -> dict[str, dict]:
    nested = made.nested()
    return {server["host"]: server for dc in nested["dcs"] for rack in dc["racks"] for server in rack["servers"]}


def test_the_form_of_c_with_fields_of_ours_behind() -> None:
    nested = document(PUBLISHED, NodeState.STANDBY).nested()
    assert [(dc["name"], [rack["name"] for rack in dc["racks"]]) for dc in nested["dcs"]] == [
        ("dc-a", ["rack-1"]),
        ("dc-b", ["rack-9"]),
    ]
    own, other = nested["dcs"][0]["racks"][0]["servers"]
    assert list(own)[:4] == ["name", "host", "port", "token"]
    assert own == {
        "name": "::1", "host": "::1", "port": 8101, "token": 5, "tokens": [5], "client_port": 8102,
        "stats_port": 22223, "state": "STANDBY", "hash": "fnv1a_64", "hash_tag": "{}",
    }  # fmt: skip
    assert other == {
        "name": "10.0.0.2", "host": "10.0.0.2", "port": 8101, "token": 9, "tokens": [9, 2147483648],
        "client_port": 18102, "stats_port": 1, "state": "RESUMING", "hash": "fnv1a_64", "hash_tag": "<>",
    }  # fmt: skip


def test_of_a_node_that_does_not_gossip_it_says_what_a_c_cluster_has_in_common() -> None:
    server = servers(document(PUBLISHED))["10.1.0.1"]
    assert (server["client_port"], server["hash"], server["hash_tag"]) == (8102, "fnv1a_64", "{}")
    assert server["state"] == "UNKNOWN"


@pytest.mark.parametrize(
    ("links_up", "times_up", "error", "state"),
    [(1, 1, "", "NORMAL"), (0, 1, "", "DOWN"), (0, 0, "Connection refused", "DOWN"), (0, 0, "", "UNKNOWN")],
)
def test_its_state_is_that_of_the_connections_to_it(links_up: int, times_up: int, error: str, state: str) -> None:
    peers = (
        PeerRow("10.1.0.1", 8101, 1, links_up, times_up=times_up, last_error=error),
        PeerRow("10.0.0.2", 8101, 1, 0, last_error="Connection refused"),
    )
    seen = servers(document(PUBLISHED, seen=Bulletin((), peers)))
    assert seen["10.1.0.1"]["state"] == state
    assert seen["10.0.0.2"]["state"] == "RESUMING"  # gossip knows better


def test_before_gossip_speaks_the_members_are_those_of_the_configuration() -> None:
    view = ClusterView.configured(CONFIG)
    assert list(servers(document(view))) == ["::1", "10.0.0.2", "10.1.0.1"]


def test_the_environment_names_the_public_address_of_the_node_itself() -> None:
    environ = {"EC2_PUBLIC_IPV4": "192.0.2.7", "EC2_PUBLIC_HOSTNAME": "node7.example"}
    made = document(PUBLISHED, environ=environ)
    assert {host: server["name"] for host, server in servers(made).items()} == {
        "node7.example": "192.0.2.7",
        "10.0.0.2": "10.0.0.2",
        "10.1.0.1": "10.1.0.1",
    }
    assert [(item["hostname"], item["ip"]) for item in made.flat()[:2]] == [
        ("node7.example", "192.0.2.7"),
        ("10.0.0.2", "10.0.0.2"),
    ]


def test_the_form_of_dynomite_manager_has_only_strings_and_an_item_a_token() -> None:
    items = document(PUBLISHED).flat()
    assert [(item["hostname"], item["token"]) for item in items] == [
        ("::1", "5"),
        ("10.0.0.2", "9"),
        ("10.0.0.2", "2147483648"),
        ("10.1.0.1", "7"),
    ]
    assert items[1] == {
        "token": "9", "hostname": "10.0.0.2", "ip": "10.0.0.2", "port": "18102", "secure_port": "18102",
        "secure_storage_port": "0", "peer_port": "8101", "rack": "rack-1", "zone": "rack-1", "dc": "dc-a",
        "hashtag": "<>",
    }  # fmt: skip


def test_without_a_hash_tag_there_is_none() -> None:
    made = document(ClusterView.configured(replace(CONFIG, hash_tag=b"")), config=replace(CONFIG, hash_tag=b""))
    assert all("hashtag" not in item for item in made.flat())
    assert {server["hash_tag"] for server in servers(made).values()} == {""}


def test_the_seeds_are_read_back_as_the_same_cluster() -> None:
    seeds = [read_seed(entry) for entry in document(PUBLISHED).seeds().split("|")]
    assert [(s.address.host, s.address.port, s.rack, s.datacenter, s.tokens) for s in seeds] == [
        (node.host, node.port, node.rack, node.dc, node.tokens) for node in PUBLISHED.topology.nodes()
    ]


def test_what_is_published_is_taken_over_whole() -> None:
    """Hints are a map by node id, which a strict reader of msgpack refuses."""
    rows = [replace(row, hints={2**60: 5}) for row in ROWS]
    view = ClusterView.published(encode_snapshot(8, rows))
    assert view.topology == Topology.build([row.node() for row in ROWS], 8)
    assert list(view.rows) == rows


def test_what_is_posted_of_the_members() -> None:
    members = PUBLISHED.members()
    assert [(m.host, m.token, m.token_count, m.is_local, m.state, m.flavour, m.client_port) for m in members] == [
        ("::1", 5, 1, True, NodeState.NORMAL, "unknown", 0),
        ("10.0.0.2", 9, 2, False, NodeState.RESUMING, "ours", 18102),
        ("10.1.0.1", 7, 1, False, NodeState.UNKNOWN, "c", 0),
    ]
