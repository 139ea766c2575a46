"""A node, or its datastore, that is killed or stopped: the clients of another node of its rack notice nothing."""

from collections.abc import Iterator

import pytest

from tests.accept.cluster_03_failover import FAULTS, Fault, Stage, run, running_stage


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Deadlines of a second, so that a client that were kept waiting for a stopped node would get an error."""
    with running_stage(timeout=1000) as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_clients_notice_nothing(stage: Stage, fault: Fault) -> None:
    report = run(stage, fault, rate_per_s=600, outage_s=2.0, warm_s=0.5, after_s=0.7)
    stage.cluster.wait_connected()
    assert report.result.acknowledged > 500
    assert not report.details()
