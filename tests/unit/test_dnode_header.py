"""Headers of peer frames: their bytes, what is skipped, what is refused."""

import pytest

from dynomite_mp.errors import ProtocolError
from dynomite_mp.proto.dnode import (
    DNODE_GOSSIP_SYN,
    DNODE_REQ,
    DNODE_REQ_FORWARD,
    DNODE_RES,
    DNODE_VERSION_OURS,
)
from dynomite_mp.proto.dnode_frames import DnodeFramer, encode_frame, frame_dnode, whole_reply, whole_request

GET = b"*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n"
PING = b"*1\r\n$4\r\nPING\r\n"
SOUND = b"   $2014$ 7 3 0 1 1 *1 d *22\r\n" + GET


@pytest.mark.parametrize(
    ("frame", "wanted"),
    [
        (encode_frame(17, DNODE_REQ, GET), b"   $2014$ 17 3 0 1 1 *1 d *22\r\n" + GET),
        (encode_frame(17, DNODE_RES, b"+OK\r\n"), b"   $2014$ 17 5 0 1 1 *1 d *5\r\n+OK\r\n"),
        (
            encode_frame(18, DNODE_REQ_FORWARD, b"?" * 32, flags=1, same_dc=False),
            b"   $2014$ 18 4 1 1 0 *1 d *32\r\n" + b"?" * 32,
        ),
        (encode_frame(0, DNODE_GOSSIP_SYN, b"x" * 42, data=b"a"), b"   $2014$ 0 7 0 1 1 *1 a *42\r\n" + b"x" * 42),
        (
            encode_frame(1, DNODE_REQ, PING, version=DNODE_VERSION_OURS),
            b"   $2014$ 1 3 0 2 1 *1 d *14\r\n" + PING,
        ),
        (
            encode_frame((1 << 64) - 1, 255, b"", flags=255, version=255, data=b"k" * 128),
            b"   $2014$ 18446744073709551615 255 255 255 1 *128 " + b"k" * 128 + b" *0\r\n",
        ),
    ],
)
def test_frames_as_written(frame: bytes, wanted: bytes) -> None:
    assert frame == wanted


def test_every_number_of_digits() -> None:
    for digits in range(1, 20):
        for id in (10**digits - 1, 10**digits, 10**digits + 1, 123456789 * 10**digits >> 27):
            assert encode_frame(id, DNODE_REQ, b"").split(b" ")[4] == b"%d" % id


@pytest.mark.parametrize("size", [0, 16 * 1024 + 1])
def test_a_data_field_that_no_node_reads_is_not_written(size: int) -> None:
    with pytest.raises(ProtocolError):
        encode_frame(1, DNODE_REQ, PING, data=b"d" * size)


def test_payload_length_of_a_plaintext_request_is_not_trusted() -> None:
    for written in (0, 5, 40000):
        stream = b"   $2014$ 7 3 0 1 1 *1 d *%d\r\n%s" % (written, GET) + SOUND
        frames, used, error = frame_dnode(stream)
        assert ([frame.payload for frame in frames], used, error) == ([GET, GET], len(stream), None)


def test_payload_length_of_our_own_frames_is_trusted() -> None:
    stream = b"   $2014$ 7 3 0 2 1 *1 d *5\r\n" + GET
    frames, used, _ = frame_dnode(stream)
    assert [frame.payload for frame in frames] == [GET[:5]]
    assert used == len(stream) - len(GET) + 5


def test_a_frame_waits_for_its_payload() -> None:
    framer = DnodeFramer()
    assert framer.feed(SOUND[:-1]) == []
    assert framer.error is None
    (frame,) = framer.feed(SOUND[-1:])
    assert frame.payload == GET


# Broken starts from the script that C Dynomite is tested with: whatever a connection says first, the next sound header
# is found.
@pytest.mark.parametrize(
    "broken",
    [
        b"xyz",
        b"   $201  ",
        b"   $2014$   ",
        b"   $2014$$2014$ x",
        b"   $2014",
        b"$2014$",
        b"$2014$2014$ ",
        b"   $2014$ 9 ",
        b"   $2014$ 12 3 ",
        b"   $2014$ 15 3 0 ",
        b"   $2014$ 18 3 0 1",
        b"   $2014$ 18 3 0 1 1 ",
        b"   $2014$ 21 3 0 1 1 * ",
        b"   $2014$ 24 3 0 1 1 *1   ",
        b"   $2014$ 27 3 0 1 1 *1 d",
        b"   $2014$ 30 3 0 1 1 *1 d *",
        b"   $2014$ 33 3 0 1 1 *1 d *0",
        b"   $2014$ 36 3 0 1 1 *1 d *0\r",
        b"   $2014$ 1 3 0 1 1 *1 dd *0\r\n",
        b"   $2014$ 1 300 0 1 1 *1 d *0\r\n",
        b"   $2014$ -1 3 0 1 1 *1 d *0\r\n",
        b"   $2014$ 18446744073709551616 3 0 1 1 *1 d *0\r\n",
        b"   $2014$ 000000000000000000001 3 0 1 1 *1 d *0\r\n",
        b"   $2014$ 1 : 0 1 1 *1 d *0\r\n",
        b"   $2014$ 1 3 0 1 / *1 d *0\r\n",
    ],
)
def test_the_next_sound_header_is_found(broken: bytes) -> None:
    frames, used, error = frame_dnode(broken + SOUND + SOUND)
    assert [(frame.id, frame.payload) for frame in frames] == [(7, GET), (7, GET)]
    assert [frame.skipped for frame in frames] == [len(broken), 0]
    assert (used, error) == (len(broken) + 2 * len(SOUND), None)


def test_leading_blanks_may_be_missing() -> None:
    frames, _, _ = frame_dnode(SOUND.lstrip() * 2)
    assert [frame.skipped for frame in frames] == [0, 0]


@pytest.mark.parametrize(
    ("stream", "wanted"),
    [
        (b"x" * (64 * 1024 + 1), "no frame header"),
        (b"x" * 64 * 1024 + b"$$", "no frame header"),
        (b"x" * (64 * 1024 + 1) + SOUND, "no frame header"),
        (b"   $2014$ 1 3 0 1 1 *16385 ", "data field too long"),
        (b"   $2014$ 1 3 0 1 1 *1 d *1099511627777\r\n", "payload too long"),
        (b"   $2014$ 1 3 0 1 1 *1 d *9\r\n*x\r\n", "malformed payload"),
        (b"   $2014$ 1 5 0 1 1 *1 d *9\r\nhello\r\n", "malformed payload"),
    ],
)
def test_refused_for_good(stream: bytes, wanted: str) -> None:
    framer = DnodeFramer()
    assert framer.feed(SOUND + stream) != []
    assert framer.error == wanted
    assert framer.feed(SOUND) == []
    assert framer.error == wanted


@pytest.mark.parametrize(
    "stream",
    [
        b"x" * 64 * 1024,
        b"x" * 64 * 1024 + b"$",
        b"x" * 64 * 1024 + b"$2014",
        b"   $2014$ 1 3 0 1 1 *16384 ",
        b"   $2014$ 1 3 0 1 1 *1 d *1099511627776\r\n",
    ],
)
def test_limits_themselves_are_allowed(stream: bytes) -> None:
    frames, used, error = frame_dnode(stream)
    assert (frames, used, error) == ([], 0, None)


def test_one_whole_message() -> None:
    assert whole_request(GET)
    assert not whole_request(GET[:-1])
    assert not whole_request(GET + b"*")
    assert not whole_request(b"")
    assert not whole_request(b"*0\r\n")
    assert not whole_request(b"PING\r\n")
    assert whole_reply(b"$1\r\nx\r\n")
    assert not whole_reply(b"$1\r\nx\r\n+OK\r\n")
