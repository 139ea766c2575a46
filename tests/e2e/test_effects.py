"""Every command of class lead, run at one datastore, and its effect at a second one: both hold the same afterwards."""

import random
import shlex
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from dynomite_mp.proto import effects
from dynomite_mp.proto.commands import COMMANDS, CONFLICTS
from dynomite_mp.proto.expiry import absolute
from dynomite_mp.proto.framer import ReplyFramer, frame_requests
from dynomite_mp.proto.request_writer import request_of
from dynomite_mp.store import managed
from tests.accept.cluster_parts import contents, same_value
from tests.e2e.harness import Resp
from tests.load.bare_store import BareStore, find_store_binary

LEAD = {row.name for row in COMMANDS if row.refusal is None and (row.conflict == "lead" or row.lead_if)}

# What both hold before, then the command. `@` is a point in time a minute ahead (ms), `@s` in s.
CASES = """
SET a old PX 50000 | SET a new NX GET ; SET b new NX ; SET a new XX EX 100 ; SET c v XX ; SET a newer GET ; \
SET d v GET
SET a old | SET b v NX EX 10 ; SET a v NX EX 10 ; SET a v GET PX 20000 NX ; SET e v NX GET ; SET a v XX KEEPTTL
SET a old | SET a new XX GET ; SET b new XX GET ; SET f v GET EX 3000 ; SET a nx GET ; SET b get NX
SET a old | SET a new IFEQ old ; SET a third IFEQ nothing ; SET a fourth IFEQ new GET ; SET a fifth IFEQ new GET
SET a old | DELIFEQ a new ; DELIFEQ a old ; GETDEL a ; SETNX a v ; SETNX a w ; GETSET a x ; GETSET b y ; \
GETDEL a ; LPUSH b x
SET a old | GETEX a ; GETEX a EX 100 ; GETEX a PXAT @ ; GETEX a EXAT @s ; GETEX b PX 50000 ; GETEX a PERSIST ; \
GETEX a EX 0
SET a 1 ; SET b 2 | MSETNX c 3 a 9 ; MSETNX d 4 e 5 ; SETNX a 1 ; COPY a f ; COPY a b ; COPY a b REPLACE ; \
COPY x y
SET a 1 PX 70000 ; SET b 2 | RENAME a c ; RENAME a d ; RENAMENX c b ; RENAMENX c e ; BITOP NOT f e ; \
BITOP AND g h i
PFADD a 1 2 3 ; PFADD b 4 | PFMERGE c a b ; PFMERGE a b ; BITOP OR d a b ; PFMERGE x
RPUSH a 3 1 2 ; SADD s 7 5 6 | SORT a ; SORT a STORE b ; SORT s DESC LIMIT 0 2 STORE c ; SORT x STORE b ; \
SORT a STORE a
RPUSH a 1 2 3 4 5 6 7 8 9 | LPOP a ; RPOP a ; LPOP a 2 ; RPOP a 0 ; LPOP x ; RPOP x 3 ; \
LMPOP 2 x a RIGHT COUNT 2 ; RPOP a 9
RPUSH a 1 2 3 4 | LMPOP 1 a LEFT ; LMPOP 1 x LEFT ; RPOPLPUSH a b ; LMOVE a b LEFT RIGHT ; \
LMOVE x b LEFT LEFT ; LPOP a 5
RPUSH a 1 2 3 | RPOPLPUSH a a ; RPOPLPUSH x a ; LMPOP 3 x y a RIGHT COUNT 9
SADD a 1 2 3 4 5 6 7 8 | SPOP a ; SPOP a 3 ; SPOP a 0 ; SPOP x ; SMOVE a b 1 ; SMOVE a b 2 ; SMOVE a b 99 ; \
SPOP a 99
SADD a 1 2 3 ; SADD b 2 3 4 | SDIFFSTORE c a b ; SINTERSTORE d a b ; SUNIONSTORE e a b ; SUNIONSTORE a x y ; \
SUNIONSTORE b b e
ZADD a 1 x 2 y 3 z 4 v 5 w ; ZADD b 9 q | ZPOPMIN a ; ZPOPMAX a 2 ; ZPOPMIN n ; ZMPOP 2 n b MIN ; \
ZMPOP 1 a MAX COUNT 7
ZADD a 1 x 2 y ; ZADD b 3 x | ZUNIONSTORE c 2 a b ; ZINTERSTORE d 2 a b ; ZDIFFSTORE e 2 a b ; \
ZRANGESTORE f a 0 0
ZADD a 1 x 2 y | ZPOPMIN a 0 ; ZUNIONSTORE a 1 n ; ZRANGESTORE a n 0 -1
GEOADD a 13.361389 38.115556 p 15.087269 37.502669 q | GEORADIUS a 15 37 200 km STORE b ; \
GEORADIUS a 15 37 200 km ; \
GEORADIUSBYMEMBER a p 200 km STOREDIST c ; GEORADIUSBYMEMBER a p 1 m ; \
GEOSEARCHSTORE d a FROMMEMBER p BYRADIUS 300 km ; GEORADIUS n 15 37 200 km STORE b
HSET a f 1 g 2 h 3 | HSETNX a f 9 ; HSETNX a i 9 ; HSETNX b j 1 ; HGETDEL a FIELDS 2 f x ; \
HGETDEL a FIELDS 1 nothing
HSET a f 1 g 2 | HGETEX a FIELDS 1 f ; HGETEX a EX 100 FIELDS 1 f ; HGETEX a PERSIST FIELDS 2 f g ; \
HGETEX b EX 500 FIELDS 1 f
HSET a f 1 | HSETEX a FNX EX 100 FIELDS 1 f 9 ; HSETEX a FNX EX 100 FIELDS 2 g 3 fnx 4 ; \
HSETEX a FXX FIELDS 1 f 7 ; \
HSETEX a FXX PX 90000 FIELDS 1 nothing 7 ; HSETEX a EX 100 FIELDS 1 fxx 7
SET a 1 | RESTORE b 0 <a> ; RESTORE b 0 <a> ; RESTORE c 10000 <a> ; RESTORE d @ <a> ABSTTL ; \
RESTORE a 0 <a> REPLACE
XADD a 5-1 f v | XADD a * f w ; XADD a NOMKSTREAM 99999999999999-* f x ; XADD b NOMKSTREAM * f v ; \
XADD b MAXLEN = 1 * f v ; \
XADD b MAXLEN ~ 10 LIMIT 3 * f v ; XADD b MINID 1 99999999999999-1 maxlen v ; XADD a 1-1 f v ; \
XADD b MAXLEN 1 * f v
XADD a 5-1 f v ; XADD a 6-1 f w ; XADD a 7-1 f x | XGROUP CREATE a g $ ; XGROUP CREATE a h 0 ; \
XGROUP CREATE n g 0 MKSTREAM ; \
XGROUP SETID a g 5-1 ; XREADGROUP GROUP h c COUNT 2 STREAMS a > ; XREADGROUP GROUP g c STREAMS a > ; \
XREADGROUP GROUP g c STREAMS a > ; XREADGROUP GROUP h d NOACK STREAMS a > ; XCLAIM a h d 0 5-1 9-9 ; \
XCLAIM a h e 0 6-1 5-1 JUSTID ; XCLAIM a h d 0 5-1 IDLE 1000 RETRYCOUNT 7 FORCE ; XCLAIM a h d 0 9-9 ; \
XAUTOCLAIM a g z 0 0 COUNT 1 ; XAUTOCLAIM a h z 0 - JUSTID ; XAUTOCLAIM a h z 99999999 0 ; XGROUP CREATE a g 0
XADD a 5-1 f v ; XADD a 6-1 f w ; XADD a 7-1 f x ; XADD a 8-1 f y ; XADD a 9-1 f y ; XGROUP CREATE a g 0 ; \
XREADGROUP GROUP g c STREAMS a > ; XDEL a 5-1 6-1 8-1 9-1 | XCLAIM a g d 99999999 5-1 7-1 ; \
XCLAIM a g d 0 7-1 6-1 1-1 IDLE 1000 JUSTID ; XAUTOCLAIM a g e 99999999 0 COUNT 2 ; XAUTOCLAIM a g e 0 0 JUSTID
SET a 1 | EVAL "redis.call('incr',KEYS[1])" 1 a ; \
EVAL "redis.call('set',KEYS[1],'x');return redis.call('incr',KEYS[1])" 1 a ; \
EVALSHA ffffffffffffffffffffffffffffffffffffffff 1 a ; FCALL nothing 1 a
RPUSH a x | SET a v NX ; GETSET a v ; GETDEL a ; SPOP a ; ZPOPMIN a ; SETNX a v ; GETEX a EX 500 ; XADD a * f v ; \
PFMERGE a a
"""
# Modules that a plain server does not have.
ABSENT = {"json.arrpop", "json.nummultby", "json.toggle"}


def cases() -> list[tuple[list[str], list[str]]]:
    text = CASES.strip().replace("\\\n", "")
    return [(before.split(" ; "), commands.split(" ; ")) for before, commands in (
        line.split(" | ") for line in text.splitlines())]  # fmt: skip


class Store:
    """A datastore, and raw conversation with it in one of the protocols."""

    def __init__(self, bare: BareStore, protocol: int) -> None:
        self.address = (bare.host, bare.port)
        self.sock = socket.create_connection(self.address, 5)
        self.framer = ReplyFramer()
        self.store = lambda: Resp(*self.address)
        if protocol == 3:
            self.raw(request_of([b"HELLO", b"3"]))

    def raw(self, requests: bytes) -> list[bytes]:
        """Every reply as it came."""
        replies: list[bytes] = []
        wanted = len(frame_requests(requests)[0])
        self.sock.sendall(requests)
        while len(replies) < wanted:
            replies += [frame.raw for frame in self.framer.feed(self.sock.recv(65536)) if not frame.is_push]
        return replies

    def contents(self) -> object:
        held = contents(SimpleNamespace(store=self.store))  # type: ignore[arg-type]
        with self.store() as store:
            pending = {
                (key, group): [entry[:2] + entry[3:] for entry in store.call("XPENDING", key, group, "-", "+", 99)]
                for key, ((kind, _), _) in held.items() if kind == b"stream"
                for group in groups(store, key)
            }  # fmt: skip
        return held, pending


def groups(store: Resp, key: bytes) -> list[bytes]:
    return [info[1] for info in store.call("XINFO", "GROUPS", key)]


@pytest.fixture(scope="module", params=["PATH", "managed"])
def binary(request: pytest.FixtureRequest) -> str:
    """The server that is found first, and the newest one that this package brings."""
    if request.param == "PATH":
        return find_store_binary()
    found = managed.bundled_binary()
    if found is None:
        pytest.skip("no packaged server")
    return found


@pytest.fixture(scope="module")
def bare(binary: str) -> Iterator[tuple[BareStore, BareStore]]:
    with BareStore(binary=binary) as lead, BareStore(binary=binary) as replica:
        yield lead, replica


@pytest.fixture(params=[2, 3])
def stores(bare: tuple[BareStore, BareStore], request: pytest.FixtureRequest) -> tuple[Store, Store]:
    lead, replica = Store(bare[0], request.param), Store(bare[1], 2)
    lead.raw(request_of([b"FLUSHALL"]))
    replica.raw(request_of([b"FLUSHALL"]))
    return lead, replica


def words_of(line: str, lead: Store) -> list[bytes]:
    out = []
    for word in shlex.split(line):
        if word == "<a>":
            with lead.store() as store:
                out.append(store.call("DUMP", "a"))
        elif word in ("@", "@s"):
            out.append(b"%d" % ((time.time() + 60) * (1000 if word == "@" else 1)))
        else:
            out.append(word.encode())
    return out


def run(lead: Store, replica: Store, words: list[bytes]) -> bytes:
    """As the lead does it; its reply."""
    now_ms = int(time.time() * 1000)
    request = absolute(request_of(words), now_ms)
    probes = effects.probes(request)
    reply, *probed = lead.raw(request + probes)
    effect = effects.effect(request, reply, b"".join(probed), now_ms)
    if effect:
        for frame in frame_requests(effect)[0]:
            assert CONFLICTS[effects.conflict_of_effect(frame.raw)] != "lead"
        for answer in replica.raw(effect):
            assert not answer.startswith(b"-") or words[0].startswith((b"EVAL", b"FCALL")), (words, effect, answer)
    return reply


def assert_equal(lead: Store, replica: Store, what: object) -> None:
    (left, left_pending), (right, right_pending) = lead.contents(), replica.contents()  # type: ignore[misc]
    assert left.keys() == right.keys(), what
    assert all(same_value(left[key], right[key]) for key in left), (what, left, right)
    assert left_pending == right_pending, what


@pytest.mark.parametrize("case", cases(), ids=lambda case: case[1][0].split()[0].lower())
def test_the_effect_at_another_replica_is_what_the_command_did(
    stores: tuple[Store, Store], case: tuple[list[str], list[str]]
) -> None:
    lead, replica = stores
    before, commands = case
    for line in before:
        request = request_of(words_of(line, lead))
        lead.raw(request)
        replica.raw(request)
    for line in commands:
        run(lead, replica, words_of(line, lead))
        assert_equal(lead, replica, line)


def test_every_lead_command_has_a_case() -> None:
    named = {line.split()[0].lower() for _, commands in cases() for line in commands}
    named |= {"xgroup|" + line.split()[1].lower() for _, c in cases() for line in c if line.startswith("XGROUP")}
    assert named >= LEAD - ABSENT


@pytest.mark.parametrize("seed", range(3))
def test_many_effects_in_a_row_keep_replicas_equal(stores: tuple[Store, Store], seed: int) -> None:
    """Random commands of a few keys, most of them of class lead, errors and empty replies among them."""
    lead, replica = stores
    chance = random.Random(seed)
    lines = [line for before, commands in cases() for line in before + commands if "@" not in line and "<" not in line]
    for _ in range(400):
        run_any(lead, replica, words_of(chance.choice(lines), lead))
    assert_equal(lead, replica, seed)


def run_any(lead: Store, replica: Store, words: list[bytes]) -> None:
    if CONFLICTS[effects.conflict(request_of(words))] == "lead":
        run(lead, replica, words)
    else:
        request = absolute(request_of(words), int(time.time() * 1000))
        lead.raw(request)
        replica.raw(request)
