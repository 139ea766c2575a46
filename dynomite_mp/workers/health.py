"""Is the node alive, is it ready, and in which state: decisions over one reading of the slab.

*Live* means that the processes that must answer do: the supervisor's heartbeat is fresh (the admin process shows its
own life by answering). *Ready* means that a client that connects now can be served: an io worker runs, its heartbeat
is fresh, and its datastore answers.

No clock, no socket: `now_ns` is passed in, a verdict is returned.
"""

from dataclasses import dataclass
from typing import Final

from dynomite_mp.enums import NodeState, ProcessState, Role
from dynomite_mp.workers.node_figures import NodeFigures, ProcessFigures

HEARTBEAT_STALE_NS: Final = 10_000_000_000
SAID_BY_GOSSIP: Final = frozenset(NodeState) - {NodeState.INIT, NodeState.NORMAL}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether, and every reason why not."""

    good: bool
    reasons: tuple[str, ...] = ()


def heartbeat_age_ns(process: ProcessFigures, now_ns: int) -> int:
    return max(0, now_ns - process.heartbeat_ns)


def _stale(process: ProcessFigures, now_ns: int) -> str | None:
    age_ns = heartbeat_age_ns(process, now_ns)
    if age_ns <= HEARTBEAT_STALE_NS:
        return None
    return f"{process.name} has not shown a sign of life for {age_ns / 1e9:.0f} s"


def live(node: NodeFigures, now_ns: int) -> Verdict:
    supervisor = node.one(Role.SUPERVISOR)
    if supervisor is None:
        return Verdict(False, ("there is no supervisor",))
    reason = _stale(supervisor, now_ns)
    return Verdict(reason is None, (reason,) if reason else ())


def _io_reason(worker: ProcessFigures, now_ns: int) -> str | None:
    """Why this io worker cannot serve, or None."""
    if worker.state is not ProcessState.RUNNING:
        return f"{worker.name} is {worker.state.name.lower()}"
    stale = _stale(worker, now_ns)
    if stale:
        return stale
    if not worker.cell("server_up"):
        return f"{worker.name} has no datastore"
    return None


def ready(node: NodeFigures, now_ns: int) -> Verdict:
    """Ready while one io worker can serve; the reasons name those that cannot, even then."""
    workers = node.all(Role.IO)
    if not workers:
        return Verdict(False, ("no io worker runs",))
    reasons = tuple(reason for worker in workers if (reason := _io_reason(worker, now_ns)))
    return Verdict(len(reasons) < len(workers), reasons)


def node_state(node: NodeFigures) -> NodeState:
    """The state word of `/state/get_state`: what gossip has been told that it is, else what the io workers make of it.

    The datastore has no say here, as in C: a node whose store is away still coordinates.
    """
    told = node.total("node_state")
    if told in SAID_BY_GOSSIP:
        return NodeState(told)
    states = {worker.state for worker in node.all(Role.IO)}
    if ProcessState.RUNNING in states:
        return NodeState.RESUMING if node.total("catching_up") else NodeState.NORMAL
    if ProcessState.STARTING in states:
        return NodeState.JOINING
    return NodeState.DOWN if states else NodeState.INIT
