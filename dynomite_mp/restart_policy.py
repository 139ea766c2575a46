"""When a process of the node is started, restarted, aborted, killed or given up: decisions only.

Think of a ward round. The supervisor walks past every bed once a round and writes down what it sees: who left
(`exited`), who is awake (`ready`), whose pulse was last felt when (`beat`). Then it asks `decide` what to do about it
and does just that. This module knows no pid that it could signal, no clock and no socket: time comes in as `now_ms`
(monotonic), and what should happen goes out as a list of actions. So every rule below is a table test.

    supervisor                                this module
    ----------                                -----------
    fork, waitpid, slab, rings    --note-->   started() ready() exited() beat() restart_clocks()
    kill, fork, close, exit       <--act---   decide(children, now_ms, shutdown) -> actions

Invariants:
- A child that never was ready in the life of this node and reports that it could not boot stops the node; later the
  same exit is a crash like any other, because a node that has served should go on trying.
- The first restart is immediate; then the delay doubles. Exits older than the window are forgotten.
- A child is only called stale on evidence of `stale_ms` of silence *while the supervisor itself was awake*: when the
  supervisor was late, all clocks begin anew (`restart_clocks`).
- During a shutdown nothing is started; the stages of `DRAIN_ORDER` leave one after the other, the datastore last.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dynomite_mp.enums import ExitCode, ProcessState, Role


@dataclass(frozen=True, slots=True)
class Limits:
    """The patience with one role.

    A role that exits `crash_limit` times within `crash_window_ms` is given up. With the defaults that takes about
    half a minute: 0 + 0.25 + 0.5 + 1 + 2 + 4 + 8 + 10 + 10 s. Lower `crash_limit` gives up sooner; raise
    `backoff_cap_ms` to be gentler on a machine that is short of memory.
    """

    crash_limit: int = 10
    crash_window_ms: int = 120_000
    backoff_first_ms: int = 250
    backoff_cap_ms: int = 10_000
    fork_retry_ms: int = 1_000
    stale_ms: int = 10_000  # silence after which the event loop counts as hung; 0: this role has no pulse
    boot_ms: int = 60_000  # a process that is not ready by then is treated as stale
    abort_grace_ms: int = 1_000  # time for the stack dump between SIGABRT and SIGKILL
    drain_extra_ms: int = 2_000  # beyond its own drain time-out, before SIGKILL
    forced_ms: int = 5_000  # the same when the operator has lost patience


# The datastore may load a large append-only file before it answers and may need long to write its last bytes.
_DATASTORE_LIMITS = Limits(stale_ms=0, boot_ms=0, drain_extra_ms=60_000)
LIMITS: Mapping[Role, Limits] = {role: Limits() for role in Role} | {Role.DATASTORE: _DATASTORE_LIMITS}

# io leaves first, while everything it hands work to is still there; the datastore when nobody can ask it any more.
DRAIN_ORDER: Sequence[frozenset[Role]] = (
    frozenset({Role.IO}),
    frozenset({Role.GOSSIP, Role.REPLICATION, Role.ADMIN}),
    frozenset({Role.DATASTORE}),
)

_ALIVE = frozenset({ProcessState.STARTING, ProcessState.RUNNING, ProcessState.DRAINING})


@dataclass(slots=True, eq=False)
class Child:
    """One process as the policy sees it; `pid` is 0 while there is none."""

    role: Role
    index: int = 0
    limits: Limits = field(default_factory=Limits)
    state: ProcessState = ProcessState.STOPPED
    pid: int = 0
    boots: int = 0
    was_ready: bool = False
    started_ms: int = 0
    pulse_ms: int = 0  # last sign of life, never before the last restart_clocks()
    retry_at_ms: int = 0
    aborted_at_ms: int | None = None
    drained_at_ms: int | None = None  # when it was asked to drain
    crashes_ms: list[int] = field(default_factory=list)
    last_exit: str = ""

    @property
    def alive(self) -> bool:
        return self.state in _ALIVE

    @property
    def restarts(self) -> int:
        return max(0, self.boots - 1)

    @property
    def name(self) -> str:
        return f"{self.role.label}[{self.index}]" if self.role is Role.IO else self.role.label

    def __repr__(self) -> str:
        return f"<{self.name} {self.state.name} pid={self.pid} boots={self.boots} crashes={len(self.crashes_ms)}>"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: an exit code or the signal that ended it."""

    code: int | None = None
    signal: int | None = None

    @property
    def text(self) -> str:
        if self.signal is not None:
            return f"killed by signal {self.signal}"
        return f"exit code {self.code}"

    @property
    def shell_code(self) -> int:
        """One number, as a shell reports it."""
        return 128 + self.signal if self.signal is not None else self.code or 0

    @property
    def could_not_boot(self) -> bool:
        return self.code in (ExitCode.BOOT_FAILED, ExitCode.CONFIG_INVALID)


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The node is on its way down: since when, how long a worker may take, and whether patience has ended."""

    since_ms: int
    drain_timeout_ms: int
    forced: bool = False


# -- actions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Fork it now."""

    child: Child


@dataclass(frozen=True, slots=True)
class Abort:
    """SIGABRT: it hangs, let it dump its stacks."""

    child: Child
    silent_ms: int


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL."""

    child: Child
    reason: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask it to finish what it has and leave."""

    child: Child


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It crashes in a loop: it stays down, and nobody must queue at its door."""

    child: Child


@dataclass(frozen=True, slots=True)
class StopNode:
    """The node cannot come up; end it and say why."""

    child: Child
    reason: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Everything is down; the supervisor may exit."""


Action = Start | Abort | Kill | Drain | GiveUp | StopNode | Leave


# -- notes: what the supervisor saw ----------------------------------------------------------------------------------


def started(child: Child, pid: int, now_ms: int) -> None:
    assert pid > 0 and not child.alive, child
    child.state = ProcessState.STARTING
    child.pid = pid
    child.boots += 1
    child.started_ms = child.pulse_ms = now_ms
    child.aborted_at_ms = child.drained_at_ms = None


def not_started(child: Child, now_ms: int) -> None:
    """The system gave no process (no memory, too many processes): not its fault, so it is no crash; try again soon."""
    child.state = ProcessState.BACKOFF
    child.retry_at_ms = now_ms + child.limits.fork_retry_ms


def ready(child: Child) -> None:
    """It serves. A word that arrives after the drain began changes nothing."""
    if child.state is ProcessState.STARTING:
        child.state = ProcessState.RUNNING
        child.was_ready = True


def beat(child: Child, heartbeat_ms: int) -> None:
    """The event loop of the child wrote this time into its slab. An older boot's stamp cannot move the pulse back."""
    child.pulse_ms = max(child.pulse_ms, heartbeat_ms)


def restart_clocks(children: Iterable[Child], now_ms: int) -> None:
    """The supervisor itself was not awake, so the silence proves nothing: everyone gets the full time again."""
    for child in children:
        child.pulse_ms = now_ms
        if child.state is ProcessState.STARTING:
            child.started_ms = now_ms
        if child.aborted_at_ms is not None:
            child.aborted_at_ms = now_ms


def exited(child: Child, how: Exit, now_ms: int, shutdown: Shutdown | None = None) -> Action | None:
    """The child is gone. Returns what is to be said or done at once; a restart comes from `decide`."""
    assert child.alive, child
    child.pid = 0
    child.last_exit = how.text if child.aborted_at_ms is None else f"{how.text} after it hung"
    if shutdown is not None:
        child.state = ProcessState.STOPPED
        return None
    if how.could_not_boot and not child.was_ready:
        child.state = ProcessState.FAILED
        return StopNode(child, f"{child.name} could not start ({how.text})")
    child.crashes_ms = [at for at in child.crashes_ms if now_ms - at < child.limits.crash_window_ms]
    child.crashes_ms.append(now_ms)
    if len(child.crashes_ms) >= child.limits.crash_limit:
        child.state = ProcessState.FAILED
        return GiveUp(child)
    child.state = ProcessState.BACKOFF
    child.retry_at_ms = now_ms + backoff_ms(child.limits, len(child.crashes_ms))
    return None


def revive(child: Child) -> None:
    """The operator asks for another try of a role that was given up."""
    if child.state is ProcessState.FAILED:
        child.state = ProcessState.STOPPED
        child.crashes_ms.clear()


# -- decisions -------------------------------------------------------------------------------------------------------


def backoff_ms(limits: Limits, crashes: int) -> int:
    """Delay before the restart after the n-th crash within the window: 0, first, 2 x first, 4 x first ... cap."""
    if crashes <= 1:
        return 0
    doublings = min(crashes - 2, 30)
    return min(limits.backoff_first_ms << doublings, limits.backoff_cap_ms)


def is_serving(children: Iterable[Child]) -> bool:
    """Whether clients are served: datastore and io run, and nothing that may still come is missing."""
    states = {child: child.state for child in children}
    needed = {Role.IO, Role.DATASTORE}
    if any(state not in (ProcessState.RUNNING, ProcessState.FAILED) for state in states.values()):
        return False
    return all(state is ProcessState.RUNNING for child, state in states.items() if child.role in needed)


def decide(children: Sequence[Child], now_ms: int, shutdown: Shutdown | None = None) -> list[Action]:
    """What to do now. Asking twice without acting in between gives the same answer (but for `aborted_at_ms`)."""
    actions = [action for child in children if (action := _hung(child, now_ms)) is not None]
    if shutdown is None:
        actions += [Start(child) for child in children if _startable(child, now_ms)]
    else:
        actions += _drain(children, now_ms, shutdown)
    return actions


def next_at_ms(children: Sequence[Child], now_ms: int, round_ms: int = 1_000) -> int:
    """When `decide` must be asked next at the latest: the next round, or an earlier restart."""
    waiting = [child.retry_at_ms for child in children if child.state is ProcessState.BACKOFF]
    return max(now_ms, min([now_ms + round_ms, *waiting]))


def _startable(child: Child, now_ms: int) -> bool:
    if child.state is ProcessState.STOPPED:
        return True
    return child.state is ProcessState.BACKOFF and now_ms >= child.retry_at_ms


def _hung(child: Child, now_ms: int) -> Action | None:
    """SIGABRT to a silent child, SIGKILL when even that did not end it."""
    if not child.alive:
        return None
    if child.aborted_at_ms is not None:
        if now_ms - child.aborted_at_ms >= child.limits.abort_grace_ms:
            return Kill(child, "did not end after SIGABRT")
        return None
    booting = child.state is ProcessState.STARTING and child.limits.boot_ms > 0
    patience_ms = child.limits.boot_ms if booting else child.limits.stale_ms
    since_ms = child.started_ms if booting else child.pulse_ms
    if patience_ms and now_ms - since_ms >= patience_ms:
        child.aborted_at_ms = now_ms
        return Abort(child, now_ms - since_ms)
    return None


def _drain(children: Sequence[Child], now_ms: int, shutdown: Shutdown) -> list[Action]:
    """The first stage that still has somebody in it is asked to leave; a forced shutdown asks no worker."""
    for child in children:
        if child.state is ProcessState.BACKOFF:
            child.state = ProcessState.STOPPED
    for stage in DRAIN_ORDER:
        present = [child for child in children if child.role in stage and child.alive]
        if present:
            return [action for child in present if (action := _drain_one(child, now_ms, shutdown)) is not None]
    return [Leave()]


def _drain_one(child: Child, now_ms: int, shutdown: Shutdown) -> Action | None:
    is_worker = child.role is not Role.DATASTORE
    if shutdown.forced and is_worker:
        return Kill(child, "the shutdown is forced")
    if child.drained_at_ms is None:
        child.drained_at_ms = now_ms
        child.state = ProcessState.DRAINING
        return Drain(child)
    budget_ms = child.limits.drain_extra_ms + (shutdown.drain_timeout_ms if is_worker else 0)
    if shutdown.forced:
        budget_ms = min(budget_ms, child.limits.forced_ms)
    if now_ms - child.drained_at_ms >= budget_ms:
        return Kill(child, "did not drain in time")
    return None
