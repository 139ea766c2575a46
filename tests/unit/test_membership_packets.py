"""Gossip packets as bytes."""

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynomite_mp.cluster.membership_packets import (
    ENTRIES_LIMIT,
    HEAD_BYTES,
    MAC_BYTES,
    PACKET_BYTES,
    BadMac,
    Kind,
    Writer,
    batches,
    decode,
)
from dynomite_mp.cluster.membership_record import BadNews, Liveness, News
from dynomite_mp.enums import NodeState

BODIES = {
    Kind.PING: [1, 2],
    Kind.ACK: [1, 2],
    Kind.RELAY: [1, 2, "10.0.0.1", 8101],
    Kind.NACK: [1],
    Kind.RUMOURS: [],
    Kind.EXCHANGE: [1, 0, 2**64 - 1, [[5, 1, 2, 0]]],
    Kind.RECORDS: [1, 0, 1, [7, 8]],
}
KEY = b"secret of this cluster"


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("key", [None, KEY])
def test_a_packet_survives_the_wire(kind, key):
    rumour = News(9, 1, 1, Liveness.DOWN, NodeState.NORMAL, 0)
    data = Writer(5, key, stamp=77).encode(kind, 2**64 - 1, BODIES[kind], [rumour.encode()] * 20)
    packet = decode(data, key)
    assert (packet.kind, packet.sender, packet.fingerprint, packet.stamp) == (kind, 5, 2**64 - 1, 77)
    assert packet.body == BODIES[kind]
    assert packet.rumours == [msgpack.unpackb(rumour.encode(), strict_map_key=False)] * 20


def test_the_bytes_are_those_of_version_1():
    """Nodes of different versions gossip with each other: a change of these bytes is a new version."""
    news = News(9, 2, 3, Liveness.DOWN, NodeState.NORMAL, 1, {7: 5}, 4)
    data = Writer(5, stamp=6).encode(Kind.PING, 1, [77, 2], [news.encode()])
    assert data.hex() == "44470100" "960105010692" "4d02" "91" "9909020302040181070504c0"


def test_every_kind_has_a_body_here():
    assert set(BODIES) == set(Kind)


def test_without_the_key_nothing_gets_in():
    plain, signed = (Writer(5, key).encode(Kind.PING, 0, [1, 2]) for key in (None, KEY))
    for data, key in ((plain, KEY), (signed, None), (signed, b"another key")):
        with pytest.raises(BadMac):
            decode(data, key)


def test_every_byte_is_signed():
    data = Writer(5, KEY).encode(Kind.PING, 0, [1, 2])
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(BadNews):
            decode(bytes(changed), KEY)


def test_a_cut_packet_is_bad_news():
    for kind in Kind:
        for key in (None, KEY):
            data = Writer(5, key).encode(
                kind, 3, BODIES[kind], [News(9, 1, 1, Liveness.DOWN, NodeState.NORMAL, 0).encode()]
            )
            for end in range(len(data)):
                with pytest.raises(BadNews):
                    decode(data[:end], key)


def test_another_version_is_bad_news():
    data = bytearray(Writer(5).encode(Kind.PING, 0, [1, 2]))
    data[2] += 1
    with pytest.raises(BadNews):
        decode(bytes(data))


@pytest.mark.parametrize("kind", Kind)
def test_a_wrong_body_is_bad_news(kind):
    good = BODIES[kind]
    for at in range(len(good)):
        for value in (None, -1, 2**70 if at else "x", [[]], {"a": 1}, 1.5, True):
            if isinstance(value, int) and value > 2**64:
                continue
            with pytest.raises(BadNews):
                decode(Writer(5).encode(kind, 0, [*good[:at], value, *good[at + 1 :]]))
        with pytest.raises(BadNews):
            decode(Writer(5).encode(kind, 0, good[:at]))
    decode(Writer(5).encode(kind, 0, [*good, "of a later version"]))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xc1", b"\x96", b"\x80", b"\x81\x90\x00", b"\x91" * 5000, msgpack.packb([99, 5, 0, 0, [], []]),
        msgpack.packb([1, 0, 0, 0, [1, 2], []]), msgpack.packb([1, 5, -1, 0, [1, 2], []]),
        msgpack.packb([1, 5, 0, 0, [1, 2], 0]), msgpack.packb([1, 5, 0, 0, "x", []]), b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xffx", b"\xd7\xff" + b"\xff" * 8, b"\x96\x01\x05\x00\x00\x90\x90\x00",
    ],
)  # fmt: skip
def test_nonsense_is_bad_news(content):
    with pytest.raises(BadNews):
        decode(b"DG\x01\x00" + content)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_bad_news(data):
    for head in (b"", b"DG\x01\x00", b"DG\x01\x01"):
        with contextlib.suppress(BadNews):
            decode(head + data)


def test_entries_fill_a_packet_and_no_more():
    entries = [[2**64 - 1, 2**53, 2**53, 3]] * ENTRIES_LIMIT
    size = len(Writer(2**64 - 1, KEY).encode(Kind.EXCHANGE, 2**64 - 1, [2**32 - 1, 0, 2**64 - 1, entries]))
    assert size < 2 * PACKET_BYTES
    usual = [[2**64 - 1, 100, 1000, 0]] * ENTRIES_LIMIT
    assert len(Writer(2**64 - 1, KEY).encode(Kind.EXCHANGE, 2**64 - 1, [2**32 - 1, 0, 2**64 - 1, usual])) < PACKET_BYTES
    assert HEAD_BYTES + MAC_BYTES < 100


def test_batches_fit_and_keep_everything():
    rumours = [bytes([i % 256]) * (50 + 37 * i % 400) for i in range(100)] + [b"x" * 5000] + [b"y" * 10]
    groups = batches(rumours)
    assert [rumour for group in groups for rumour in group] == rumours
    assert all(sum(map(len, group)) <= PACKET_BYTES or len(group) == 1 for group in groups)
    assert batches([]) == [[]]
