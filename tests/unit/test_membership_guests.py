"""C nodes and silent seeds: where they come from, when they are shown, what is told to C nodes."""

from random import Random

import msgpack

from dynomite_mp.cluster.gossip_text import parse
from dynomite_mp.cluster.membership import Membership
from dynomite_mp.cluster.membership_guests import SILENT_ROUNDS
from dynomite_mp.cluster.membership_own import Identity
from dynomite_mp.cluster.membership_packets import Kind, Writer, decode
from dynomite_mp.cluster.membership_post import Happened
from dynomite_mp.cluster.membership_record import Liveness, News, Profile
from dynomite_mp.cluster.membership_topology import OURS, UNKNOWN, C
from dynomite_mp.cluster.topology import Topology
from dynomite_mp.config_values import Address, Seed
from dynomite_mp.enums import NodeState

WALL_S = 1_700_000_000


def seed(host: str, token: int, rack: str = "r2", port: int = 8101) -> Seed:
    return Seed(Address(host, port), rack, "dc1", (token,), host)


def node(*seeds: Seed, number: int = 1) -> Membership:
    profile = Profile("dc1", "r1", (number,), f"10.0.0.{number}", 8101)
    membership = Membership(
        Identity(number, 1, profile, NodeState.NORMAL), Random(1), 0, c_interval_ms=1000, gossips=False
    )
    membership.start(0, seeds)
    return membership


def row(membership: Membership, host: str):
    Topology.from_plain(msgpack.unpackb(membership.to_topology(), strict_map_key=False))
    return next((r for r in membership.snapshot()[1] if r.host == host), None)


def member_news(number: int, *, rack: str, token: int, liveness=Liveness.ALIVE, incarnation=1, host: str = "") -> News:
    profile = Profile("dc1", rack, (token,), host or f"10.0.0.{number}", 8101)
    return News(number, 1, incarnation, liveness, NodeState.NORMAL, incarnation, profile=profile)


def tell(membership: Membership, *news: News):
    data = Writer(99).encode(Kind.RUMOURS, 0, [], [item.encode() for item in news])
    return membership.step(0, ("10.0.0.99", 8101), data)


def test_a_seed_is_in_the_topology_before_it_was_ever_heard():
    membership = node(seed("10.0.0.2", 5))
    shown = row(membership, "10.0.0.2")
    assert (shown.state, shown.flavour, shown.tokens) == (NodeState.UNKNOWN, UNKNOWN, (5,))


def test_a_link_decides_about_a_guest():
    membership = node(seed("10.0.0.2", 5))
    address = ("10.0.0.2", 8101)
    membership.take_link(1, address, True, is_c=True)
    assert (row(membership, "10.0.0.2").state, row(membership, "10.0.0.2").flavour) == (NodeState.NORMAL, C)
    version = membership.version
    membership.take_link(2, address, False)
    assert row(membership, "10.0.0.2").state is NodeState.DOWN
    assert membership.version > version
    version = membership.version
    membership.take_link(3, address, False)
    assert membership.version == version
    membership.take_link(4, ("10.9.9.9", 1), False)
    assert membership.version == version, "a link to nobody we know"


def test_a_seed_that_turns_out_to_be_a_member_is_shown_once():
    membership = node(seed("10.0.0.2", 5), seed("node-3.example.com", 7))
    tell(membership, member_news(2, rack="r2", token=5), member_news(3, rack="r2", token=7))
    rows = membership.snapshot()[1]
    assert [(r.host, r.flavour) for r in rows] == [("10.0.0.1", OURS), ("10.0.0.2", OURS), ("10.0.0.3", OURS)]


def test_a_seed_of_a_member_that_left_does_not_come_back():
    membership = node(seed("10.0.0.2", 5))
    tell(membership, member_news(2, rack="r2", token=5))
    tell(membership, member_news(2, rack="r2", token=5, liveness=Liveness.LEFT))
    assert row(membership, "10.0.0.2") is None


def test_gossip_text_brings_nodes_at_the_own_port():
    membership = node()
    outputs = membership.take_c_text(0, f"dc1$r2$5,{WALL_S},4,10.0.0.2|dc1$r3$6,{WALL_S},1,10.0.0.3|junk")
    assert [event.happened for event in outputs.events] == [Happened.GUEST] * 2
    assert (row(membership, "10.0.0.2").state, row(membership, "10.0.0.2").port) == (NodeState.NORMAL, 8101)
    assert row(membership, "10.0.0.3").state is NodeState.STANDBY
    assert membership.figures.bad_packets == 1
    assert not membership.take_c_text(0, f"dc1$r2$5,{WALL_S},4,10.0.0.2").events, "known already"


def test_the_same_token_at_another_address_is_a_replaced_c_node():
    membership = node(seed("10.0.0.2", 5, port=9000))
    membership.take_c_text(0, f"dc1$r2$5,{WALL_S},4,10.0.0.7")
    assert row(membership, "10.0.0.2") is None
    assert row(membership, "10.0.0.7").port == 9000, "the old port is kept"
    membership.take_c_text(0, f"dc1$r2$5,{WALL_S - 5},4,10.0.0.2")
    assert row(membership, "10.0.0.7") is not None, "an older record changes nothing"
    membership.set_seeds(0, [seed("10.0.0.2", 5)])
    assert row(membership, "10.0.0.7") is not None, "nor does a seed list, after the node has spoken"


def test_a_changed_seed_is_a_changed_node():
    membership = node(seed("10.0.0.2", 5))
    version = membership.version
    membership.set_seeds(0, [seed("10.0.0.8", 5)])
    assert row(membership, "10.0.0.2") is None and row(membership, "10.0.0.8") is not None
    assert membership.version > version
    membership.set_seeds(0, [])
    assert row(membership, "10.0.0.8") is not None, "an empty answer takes no node away"


def test_a_wildcard_seed_or_record_is_nobody():
    membership = node(seed("0.0.0.0", 5))
    membership.take_c_text(0, f"dc1$r2$6,{WALL_S},4,0.0.0.0")
    assert len(membership.snapshot()[1]) == 1


def test_c_silence_counts_only_without_a_link():
    membership = node()
    membership.take_c_text(0, f"dc1$r2$5,{WALL_S},4,10.0.0.2")
    later_ms, version = SILENT_ROUNDS * 1000 + 1, membership.version
    membership.tick(later_ms)
    assert membership.version > version
    assert row(membership, "10.0.0.2").state is NodeState.DOWN
    membership.take_link(later_ms, ("10.0.0.2", 8101), True, is_c=True)
    assert row(membership, "10.0.0.2").state is NodeState.NORMAL


def test_members_speak_for_themselves():
    membership = node()
    tell(membership, member_news(2, rack="r2", token=5))
    outputs = membership.take_c_text(0, f"dc1$r2$5,{WALL_S},8,10.0.0.77|dc1$r1$1,{WALL_S},8,10.0.0.78")
    assert not outputs.events
    assert [r.host for r in membership.snapshot()[1]] == ["10.0.0.1", "10.0.0.2"]


def test_a_c_node_may_take_over_from_a_dead_member():
    membership = node()
    tell(membership, member_news(2, rack="r2", token=5))
    tell(membership, member_news(2, rack="r2", token=5, liveness=Liveness.DOWN))
    membership.take_c_text(0, f"dc1$r2$5,{WALL_S},4,10.0.0.7")
    membership.take_link(0, ("10.0.0.7", 8101), True, is_c=True)
    assert [(r.host, r.flavour) for r in membership.snapshot()[1]] == [("10.0.0.1", OURS), ("10.0.0.7", C)]
    tell(membership, member_news(2, rack="r2", token=5, incarnation=2))
    assert [r.host for r in membership.snapshot()[1]] == ["10.0.0.1", "10.0.0.2"], "it is back"


def test_what_c_nodes_are_told():
    membership = node(seed("10.0.0.9", 9))
    tell(membership, member_news(2, rack="r2", token=5), member_news(3, rack="r3", token=6))
    tell(membership, member_news(3, rack="r3", token=6, liveness=Liveness.DOWN))
    membership.take_c_text(0, f"dc1$r4$7,{WALL_S - 50},4,10.0.0.4")
    membership.tick(20_000)
    records, bad = parse(membership.c_text(WALL_S))
    assert bad == 0
    assert {(r.rack, r.token, r.timestamp_s, r.state, r.address) for r in records} == {
        ("r1", 1, WALL_S, NodeState.NORMAL, "10.0.0.1"),
        ("r2", 5, WALL_S, NodeState.NORMAL, "10.0.0.2"),
        ("r3", 6, WALL_S - 20, NodeState.DOWN, "10.0.0.3"),
        ("r4", 7, WALL_S - 50, NodeState.NORMAL, "10.0.0.4"),
    }


def test_several_tokens_are_several_records():
    profile = Profile("dc1", "r1", (1, 2, 3), "10.0.0.1", 8101)
    membership = Membership(Identity(1, 1, profile, NodeState.NORMAL), Random(1), 0)
    membership.start(0)
    assert [record.token for record in parse(membership.c_text(WALL_S))[0]] == [1, 2, 3]


def test_text_goes_to_c_nodes_that_can_be_reached():
    membership = node(seed("10.0.0.2", 5), seed("10.0.0.3", 6), seed("10.0.0.4", 7))
    assert membership.c_peers() == []
    membership.take_link(0, ("10.0.0.2", 8101), True, is_c=True)
    membership.take_link(0, ("10.0.0.3", 8101), True, is_c=True)
    membership.take_link(0, ("10.0.0.3", 8101), False)
    membership.take_link(0, ("10.0.0.4", 8101), True, is_c=False)
    assert membership.c_peers() == [("10.0.0.2", 8101)]


def test_news_of_c_nodes_travel_among_our_own():
    first, second = node(), node(number=2)
    first.take_c_text(0, f"dc1$r3$7,{WALL_S},4,10.0.0.7")
    tell(first, member_news(2, rack="r1", token=2))
    packets = []
    while not any("10.0.0.7" in data.decode("latin-1") for _, data in packets):
        packets = first.tick(first._wakeup_ms).packets
    for to, data in packets:
        assert to == ("10.0.0.2", 8101) and decode(data)
        second.step(0, ("10.0.0.1", 8101), data)
    assert row(second, "10.0.0.7").flavour == C
