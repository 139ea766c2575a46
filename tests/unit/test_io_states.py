"""What a node's state does to requests for its own datastore: STANDBY, WRITES_ONLY, RESUMING, NORMAL."""

from collections.abc import AsyncIterator
from pathlib import Path

import hiredis
import pytest
import pytest_asyncio

from dynomite_mp.enums import NodeState
from dynomite_mp.errors import WIRE_ERRORS
from tests.unit.io_stage import Client, Stage

STANDBY, WRITES_ONLY, RESUMING, NORMAL = (
    NodeState.STANDBY,
    NodeState.WRITES_ONLY,
    NodeState.RESUMING,
    NodeState.NORMAL,
)
FORBIDDEN = WIRE_ERRORS["state_forbids"].text[1:]


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage.open(tmp_path) as opened:
        yield opened


async def refused(client: Client, *words: str) -> bool:
    reply = await client.call(*words)
    return isinstance(reply, hiredis.ReplyError) and str(reply) == FORBIDDEN


async def served(stage: Stage, client: Client, *words: str) -> bool:
    client.send(*words)
    await stage.store.request()
    stage.store.reply(b"+done\r\n")
    return await client.reply() == b"done"


async def nothing_was_sent(stage: Stage) -> bool:
    """After a whole turn for somebody else."""
    other = await stage.client()
    assert await other.call("PING") == b"PONG"
    return stage.store.waiting.empty()


@pytest.mark.parametrize("state", [STANDBY, WRITES_ONLY, RESUMING])
async def test_reads_are_served_in_normal_only(stage: Stage, state: NodeState) -> None:
    client = await stage.client()
    stage.path.set_node_state(state)
    assert await refused(client, "GET", "k")
    assert await client.call("PING") == b"PONG"  # it still coordinates
    stage.path.set_node_state(NORMAL)
    assert await served(stage, client, "GET", "k")


async def test_standby_takes_no_writes_either(stage: Stage) -> None:
    client = await stage.client()
    stage.path.set_node_state(STANDBY)
    assert await refused(client, "SET", "k", "v")
    assert await nothing_was_sent(stage)


async def test_resuming_takes_writes(stage: Stage) -> None:
    client = await stage.client()
    stage.path.set_node_state(RESUMING)
    assert await served(stage, client, "SET", "k", "v")


@pytest.mark.parametrize("then", [RESUMING, NORMAL])
async def test_writes_only_keeps_writes_back_in_their_order(stage: Stage, then: NodeState) -> None:
    client = await stage.client()
    stage.path.set_node_state(WRITES_ONLY)
    for value in ("1", "2", "3"):
        client.send("SET", "k", value)
    assert await nothing_was_sent(stage)
    stage.path.set_node_state(then)
    for value in (b"1", b"2", b"3"):
        assert (await stage.store.request())[1] == [b"SET", b"k", value]
        stage.store.reply(b"+" + value + b"\r\n")
    assert [await client.reply() for _ in range(3)] == [b"1", b"2", b"3"]
    assert await served(stage, client, "SET", "k", "4")


async def test_a_write_kept_back_past_its_deadline_is_answered_and_still_written(tmp_path: Path) -> None:
    async with Stage.open(tmp_path, timeout_ms=400) as stage:
        client = await stage.client()
        stage.path.set_node_state(WRITES_ONLY)
        reply = await client.call("SET", "k", "v")
        assert isinstance(reply, hiredis.ReplyError) and stage.cell("client_timedout_requests") == 1
        stage.path.set_node_state(RESUMING)
        assert (await stage.store.request())[1] == [b"SET", b"k", b"v"]
        stage.store.reply(b"+late\r\n")
        assert await served(stage, client, "SET", "k", "w")
        assert stage.cell("server_ejects") == 0  # nobody took the datastore for silent


async def test_what_was_sent_before_is_answered_meanwhile(stage: Stage) -> None:
    client = await stage.client()
    client.send("SET", "a", "1")
    await stage.store.request()
    stage.path.set_node_state(WRITES_ONLY)
    client.send("SET", "b", "2")
    stage.store.reply(b"+first\r\n")
    assert await client.reply() == b"first"
    assert await nothing_was_sent(stage)


async def test_a_datastore_that_comes_back_meanwhile_is_given_nothing_yet(stage: Stage) -> None:
    stage.path.set_node_state(WRITES_ONLY)
    stage.store.drop_connections()
    await stage.until(lambda: any(not link.is_up for link in stage.links))
    await stage.until(lambda: all(link.is_up for link in stage.links))
    client = await stage.client()
    client.send("SET", "k", "v")
    assert await nothing_was_sent(stage)
    stage.path.set_node_state(RESUMING)
    await stage.store.request()
    stage.store.reply(b"+OK\r\n")
    assert await client.reply() == b"OK"
