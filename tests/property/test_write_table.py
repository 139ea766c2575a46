"""The table of recent writes: it decides as the model that forgets nothing; what it forgot it never takes for new."""

import hypothesis.strategies as st
from hypothesis import given, settings

from dynomite_mp.cluster.write_table import (
    ENTRY_DISORDERED,
    NOTE_APPLY,
    NOTE_APPLY_AND_COPY,
    NOTE_DUPLICATE,
    NOTE_SKIP_AND_COPY,
    NOTE_STALE,
    WriteTable,
)
from tests.models.write_table_model import COMMUTE, COPIES, ORDERED, OVERWRITE, TableModel, Write, value_of

APPLIED = (NOTE_APPLY, NOTE_APPLY_AND_COPY)


def writes(keys: int, stamps: int = 40) -> st.SearchStrategy[list[Write]]:
    """Each with an order of its own: stamps may tie, then the origins differ."""
    one = st.tuples(
        st.integers(0, keys - 1), st.sampled_from((OVERWRITE, COMMUTE, ORDERED)), st.integers(1, 2),
        st.integers(1, stamps), st.integers(1, 3),
    )  # fmt: skip
    return st.lists(one, max_size=60, unique_by=lambda row: (row[3], row[4])).map(
        lambda rows: [
            Write(b"key%d" % key, klass, family, stamp, origin, stamp) for key, klass, family, stamp, origin in rows
        ]
    )


def note(table: WriteTable, write: Write, *, is_resent: bool = False) -> int:
    """As a replica does: what must not be applied twice is first asked for in the window of its origin."""
    if write.klass != OVERWRITE:
        seen = table.seen_id(write.id, is_resent)
        if seen != NOTE_APPLY:
            return seen
    return table.note_key(
        write.key, write.klass, write.id, write.stamp, family=write.family, is_resent=is_resent
    )  # fmt: skip


@given(writes(keys=3))
def test_it_decides_as_the_model(deliveries: list[Write]) -> None:
    table, model = WriteTable(0), TableModel()
    assert [note(table, write) for write in deliveries] == [model.note(write) for write in deliveries]


@given(writes(keys=2), st.randoms(use_true_random=False))
def test_replicas_that_need_no_copy_end_up_equal(sent: list[Write], random: object) -> None:
    """Whatever the order of delivery: the value is that of the order of stamps, or the key is to be copied."""
    delivered = list(sent)
    random.shuffle(delivered)  # type: ignore[attr-defined]
    table = WriteTable(0)
    verdicts = [(write, note(table, write)) for write in delivered]
    for key in {write.key for write in sent}:
        of_key = [(write, verdict) for write, verdict in verdicts if write.key == key]
        if any(verdict in COPIES for _write, verdict in of_key):
            continue
        applied = [write for write, verdict in of_key if verdict == NOTE_APPLY]
        in_order = sorted((write for write, _verdict in of_key), key=lambda write: write.order)
        assert value_of(applied) == value_of(in_order)


@given(writes(keys=40, stamps=300), st.data())
@settings(max_examples=200)
def test_nothing_is_applied_twice_whatever_was_forgotten(sent: list[Write], data: st.DataObject) -> None:
    """A table with room for seven keys; what is sent again is said to be."""
    table = WriteTable(0, buckets=1, recents=8)
    counted: dict[tuple[int, int, int, int], int] = {}
    done: list[Write] = []
    for write in sent:
        done.append(write)
        again = data.draw(st.booleans())
        for one, is_resent in ((write, False), *([(data.draw(st.sampled_from(done)), True)] if again else [])):
            if note(table, one, is_resent=is_resent) in APPLIED and one.klass != OVERWRITE:
                counted[one.id] = counted.get(one.id, 0) + 1
    assert all(times == 1 for times in counted.values())


@given(st.integers(8, 40))
def test_a_forgotten_key_raises_the_floor(keys: int) -> None:
    table = WriteTable(0, buckets=1)
    for i in range(keys):
        assert table.note_key(b"key%d" % i, OVERWRITE, (1, 1, 0, i), 100 + i) == NOTE_APPLY
    forgotten = keys - 7
    for i in range(keys):
        is_known = table.entry(b"key%d" % i) is not None
        assert is_known == (i >= forgotten)
    old = 100 + forgotten - 1
    assert table.note_key(b"new", OVERWRITE, (1, 1, 0, 999), old, is_resent=True) == NOTE_SKIP_AND_COPY
    assert table.note_key(b"new", OVERWRITE, (1, 1, 0, 999), old + 1000, is_resent=True) == NOTE_APPLY


def test_what_was_before_the_first_floor_is_not_known() -> None:
    table = WriteTable(1000)
    assert table.note_key(b"k", COMMUTE, (1, 1, 0, 1), 1000, is_resent=True) == NOTE_SKIP_AND_COPY
    assert table.note_key(b"k", COMMUTE, (1, 1, 0, 2), 1000) == NOTE_APPLY_AND_COPY
    assert table.note_key(b"k", COMMUTE, (1, 1, 0, 3), 1001) == NOTE_APPLY
    assert table.note_key(b"k", COMMUTE, (1, 1, 0, 4), 999, is_resent=True) == NOTE_SKIP_AND_COPY
    table.raise_floor(2000)
    assert table.note_key(b"other", OVERWRITE, (1, 1, 0, 5), 1999, is_resent=True) == NOTE_SKIP_AND_COPY


def test_ties_go_to_the_larger_node() -> None:
    table = WriteTable(0)
    assert table.note_key(b"k", OVERWRITE, (2, 1, 0, 1), 10) == NOTE_APPLY
    assert table.note_key(b"k", OVERWRITE, (1, 1, 0, 1), 10) == NOTE_STALE
    assert table.newest == 10
    assert table.note_key(b"k", OVERWRITE, (2, 1, 0, 1), 10) == NOTE_APPLY  # the same again does no harm
    assert table.note_key(b"k", OVERWRITE, (3, 1, 0, 1), 10) == NOTE_APPLY


def test_an_entry_has_the_recent_ids_newest_first() -> None:
    table = WriteTable(0, recents=4)
    for sequence in range(1, 4):
        table.note_key(b"k", COMMUTE, (1, 2, 3, sequence), 10 * sequence)
    assert table.entry(b"k") == (30, 1, 256, [(1, 2, 3, 3), (1, 2, 3, 2), (1, 2, 3, 1)], 0, 0, [], [30, 20, 10], 0, [])
    for sequence in range(4, 7):
        table.note_key(b"other", COMMUTE, (1, 2, 3, sequence), 10 * sequence)
    assert table.entry(b"k") == (30, 1, 256, [(1, 2, 3, 3)], 0, 0, [], [30], 30, [])
    assert table.entry(b"nothing") is None
    table.note_key(b"k", COMMUTE, (1, 2, 3, 7), 70)
    assert table.entry(b"k") == (70, 1, 256, [(1, 2, 3, 7)], 0, 0, [], [70], 70, []), "the one before it is gone"


def horizon(table: WriteTable, key: bytes = b"k", **limits: int) -> int:
    entry = table.entry(key, **limits)
    assert entry is not None
    return entry[8]


def test_up_to_the_horizon_there_may_have_been_more() -> None:
    table, copy, later = WriteTable(5), WriteTable(25), WriteTable(0)
    for sequence, stamp in enumerate((10, 40, 20, 30), 1):
        table.note_key(b"k", COMMUTE, (1, 2, 3, sequence), stamp)
    assert horizon(table) == 5, "when the table began"
    assert horizon(table, most=1, others_most=1) == 40, "not told, whatever its place"
    assert horizon(table, most=1, others_most=2) == 10
    copy.put(b"k", *table.entry(b"k"))  # type: ignore[misc]
    assert horizon(copy) == 5, "what the copy contains is known"
    copy.note_key(b"k", COMMUTE, (1, 2, 3, 5), 50)
    assert horizon(copy) == 5
    later.put(b"k", *copy.entry(b"k", 1, 0, 1))  # type: ignore[misc]
    assert horizon(later) == 40


def test_what_had_to_go_raises_the_horizon_of_its_bucket() -> None:
    table = WriteTable(0, buckets=1)
    for number in range(8):
        table.note_key(b"%d" % number, COMMUTE, (1, 2, 3, number), 10 * (number + 1))
    assert horizon(table, b"7") == 10


def test_a_copied_key_counts_as_what_it_was_copied_from() -> None:
    source, copy = WriteTable(0), WriteTable(0)
    source.note_key(b"k", OVERWRITE, (1, 1, 0, 1), 10)
    source.note_key(b"k", ORDERED, (1, 1, 0, 3), 30)
    assert source.note_key(b"k", ORDERED, (1, 1, 0, 2), 20) == NOTE_APPLY_AND_COPY
    entry = source.entry(b"k")
    assert entry is not None and entry[2] & ENTRY_DISORDERED
    copy.put(b"k", *entry)
    assert copy.entry(b"k") == entry
    assert copy.seen_id((1, 1, 0, 2), True) == NOTE_DUPLICATE  # contained in the copy
    assert copy.note_key(b"k", OVERWRITE, (1, 1, 0, 1), 9) == NOTE_STALE
    assert copy.note_key(b"k", OVERWRITE, (1, 1, 0, 4), 40) == NOTE_APPLY


def test_a_skipped_overwrite_is_remembered_until_a_copy_has_it() -> None:
    table = WriteTable(0)
    table.note_key(b"k", ORDERED, (1, 1, 0, 3), 30)
    assert table.note_key(b"k", OVERWRITE, (1, 1, 0, 2), 20) == NOTE_SKIP_AND_COPY
    assert table.note_key(b"k", OVERWRITE, (1, 1, 0, 2), 20) == NOTE_SKIP_AND_COPY
    assert table.note_key(b"k", ORDERED, (1, 1, 0, 1), 10) == NOTE_STALE  # the copy will not have it
    entry = table.entry(b"k")
    assert entry is not None and entry[3] == [(1, 1, 0, 2), (1, 1, 0, 3)] and entry[4] == 20
    table.put(b"k", 30, 1, 0, entry[3], 20, 1)
    assert table.note_key(b"k", OVERWRITE, (1, 1, 0, 2), 20) == NOTE_DUPLICATE


def test_writes_that_an_overwrite_wiped_are_told_apart() -> None:
    source, copy = WriteTable(0), WriteTable(0)
    source.note_key(b"k", ORDERED, (1, 1, 0, 1), 10)
    source.note_key(b"k", ORDERED, (1, 1, 0, 3), 30)
    copy.put(b"k", *source.entry(b"k"))  # type: ignore[misc]
    for table in source, copy:
        assert table.note_key(b"k", OVERWRITE, (1, 1, 0, 2), 20) == NOTE_SKIP_AND_COPY
        entry = table.entry(b"k")
        assert entry is not None and (entry[3], entry[6]) == ([(1, 1, 0, 2), (1, 1, 0, 3)], [(1, 1, 0, 1)])


def test_what_a_copy_contained_is_seen_however_old() -> None:
    """Its origin was first heard of with a later write."""
    table = WriteTable(0)
    assert table.seen_id((1, 1, 0, 9)) == NOTE_APPLY
    table.put(b"k", 30, 1, 0, [(1, 1, 0, 8)], 0, 0)
    assert table.seen_id((1, 1, 0, 8)) == NOTE_DUPLICATE
    assert table.seen_id((1, 1, 0, 7), True) == NOTE_SKIP_AND_COPY


def test_numbered_keys_are_spread_over_the_buckets() -> None:
    """Whatever it is of a key that differs, few of them have to go although there is room for all."""
    for pattern in (b"key:%012d", b"user:%d:name", b"%08x", b"session:abcdefgh:%d"):
        table = WriteTable(0, buckets=4096)
        for number in range(10000):
            table.note_key(pattern % number, OVERWRITE, (1, 1, 0, number), 1 + number)
        assert sum(table.entry(pattern % number) is None for number in range(10000)) < 100
    table = WriteTable(0, buckets=4096)
    for number in range(10000):
        table.note_key(number.to_bytes(8, "big"), OVERWRITE, (1, 1, 0, number), 1 + number)
    assert sum(table.entry(number.to_bytes(8, "big")) is None for number in range(10000)) < 100


def test_more_processes_than_the_table_numbers_raise_its_floor() -> None:
    table = WriteTable(0)
    assert table.note_key(b"a", OVERWRITE, (1, 1, 0, 1), 50) == NOTE_APPLY
    for boot in range(2, 4100):
        assert table.note_key(b"b", ORDERED, (2, boot, 0, 1), 100 + boot) == NOTE_APPLY
    assert table.entry(b"a") is None
    entry = table.entry(b"b")
    assert entry is not None and entry[:2] == (4199, 2)
    assert entry[3][0] == (2, 4099, 0, 1)
    assert table.note_key(b"a", OVERWRITE, (1, 1, 0, 2), 60, is_resent=True) == NOTE_SKIP_AND_COPY
    assert table.note_key(b"a", OVERWRITE, (1, 1, 0, 3), 5000) == NOTE_APPLY


def test_a_window_is_65536_sequence_numbers() -> None:
    table = WriteTable(0)
    assert table.seen_id((1, 1, 0, 5)) == NOTE_APPLY
    assert table.seen_id((1, 1, 0, 65540)) == NOTE_APPLY
    assert table.seen_id((1, 1, 0, 5)) == NOTE_DUPLICATE
    assert table.seen_id((1, 1, 0, 6)) == NOTE_APPLY
    assert table.seen_id((1, 1, 0, 65541)) == NOTE_APPLY
    assert table.seen_id((1, 1, 0, 5), True) == NOTE_SKIP_AND_COPY
    assert table.seen_id((1, 1, 0, 5)) == NOTE_APPLY  # it was not sent again: a new one that took its time
    assert table.seen_id((1, 1, 0, 10**6)) == NOTE_APPLY
    assert table.seen_id((1, 1, 0, 10**6)) == NOTE_DUPLICATE
    assert table.seen_id((2, 1, 0, 10**6)) == table.seen_id((1, 2, 0, 10**6)) == NOTE_APPLY


def test_what_may_be_in_a_copy_without_being_known_is_not_applied_when_it_comes_again() -> None:
    source, copy = WriteTable(5), WriteTable(0)
    for sequence, stamp in enumerate((10, 20, 30, 40), 1):
        source.note_key(b"k", COMMUTE, (1, 2, 3, sequence), stamp)
    copy.put(b"k", *source.entry(b"k", 1, 0, 1))  # type: ignore[misc]
    assert copy.note_key(b"k", COMMUTE, (1, 2, 3, 5), 50) == NOTE_APPLY
    for sequence, stamp in ((1, 10), (2, 20)):
        assert copy.note_key(b"k", COMMUTE, (1, 2, 3, sequence), stamp, is_resent=True) == NOTE_SKIP_AND_COPY
    assert copy.note_key(b"k", COMMUTE, (7, 1, 0, 1), 21, is_resent=True) == NOTE_APPLY
    assert copy.note_key(b"k", COMMUTE, (7, 1, 0, 2), 15) == NOTE_APPLY, "which nobody has sent before"
    assert copy.note_key(b"k", OVERWRITE, (1, 2, 3, 6), 60) == NOTE_APPLY
    entry = copy.entry(b"k")
    assert entry is not None and entry[2] == 0
