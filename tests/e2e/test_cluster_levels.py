"""What the levels answer, against the oracle of the acceptance script; and counters through all nodes at once."""

import pytest

from tests.accept.cluster_04_levels import TWO_DATACENTERS, concurrent_increments, of_racks


@pytest.mark.parametrize("racks", [2, 3])
def test_every_combination_of_replicas(racks: int) -> None:
    """All there, datastores that do not answer, racks that are gone."""
    for line, problems in of_racks(racks):
        assert not problems, line


def test_concurrent_increments_give_the_sum_and_no_error() -> None:
    line, problems = concurrent_increments(10)
    assert not problems, line


def test_increments_at_each_datacenter_are_applied_once_by_every_replica() -> None:
    line, problems = concurrent_increments(10, "DC_EACH_SAFE_QUORUM", TWO_DATACENTERS)
    assert not problems, line
