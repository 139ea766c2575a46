"""Reads and a replica that may lack writes: it is asked last, whoever knows that it is behind."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import hiredis
import pytest
import pytest_asyncio

from dynomite_mp.enums import Consistency, Missing
from dynomite_mp.errors import WIRE_ERRORS
from dynomite_mp.proto.dnode import (
    EXTENSION_CATCHING_UP,
    EXTENSION_FORCE_READ,
    EXTENSION_LOCAL_ONLY,
    EXTENSION_NOT_EXECUTED,
)
from dynomite_mp.proto.dnode_frames import ExtensionFields, pack_extension, unpack_extension
from dynomite_mp.proto.requests import request
from tests.unit.io_stage import Client
from tests.unit.replica_stage import PlayedPeer, ReplicaStage


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[ReplicaStage]:
    async with ReplicaStage.open(tmp_path) as opened:
        opened.asked = []
        opened.path.set_on_behind(lambda address, number: opened.asked.append((address, number)))
        yield opened


async def misses_a_write(stage: ReplicaStage, client: Client, peer: PlayedPeer) -> None:
    """It is away for one SET, and back."""
    others = [other for other in stage.peers if other is not peer]
    await peer.stop()
    await stage.until(lambda: not stage.mesh.all_up())
    client.send("SET", "k", "new")
    await stage.store.request()
    stage.store.reply(b"+OK\r\n")
    for other in others:
        other.reply(await other.request(), b"+OK\r\n")
    assert await client.reply() == b"OK"
    await peer.start()
    await stage.until(stage.mesh.all_up)


async def served_by(stage: ReplicaStage, client: Client) -> ReplicaStage | PlayedPeer:
    """Who gets a GET of this client first."""
    client.send("GET", "k")
    await stage.until(lambda: any(not one.waiting.empty() for one in (stage.store, *stage.peers)))
    for peer in stage.peers:
        if not peer.waiting.empty():
            peer.reply(await peer.request(), b"$3\r\nnew\r\n")
            assert await client.reply() == b"new"
            return peer
    await stage.store.request()
    stage.store.reply(b"$3\r\nnew\r\n")
    assert await client.reply() == b"new"
    return stage


async def test_a_replica_that_missed_a_write_of_this_node_is_not_read(stage: ReplicaStage) -> None:
    client = await stage.client()
    await misses_a_write(stage, client, stage.peers[0])
    assert stage.asked == [(stage.peers[0].address, 1)]
    stage.path.set_catching_up(Missing.WRITES)
    assert await served_by(stage, client) is stage.peers[1]
    stage.path.lane_empty(stage.peers[0].address.encode(), 1)
    assert await served_by(stage, client) is stage.peers[0]


async def test_what_it_has_missed_meanwhile_is_asked_for_again(stage: ReplicaStage) -> None:
    client = await stage.client()
    first, second = stage.peers
    await misses_a_write(stage, client, first)
    await misses_a_write(stage, client, first)
    stage.path.lane_empty(first.address.encode(), 1)
    assert stage.asked == [(first.address, 1), (first.address, 2)]
    stage.path.set_catching_up(Missing.WRITES)
    assert await served_by(stage, client) is second
    stage.path.ask_again()
    assert stage.asked[2:] == [(first.address, 2)]
    stage.path.lane_empty(first.address.encode(), 2)
    stage.path.ask_again()
    assert len(stage.asked) == 3


async def test_this_node_itself_when_everybody_is_behind(stage: ReplicaStage) -> None:
    """What it has acknowledged itself is here, whatever else is missing."""
    client = await stage.client()
    for peer in stage.peers:
        await misses_a_write(stage, client, peer)
    stage.path.set_catching_up(Missing.WRITES)
    assert await served_by(stage, client) is stage


async def test_a_read_with_nowhere_else_to_go_waits_behind_writes_that_wait_for_a_copy(stage: ReplicaStage) -> None:
    """They are acknowledged already, by another rack."""
    client = await stage.client()
    for peer in stage.peers:
        await misses_a_write(stage, client, peer)
    stage.path.set_catching_up(Missing.WRITES)
    assert stage.path.hold_keys(1, [b"k"]) == [b"k"]
    stage.path.set_on_applied(lambda *_row: None)
    client.send("SET", "k", "new")
    for peer in stage.peers:
        peer.reply(await peer.request(), b"+OK\r\n")
    assert await client.reply() == b"OK"
    client.send("GET", "k")
    assert await (await stage.client()).call("PING") == b"PONG"
    assert stage.store.waiting.empty()
    assert stage.path.apply_key(1, b"k", None, [hiredis.pack_command(("RESTORE", "k", "0", "old", "REPLACE"))])
    assert [(await stage.store.request())[1][0] for _ in range(3)] == [b"RESTORE", b"SET", b"GET"]
    for reply in (b"+OK\r\n", b"+OK\r\n", b"$3\r\nnew\r\n"):
        stage.store.reply(reply)
    assert await client.reply() == b"new"


async def test_an_old_value_is_better_than_none_but_nothing_is_not(stage: ReplicaStage) -> None:
    for peer in stage.peers:
        await peer.stop()
    await stage.until(lambda: not any(link.is_up for link in stage.mesh.links))
    client = await stage.client()
    stage.path.set_catching_up(Missing.EVERYTHING)
    with pytest.raises(hiredis.ReplyError):
        raise await client.call("GET", "k")
    stage.path.set_catching_up(Missing.WRITES)
    assert await served_by(stage, client) is stage


async def test_a_datastore_that_was_silent_has_taken_no_writes(tmp_path: Path) -> None:
    async with ReplicaStage.open(tmp_path, peer_silence_ms=50) as stage:
        told: list[bool] = []
        stage.path.set_on_store_back(lambda: (stage.path.set_catching_up(Missing.WRITES), told.append(True)))
        client = await stage.client()
        client.send("GET", "k")
        await stage.store.request()
        first = stage.peers[0]
        first.reply(await first.request(), b"$3\r\nnew\r\n")  # it has been silent for long enough
        assert await client.reply() == b"new"
        stage.store.reply(b"$3\r\nold\r\n")
        await stage.until(lambda: told)
        assert await served_by(stage, client) is first


async def test_the_reply_to_a_count_comes_from_a_replica_that_has_them_all(stage: ReplicaStage) -> None:
    client = await stage.client()
    stage.path.set_catching_up(Missing.WRITES)
    client.send("INCR", "k")
    await stage.store.request()
    stage.store.reply(b":1\r\n")
    first = stage.peers[0]
    first.reply(await first.request(), b":8\r\n")
    assert await client.reply() == 8


async def test_who_lacks_little_is_asked_before_who_may_lack_everything(stage: ReplicaStage) -> None:
    """This node's datastore was started anew, the others stood still for a moment; one of them cannot be reached."""
    client = await stage.client()
    stage.path.set_catching_up(Missing.EVERYTHING)
    little = pack_extension(ExtensionFields(flags=EXTENSION_NOT_EXECUTED | EXTENSION_FORCE_READ))
    first, second = stage.peers
    client.send("GET", "k")
    first.reply(await first.request(), WIRE_ERRORS["state_forbids"].line)
    second.reply(await second.request(), WIRE_ERRORS["state_forbids"].line, little)
    forced = await second.request()
    extension = unpack_extension(forced.data)
    assert extension is not None and extension.flags == EXTENSION_FORCE_READ
    second.reply(forced, b"$3\r\nold\r\n")
    assert await client.reply() == b"old"
    await first.stop()
    await stage.until(lambda: not stage.mesh.all_up())
    client.send("GET", "k")
    second.reply(await second.request(), WIRE_ERRORS["state_forbids"].line, little)
    second.reply(await second.request(), b"$3\r\nold\r\n")
    assert await client.reply() == b"old"


async def test_this_node_tells_peers_how_much_it_may_lack(stage: ReplicaStage) -> None:
    asking = await stage.asking_peer()
    for missing, flags in ((Missing.WRITES, EXTENSION_FORCE_READ), (Missing.EVERYTHING, 0)):
        stage.path.set_catching_up(missing)
        asking.send(request("GET", "k"))
        frame = await asking.reply()
        extension = unpack_extension(frame.data)
        assert frame.payload == WIRE_ERRORS["state_forbids"].line
        assert extension is not None and extension.flags == EXTENSION_NOT_EXECUTED | flags


async def test_a_count_of_who_may_lack_everything_is_the_last_to_be_taken(stage: ReplicaStage) -> None:
    client = await stage.client()
    for peer in stage.peers:
        await misses_a_write(stage, client, peer)
    stage.path.set_catching_up(Missing.EVERYTHING)
    client.send("INCR", "n")
    frames = [await peer.request() for peer in stage.peers]
    await stage.store.request()
    stage.store.reply(b":1\r\n")
    await stage.until(lambda: stage.cell("write_responses:resp2") == 3)
    stage.peers[0].reply(frames[0], b":3\r\n")
    stage.peers[1].reply(frames[1], WIRE_ERRORS["datastore_refused"].line)
    assert await client.reply() == 3


async def test_the_reply_to_a_count_that_the_copy_contained_comes_from_another_rack(stage: ReplicaStage) -> None:
    client, other = await stage.client(), stage.peers[0]
    for peer in stage.peers:
        await misses_a_write(stage, client, peer)
    stage.path.set_catching_up(Missing.WRITES)
    stage.path.hold_keys(1, [b"n"])
    client.send("INCR", "n")
    frames = [await peer.request() for peer in stage.peers]
    extension = unpack_extension(frames[0].data)
    assert extension is not None
    own = (extension.origin_node, extension.origin_boot, extension.origin_worker, extension.sequence)
    known = (extension.stamp, extension.origin_node, 0, [own], (0, 0), [], [extension.stamp])
    stage.path.set_on_applied(lambda *_row: None)
    assert stage.path.apply_key(1, b"n", known, [request("RESTORE", "n", 0, b"dump", "REPLACE", "ABSTTL")])
    await stage.store.request()
    stage.store.reply(b"+OK\r\n")
    await stage.until(lambda: stage.cell("skipped_writes") == 1)
    other.reply(frames[0], b":6\r\n")
    stage.peers[1].reply(frames[1], WIRE_ERRORS["datastore_refused"].line)
    assert await client.reply() == 6


async def test_when_all_lack_something_a_count_is_what_this_node_itself_knows(stage: ReplicaStage) -> None:
    client = await stage.client()
    for peer in stage.peers:
        await misses_a_write(stage, client, peer)
    stage.path.set_catching_up(Missing.WRITES)
    client.send("INCR", "n")
    frames = [await peer.request() for peer in stage.peers]
    stage.peers[0].reply(frames[0], b":3\r\n")
    await stage.store.request()
    stage.store.reply(b":5\r\n")
    await stage.until(lambda: stage.cell("write_responses:resp2") == 3)
    stage.peers[1].reply(frames[1], b":4\r\n")
    assert await client.reply() == 5


async def test_a_node_that_catches_up_does_not_wait_for_its_copies_of_keys(stage: ReplicaStage) -> None:
    """A write that waits for the copy of its key is answered by another rack, which is read until this one is whole."""
    client = await stage.client()
    stage.path.set_catching_up(Missing.WRITES)
    stage.path.hold_keys(1, [b"k"])
    client.send("SET", "k", "v")
    for peer in stage.peers:
        peer.reply(await peer.request(), b"+OK\r\n")
    assert await client.reply() == b"OK"
    stage.path.release_keys(1)
    assert (await stage.store.request())[1] == [b"SET", b"k", b"v"]


async def test_a_read_does_not_overtake_a_write_that_waits_for_a_copy(stage: ReplicaStage) -> None:
    """Another rack has taken that write, and its coordinator acknowledged it perhaps."""
    client, other = await stage.client(), await stage.client()
    stage.path.hold_keys(1, [b"k"])
    assert await served_by(stage, other) is stage
    client.send("SET", "k", "new")
    for peer in stage.peers:
        peer.reply(await peer.request(), b"+OK\r\n")
    assert await served_by(stage, other) is stage.peers[0]
    asking = await stage.asking_peer()
    asking.send(request("GET", "k"))
    assert (await asking.reply()).payload == WIRE_ERRORS["state_forbids"].line
    asking.send(request("GET", "k"), pack_extension(ExtensionFields(flags=EXTENSION_LOCAL_ONLY)))  # for a copy
    await stage.store.request()
    stage.store.reply(b"$3\r\nold\r\n")
    assert (await asking.reply()).payload == b"$3\r\nold\r\n"
    asking.send(request("GET", "k"), pack_extension(ExtensionFields(flags=EXTENSION_FORCE_READ)))
    assert await other.call("PING") == b"PONG"
    stage.path.release_keys(1)
    assert [(await stage.store.request())[1][0] for _ in range(2)] == [b"SET", b"GET"]
    stage.store.reply(b"+OK\r\n")
    stage.store.reply(b"$3\r\nnew\r\n")
    assert await client.reply() == b"OK"
    assert (await asking.reply()).payload == b"$3\r\nnew\r\n"
    assert await served_by(stage, other) is stage


async def test_a_datastore_that_may_be_empty_is_no_source_of_copies(stage: ReplicaStage) -> None:
    """A copy of a key that is not filled yet would delete it elsewhere; a read is served when there is no other."""
    asking = await stage.asking_peer()
    for_copy = pack_extension(ExtensionFields(flags=EXTENSION_LOCAL_ONLY | EXTENSION_FORCE_READ))
    stage.path.set_catching_up(Missing.EVERYTHING)
    asking.send(request("GET", "k"), for_copy)
    assert (await asking.reply()).payload == WIRE_ERRORS["state_forbids"].line
    for missing, data in (
        (Missing.EVERYTHING, pack_extension(ExtensionFields(flags=EXTENSION_FORCE_READ))),
        (Missing.WRITES, for_copy),
    ):
        stage.path.set_catching_up(missing)
        asking.send(request("GET", "k"), data)
        await stage.store.request()
        stage.store.reply(b"$3\r\nold\r\n")
        assert (await asking.reply()).payload == b"$3\r\nold\r\n"


async def test_a_stop_that_a_timer_sees_first_is_one_too(stage: ReplicaStage) -> None:
    stops: list[bool] = []
    stage.path.set_on_stall(lambda: stops.append(True), 1)
    end_s = time.monotonic() + 0.002
    while time.monotonic() < end_s:
        pass
    stage.path.beat()
    assert stops == [True]


async def test_a_node_that_stood_still_does_not_take_others_for_silent(tmp_path: Path) -> None:
    """Their replies may lie in its sockets; its own value is older than theirs."""
    async with ReplicaStage.open(tmp_path, peer_silence_ms=50) as stage:
        stage.path.set_on_stall(lambda: stage.path.set_catching_up(Missing.WRITES), 50)
        client = await stage.client()
        client.send("SET", "k", "v")
        await stage.store.request()
        stage.store.reply(b"+OK\r\n")
        assert await client.reply() == b"OK"
        frames = [await peer.request() for peer in stage.peers]
        end_s = time.monotonic() + 0.1
        while time.monotonic() < end_s:  # the whole process is this one: it stands still
            pass
        for peer, frame in zip(stage.peers, frames, strict=True):
            peer.reply(frame, b"+OK\r\n")
        assert await served_by(stage, client) is stage.peers[0]


async def test_an_old_value_is_not_waited_for_until_silent_racks_are_due(tmp_path: Path) -> None:
    """This node's datastore lacks little, the others stand still."""
    async with ReplicaStage.open(tmp_path, peer_silence_ms=50) as stage:
        stage.path.set_catching_up(Missing.WRITES)
        client = await stage.client()
        client.send("GET", "k")
        for peer in stage.peers:
            await peer.request()
        await stage.store.request()
        stage.store.reply(b"$3\r\nold\r\n")
        assert await client.reply() == b"old"


@pytest.mark.parametrize("missing", [Missing.WRITES, Missing.EVERYTHING])
async def test_a_read_of_a_quorum_is_served_when_every_rack_is_catching_up(tmp_path: Path, missing: Missing) -> None:
    async with ReplicaStage.open(tmp_path, read_level=Consistency.DC_QUORUM) as stage:
        stage.path.set_catching_up(missing)
        client = await stage.client()
        client.send("GET", "k")
        for peer in stage.peers:
            peer.reply(await peer.request(), WIRE_ERRORS["state_forbids"].line)
        await stage.store.request()
        stage.store.reply(b"$3\r\nnew\r\n")
        frame = await stage.peers[0].request()  # two are enough
        extension = unpack_extension(frame.data)
        assert extension is not None and extension.flags == EXTENSION_FORCE_READ
        stage.peers[0].reply(frame, b"$3\r\nnew\r\n")
        assert await client.reply() == b"new"


async def test_a_count_is_not_waited_for_at_racks_that_are_silent(tmp_path: Path) -> None:
    """Nor is the reply to an overwrite, which is the same everywhere, at any."""
    async with ReplicaStage.open(tmp_path, peer_silence_ms=50) as stage:
        stage.path.set_catching_up(Missing.WRITES)
        client = await stage.client()
        for command, reply, answer in ((("SET", "k", "1"), b"+OK\r\n", b"OK"), (("INCR", "k"), b":2\r\n", 2)):
            client.send(*command)
            await stage.store.request()
            stage.store.reply(reply)
            assert await client.reply() == answer


async def test_nor_is_the_reply_to_a_count_that_of_an_owner_that_missed_writes(stage: ReplicaStage) -> None:
    """In this rack another node owns the key; its datastore was away for an INCR."""
    owner, other = stage.peers
    stage.mesh.swap(stage.topology(with_neighbour=True))
    await stage.until(stage.mesh.all_up)
    client = await stage.client()
    await owner.stop()
    await stage.until(lambda: not stage.mesh.all_up())
    client.send("INCR", "k")
    other.reply(await other.request(), b":1\r\n")
    assert await client.reply() == 1
    await owner.start()
    await stage.until(stage.mesh.all_up)
    client.send("INCR", "k")
    owner.reply(await owner.request(), b":1\r\n")
    other.reply(await other.request(), b":2\r\n")
    assert await client.reply() == 2


async def test_nor_that_of_one_which_says_that_it_is_catching_up(stage: ReplicaStage) -> None:
    """It may have missed writes of other coordinators only."""
    owner, other = stage.peers
    stage.mesh.swap(stage.topology(with_neighbour=True))
    await stage.until(stage.mesh.all_up)
    client = await stage.client()
    client.send("INCR", "k")
    owner.reply(await owner.request(), b":1\r\n", pack_extension(ExtensionFields(flags=EXTENSION_CATCHING_UP)))
    other.reply(await other.request(), b":2\r\n")
    assert await client.reply() == 2


async def test_a_node_that_is_catching_up_says_so_with_its_reply(stage: ReplicaStage) -> None:
    asker = await stage.asking_peer()
    marks = []
    for missing in (Missing.WRITES, Missing.NOTHING):
        stage.path.set_catching_up(missing)
        asker.send(hiredis.pack_command(("INCR", "k")))
        await stage.store.request()
        stage.store.reply(b":1\r\n")
        extension = unpack_extension((await asker.reply()).data)
        marks.append(extension is not None and extension.flags & EXTENSION_CATCHING_UP)
    assert marks == [EXTENSION_CATCHING_UP, 0]


@pytest.mark.parametrize("own_first", [True, False])
async def test_a_quorum_of_replicas_counts_as_one_that_has_them_all(tmp_path: Path, own_first: bool) -> None:
    async with ReplicaStage.open(tmp_path, write_level=Consistency.DC_QUORUM) as stage:
        stage.path.set_catching_up(Missing.WRITES)
        client = await stage.client()
        client.send("INCR", "k")
        await stage.store.request()
        frame = await stage.peers[0].request()
        first = stage.mesh.links[0].conn
        assert first is not None
        if own_first:
            stage.store.reply(b":1\r\n")
            await stage.until(lambda: stage.path.figures()["out_queue:resp2"] == 0)
            stage.peers[0].reply(frame, b":8\r\n")
        else:
            stage.peers[0].reply(frame, b":8\r\n")
            await stage.until(lambda: first.in_flight == 0)
            stage.store.reply(b":1\r\n")
        assert await client.reply() == 8
