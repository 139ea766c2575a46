"""Who misses a write is told to the replication process: once a replica, and nobody else."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hiredis
import pytest
import pytest_asyncio

from dynomite_mp.proto.dnode_frames import DnodeFrame
from dynomite_mp.workers.writes import HINT_MISSED, HINT_REFUSED, HINT_UNKNOWN
from tests.unit.io_stage import Client
from tests.unit.replica_stage import PlayedPeer, ReplicaStage, words

INCR = hiredis.pack_command(("INCR", "k"))
KIND, NODE, TOKEN, REQUEST = 0, 1, 8, 9


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[ReplicaStage]:
    async with ReplicaStage.open(tmp_path) as opened:
        yield opened


async def incr(stage: ReplicaStage) -> tuple[Client, list[DnodeFrame]]:
    """INCR has reached all three replicas."""
    client = await stage.client()
    client.send("INCR", "k")
    await stage.store.request()
    return client, [await peer.request() for peer in stage.peers]


def is_hint(record: tuple[str, tuple[Any, ...]], kind: int, node: str) -> bool:
    name, fields = record
    return name == "hint" and (fields[KIND], fields[NODE], fields[REQUEST]) == (kind, node, INCR)


async def nothing_more(stage: ReplicaStage) -> bool:
    """After a whole request of somebody else."""
    other = await stage.client()
    assert await other.call("PING") == b"PONG"
    return stage.records() == []


async def down(stage: ReplicaStage, peer: PlayedPeer) -> None:
    await peer.stop()
    await stage.until(lambda: not stage.mesh.all_up())


async def test_nobody_is_told_of_a_write_that_all_replicas_took(stage: ReplicaStage) -> None:
    client, frames = await incr(stage)
    stage.store.reply(b":1\r\n")
    for peer, frame in zip(stage.peers, frames, strict=True):
        peer.reply(frame, b":1\r\n")
    assert await client.reply() == 1
    await stage.until(lambda: stage.cell("peer_responses") == 2)
    assert await nothing_more(stage)


async def test_a_replica_that_is_down_missed_it(stage: ReplicaStage) -> None:
    await down(stage, stage.peers[0])
    client = await stage.client()
    client.send("INCR", "k")
    await stage.store.request()
    stage.store.reply(b":1\r\n")
    assert await client.reply() == 1
    assert is_hint(await stage.record(), HINT_MISSED, stage.peers[0].address)
    assert stage.cell("missed_writes") == 1


async def test_a_read_leaves_no_record(stage: ReplicaStage) -> None:
    await down(stage, stage.peers[0])
    client = await stage.client()
    client.send("GET", "k")
    await stage.store.request()
    stage.store.reply(b"$-1\r\n")
    assert await client.reply() is None
    assert await nothing_more(stage)


async def test_a_replica_that_is_lost_may_have_executed_it(stage: ReplicaStage) -> None:
    client, frames = await incr(stage)
    stage.store.reply(b":1\r\n")
    stage.peers[1].reply(frames[1], b":1\r\n")
    await down(stage, stage.peers[0])
    assert is_hint(await stage.record(), HINT_UNKNOWN, stage.peers[0].address)
    assert await client.reply() == 1
    assert await nothing_more(stage)


async def test_a_replica_whose_reply_is_late_may_have_executed_it(tmp_path: Path) -> None:
    async with ReplicaStage.open(tmp_path, peer_timeout_ms=50, peer_silence_ms=5000) as stage:
        client, frames = await incr(stage)
        stage.store.reply(b":1\r\n")
        stage.peers[1].reply(frames[1], b":1\r\n")
        assert is_hint(await stage.record(), HINT_UNKNOWN, stage.peers[0].address)
        stage.peers[0].reply(frames[0], b"-WRONGTYPE late\r\n")
        assert await client.reply() == 1
        await stage.until(lambda: stage.cell("peer_responses") == 2)
        assert await nothing_more(stage)


async def test_the_record_of_a_late_request_is_that_request(tmp_path: Path) -> None:
    """Not the one before it, which still waits at the head of the same connection."""
    async with ReplicaStage.open(tmp_path, peer_timeout_ms=50, peer_silence_ms=5000) as stage:
        client = await stage.client()
        client.send("GET", "first")
        client.send("SET", "a", "1")
        client.send("SET", "bb", "2")
        found: list[Any] = []
        await stage.until(lambda: found.extend(stage.records()) or len(found) == 4)
        keys = [fields[REQUEST] for _name, fields in found if fields[NODE] == stage.peers[0].address]
        assert keys == [hiredis.pack_command(("SET", "a", "1")), hiredis.pack_command(("SET", "bb", "2"))]


async def test_a_silent_replica_is_given_nothing_and_missed_it(tmp_path: Path) -> None:
    async with ReplicaStage.open(tmp_path, peer_timeout_ms=5000, peer_silence_ms=50) as stage:
        client, frames = await incr(stage)
        stage.peers[1].reply(frames[1], b":1\r\n")
        stage.store.reply(b":1\r\n")
        assert await client.reply() == 1
        await stage.until(lambda: stage.cell("peer_ejects") == 1)
        client.send("INCR", "k")
        found: list[Any] = []  # the answer to a probe then shows that the first one will get none
        await stage.until(lambda: found.extend(stage.records()) or len(found) == 2)
        assert is_hint(found[0], HINT_MISSED, stage.peers[0].address)
        assert is_hint(found[1], HINT_UNKNOWN, stage.peers[0].address)


async def test_a_replica_over_its_budget_missed_it(tmp_path: Path) -> None:
    async with ReplicaStage.open(tmp_path, peer_bytes=100) as stage:
        client = await stage.client()
        client.send("SET", "big", b"v" * 200)
        client.send("INCR", "k")
        found: list[Any] = []
        await stage.until(lambda: found.extend(stage.records()) or len(found) == 2)
        assert all(is_hint(record, HINT_MISSED, peer.address) for record, peer in zip(found, stage.peers, strict=True))


@pytest.mark.parametrize("reply", [b"-LOADING x\r\n", b"-MASTERDOWN x\r\n"])
async def test_a_replica_whose_datastore_was_not_asked_missed_it(stage: ReplicaStage, reply: bytes) -> None:
    _client, frames = await incr(stage)
    stage.peers[0].reply(frames[0], reply)
    assert is_hint(await stage.record(), HINT_MISSED, stage.peers[0].address)


async def test_a_replica_that_could_not_ask_its_datastore_may_have_executed_it(stage: ReplicaStage) -> None:
    """The sentence is the same for one that died while it was asked."""
    _client, frames = await incr(stage)
    stage.peers[0].reply(frames[0], b"-ERR Storage: Datastore refused connection\r\n")
    assert is_hint(await stage.record(), HINT_UNKNOWN, stage.peers[0].address)


@pytest.mark.parametrize("is_first", [True, False])
async def test_an_error_of_one_replica_only_is_a_difference(stage: ReplicaStage, is_first: bool) -> None:
    client, frames = await incr(stage)
    if is_first:
        stage.peers[0].reply(frames[0], b"-OOM x\r\n")
        await stage.until(lambda: stage.cell("peer_responses") == 1)
        assert await nothing_more(stage)
        stage.store.reply(b":1\r\n")
    else:
        stage.store.reply(b":1\r\n")
        assert await client.reply() == 1
        stage.peers[0].reply(frames[0], b"-OOM x\r\n")
    assert is_hint(await stage.record(), HINT_REFUSED, stage.peers[0].address)
    assert stage.cell("refused_writes") == 1


async def test_an_error_of_all_replicas_is_none(stage: ReplicaStage) -> None:
    client, frames = await incr(stage)
    stage.store.reply(b"-WRONGTYPE x\r\n")
    for peer, frame in zip(stage.peers, frames, strict=True):
        peer.reply(frame, b"-WRONGTYPE x\r\n")
    assert isinstance(await client.reply(), hiredis.ReplyError)
    await stage.until(lambda: stage.cell("peer_responses") == 2)
    assert await nothing_more(stage)


async def test_the_own_datastore_is_a_replica_like_any_other(stage: ReplicaStage) -> None:
    client, frames = await incr(stage)
    stage.store.drop_connections()
    assert is_hint(await stage.record(), HINT_UNKNOWN, "127.0.0.1:8101")
    stage.peers[0].reply(frames[0], b":1\r\n")
    assert await client.reply() == 1


async def test_a_write_that_a_peer_copied_here_is_that_peers_business(stage: ReplicaStage) -> None:
    stage.store.drop_connections()
    await stage.until(lambda: not any(link.is_up for link in stage.links))
    peer = await stage.asking_peer()
    peer.send(INCR)
    assert b"Datastore refused" in (await peer.reply()).payload
    assert stage.records() == []


async def test_a_record_names_the_token_and_class_of_the_write(stage: ReplicaStage) -> None:
    await down(stage, stage.peers[0])
    client = await stage.client()
    client.send("SET", "k", "v")
    _name, fields = await stage.record()
    frame = await stage.peers[1].request()
    assert words(frame) == [b"SET", b"k", b"v"]
    assert fields[TOKEN] != 0
    assert fields[7] == 1  # overwrite
