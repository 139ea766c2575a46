"""The wiring table: which rings exist, how large they are, what they carry and what happens when one is full.

Rings exist only as rows here. The supervisor expands the rows (one ring per pair of processes), makes all of them
before the first fork, and admin draws its picture from the same rows. The full policy is stated here and carried out in
proxies.py; nothing else may invent one.

A size or a queue bound is a number of bytes or the name of the config key that holds it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from dynomite_mp.enums import Role
from dynomite_mp.ipc import messages

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """A process of the node: its role and its number among those of that role."""

    role: Role
    index: int

    def __str__(self) -> str:
        return f"{self.role.label}[{self.index}]"


class FullPolicy(Enum):
    """What a sender does when offer() says full. Drops are counted on the ring."""

    REFUSE = "send() returns False; the caller answers its asker (HTTP 503, an error reply)"
    STALE = "send() returns False; the supervisor counts the worker as stale and its liveness rule decides"
    EXIT = "send() returns False; the worker ends itself: its supervisor reads nothing any more"
    DROP = "dropped and counted; the sender repeats itself anyway"
    KEEP_NEWEST = "only the newest message of each type waits in the sender; retried every turn"
    QUEUE = "waits in the sender up to the row's bound, in order, retried every turn; past it send() returns False"
    OVERFLOW = "waits in the sender up to the row's bound; past it dropped, counted, and the lane is DIRTY"


@dataclass(frozen=True, slots=True)
class RingRow:
    """One row: a kind of ring between two roles."""

    producer: Role
    consumer: Role
    message_ids: tuple[int, ...]
    size: int | str
    policy: FullPolicy
    doc: str
    bound: int | str = 0


@dataclass(frozen=True, slots=True)
class RingSpec:
    """One ring: a row with its two processes and its sizes filled in."""

    index: int
    producer: Endpoint
    consumer: Endpoint
    capacity_bytes: int
    bound_bytes: int
    row: RingRow

    @property
    def policy(self) -> FullPolicy:
        return self.row.policy

    @property
    def name(self) -> str:
        return f"{self.producer} > {self.consumer}"


_CONTROL = (messages.CONTROL, messages.PING_PROBE)
_REPORT = (messages.EVENT, messages.PING_PROBE)
_TOPOLOGY = (messages.TOPOLOGY, messages.PING_PROBE)
_LINKS = (messages.LINK_STATE, messages.PING_PROBE)
_LEAD = (messages.LEAD_READY, messages.LEADING_SEEN)
_KEYS = (messages.KEY_HOLD, messages.KEY_ASK, messages.KEY_APPLY, messages.KEY_RELEASE, messages.NODE_RETURN,
         messages.LANE_EMPTY)
_KEYS_BACK = (messages.KEY_HELD, messages.KEY_APPLIED, messages.NODE_EVENT, messages.LANE_WATCH)
_SHARD = (messages.SHARD_REQUEST, messages.SHARD_WRITE, messages.SHARD_REPLY, messages.PING_PROBE)

WIRING: Final[tuple[RingRow, ...]] = (
    RingRow(Role.SUPERVISOR, Role.GOSSIP, _CONTROL, 64 * KIB, FullPolicy.STALE, "orders"),
    RingRow(Role.SUPERVISOR, Role.REPLICATION, _CONTROL, 64 * KIB, FullPolicy.STALE, "orders"),
    RingRow(
        Role.SUPERVISOR,
        Role.ADMIN,
        (*_CONTROL, messages.COMMAND_RESULT),
        64 * KIB,
        FullPolicy.STALE,
        "orders, and the outcome of commands",
    ),
    RingRow(Role.SUPERVISOR, Role.IO, _CONTROL, 64 * KIB, FullPolicy.STALE, "orders"),
    RingRow(Role.GOSSIP, Role.SUPERVISOR, _REPORT, 64 * KIB, FullPolicy.EXIT, "reports"),
    RingRow(Role.REPLICATION, Role.SUPERVISOR, _REPORT, 64 * KIB, FullPolicy.EXIT, "reports"),
    RingRow(
        Role.ADMIN,
        Role.SUPERVISOR,
        (*_REPORT, messages.COMMAND),
        64 * KIB,
        FullPolicy.REFUSE,
        "operator's commands; HTTP 503 when full",
    ),
    RingRow(Role.IO, Role.SUPERVISOR, _REPORT, 64 * KIB, FullPolicy.EXIT, "reports"),
    RingRow(Role.GOSSIP, Role.REPLICATION, _TOPOLOGY, 256 * KIB, FullPolicy.KEEP_NEWEST, "topology snapshots"),
    RingRow(Role.GOSSIP, Role.ADMIN, _TOPOLOGY, 256 * KIB, FullPolicy.KEEP_NEWEST, "topology snapshots"),
    RingRow(Role.GOSSIP, Role.IO, _TOPOLOGY, 256 * KIB, FullPolicy.KEEP_NEWEST, "topology snapshots"),
    RingRow(Role.REPLICATION, Role.GOSSIP, _LINKS, 64 * KIB, FullPolicy.DROP, "links to other datacenters"),
    RingRow(Role.ADMIN, Role.GOSSIP, (messages.PING_PROBE,), 64 * KIB, FullPolicy.DROP, "answers to probes"),
    RingRow(
        Role.IO,
        Role.GOSSIP,
        (*_LINKS, messages.GOSSIP_TEXT),
        256 * KIB,
        FullPolicy.DROP,
        "links to peers; gossip repeats itself",
    ),
    RingRow(
        Role.IO,
        Role.REPLICATION,
        (
            *(messages.REPLICATE, messages.HINT, messages.KEY_COPY, messages.PEER_CALL),
            *(*_KEYS_BACK, *_LEAD, messages.PING_PROBE),
        ),
        "replication_ring_bytes",
        FullPolicy.OVERFLOW,
        "writes for other datacenters or missed by replicas, what nodes ask; clients are never paused for it",
        bound="lane_overflow_bytes",
    ),
    RingRow(
        Role.REPLICATION,
        Role.IO,
        (messages.REPLICA_REPLY, messages.PEER_ANSWER, *_KEYS, messages.LEADING, messages.FAR_C_NODES,
         messages.PING_PROBE),
        MIB,
        FullPolicy.QUEUE,
        "answers of other datacenters, and of the replication process to other nodes",
        bound=16 * MIB,
    ),
    RingRow(
        Role.IO,
        Role.IO,
        _SHARD,
        "io_ring_bytes",
        FullPolicy.QUEUE,
        "requests and replies that cross shards; past the bound the client gets an error",
        bound=64 * MIB,
    ),
)


def endpoints(io_workers: int) -> tuple[Endpoint, ...]:
    """Every process that has a port; the datastore is a process without one."""
    single = (Role.SUPERVISOR, Role.GOSSIP, Role.REPLICATION, Role.ADMIN)
    return (*(Endpoint(role, 0) for role in single), *(Endpoint(Role.IO, i) for i in range(io_workers)))


def slab_processes(io_workers: int) -> tuple[Endpoint, ...]:
    """Every process that has a record in the counter slab: those with a port, then the managed datastore."""
    return (*endpoints(io_workers), Endpoint(Role.DATASTORE, 0))


def expand(io_workers: int, sizes: Mapping[str, int], rows: Iterable[RingRow] = WIRING) -> tuple[RingSpec, ...]:
    """One RingSpec per pair of processes; `sizes` holds the config keys that the rows name, in bytes.

    A capacity is rounded up to a power of two.
    """
    processes = endpoints(io_workers)
    specs: list[RingSpec] = []
    for row in rows:
        for producer in (p for p in processes if p.role is row.producer):
            for consumer in (p for p in processes if p.role is row.consumer and p != producer):
                capacity_bytes = 1 << max(_bytes_of(row.size, sizes) - 1, 31).bit_length()
                bound_bytes = _bytes_of(row.bound, sizes)
                specs.append(RingSpec(len(specs), producer, consumer, capacity_bytes, bound_bytes, row))
    return tuple(specs)


def _bytes_of(size: int | str, sizes: Mapping[str, int]) -> int:
    return sizes[size] if isinstance(size, str) else size


def size_keys(rows: Iterable[RingRow] = WIRING) -> frozenset[str]:
    """The config keys that `expand` needs."""
    return frozenset(size for row in rows for size in (row.size, row.bound) if isinstance(size, str))


def describe() -> str:
    """The table as text, for `--describe` and the docs."""
    lines = []
    for row in WIRING:
        names = ", ".join(messages.MESSAGES[i].name for i in row.message_ids)
        lines.append(f"{row.producer.label} > {row.consumer.label}: {names}; {row.size}; {row.doc}")
        lines.append(f"     full: {row.policy.value}")
    return "\n".join(lines)
