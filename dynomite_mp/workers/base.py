"""What every worker process is: a fork that throws away what is not its own, then one event loop with a pulse.

Not here: who is forked when and what happens when it ends (the supervisor), and what a worker does (its subclass).

    supervisor                     worker
    ----------                     ------
    fork  ----------------------->  run(worker_class, context)
                                      close foreign files, reset signals, gc, title, log
                                      loop:  await start()   --EVENT ready-->  supervisor
    CONTROL drain, SIGTERM,                  doorbell  -> drain_ring() for every inbound ring -> on_<message>()
    or its death (lifeline EOF) --->         tick()       every second, with the heartbeat
                                             await drain() --EVENT drained-->  exit OK

Invariants:
- The loop and everything that waits on it is made after the fork.
- The heartbeat is written by the loop itself. A loop that hangs has no pulse, whatever its threads do.
- The doorbell's sleeping flag is raised only when all inbound rings were seen empty after it was raised.
- SIGINT does nothing here: Ctrl-C in a terminal reaches all processes, and it is the supervisor's to say drain.
"""

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from dynomite_mp import log
from dynomite_mp.config import Address, Config
from dynomite_mp.enums import ExitCode, Role
from dynomite_mp.errors import DynomiteError
from dynomite_mp.ipc import proxies
from dynomite_mp.ipc.counters import cell_index
from dynomite_mp.ipc.ring import SpscRing
from dynomite_mp.ipc.segment import Port
from dynomite_mp.ipc.wiring import Endpoint

TICK_S = 1.0
DRAIN_LIMIT = 256  # records of one ring handled before the next ring has its turn

_LOOP_LAG = cell_index("loop_lag_ns")
_LOOP_LAG_MAX = cell_index("loop_lag_ns_max")
_LOG_DROPPED = cell_index("log_lines_dropped")
_WAKEUPS = cell_index("doorbell_wakeups")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DatastoreAddress:
    """Where the datastore of this node is and how to log in. A managed one is on a unix socket without a password."""

    address: Address
    managed: bool
    user: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """All that a worker gets from the supervisor, by inheritance."""

    role: Role
    index: int
    boot: int  # 1 for the first process with this role and index in the life of the node
    config: Config
    port: Port
    sockets: list[socket.socket]  # io: clients, peers; admin: stats; already listening and non-blocking
    lifeline_fd: int  # end of file when the supervisor is gone
    datastore: DatastoreAddress | None
    data_dir: Path
    runtime_dir: Path
    keep_fds: frozenset[int]  # besides its own: the log and the locks
    supervisor_fds: frozenset[int] = frozenset()  # for tests: what must be closed

    @property
    def name(self) -> str:
        return f"{self.role.label}[{self.index}]" if self.role is Role.IO else self.role.label

    @property
    def title(self) -> str:
        return process_title(self.name, self.config)


def process_title(name: str, config: Config) -> str:
    """`dynomite-mp: io[0] dc1/rack1`."""
    return f"dynomite-mp: {name} {config.datacenter}/{config.rack}"


class Worker:
    """Base of the workers. A subclass overrides what it needs; every method runs on the loop."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.config = context.config
        self.port = context.port
        self.slab = context.port.slab
        self.supervisor = proxies.SupervisorProxy(context.port, Endpoint(Role.SUPERVISOR, 0))
        self.leave: Callable[[str, float | None], None]  # begin to drain: why, and the time for it; set by WorkerLoop

    async def start(self) -> None:
        """Get ready to serve. Whatever it raises at the first start of the node stops the node."""

    async def drain(self, deadline_s: float) -> None:
        """Accept nothing new, finish what is there, return at the latest after `deadline_s`."""

    def tick(self) -> None:
        """Once a second."""

    def drain_ring(self, sender: Endpoint, ring: SpscRing) -> int:
        """Handle up to DRAIN_LIMIT records of one inbound ring; how many there were."""
        return ring.drain(lambda kind, payload: proxies.dispatch(self, kind, payload, sender), DRAIN_LIMIT)

    def on_control_drain(self, budget_ms: int) -> None:
        self.leave("the node stops", budget_ms / 1000)

    def on_control_set(self, setting: tuple[str, Any]) -> None:
        """A setting changed while the node runs: [key, value]. The log level is the same for every worker."""
        key, value = setting
        if key == "log_level":
            log.set_level(int(value))

    def on_control_reload(self, arg: Any) -> None:
        """The configuration was read again; what changed comes as `set`."""

    def on_control_reopen_logs(self, arg: Any) -> None:
        log.reopen()

    def on_ping_probe(self, sender: Endpoint, nonce: int, sent_ns: int, is_answer: bool) -> None:
        """Another process asks whether this ring is handled."""
        if not is_answer:
            proxies.answer_probe(self.port, sender, nonce, sent_ns)


class WorkerLoop:
    """The event loop's side of a worker: doorbell, pulse, drain. One per process."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.worker.leave = self.ask_drain
        self.context = worker.context
        self._doorbell = worker.port.doorbell
        self._loop = asyncio.get_running_loop()
        self._drain_asked = asyncio.Event()
        self._drain_budget_s = worker.config.drain_timeout_ms / 1000
        self._next_tick_s = 0.0

    async def run(self) -> ExitCode:
        """From the first turn of the loop to the exit code."""
        self._loop.set_exception_handler(self._on_stray_error)
        self._loop.add_signal_handler(signal.SIGTERM, self._on_sigterm)
        self._beat()
        try:
            await self.worker.start()
        except Exception as error:
            return self._could_not_start(error)
        self._listen()
        self.worker.supervisor.event("ready", "")
        await self._drain_asked.wait()
        await self._drain()
        self.worker.supervisor.event("drained", "")
        return ExitCode.OK

    def ask_drain(self, why: str, budget_s: float | None = None) -> None:
        """Begin to leave; a second call changes nothing but the time."""
        if budget_s is not None:
            self._drain_budget_s = budget_s
        if not self._drain_asked.is_set():
            logger.info("draining: %s", why)
        self._drain_asked.set()

    # -- starting ----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Rings and lifeline. The first turn takes over what a predecessor left in the rings."""
        self._loop.add_reader(self.context.lifeline_fd, self._on_lifeline)
        self._loop.add_reader(self._doorbell.fd, self._on_doorbell)
        self._turn()

    def _could_not_start(self, error: Exception) -> ExitCode:
        known = isinstance(error, DynomiteError)
        logger.error("%s could not start: %s", self.context.name, error, exc_info=None if known else error)
        self.worker.supervisor.event("failed", f"{error}" if known else f"{type(error).__name__}: {error}")
        return ExitCode.BOOT_FAILED

    # -- rings -------------------------------------------------------------------------------------------------------

    def _on_doorbell(self) -> None:
        self._doorbell.awake()
        self.worker.slab.add(_WAKEUPS, 1)
        self._turn()

    def _turn(self) -> None:
        """Every ring once; sleep if all are empty then, else go on in the next turn of the loop."""
        for sender, ring in self.worker.port.inbound:
            self.worker.drain_ring(sender, ring)
        if not self._doorbell.prepare_sleep():
            self._loop.call_soon(self._turn)

    # -- pulse -------------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        now_s = self._loop.time()
        self.worker.slab.beat(time.monotonic_ns())
        lag_ns = max(0, int((now_s - self._next_tick_s) * 1e9)) if self._next_tick_s else 0
        self.worker.slab.put(_LOOP_LAG, lag_ns)
        if lag_ns > self.worker.slab.value(_LOOP_LAG_MAX):
            self.worker.slab.put(_LOOP_LAG_MAX, lag_ns)
        # Absolute times, so that lateness does not add up; after a long stop the missed ticks are not made up.
        self._next_tick_s = max(self._next_tick_s + TICK_S, now_s) if self._next_tick_s else now_s + TICK_S
        self._loop.call_at(self._next_tick_s, self._on_tick)

    def _on_tick(self) -> None:
        self._beat()
        self.worker.slab.put(_LOG_DROPPED, log.dropped_lines())
        self.worker.port.flush()
        self.worker.tick()

    # -- leaving -----------------------------------------------------------------------------------------------------

    def _on_sigterm(self) -> None:
        if self._drain_asked.is_set():
            _exit(ExitCode.FAILURE)  # asked twice: whatever is in flight is lost
        self.ask_drain("SIGTERM")

    def _on_lifeline(self) -> None:
        self._loop.remove_reader(self.context.lifeline_fd)
        logger.warning("the supervisor is gone")
        self.ask_drain("the supervisor is gone")

    async def _drain(self) -> None:
        """A worker that overruns its own time is cut off by the loop, not only by the supervisor's SIGKILL."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.worker.drain(self._drain_budget_s), self._drain_budget_s + TICK_S)

    def _on_stray_error(self, loop: asyncio.AbstractEventLoop, details: dict[str, Any]) -> None:
        """An exception that nobody awaits is a defect to be seen, not a reason to drop all clients."""
        logger.error("unexpected: %s", details.get("message"), exc_info=details.get("exception"))


# -- the process -----------------------------------------------------------------------------------------------------


def run(worker_class: type[Worker], context: WorkerContext) -> NoReturn:
    """Main of a forked worker; never returns. Everything after the fork that is the same for all of them."""
    code = ExitCode.BOOT_FAILED
    try:
        leave_parent(context)
        code = _run_loop(worker_class, context)
    except BaseException:
        logger.exception("%s failed", context.name)
    finally:
        _exit(code)


def leave_parent(context: WorkerContext) -> None:
    """Throw away what belongs to the supervisor and its other children, in an order that no signal can disturb."""
    close_foreign(kept_fds(context))
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    log.rename(context.name)
    faulthandler.enable(sys.stderr, all_threads=True)  # SIGABRT: dump the stacks, then die
    faulthandler.register(signal.SIGUSR1, sys.stderr, all_threads=True)  # the same without dying
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    set_title(context.title)
    gc.enable()


def kept_fds(context: WorkerContext) -> set[int]:
    own = {0, 1, 2, context.lifeline_fd, *context.port.fds, *context.keep_fds}
    return own | {sock.fileno() for sock in context.sockets}


def close_foreign(keep: Iterable[int]) -> None:
    """Close every file but these: a sibling's listening socket or lifeline that stays open here keeps it alive."""
    kept = set(keep)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd not in kept:
            with contextlib.suppress(OSError):  # the directory's own descriptor is gone by now
                os.close(fd)


def set_title(title: str) -> None:
    """What ps and top show."""
    import setproctitle

    setproctitle.setproctitle(title)


def _run_loop(worker_class: type[Worker], context: WorkerContext) -> ExitCode:
    async def main() -> ExitCode:
        return await WorkerLoop(worker_class(context)).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def _exit(code: ExitCode) -> NoReturn:
    """Without the handlers and destructors inherited from the supervisor."""
    logging.shutdown()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
