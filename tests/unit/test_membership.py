"""One node's membership, alone and among a few on a simulated network."""

from dataclasses import replace
from random import Random

import msgpack
import pytest

from dynomite_mp.cluster.failure import LAN
from dynomite_mp.cluster.membership import Membership
from dynomite_mp.cluster.membership_own import Identity
from dynomite_mp.cluster.membership_packets import Kind, Packet, Writer, decode
from dynomite_mp.cluster.membership_post import Happened, Outputs
from dynomite_mp.cluster.membership_record import Liveness, News, Profile
from dynomite_mp.cluster.membership_topology import decode_snapshot
from dynomite_mp.cluster.topology import Topology
from dynomite_mp.config_values import Address, Seed
from dynomite_mp.enums import NodeState, SecureServerOption
from dynomite_mp.errors import TopologyError
from tests.sim.cluster import Cluster
from tests.sim.network import Weather

KEY = b"0123456789abcdef"


def profile(number: int, *, rack: str = "r1", tokens: tuple[int, ...] | None = None, **more) -> Profile:
    return Profile("dc1", rack, tokens or (number,), f"10.0.0.{number}", 8101, **more)


def alone(number: int = 1, **more) -> Membership:
    identity = Identity(number, 1, profile(number), NodeState.NORMAL)
    return Membership(identity, Random(1), 0, **more)


def joined(number: int = 1, others: int = 0, **more) -> Membership:
    """A node that knows of others, which do not exist."""
    node = alone(number, **more)
    node.start(0)
    for other in range(number + 1, number + 1 + others):
        tell(node, other, news_of(other))
    return node


def news_of(number: int, **changes) -> News:
    return replace(News(number, 1, 1, Liveness.ALIVE, NodeState.NORMAL, 1, profile=profile(number)), **changes)


def tell(node: Membership, sender: int, *news: News, at_ms: int = 0, kind: Kind = Kind.RUMOURS, body=()) -> Outputs:
    data = Writer(sender).encode(kind, 0, body, [item.encode() for item in news])
    return node.step(at_ms, (f"10.0.0.{sender}", 8101), data)


def sent(outputs: Outputs, kind: Kind) -> list[tuple[tuple[str, int], Packet]]:
    packets = [(to, decode(data)) for to, data in outputs.packets]
    return [(to, packet) for to, packet in packets if packet.kind is kind]


def until(node: Membership, kind: Kind) -> Outputs:
    """Let time pass until a packet of a kind goes out."""
    outputs = node.tick(node._wakeup_ms)
    while not sent(outputs, kind):
        outputs = node.tick(outputs.next_wakeup_ms)
    return outputs


def happened(outputs: Outputs) -> list[Happened]:
    return [event.happened for event in outputs.events]


# ---- alone -----------------------------------------------------------------------------------------------------------


def test_a_node_without_seeds_is_a_cluster_at_once():
    node = alone()
    outputs = node.start(0)
    assert node.announced
    assert happened(outputs) == [Happened.ANNOUNCED]
    assert not outputs.packets
    assert outputs.next_wakeup_ms > 0


def test_a_node_whose_seeds_are_silent_is_the_first_one_after_a_while():
    node = alone()
    outputs = node.start(0, contacts=[("10.0.0.9", 8101)])
    assert not node.announced
    assert [to for to, _ in sent(outputs, Kind.EXCHANGE)] == [("10.0.0.9", 8101)]
    while not node.announced:
        outputs = node.tick(outputs.next_wakeup_ms)
    assert node.view.changed_ms == 0
    assert LAN.join_alone_ms <= node._now_ms < LAN.join_alone_ms + LAN.join_retry_ms


def test_it_does_not_ask_itself():
    node = alone()
    outputs = node.start(0, contacts=[node.own.member.address])
    assert node.announced and not outputs.packets


def test_a_node_that_does_not_gossip_sends_nothing():
    node = alone(gossips=False)
    seed = Seed(Address("10.0.0.9", 8101), "r2", "dc1", (5,), "x")
    outputs = node.start(0, [seed])
    for _ in range(50):
        assert not outputs.packets
        outputs = node.tick(outputs.next_wakeup_ms)
    version, rows = decode_snapshot(node.to_topology())
    assert [row.host for row in rows] == ["10.0.0.1", "10.0.0.9"]
    node.take_link(outputs.next_wakeup_ms, ("10.0.0.9", 8101), False)
    assert decode_snapshot(node.to_topology())[1][1].state is NodeState.DOWN
    assert node.version > version


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_wildcard_is_refused_as_identity(host):
    with pytest.raises(TopologyError, match="advertise"):
        Identity(1, 1, Profile("dc1", "r1", (0,), host, 8101))


def test_ipv6_nodes_are_nodes():
    node = Membership(Identity(1, 1, Profile("dc1", "r1", (0,), "fd00::1", 8101)), Random(1), 0)
    node.start(0)
    tell(
        node, 2, News(2, 1, 1, Liveness.ALIVE, NodeState.NORMAL, 1, profile=Profile("dc1", "r1", (9,), "fd00::2", 8101))
    )
    topology = Topology.from_plain(msgpack.unpackb(node.to_topology(), strict_map_key=False))
    assert [n.address for n in topology.nodes()] == ["[fd00::1]:8101", "[fd00::2]:8101"]


# ---- packets ---------------------------------------------------------------------------------------------------------


def test_a_ping_is_answered_to_where_it_came_from():
    node = joined()
    data = Writer(2).encode(Kind.PING, node.view.fingerprint, [77, 1])
    outputs = node.step(5, ("192.0.2.7", 999), data)
    [(to, ack)] = sent(outputs, Kind.ACK)
    assert to == ("192.0.2.7", 999)
    assert ack.body == [77, 1]


def test_a_silent_member_is_asked_again_then_through_relays_then_suspected():
    node = joined(others=4)
    outputs, stages = node.tick(0), []
    for _ in range(400):
        at_ms = outputs.next_wakeup_ms
        outputs = node.tick(at_ms)
        stages += [(at_ms, kind, to) for kind in (Kind.PING, Kind.RELAY) for to, _ in sent(outputs, kind)]
        if Happened.SUSPECTED in happened(outputs):
            break
    victim = outputs.events[0].address
    pings = [at_ms for at_ms, kind, to in stages if kind is Kind.PING and to == victim]
    relays = [(at_ms, to) for at_ms, kind, to in stages if kind is Kind.RELAY]
    start_ms = pings[0]
    assert pings == [start_ms, start_ms + 150, start_ms + 300]
    assert [at_ms for at_ms, _ in relays[:3]] == [start_ms + 300] * 3
    assert victim not in [to for _, to in relays[:3]]
    assert at_ms == start_ms + 600


def test_a_relay_asks_and_answers_or_says_that_it_got_nothing():
    node = joined(others=2)
    outputs = tell(node, 2, kind=Kind.RELAY, body=[5, 3, "10.0.0.3", 8101])
    [(to, ping)] = sent(outputs, Kind.PING)
    assert to == ("10.0.0.3", 8101)
    outputs = tell(node, 3, kind=Kind.ACK, body=[ping.body[0], 3], at_ms=10)
    [(to, ack)] = sent(outputs, Kind.ACK)
    assert (to, ack.body) == (("10.0.0.2", 8101), [5, 3])

    outputs = tell(node, 2, kind=Kind.RELAY, body=[6, 3, "10.0.0.3", 8101], at_ms=20)
    [(_, ping)] = sent(outputs, Kind.PING)
    tell(node, 4, kind=Kind.ACK, body=[ping.body[0], 4], at_ms=30)  # somebody else: no answer for 3
    [(to, nack)] = sent(until(node, Kind.NACK), Kind.NACK)
    assert node._now_ms == 20 + LAN.relay_ms * 2 // 3
    assert (to, nack.body) == (("10.0.0.2", 8101), [6])


def test_an_answer_by_somebody_else_is_a_failure_at_once():
    node = joined(others=1)
    [(_, ping)] = sent(until(node, Kind.PING), Kind.PING)
    outputs = tell(node, 2, kind=Kind.ACK, body=[ping.body[0], 99], at_ms=node._now_ms)
    assert happened(outputs) == [Happened.SUSPECTED]


def test_no_bytes_of_a_packet_do_harm():
    """Packets of a live cluster, damaged at random, and pieces of random bytes."""
    rng = Random(4)
    cluster = Cluster(Random(1), Weather())
    for number in range(3):
        cluster.add(1, number, number)
        cluster.nodes[-1].start()
    cluster.network.run_until(2000)
    seen: list[bytes] = []
    send = cluster.network.send
    cluster.network.send = lambda source, to, data: (seen.append(data), send(source, to, data))[1]
    cluster.nodes[0].crash()
    cluster.network.run_until(5000)
    node = cluster.nodes[1].m
    for _ in range(3000):
        data = bytearray(rng.choice(seen))
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        cut = bytes(data[: rng.randrange(len(data) + 1)]) if rng.random() < 0.3 else bytes(data)
        node.step(cluster.now_ms, ("10.1.0.3", 8101), cut)
        Topology.from_plain(msgpack.unpackb(node.to_topology(), strict_map_key=False))
    assert node.figures.bad_packets > 500


def test_a_packet_without_the_key_is_dropped():
    node = joined(key=KEY)
    assert not tell(node, 2, news_of(2)).packets
    assert node.figures.bad_signatures == 1
    assert not node.view.members
    data = Writer(2, KEY).encode(Kind.RUMOURS, 0, [], [news_of(2).encode()])
    node.step(0, ("10.0.0.2", 8101), data)
    assert list(node.view.members) == [2]


def test_answers_to_exchanges_are_limited():
    node = joined(others=3)
    ask = Writer(9).encode(Kind.EXCHANGE, 0, [1, 0, 2**64 - 1, []])
    answers = sum(len(sent(node.step(1, ("192.0.2.1", 1), ask), Kind.RECORDS)) for _ in range(1000))
    assert answers == 200
    assert sent(node.step(1002, ("192.0.2.1", 1), ask), Kind.RECORDS)


# ---- suspicion -------------------------------------------------------------------------------------------------------


def test_an_accused_node_protests_with_a_higher_incarnation():
    node = joined()
    before = node.own.member.incarnation
    accusation = News(1, 1, before, Liveness.SUSPECT, NodeState.NORMAL, before, by=2)
    outputs = tell(node, 2, accusation, kind=Kind.PING, body=[7, 1])
    assert happened(outputs) == [Happened.REFUTED]
    assert node.own.member.incarnation == before + 1
    [(_, ack)] = sent(outputs, Kind.ACK)
    assert ack.rumours[0][:4] == [1, 1, before + 1, Liveness.ALIVE], "the protest is in the very answer"
    assert node.prober.health.score == 1
    assert not tell(node, 2, accusation).events, "an old accusation is nothing"


def test_an_accused_member_is_told_with_the_next_packet():
    node = joined(others=2)
    tell(node, 2, news_of(3, liveness=Liveness.SUSPECT, by=2, profile=None))
    while node.tick(node._wakeup_ms).packets:
        pass
    outputs = tell(node, 3, kind=Kind.PING, body=[1, 1], at_ms=node._now_ms)
    [(_, ack)] = sent(outputs, Kind.ACK)
    assert [3, 1, 1, Liveness.SUSPECT] in [raw[:4] for raw in ack.rumours]


@pytest.mark.parametrize(("accusers", "least_ms", "most_ms"), [(1, 1600, 2400), (2, 1132, 1600), (4, 800, 800)])
def test_a_suspect_that_says_nothing_is_down_sooner_if_many_suspect_it(accusers, least_ms, most_ms):
    """This node's own probe may be one more accuser."""
    node = joined(others=8)
    for accuser in range(3, 3 + accusers):
        tell(node, accuser, news_of(2, liveness=Liveness.SUSPECT, by=accuser, profile=None))
    outputs = Outputs(next_wakeup_ms=node._wakeup_ms)
    while Happened.DOWN not in happened(outputs):
        answer_all(node, outputs, {2})
        outputs = node.tick(node._wakeup_ms)
    assert least_ms <= node._now_ms <= most_ms
    assert ("10.0.0.2", 8101) in [to for to, _ in outputs.packets], "it hears it first"


def answer_all(node: Membership, outputs: Outputs, silent: set[int]) -> None:
    for to, ping in sent(outputs, Kind.PING):
        number = int(to[0].rpartition(".")[2])
        if number not in silent:
            tell(node, number, kind=Kind.ACK, body=[ping.body[0], number], at_ms=node._now_ms)


def test_a_late_wakeup_blames_nobody_else():
    node = joined(others=3)
    tell(node, 3, news_of(2, liveness=Liveness.SUSPECT, by=3, profile=None))
    suspicion = node.view.members[2].suspicion
    left_ms = suspicion.deadline_ms
    outputs = node.tick(node._wakeup_ms + 20_000)
    assert not outputs.events
    assert suspicion.deadline_ms > left_ms + 19_000
    assert node.figures.late_wakeups == 1
    assert node.prober.health.score == 1


def test_who_answers_this_node_is_not_called_down_by_it():
    node = joined(others=8)
    tell(node, 3, news_of(2, liveness=Liveness.SUSPECT, by=3, profile=None))
    outputs = Outputs()
    while node._now_ms < 5000:
        answer_all(node, outputs, set())
        outputs = node.tick(node._wakeup_ms)
        assert Happened.DOWN not in happened(outputs)
    tell(node, 4, news_of(2, liveness=Liveness.DOWN, profile=None), at_ms=node._now_ms)
    assert node.view.members[2].liveness is Liveness.DOWN


def test_a_broken_link_is_a_reason_to_ask():
    node = joined(others=3)
    outputs = node.take_link(0, ("10.0.0.3", 8101), False)
    assert [to for to, _ in sent(outputs, Kind.PING)] == [("10.0.0.3", 8101)]
    assert not node.take_link(0, ("10.0.0.3", 8101), False).packets, "once is enough"
    assert not node.take_link(0, ("10.0.0.2", 8101), True).packets
    tell(node, 2, news_of(4, liveness=Liveness.DOWN, profile=None))
    outputs = node.take_link(0, ("10.0.0.4", 8101), True)
    assert [to for to, _ in sent(outputs, Kind.PING)] == [("10.0.0.4", 8101)], "it may be back"


# ---- snapshots -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "secured"),
    [
        (SecureServerOption.NONE, []), (SecureServerOption.DATACENTER, ["10.0.0.4"]),
        (SecureServerOption.RACK, ["10.0.0.3", "10.0.0.4"]), (SecureServerOption.ALL, None),
    ],
)  # fmt: skip
def test_links_are_secured_as_the_option_says(option, secured):
    node = joined(others=1, secure=option)
    tell(node, 3, news_of(3, profile=profile(3, rack="r2")), news_of(4, profile=replace(profile(4), dc="dc2")))
    rows = node.snapshot()[1]
    assert [r.host for r in rows if r.secured] == ([r.host for r in rows] if secured is None else secured)


def test_contradictions_are_settled_alike_everywhere():
    node = joined()
    tell(
        node, 2,
        news_of(2, profile=profile(2, tokens=(10, 20))),
        news_of(3, profile=profile(3, tokens=(20, 30), claim=1)),
        news_of(4, profile=replace(profile(4), host="10.0.0.2")),
    )  # fmt: skip
    _version, rows, clashes = node.snapshot()
    # The higher claim first, then the higher id: 3, 4, 2. Node 4 has the address, so node 2 is not shown.
    assert {row.node_id: row.tokens for row in rows} == {1: (1,), 3: (20, 30), 4: (4,)}
    assert len(clashes) == 1
    Topology.from_plain(msgpack.unpackb(node.to_topology(), strict_map_key=False))


def test_this_node_is_in_its_topology_even_when_another_has_its_address():
    node = joined()
    tell(node, 2, news_of(2, profile=replace(profile(2), host="10.0.0.1")))
    assert [row.node_id for row in node.snapshot()[1]] == [1]
