"""What a write that is not executed answers: read back, of the kind that its client expects."""

from collections.abc import AsyncIterator
from pathlib import Path

import hiredis
import pytest
import pytest_asyncio

from dynomite_mp.proto.commands import COMMANDS
from dynomite_mp.proto.stand_in import reply_of, stand_in_of
from tests.unit.replica_stage import AskingPeer, ReplicaStage
from tests.unit.test_stamps import COMMUTE, ORDERED, OVERWRITE, extension, now

OK, NONE, READ, COUNT = 0, 1, 2, 3


@pytest.mark.parametrize(
    ("write", "kind", "read"),
    [
        ("INCR k", COUNT, "GET k"),
        ("decrby k 7", COUNT, "GET k"),
        ("INCRBYFLOAT k 1.5", READ, "GET k"),
        ("HINCRBY h f 3", COUNT, "HGET h f"),
        ("ZINCRBY z 2 m", READ, "ZSCORE z m"),
        ("APPEND k v", READ, "STRLEN k"),
        ("RPUSH l a b", READ, "LLEN l"),
        ("SADD s a b", NONE, None),
        ("HSET h f v", NONE, None),
        ("LSET l 0 v", OK, None),
        ("HINCRBY h", OK, None),
    ],
)
def test_what_is_read_instead(write: str, kind: int, read: str | None) -> None:
    wanted = None if read is None else hiredis.pack_command(tuple(read.split()))
    assert stand_in_of(hiredis.pack_command(tuple(write.split()))) == (kind, wanted)


@pytest.mark.parametrize(
    ("kind", "reply", "answer"),
    [
        (COUNT, b"$2\r\n41\r\n", b":41\r\n"),
        (COUNT, b"$-1\r\n", b":0\r\n"),
        (COUNT, b"_\r\n", b":0\r\n"),
        (COUNT, b"-WRONGTYPE x\r\n", b"+OK\r\n"),
        (READ, b":3\r\n", b":3\r\n"),
        (READ, b"$3\r\n1.5\r\n", b"$3\r\n1.5\r\n"),
        (READ, b",1.5\r\n", b",1.5\r\n"),
        (READ, b"$-1\r\n", b"$1\r\n0\r\n"),
    ],
)
def test_how_its_reply_becomes_the_writes(kind: int, reply: bytes, answer: bytes) -> None:
    assert reply_of(kind, reply) == answer


def test_every_increment_has_one() -> None:
    """Their replies are what clients read; the commuting ones besides them say how much has changed."""
    commuting = [row.name for row in COMMANDS if row.conflict == "commute"]
    for name in commuting:
        request = hiredis.pack_command((name, "k", "f", "1"))
        assert stand_in_of(request)[0] != OK, name


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[ReplicaStage]:
    async with ReplicaStage.open(tmp_path) as opened:
        yield opened


async def skipped(stage: ReplicaStage, peer: AskingPeer, *words: str, data: bytes) -> list[bytes]:
    peer.send(hiredis.pack_command(words), data)
    _protocol, asked = await stage.store.request()
    return asked


async def test_an_increment_that_a_copy_has_brought_answers_the_count(stage: ReplicaStage) -> None:
    peer, stamp = await stage.asking_peer(), now()
    for _time in range(2):
        peer.send(hiredis.pack_command(("INCR", "k")), extension(stamp, COMMUTE, 1))
    assert (await stage.store.request())[1] == [b"INCR", b"k"]
    stage.store.reply(b":41\r\n")
    assert (await peer.reply()).payload == b":41\r\n"
    assert (await stage.store.request())[1] == [b"GET", b"k"]
    stage.store.reply(b"$2\r\n43\r\n")
    assert (await peer.reply()).payload == b":43\r\n"


async def test_one_that_a_newer_overwrite_has_wiped_answers_what_is_there(stage: ReplicaStage) -> None:
    peer, stamp = await stage.asking_peer(), now()
    peer.send(hiredis.pack_command(("SET", "k", "7")), extension(stamp, OVERWRITE, 2))
    await stage.store.request()
    stage.store.reply(b"+OK\r\n")
    await peer.reply()
    assert await skipped(stage, peer, "APPEND", "k", "v", data=extension(stamp - 9, ORDERED, 1)) == [b"STRLEN", b"k"]
    stage.store.reply(b":1\r\n")
    assert (await peer.reply()).payload == b":1\r\n"


async def test_a_datastore_that_is_lost_meanwhile_has_missed_no_write(stage: ReplicaStage) -> None:
    peer, stamp = await stage.asking_peer(), now()
    for _time in range(2):
        peer.send(hiredis.pack_command(("INCR", "k")), extension(stamp, COMMUTE, 1))
    await stage.store.request()
    stage.store.reply(b":1\r\n")
    await peer.reply()
    await stage.store.request()
    stage.store.drop_connections()
    assert (await peer.reply()).payload.startswith(b"-")
    assert stage.records() == []
