"""A few nodes on a simulated network: death, return, leaving, replacement, twins, partitions."""

from dataclasses import replace
from random import Random

import msgpack
import pytest

from dynomite_mp.cluster.failure import LAN
from dynomite_mp.cluster.membership_post import Happened
from dynomite_mp.cluster.membership_record import Liveness
from dynomite_mp.cluster.membership_topology import decode_snapshot
from dynomite_mp.cluster.topology import Topology
from dynomite_mp.enums import NodeState
from tests.sim.cluster import Cluster, SimNode
from tests.sim.network import Weather

KEY = b"0123456789abcdef"


def small(
    nodes: int, *, dcs: int = 1, weather: Weather | None = None, seed: int = 1, key: bytes | None = None
) -> Cluster:
    cluster = Cluster(Random(seed), weather or Weather(), key=key)
    for number in range(nodes):
        cluster.add(number % dcs + 1, number // dcs % 3 + 1, number * 1000)
    for node in cluster.nodes:
        node.start()
    cluster.network.run_until(3000)
    return cluster


def run(cluster: Cluster, ms: int) -> None:
    cluster.network.run_until(cluster.now_ms + ms)


def seen_by(node: SimNode, other: SimNode) -> Liveness:
    return node.m.view.members[other.node_id].liveness


@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_a_killed_node_is_known_to_all_within_three_seconds(nodes):
    cluster = small(nodes)
    victim, *others = cluster.nodes
    victim.crash()
    run(cluster, 3000)
    assert {seen_by(node, victim) for node in others} == {Liveness.DOWN}
    row = next(row for row in others[0].m.snapshot()[1] if row.node_id == victim.node_id)
    assert row.state is NodeState.DOWN and row.tokens == victim.profile.tokens, "it keeps its tokens"


def test_a_restarted_node_is_back_at_once():
    cluster = small(4)
    victim, *others = cluster.nodes
    victim.crash()
    run(cluster, 3000)
    victim.start()
    run(cluster, 500)
    assert {seen_by(node, victim) for node in others} == {Liveness.ALIVE}
    assert {node.m.view.members[victim.node_id].boot for node in others} == {2}


def test_a_gossip_process_that_starts_again_within_a_boot_is_believed():
    cluster = small(3)
    node, *others = cluster.nodes
    node.take(node.m.set_state(cluster.now_ms, NodeState.STANDBY))
    run(cluster, 500)
    node.crash()
    node.boot -= 1
    node.start()
    run(cluster, 3000)
    assert {o.m.view.members[node.node_id].state for o in others} == {NodeState.NORMAL}
    assert not cluster.downs


def test_states_and_hints_reach_everybody_and_only_news_costs_packets():
    cluster = small(4)
    first, second, *_ = cluster.nodes
    first.take(first.m.set_state(cluster.now_ms, NodeState.WRITES_ONLY))
    first.take(first.m.set_hints(cluster.now_ms, {second.node_id: 5, 99: 0}))
    run(cluster, 600)
    for node in cluster.nodes[1:]:
        member = node.m.view.members[first.node_id]
        assert (member.state, dict(member.hints)) == (NodeState.WRITES_ONLY, {second.node_id: 5})
    assert second.m.hints_for_me() == {first.node_id: 5}
    incarnation = first.m.own.member.incarnation
    for count in range(6, 30):
        first.take(first.m.set_hints(cluster.now_ms, {second.node_id: count}))
        run(cluster, 10)
    assert first.m.own.member.incarnation <= incarnation + 1, "a changing figure is told now and then"
    run(cluster, LAN.hints_interval_ms + 500)
    assert second.m.hints_for_me() == {first.node_id: 29}
    first.take(first.m.set_hints(cluster.now_ms, {}))
    run(cluster, 500)
    assert second.m.hints_for_me() == {}, "the end is told at once"


def test_an_announced_leave_is_immediate():
    cluster = small(12)
    leaver, stopper = cluster.nodes[:2]
    others = cluster.nodes[2:]
    cluster.leave(leaver, for_good=True)
    cluster.leave(stopper, for_good=False)
    run(cluster, 10)
    assert {seen_by(node, leaver) for node in others} == {Liveness.LEFT}
    assert {seen_by(node, stopper) for node in others} == {Liveness.DOWN}
    hosts = {row.host for row in others[0].m.snapshot()[1]}
    assert leaver.profile.host not in hosts and stopper.profile.host in hosts
    leaver.gone = False
    leaver.start()
    run(cluster, 1000)
    assert {seen_by(node, leaver) for node in others} == {Liveness.ALIVE}


def test_an_operator_can_forget_a_dead_node_but_not_a_living_one():
    cluster = small(4)
    victim, first, *others = cluster.nodes
    first.take(first.m.forget(cluster.now_ms, victim.node_id))
    assert seen_by(first, victim) is Liveness.ALIVE
    victim.crash()
    run(cluster, 3000)
    first.take(first.m.forget(cluster.now_ms, victim.node_id))
    run(cluster, 500)
    assert {seen_by(node, victim) for node in others} == {Liveness.LEFT}


def test_a_replacement_takes_the_place_of_a_dead_node():
    cluster = small(4)
    victim, *others = cluster.nodes
    victim.crash()
    victim.gone = True
    run(cluster, 3000)
    new = cluster.replacement(victim)
    new.start()
    run(cluster, 1500)
    for node in others:
        rows = {row.node_id: row for row in node.m.snapshot()[1]}
        assert victim.node_id not in rows
        assert (rows[new.node_id].host, rows[new.node_id].state) == (new.profile.host, NodeState.NORMAL)
    victim.gone = False
    victim.start()
    run(cluster, 3000)
    assert not victim.m.announced, "the old one came back, and its place is taken"
    assert victim.m.own.rival == new.node_id
    assert new.m.announced


def test_a_replacement_that_comes_early_waits_for_the_death_of_the_old_one():
    cluster = small(4)
    victim = cluster.nodes[0]
    victim.crash()
    new = cluster.replacement(victim)
    new.start()
    run(cluster, 500)
    assert not new.m.announced
    victim.gone = True
    run(cluster, 3000)
    assert new.m.announced


def test_a_node_with_a_new_data_directory_at_its_old_address_need_not_wait():
    cluster = small(4)
    victim = cluster.nodes[0]
    victim.crash()
    victim.gone = True
    new = cluster.add(1, 1, 0, host=victim.profile.host)
    new.start()
    run(cluster, 500)
    assert new.m.announced
    assert new.node_id in cluster.nodes[1].m.view.members
    assert victim.node_id not in cluster.nodes[1].m.view.members


def test_a_node_with_new_tokens_moves():
    cluster = small(3)
    node, other, _ = cluster.nodes
    changed = replace(node.profile, tokens=(77, 78))
    node.take(node.m.set_profile(cluster.now_ms, changed))
    run(cluster, 500)
    assert other.m.view.members[node.node_id].profile.tokens == (77, 78)


def test_of_two_nodes_with_one_id_the_second_gives_way():
    cluster = small(3)
    first = cluster.nodes[0]
    copy = cluster.add(1, 1, 500)
    copy.node_id = first.node_id
    copy.boot = 5
    copy.start()
    run(cluster, 3000)
    announced = [node.m.announced for node in (first, copy)]
    assert announced == [True, False]
    assert any(e.happened is Happened.TWIN for _, _, e in cluster.history)
    first.crash()
    run(cluster, 6000)
    assert copy.m.announced, "the first one is gone, so it is this node's own id"


def test_an_old_copy_of_the_data_directory_is_noticed():
    cluster = small(3)
    node = cluster.nodes[0]
    node.crash()
    node.boot = 6
    node.start()
    run(cluster, 1000)
    node.crash()
    node.boot = 0
    node.start()
    run(cluster, 4000)
    assert any(e.happened is Happened.BOOT_BEHIND for _, _, e in cluster.history)
    member = cluster.nodes[1].m.view.members[node.node_id]
    assert (member.boot, member.liveness) == (7, Liveness.ALIVE)


def test_two_halves_find_each_other_again():
    cluster = small(6)
    side = {node.address for node in cluster.nodes[:3]}
    cluster.network.partition(lambda a, b: (a in side) != (b in side))
    run(cluster, 5000)
    assert seen_by(cluster.nodes[0], cluster.nodes[5]) is Liveness.DOWN
    cluster.network.partition(None)
    run(cluster, 4000)
    for node in cluster.nodes:
        assert {m.liveness for m in node.m.members()} == {Liveness.ALIVE}


def test_nodes_with_another_key_are_another_cluster():
    cluster = small(2, key=KEY)
    cluster.key = b"another"
    stranger = cluster.add(1, 1, 5)
    stranger.start()
    run(cluster, 3000)
    assert stranger.m.announced and not stranger.m.view.members
    assert all(stranger.node_id not in node.m.view.members for node in cluster.nodes[:2])


def test_one_run_is_like_the_other():
    def once() -> list:
        cluster = small(5, weather=Weather(loss=0.1, duplicate=0.1, reorder=0.1))
        cluster.nodes[2].crash()
        run(cluster, 5000)
        return [(at_ms, name, event) for at_ms, name, event in cluster.history]

    assert once() == once()


def test_a_snapshot_is_a_topology_and_more():
    cluster = small(6, dcs=2)
    node = cluster.nodes[3]
    topology = Topology.from_plain(msgpack.unpackb(node.m.to_topology(), strict_map_key=False))
    assert topology.version == node.m.version
    assert topology.local.host == node.profile.host
    assert len(list(topology.nodes())) == 6
    rows = {row.node_id: row for row in decode_snapshot(node.m.to_topology())[1]}
    assert rows[cluster.nodes[0].node_id].client_port == 8102
    assert rows[node.node_id].node() == topology.local
