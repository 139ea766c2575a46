"""The rules of supervision, without a process: who is started, aborted, killed or given up, and how all leave."""

import pytest

from dynomite_mp import restart_policy as policy
from dynomite_mp.enums import ExitCode, ProcessState, Role
from dynomite_mp.restart_policy import Abort, Child, Drain, Exit, GiveUp, Kill, Leave, Limits, Shutdown, Start, StopNode

CRASH = Exit(signal=11)
BOOT_FAILED = Exit(code=ExitCode.BOOT_FAILED)


def running(role: Role = Role.IO, index: int = 0, *, now_ms: int = 0, pid: int = 100, **limits: int) -> Child:
    child = Child(role, index, limits=Limits(**limits))
    policy.started(child, pid, now_ms)
    policy.ready(child)
    return child


def node(now_ms: int = 0) -> list[Child]:
    roles = [Role.IO, Role.GOSSIP, Role.REPLICATION, Role.ADMIN, Role.DATASTORE]
    children = [running(role, now_ms=now_ms, pid=100 + n) for n, role in enumerate(roles)]
    for child in children:
        child.limits = policy.LIMITS[child.role]
    return children


def test_everything_that_is_stopped_is_started_in_the_given_order():
    children = [Child(Role.IO, 0), Child(Role.IO, 1), Child(Role.GOSSIP)]
    assert policy.decide(children, 0) == [Start(child) for child in children]
    for child in children:
        policy.started(child, 7, 0)
    assert policy.decide(children, 1) == []


def test_the_first_restart_is_immediate_and_the_delay_doubles_up_to_the_cap():
    limits = Limits(backoff_first_ms=250, backoff_cap_ms=1000)
    assert [policy.backoff_ms(limits, n) for n in (1, 2, 3, 4, 5, 99, 10_000)] == [0, 250, 500, 1000, 1000, 1000, 1000]


def test_a_crashed_worker_is_started_again_at_once():
    child = running()
    assert policy.exited(child, CRASH, 50) is None
    assert child.state is ProcessState.BACKOFF and child.pid == 0 and child.last_exit == "killed by signal 11"
    assert policy.decide([child], 50) == [Start(child)]
    policy.started(child, 101, 50)
    assert child.restarts == 1


def test_the_second_crash_waits():
    child = running()
    policy.exited(child, CRASH, 0)
    policy.started(child, 101, 0)
    policy.exited(child, CRASH, 10)
    assert policy.decide([child], 10) == []
    assert policy.next_at_ms([child], 10) == 260
    assert policy.decide([child], 259) == []
    assert policy.decide([child], 260) == [Start(child)]


def test_a_crash_loop_ends_in_giving_up_and_nothing_starts_it_again_but_revive():
    child = running(crash_limit=3)
    for now_ms in (0, 10):
        assert policy.exited(child, CRASH, now_ms) is None
        policy.started(child, 101, now_ms)
    assert policy.exited(child, CRASH, 20) == GiveUp(child)
    assert child.state is ProcessState.FAILED
    assert policy.decide([child], 10_000_000) == []
    policy.revive(child)
    assert policy.decide([child], 10_000_001) == [Start(child)]


def test_crashes_older_than_the_window_are_forgotten():
    child = running(crash_limit=3, crash_window_ms=1000)
    for now_ms in (0, 1000, 2000, 3000, 4000):
        assert policy.exited(child, CRASH, now_ms) is None
        assert child.retry_at_ms == now_ms
        policy.started(child, 101, now_ms)


@pytest.mark.parametrize("code", [ExitCode.BOOT_FAILED, ExitCode.CONFIG_INVALID])
def test_a_worker_that_cannot_boot_at_first_start_stops_the_node(code):
    child = Child(Role.ADMIN)
    policy.started(child, 5, 0)
    action = policy.exited(child, Exit(code=code), 1)
    assert isinstance(action, StopNode) and action.child is child and "admin could not start" in action.reason


def test_a_boot_failure_before_it_was_ever_ready_stops_the_node_even_after_a_crash():
    child = Child(Role.IO)
    policy.started(child, 5, 0)
    assert policy.exited(child, CRASH, 1) is None
    policy.started(child, 6, 1)
    assert isinstance(policy.exited(child, BOOT_FAILED, 2), StopNode)


def test_a_boot_failure_after_it_has_served_is_a_crash_like_any_other():
    child = running()
    policy.exited(child, CRASH, 0)
    policy.started(child, 101, 0)
    assert policy.exited(child, BOOT_FAILED, 10) is None
    assert child.state is ProcessState.BACKOFF


def test_a_silent_loop_is_aborted_and_killed_a_round_later():
    child = running(stale_ms=10_000, abort_grace_ms=1000)
    policy.beat(child, 500)
    assert policy.decide([child], 10_499) == []
    assert policy.decide([child], 10_500) == [Abort(child, 10_000)]
    assert policy.decide([child], 11_499) == []
    assert policy.decide([child], 11_500) == [Kill(child, "did not end after SIGABRT")]
    assert policy.exited(child, Exit(signal=9), 11_501) is None
    assert child.last_exit == "killed by signal 9 after it hung"


def test_a_beat_keeps_it_alive_and_an_old_beat_does_not_age_it():
    child = running(stale_ms=10_000)
    policy.beat(child, 9_000)
    policy.beat(child, 3_000)
    assert policy.decide([child], 18_999) == []


def test_a_process_that_never_becomes_ready_is_aborted_after_its_boot_time():
    child = Child(Role.IO, limits=Limits(boot_ms=60_000, stale_ms=10_000))
    policy.started(child, 5, 0)
    assert policy.decide([child], 59_999) == []
    assert policy.decide([child], 60_000) == [Abort(child, 60_000)]


def test_the_datastore_has_no_pulse_and_may_load_for_ever():
    child = Child(Role.DATASTORE, limits=policy.LIMITS[Role.DATASTORE])
    policy.started(child, 5, 0)
    assert policy.decide([child], 10**9) == []
    policy.ready(child)
    assert policy.decide([child], 10**9) == []


def test_a_supervisor_that_slept_starts_all_clocks_again():
    children = [running(stale_ms=10_000), Child(Role.GOSSIP, limits=Limits(boot_ms=15_000))]
    policy.started(children[1], 6, 0)
    policy.restart_clocks(children, 20_000)
    assert policy.decide(children, 20_000) == []
    assert policy.decide(children, 29_999) == []
    assert policy.decide(children, 30_000) == [Abort(children[0], 10_000)]


def test_after_a_sleep_an_aborted_child_gets_its_grace_again():
    child = running(stale_ms=10_000, abort_grace_ms=1000)
    assert policy.decide([child], 10_000) == [Abort(child, 10_000)]
    policy.restart_clocks([child], 40_000)
    assert policy.decide([child], 40_500) == []
    assert isinstance(policy.decide([child], 41_000)[0], Kill)


def test_the_next_decision_is_at_most_a_round_away():
    assert policy.next_at_ms([running()], 5_000, round_ms=1000) == 6_000


def leave(children: list[Child], now_ms: int, shutdown: Shutdown) -> None:
    for child in children:
        assert policy.exited(child, Exit(code=0), now_ms, shutdown) is None


def test_a_shutdown_drains_io_then_the_others_then_the_datastore():
    io, gossip, replication, admin, store = children = node()
    shutdown = Shutdown(since_ms=100, drain_timeout_ms=10_000)
    assert policy.decide(children, 100, shutdown) == [Drain(io)]
    assert io.state is ProcessState.DRAINING
    assert policy.decide(children, 101, shutdown) == []
    leave([io], 200, shutdown)
    assert policy.decide(children, 200, shutdown) == [Drain(gossip), Drain(replication), Drain(admin)]
    leave([gossip, admin], 300, shutdown)
    assert policy.decide(children, 300, shutdown) == []
    leave([replication], 400, shutdown)
    assert policy.decide(children, 400, shutdown) == [Drain(store)]
    leave([store], 500, shutdown)
    assert policy.decide(children, 500, shutdown) == [Leave()]
    assert {child.state for child in children} == {ProcessState.STOPPED}


def test_nothing_is_started_during_a_shutdown_not_even_what_was_waiting():
    io, gossip, *_ = children = node()
    policy.exited(gossip, CRASH, 0)
    shutdown = Shutdown(since_ms=1, drain_timeout_ms=10)
    assert policy.decide(children, 1, shutdown) == [Drain(io)]
    assert gossip.state is ProcessState.STOPPED


def test_a_worker_that_crashes_while_it_drains_is_simply_gone():
    children = node()
    shutdown = Shutdown(since_ms=1, drain_timeout_ms=10)
    policy.decide(children, 1, shutdown)
    assert policy.exited(children[0], BOOT_FAILED, 2, shutdown) is None
    assert children[0].state is ProcessState.STOPPED


def test_who_does_not_drain_in_time_is_killed():
    children = node(now_ms=1000)
    shutdown = Shutdown(since_ms=1000, drain_timeout_ms=3_000)
    policy.decide(children, 1000, shutdown)
    assert policy.decide(children, 5_999, shutdown) == []
    assert policy.decide(children, 6_000, shutdown) == [Kill(children[0], "did not drain in time")]


def test_a_worker_that_hangs_while_it_drains_is_aborted():
    children = node(now_ms=0)
    shutdown = Shutdown(since_ms=5_000, drain_timeout_ms=60_000)
    policy.decide(children, 5_000, shutdown)
    assert policy.decide(children[:1], 10_000, shutdown) == [Abort(children[0], 10_000)]


def test_a_forced_shutdown_kills_the_workers_stage_by_stage_and_still_lets_the_datastore_close():
    io, gossip, replication, admin, store = children = node()
    gentle = Shutdown(since_ms=0, drain_timeout_ms=10_000)
    policy.decide(children, 0, gentle)
    forced = Shutdown(since_ms=0, drain_timeout_ms=10_000, forced=True)
    assert policy.decide(children, 10, forced) == [Kill(io, "the shutdown is forced")]
    leave([io], 20, forced)
    assert [type(action) for action in policy.decide(children, 20, forced)] == [Kill, Kill, Kill]
    leave([gossip, replication, admin], 30, forced)
    assert policy.decide(children, 30, forced) == [Drain(store)]
    assert policy.decide(children, 5_029, forced) == []
    assert policy.decide(children, 5_030, forced) == [Kill(store, "did not drain in time")]


def test_an_empty_node_may_leave_at_once():
    assert policy.decide([], 0, Shutdown(0, 0)) == [Leave()]


def test_a_late_ready_does_not_undo_the_drain():
    child = Child(Role.IO)
    policy.started(child, 5, 0)
    policy.decide([child], 0, Shutdown(0, 10))
    policy.ready(child)
    assert child.state is ProcessState.DRAINING


def test_a_fork_that_fails_is_tried_again_and_is_no_crash():
    child = Child(Role.IO, limits=Limits(fork_retry_ms=1000))
    policy.not_started(child, 5)
    assert policy.decide([child], 1004) == [] and policy.next_at_ms([child], 900) == 1005
    assert policy.decide([child], 1005) == [Start(child)]
    assert child.crashes_ms == [] and child.boots == 0


def test_a_node_serves_when_all_run_or_when_only_what_is_not_needed_was_given_up():
    io, gossip, _, admin, store = children = node()
    assert policy.is_serving(children)
    admin.state = ProcessState.FAILED
    assert policy.is_serving(children)
    gossip.state = ProcessState.STARTING
    assert not policy.is_serving(children)
    gossip.state = ProcessState.RUNNING
    store.state = ProcessState.STARTING
    assert not policy.is_serving(children)
    store.state, io.state = ProcessState.RUNNING, ProcessState.FAILED
    assert not policy.is_serving(children)


def test_a_child_prints_as_one_line_fit_for_a_log():
    assert repr(running(index=1)) == "<io[1] RUNNING pid=100 boots=1 crashes=0>"
    assert repr(Child(Role.GOSSIP)) == "<gossip STOPPED pid=0 boots=0 crashes=0>"
