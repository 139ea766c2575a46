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
- The process waits for its doorbell only after Doorbell.prepare_sleep() has seen all inbound rings empty.
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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from dynomite_mp import log
from dynomite_mp.config import Address, Config
from dynomite_mp.enums import ExitCode, Role
from dynomite_mp.errors import DynomiteError
from dynomite_mp.ipc.proxies import Proxies, receivers
from dynomite_mp.ipc.ring import RingCorrupt, SpscRing
from dynomite_mp.ipc.segment import Port
from dynomite_mp.ipc.spill import SpillDirectory
from dynomite_mp.ipc.wiring import Endpoint
from dynomite_mp.process_title import process_title, set_title

TICK_S = 1.0
DRAIN_LIMIT = 256  # records of one ring handled before the next ring has its turn
RETRY_S = 0.01  # messages that wait for room in a ring: nobody tells when there is some

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
    slab_name: str
    keep_fds: frozenset[int]  # besides its own: the locks
    settings: Mapping[str, Any] = field(default_factory=dict)  # put in force since the node started
    node_id: int = 1  # of this node, for as long as its data_dir lives
    node_boot: int = 1  # how many times the node was started

    @property
    def name(self) -> str:
        return f"{self.role.label}[{self.index}]" if self.role is Role.IO else self.role.label

    @property
    def boot_id(self) -> int:
        """Rises with every start of this process, whether the node or only the process was started again."""
        return (self.node_boot << 16 | self.boot & 0xFFFF) & 0xFFFFFFFF

    @property
    def title(self) -> str:
        return process_title(self.name, self.config)

    @property
    def spill(self) -> SpillDirectory:
        return SpillDirectory(self.runtime_dir / "spill", self.config.spill_limit_bytes)


class Worker:
    """Base of the workers. A subclass overrides what it needs; every method runs on the loop."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.config = context.config
        self.port = context.port
        self.slab = context.port.slab
        spill = context.spill
        self.proxies = Proxies(context.port, spill)
        self.receivers = {sender: receiver for sender, _, receiver in receivers(self, context.port, spill)}
        self.is_orphan = False  # the supervisor is gone: all workers drain at once, the datastore too
        self.leave: Callable[[str, float | None], None]  # begin to drain: why, and the time for it; set by WorkerLoop

    async def start(self) -> None:
        """Get ready to serve. Whatever it raises at the first start of the node stops the node."""

    async def drain(self, deadline_s: float) -> None:
        """Accept nothing new, finish what is there, return within `deadline_s` seconds."""

    def tick(self) -> None:
        """Once a second."""

    def drain_ring(self, sender: Endpoint, ring: SpscRing) -> int:
        """Handle up to DRAIN_LIMIT records of one inbound ring; how many there were."""
        return ring.drain(self.receivers[sender], DRAIN_LIMIT)

    def on_control_drain(self, budget_ms: int) -> None:
        self.leave("the node stops", budget_ms / 1000)

    def on_control_set(self, setting: tuple[str, Any]) -> None:
        """A setting changed while the node runs: [key, value]. The log level means the same to every worker."""
        key, value = setting
        if key == "log_level":
            log.set_level(int(value))

    def on_control_reload(self, arg: Any) -> None:
        """The configuration was read again; what changed for this worker has come as `set` before."""

    def on_control_reopen_logs(self, arg: Any) -> None:
        log.reopen()

    def on_ping_probe(self, sender: Endpoint, nonce: int, sent_ns: int, is_answer: bool) -> None:
        """Another process asks whether this ring is handled."""
        if not is_answer and sender in self.proxies:
            self.proxies.to(sender).ping_probe(nonce, sent_ns, True)


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
        self._sigterms = 0
        self._retry: asyncio.TimerHandle | None = None

    async def run(self) -> ExitCode:
        """From the first turn of the loop to the exit code."""
        self._loop.set_exception_handler(self._on_stray_error)
        self._loop.add_signal_handler(signal.SIGTERM, self._on_sigterm)
        self.worker.port.attach()
        self._beat()
        try:
            for setting in self.context.settings.items():  # before anybody is served by the old ones
                self.worker.on_control_set(setting)
            await self.worker.start()
        except Exception as error:
            return self._could_not_start(error)
        self._loop.add_reader(self.context.lifeline_fd, self._on_lifeline)
        self._loop.add_reader(self._doorbell.fd, self._on_doorbell)
        self._turn()  # takes over what a predecessor left in the rings
        self._report("ready")
        await self._drain_asked.wait()
        await self._drain()
        self._report("drained")
        return ExitCode.OK

    def ask_drain(self, why: str, budget_s: float | None = None) -> None:
        """Begin to leave; a second call changes nothing but the time."""
        if budget_s is not None:
            self._drain_budget_s = budget_s
        if not self._drain_asked.is_set():
            logger.info("draining: %s", why)
        self._drain_asked.set()

    def _could_not_start(self, error: Exception) -> ExitCode:
        known = isinstance(error, DynomiteError | OSError)
        logger.error("%s could not start: %s", self.context.name, error, exc_info=None if known else error)
        self._report("failed", f"{error}" if known else f"{type(error).__name__}: {error}")
        return ExitCode.BOOT_FAILED

    def _report(self, what: str, detail: Any = None) -> None:
        """A supervisor that reads nothing any more is no supervisor: the ring's full policy is to end."""
        if not self.worker.proxies.supervisor.event(what, detail):
            logger.critical("the supervisor does not read its ring; ending")
            _exit(ExitCode.FAILURE)

    # -- rings -------------------------------------------------------------------------------------------------------

    def _on_doorbell(self) -> None:
        self._doorbell.awake()
        self.worker.slab.count("doorbell_wakeups")
        self._turn()

    def _turn(self) -> None:
        """Every ring once; then sleep if all are empty, else go on in the next turn of the loop."""
        try:
            for sender, ring in self.worker.port.inbound:
                self.worker.drain_ring(sender, ring)
        except RingCorrupt:
            logger.critical("a ring in shared memory is corrupt; ending", exc_info=True)
            _exit(ExitCode.FAILURE)
        self._flush()
        if not self._doorbell.prepare_sleep():
            self._loop.call_soon(self._turn)

    def _flush(self) -> None:
        """Messages that wait in this process for room in a ring are tried again until they are gone."""
        self._retry = None
        if self.worker.proxies.flush() and self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._flush)

    # -- pulse -------------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        now_s = self._loop.time()
        slab = self.worker.slab
        slab.heartbeat(time.monotonic_ns())
        if self._next_tick_s:
            lag_ns = max(0, int((now_s - self._next_tick_s) * 1e9))
            slab.set_gauge("loop_lag_ns", lag_ns)
            slab.set_gauge("loop_lag_ns_max", max(lag_ns, slab.get("loop_lag_ns_max")))
        # Absolute times, so that lateness does not add up; after a long stop the missed ticks are not made up.
        self._next_tick_s = max(self._next_tick_s, now_s - TICK_S) + TICK_S
        self._loop.call_at(self._next_tick_s, self._on_tick)

    def _on_tick(self) -> None:
        self._beat()
        dropped = log.dropped_lines() - self.worker.slab.get("log_lines_dropped")
        if dropped > 0:
            self.worker.slab.count("log_lines_dropped", dropped)
        if self._retry is None:
            self._flush()
        self.worker.tick()

    # -- leaving -----------------------------------------------------------------------------------------------------

    def _on_sigterm(self) -> None:
        """A signal to the whole process group comes beside the supervisor's order; only a second one means haste."""
        self._sigterms += 1
        if self._sigterms > 1:
            _exit(ExitCode.FAILURE)  # whatever is in flight is lost
        self.ask_drain("SIGTERM")

    def _on_lifeline(self) -> None:
        self._loop.remove_reader(self.context.lifeline_fd)
        logger.warning("the supervisor is gone")
        self.worker.is_orphan = True
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
    """Main of a forked worker, entered with all signals blocked; never returns."""
    code = ExitCode.BOOT_FAILED
    try:
        leave_parent(context)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(_main(worker_class, context))
    except DynomiteError as error:  # says what is wrong and what to do; where it was found helps nobody
        logger.error("%s failed: %s", context.name, error)
    except BaseException:
        logger.exception("%s failed", context.name)
    finally:
        _exit(code)


async def _main(worker_class: type[Worker], context: WorkerContext) -> ExitCode:
    return await WorkerLoop(worker_class(context)).run()


def leave_parent(context: WorkerContext) -> None:
    """Throw away what belongs to the supervisor and its other children; only then may a signal arrive."""
    close_foreign({0, 1, 2, context.lifeline_fd, *context.port.fds, *context.keep_fds, *_fds(context.sockets)})
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    log.rename(context.name)
    faulthandler.enable(2, all_threads=True)  # SIGABRT: dump the stacks, then die
    faulthandler.register(signal.SIGUSR1, 2, all_threads=True)  # the same without dying
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    set_title(context.title)
    gc.enable()


def close_foreign(keep: Iterable[int]) -> None:
    """Close every file but these: a sibling's listening socket or lifeline that stays open here keeps it alive."""
    kept = set(keep)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a Path per descriptor is all it would add
        if int(name) not in kept:
            with contextlib.suppress(OSError):  # the directory's own descriptor is gone by now
                os.close(int(name))


def _fds(sockets: Iterable[socket.socket]) -> set[int]:
    return {sock.fileno() for sock in sockets}


def _exit(code: ExitCode) -> NoReturn:
    """Without the exit handlers and destructors inherited from the supervisor."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os._exit(code)
