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
from typing import Final

WINDOW_S: Final = 300.0
READING_EVERY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class HistogramFigures:
    """Counts by bucket. `bounds[i]` is the highest value that bucket i takes; `total` is the sum of the values."""

    bounds: tuple[int, ...]
    counts: tuple[int, ...]
    total: int

    @property
    def count(self) -> int:
        return sum(self.counts)

    def percentile(self, share: float) -> int:
        """The bound of the bucket that holds the value below which `share` of all values lie; 0 when empty.

        The upper bound: a percentile is never shown better than it was.
        """
        count = self.count
        if not count:
            return 0
        wanted = max(1, math.ceil(share * count))
        seen = 0
        for bound, here in zip(self.bounds, self.counts, strict=True):
            seen += here
            if seen >= wanted:
                return bound
        return self.bounds[-1]

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
        return HistogramFigures(self.bounds, counts, self.total - earlier.total)


def merged(histograms: Iterable[HistogramFigures], bounds: tuple[int, ...]) -> HistogramFigures:
    """The sum of histograms that share their bounds."""
    counts = [0] * len(bounds)
    total = 0
    for histogram in histograms:
        total += histogram.total
        for i, here in enumerate(histogram.counts):
            counts[i] += here
    return HistogramFigures(bounds, tuple(counts), total)


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
