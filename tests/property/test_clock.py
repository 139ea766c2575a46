"""The hybrid logical clock: stamps rise whatever the machine's clock does, and slower nodes follow faster ones."""

import hypothesis.strategies as st
from hypothesis import given

from dynomite_mp.cluster.clock import HybridClock

MS = 1_000_000
NOW_NS = 1_700_000_000_000 * MS
times = st.integers(NOW_NS - 10_000 * MS, NOW_NS + 10_000 * MS)


def stamp(ns: int) -> int:
    """By definition: whole milliseconds above 16 bits, what is left of the time in them."""
    return (ns // MS << 16) + (ns % MS << 16) // MS


@given(times)
def test_a_stamp_is_the_time(ns: int) -> None:
    assert HybridClock(5000).now_at(ns) == stamp(ns)
    assert HybridClock(5000, -3000).now_at(ns) == stamp(ns - 3000 * MS)


@given(st.lists(st.tuples(times, times, st.booleans()), max_size=40))
def test_stamps_rise_whatever_is_seen(steps: list[tuple[int, int, bool]]) -> None:
    clock = HybridClock(5000)
    last = 0
    for own, other, follows in steps:
        if follows and clock.follow_at(stamp(other), own):
            last = max(last, stamp(other))
        fresh = clock.now_at(own)
        assert fresh > last
        last = fresh


@given(times, st.integers(-5000, 5000))
def test_a_slower_clock_goes_on_as_the_faster_one(ns: int, ahead_ms: int) -> None:
    clock = HybridClock(5000)
    assert clock.follow_at(stamp(ns + ahead_ms * MS), ns)
    assert clock.ahead_ms == max(ahead_ms, 0)
    later = ns + 777 * MS
    assert clock.now_at(later) == max(stamp(later), stamp(later + ahead_ms * MS))


@given(times, st.integers(5001, 10**9))
def test_a_clock_too_far_ahead_is_reported_and_not_followed_all_the_way(ns: int, ahead_ms: int) -> None:
    clock = HybridClock(5000)
    assert not clock.follow_at(stamp(ns + ahead_ms * MS), ns)
    assert clock.ahead_ms == 5000
    assert clock.now_at(ns) <= stamp(ns + 5000 * MS) + 1
