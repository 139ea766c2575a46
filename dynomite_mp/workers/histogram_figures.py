"""Histograms as read from shared memory: adding them up, taking a window out of them, asking for percentiles.

The writers only ever count up, from their boot on. What `/info` shows is the last minutes, and `/historeset` forgets
even those; so the reader keeps earlier readings and subtracts:

    readings, oldest first:   r0     r1     r2     r3     now
                              |------ window_s -----------|      shown = now - r0
    /historeset: forget all of them and start with now

A worker that died and came back counts from zero again. Then the difference of some bucket is negative, and the new
counts alone are what happened since.
"""

import math
from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from dynomite_mp.ipc.layout import HISTOGRAM_BUCKETS, histogram_bucket_bounds

NO_COUNTS: Final = (0,) * HISTOGRAM_BUCKETS
BUCKET_ENDS: Final = tuple(histogram_bucket_bounds(bucket)[1] for bucket in range(HISTOGRAM_BUCKETS))
"""The lowest value that a bucket does not take any more."""

WINDOW_S: Final = 300.0
READING_EVERY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class HistogramFigures:
    """Counts by bucket. `total` is the sum of the values, `highest` the greatest of them since boot."""

    counts: tuple[int, ...] = NO_COUNTS
    total: int = 0
    highest: int = 0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def percentile(self, share: float) -> int:
        """The greatest value of the bucket in which `share` of all values are reached; 0 when there are none.

        Never better than it was, by at most an eighth worse, and never above the greatest value seen.
        """
        count = self.count
        if not count:
            return 0
        wanted = max(1, math.ceil(share * count))
        reached = next(i for i, so_far in enumerate(accumulate(self.counts)) if so_far >= wanted)
        return min(BUCKET_ENDS[reached] - 1, self.highest)

    def below(self, bucket: int) -> int:
        """How many values lie in the buckets before this one."""
        return sum(self.counts[:bucket])

    @property
    def maximum(self) -> int:
        return self.percentile(1.0)

    @property
    def mean(self) -> int:
        """Rounded up, as the C server has it."""
        count = self.count
        return -(-self.total // count) if count else 0

    def since(self, earlier: "HistogramFigures | None") -> "HistogramFigures":
        if earlier is None:
            return self
        counts = tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True))
        if min(counts, default=0) < 0 or self.total < earlier.total:
            return self
        return HistogramFigures(counts, self.total - earlier.total, self.highest)


def merged(histograms: Iterable[HistogramFigures]) -> HistogramFigures:
    parts = tuple(histograms)
    if not parts:
        return HistogramFigures()
    return HistogramFigures(
        tuple(map(sum, zip(*(part.counts for part in parts), strict=True))),
        sum(part.total for part in parts),
        max(part.highest for part in parts),
    )


Readings = Mapping[Hashable, HistogramFigures]


class HistogramWindow:
    """Turns counts since boot into counts of the last minutes. Keys tell one process's boot from the next."""

    def __init__(self, window_s: float = WINDOW_S, reading_every_s: float = READING_EVERY_S) -> None:
        self._window_s = window_s
        self._reading_every_s = reading_every_s
        # Until the first reading is old enough, what is shown is everything since boot.
        self._earlier: deque[tuple[float, Readings]] = deque([(-math.inf, {})])

    def take(self, now_s: float, readings: Readings) -> None:
        """Keeps a reading when the last one is old enough. Any caller may offer as often as it likes."""
        if now_s - self._earlier[-1][0] >= self._reading_every_s:
            self._earlier.append((now_s, dict(readings)))
        while len(self._earlier) > 1 and now_s - self._earlier[1][0] >= self._window_s:
            self._earlier.popleft()

    def shown(self, readings: Readings) -> dict[Hashable, HistogramFigures]:
        """The readings less what they were when the window began."""
        began = self._earlier[0][1]
        return {key: histogram.since(began.get(key)) for key, histogram in readings.items()}

    def forget(self, now_s: float, readings: Readings) -> None:
        self._earlier.clear()
        self._earlier.append((now_s, dict(readings)))
