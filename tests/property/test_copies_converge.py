"""Replicas that get the same writes in any order, and copy keys as their write tables tell them, end up equal.

Two datacenters of two racks, one key, no network: a write is made at one replica and delivered to each other one at
some time, and in between replicas that want a copy try to get one, by the same rules as workers.key_copies.
"""

import random
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import given, settings

from dynomite_mp.cluster.key_sources import KEEP, Known, all_disordered, choose, is_contained, is_first
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
    told: object = None

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
        stamp, origin, flags, ids, over_stamp, over_origin, *rest = entry
        return Known.of_plain([stamp, origin, flags, ids, [over_stamp, over_origin], *rest])

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
    others = [one for one in replicas if one is not mine]
    offers = [(one.place, one.known()) for one in others if one.place[:3] == dc]
    if all_disordered(known, offers):
        offers = [(one.place, one.known()) for one in others]
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
    elif is_first(known, offers, earlier) and mine.told != known.state:
        mine.told = known.state
        for one in others:
            one.wants, one.looks = True, 0
    return True


def settle(replicas: list[Replica]) -> None:
    """As time goes by with no more writes."""
    for _ in range(40 * LOOKS):
        for is_last in (False, True):
            for one in replicas:
                if one.wants:
                    attempt(one, replicas, is_last=is_last)


def write(number: int, klass: int, stamp: int, origin: int) -> Write:
    return Write(KEY, klass, 1, stamp, origin, number)


sent = st.lists(
    st.tuples(st.sampled_from((OVERWRITE, ORDERED, ORDERED, COMMUTE)), st.integers(0, 3)), min_size=2, max_size=12
)


@dataclass
class Cluster:
    """Each write is stamped at one replica and applied there at once; the others get it some time, in any order."""

    rng: random.Random
    replicas: list[Replica] = field(default_factory=lambda: [Replica(place) for place in PLACES])
    clocks: list[int] = field(default_factory=lambda: [0] * len(PLACES))
    on_their_way: list[list[Write]] = field(default_factory=lambda: [[] for _ in PLACES])
    made: list[Write] = field(default_factory=list)

    def issue(self, klass: int, place: int) -> None:
        """By a clock that is fast or slow, but above every stamp that it has seen."""
        number = len(self.made) + 1
        self.clocks[place] = max(
            self.clocks[place] + 1, self.replicas[place].known().stamp + 1, 10 * number + self.rng.randint(-25, 25)
        )
        made = write(number, klass, self.clocks[place], place + 1)
        self.made.append(made)
        self.replicas[place].deliver(made)
        for other, queue in enumerate(self.on_their_way):
            if other != place:
                queue.append(made)

    def step(self, place: int) -> None:
        """Something arrives at a replica, or it tries a copy."""
        queue, replica = self.on_their_way[place], self.replicas[place]
        if queue and self.rng.random() < 0.65:
            arrived = queue.pop(self.rng.randrange(len(queue)))
            self.clocks[place] = max(self.clocks[place], arrived.stamp)
            replica.deliver(arrived)
        elif replica.wants:
            attempt(replica, self.replicas, is_last=False)

    def run(self, rows: list[tuple[int, int]]) -> None:
        left = list(rows)
        while left or any(self.on_their_way):
            if left and self.rng.random() < 0.3:
                self.issue(*left.pop())
            else:
                self.step(self.rng.randrange(len(PLACES)))
        settle(self.replicas)


@given(sent, st.integers(0, 10**9))
@settings(max_examples=1000)
def test_replicas_end_up_equal_and_no_overwrite_is_lost(rows: list[tuple[int, int]], seed: int) -> None:
    cluster = Cluster(random.Random(seed))
    cluster.run(rows)
    values = [value_of(one.applied) for one in cluster.replicas]
    assert all(value == values[0] for value in values), values
    last = max((one.order for one in cluster.made if one.klass == OVERWRITE), default=None)
    for one in cluster.replicas:
        assert last is None or last in [applied.order for applied in one.applied], one.place
