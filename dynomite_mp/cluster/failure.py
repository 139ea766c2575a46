"""When silence means failure: the numbers and rules of failure detection, without members, packets or a clock.

Picture a room where everybody now and then asks one other "are you there?". Who gets no answer asks three others to
ask; if they get none either, he says aloud "I suspect she left". The suspect may protest. Each further person who
independently suspects her shortens the time she has to do so; when it is over she counts as gone. And whoever notices
that *he* was dozing, because his own alarm clock rang late or because people protest against him, doubts himself first
and waits longer before he accuses anyone.

That is SWIM with the Lifeguard extensions (suspicion shortened by confirmations, local health). Rejected: heartbeats to
all (traffic grows with the square of the nodes) and phi-accrual (no defence against a busy observer).

Not here: who is a member (membership.py), what travels (membership_packets.py).

Invariants: a suspicion's deadline only moves earlier by confirmations and later by the observer's own lateness;
no deadline is ever missed because the observer itself slept through it.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """Every period and limit of membership. The defaults find a dead node of a LAN in two to three seconds."""

    probe_interval_ms: int = 200
    """One other member is probed per interval. Lower: faster detection, more packets (two per interval and node)."""
    answer_ms: int = 300
    """Longest wait for a direct answer; asked again after half of it. A far node gets three round trips more."""
    unmeasured_far_answer_ms: int = 900
    """The same for a node of another datacenter whose round trip was never measured."""
    relay_ms: int = 300
    """Longest wait for the answers of relays, after the direct wait."""
    relays: int = 3
    """Members asked to probe a silent one. More: fewer wrong suspicions under loss, more packets for each silence."""
    suspicion_min_ms: int = 800
    """Time to protest once enough others confirm; grows slowly with the number of members. Must exceed the time a
    rumour needs to reach the suspect and back."""
    suspicion_max_factor: int = 3
    """Times the minimum: time to protest while nobody confirms."""
    confirmations: int = 3
    """Independent confirmations that bring the time down to the minimum."""
    gossip_interval_ms: int = 100
    """While there is news: how often it is sent to a few members chosen at random."""
    gossip_fanout: int = 3
    retransmit_factor: int = 4
    """Each piece of news leaves a node this many times the decimal logarithm of the number of members, rounded up."""
    exchange_interval_ms: int = 30_000
    """Whole states are compared with one random member this often, news or not."""
    mismatch_exchange_ms: int = 1_000
    """The same, at most this often, while packets show that another member's view differs."""
    settle_ms: int = 400
    """Views that changed this recently are expected to differ: rumours are still under way."""
    reconnect_interval_ms: int = 1_000
    """One member that is down, or a seed that never answered, is asked this often; ends partitions."""
    join_retry_ms: int = 300
    join_alone_ms: int = 1_500
    """A starting node that no seed answered this long announces itself: it may be the first one."""
    left_keep_ms: int = 24 * 3600 * 1000
    """How long it is remembered that a node left for good, so that old news cannot bring it back."""
    late_ms: int = 100
    """A wake-up later than this makes the observer doubt itself and moves all its deadlines by as much."""
    health_max: int = 8
    """Highest self-doubt; all waits are multiplied by one more than it."""
    hints_interval_ms: int = 2_000
    """A changed number of pending hints is announced at most this often (to or from none: at once)."""


LAN = Timings()


def suspicion_min_ms(timings: Timings, members: int) -> int:
    """Shortest time to protest in a cluster of so many members: rumours need more rounds in a larger one."""
    return round(timings.suspicion_min_ms * (1 + 0.25 * math.log10(max(members, 10) / 10)))


def suspicion_timeout_ms(confirmed: int, needed: int, min_ms: int, max_ms: int) -> int:
    """Time to protest after `confirmed` independent confirmations: max at none, min at `needed`, most of the way
    down with the first."""
    if needed <= 0 or confirmed >= needed:
        return min_ms
    share = math.log(confirmed + 1) / math.log(needed + 1)
    return max(min_ms, round(max_ms - share * (max_ms - min_ms)))


def retransmissions(timings: Timings, members: int) -> int:
    """How often one node sends one piece of news."""
    return timings.retransmit_factor * math.ceil(math.log10(members + 1)) if members else 0


class Suspicion:
    """One suspected member: since when, who agrees, until when it may protest."""

    __slots__ = ("confirmers", "deadline_ms", "max_ms", "min_ms", "needed", "started_ms")

    def __init__(self, timings: Timings, now_ms: int, members: int, by: int) -> None:
        """`members` are all the living, this node and the suspect included; `by` began it and confirms nothing."""
        self.started_ms = now_ms
        self.min_ms = suspicion_min_ms(timings, members)
        self.max_ms = self.min_ms * timings.suspicion_max_factor
        # Neither the first accuser nor the suspect can confirm.
        self.needed = max(0, min(timings.confirmations, members - 2))
        self.confirmers = {by}
        self.deadline_ms = now_ms + suspicion_timeout_ms(0, self.needed, self.min_ms, self.max_ms)

    def is_settled(self, by: int) -> bool:
        """Whether one more accusation, by him, changes nothing."""
        return by in self.confirmers or len(self.confirmers) > self.needed

    def confirm(self, by: int) -> bool:
        """Another accuser; True when that is news worth telling."""
        if self.is_settled(by):
            return False
        self.confirmers.add(by)
        timeout_ms = suspicion_timeout_ms(len(self.confirmers) - 1, self.needed, self.min_ms, self.max_ms)
        self.deadline_ms = min(self.deadline_ms, self.started_ms + timeout_ms)
        return True

    def shift(self, late_ms: int) -> None:
        """The observer slept: the suspect loses none of its time."""
        self.started_ms += late_ms
        self.deadline_ms += late_ms


class LocalHealth:
    """How much this node doubts itself: 0 is healthy. All its waits for others are multiplied by score + 1."""

    __slots__ = ("limit", "score")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.score = 0

    def adjust(self, by: int) -> None:
        self.score = min(self.limit, max(0, self.score + by))

    def scale(self, wait_ms: int) -> int:
        return wait_ms * (self.score + 1)


class RoundTrip:
    """Smoothed round trip time to one member; 0 while unmeasured."""

    __slots__ = ("smoothed_ms",)

    def __init__(self) -> None:
        self.smoothed_ms = 0.0

    def measured(self, round_trip_ms: int) -> None:
        sample_ms = max(round_trip_ms, 1)
        self.smoothed_ms = sample_ms if not self.smoothed_ms else self.smoothed_ms * 0.8 + sample_ms * 0.2

    def answer_ms(self, timings: Timings, *, same_dc: bool) -> int:
        """How long to wait for this member's answer."""
        if not self.smoothed_ms:
            return timings.answer_ms if same_dc else timings.unmeasured_far_answer_ms
        return timings.answer_ms + round(3 * self.smoothed_ms)
