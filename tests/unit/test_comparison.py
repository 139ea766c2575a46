"""A comparison between nodes that are dictionaries: what is divergent, whom it mends, and what if a node fails."""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dynomite_mp.cluster.repair import ABSENT, KeyState, TokenRanges
from dynomite_mp.cluster.token import hash_key
from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.config import Address
from dynomite_mp.errors import DynomiteError, StoreError
from dynomite_mp.workers import comparison as subject
from dynomite_mp.workers.base import DatastoreAddress
from dynomite_mp.workers.comparison import Comparison
from dynomite_mp.workers.dirty_lanes import who_lacks
from dynomite_mp.workers.key_mending import OWN, Found
from dynomite_mp.workers.key_trees import KeyTrees
from dynomite_mp.workers.repair_rounds import replicas

ADDRESSES = [f"10.0.{rack}.{node}:8101" for rack in (1, 2, 3) for node in (1, 2)]


def token_of(key: bytes) -> int:
    return hash_key("murmur", key)


class DictTrees(KeyTrees):
    """A node whose datastore is a dictionary."""

    def __init__(self) -> None:
        super().__init__(None, token_of)
        self.held: dict[bytes, KeyState] = {}
        self.looks = 0
        self.on_look: Callable[[int], None] = lambda look: None

    async def _scan(
        self, takes: Callable[[int], bool], take: Callable[[bytes, int, KeyState], None], rate: int
    ) -> None:
        for key, state in self.held.items():
            if takes(token_of(key)):
                take(key, token_of(key), state)

    async def states(self, keys: Sequence[bytes]) -> dict[bytes, KeyState]:
        self.looks += 1
        self.on_look(self.looks)
        return {key: self.held.get(key, KeyState()) for key in keys}


class Cluster:
    """Three racks; the first is cut in two, as is the second, at another token; the third is one node."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(subject, "SETTLE_S", 0)
        tokens = {"r1": (0, 2**31), "r2": (2**30, 2**31 + 5), "r3": (7,)}
        nodes = [
            Node("dc1", rack, f"10.0.{rack[1]}.{place + 1}", 8101, (token,), is_local=(rack, place) == ("r1", 0))
            for rack, owned in tokens.items()
            for place, token in enumerate(owned)
        ]
        self.topology = Topology.build(nodes)
        self.local, self.peers = replicas(self.topology)
        self.trees = {node.address: DictTrees() for node in nodes}
        self.own = self.trees[self.local.address]
        self.dead: set[str] = set()
        self.lacking: dict[str, list[str]] = {}
        self.mended: list[tuple[str, bytes, tuple[str, ...]]] = []

    async def call(self, address: str, verb: str, *args: Any, timeout_ms: int = 0) -> Any:
        if address in self.dead:
            raise DynomiteError(f"{address} is dead")
        if verb == "lacking":
            return self.lacking.get(address, [])
        return await self.trees[address].verbs()[verb](*args)

    async def mend(self, address: str, keys: Sequence[bytes], sources: Sequence[str], loses_nothing: bool) -> None:
        for key in keys:
            self.mended.append((address, key, tuple(sources)))
            fresh = self.trees[sources[0]].held.get(key, KeyState())
            stale = self.own if address == OWN else self.trees[address]
            stale.held.pop(key, None)
            if fresh.digest != ABSENT:
                stale.held[key] = fresh

    def holders(self, key: bytes) -> list[DictTrees]:
        return [
            self.trees[peer.address] for peer in (self.local, *self.peers) if token_of(key) in peer.ranges
        ]

    def put(self, key: bytes, state: KeyState) -> None:
        for trees in self.holders(key):
            trees.held[key] = state

    def run(self, compared: Sequence[str] | None = None, mends: bool = True, lacking: Sequence[str] = ()) -> Found:
        mend = self.mend if mends else None
        made = Comparison(
            "run", self.local, self.peers, self.own, self, token_of,
            compared=compared, lacking=lacking, rate=0, mend=mend,
        )  # fmt: skip
        return asyncio.run(made.run())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def own_keys(cluster: Cluster, count: int) -> list[bytes]:
    return [key for n in range(20 * count) if token_of(key := b"key%d" % n) in cluster.local.ranges][:count]


def test_every_own_token_has_one_peer_in_each_other_rack(cluster: Cluster) -> None:
    for key in own_keys(cluster, 200):
        racks = [peer.place for peer in cluster.peers if token_of(key) in peer.ranges]
        assert sorted(racks) == [("dc1", "r2"), ("dc1", "r3")]


def test_equal_replicas_cost_one_root_each(cluster: Cluster) -> None:
    for key in own_keys(cluster, 300):
        cluster.put(key, KeyState(7))
    found = cluster.run()
    assert (found.keys_compared, found.keys_suspected, found.keys_differing) == (600, 0, 0)
    assert found.peers_done == found.peers == len(cluster.peers)
    assert found.call_bytes < 1000


@pytest.mark.parametrize("seed", range(5))
def test_deleted_changed_and_extra_keys_are_found_and_mended(cluster: Cluster, seed: int) -> None:
    rng = random.Random(seed)
    keys = own_keys(cluster, 400)
    for key in keys[:300]:
        cluster.put(key, KeyState(rng.randint(1, 9), rng.choice([-1, 1000])))
    before = [dict(trees.held) for trees in cluster.trees.values()]
    damaged = rng.sample(keys, 50)
    for key in damaged:
        victim = rng.choice(cluster.holders(key))
        if key in victim.held and rng.random() < 0.5:
            del victim.held[key]
        else:
            victim.held[key] = KeyState(100)
    found = cluster.run()
    assert found.keys_differing == found.keys_mended == len(damaged)
    assert sorted(key for _, key, _ in cluster.mended) == sorted(damaged)
    assert [dict(trees.held) for trees in cluster.trees.values()] == before
    assert found.keys_left == 0


def test_without_mending_the_divergence_is_only_counted(cluster: Cluster) -> None:
    (key,) = own_keys(cluster, 1)
    cluster.put(key, KeyState(1))
    cluster.own.held[key] = KeyState(2)
    found = cluster.run(mends=False)
    assert (found.keys_differing, found.keys_mended, found.keys_left) == (1, 0, 1)
    assert cluster.mended == []


def test_a_write_on_its_way_is_no_divergence(cluster: Cluster) -> None:
    """The second replica has it at the second look."""
    (key,) = own_keys(cluster, 1)
    cluster.put(key, KeyState(1))
    late = cluster.holders(key)[1]
    late.held[key] = KeyState(2)

    def arrive(look: int) -> None:
        if look == 2:
            late.held[key] = KeyState(1)

    cluster.own.on_look = arrive
    found = cluster.run()
    assert (found.keys_suspected, found.keys_differing) == (1, 0)
    assert cluster.mended == []


def test_a_key_that_never_stands_still_is_mended_in_the_end(cluster: Cluster) -> None:
    (key,) = own_keys(cluster, 1)
    cluster.put(key, KeyState(1))
    restless = cluster.holders(key)[2]
    restless.held[key] = KeyState(2)

    def change(look: int) -> None:
        if key in restless.held and restless.held[key].digest != 1:
            restless.held[key] = KeyState(10 + look)

    cluster.own.on_look = change
    found = cluster.run()
    assert (found.keys_differing, found.keys_mended) == (1, 1)


def test_the_newest_stamp_is_the_source(cluster: Cluster) -> None:
    (key,) = own_keys(cluster, 1)
    cluster.put(key, KeyState(1, stamp=5))
    cluster.own.held[key] = KeyState(2, stamp=6)
    cluster.run()
    others = [peer.address for peer in cluster.peers if token_of(key) in peer.ranges]
    assert sorted(cluster.mended) == sorted((address, key, (cluster.local.address,)) for address in others)


def test_a_dead_peer_is_named_and_the_others_are_mended(cluster: Cluster) -> None:
    keys = own_keys(cluster, 20)
    for key in keys:
        cluster.put(key, KeyState(1))
        cluster.own.held[key] = KeyState(2)
    dead = next(peer.address for peer in cluster.peers if peer.place[1] == "r3")
    cluster.dead.add(dead)
    found = cluster.run()
    assert set(found.left_out) == {dead}
    assert found.keys_differing == found.keys_mended == len(keys)
    assert found.peers_done == found.peers - 1


def test_only_the_compared_peer_makes_a_tree_but_all_are_judged(cluster: Cluster) -> None:
    (key,) = own_keys(cluster, 1)
    cluster.put(key, KeyState(1))
    cluster.own.held[key] = KeyState(2)
    one = next(peer.address for peer in cluster.peers if token_of(key) in peer.ranges)
    found = cluster.run(compared=[one])
    assert (found.peers, found.keys_differing, found.keys_mended) == (1, 1, 1)
    assert [address for address, _, _ in cluster.mended] == [OWN], "the majority is against us"


def test_who_lacks_writes_is_mended_by_whoever_does_not(cluster: Cluster) -> None:
    """A write that only this node has, and no stamps: it was cut off, and was started anew."""
    (key,) = own_keys(cluster, 1)
    cluster.own.held[key] = KeyState(2)
    others = [peer.address for peer in cluster.peers if token_of(key) in peer.ranges]
    cluster.run(lacking=others)
    assert sorted(cluster.mended) == sorted((address, key, (cluster.local.address,)) for address in others)
    cluster.mended.clear()
    cluster.put(key, KeyState())
    holder = cluster.trees[others[1]].held[key] = KeyState(3)
    cluster.lacking = {others[1]: [others[0], cluster.local.address]}
    cluster.run()
    assert sorted(cluster.mended) == sorted((address, key, (others[1],)) for address in (OWN, others[0]))
    assert cluster.own.held[key] == holder


def test_who_lacks_something_is_known_by_replica_and_by_datacenter() -> None:
    nodes = [
        Node(dc, rack, f"10.{dc[2]}.{rack[1]}.1", 8101, (0,), is_local=(dc, rack) == ("dc1", "r1"))
        for dc in ("dc1", "dc2")
        for rack in ("r1", "r2")
    ]
    topology = Topology.build(nodes)
    assert who_lacks(topology, ["10.1.2.1:8101"]) == {"10.1.2.1:8101"}
    assert who_lacks(topology, ["dc2", "10.1.2.1:8101"]) == {"10.1.2.1:8101", "10.2.1.1:8101", "10.2.2.1:8101"}


def test_ranges_survive_the_message() -> None:
    ranges = TokenRanges(((0, 5), (9, 2**32 - 1)))
    assert TokenRanges.plain([[9, 2**32 - 1], [0, 5]]) == ranges


async def test_a_datastore_that_is_still_to_be_filled_is_not_compared(tmp_path: Path) -> None:
    """Its node remembers writes that it has lost: it would win with a key that it does not have."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            info = b"# Server\r\nrun_id:second\r\n"
            writer.write(b"$%d\r\n%s\r\n" % (len(info), info))

    path = str(tmp_path / "store")
    server = await asyncio.start_unix_server(serve, path)
    whole = [b"first"]
    trees = KeyTrees(
        DatastoreAddress(Address("", 0, path), managed=True), token_of, is_whole=lambda run_id: run_id in whole
    )  # fmt: skip
    for asked in (trees.states([b"k"]), trees.digest("t", [(0, 9)], 0)):
        with pytest.raises(StoreError, match="still being filled"):
            await asked
    whole.append(b"second")
    assert await trees.states([]) == {}
    server.close()
