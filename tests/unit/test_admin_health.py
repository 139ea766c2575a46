"""Alive, ready, and the state word."""

from dataclasses import replace

import pytest

from dynomite_mp.enums import NodeState, ProcessState, Role
from dynomite_mp.workers.health import live, node_state, ready
from dynomite_mp.workers.node_figures import NodeFigures, NodeIdentity, ProcessFigures

NOW_NS = 100_000_000_000
LATE_NS = NOW_NS - 11_000_000_000
SUPERVISOR = ProcessFigures(Role.SUPERVISOR, 0, 1, ProcessState.RUNNING, heartbeat_ns=NOW_NS)
IO = ProcessFigures(Role.IO, 0, 2, ProcessState.RUNNING, heartbeat_ns=NOW_NS, cells={"server_up": 1})


def node(*processes: ProcessFigures) -> NodeFigures:
    return NodeFigures(NodeIdentity(), processes)


def test_live_while_the_supervisor_shows_a_sign_of_life() -> None:
    assert live(node(SUPERVISOR), NOW_NS).good


def test_not_live_when_the_supervisor_is_silent_or_absent() -> None:
    silent = live(node(replace(SUPERVISOR, heartbeat_ns=LATE_NS)), NOW_NS)
    assert not silent.good
    assert silent.reasons == ("supervisor has not shown a sign of life for 11 s",)
    assert not live(node(IO), NOW_NS).good


def test_a_clock_read_before_the_heartbeat_is_no_silence() -> None:
    assert live(node(replace(SUPERVISOR, heartbeat_ns=NOW_NS + 5)), NOW_NS).good


def test_ready_with_one_running_io_worker_and_its_datastore() -> None:
    verdict = ready(node(SUPERVISOR, IO), NOW_NS)
    assert verdict.good
    assert not verdict.reasons


@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        (replace(IO, state=ProcessState.STARTING), "io[0] is starting"),
        (replace(IO, state=ProcessState.DRAINING), "io[0] is draining"),
        (replace(IO, heartbeat_ns=LATE_NS), "io[0] has not shown a sign of life for 11 s"),
        (replace(IO, cells={}), "io[0] has no datastore"),
    ],
)
def test_not_ready_says_why(worker: ProcessFigures, reason: str) -> None:
    verdict = ready(node(SUPERVISOR, worker), NOW_NS)
    assert not verdict.good
    assert verdict.reasons == (reason,)


def test_not_ready_without_any_io_worker() -> None:
    assert ready(node(SUPERVISOR), NOW_NS).reasons == ("no io worker runs",)


def test_one_of_two_io_workers_is_enough_and_the_other_is_named() -> None:
    verdict = ready(node(IO, replace(IO, index=1, state=ProcessState.BACKOFF)), NOW_NS)
    assert verdict.good
    assert verdict.reasons == ("io[1] is backoff",)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), NodeState.INIT),
        ((ProcessState.STARTING,), NodeState.JOINING),
        ((ProcessState.RUNNING, ProcessState.BACKOFF), NodeState.NORMAL),
        ((ProcessState.DRAINING,), NodeState.DOWN),
    ],
)
def test_state_of_the_node(states: tuple[ProcessState, ...], expected: NodeState) -> None:
    workers = [replace(IO, index=i, state=state) for i, state in enumerate(states)]
    assert node_state(node(SUPERVISOR, *workers)) is expected


def test_a_state_that_gossip_was_given_wins() -> None:
    gossip = ProcessFigures(Role.GOSSIP, 0, 3, ProcessState.RUNNING, cells={"node_state": NodeState.STANDBY})
    assert node_state(node(gossip, IO)) is NodeState.STANDBY
    assert node_state(node(replace(gossip, cells={"node_state": 99}), IO)) is NodeState.NORMAL
