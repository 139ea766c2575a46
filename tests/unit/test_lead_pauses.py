"""A lead whose datastore stood still: others lead by then, so what it executes afterwards has no effect elsewhere."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.unit.replica_stage import ReplicaStage
from tests.unit.test_lead_each import led_here

HERE = b"127.0.0.1:8101"


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[ReplicaStage]:
    async with ReplicaStage.open(tmp_path, peer_silence_ms=50) as opened:
        for peer in opened.peers:
            opened.path.set_leading(peer.address.encode(), False)
        opened.path.set_leading(HERE, True)
        yield opened


async def test_it_gives_up_the_lead_while_its_datastore_is_silent(stage: ReplicaStage) -> None:
    client = await stage.client()
    assert stage.path.can_lead()
    client.send("GET", "k")
    await stage.store.request()
    await stage.until(lambda: not stage.path.can_lead())
    assert not stage.path.can_lead()
    stage.peers[0].reply(await stage.peers[0].request(), b"$-1\r\n")
    assert await client.reply() is None
    client.send("SETNX", led_here(), "v")
    await stage.until(lambda: any(not peer.waiting.empty() for peer in stage.peers))
    asked = next(peer for peer in stage.peers if not peer.waiting.empty())
    asked.reply(await asked.request(), b":1\r\n")
    assert await client.reply() == 1
    assert stage.store.waiting.empty()
    stage.store.reply(b"$-1\r\n")
    await stage.until(stage.path.can_lead)


async def test_what_it_executed_meanwhile_is_unknown_and_goes_nowhere(stage: ReplicaStage) -> None:
    client = await stage.client()
    client.send("SETNX", led_here(), "v")
    await stage.store.request()
    await stage.until(lambda: not stage.path.can_lead())
    stage.store.reply(b":1\r\n")
    assert "outcome unknown" in str(await client.reply())
    assert all(peer.waiting.empty() for peer in stage.peers)
    assert {name for name, _ in stage.records()} == {"hint"}


async def test_nor_is_it_sure_of_its_lead_after_a_pause_that_nobody_noticed(stage: ReplicaStage) -> None:
    """The datastore answers after 45 ms: to a node whose last answer was older than that, this one was silent."""
    client = await stage.client()
    client.send("SETNX", led_here(), "v")
    await stage.store.request()
    end_s = time.monotonic() + 0.045
    while time.monotonic() < end_s:
        pass
    stage.store.reply(b":1\r\n")
    assert "outcome unknown" in str(await client.reply())
