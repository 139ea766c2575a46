"""A worker as a process of its own: the test plays its supervisor, over real rings in shared memory."""

import os
import select
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dynomite_mp import config, process
from dynomite_mp.enums import ExitCode, Role
from dynomite_mp.errors import DynomiteError
from dynomite_mp.ipc import wiring
from dynomite_mp.ipc.proxies import Proxies, receivers
from dynomite_mp.ipc.segment import Fabric, slab_name
from dynomite_mp.ipc.wiring import Endpoint
from dynomite_mp.restart_policy import Exit
from dynomite_mp.workers import base
from dynomite_mp.workers.base import Worker, WorkerContext

PATIENCE_MS = 10_000
SIZES = dict.fromkeys(wiring.size_keys(), 65536)


class Plain(Worker):
    pass


class CannotStart(Worker):
    async def start(self) -> None:
        raise DynomiteError("no port left", "buy one")


class Chatty(Worker):
    """Reports what it is told."""

    def on_control_set(self, setting: tuple[str, object]) -> None:
        self.proxies.supervisor.event("set_request", list(setting))

    async def drain(self, deadline_s: float) -> None:
        self.proxies.supervisor.event("set_request", ["drained within", deadline_s])


class Prepared(Worker):
    """Says what it had been told when it began to serve."""

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context)
        self.told: list[object] = []

    def on_control_set(self, setting: tuple[str, object]) -> None:
        self.told.append(setting)

    async def start(self) -> None:
        self.proxies.supervisor.event("set_request", list(self.told))


class Stuck(Worker):
    async def start(self) -> None:
        select.poll().poll(60_000)  # the loop hangs


class Supervising:
    """What the test sees of the worker."""

    def __init__(self, tmp_path: Path) -> None:
        self.fabric = Fabric.create(slab_name(tmp_path), wiring.expand(1, SIZES), identity={}, boot_id=1)
        self.port = self.fabric.port(Role.SUPERVISOR)
        self.proxies = Proxies(self.port)
        self.receivers = receivers(self, self.port)
        self.events: list[tuple[str, object]] = []
        self.lifeline_fd, self.lifeline_end = os.pipe()
        settings = {"listen": "127.0.0.1:1", "dyn_listen": "127.0.0.1:2", "drain_timeout_ms": "3000"}
        self.context = WorkerContext(
            role=Role.REPLICATION,
            index=0,
            boot=1,
            config=config.build({**settings, "data_dir": str(tmp_path), "runtime_dir": str(tmp_path)}),
            port=self.fabric.port(Role.REPLICATION),
            sockets=[],
            lifeline_fd=self.lifeline_fd,
            datastore=None,
            data_dir=tmp_path,
            runtime_dir=tmp_path,
            slab_name=self.fabric.name,
            keep_fds=frozenset(),
        )
        self.context.spill.prepare()
        self.slab = self.fabric.process_slab(Endpoint(Role.REPLICATION, 0))
        self.pid = 0

    def on_event(self, sender: Endpoint, what: str, detail: object) -> None:
        assert sender == Endpoint(Role.REPLICATION, 0)
        self.events.append((what, detail))

    def start(self, worker_class: type[Worker]) -> None:
        self.pid = process.fork_worker(lambda: base.run(worker_class, self.context))

    def wait_for(self, *event: object) -> None:
        """Wait for the doorbell until the event has come."""
        poll = select.poll()
        poll.register(self.port.doorbell.fd, select.POLLIN)
        while event not in self.events:
            for _, ring, receiver in self.receivers:
                ring.drain(receiver)
            if event not in self.events and self.port.doorbell.prepare_sleep():
                assert poll.poll(PATIENCE_MS), f"no {event}, only {self.events}"
                self.port.doorbell.awake()

    def tell(self, verb: str, arg: object = None) -> None:
        assert self.proxies.replication.control(verb, arg)

    def end(self) -> Exit:
        return process.read_status(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def supervising(tmp_path):
    made = Supervising(tmp_path)
    yield made
    made.fabric.close()


def test_it_reports_ready_beats_and_drains_when_told(supervising):
    supervising.start(Plain)
    supervising.wait_for("ready", None)
    assert time.monotonic_ns() >= supervising.slab.heartbeat_ns > 0
    supervising.tell("drain", 100)
    supervising.wait_for("drained", None)
    assert supervising.end() == Exit(code=ExitCode.OK)


def test_what_was_set_before_its_start_holds_before_it_serves(supervising):
    supervising.context = replace(supervising.context, settings={"timeout": 3, "peer/h:1": "down"})
    supervising.start(Prepared)
    supervising.wait_for("set_request", (("timeout", 3), ("peer/h:1", "down")))
    supervising.tell("drain", 100)
    assert supervising.end() == Exit(code=ExitCode.OK)


@pytest.mark.parametrize("how", ["SIGTERM", "lifeline"])
def test_it_drains_on_sigterm_and_when_its_supervisor_is_gone(supervising, how):
    supervising.start(Chatty)
    supervising.wait_for("ready", None)
    if how == "SIGTERM":
        os.kill(supervising.pid, signal.SIGTERM)
    else:
        os.close(supervising.lifeline_end)
    supervising.wait_for("set_request", ("drained within", 3.0))
    assert supervising.end() == Exit(code=ExitCode.OK)


def test_sigint_and_sighup_mean_nothing_to_it(supervising):
    supervising.start(Chatty)
    supervising.wait_for("ready", None)
    os.kill(supervising.pid, signal.SIGINT)
    os.kill(supervising.pid, signal.SIGHUP)
    supervising.tell("set", ["a", 1])
    supervising.wait_for("set_request", ("a", 1))
    supervising.tell("drain", 0)
    assert supervising.end() == Exit(code=ExitCode.OK)


def test_what_a_predecessor_left_in_the_ring_is_handled(supervising):
    supervising.tell("set", ["before", "it started"])
    supervising.start(Chatty)
    supervising.wait_for("set_request", ("before", "it started"))
    supervising.tell("drain", 0)
    assert supervising.end() == Exit(code=ExitCode.OK)


def test_thousands_of_records_are_handled_in_order_over_many_turns(supervising):
    supervising.start(Chatty)
    expected = []
    for number in range(3000):
        while not supervising.proxies.replication.control("set", ["n", number]):
            supervising.wait_for(*expected[-1])
        expected.append(("set_request", ("n", number)))
        if number % 500 == 0:
            supervising.wait_for(*expected[-1])  # or its reports would fill their ring, which ends it
    supervising.wait_for(*expected[-1])
    assert [event for event in supervising.events if event[0] == "set_request"] == expected
    supervising.tell("drain", 0)
    assert supervising.end() == Exit(code=ExitCode.OK)


def test_who_cannot_start_says_why_and_ends_with_the_code_that_stops_the_node(supervising):
    supervising.start(CannotStart)
    supervising.wait_for("failed", "no port left; buy one")
    assert supervising.end() == Exit(code=ExitCode.BOOT_FAILED)


def test_an_abort_dumps_the_stack(supervising, capfd):
    supervising.start(Stuck)
    while supervising.slab.heartbeat_ns == 0:  # the loop runs, so faulthandler is in place
        assert os.waitpid(supervising.pid, os.WNOHANG) == (0, 0)
    os.kill(supervising.pid, signal.SIGABRT)
    assert supervising.end() == Exit(signal=signal.SIGABRT)
    assert "test_base.py" in capfd.readouterr().err


def test_it_keeps_only_what_is_its_own(supervising):
    stray = os.open(os.devnull, os.O_RDONLY)
    kept = os.open(os.devnull, os.O_RDONLY)
    ours, theirs = socket.socketpair()
    supervising.context = replace(supervising.context, keep_fds=frozenset({kept}), sockets=[theirs])
    supervising.start(Plain)
    supervising.wait_for("ready", None)
    open_fds = {int(path.name) for path in Path(f"/proc/{supervising.pid}/fd").iterdir()}
    assert {kept, theirs.fileno(), supervising.lifeline_fd} <= open_fds
    assert not {stray, ours.fileno(), supervising.lifeline_end} & open_fds
    supervising.tell("drain", 0)
    supervising.end()
    for fd in (stray, kept):
        os.close(fd)
    ours.close()
    theirs.close()
