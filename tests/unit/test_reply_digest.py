"""Which replies of replicas are equal: what a reader cannot see in a value makes no difference."""

from pathlib import Path

import hiredis
import pytest

from dynomite_mp.enums import Consistency
from tests.unit.replica_stage import ReplicaStage

HEAD, REGISTERS = b"HYLL\1\0\0\0", b"\x80C\xf6\x84"
COUNTED, UNCOUNTED = HEAD + b"\6" + bytes(7) + REGISTERS, HEAD + bytes(7) + b"\x80" + REGISTERS


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(value), value)


@pytest.mark.parametrize(
    ("other", "is_equal"),
    [
        (UNCOUNTED, True),  # PFCOUNT leaves its count in the value, where it was asked
        (UNCOUNTED + b"\1", False),
        (HEAD[:-1] + b"\1" + COUNTED[8:], False),
        (COUNTED.replace(b"HYLL", b"HYL@"), False),
    ],
)
async def test_two_hyperloglogs(tmp_path: Path, other: bytes, is_equal: bool) -> None:
    async with ReplicaStage.open(tmp_path, read_level=Consistency.DC_SAFE_QUORUM) as stage:
        client = await stage.client()
        client.send("GET", "k")
        await stage.store.request()
        stage.store.reply(bulk(COUNTED))
        for peer, value in zip(stage.peers, (other, b"another"), strict=True):
            peer.reply(await peer.request(), bulk(value))
        reply = await client.reply()
        assert (reply == COUNTED) if is_equal else isinstance(reply, hiredis.ReplyError)
