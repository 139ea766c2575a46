"""What becomes of a write that a replica missed: the rules of hints, without files, connections or a clock.

A hint is a record of a write that one replica missed, or may have missed. It lies in the log of that replica's lane
until the replica has it. This module says how a record is brought there, when a lane gives up keeping every record
(then it is DIRTY, and a comparison mends it), and up to where a lane is acknowledged while answers come in any order.

    record --replay_action--> RESEND: the write itself, with its stamp; a replica that has it, or a newer one, skips it
                          \\-> COPY:   its keys are fetched by the replica from another one, once a key

Not here: the log (workers.hint_log), sending (workers.hint_lanes), comparing (cluster.repair).

Invariants: only what may be done twice is re-sent; the acknowledged position never passes a record that is not
acknowledged; a lane that lost a record is DIRTY.
"""

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

CLASS_OVERWRITE = "overwrite"


class HintKind(IntEnum):
    """What is known of the write at the replica."""

    MISSED = 0
    """It was certainly not executed there."""
    UNKNOWN = 1
    """It was sent, and nobody can say."""
    REFUSED = 2
    """The replica answered an error where another one succeeded."""


class Replay(IntEnum):
    RESEND = 0
    COPY = 1


class DirtyReason(IntEnum):
    """Why a lane does not hold every record. 0 is none: it does."""

    NONE = 0
    FULL = 1
    OLD = 2
    DISK = 3
    DAMAGED = 4
    UNSENDABLE = 5
    OVERFLOW = 6


DIRTY_TEXTS: dict[DirtyReason, str] = {
    DirtyReason.NONE: "",
    DirtyReason.FULL: "more than hint_log_bytes_max waited",
    DirtyReason.OLD: "records waited longer than hint_age_ms_max",
    DirtyReason.DISK: "the log could not be written",
    DirtyReason.DAMAGED: "the log was damaged",
    DirtyReason.UNSENDABLE: "writes that must not be sent twice were lost on the way",
    DirtyReason.OVERFLOW: "the ring to the replication process overflowed",
}


def replay_action(kind: int, conflict_class: str, stamp: int) -> Replay:
    """Only an overwrite with a stamp is safe to send again: an older one than what is there is skipped.

    What a replica refused it would refuse again, or it lacks what the others had: its keys are copied.
    """
    if conflict_class == CLASS_OVERWRITE and stamp and kind != HintKind.REFUSED:
        return Replay.RESEND
    return Replay.COPY


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a lane keeps. 0 bytes keeps nothing; an age of 0 has no limit."""

    bytes_max: int
    age_ms_max: int = 0

    def has_room(self, pending_bytes: int, size_bytes: int) -> bool:
        return pending_bytes + size_bytes <= self.bytes_max

    def is_too_old(self, at_ms: int, now_ms: int) -> bool:
        return self.age_ms_max > 0 and now_ms - at_ms > self.age_ms_max


class Pace:
    """At most `rate` records a second, with a burst of a tenth of it; a rate of 0 has no limit."""

    __slots__ = ("_credit", "_last_ms", "_rate")

    def __init__(self, rate: int, now_ms: int) -> None:
        self._rate = rate
        self._credit = self._burst
        self._last_ms = now_ms

    @property
    def _burst(self) -> float:
        return max(1.0, self._rate / 10)

    def take(self, wanted: int, now_ms: int) -> int:
        """How many of `wanted` records may go now."""
        if self._rate == 0:
            return wanted
        self._credit = min(self._burst, self._credit + max(0, now_ms - self._last_ms) * self._rate / 1000)
        self._last_ms = now_ms
        granted = min(wanted, int(self._credit))
        self._credit -= granted
        return granted

    def wait_ms(self) -> int:
        """Until one more may go."""
        if self._rate == 0 or self._credit >= 1:
            return 0
        return int((1 - self._credit) * 1000 / self._rate) + 1


class AckedPrefix:
    """Records that are under way, in the order of the log, acknowledged in any order.

        start       end         start       end
        | done      | done      | under way | done      |
        ^ before    ^ moved on to here once the first two are done
    """

    __slots__ = ("_ahead", "_order", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        self._order: deque[tuple[int, int]] = deque()
        self._ahead: set[int] = set()

    def __len__(self) -> int:
        return len(self._order)

    def sent(self, start: int, end: int) -> None:
        """A record is under way; records come in the order of the log. What lies between them is skipped."""
        assert end > start and start >= (self._order[-1][1] if self._order else self.position)
        self._order.append((start, end))

    def done(self, start: int) -> int:
        """A record is acknowledged; how many records this lets the position pass."""
        self._ahead.add(start)
        passed = 0
        while self._order and self._order[0][0] in self._ahead:
            first, end = self._order.popleft()
            self._ahead.discard(first)
            self.position = end
            passed += 1
        return passed
