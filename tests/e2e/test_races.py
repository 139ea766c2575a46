"""Writes of several clients through several nodes to the same keys: nothing is counted twice, the last one wins."""

from tests.accept import lost_03_races, lost_04_clocks


def test_counters_are_exact_and_nobody_gets_an_error() -> None:
    """That all replicas are equal in the end, too, is what the acceptance script measures."""
    outcome = lost_03_races.run(4000, kills=False, settle_s=0)
    assert outcome.errors == 0
    assert not outcome.wrong_counts


def test_the_last_write_wins_whatever_the_clocks_say() -> None:
    outcome = lost_04_clocks.run(400, 3000)
    assert (outcome.wrong_here, outcome.wrong_there) == (0, 0), outcome.examples
    assert not outcome.examples
