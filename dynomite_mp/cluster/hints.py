"""What becomes of a write that a replica missed: the rules of hints, without files, connections or a clock.

A hint is a record of a write that one replica missed, or may have missed. It lies in the log of that replica's lane
until the replica has it. This module says how a record is brought there, when a lane gives up keeping every record
(then it is DIRTY, and a comparison mends it), and up to where a lane is acknowledged while answers come in any order.

    record --replay_action--> RESEND: the write itself, with its stamp; a replica that has it, or a newer one, skips it
                          \\-> COPY:   its keys are fetched by the replica from another one, once a key

Not here: the log (workers.hint_log), sending (workers.hint_lanes), comparing (cluster.repair).

Invariants: only what may be done twice is re-sent; a lane that lost a record is DIRTY.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


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


def replay_action(kind: int, is_repeatable: bool, stamp: int) -> Replay:
    """A stamped write is safe to send again: an older overwrite than what is there is skipped, and so is any other
    write whose id the replica has seen; one that it cannot remember makes it copy the key. Copies alone would not do
    where both sides of a cut have taken increments: neither side's value holds the other's.

    What a replica refused it would refuse again, or it lacks what the others had: its keys are copied. So are those of
    commands whose effect depends on where they run.
    """
    if is_repeatable and stamp and kind != HintKind.REFUSED:
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


class CopiedKeys:
    """Keys of a lane and when their last copy began: a record older than that, by a margin, is in the copy.

    The margin is for the other replicas: a write is known to be missed here before they all have it.
    """

    __slots__ = ("_began_ms", "_most", "_settle_ms")

    def __init__(self, settle_ms: int, most: int = 100_000) -> None:
        self._settle_ms = settle_ms
        self._most = most
        self._began_ms: dict[bytes, int] = {}

    def covers(self, key: bytes, at_ms: int) -> bool:
        return at_ms + self._settle_ms <= self._began_ms.get(key, -1)

    def began(self, keys: Iterable[bytes], now_ms: int) -> None:
        for key in keys:
            self._began_ms.pop(key, None)
            self._began_ms[key] = now_ms
        while len(self._began_ms) > self._most:
            del self._began_ms[next(iter(self._began_ms))]
