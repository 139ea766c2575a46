"""The load generators against a bare datastore: no complaint about a right one, a complaint about every wrong one."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import time
from collections.abc import Iterator

import pytest
import redis

from tests.load import big_value
from tests.load.bad_input import bad_input
from tests.load.bare_store import BareStore, StoreNotFoundError, find_store_binary
from tests.load.checked_load import LoadPlan, checked_load
from tests.load.command_mix import CommandMix, dump_payload
from tests.load.command_rows import ALL_GROUPS, ROWS
from tests.load.dual_run import dual_run
from tests.load.expected_bytes import Expected, ReplyChecker, WrongReplyError, value
from tests.load.fault_proxy import FaultProxy
from tests.load.replies import Frame, Rule, same
from tests.load.steady import SteadyLoad, SteadyPlan

pytestmark = [pytest.mark.e2e]


@pytest.fixture(scope="module")
def store() -> Iterator[BareStore]:
    try:
        find_store_binary()
    except StoreNotFoundError as error:
        pytest.skip(str(error))
    with BareStore() as running:
        yield running


def test_equal_seeds_give_equal_commands_and_every_row_appears() -> None:
    first, second = (list(itertools.islice(CommandMix(7, b"p:", ALL_GROUPS), 5000)) for _ in range(2))
    assert first == second
    assert {step.args[0].upper().decode() for step in first} == {row.name for row in ROWS}


def test_dump_payload_is_accepted_by_the_datastore(store: BareStore) -> None:
    outcome = dual_run([(store.host, store.port)], (store.host, store.port), count=0)
    assert outcome.keys_compared
    client = redis.Redis(store.host, store.port)
    client.restore("restored", 0, dump_payload(b"hello"))
    assert client.get("restored") == b"hello"


@pytest.mark.parametrize(
    ("left", "right", "rule", "equal"),
    [
        (Frame("+", b"OK"), Frame("$", b"OK"), Rule.EXACT, False),
        ([b"a", b"b"], [b"b", b"a"], Rule.EXACT, False),
        ([b"a", b"b"], [b"b", b"a"], Rule.UNORDERED, True),
        ([b"a", b"a"], [b"a", b"b"], Rule.UNORDERED, False),
        ([b"f", b"1", b"g", b"2"], [b"g", b"2", b"f", b"1"], Rule.PAIRS, True),
        ([b"f", b"1", b"g", b"2"], [b"f", b"2", b"g", b"1"], Rule.PAIRS, False),
        ([b"0", [b"a", b"b"]], [b"0", [b"b", b"a"]], Rule.SCAN, True),
        (100, 103, Rule.TTL_S, True),
        (100, 130, Rule.TTL_S, False),
        (-1, 0, Rule.TTL_S, False),
        (-1, -2, Rule.TTL_MS, False),
        ([b"a", 5], [b"a", 900], Rule.NEAR, True),
        ([b"a", 5], [b"b", 5], Rule.NEAR, False),
        ([b"a", b"b"], [b"c"], Rule.SHAPE, False),
        (None, b"", Rule.PRESENCE, False),
        (1.0, 1, Rule.EXACT, False),
    ],
)
def test_rules_of_comparison(left: object, right: object, rule: Rule, equal: bool) -> None:
    assert same(left, right, rule) is equal


def test_reply_checker_sees_each_kind_of_wrong_byte() -> None:
    big = b"$100000\r\n" + value(b"k", 3, 100_000) + b"\r\n"
    good = b"+OK\r\n" + big + b"-ERR unknown command 'x'\r\n:5\r\n"

    def check(data: bytes, step: int) -> int:
        checker = ReplyChecker()
        checker.due += [Expected("a", b"+OK\r\n"), Expected("b", b"$100000\r\n", b"k", 3, 100_000)]
        checker.due += [Expected("c", b"-ERR unknown", size=-1), Expected("d", b":5\r\n")]
        for at in range(0, len(data), step):
            checker.feed(data[at : at + step])
        return checker.checked

    assert check(good, len(good)) == check(good, 4097) == check(good, 1) == 4
    for place in (1, 6, 5000, 99_000, len(big) + 3, len(good) - 3):
        with pytest.raises(WrongReplyError):
            check(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :], 4096)
    with pytest.raises(WrongReplyError):
        check(good + b"+OK\r\n", 4096)


def test_dual_run_of_two_bare_stores_finds_nothing(store: BareStore) -> None:
    with BareStore() as other:
        outcome = dual_run([(store.host, store.port)], (other.host, other.port), count=600, seed=3, groups=ALL_GROUPS)
    assert outcome.commands == 600
    assert not outcome.differences


def test_dual_run_sees_one_wrong_byte(store: BareStore) -> None:
    with BareStore() as other, FaultProxy((store.host, store.port)) as proxy:
        proxy.replace_replies(lambda data: data.replace(b"1", b"2"))
        proxy.flip_reply_byte(after_bytes=3000)
        with contextlib.suppress(Exception):  # the wrong byte may lie in a length
            outcome = dual_run([proxy.address], (other.host, other.port), count=400, seed=3, drivers=["raw2"])
            assert outcome.differences


def test_checked_load_passes_a_right_store_and_sees_a_wrong_byte(store: BareStore) -> None:
    plan = LoadPlan(((store.host, store.port),), seconds=1.0, clients=10, flooders=1, flood_depth=5000, seed=11)
    right = checked_load(plan)
    assert right.replies > 1000
    assert right.error_count == 0, right.errors
    with FaultProxy((store.host, store.port)) as proxy:
        proxy.flip_reply_byte(after_bytes=20_000)
        wrong = checked_load(LoadPlan((proxy.address,), seconds=1.0, clients=10, flooders=0, seed=12))
    assert wrong.error_count == 1, wrong.errors


def test_checked_load_leaves_no_more_unread_than_it_may(store: BareStore) -> None:
    """A server may close a client that asks for much and reads little; the load must not be that client unless told."""
    asked = []
    for unread_bytes_max in (1_000_000_000, 250_000):
        plan = LoadPlan(((store.host, store.port),), 1.0, clients=4, flooders=0, big_share=1, max_value_bytes=200_000)
        result = checked_load(dataclasses.replace(plan, unread_bytes_max=unread_bytes_max))
        assert result.errors == []
        asked.append(result.most_asked_bytes)
        with redis.Redis(store.host, store.port) as client:
            client.flushall()
    assert asked[0] > 250_000 >= asked[1] > 0


def test_steady_load_keeps_books_through_a_cut_and_sees_a_lost_write(store: BareStore) -> None:
    with FaultProxy((store.host, store.port)) as proxy:
        with SteadyLoad(SteadyPlan((proxy.address,), clients=10, rate_per_s=500)) as load:
            time.sleep(0.4)
            proxy.cut()
            time.sleep(0.4)
        assert load.result.acknowledged > 50
        assert {error.kind for error in load.result.errors} <= {"lost"}
        assert load.result.reconnects >= 10
        assert load.verify() == []
    client = redis.Redis(store.host, store.port)
    ledger = load.clients[0].ledger
    client.set(ledger.keys[0], b"1:forged")
    client.set(ledger.counter, -1)
    client.lpush(ledger.list, 999_999)
    assert len(load.verify((store.host, store.port))) == 3


def test_steady_load_measures_a_stopped_store() -> None:
    with BareStore() as own:
        with SteadyLoad(SteadyPlan(((own.host, own.port),), clients=10, rate_per_s=1000, timeout_s=5)) as load:
            time.sleep(0.3)
            os.kill(own.pid, signal.SIGSTOP)
            stopped = load.mark("stop")
            time.sleep(0.5)
            os.kill(own.pid, signal.SIGCONT)
            time.sleep(0.3)
        gap, began = load.result.longest_gap_s()
        assert 0.4 < gap < 3.0
        assert abs(began - stopped) < 0.3
        assert load.result.errors == []
        assert load.verify() == []


def test_bad_input_of_a_bare_store(store: BareStore) -> None:
    report = bad_input((store.host, store.port), short=True)
    assert report.failures() == []


def test_big_value_goes_in_and_out(store: BareStore) -> None:
    assert big_value.round_trip((store.host, store.port), 4 * 1024 * 1024).problems == []
