"""What a process posts about the rest of the cluster: figures whose number is not fixed, so that they are no counters.

    io[*]        --post once a second-->  its board in the counter slab  --read at any time-->  admin, status
    replication  --post once a second-->  its board                      --^

A `Bulletin` is plain data; `encode` and `decode` are its form on the board, a msgpack map of lists of rows. The columns
of a row are the fields of its class, in their order. Not here: the board itself (counters.pyx, slab.py), who is in the
cluster and why (gossip), what is shown of it.

Invariants: an encoded bulletin fits the board; rows that do not are left out, the last first, and counted. A reader
ignores columns and keys that it does not know, and takes the default of a column that is missing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeVar

import msgpack  # type: ignore[import-untyped]

from dynomite_mp.enums import NodeState
from dynomite_mp.ipc.layout import BULLETIN_BYTES

ERROR_CHARACTERS: Final = 60
_ENVELOPE_BYTES: Final = 256  # keys, list heads and the number of rows left out


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A node of the cluster, as the process that posts it sees it."""

    dc: str
    rack: str
    host: str
    port: int
    token: int
    token_count: int = 1
    is_local: bool = False
    state: int = NodeState.UNKNOWN
    """As gossip says; UNKNOWN when nobody has told it."""
    flavour: str = "unknown"
    """ours, c, or unknown."""
    client_port: int = 0


@dataclass(frozen=True, slots=True)
class PeerRow:
    """The connections of one process to one other node, taken together."""

    host: str
    port: int
    links: int = 0
    links_up: int = 0
    flavour: str = "unknown"
    """ours or c, as its first reply told; unknown before that."""
    is_silent: bool = False
    """It owes replies and has said nothing for too long."""
    is_resting: bool = False
    """Taken out of service by an order."""
    in_flight: int = 0
    """Requests that it has not answered."""
    waiting_bytes: int = 0
    """Bytes of these requests."""
    times_up: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class LagRow:
    """What another datacenter has not confirmed yet, and what became of the rest since this process started."""

    name: str
    waiting: int = 0
    waiting_bytes: int = 0
    oldest_ms: int = 0
    sent: int = 0
    failed_over: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class HintRow:
    """Writes that one replica of this datacenter, or a whole other datacenter, has still to get."""

    name: str
    """Its peer address, or `datacenter NAME`."""
    records: int = 0
    size_bytes: int = 0
    oldest_ms: int = 0
    dirty: str = ""
    """Why some are not among them and a comparison has to mend it; empty: none is missing."""
    lost: int = 0
    """Not kept since the process started."""


@dataclass(frozen=True, slots=True)
class RepairRow:
    """The comparison of this node's keys with other replicas that is under way, or else the last one."""

    run: str
    why: str = ""
    """asked for, round, or dirty."""
    state: str = "running"
    """running, done, or failed."""
    started_ms: int = 0
    ended_ms: int = 0
    peers: int = 0
    peers_done: int = 0
    keys_read: int = 0
    keys_compared: int = 0
    keys_differing: int = 0
    keys_mended: int = 0
    call_bytes: int = 0
    text: str = ""
    """What failed, or who was left out and why."""


@dataclass(frozen=True, slots=True)
class Bulletin:
    members: tuple[MemberRow, ...] = ()
    peers: tuple[PeerRow, ...] = ()
    datacenters: tuple[LagRow, ...] = ()
    left_out: int = 0
    hints: tuple[HintRow, ...] = ()
    repairs: tuple[RepairRow, ...] = ()

    def peer(self, host: str, port: int) -> PeerRow | None:
        return next((row for row in self.peers if (row.host, row.port) == (host, port)), None)


Row = MemberRow | PeerRow | LagRow | HintRow | RepairRow
RowT = TypeVar("RowT", MemberRow, PeerRow, LagRow, HintRow, RepairRow)


def encode(bulletin: Bulletin, limit_bytes: int = BULLETIN_BYTES) -> bytes:
    """At most `limit_bytes`; repairs, datacenters and hints are kept first, then the peers, then the members."""
    room = limit_bytes - _ENVELOPE_BYTES
    left_out = bulletin.left_out
    document: dict[str, Any] = {}
    for key in ("repairs", "datacenters", "hints", "peers", "members"):
        kept: list[list[Any]] = []
        for row in getattr(bulletin, key):
            plain = _plain(row)
            room -= len(msgpack.packb(plain))
            if room < 0:
                left_out += 1
            else:
                kept.append(plain)
        document[key] = kept
    document["left_out"] = left_out
    packed: bytes = msgpack.packb(document)
    return packed


def decode(value: bytes) -> Bulletin:
    """The inverse; an empty board is an empty bulletin."""
    if not value:
        return Bulletin()
    document = msgpack.unpackb(value)
    return Bulletin(
        _rows(MemberRow, document.get("members", ())),
        _rows(PeerRow, document.get("peers", ())),
        _rows(LagRow, document.get("datacenters", ())),
        document.get("left_out", 0),
        _rows(HintRow, document.get("hints", ())),
        _rows(RepairRow, document.get("repairs", ())),
    )


def _plain(row: Row) -> list[Any]:
    return [getattr(row, field.name) for field in fields(row)]


def _rows(kind: type[RowT], plain: Iterable[Sequence[Any]]) -> tuple[RowT, ...]:
    known = len(fields(kind))
    return tuple(kind(*row[:known]) for row in plain)


def seen_state(said: NodeState, peer: PeerRow | None) -> NodeState:
    """State of another node: what gossip says; of one that does not gossip, what the connections to it say."""
    if said is not NodeState.UNKNOWN or peer is None:
        return said
    if peer.links_up:
        return NodeState.NORMAL
    return NodeState.DOWN if peer.last_error or peer.times_up else NodeState.UNKNOWN


def shortened(error: str) -> str:
    """A reason that fits a column."""
    return error if len(error) <= ERROR_CHARACTERS else error[: ERROR_CHARACTERS - 3] + "..."


def merged(bulletins: Sequence[Bulletin]) -> Bulletin:
    """The node's view, of those of its processes: connections are added up, a member is named once."""
    members: dict[tuple[str, int], MemberRow] = {}
    peers: dict[tuple[str, int], PeerRow] = {}
    datacenters: dict[str, LagRow] = {}
    for bulletin in bulletins:
        for member in bulletin.members:
            members.setdefault((member.host, member.port), member)
        for peer in bulletin.peers:
            other = peers.get((peer.host, peer.port))
            peers[peer.host, peer.port] = peer if other is None else _together(other, peer)
        for lag in bulletin.datacenters:
            datacenters.setdefault(lag.name, lag)
    return Bulletin(
        tuple(members.values()),
        tuple(peers.values()),
        tuple(datacenters.values()),
        sum(bulletin.left_out for bulletin in bulletins),
        tuple(row for bulletin in bulletins for row in bulletin.hints),
        tuple(row for bulletin in bulletins for row in bulletin.repairs),
    )


def _together(one: PeerRow, other: PeerRow) -> PeerRow:
    """Connections of two processes to one node."""
    return replace(
        one,
        links=one.links + other.links,
        links_up=one.links_up + other.links_up,
        flavour=one.flavour if one.flavour != "unknown" else other.flavour,
        is_silent=one.is_silent or other.is_silent,
        is_resting=one.is_resting or other.is_resting,
        in_flight=one.in_flight + other.in_flight,
        waiting_bytes=one.waiting_bytes + other.waiting_bytes,
        times_up=one.times_up + other.times_up,
        last_error=one.last_error or other.last_error,
    )
