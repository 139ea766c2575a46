"""When an io worker looks at its deadlines and its memory: one timer of the kernel, quick while anything is in flight.

    IoPath --schedule_tick--> start_ticking()        every 10 ms: IoPath.tick(), until it says that nothing is in flight
                              Timer -- _on_expiry()
                                                     every 100 ms, or idle_ms when nothing is: on_pressure()

What it is not: it knows no deadline and no budget.
"""

import time
from collections.abc import Callable
from typing import Final

from dynomite_mp.workers.conn import Timer
from dynomite_mp.workers.io_path import IoPath

TICK_MS: Final = 10
PRESSURE_MS: Final = 100


class IoTimer:
    """Stopped until start(); closed with the connections of the path."""

    def __init__(self, path: IoPath, on_pressure: Callable[[], None], idle_ms: int) -> None:
        self._path = path
        self._idle_ms = idle_ms
        self._on_pressure = on_pressure
        self._timer = Timer(path, self._on_expiry)
        self._period_ms = 0
        self._is_ticking = False
        self._next_pressure_s = 0.0

    def start(self) -> None:
        """`on_pressure` is called from now on."""
        self._set(TICK_MS if self._is_ticking else self._idle_ms)

    def start_ticking(self) -> None:
        """Something is in flight."""
        self._is_ticking = True
        self._set(TICK_MS)

    def _set(self, period_ms: int) -> None:
        if period_ms != self._period_ms:
            self._period_ms = period_ms
            self._timer.every(period_ms)

    def _on_expiry(self) -> None:
        if self._is_ticking:
            self._is_ticking = self._path.tick()
        now_s = time.monotonic()
        if now_s >= self._next_pressure_s:
            self._next_pressure_s = now_s + (PRESSURE_MS - TICK_MS / 2) / 1000  # expirations are late, never early
            self._on_pressure()
            if not self._is_ticking:
                self._set(self._idle_ms)
