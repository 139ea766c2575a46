"""Writes have an id and a stamp that travel with them; a replica decides by them what its datastore gets."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hiredis
import pytest_asyncio

from dynomite_mp.cluster.write_table import ENTRY_DISORDERED, FAMILY_MIXED
from dynomite_mp.proto.dnode import (
    DNODE_REQ_FORWARD,
    DNODE_VERSION_C,
    EXTENSION_NOT_EXECUTED,
    EXTENSION_ORIGIN,
    EXTENSION_RESENT,
    EXTENSION_STALE,
    EXTENSION_STAMP,
)
from dynomite_mp.proto.dnode_frames import DnodeFrame, ExtensionFields, pack_extension, unpack_extension
from dynomite_mp.workers.stamps import COPY_DISORDERED, COPY_REFUSED, COPY_SKIPPED
from dynomite_mp.workers.writes import HINT_MISSED
from tests.unit.replica_stage import BOOT_ID, NODE_ID, ReplicaStage, words

OVERWRITE, COMMUTE, ORDERED = 1, 2, 3
OTHER = 99  # another coordinator


def now(shift_ms: int = 0) -> int:
    return int((time.time() * 1000 + shift_ms) * 65536)


def extension(stamp: int, klass: int, sequence: int = 1, **more: int) -> bytes:
    fields = ExtensionFields(
        fields=EXTENSION_STAMP | EXTENSION_ORIGIN, clock=stamp, stamp=stamp, origin_node=OTHER, origin_boot=1,
        sequence=sequence, conflict_class=klass, **more,
    )  # fmt: skip
    return pack_extension(fields)


def said(frame: DnodeFrame) -> ExtensionFields:
    found = unpack_extension(frame.data)
    assert found is not None, frame
    return found


def marks(frame: DnodeFrame) -> int:
    """Flags of a reply; it may tell nothing but the time, when the test was slow."""
    found = unpack_extension(frame.data)
    return 0 if found is None else found.flags


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[ReplicaStage]:
    async with ReplicaStage.open(tmp_path) as opened:
        yield opened


async def copies(stage: ReplicaStage) -> list[DnodeFrame]:
    return [await peer.request() for peer in stage.peers]


async def test_all_copies_of_a_write_have_one_id_and_stamp(stage: ReplicaStage) -> None:
    client = await stage.client()
    before = now()
    client.send("INCR", "k")
    client.send("SET", "k", "v")
    first, second = [said(frame) for frame in await copies(stage)], [said(frame) for frame in await copies(stage)]
    assert first[0] == first[1] and second[0] == second[1]
    assert (first[0].origin_node, first[0].origin_boot, first[0].conflict_class) == (NODE_ID, BOOT_ID, COMMUTE)
    assert second[0].conflict_class == OVERWRITE
    assert second[0].sequence == first[0].sequence + 1
    assert before <= first[0].stamp < second[0].stamp <= now() + 1


async def test_reads_and_c_nodes_get_bare_frames(tmp_path: Path) -> None:
    async with ReplicaStage.open(tmp_path) as stage:
        await stage.peers[0].stop()
        await stage.until(lambda: not stage.mesh.all_up())
        stage.peers[0].version = DNODE_VERSION_C
        await stage.peers[0].start()
        await stage.until(stage.mesh.all_up)
        client = await stage.client()
        client.send("SET", "k", "v")
        c_frame, our_frame = await copies(stage)
        assert c_frame.data == b"d" and said(our_frame).stamp


async def test_a_relative_expiry_is_made_absolute_once(stage: ReplicaStage) -> None:
    client = await stage.client()
    client.send("SET", "k", "v", "EX", "100")
    mine = (await stage.store.request())[1]
    assert mine[:4] == [b"SET", b"k", b"v", b"PXAT"]
    assert abs(int(mine[4]) - (time.time() + 100) * 1000) < 10_000
    assert [words(frame) for frame in await copies(stage)] == [mine, mine]


async def test_a_record_of_a_missed_write_has_its_id_and_stamp(stage: ReplicaStage) -> None:
    await stage.peers[0].stop()
    await stage.until(lambda: not stage.mesh.all_up())
    client = await stage.client()
    client.send("INCR", "k")
    copy = said(await stage.peers[1].request())
    _name, fields = await stage.record()
    assert fields[2:8] == (NODE_ID, BOOT_ID, 0, copy.sequence, copy.stamp, COMMUTE)


async def test_a_replica_that_was_not_executed_missed_it_and_a_read_goes_on(stage: ReplicaStage) -> None:
    client = await stage.client()
    client.send("INCR", "k")
    frames = await copies(stage)
    reply = pack_extension(ExtensionFields(flags=EXTENSION_NOT_EXECUTED))
    stage.peers[0].reply(frames[0], b"-ERR Storage: Datastore refused connection\r\n", reply)
    _name, fields = await stage.record()
    assert fields[:2] == (HINT_MISSED, stage.peers[0].address)


# ---- as a replica


async def told(stage: ReplicaStage, peer: Any, *command: str, data: bytes) -> DnodeFrame:
    """A copy that is not given to the datastore."""
    peer.send(hiredis.pack_command(command), data)
    reply: DnodeFrame = await peer.reply()
    assert stage.store.waiting.empty()
    return reply


async def applied(stage: ReplicaStage, peer: Any, *command: str, data: bytes) -> DnodeFrame:
    peer.send(hiredis.pack_command(command), data)
    assert (await stage.store.request())[1] == [word.encode() for word in command]
    stage.store.reply(b":1\r\n")
    reply: DnodeFrame = await peer.reply()
    return reply


async def test_an_older_overwrite_is_skipped_and_the_reply_says_what_is_newest(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    newest = now()
    assert marks(await applied(stage, peer, "SET", "k", "new", data=extension(newest, OVERWRITE, 2))) == 0
    reply = await told(stage, peer, "SET", "k", "old", data=extension(newest - 5, OVERWRITE, 1))
    assert reply.payload == b"+OK\r\n"
    assert said(reply).flags == EXTENSION_STALE and said(reply).stamp == newest
    assert stage.cell("skipped_writes") == 1
    assert stage.records() == []


async def test_what_is_old_here_goes_on_to_the_other_racks_with_its_own_stamp(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    newest = now()
    await applied(stage, peer, "SET", "k", "new", data=extension(newest, OVERWRITE, 2))
    peer.send(
        hiredis.pack_command(("SET", "k", "old")), extension(newest - 5, OVERWRITE, 1), kind=DNODE_REQ_FORWARD
    )
    assert [said(frame).stamp for frame in await copies(stage)] == [newest - 5, newest - 5]
    assert stage.store.waiting.empty()


async def test_a_second_delivery_is_skipped(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    stamp = now()
    await applied(stage, peer, "INCR", "k", data=extension(stamp, COMMUTE, 7))
    reply = await told(stage, peer, "INCR", "k", data=extension(stamp, COMMUTE, 7, flags=EXTENSION_RESENT))
    assert reply.payload == b"+OK\r\n" and marks(reply) == 0
    await applied(stage, peer, "INCR", "k", data=extension(stamp, COMMUTE, 8))


async def test_what_comes_again_after_long_is_applied_when_its_id_is_new(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    long_ago = now() - (3_600_000 << 16)  # before this process began
    await applied(stage, peer, "INCR", "k", data=extension(now(), COMMUTE, 1))
    await applied(stage, peer, "LPUSH", "l", "x", data=extension(long_ago, ORDERED, 2, flags=EXTENSION_RESENT))
    await told(stage, peer, "LPUSH", "l", "x", data=extension(long_ago, ORDERED, 2, flags=EXTENSION_RESENT))


async def test_writes_in_another_order_than_that_of_their_stamps_have_the_key_copied(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    stamp = now()
    await applied(stage, peer, "APPEND", "k", "b", data=extension(stamp, ORDERED, 2))
    await applied(stage, peer, "APPEND", "k", "a", data=extension(stamp - 1, ORDERED, 1))
    name, (_token, key, reason) = await stage.record()
    assert (name, key, reason) == ("key_copy", b"k", COPY_DISORDERED)
    await told(stage, peer, "SET", "k", "x", data=extension(stamp - 2, OVERWRITE, 3))
    name, (_token, key, reason) = await stage.record()
    assert (name, key, reason) == ("key_copy", b"k", COPY_SKIPPED)


async def test_several_keys_are_written_when_one_of_them_wants_it_and_the_others_are_copied(
    stage: ReplicaStage,
) -> None:
    peer = await stage.asking_peer()
    stamp = now()
    await applied(stage, peer, "SET", "a", "new", data=extension(stamp, OVERWRITE, 1))
    await applied(stage, peer, "MSET", "a", "1", "b", "2", data=extension(stamp - 5, OVERWRITE, 2))
    name, (_token, key, _reason) = await stage.record()
    assert (name, key) == ("key_copy", b"a")
    await applied(stage, peer, "SET", "b", "new", data=extension(stamp, OVERWRITE, 3))
    reply = await told(stage, peer, "DEL", "a", "b", data=extension(stamp - 6, OVERWRITE, 4))
    assert said(reply).flags == EXTENSION_STALE


async def test_a_write_of_a_c_node_gets_a_stamp_here(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer(DNODE_VERSION_C)
    await applied(stage, peer, "SET", "k", "v", data=b"d")
    ours = await stage.asking_peer()
    reply = await told(stage, ours, "SET", "k", "old", data=extension(now(-1000), OVERWRITE))
    assert said(reply).flags == EXTENSION_STALE


async def test_a_datastore_that_is_not_there_has_not_executed_it(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    stage.store.drop_connections()
    await stage.until(lambda: not any(link.is_up for link in stage.links))
    stamp = now()
    reply = await told(stage, peer, "INCR", "k", data=extension(stamp, COMMUTE, 1))
    assert said(reply).flags == EXTENSION_NOT_EXECUTED
    await stage.until(lambda: all(link.is_up for link in stage.links))
    await applied(stage, peer, "INCR", "k", data=extension(stamp, COMMUTE, 1, flags=EXTENSION_RESENT))


async def test_the_own_copy_that_alone_refused_a_write_is_copied(stage: ReplicaStage) -> None:
    client = await stage.client()
    client.send("INCR", "k")
    frames = await copies(stage)
    await stage.store.request()
    stage.store.reply(b"-OOM x\r\n")
    stage.peers[0].reply(frames[0], b":1\r\n")
    name, (_token, key, reason) = await stage.record()
    assert (name, key, reason) == ("key_copy", b"k", COPY_REFUSED)


# ---- another datacenter's writes


async def test_a_write_of_another_datacenter_keeps_its_id_and_waits_for_all_racks(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    stamp = now()
    peer.send(
        hiredis.pack_command(("INCR", "k")), extension(stamp, COMMUTE, 5, flags=EXTENSION_RESENT), DNODE_REQ_FORWARD
    )
    await stage.store.request()
    frames = await copies(stage)
    for frame in frames:
        copy = said(frame)
        assert (copy.stamp, copy.origin_node, copy.sequence, copy.flags) == (stamp, OTHER, 5, EXTENSION_RESENT)
    stage.store.reply(b":7\r\n")
    stage.peers[0].reply(frames[0], b":7\r\n")
    await stage.until(lambda: stage.cell("peer_responses") == 1)
    other = await stage.client()
    assert await other.call("PING") == b"PONG"
    assert not peer.has_reply()
    await stage.peers[1].stop()  # its miss is on record
    assert (await peer.reply()).payload == b":7\r\n"
    name, fields = await stage.record()
    assert name == "hint" and fields[2] == OTHER and fields[5:7] == (5, stamp)


async def test_what_the_own_datastore_need_not_have_goes_to_the_other_racks_as_it_is(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    newest = now()
    await applied(stage, peer, "SET", "k", "new", data=extension(newest, OVERWRITE, 2))
    peer.send(hiredis.pack_command(("APPEND", "k", "x")), extension(newest - 5, ORDERED, 1), DNODE_REQ_FORWARD)
    frames = await copies(stage)
    assert [(said(frame).stamp, said(frame).sequence) for frame in frames] == [(newest - 5, 1)] * 2


# ---- the clock


async def test_a_faster_nodes_clock_is_followed(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    await applied(stage, peer, "SET", "k", "v", data=extension(now(3000), OVERWRITE))
    assert 2900 < stage.path.clock_ahead_ms() <= 3000
    client = await stage.client()
    client.send("SET", "other", "v")
    assert said((await copies(stage))[0]).stamp > now(2900)


async def test_a_slower_coordinator_is_told_the_time(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    reply = await applied(stage, peer, "SET", "k", "v", data=extension(now(-3000), OVERWRITE))
    assert said(reply).clock > now(-1000)


async def test_a_nodes_first_question_is_answered_with_the_time(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    peer.send(hiredis.pack_command(("PING",)))
    assert said(await peer.reply()).clock > now(-5000)


async def test_a_reply_tells_the_time_too(stage: ReplicaStage) -> None:
    client = await stage.client()
    client.send("SET", "k", "v")
    frames = await copies(stage)
    stage.peers[0].reply(frames[0], b"+OK\r\n", pack_extension(ExtensionFields(clock=now(2000))))
    await stage.until(lambda: stage.path.clock_ahead_ms() > 1800)


async def test_a_clock_too_far_ahead_is_reported_and_its_stamp_replaced(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    await applied(stage, peer, "SET", "k", "v", data=extension(now(3_600_000), OVERWRITE, 1))
    assert stage.skews == ["peer"] and stage.cell("clock_skews") == 1
    await applied(stage, peer, "SET", "k", "w", data=extension(now(10_000), OVERWRITE, 2))


async def test_a_write_that_this_racks_owner_finds_too_old_is_sent_once_more(tmp_path: Path) -> None:
    """The owner in this rack is another node; it has seen a newer stamp."""
    async with ReplicaStage.open(tmp_path) as stage:
        stage.mesh.swap(stage.topology(with_neighbour=True))
        await stage.until(stage.mesh.all_up)
        client = await stage.client()
        client.send("SET", "k", "v")
        neighbour, other = stage.peers
        frame, first = await neighbour.request(), said(await other.request())
        newest = first.stamp + 1000 * 65536
        stale = ExtensionFields(flags=EXTENSION_STALE, fields=EXTENSION_STAMP, stamp=newest, clock=newest)
        neighbour.reply(frame, b"+OK\r\n", pack_extension(stale))
        again, second = await neighbour.request(), said(await other.request())
        assert words(again) == [b"SET", b"k", b"v"]
        assert said(again) == second and second.stamp > newest and second.sequence > first.sequence
        assert stage.cell("restamped_writes") == 1
        neighbour.reply(again, b"+DONE\r\n")
        assert await client.reply() == b"DONE"


async def test_an_overwrite_of_a_clock_that_had_not_heard_the_time_is_sent_once_more(stage: ReplicaStage) -> None:
    """Another rack has a newer one, by a clock that this node does not know yet; of this clock's time it is none."""
    client = await stage.client()
    for ahead_ms, times in ((1000, 2), (-1, 1)):
        client.send("SET", "k", "v")
        await stage.store.request()
        stage.store.reply(b"+OK\r\n")
        assert await client.reply() == b"OK"
        frame = await stage.peers[0].request()
        newest = said(frame).stamp + ahead_ms * 65536
        stale = ExtensionFields(flags=EXTENSION_STALE, fields=EXTENSION_STAMP, stamp=newest, clock=newest)
        stage.peers[0].reply(frame, b"+OK\r\n", pack_extension(stale))
        if times == 2:
            again = said(await stage.peers[0].request())
            assert again.stamp > newest and again.sequence > said(frame).sequence
            await stage.store.request()
            stage.store.reply(b"+OK\r\n")
        else:
            client.send("GET", "k")
            await stage.store.request()
            stage.store.reply(b"$1\r\nv\r\n")
            assert await client.reply() == b"v"
            assert stage.peers[0].waiting.empty()
    assert stage.cell("restamped_writes") == 1


async def test_what_was_stamped_during_a_long_turn_is_no_lead(stage: ReplicaStage) -> None:
    """Else the clocks of a cluster would drive each other ahead."""
    first, second = await stage.asking_peer(), await stage.asking_peer()

    def take_long(*_call: object) -> bool:
        end_s = time.monotonic() + 0.005
        while time.monotonic() < end_s:
            pass
        second.send(hiredis.pack_command(("SET", "b", "2")), extension(now(), OVERWRITE, 3))
        return True

    stage.path.set_on_call(take_long, 1)
    first.send(hiredis.pack_command(("SET", "a", "1")), extension(now(-1), OVERWRITE, 1))
    first.send(hiredis.pack_command(("DYNO", "CALL", "x")))
    second.send(hiredis.pack_command(("SET", "b", "1")), extension(now(-1), OVERWRITE, 2))
    stage.path.turn()
    for _ in range(3):
        await stage.store.request()
    assert stage.path.clock_ahead_ms() == 0


# ---- what other nodes may know


async def key(peer: Any, name: str) -> Any:
    peer.send(hiredis.pack_command(("DYNO", "KEY", name)))
    reader = hiredis.Reader()
    reader.feed((await peer.reply()).payload)
    return reader.gets()


async def test_a_node_says_what_it_knows_of_a_key(stage: ReplicaStage) -> None:
    peer = await stage.asking_peer()
    stamp = now()
    assert await key(peer, "k") == []
    await applied(stage, peer, "SET", "k", "v", data=extension(stamp, OVERWRITE, 1))
    await applied(stage, peer, "APPEND", "k", "w", data=extension(stamp + 9, ORDERED, 3))
    await applied(stage, peer, "APPEND", "k", "w", data=extension(stamp + 5, ORDERED, 2))
    known = await key(peer, "k")
    ids, stamps = [[OTHER, 1, 0, sequence] for sequence in (2, 3, 1)], [stamp + 5, stamp + 9, stamp]
    assert known[:7] == [stamp + 9, OTHER, ENTRY_DISORDERED + 256 * FAMILY_MIXED, ids, [stamp, OTHER], [], stamps]
    assert 0 < known[7] < stamp and known[8] == [], "when this node started, and stamps of others"


async def test_an_own_overwrite_that_waited_too_long_to_be_stamped_anew_has_the_key_copied(stage: ReplicaStage) -> None:
    assert stage.path.hold_keys(1, [b"k"]) == [b"k"]
    client = await stage.client()
    client.send("DEL", "k")
    copy = said((await copies(stage))[0])
    known = [copy.stamp + 1, OTHER, 256, [[OTHER, 1, 0, 1]], [0, 0]]
    assert stage.path.apply_key(1, b"k", known, [hiredis.pack_command(("RESTORE", "k", "0", "dump", "REPLACE"))])
    await stage.store.request()
    stage.store.reply(b"+OK\r\n")
    name, (_token, key, reason) = await stage.record()
    assert (name, key, reason) == ("key_copy", b"k", COPY_SKIPPED)


async def test_a_copied_keys_writes_are_not_applied_again(stage: ReplicaStage) -> None:
    stamp = now()
    assert stage.path.hold_keys(1, [b"k"]) == [b"k"]
    applied_keys: list[Any] = []
    stage.path.set_on_applied(lambda *row: applied_keys.append(row))
    peer = await stage.asking_peer()
    known = [stamp, OTHER, 256, [[OTHER, 1, 0, 1]], [0, 0]]
    peer.send(hiredis.pack_command(("INCR", "k")), extension(stamp, COMMUTE, 1))  # the copy has it
    peer.send(hiredis.pack_command(("INCR", "k")), extension(stamp + 1, COMMUTE, 2))
    peer.send(hiredis.pack_command(("PING",)))
    await stage.until(lambda: stage.cell("dnode_client_requests") == 3)
    assert stage.path.apply_key(1, b"k", known, [hiredis.pack_command(("RESTORE", "k", "0", "dump", "REPLACE"))])
    assert [(await stage.store.request())[1][0] for _ in range(3)] == [b"RESTORE", b"GET", b"INCR"]
    for reply in (b"+OK\r\n", b"$1\r\n7\r\n", b":8\r\n"):
        stage.store.reply(reply)
    assert [(await peer.reply()).payload for _ in range(3)] == [b":7\r\n", b":8\r\n", b"+PONG\r\n"]
    assert stage.store.waiting.empty()
    assert applied_keys == [(1, b"k", b"")]
    assert (await key(peer, "k"))[0] == stamp + 1


async def test_with_c_nodes_far_away_requests_go_as_they_are(stage: ReplicaStage) -> None:
    stage.path.set_far_c_nodes(True)
    client = await stage.client()
    for request in ([b"RESTORE", b"k", b"1000", b"bytes"], [b"SETNX", b"k", b"v"], [b"LPOP", b"k"]):
        client.send(*request)
        assert [words(frame) for frame in await copies(stage)] == [request, request]
        assert (await stage.store.request())[1] == request
