"""Histograms of the last minutes, out of histograms that only ever count up.

The writers count from the start of the node on; a worker that comes back goes on where its predecessor was. What
`/info` shows is the last minutes, and `/historeset` forgets even those; so the reader keeps earlier readings and
subtracts:

    readings, oldest first:   r0     r1     r2     r3     now
                              |------ window_s -----------|      shown = now - r0
    /historeset: forget all of them and begin with now

Pure: the time and the readings are passed in.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Final

from dynomite_mp.ipc.slab import HistogramValues

WINDOW_S: Final = 300.0
READING_EVERY_S: Final = 30.0

Readings = Mapping[str, HistogramValues]


def since(now: HistogramValues, earlier: HistogramValues | None) -> HistogramValues:
    """What was added between two readings. The greatest value stays that of all time: it bounds what is shown."""
    if earlier is None:
        return now
    # A reading is not made at one moment; what looks as if it went back has not moved.
    buckets = tuple(max(0, late - early) for late, early in zip(now.buckets, earlier.buckets, strict=True))
    return HistogramValues(buckets, max(0, now.sum - earlier.sum), now.max)


class HistogramWindow:
    """Keeps readings by name of the histogram."""

    def __init__(self, window_s: float = WINDOW_S, reading_every_s: float = READING_EVERY_S) -> None:
        self._window_s = window_s
        self._reading_every_s = reading_every_s
        # Until the first reading is old enough, what is shown is everything.
        self._earlier: deque[tuple[float, Readings]] = deque([(-math.inf, {})])

    def wants(self, now_s: float) -> bool:
        """Whether it is time for another reading."""
        return now_s - self._earlier[-1][0] >= self._reading_every_s

    def take(self, now_s: float, readings: Readings) -> None:
        if self.wants(now_s):
            self._earlier.append((now_s, dict(readings)))
        while len(self._earlier) > 1 and now_s - self._earlier[1][0] >= self._window_s:
            self._earlier.popleft()

    def shown(self, readings: Readings) -> dict[str, HistogramValues]:
        """The readings less what they were when the window began."""
        began = self._earlier[0][1]
        return {name: since(values, began.get(name)) for name, values in readings.items()}

    def forget(self, now_s: float, readings: Readings) -> None:
        self._earlier.clear()
        self._earlier.append((now_s, dict(readings)))
