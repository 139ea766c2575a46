"""The numbers of failure detection."""

import pytest

from dynomite_mp.cluster.failure import (
    LAN,
    LocalHealth,
    RoundTrip,
    Suspicion,
    retransmissions,
    suspicion_min_ms,
    suspicion_timeout_ms,
)


@pytest.mark.parametrize(
    ("confirmed", "needed", "expected"),
    [(0, 3, 2400), (1, 3, 1600), (2, 3, 1132), (3, 3, 800), (4, 3, 800), (0, 0, 800), (0, 1, 2400), (1, 1, 800)],
)
def test_confirmations_shorten_a_suspicion(confirmed, needed, expected):
    assert suspicion_timeout_ms(confirmed, needed, 800, 2400) == expected


@pytest.mark.parametrize(("members", "expected"), [(2, 800), (10, 800), (100, 1000), (1000, 1200)])
def test_larger_clusters_give_more_time(members, expected):
    assert suspicion_min_ms(LAN, members) == expected


@pytest.mark.parametrize(("members", "expected"), [(0, 0), (1, 4), (9, 4), (10, 8), (99, 8), (100, 12)])
def test_news_is_told_a_number_of_times_that_grows_slowly(members, expected):
    assert retransmissions(LAN, members) == expected


def test_only_different_accusers_confirm():
    suspicion = Suspicion(LAN, 1000, members=10, by=7)
    assert suspicion.deadline_ms == 1000 + 2400
    assert not suspicion.confirm(7)
    assert suspicion.confirm(8)
    assert suspicion.deadline_ms == 1000 + 1600
    assert not suspicion.confirm(8)
    assert suspicion.confirm(9)
    assert suspicion.confirm(10)
    assert suspicion.deadline_ms == 1000 + 800
    assert not suspicion.confirm(11)  # enough


@pytest.mark.parametrize(("members", "needed"), [(2, 0), (3, 1), (4, 2), (5, 3), (50, 3)])
def test_a_small_cluster_cannot_confirm_more_than_it_has(members, needed):
    assert Suspicion(LAN, 0, members, by=1).needed == needed


def test_lateness_of_the_observer_is_given_to_the_suspect():
    suspicion = Suspicion(LAN, 1000, members=2, by=7)
    suspicion.shift(5000)
    assert (suspicion.started_ms, suspicion.deadline_ms) == (6000, 6800)


def test_local_health_stays_in_its_bounds():
    health = LocalHealth(3)
    health.adjust(-1)
    assert health.scale(100) == 100
    health.adjust(2)
    assert health.scale(100) == 300
    health.adjust(5)
    assert health.score == 3


def test_the_wait_follows_the_measured_round_trip():
    round_trip = RoundTrip()
    assert round_trip.answer_ms(LAN, same_dc=True) == LAN.answer_ms
    assert round_trip.answer_ms(LAN, same_dc=False) == LAN.unmeasured_far_answer_ms
    round_trip.measured(100)
    assert round_trip.answer_ms(LAN, same_dc=False) == LAN.answer_ms + 300
    for _ in range(50):
        round_trip.measured(0)
    assert round_trip.answer_ms(LAN, same_dc=True) == LAN.answer_ms + 3


def test_the_time_constants_fit_together():
    # A NACK is back before the asker gives up, and a protest can go round twice before a suspect is called down.
    assert LAN.relay_ms * 2 // 3 < LAN.relay_ms
    assert LAN.suspicion_min_ms >= 2 * LAN.gossip_interval_ms * 3 + LAN.probe_interval_ms
    # Detection: one interval, direct and relayed answers, the longest suspicion of a cluster in which all confirm.
    assert LAN.probe_interval_ms + LAN.answer_ms + LAN.relay_ms + LAN.suspicion_min_ms < 3000
