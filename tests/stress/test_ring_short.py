"""Short forms of the stress scripts, so that `make test` runs them."""

import pytest

from tests.stress import ring_kill, ring_stress


@pytest.mark.parametrize(("records", "capacity_bytes"), [(100_000, 1 << 16), (20_000, 256), (20_000, 128)])
def test_two_processes_lose_and_change_nothing(records: int, capacity_bytes: int) -> None:
    assert ring_stress.run(records, capacity_bytes, body_max=100, seed=3) == 0


def test_a_producer_may_be_killed_at_any_moment() -> None:
    assert ring_kill.kill_producers(8, 1 << 22, seed=5) == 0


def test_a_consumer_may_be_killed_at_any_moment() -> None:
    assert ring_kill.kill_consumers(8, 1 << 16, seed=5) == 0
