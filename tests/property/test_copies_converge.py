"""Replicas that get the same writes in any order, and copy keys as their write tables tell them, end up equal.

Two datacenters of two racks, one key, no network: a write is delivered to each replica at some time, and in between
replicas that want a copy try to get one, by the same rules as workers.key_copies.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import given, settings

from dynomite_mp.cluster.key_sources import KEEP, Known, all_disordered, choose, is_contained
from dynomite_mp.cluster.write_table import (
    NOTE_APPLY,
    NOTE_APPLY_AND_COPY,
    NOTE_DUPLICATE,
    NOTE_SKIP_AND_COPY,
    WriteTable,
)
from tests.models.write_table_model import COMMUTE, ORDERED, OVERWRITE, Write, value_of

KEY = b"k"
PLACES = ("dc1/r1", "dc1/r2", "dc2/r1", "dc2/r2")
LOOKS = 6


@dataclass
class Replica:
    place: str
    table: WriteTable = field(default_factory=lambda: WriteTable(0, buckets=1, recents=256))
    applied: list[Write] = field(default_factory=list)
    wants: bool = False
    looks: int = 0

    def deliver(self, write: Write) -> None:
        if write.klass != OVERWRITE and self.table.seen_id(write.id) == NOTE_DUPLICATE:
            return
        verdict = self.table.note_key(KEY, write.klass, write.id, write.stamp, family=write.family)
        if verdict in (NOTE_APPLY, NOTE_APPLY_AND_COPY):
            self.applied.append(write)
        if verdict in (NOTE_APPLY_AND_COPY, NOTE_SKIP_AND_COPY):
            self.wants, self.looks = True, 0

    def known(self) -> Known:
        entry = self.table.entry(KEY, 48, 1)
        if entry is None:
            return Known()
        stamp, origin, flags, ids, over_stamp, over_origin, others, stamps = entry
        return Known.of_plain([stamp, origin, flags, ids, [over_stamp, over_origin], others, stamps])

    def take(self, source: "Replica") -> None:
        self.applied = list(source.applied)
        entry = source.table.entry(KEY, 48, 1)
        if entry is not None:
            self.table.put(KEY, *entry)


def attempt(mine: Replica, replicas: list[Replica], *, is_last: bool) -> bool:
    """One try of a copy; whether it is done with."""
    dc = mine.place[:3]
    known = mine.known()
    if not known.is_disordered:
        mine.wants = False
        return True
    offers = [(one.place, one.known()) for one in replicas if one is not mine and one.place[:3] == dc]
    if all_disordered(known, offers):
        offers = [(one.place, one.known()) for one in replicas if one is not mine]
    earlier = [place for place in PLACES if place < mine.place]
    address = choose(known, offers, is_last=is_last, earlier=earlier)
    if address is None:
        return False
    theirs = dict(offers).get(address)
    is_sure = theirs is not None and not theirs.is_disordered and is_contained(known, theirs)
    mine.wants = not is_sure and known.is_disordered and mine.looks < LOOKS
    mine.looks += mine.wants
    if address != KEEP:
        mine.take(next(one for one in replicas if one.place == address))
    return True


def settle(replicas: list[Replica]) -> None:
    """As time goes by with no more writes."""
    for _ in range(10 * LOOKS):
        for is_last in (False, True):
            for one in replicas:
                if one.wants:
                    attempt(one, replicas, is_last=is_last)


def write(number: int, klass: int, stamp: int, origin: int) -> Write:
    return Write(KEY, klass, 1, stamp, origin, number)


sent = st.lists(
    st.tuples(st.sampled_from((OVERWRITE, ORDERED, ORDERED, COMMUTE)), st.integers(1, 4)), min_size=2, max_size=8
).map(lambda rows: [write(n, klass, 10 * n, origin) for n, (klass, origin) in enumerate(rows, 1)])


def schedule(writes: list[Write], rng: random.Random) -> Iterator[tuple[int, Write | None]]:
    """(replica, what it is given; None: it tries a copy). Each gets every write once, in an order of its own."""
    left = {place: rng.sample(writes, len(writes)) for place in range(len(PLACES))}
    while left:
        place = rng.choice(list(left))
        yield place, left[place].pop() if rng.random() < 0.7 else None
        if not left[place]:
            del left[place]


@given(sent, st.integers(0, 10**9))
@settings(max_examples=1000)
def test_replicas_end_up_equal(writes: list[Write], seed: int) -> None:
    replicas = [Replica(place) for place in PLACES]
    for place, what in schedule(writes, random.Random(seed)):
        if what is not None:
            replicas[place].deliver(what)
        elif replicas[place].wants:
            attempt(replicas[place], replicas, is_last=False)
    settle(replicas)
    values = [value_of(one.applied) for one in replicas]
    assert all(value == values[0] for value in values), values
