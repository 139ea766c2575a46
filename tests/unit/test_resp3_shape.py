"""RESP2 replies put into the shape of RESP3: as a real datastore would have given them, and known bytes."""

import socket
from collections.abc import Iterator
from itertools import pairwise

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynomite_mp.proto.commands import COMMAND_IDS, COMMANDS
from dynomite_mp.proto.framer import ReplyFramer, frame_replies
from dynomite_mp.proto.resp3_shape import SHAPERS, reshape, reshape_by_id
from tests.load.bare_store import BareStore, StoreNotFoundError

SETUP = """
MSET a 1 b hello
RPUSH list x y z
SADD set m1 m2 m3
SADD other m2 m4
SADD intset 1 2 3
HSET hash f1 v1 f2 v2
ZADD z 1 one 2.5 two inf three -inf four 1e30 five 3.0000000001 six
ZADD zother 1 one 7 two
GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
XADD stream 1-1 field value
XADD stream 1-2 field value
XGROUP CREATE stream group 0
XREADGROUP GROUP group consumer COUNT 1 STREAMS stream >
SET left ohmytext
SET right mynewtext
"""
READS = """
GET a
GET nothing
MGET a nothing b
STRLEN b
LRANGE list 0 -1
LPOP nothing
LPOS list y
LPOS list nothing
SMEMBERS set
SMEMBERS nothing
SINTER set other
SUNION intset nothing
SDIFF set other
SRANDMEMBER set 0
HGETALL hash
HGETALL nothing
HMGET hash f1 nothing f2
HRANDFIELD hash 0 WITHVALUES
HRANDFIELD nothing 2 WITHVALUES
HRANDFIELD nothing
ZSCORE z two
ZSCORE z three
ZSCORE z six
ZSCORE z nobody
ZSCORE nothing nobody
ZMSCORE z one nobody five four
ZRANGE z 0 -1
ZRANGE z 0 -1 WITHSCORES
ZRANGE nothing 0 -1 WITHSCORES
ZREVRANGE z 0 1 withscores
ZRANGEBYSCORE z -inf +inf WITHSCORES LIMIT 1 2
ZREVRANGEBYSCORE z +inf -inf WITHSCORES
ZRANDMEMBER z 0 WITHSCORES
ZRANDMEMBER nothing 2 WITHSCORES
ZUNION 2 z zother WITHSCORES
ZUNION 2 z zother
ZINTER 2 z zother WITHSCORES
ZDIFF 2 z zother WITHSCORES
ZRANK z two
ZRANK z nobody
GEOPOS geo Palermo nobody Catania
GEODIST geo Palermo Catania km
GEODIST geo Palermo nobody
GEORADIUS geo 15 37 200 km
GEORADIUS geo 15 37 200 km WITHCOORD WITHDIST WITHHASH ASC
GEORADIUSBYMEMBER geo Palermo 200 km WITHDIST ASC
GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHCOORD
XRANGE stream - +
XREAD STREAMS stream 0
XREAD COUNT 1 STREAMS stream stream 0 1-1
XREAD STREAMS stream 9
XPENDING stream group
XINFO GROUPS stream
XINFO CONSUMERS nothing group
LCS left right
LCS left right LEN
LCS left right IDX
LCS left right IDX WITHMATCHLEN
EXPIRETIME a
OBJECT ENCODING a
TYPE a
DUMP nothing
EVAL return{1,2,3} 0
"""
WRITES = """
ZADD z INCR 1.5 one
ZADD z NX INCR 1 one
ZADD z 4 seven
ZINCRBY z 0.1 one
ZPOPMIN z
ZPOPMAX z 2
ZPOPMIN nothing
ZPOPMIN nothing 2
ZMPOP 1 z MIN COUNT 2
ZMPOP 1 nothing MIN
SPOP set
SPOP set 2
SPOP set
SPOP nothing 2
GETDEL nothing
LMPOP 1 list LEFT COUNT 2
LMPOP 1 nothing LEFT
XREADGROUP GROUP group consumer STREAMS stream >
XREADGROUP GROUP group consumer STREAMS stream >
XAUTOCLAIM stream group consumer 0 0
"""
NOT_RUN = {"map": {"hello", "command|docs", "config|get", "memory|stats", "xinfo|stream"}}
"""Of the data path's shapes, commands that no other node is asked, or whose reply holds times."""


class Raw:
    """Replies as bytes."""

    def __init__(self, store: BareStore, protocol: int) -> None:
        self.sock = socket.create_connection((store.host, store.port), timeout=10)
        self.framer = ReplyFramer()
        self.call(["HELLO", str(protocol)])

    def call(self, words: list[str]) -> bytes:
        self.sock.sendall(hiredis.pack_command(tuple(words)))
        while not (replies := self.framer.feed(self.sock.recv(65536))):
            assert self.framer.error is None
        return replies[0].raw


@pytest.fixture(scope="module")
def store() -> Iterator[BareStore]:
    try:
        running = BareStore(options=["--databases", "2"])
    except StoreNotFoundError as error:
        pytest.skip(str(error))
    with running:
        yield running


def lines(text: str) -> list[list[str]]:
    return [line.split(" ") for line in text.strip().splitlines()]


def command_of(words: list[str]) -> str:
    name, subcommand = words[0].lower(), f"{words[0]}|{words[1]}".lower()
    return subcommand if subcommand in COMMAND_IDS else name


def prepare(client: Raw) -> None:
    client.call(["FLUSHALL"])
    for words in lines(SETUP):
        assert not client.call(words).startswith(b"-"), words


def reshaped(words: list[str], reply: bytes) -> bytes:
    return reshape_by_id(COMMAND_IDS[command_of(words)], [word.encode() for word in words], reply)


def test_reads_have_the_shape_that_a_datastore_gives(store: BareStore) -> None:
    two, three = Raw(store, 2), Raw(store, 3)
    prepare(two)
    wrong = [
        f"{words}: {reply!r} gave {found!r}, not {wanted!r}"
        for words in lines(READS)
        if (found := reshaped(words, reply := two.call(words))) != (wanted := three.call(words))
    ]
    assert not wrong, "\n".join(wrong)


def test_writes_have_it_too(store: BareStore) -> None:
    two, three = Raw(store, 2), Raw(store, 3)
    replies = []
    for client in (two, three):
        prepare(client)
        replies.append([client.call(words) for words in lines(WRITES)])
    for words, reply, wanted in zip(lines(WRITES), *replies, strict=True):
        found = reshaped(words, reply)
        if words[0] == "SPOP":  # which members, chance decides
            assert (found[:2], len(found)) == (wanted[:2], len(wanted)), words
        else:
            assert found == wanted, words


def test_every_shape_is_run() -> None:
    run = {command_of(words) for words in lines(READS) + lines(WRITES)}
    for shape in SHAPERS:
        of_shape = {row.name for row in COMMANDS if row.refusal is None and row.resp3_shape == shape}
        of_shape -= NOT_RUN.get(shape, set())
        if shape != "verbatim":
            assert of_shape & run, shape


def test_texts_are_verbatim() -> None:
    info = COMMANDS[COMMAND_IDS["info"] - 1]
    assert reshape(info, [b"INFO"], b"$2\r\nab\r\n") == b"=6\r\ntxt:ab\r\n"


@pytest.mark.parametrize("reply", [b"+OK\r\n", b"-ERR no\r\n", b":5\r\n"])
@pytest.mark.parametrize("name", ["hgetall", "zscore", "smembers", "zpopmin", "get"])
def test_lines_stay_as_they_are(name: str, reply: bytes) -> None:
    assert reshape_by_id(COMMAND_IDS[name], [name.encode(), b"k"], reply) == reply


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("hgetall", b"*1\r\n$1\r\na\r\n"),
        ("hgetall", b"$1\r\na\r\n"),
        ("zscore", b"*0\r\n"),
        ("zmpop", b"*3\r\n:1\r\n:2\r\n:3\r\n"),
        ("geopos", b"*1\r\n:1\r\n"),
        ("smembers", b"*1\r\n" * 5000 + b":1\r\n"),
        ("get", b"$5\r\nabc"),
    ],
)
def test_what_is_out_of_shape_is_left_alone(name: str, reply: bytes) -> None:
    assert reshape_by_id(COMMAND_IDS[name], [name.encode(), b"k"], reply) == reply


SCALARS = st.one_of(
    st.binary(max_size=8).map(lambda b: b"$%d\r\n%s\r\n" % (len(b), b)),
    st.integers(-5, 5).map(lambda n: b":%d\r\n" % n),
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"+OK\r\n"]),
)
REPLIES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=6).map(lambda items: b"*%d\r\n" % len(items) + b"".join(items))
)
KEYED = sorted(row.name for row in COMMANDS if row.refusal is None)


@given(st.sampled_from(KEYED), REPLIES, st.sampled_from([(b"k",), (b"k", b"WITHSCORES"), (b"k", b"2", b"WITHCOORD")]))
def test_any_reply_stays_one_reply(name: str, reply: bytes, rest: tuple[bytes, ...]) -> None:
    shaped = reshape_by_id(COMMAND_IDS[name], [name.encode(), *rest], reply)
    frames, consumed, error = frame_replies(shaped)
    assert error is None and len(frames) == 1 and consumed == len(shaped)


def test_ids_are_those_of_the_table() -> None:
    assert all(COMMAND_IDS[a.name] + 1 == COMMAND_IDS[b.name] for a, b in pairwise(COMMANDS))
