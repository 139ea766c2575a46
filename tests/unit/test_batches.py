"""Between our nodes the writes of a turn share a header, and equal replies in a row share a frame (ADR 87)."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import hiredis
import pytest
import pytest_asyncio

from dynomite_mp.proto.dnode import (
    DNODE_BATCH,
    DNODE_VERSION_BATCHES,
    DNODE_VERSION_C,
    DNODE_VERSION_OURS,
    EXTENSION_ORIGIN,
    EXTENSION_STALE,
    EXTENSION_STAMP,
)
from dynomite_mp.proto.dnode_frames import DnodeFrame, ExtensionFields, pack_extension, unpack_extension
from dynomite_mp.proto.peek import peeked
from dynomite_mp.workers.writes import HINT_MISSED, HINT_UNKNOWN
from tests.unit.peer_batches import BatchedWrite, read, run, run_of, written
from tests.unit.replica_stage import NODE_ID, AskingPeer, ReplicaStage
from tests.unit.test_stamps import extension, now

OVERWRITE, COMMUTE, ORDERED = 1, 2, 3
WRITES: list[tuple[str, ...]] = [("SET", "a", "1"), ("INCR", "b"), ("APPEND", "c", "x" * 300), ("SET", "a", "2")]


@contextlib.asynccontextmanager
async def opened(directory: Path, **budgets: int) -> AsyncIterator[ReplicaStage]:
    async with ReplicaStage.open(directory, **budgets) as stage:
        for peer in stage.peers:
            await peer.stop()
        await stage.until(lambda: not stage.mesh.all_up())
        for peer in stage.peers:
            peer.version = DNODE_VERSION_BATCHES
            await peer.start()
        await stage.until(stage.mesh.all_up)
        yield stage


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[ReplicaStage]:
    async with opened(tmp_path) as found:
        yield found


async def sent(stage: ReplicaStage, count: int, peer: int = 0) -> tuple[list[DnodeFrame], list[BatchedWrite]]:
    """The frames with so many writes, and the writes."""
    frames: list[DnodeFrame] = []
    found: list[BatchedWrite] = []
    while len(found) < count:
        frames.append(await stage.peers[peer].request())
        found += read(frames[-1])
    assert len(found) == count
    return frames, found


def pipelined(*requests: tuple[str, ...]) -> bytes:
    return b"".join(hiredis.pack_command(words) for words in requests)


def as_bytes(words: tuple[str, ...]) -> list[bytes]:
    return [word.encode() for word in words]


# ---- as a coordinator


async def test_writes_of_a_turn_share_a_header(stage: ReplicaStage) -> None:
    client = await stage.client()
    before = now()
    client.writer.write(pipelined(*WRITES))
    frames, writes = await sent(stage, 4)
    assert len(frames) == 1
    assert [write.words for write in writes] == [as_bytes(words) for words in WRITES]
    assert [write.klass for write in writes] == [OVERWRITE, COMMUTE, ORDERED, OVERWRITE]
    assert [write.id for write in writes] == list(range(frames[0].id, frames[0].id + 4))
    assert [write.sequence for write in writes] == list(range(writes[0].sequence, writes[0].sequence + 4))
    stamps = [write.stamp for write in writes]
    assert before <= stamps[0] and sorted(set(stamps)) == stamps
    base = unpack_extension(frames[0].data)
    assert base is not None and base.origin_node == NODE_ID
    other = (await sent(stage, 4, peer=1))[1]
    assert [write[1:] for write in other] == [write[1:] for write in writes]


async def test_one_reply_answers_a_run(stage: ReplicaStage) -> None:
    client = await stage.client()
    client.writer.write(pipelined(*[("SET", f"k{i}", "v") for i in range(20)]))
    for at, peer in enumerate(stage.peers):
        frames, writes = await sent(stage, 20, at)
        if at == 0:     # in two pieces, the second of one
            peer.reply(frames[-1]._replace(id=writes[-2].id), b"+OK\r\n", run(19))
            peer.reply(frames[-1]._replace(id=writes[-1].id), b"+OK\r\n")
        else:
            peer.reply(frames[-1]._replace(id=writes[-1].id), b"+OK\r\n", run(20))
    for _ in range(20):
        await stage.store.request()
        stage.store.reply(b"+OK\r\n")
    assert [await client.reply() for _ in range(20)] == [b"OK"] * 20
    await stage.until(lambda: stage.cell("peer_responses") == 40)
    assert stage.records() == []
    conns = [link.conn for link in stage.mesh.links]
    assert all(conn is not None and conn.in_flight == conn.waiting_bytes == 0 for conn in conns)


async def test_an_older_node_gets_a_frame_for_each(tmp_path: Path) -> None:
    async with ReplicaStage.open(tmp_path) as stage:
        assert stage.peers[0].version == DNODE_VERSION_OURS
        client = await stage.client()
        client.writer.write(pipelined(*WRITES))
        frames = [await stage.peers[0].request() for _ in WRITES]
        assert all(not frame.flags & DNODE_BATCH and unpack_extension(frame.data) for frame in frames)


async def test_huge_writes_travel_alone(stage: ReplicaStage) -> None:
    client = await stage.client()
    client.writer.write(pipelined(("SET", "a", "1"), ("SET", "b", "x" * 20000), ("SET", "c", "2"), ("SET", "d", "3")))
    frames = [await stage.peers[0].request() for _ in range(3)]
    assert [frame.flags for frame in frames] == [DNODE_BATCH, 0, DNODE_BATCH]
    assert [len(read(frame)) for frame in (frames[0], frames[2])] == [1, 2]
    assert [frame.id for frame in frames] == [frames[0].id, frames[0].id + 1, frames[0].id + 2]


async def test_what_a_lost_connection_took_of_a_batch_is_known_for_each_write(stage: ReplicaStage) -> None:
    """Two are answered, the others perhaps executed; each has a record of its own."""
    client = await stage.client()
    client.writer.write(pipelined(*WRITES))
    frames, writes = await sent(stage, 4)
    stage.peers[0].reply(frames[-1]._replace(id=writes[1].id), b"+OK\r\n", run(2))
    await stage.until(lambda: stage.cell("peer_responses") >= 2)
    await stage.peers[0].stop()
    records: list[tuple[str, tuple[object, ...]]] = []
    await stage.until(lambda: records.extend(stage.records()) or len(records) == 2)
    assert [fields[0] for _name, fields in records] == [HINT_UNKNOWN, HINT_UNKNOWN]
    assert [fields[5:8] for _name, fields in records] == [
        (write.sequence, write.stamp, write.klass) for write in writes[2:]
    ]
    assert [fields[-1] for _name, fields in records] == [hiredis.pack_command(words) for words in WRITES[2:]]


async def test_what_has_not_left_was_missed_for_certain(stage: ReplicaStage) -> None:
    """The peer reads nothing and there is little room on the way, so a part of what it is to get stays here."""
    peer = stage.peers[0]
    await peer.stop()
    await stage.until(lambda: not stage.mesh.all_up())
    await peer.start(small_buffers=True)
    await stage.until(stage.mesh.all_up)
    client = await stage.client()
    conn = next(link.conn for link in stage.mesh.links if link.node.port == peer.port)
    assert conn is not None
    with socket.socket(fileno=os.dup(conn.fd)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    transport = peer.writers[-1].transport
    transport.pause_reading()  # type: ignore[attr-defined]
    client.writer.write(pipelined(*[("SET", f"k{i}", "x" * 100) for i in range(250)]))
    await stage.until(lambda: stage.cell("peer_requests") == 500)
    transport.abort()
    await stage.until(lambda: stage.cell("missed_writes") == 250)
    kinds = [fields[0] for _name, fields in stage.records()]
    first = kinds.index(HINT_MISSED)
    assert first > 0 and kinds == [HINT_UNKNOWN] * first + [HINT_MISSED] * (250 - first)


@pytest.mark.parametrize("count", [0, 5, 70000])
async def test_a_run_that_cannot_be_closes_the_connection_or_answers_nobody(stage: ReplicaStage, count: int) -> None:
    client = await stage.client()
    client.send("SET", "k", "v")
    frames, _writes = await sent(stage, 1)
    connections = len(stage.peers[0].writers)
    stage.peers[0].reply(frames[0], b"+OK\r\n", run(count))
    if count == 5:      # the handshake's id is of the past
        await stage.until(lambda: stage.cell("peer_responses") >= 1 or len(stage.peers[0].writers) > connections)
    else:
        await stage.until(lambda: len(stage.peers[0].writers) > connections)


# ---- as a replica


async def asker(stage: ReplicaStage) -> AskingPeer:
    return await stage.asking_peer(DNODE_VERSION_BATCHES)


async def replies(peer: AskingPeer, last_id: int) -> list[DnodeFrame]:
    found = [await peer.reply()]
    while found[-1].id < last_id:
        found.append(await peer.reply())
    return found


async def test_a_batch_cut_anywhere_is_served_alike(stage: ReplicaStage) -> None:
    peer = await asker(stage)
    stamp = now()
    size = len(written(1, [(stamp, 1, OVERWRITE, ("SET", "k", "1")), (stamp + 1, 2, COMMUTE, ("INCR", "c"))]))
    for cut in range(1, size, 5):
        at = 10 * cut
        data = written(
            at, [(stamp + at, at, OVERWRITE, ("SET", "k", "1")), (stamp + at + 1, at + 1, COMMUTE, ("INCR", "c"))]
        )
        peer.writer.write(data[:cut])
        await peer.writer.drain()
        await asyncio.sleep(0)
        peer.writer.write(data[cut:])
        assert (await stage.store.request())[1] == [b"SET", b"k", b"1"]
        assert (await stage.store.request())[1] == [b"INCR", b"c"]
        stage.store.reply(b"+OK\r\n")
        stage.store.reply(b":7\r\n")
        first, second = await replies(peer, at + 1)
        assert (first.id, first.payload, second.id, second.payload) == (at, b"+OK\r\n", at + 1, b":7\r\n")
    peer.writer.write(written(at + 2, [(stamp, at + 2, OVERWRITE, ("SET", "k", "old"))]))
    said = unpack_extension((await peer.reply()).data)
    assert said is not None and (said.flags, said.stamp) == (EXTENSION_STALE, stamp + at)


async def test_each_write_has_its_own_stamp_and_id(stage: ReplicaStage) -> None:
    peer = await asker(stage)
    stamp = now()
    peer.writer.write(written(1, [
        (stamp, 1, OVERWRITE, ("SET", "k", "1")),
        (stamp + 9, 2, OVERWRITE, ("SET", "k", "2")),
        (stamp + 9, 3, COMMUTE, ("INCR", "c")),
    ]))  # fmt: skip
    for _ in range(3):
        await stage.store.request()
        stage.store.reply(b"+OK\r\n")
    assert sum(run_of(frame) for frame in await replies(peer, 3)) == 3
    peer.writer.write(written(4, [
        (stamp + 8, 1, OVERWRITE, ("SET", "k", "old")),
        (stamp + 9, 3, COMMUTE, ("INCR", "c")),
        (stamp + 9, 4, COMMUTE, ("INCR", "c")),
    ]))  # fmt: skip
    assert [(await stage.store.request())[1] for _ in range(2)] == [[b"GET", b"c"], [b"INCR", b"c"]]
    stage.store.reply(b"$1\r\n1\r\n")
    stage.store.reply(b":2\r\n")
    stale, seen, new = await replies(peer, 6)
    said = unpack_extension(stale.data)
    assert said is not None and (said.flags, said.stamp) == (EXTENSION_STALE, stamp + 9)
    assert [frame.payload for frame in (seen, new)] == [b":1\r\n", b":2\r\n"]
    assert stage.cell("skipped_writes") == 2


async def test_a_write_that_is_held_in_the_middle_of_a_batch_goes_on_as_it_was(tmp_path: Path) -> None:
    """The datastore is over its budget, so the peer is not read; each write is tried with the stamp that is its own."""
    async with opened(tmp_path, datastore_bytes=200) as stage:
        peer = await asker(stage)
        stamp = now()
        count = 12
        peer.writer.write(written(
            1, [(stamp + 7 * i, 1 + i, OVERWRITE, ("SET", f"k{i}", "x" * 90)) for i in range(count)]
        ))  # fmt: skip
        for i in range(count):
            assert (await stage.store.request())[1][1] == b"k%d" % i
            stage.store.reply(b"+OK\r\n")
        found = await replies(peer, count)
        assert sum(run_of(frame) for frame in found) == count
        for i in range(count):
            peer.writer.write(written(100 + i, [(stamp - 1, 100 + i, OVERWRITE, ("SET", f"k{i}", "old"))]))
            said = unpack_extension((await peer.reply()).data)
            assert said is not None and (said.flags, said.stamp) == (EXTENSION_STALE, stamp + 7 * i)


async def test_equal_replies_in_a_row_are_one_frame_and_others_are_not(stage: ReplicaStage) -> None:
    peer = await asker(stage)
    stamp = now()
    peer.writer.write(written(1, [(stamp + i, 1 + i, OVERWRITE, ("SET", f"k{i}", "v")) for i in range(6)]))
    for _ in range(6):
        await stage.store.request()
    stage.store.writers[0].write(b"+OK\r\n+OK\r\n+OK\r\n-ERR no\r\n+OK\r\n+OK\r\n")
    frames = await replies(peer, 6)
    assert [(frame.id, run_of(frame), frame.payload) for frame in frames] == [
        (3, 3, b"+OK\r\n"), (4, 1, b"-ERR no\r\n"), (6, 2, b"+OK\r\n"),
    ]  # fmt: skip


async def test_an_older_node_gets_a_reply_for_each(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer(DNODE_VERSION_OURS)
    for _ in range(3):
        peer.send(hiredis.pack_command(("SET", "k", "v")))
    for _ in range(3):
        await stage.store.request()
    stage.store.writers[0].write(b"+OK\r\n" * 3)
    frames = [await peer.reply() for _ in range(3)]
    assert [(frame.id, frame.version, frame.data) for frame in frames] == [
        (i, DNODE_VERSION_OURS, b"d") for i in (1, 2, 3)
    ]


BASE = ExtensionFields(fields=EXTENSION_STAMP | EXTENSION_ORIGIN, clock=5, stamp=5, origin_node=99, sequence=1)
GOOD = written(1, [(5, 1, OVERWRITE, ("SET", "k", "v"))])


@pytest.mark.parametrize(
    "data",
    [
        GOOD.replace(pack_extension(BASE._replace(origin_boot=1, conflict_class=1)), b"d").replace(b"*65 d", b"*1 d"),
        GOOD.replace(b"*3\r\n$3", b"*0\r\n$3"),
        GOOD.replace(b"*3\r\n$3\r\nSET", b"SET k v\r\nxyz"),
        GOOD.replace(b"$1\r\nv", b"$2\r\nv"),
        GOOD.replace(b"$3\r\nSET", b"$x\r\nSET"),
    ],
    ids=["no extension", "no words", "inline", "longer than the frame", "no length"],
)
async def test_what_is_no_batch_closes_the_connection(stage: ReplicaStage, data: bytes) -> None:
    assert data != GOOD
    peer = await asker(stage)
    peer.writer.write(data)
    assert await asyncio.wait_for(peer.at_eof(), 5)
    assert stage.store.waiting.empty()


@pytest.mark.parametrize("version", [DNODE_VERSION_C, DNODE_VERSION_OURS])
async def test_nodes_do_not_ask_as_people_at_a_terminal_do(stage: ReplicaStage, version: int) -> None:
    peer = await stage.asking_peer(version)
    peer.send(b"DEL k l\r\n", extension(5, OVERWRITE) if version == DNODE_VERSION_OURS else b"d")
    assert await asyncio.wait_for(peer.at_eof(), 5)


def test_the_next_key_is_guessed_or_nothing() -> None:
    whole = hiredis.pack_command(("SET", "key:1", "v"))
    assert peeked(whole) == b"key:1"
    keys = {peeked(whole[:end]) for end in range(len(whole))}
    assert keys == {None, b"key:1"}
    assert peeked(hiredis.pack_command(("GET", "key:1", "v"))) is None
    assert peeked(hiredis.pack_command(("SET", "k" * 999, "v"))) == b"k" * 999
    assert peeked(hiredis.pack_command(("SET", "k" * 1000, "v"))) is None
    for strange in (
        b"", b"*", b"*1\r\n$4\r\nPING\r\n", b"$3\r\nSET\r\n", b"*2\r\n$99\r\nSET\r\n$1\r\nk\r\n", b"\xff" * 40,
    ):  # fmt: skip
        assert peeked(strange) is None
