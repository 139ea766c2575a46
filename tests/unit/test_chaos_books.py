"""The books of the chaos script: each kind of damage is called by its name, and what is right is not complained of."""

import pytest

from tests.accept.chaos_books import count_judged, judged
from tests.load.steady_ledger import Ledger, Operation, make_value


def ledger() -> Ledger:
    """One value written twice and once with unknown outcome, a list of two and perhaps a third, a counter at 2 or 3."""
    made = Ledger(b"k:", 2, 64, shared=[b"all"], delete_share=0.5)
    for sequence, name, is_known in ((1, "SET", True), (2, "SET", True), (3, "SET", False)):
        write(made, Operation(name, b"k:0", (), sequence), b"OK", is_known)
    for sequence, is_known in ((4, True), (5, True), (6, False)):
        write(made, Operation("LPUSH", made.list, (), sequence), sequence - 3, is_known)
    for count, is_known in ((1, True), (2, True), (3, False)):
        write(made, Operation("INCR", made.counter, ()), count, is_known)
    return made


def write(made: Ledger, operation: Operation, reply: object, is_known: bool) -> None:
    made.sent(operation)
    if is_known:
        assert made.acknowledged(operation, reply) == ""


@pytest.mark.parametrize(
    ("key", "reply", "kinds"),
    [
        (b"k:0", make_value(b"k:0", 2, 64), []),
        (b"k:0", make_value(b"k:0", 3, 64), []),
        (b"k:0", make_value(b"k:0", 1, 64), ["lost"]),
        (b"k:0", make_value(b"k:0", 9, 64), ["wrong"]),
        (b"k:0", b"2:other bytes", ["wrong"]),
        (b"k:0", None, ["lost"]),
        (b"k:1", None, []),
        (b"k:list", [b"5", b"4"], []),
        (b"k:list", [b"6", b"5", b"4"], []),
        (b"k:list", [b"5"], ["lost"]),
        (b"k:list", [b"5", b"4", b"4"], ["doubled"]),
        (b"k:list", [b"7", b"5", b"4"], ["wrong"]),
        (b"k:count", b"2", []),
        (b"k:count", b"3", []),
        (b"k:count", b"1", ["lost"]),
        (b"k:count", b"4", ["doubled"]),
    ],
)
def test_damage_is_called_by_its_name(key: bytes, reply: object, kinds: list[str]) -> None:
    made = ledger()
    assert [kind for kind, _ in judged(made, key, made.entries[key], reply)] == kinds


def test_a_deleted_value_may_be_gone_but_not_come_back() -> None:
    made = ledger()
    write(made, Operation("DEL", b"k:0", (b"DEL", b"k:0"), 7), 1, True)
    entry = made.entries[b"k:0"]
    assert list(judged(made, b"k:0", entry, None)) == []
    assert [kind for kind, _ in judged(made, b"k:0", entry, make_value(b"k:0", 2, 64))] == ["lost"]
    write(made, Operation("SET", b"k:0", (), 8), b"OK", False)
    assert list(judged(made, b"k:0", entry, make_value(b"k:0", 8, 64))) == []
    assert list(judged(made, b"k:0", entry, None)) == []


def test_a_shared_counter_is_between_what_was_acknowledged_and_what_was_sent() -> None:
    assert [kind for reply in (4, 5, 7, 8) for kind, _ in count_judged(b"all", b"%d" % reply, 5, 7)] == [
        "lost",
        "doubled",
    ]


def test_a_write_that_a_stopped_node_still_holds_may_come_late() -> None:
    made = ledger()
    entry = made.entries[b"k:0"]
    late = Operation("SET", b"k:0", (), 7)
    made.sent(late)
    made.timed_out(late)
    write(made, Operation("SET", b"k:0", (), 8), b"OK", True)
    assert list(judged(made, b"k:0", entry, make_value(b"k:0", 7, 64))) == []
    assert list(judged(made, b"k:0", entry, make_value(b"k:0", 8, 64))) == []
    assert [kind for kind, _ in judged(made, b"k:0", entry, make_value(b"k:0", 2, 64))] == ["lost"]
    assert made.acknowledged(Operation("GET", b"k:0", ()), make_value(b"k:0", 7, 64)) == ""
    assert made.acknowledged(Operation("GET", b"k:0", ()), make_value(b"k:0", 2, 64)) != ""
