"""Writes of a held key wait, and follow what the copy of the key put into the datastore."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from dynomite_mp.proto.requests import request
from tests.unit.io_stage import Stage

RESTORE = request("RESTORE", "k", 0, b"dump", "REPLACE", "ABSTTL")


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage.open(tmp_path) as opened:
        yield opened


async def test_writes_of_a_held_key_follow_its_copy(stage: Stage) -> None:
    applied: list[tuple[int, bytes, bytes]] = []
    stage.path.set_on_applied(lambda *row: applied.append(row))
    assert stage.path.hold_keys(1, [b"k", b"l"]) == [b"k", b"l"]
    assert stage.path.hold_keys(2, [b"k"]) == []
    client, reader = await stage.client(), await stage.client()
    client.send("INCR", "k")
    client.send("SET", "k", "2")
    client.send("SET", "other", "v")
    reader.send("GET", "k")
    seen = [(await stage.store.request())[1] for _ in range(2)]
    assert sorted(words[0] for words in seen) == [b"GET", b"SET"] and [b"SET", b"other", b"v"] in seen
    assert stage.path.apply_key(1, b"k", None, [RESTORE])
    assert not stage.path.apply_key(1, b"k", None, [RESTORE])
    assert [(await stage.store.request())[1][0] for _ in range(3)] == [b"RESTORE", b"INCR", b"SET"]
    for reply in (b"+OK\r\n", b"$1\r\n1\r\n", b"+OK\r\n", b":8\r\n", b"+OK\r\n"):
        stage.store.reply(reply)
    assert [await client.reply() for _ in range(3)] == [8, b"OK", b"OK"]
    await stage.until(lambda: applied)
    assert applied == [(1, b"k", b"")]


async def test_a_released_key_is_written_without_a_copy(stage: Stage) -> None:
    stage.path.set_on_applied(lambda *_row: None)
    stage.path.hold_keys(1, [b"k"])
    client = await stage.client()
    client.send("SET", "k", "1")
    client.send("PING")
    await stage.until(lambda: stage.cell("client_write_requests") == 1)
    stage.path.release_keys(1)
    assert (await stage.store.request())[1] == [b"SET", b"k", b"1"]
    stage.store.reply(b"+OK\r\n")
    assert await client.reply() == b"OK"
    assert stage.path.hold_keys(2, [b"k"]) == [b"k"]


async def test_a_write_of_two_held_keys_waits_for_both(stage: Stage) -> None:
    stage.path.set_on_applied(lambda *_row: None)
    stage.path.hold_keys(1, [b"k"])
    stage.path.hold_keys(2, [b"l"])
    client = await stage.client()
    client.send("MSET", "k", "1", "l", "1")
    await stage.until(lambda: stage.cell("client_write_requests") == 1)
    stage.path.apply_key(1, b"k", None, [RESTORE])
    assert (await stage.store.request())[1][0] == b"RESTORE"
    stage.store.reply(b"+OK\r\n")
    stage.path.apply_key(2, b"l", None, [request("DEL", "l")])
    assert [(await stage.store.request())[1][0] for _ in range(2)] == [b"DEL", b"MSET"]
    stage.store.reply(b":0\r\n")
    stage.store.reply(b"+OK\r\n")
    assert await client.reply() == b"OK"


async def test_an_error_of_the_datastore_is_told(stage: Stage) -> None:
    applied: list[tuple[int, bytes, bytes]] = []
    stage.path.set_on_applied(lambda *row: applied.append(row))
    stage.path.hold_keys(1, [b"k"])
    stage.path.apply_key(1, b"k", None, [RESTORE])
    await stage.store.request()
    stage.store.reply(b"-ERR DUMP payload version or checksum are wrong\r\n")
    await stage.until(lambda: applied)
    assert b"checksum" in applied[0][2]


async def test_writes_of_both_protocols_keep_their_order_behind_a_copy(stage: Stage) -> None:
    stage.path.set_on_applied(lambda *_row: None)
    client = await stage.client()
    await client.call("HELLO", "3")
    stage.path.hold_keys(1, [b"k"])
    client.send("SET", "k", "1")
    await stage.until(lambda: stage.cell("client_write_requests") == 1)
    stage.path.apply_key(1, b"k", None, [RESTORE])
    assert (await stage.store.request())[1][0] == b"RESTORE"
    assert stage.store.waiting.empty()
    stage.store.reply(b"+OK\r\n")
    assert await stage.store.request() == (3, [b"SET", b"k", b"1"])
    stage.store.reply(b"+OK\r\n")
    assert await client.reply() == b"OK"


async def test_what_is_known_of_a_held_key_is_told(stage: Stage) -> None:
    stage.path.hold_keys(1, [b"k"])
    assert stage.path.keys_known([b"k", b"l"], 9) == [(b"k", None), (b"l", None)]
    assert stage.path.hold_keys(2, [b"l"]) == [b"l"]
