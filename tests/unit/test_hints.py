"""Rules of hints: what may be sent again, what is kept, how fast it goes."""

import pytest

from dynomite_mp.cluster.hints import (
    DIRTY_TEXTS,
    Bounds,
    CopiedKeys,
    DirtyReason,
    HintKind,
    Pace,
    Replay,
    replay_action,
)


@pytest.mark.parametrize(
    ("kind", "is_repeatable", "stamp", "expected"),
    [
        (HintKind.MISSED, True, 5, Replay.RESEND),
        (HintKind.UNKNOWN, True, 5, Replay.RESEND),
        (HintKind.MISSED, True, 0, Replay.COPY),
        (HintKind.REFUSED, True, 5, Replay.COPY),
        (HintKind.MISSED, False, 5, Replay.COPY),
        (HintKind.UNKNOWN, False, 5, Replay.COPY),
    ],
)
def test_only_a_stamped_write_that_may_come_twice_is_sent_again(
    kind: HintKind, is_repeatable: bool, stamp: int, expected: Replay
) -> None:
    assert replay_action(kind, is_repeatable, stamp) is expected


def test_bounds_in_bytes_and_age() -> None:
    bounds = Bounds(100, 1000)
    assert bounds.has_room(90, 10)
    assert not bounds.has_room(90, 11)
    assert not bounds.is_too_old(5000, 6000)
    assert bounds.is_too_old(5000, 6001)
    assert not Bounds(100).is_too_old(0, 10**15)


def test_a_pace_grants_its_rate_and_no_more() -> None:
    pace = Pace(100, now_ms=0)
    assert pace.take(50, 0) == 10
    assert pace.take(50, 0) == 0
    assert 0 < pace.wait_ms() <= 11
    granted = sum(pace.take(50, now_ms) for now_ms in range(0, 1001, 10))
    assert 95 <= granted <= 101
    assert Pace(0, 0).take(10**6, 0) == 10**6
    assert Pace(0, 0).wait_ms() == 0


def test_every_reason_has_a_text() -> None:
    assert set(DIRTY_TEXTS) == set(DirtyReason)
    assert all(text for reason, text in DIRTY_TEXTS.items() if reason)


def test_a_copy_covers_what_was_missed_well_before_it_began() -> None:
    copied = CopiedKeys(settle_ms=100, most=2)
    copied.began([b"a", b"b"], 1000)
    assert copied.covers(b"a", 900)
    assert not copied.covers(b"a", 901)
    assert not copied.covers(b"c", 0)
    copied.began([b"a", b"c"], 2000)
    assert copied.covers(b"a", 1900)
    assert not copied.covers(b"b", 0)  # the oldest is forgotten
