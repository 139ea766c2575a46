"""The slow, clear twin of cluster/write_table.pyx: it forgets nothing and looks at the whole history of a key.

Also what writes mean: the value of a key after writes in a given order, for the law that replicas end up equal.
"""

from collections import defaultdict
from dataclasses import dataclass, field

OVERWRITE, COMMUTE, ORDERED = 1, 2, 3
APPLY, APPLY_AND_COPY, STALE, DUPLICATE, SKIP_AND_COPY = range(5)
COPIES = (APPLY_AND_COPY, SKIP_AND_COPY)


@dataclass(frozen=True)
class Write:
    key: bytes
    klass: int
    family: int  # of COMMUTE
    stamp: int
    origin: int
    sequence: int

    @property
    def order(self) -> tuple[int, int]:
        return self.stamp, self.origin

    @property
    def id(self) -> tuple[int, int, int, int]:
        return self.origin, 1, 0, self.sequence


@dataclass
class TableModel:
    applied: dict[bytes, list[Write]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # newest overwrite that only a copy will bring
    lacking: set[bytes] = field(default_factory=set)  # keys to which only a copy brings it

    def note(self, write: Write) -> int:
        verdict = self._verdict(write)
        if verdict in (APPLY, APPLY_AND_COPY):
            self.applied[write.key].append(write)
        if verdict == SKIP_AND_COPY:
            self.skipped[write.key] = write.order
            self.lacking.add(write.key)
        elif write.klass == OVERWRITE and verdict == APPLY:
            self.lacking.discard(write.key)
        return verdict

    def _verdict(self, write: Write) -> int:
        before = self.applied[write.key]
        overwrites = [one for one in before if one.klass == OVERWRITE]
        newest_overwrite = max((one.order for one in overwrites), default=(0, 0))
        known_overwrite = max(newest_overwrite, self.skipped.get(write.key, (0, 0)))
        newest = max((one.order for one in before), default=(0, 0))
        if write.klass == OVERWRITE and write.order >= newest:
            return APPLY
        if write.order < known_overwrite:
            return STALE
        if write.klass == OVERWRITE:
            is_settled = write.order == known_overwrite and write.key not in self.lacking
            return DUPLICATE if is_settled else SKIP_AND_COPY
        if write.order >= newest:
            return APPLY
        since = [one for one in before if one.klass != OVERWRITE and one.order >= newest_overwrite]
        commutes = write.klass == COMMUTE and all((one.klass, one.family) == (COMMUTE, write.family) for one in since)
        return APPLY if commutes else APPLY_AND_COPY


def value_of(writes: list[Write]) -> object:
    """Of a key after these writes in this order: commuting ones are counted, others keep their order."""
    value: list[object] = []
    counts: dict[int, int] = defaultdict(int)
    for write in writes:
        if write.klass == OVERWRITE:
            value, counts = [write.order], defaultdict(int)
        elif write.klass == ORDERED:
            value = [*value, tuple(sorted(counts.items())), write.order]
        else:
            counts[write.family] += 1
    return value, sorted(counts.items())
