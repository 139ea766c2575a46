"""Commands of class lead at DC_EACH_SAFE_QUORUM: they wait for the other datacenters, and nothing waits for them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hiredis
import pytest_asyncio

from dynomite_mp.cluster.lead import LeadOrder
from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.proto.dnode import EXTENSION_LATER, EXTENSION_LEAD, EXTENSION_LEVEL_SHIFT
from dynomite_mp.proto.dnode_frames import ExtensionFields, pack_extension, unpack_extension
from tests.models import token_model
from tests.unit.io_stage import Client
from tests.unit.replica_stage import AskingPeer, ReplicaStage, words

EACH = 3
LEAD_EACH = EXTENSION_LEAD | EACH << EXTENSION_LEVEL_SHIFT
LATER = pack_extension(ExtensionFields(flags=EXTENSION_LATER))
NO_QUORUM = b"-ERR Dynomite: Failed to achieve Quorum"
GET = hiredis.pack_command(("GET", "k"))
SETNX = hiredis.pack_command(("SETNX", "k", "v"))


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[ReplicaStage]:
    async with ReplicaStage.open(tmp_path) as opened:
        yield opened


def one_rack(stage: ReplicaStage, *, is_owner: bool) -> None:
    """A rack of two nodes, of which this one owns nearly everything or nothing of it; and another datacenter."""
    mine, other = (2**32 - 2, 2**32 - 1) if is_owner else (2**32 - 1, 2**32 - 2)
    stage.mesh.swap(
        Topology.build(
            [
                Node("dc", "r1", "127.0.0.1", 8101, (mine,), is_local=True),
                Node("dc", "r1", "127.0.0.1", stage.peers[0].port, (other,)),
                Node("far", "r1", "127.0.0.2", 8101, (0,)),
            ],
            version=2,
        )
    )


async def each_client(stage: ReplicaStage) -> Client:
    client = await stage.client()
    assert await client.call("dyno_config:conn_consistency", "DC_EACH_SAFE_QUORUM") == b"OK"
    return client


async def asked_far(stage: ReplicaStage) -> tuple[int, list[bytes]]:
    """The record for the other datacenter: its id and the request."""
    _name, fields = await stage.record()
    reader = hiredis.Reader()
    reader.feed(fields[-1])
    found: list[bytes] = reader.gets()
    return fields[0], found


async def led(stage: ReplicaStage, peer: AskingPeer) -> int:
    """A peer has this node execute a command; the id under which the other datacenter confirms its effect."""
    peer.send(SETNX, pack_extension(ExtensionFields(flags=LEAD_EACH | EXTENSION_LATER)))
    await stage.store.request()
    stage.store.reply(b":1\r\n")
    req_id, effect = await asked_far(stage)
    assert req_id and effect == [b"SET", b"k", b"v"]
    return req_id


async def test_a_client_waits_for_the_other_datacenter(stage: ReplicaStage) -> None:
    one_rack(stage, is_owner=True)
    client = await each_client(stage)
    client.send("SETNX", "k", "v")
    client.send("SETNX", "k", "w")
    await stage.store.request()
    await stage.store.request()
    stage.store.reply(b":1\r\n")
    stage.store.reply(b":0\r\n")  # without an effect, but behind the other one
    req_id, _effect = await asked_far(stage)
    reply = asyncio.ensure_future(client.reply())
    await stage.until(lambda: stage.path.figures()["client_out_queue_bytes"] == 4)  # the second one's, parked
    assert not reply.done()
    stage.path.remote_reply(req_id, True, b"")
    assert (await reply, await client.reply()) == (1, 0)


async def test_what_is_pipelined_behind_it_waits_for_its_effect(stage: ReplicaStage) -> None:
    one_rack(stage, is_owner=True)
    client = await each_client(stage)
    client.send("SETNX", "k", "v")
    client.send("SET", "k", "w")
    await stage.store.request()
    stage.store.reply(b":1\r\n")
    req_id, effect = await asked_far(stage)
    assert effect == [b"SET", b"k", b"v"] and stage.store.waiting.empty()
    stage.path.remote_reply(req_id, True, b"")
    assert (await stage.store.request())[1] == [b"SET", b"k", b"w"]


async def test_one_that_the_other_datacenter_has_not_taken_fails(stage: ReplicaStage) -> None:
    one_rack(stage, is_owner=True)
    client = await each_client(stage)
    for verdict, wanted in ((b"", NO_QUORUM), (b"-OOM no\r\n", b"-OOM no"), (b"-LOADING\r\n", NO_QUORUM)):
        client.send("GETSET", "k", "a value that is longer than twenty-four bytes")
        await stage.store.request()
        stage.store.reply(b"$30\r\n" + b"x" * 30 + b"\r\n")
        req_id, _effect = await asked_far(stage)
        stage.path.remote_reply(req_id, False, verdict)
        error: Any = await client.reply()
        assert wanted[1:].decode() in str(error)
    await stage.until(lambda: stage.path.leads_of(0) == 0)


async def test_one_whose_time_is_up_fails(stage: ReplicaStage) -> None:
    one_rack(stage, is_owner=True)
    stage.path.set_remote(stage.new_lane(write_wait_ms=20))
    client = await each_client(stage)
    client.send("SETNX", "k", "v")
    await stage.store.request()
    stage.store.reply(b":1\r\n")
    assert "Quorum" in str(await client.reply())


async def test_a_peer_s_other_requests_do_not_wait_for_it(stage: ReplicaStage) -> None:
    one_rack(stage, is_owner=True)
    peer = await stage.asking_peer()
    req_id = await led(stage, peer)
    peer.send(GET)
    await stage.store.request()
    stage.store.reply(b"$1\r\nv\r\n")
    place, read = await peer.reply(), await peer.reply()
    told = unpack_extension(place.data)
    assert told is not None and told.flags == EXTENSION_LATER and place.id == 1
    assert (read.id, read.payload) == (2, b"$1\r\nv\r\n")
    stage.path.remote_reply(req_id, True, b"")
    reply = await peer.reply()
    assert (reply.id, reply.payload) == (1, b":1\r\n") and unpack_extension(reply.data) is None


async def test_a_peer_that_does_not_take_replies_out_of_order_gets_them_in_order(stage: ReplicaStage) -> None:
    one_rack(stage, is_owner=True)
    peer = await stage.asking_peer()
    peer.send(SETNX, pack_extension(ExtensionFields(flags=LEAD_EACH)))
    await stage.store.request()
    stage.store.reply(b":1\r\n")
    req_id, _effect = await asked_far(stage)
    stage.path.remote_reply(req_id, True, b"")
    assert (await peer.reply()).payload == b":1\r\n"


async def test_a_peer_that_goes_meanwhile_is_no_matter(stage: ReplicaStage) -> None:
    one_rack(stage, is_owner=True)
    gone, stays = await stage.asking_peer(), await stage.asking_peer()
    before = len(stage.path.connections())
    req_id = await led(stage, gone)
    await gone.reply()
    gone.writer.transport.abort()
    await stage.until(lambda: len(stage.path.connections()) == before - 1)
    stage.path.remote_reply(req_id, True, b"")
    stays.send(GET)
    await stage.store.request()
    stage.store.reply(b"$1\r\nv\r\n")
    assert (await stays.reply()).payload == b"$1\r\nv\r\n"


async def test_the_coordinator_takes_the_reply_out_of_order(stage: ReplicaStage) -> None:
    one_rack(stage, is_owner=False)
    client, other = await each_client(stage), await stage.client()
    client.send("SETNX", "k", "v")
    asked = await stage.peers[0].request()
    told = unpack_extension(asked.data)
    assert told is not None and told.flags == LEAD_EACH | EXTENSION_LATER
    other.send("GET", "k")
    read = await stage.peers[0].request()
    stage.peers[0].reply(asked, b"+OK\r\n", LATER)
    stage.peers[0].reply(read, b"$1\r\nv\r\n")
    assert await other.reply() == b"v"
    stage.peers[0].reply(asked, b":1\r\n")
    assert await client.reply() == 1


async def test_a_lead_that_is_lost_while_it_waits_leaves_the_outcome_unknown(stage: ReplicaStage) -> None:
    one_rack(stage, is_owner=False)
    client = await each_client(stage)
    client.send("SETNX", "k", "v")
    asked = await stage.peers[0].request()
    stage.peers[0].reply(asked, b"+OK\r\n", LATER)
    client.send("PING")
    await stage.until(lambda: stage.path.figures()["peer_out_queue"] == 0)
    await stage.peers[0].stop()
    assert "outcome unknown" in str(await client.reply())
    assert await client.reply() == b"PONG"


async def test_one_that_declines_out_of_order_is_asked_again(stage: ReplicaStage) -> None:
    one_rack(stage, is_owner=False)
    client = await each_client(stage)
    client.send("SETNX", "k", "v")
    asked = await stage.peers[0].request()
    stage.peers[0].reply(asked, b"+OK\r\n", LATER)
    stage.peers[0].reply(asked, b"-LOADING the data\r\n")
    again = await stage.peers[0].request()
    assert words(again) == [b"SETNX", b"k", b"v"]
    stage.peers[0].reply(again, b":1\r\n")
    assert await client.reply() == 1


# ---- not of this level only


async def test_a_script_that_fails_everywhere_leaves_no_replica_behind(stage: ReplicaStage) -> None:
    client = await stage.client()
    for address in ("127.0.0.1:8101", *(peer.address for peer in stage.peers)):
        stage.path.set_leading(address.encode(), address == "127.0.0.1:8101")
    client.send("EVAL", "return redis.error_reply('ERR no')", "1", led_here())
    await stage.store.request()
    stage.store.reply(b"-ERR no\r\n")
    for peer in stage.peers:
        peer.reply(await peer.request(), b"-ERR no\r\n")
    assert "no" in str(await client.reply())
    assert stage.records() == []


def led_here() -> str:
    """A key whose best rack is this node's."""
    order = LeadOrder(["r1", "r2", "r3"])
    return next(key for key in map(str, range(100)) if order.order(token_model.murmur(key.encode()))[0] == 0)


async def test_it_does_not_overtake_a_read_in_front_of_it(stage: ReplicaStage) -> None:
    stage.path.set_leading(b"127.0.0.1:8101", False)
    order = LeadOrder(["r1", "r2", "r3"])
    key = next(key for key in map(str, range(100)) if order.order(token_model.murmur(key.encode()))[0] == 1)
    client = await stage.client()
    client.send("GET", key)
    client.send("SETNX", key, "v")
    client.send("SETNX", key, "w")
    assert (await stage.store.request())[1] == [b"GET", key.encode()]
    await stage.until(lambda: stage.path.figures()["client_paused"] == 1)
    assert stage.peers[0].waiting.empty()
    stage.store.reply(b"$-1\r\n")
    first, second = await stage.peers[0].request(), await stage.peers[0].request()  # they do not wait for each other
    stage.peers[0].reply(first, b":1\r\n")
    stage.peers[0].reply(second, b":0\r\n")
    assert [await client.reply() for _ in range(3)] == [None, 1, 0]
