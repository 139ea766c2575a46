"""Writes of several clients through several nodes to the same keys: replicas end up equal, the last one wins."""

from tests.accept import lost_03_races, lost_04_clocks


def test_replicas_end_up_equal_and_counters_exact() -> None:
    outcome = lost_03_races.run(6000, kills=False)
    assert outcome.errors == 0
    assert not outcome.details()
    assert outcome.figures["skipped_writes"] > 0  # writes did cross


def test_the_last_write_wins_whatever_the_clocks_say() -> None:
    outcome = lost_04_clocks.run(400, 3000)
    assert (outcome.wrong_here, outcome.wrong_there) == (0, 0), outcome.examples
    assert not outcome.examples
