"""The supervisor: the process the operator started. It forks the others, watches them, and leaves last.

One thread, no event loop, no lock: wait, look, decide, act. What to do is decided by `restart_policy`, which is pure;
here are the eyes and the hands.

    wait (poll: signals, doorbell; at most a round)
      -> was I away? then all clocks start again
      -> signals    TERM INT drain, again: force; HUP reload; TTIN TTOU log level; CHLD is only a wake-up
      -> rings      EVENT of the workers, COMMAND of admin
      -> reap       waitpid: a crash, a boot failure, the end of a drain
      -> pulses     heartbeats out of the slab, the datastore's socket
      -> decide()   -> fork, SIGABRT, SIGKILL, drain, give up, leave
      -> publish    states and rings into the slab, watchdog

Invariants:
- Signal handlers do nothing; the byte that the interpreter writes to the wake-up pipe is the signal.
- A process is only ever signalled while it is an unreaped child, so its pid cannot be another's.
- Every change of a setting goes through `set`, so all processes hear it, and a restarted one hears it again.
"""

import contextlib
import gc
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dynomite_mp import __version__, boot, log, process, reload
from dynomite_mp import restart_policy as policy
from dynomite_mp.boot import Boot, BootError, StartOptions
from dynomite_mp.boot_memory import make_fabric
from dynomite_mp.enums import ExitCode, ProcessState, Role
from dynomite_mp.ipc.proxies import Proxies, receivers
from dynomite_mp.ipc.segment import SegmentError
from dynomite_mp.ipc.spill import SpillDirectory
from dynomite_mp.ipc.wiring import Endpoint
from dynomite_mp.listeners import ListenFailed
from dynomite_mp.process_title import process_title, set_title
from dynomite_mp.restart_policy import Child, Exit, Shutdown
from dynomite_mp.spawner import Spawner
from dynomite_mp.store.probe import answers

ROUND_MS = 1_000
LATE_MS = 1_000
PROBE_MS = 20  # how often a datastore that is starting is asked whether it answers: at first, and later
PROBE_MAX_MS = 500
RECORDS_PER_RING = 256
LAST_WORDS_BYTES = 400
SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)
NOT_REPEATED = frozenset({"peer_reset", "repair"})  # orders that a process which starts later has no use for
WORKERS = (Role.IO, Role.GOSSIP, Role.REPLICATION, Role.ADMIN)

logger = logging.getLogger(__name__)


class Supervisor:
    """One node, from the first fork to the last wait."""

    def __init__(
        self,
        parts: Boot,
        *,
        on_serving: Callable[[], None] = lambda: None,
    ) -> None:
        self.parts = parts
        self.config = parts.config
        self.settings: dict[str, Any] = {}  # changed since the start
        self.shutdown: Shutdown | None = None
        self.exit_code = ExitCode.OK
        self._on_serving = on_serving
        self._has_served = False
        self._said: dict[Endpoint, str] = {}  # why a worker said it fails, before it ended
        self._last_round_ms = self._last_publish_ms = self._last_watchdog_ms = now_ms()
        self._wakeup_fd = catch_signals()
        self.fabric = make_fabric(parts)
        self.port = self.fabric.port(Role.SUPERVISOR)
        spill = SpillDirectory(parts.paths.runtime_dir / "spill", self.config.spill_limit_bytes)
        spill.prepare()
        self.proxies = Proxies(self.port, spill)
        self._receivers = receivers(self, self.port, spill)
        self._spawner = Spawner(parts, self.fabric)
        self.children = {
            endpoint: Child(endpoint.role, endpoint.index, policy.LIMITS[endpoint.role])
            for endpoint in start_order(parts)
        }
        self._records = {endpoint: self.fabric.process_slab(endpoint) for endpoint in self.fabric.processes}
        self._poll = select.poll()
        for fd in (self._wakeup_fd, self.port.doorbell.fd):
            self._poll.register(fd, select.POLLIN)

    def run(self) -> ExitCode:
        """Until everything is down."""
        set_title(process_title("supervisor", self.config))
        logger.info("dynomite-mp %s, %s/%s, starts", __version__, self.config.datacenter, self.config.rack)
        for note in self.config.notes:
            logger.log(log.NOTICE, "configuration: %s", note)
        self._publish_self(ProcessState.STARTING)
        try:
            for child in self.children.values():
                if child.role is Role.DATASTORE:  # it boots while we import
                    self._start(child)
            self._spawner.preload()
            self._last_round_ms = now_ms()
            while not self._round():
                self._wait()
            logger.info("stopped")
        finally:
            self.parts.close()
            self.fabric.close()
        return self.exit_code

    # -- one round ---------------------------------------------------------------------------------------------------

    def _round(self) -> bool:
        """Look, decide, act; True when everything is down."""
        self._check_clock()
        self._take_signals()
        self._drain_rings()
        self._reap()
        self._feel_pulses()
        is_over = self._decide()
        self._publish()
        return is_over

    def _wait(self) -> None:
        """Until a signal, a record, or the time to decide again. A record that came meanwhile is not waited for."""
        if not self.port.doorbell.prepare_sleep():
            return
        now = now_ms()
        round_ms = min(ROUND_MS, self.parts.notifier.watchdog_interval_ms or ROUND_MS)
        store = self.children.get(Endpoint(Role.DATASTORE, 0))
        if store is not None and store.state is ProcessState.STARTING:
            round_ms = min(max(PROBE_MS, (now - store.started_ms) // 10), PROBE_MAX_MS)
        until = policy.next_at_ms(list(self.children.values()), now, round_ms)
        self._poll.poll(max(0, until - now))
        self.port.doorbell.awake()

    def _check_clock(self) -> None:
        """After SIGCONT, or a pause of the machine, the silence of the others is no evidence."""
        now = now_ms()
        away_ms = now - self._last_round_ms
        if away_ms > ROUND_MS + LATE_MS:
            logger.warning("the supervisor was away for %d ms; the liveness clocks start again", away_ms)
            policy.restart_clocks(self.children.values(), now)
        self._last_round_ms = now

    def _take_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._wakeup_fd, 4096):
                self._on_signal(signal.Signals(number))

    def _drain_rings(self) -> None:
        for _, ring, receiver in self._receivers:
            ring.drain(receiver, RECORDS_PER_RING)
        self.proxies.flush()

    def _reap(self) -> None:
        by_pid = {child.pid: child for child in self.children.values() if child.pid}
        for pid, how in process.reap():
            if pid in by_pid:
                self._on_exit(by_pid[pid], how)

    def _feel_pulses(self) -> None:
        for endpoint, child in self.children.items():
            if child.role is not Role.DATASTORE:
                policy.beat(child, self._records[endpoint].heartbeat_ns // 1_000_000)
            elif child.state is ProcessState.STARTING and self._store_answers():
                self._on_ready(child)

    def _decide(self) -> bool:
        for action in policy.decide(list(self.children.values()), now_ms(), self.shutdown):
            if isinstance(action, policy.Leave):
                return True
            self._act(action)
        return False

    def _publish(self) -> None:
        """The slab's view of the node: states at once, rings once a round; and the watchdog of the service manager."""
        for endpoint, child in self.children.items():
            self._records[endpoint].set_header("state", child.state)
            self._records[endpoint].set_header("pid", child.pid)
        now = now_ms()
        self.port.slab.heartbeat(time.monotonic_ns())
        if now - self._last_publish_ms >= ROUND_MS:
            self._last_publish_ms = now
            self.fabric.publish_rings()
        interval_ms = self.parts.notifier.watchdog_interval_ms
        if interval_ms and now - self._last_watchdog_ms >= min(interval_ms, ROUND_MS) // 2:
            self._last_watchdog_ms = now
            self.parts.notifier.watchdog()

    def _publish_self(self, state: ProcessState) -> None:
        record = self.port.slab
        record.set_header("pid", os.getpid())
        record.set_header("state", state)
        record.set_header("boot_count", 1)
        record.set_header("started_at_ns", time.time_ns())
        record.heartbeat(time.monotonic_ns())

    # -- what happened -----------------------------------------------------------------------------------------------

    def _on_signal(self, number: signal.Signals) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if number == signal.SIGINT and self.parts.options.interrupt_fails:
                self.exit_code = self.exit_code or ExitCode.FAILURE
            self.stop(number.name)
        elif number == signal.SIGHUP:
            self.reload()
        elif number == signal.SIGTTIN:
            self.set("log_level", min(log.level() + 1, log.LEVEL_MAX))
        elif number == signal.SIGTTOU:
            self.set("log_level", max(log.level() - 1, log.LEVEL_MIN))

    def _on_ready(self, child: Child) -> None:
        policy.ready(child)
        logger.info("%s is ready, pid %d", child.name, child.pid)
        if child.role is Role.DATASTORE:
            self._tell_role(Role.IO, "set", ["datastore_state", "running"])
        else:
            for key, value in self.settings.items():
                self._tell(child, "set", [key, value])
            self._tell_role(Role.GOSSIP, "set", ["worker_started", [int(child.role), child.index]])
        self._tell_if_serving()

    def _tell_if_serving(self) -> None:
        """Once, when the start is complete."""
        if self._has_served or self.shutdown is not None or not policy.is_serving(self.children.values()):
            return
        self._has_served = True
        self.port.slab.set_header("state", ProcessState.RUNNING)
        logger.info("serving clients on %s", self.config.listen)
        self.parts.notifier.ready(f"serving clients on {self.config.listen}")
        self._on_serving()

    def _on_exit(self, child: Child, how: Exit) -> None:
        said = self._said.pop(key_of(child), "")
        expected = self.shutdown is not None
        calm = expected and how == Exit(code=ExitCode.OK)
        logger.log(
            logging.INFO if calm else logging.ERROR,
            "%s, pid %d, ended: %s%s", child.name, child.pid, how.text, f": {said}" if said else "",
        )  # fmt: skip
        record = self._records[key_of(child)]
        record.set_header("last_exit", how.shell_code)
        if child.role is not Role.DATASTORE:
            record.reset_gauges()  # it had connections; now it has none, and nobody else writes here
        if child.role is Role.DATASTORE and not expected:
            self._tell_role(Role.IO, "set", ["datastore_state", "down"])
            if how.code is not None and not child.was_ready:
                # A server that ends by itself before it ever answered cannot boot, whatever code it chose.
                how, said = Exit(code=ExitCode.BOOT_FAILED), self._last_words_of_store()
        action = policy.exited(child, how, now_ms(), self.shutdown)
        if isinstance(action, policy.StopNode):
            logger.critical("the node cannot start: %s", f"{child.name}: {said}" if said else action.reason)
            self.exit_code = ExitCode.BOOT_FAILED
            self.stop("boot failure")
        elif isinstance(action, policy.GiveUp):
            self._give_up(child)

    def _give_up(self, child: Child) -> None:
        logger.critical(
            "%s crashed %d times within %d s and stays down; look above for the reason, then `dynomite-mp reload` tries"
            " again", child.name, len(child.crashes_ms), child.limits.crash_window_ms // 1000,
        )  # fmt: skip
        self.parts.notifier.status(f"{child.name} has failed")
        if child.role is Role.IO:
            self.parts.listeners.close_io(child.index)
        self._tell_if_serving()

    def on_event_ready(self, sender: Endpoint, detail: Any) -> None:
        child = self.children[sender]
        if child.state is ProcessState.STARTING:
            self._on_ready(child)

    def on_event_drained(self, sender: Endpoint, detail: Any) -> None:
        logger.debug("%s has drained", sender)

    def on_event_failed(self, sender: Endpoint, detail: Any) -> None:
        self._said[sender] = str(detail)

    def on_event_set_request(self, sender: Endpoint, setting: Sequence[Any]) -> None:
        self.set(str(setting[0]), setting[1])

    def on_event_stop_listening(self, sender: Endpoint, detail: Any) -> None:
        if sender.role is Role.IO:
            self.parts.listeners.close_io(sender.index)

    def on_ping_probe(self, sender: Endpoint, nonce: int, sent_ns: int, is_answer: bool) -> None:
        if not is_answer:
            self.proxies.to(sender).ping_probe(nonce, sent_ns, True)

    def on_command(self, sender: Endpoint, verb: str, args: Any, request_id: int) -> None:
        """An order of the operator, through admin."""
        ok, detail = self._obey(verb, args)
        if request_id:
            self.proxies.admin.command_result(request_id, ok, detail)

    def _obey(self, verb: str, args: Any) -> tuple[bool, str]:
        if verb == "set" and isinstance(args, tuple) and len(args) == 2:
            self.set(str(args[0]), args[1])
        elif verb == "stop":
            self.stop("command")
        elif verb == "reload":
            return self.reload()
        elif verb == "reopen_logs":
            self.reopen_logs()
        else:
            return False, f"unknown command {verb!r}"
        return True, ""

    # -- orders ------------------------------------------------------------------------------------------------------

    def stop(self, why: str) -> None:
        """Drain and leave; asked again, without patience."""
        if self.shutdown is None:
            logger.info("%s: draining, at most %d ms", why, self.config.drain_timeout_ms)
            self.parts.notifier.stopping("draining")
            self.port.slab.set_header("state", ProcessState.DRAINING)
            self.shutdown = Shutdown(now_ms(), self.config.drain_timeout_ms)
        elif not self.shutdown.forced:
            logger.warning("%s again: not waiting any longer", why)
            self.exit_code = self.exit_code or ExitCode.FAILURE
            self.shutdown = Shutdown(self.shutdown.since_ms, 0, forced=True)

    def set(self, key: str, value: Any) -> None:
        """Put a setting in force in every process. One that was set again counts as the later one."""
        self.settings.pop(key, None)
        if key not in NOT_REPEATED:
            self.settings[key] = value
        if key == "log_level":
            log.set_level(int(value))
        for role in WORKERS:
            self._tell_role(role, "set", [key, value])

    def reload(self) -> tuple[bool, str]:
        """Read the configuration again, apply what can change while running, say what cannot, retry what had failed."""
        if self.shutdown is not None:
            return False, "the node is stopping"
        self.parts.notifier.reloading(time.monotonic_ns() // 1000)
        self.reopen_logs()
        verdict = reload.read_again(self.parts.options, self.config)
        for line in verdict.lines:
            logger.log(logging.ERROR if verdict.failed else log.NOTICE, "reload: %s", line)
        for key, value in verdict.changes.items():
            self.set(key, value)
        self.config = verdict.config or self.config
        for child in self.children.values():
            self._revive(child)
            self._tell(child, "reload", None)
        if self._has_served:
            self.parts.notifier.ready(f"serving clients on {self.config.listen}")
        return not verdict.failed, "; ".join(verdict.lines)

    def reopen_logs(self) -> None:
        try:
            log.reopen()
        except OSError as error:
            logger.error("cannot open %s: %s", log.output_path(), error.strerror)
        for child in self.children.values():
            self._tell(child, "reopen_logs", None)

    # -- acting ------------------------------------------------------------------------------------------------------

    def _act(self, action: policy.Action) -> None:
        match action:
            case policy.Start(child):
                self._start(child)
            case policy.Drain(child):
                self._drain(child)
            case policy.Abort(child, silent_ms):
                logger.error("%s, pid %d: no sign of life for %d ms, SIGABRT", child.name, child.pid, silent_ms)
                process.kill(child.pid, signal.SIGABRT)
            case policy.Kill(child, reason):
                logger.error("%s, pid %d: %s, SIGKILL", child.name, child.pid, reason)
                process.kill(child.pid, signal.SIGKILL)

    def _start(self, child: Child) -> None:
        try:
            pid = self._spawner.start(child, self.config, self.settings)
        except OSError as error:
            logger.error("cannot start %s: %s", child.name, error)
            policy.not_started(child, now_ms())
            return
        policy.started(child, pid, now_ms())
        record = self._records[key_of(child)]
        record.set_header("boot_count", child.boots)
        record.set_header("started_at_ns", time.time_ns())
        logger.debug("%s started, pid %d", child.name, child.pid)

    def _drain(self, child: Child) -> None:
        assert self.shutdown is not None
        if child.role is Role.IO:  # a client that comes now should try another node at once, not wait in our queue
            self.parts.listeners.close_io(child.index)
        if child.role is Role.DATASTORE or not self._tell(child, "drain", self.shutdown.drain_timeout_ms):
            process.kill(child.pid, signal.SIGTERM)

    def _revive(self, child: Child) -> None:
        if child.state is not ProcessState.FAILED:
            return
        try:
            if child.role is Role.IO:
                self.parts.listeners.open_io(child.index)
        except ListenFailed as error:
            logger.error("%s stays down: %s", child.name, error)
            return
        policy.revive(child)

    def _tell(self, child: Child, verb: str, arg: Any) -> bool:
        """Whether the worker will hear it; one that is restarting finds it in its ring."""
        if child.role is Role.DATASTORE or child.state is ProcessState.FAILED:
            return False
        return self.proxies.worker(child.role, child.index).control(verb, arg)

    def _tell_role(self, role: Role, verb: str, arg: Any) -> None:
        for child in self.children.values():
            if child.role is role:
                self._tell(child, verb, arg)

    def _store_answers(self) -> bool:
        return self.parts.store is not None and answers(self.parts.store.socket_path)

    def _last_words_of_store(self) -> str:
        """The end of its log: why it could not start."""
        if self.parts.store is None:
            return ""
        path = Path(self.parts.store.log_path)
        with contextlib.suppress(OSError):
            with open(path, "rb") as file:
                file.seek(-min(LAST_WORDS_BYTES, path.stat().st_size), os.SEEK_END)
                lines = file.read().decode(errors="replace").strip().splitlines()
            return f"{' | '.join(lines[-3:])} (see {path})"
        return ""


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def key_of(child: Child) -> Endpoint:
    return Endpoint(child.role, child.index)


def catch_signals() -> int:
    """From now on a signal is a byte to be read from the returned descriptor."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: None)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    return reading


def start_order(parts: Boot) -> list[Endpoint]:
    """The datastore first, because it takes longest; then io, because clients may knock already."""
    store = [Endpoint(Role.DATASTORE, 0)] if parts.store is not None else []
    io = [Endpoint(Role.IO, index) for index in range(parts.config.io_workers)]
    return [*store, *io, Endpoint(Role.GOSSIP, 0), Endpoint(Role.REPLICATION, 0), Endpoint(Role.ADMIN, 0)]


def run_node(
    options: StartOptions,
    *,
    on_booted: Callable[[], None] = lambda: None,
    on_serving: Callable[[], None] = lambda: None,
) -> ExitCode:
    """A node from the command line to its end. Raises BootError when it cannot start."""
    gc.disable()  # a collection would write to pages that the workers share; see Spawner
    parts = boot.prepare(options)
    try:
        supervisor = Supervisor(parts, on_serving=on_serving)
    except (SegmentError, OSError) as error:
        parts.close()
        raise BootError(ExitCode.BOOT_FAILED, str(error)) from error
    on_booted()
    return supervisor.run()
