"""Short forms of the acceptance scripts about lost writes."""

import pytest

from tests.accept import lost_01_node, lost_06_remote_dc, lost_09_hint_log
from tests.accept.one_node import Findings

SHORT = ("killed", "killed, replication process of the coordinator killed meanwhile")


@pytest.mark.parametrize("outage", [one for one in lost_01_node.OUTAGES if one.name in SHORT], ids=lambda one: one.name)
def test_a_replica_that_was_away_has_everything_when_it_is_back(outage: lost_01_node.Outage) -> None:
    with lost_01_node.running_stage() as stage:
        report = lost_01_node.run(stage, outage, 400.0, 1.5, warm_s=0.3)
    assert report.acknowledged > 400
    assert not report.problems
    assert not report.errors, report.table


def test_a_datacenter_gets_what_it_missed() -> None:
    findings = Findings()
    with lost_01_node.running_stage(lost_06_remote_dc.LAYOUT) as stage:
        lost_06_remote_dc.fan_out_killed(stage.cluster, findings, 300.0, 1.0)
    assert findings.code == 0


def test_a_full_log_is_said_and_stops_no_client() -> None:
    findings = Findings()
    lost_09_hint_log.past_the_bound(findings, 600)
    assert findings.code == 0
