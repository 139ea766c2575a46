"""The cluster as one node sees it: members, connections and lags put together, and the two tables of `status`."""

import json

from dynomite_mp import status, status_text
from dynomite_mp.enums import NodeState
from dynomite_mp.ipc.bulletin import Bulletin, LagRow, MemberRow, PeerRow
from dynomite_mp.workers.cluster_figures import datacenters_of, peers_of
from tests.unit.test_status_text import node

NORMAL, DOWN, STANDBY = NodeState.NORMAL, NodeState.DOWN, NodeState.STANDBY
SEEN = Bulletin(
    members=(
        MemberRow("dc2", "r1", "10.2.0.1", 8101, 7, 1, False, STANDBY, "ours", 8102),
        MemberRow("dc1", "r1", "10.1.0.1", 8101, 0, 1, True, NORMAL, "ours", 8102),
        MemberRow("dc1", "r2", "::2", 8101, 5, 3, False, NORMAL, "ours", 8102),
        MemberRow("dc1", "r1", "10.1.0.9", 8101, 9),
    ),
    peers=(
        PeerRow("::2", 8101, 4, 2, "ours", in_flight=3, waiting_bytes=2048, times_up=2, last_error="reset"),
        PeerRow("10.1.0.9", 8101, 1, 1, "c", times_up=1),
        PeerRow("10.2.0.1", 8101, 1, 0, last_error="Connection refused"),
        PeerRow("10.9.9.9", 8101, 1, 1, "c", is_silent=True, times_up=1),
    ),
    datacenters=(LagRow("dc2", 12, 5000, 800, 100, 3, 4),),
)


def test_every_other_node_is_a_peer_in_order_of_place() -> None:
    peers = peers_of(SEEN)
    assert [(p.address, p.dc, p.rack, p.token, p.token_count) for p in peers] == [
        ("10.1.0.9:8101", "dc1", "r1", 9, 1),
        ("[::2]:8101", "dc1", "r2", 5, 3),
        ("10.2.0.1:8101", "dc2", "r1", 7, 1),
        ("10.9.9.9:8101", "", "", None, 0),
    ]
    assert [p.name for p in peers] == ["10.1.0.9", "::2", "10.2.0.1", "10.9.9.9"]


def test_states_are_those_of_gossip_or_of_the_connections() -> None:
    states = {p.name: p.state for p in peers_of(SEEN)}
    assert states == {"10.1.0.9": "NORMAL", "::2": "NORMAL", "10.2.0.1": "STANDBY", "10.9.9.9": "NORMAL"}


def test_connections_and_what_they_carry() -> None:
    two = next(p for p in peers_of(SEEN) if p.name == "::2")
    assert (two.connected, two.links, two.links_up, two.flavour) == (True, 4, 2, "ours")
    assert (two.in_flight, two.waiting_bytes, two.times_up, two.last_error) == (3, 2048, 2, "reset")
    down = next(p for p in peers_of(SEEN) if p.name == "10.2.0.1")
    assert (down.connected, down.flavour, down.client_port) == (False, "ours", 8102)


def test_datacenters_with_this_node_s_first_and_the_lag_of_the_others() -> None:
    own, other = datacenters_of(SEEN)
    assert (own.name, own.is_local, own.racks, own.nodes, own.nodes_connected) == ("dc1", True, 2, 3, 3)
    assert (other.name, other.is_local, other.racks, other.nodes, other.nodes_connected) == ("dc2", False, 1, 1, 0)
    assert (other.waiting, other.waiting_bytes, other.oldest_ms) == (12, 5000, 800)
    assert (other.sent, other.failed_over, other.dropped) == (100, 3, 4)


def test_a_datacenter_of_which_only_the_lag_is_known() -> None:
    (lone,) = datacenters_of(Bulletin(datacenters=(LagRow("dc3", 1),)))
    assert (lone.name, lone.nodes, lone.waiting) == ("dc3", 0, 1)


def test_a_node_that_is_alone_has_neither() -> None:
    alone = Bulletin((MemberRow("dc1", "r1", "10.1.0.1", 8101, 0, is_local=True),))
    assert peers_of(alone) == ()
    text = status_text.node_text(node(peers=(), datacenters=datacenters_of(alone)))
    assert "in flight" not in text and "datacenter" not in text


def cells(row: str, text: str) -> list[str]:
    """Columns of the line that begins with this word."""
    line = next(line for line in text.splitlines() if line.split()[:1] == [row])
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_text_shows_the_whole_cluster() -> None:
    identity = {"dc": "dc1", "rack": "r1", "tokens": (0,), "dyn_listen": "10.1.0.1:8101"}
    shown = node(identity=identity, peers=peers_of(SEEN), datacenters=datacenters_of(SEEN), not_shown=2)
    text = status_text.node_text(shown)
    assert cells("10.1.0.1:8101", text) == ["10.1.0.1:8101", "dc1/r1", "0", "NORMAL", "this node", "-"]
    assert cells("10.1.0.9:8101", text) == ["10.1.0.9:8101", "dc1/r1", "9", "NORMAL", "up, C", "0"]
    assert cells("[::2]:8101", text)[2:] == ["5 +2", "NORMAL", "up 2 of 4", "3 (2.0 KiB)", "reset"]
    assert cells("10.2.0.1:8101", text)[3:] == ["STANDBY", "down", "0", "Connection refused"]
    assert cells("10.9.9.9:8101", text)[1:] == ["-", "-", "NORMAL", "silent, C", "0"]
    assert cells("dc1", text)[:3] == ["dc1", "2", "3 of 3"]
    assert cells("dc2", text) == ["dc2", "1", "0 of 1", "12", "4.9 KiB", "800 ms", "100", "3", "4"]
    assert "and 2 more rows" in text


def test_a_peer_that_was_taken_out_is_called_that() -> None:
    (peer,) = peers_of(Bulletin(peers=(PeerRow("a", 1, 2, 0, is_resting=True),)))
    assert status_text.connection(peer) == "taken out"


def test_as_json_there_are_two_lists() -> None:
    shown = node(peers=peers_of(SEEN), datacenters=datacenters_of(SEEN))
    document = json.loads(json.dumps(status.as_document(shown), default=str))
    assert document["peers"][2]["address"] == "10.2.0.1:8101" and document["peers"][2]["connected"] is False
    assert document["datacenters"][1]["oldest_ms"] == 800
    assert document["node_state"] == "NORMAL"
