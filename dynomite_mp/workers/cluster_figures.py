"""The cluster in `status` and `/metrics`: every other node and every datacenter, of what the node's processes post.

    members (as gossip says), connections (io, replication), lags (replication) --> PeerStatus, DatacenterStatus

Not here: reading shared memory (status, node_figures), how it is shown (status_text, metrics).

A node whose gossip has not spoken yet, or whose io worker does not run, has connections but no members; then what is
known of the connections is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dynomite_mp.enums import NodeState
from dynomite_mp.ipc.bulletin import Bulletin, LagRow, MemberRow, PeerRow, seen_state

NO_PEER = PeerRow("", 0)


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """Another node of the cluster, as this one sees it."""

    address: str
    name: str  # what /peer/VERB/NAME calls it
    dc: str
    rack: str
    token: int | None
    token_count: int
    client_port: int  # 0: not known
    state: str
    flavour: str  # ours, c, unknown
    connected: bool
    links: int
    links_up: int
    is_silent: bool
    is_resting: bool
    in_flight: int
    waiting_bytes: int
    times_up: int
    last_error: str


@dataclass(frozen=True, slots=True)
class DatacenterStatus:
    """A datacenter, and how far it lags behind this node. Of this node's own only the nodes are counted."""

    name: str
    is_local: bool
    racks: int
    nodes: int
    nodes_connected: int
    waiting: int
    waiting_bytes: int
    oldest_ms: int
    sent: int
    failed_over: int
    dropped: int


def peers_of(seen: Bulletin) -> tuple[PeerStatus, ...]:
    """Members by datacenter, rack and token, then nodes of which there are only connections."""
    connections = {(row.host, row.port): row for row in seen.peers}
    others = [row for row in seen.members if not row.is_local]
    known = [_peer(member, connections.pop((member.host, member.port), NO_PEER)) for member in others]
    unknown = [_peer(MemberRow("", "", row.host, row.port, 0, 0), row) for row in connections.values()]
    known.sort(key=lambda row: (row.dc, row.rack, row.token or 0))
    return (*known, *unknown)


def _peer(member: MemberRow, row: PeerRow) -> PeerStatus:
    flavour = row.flavour if row.flavour != "unknown" else member.flavour
    return PeerStatus(
        address=f"[{member.host}]:{member.port}" if ":" in member.host else f"{member.host}:{member.port}",
        name=member.host,
        dc=member.dc,
        rack=member.rack,
        token=member.token if member.token_count else None,
        token_count=member.token_count,
        client_port=member.client_port,
        state=seen_state(NodeState(member.state), row).name,
        flavour=flavour,
        connected=row.links_up > 0,
        links=row.links,
        links_up=row.links_up,
        is_silent=row.is_silent,
        is_resting=row.is_resting,
        in_flight=row.in_flight,
        waiting_bytes=row.waiting_bytes,
        times_up=row.times_up,
        last_error=row.last_error,
    )


def datacenters_of(seen: Bulletin) -> tuple[DatacenterStatus, ...]:
    """This node's own first."""
    lags = {row.name: row for row in seen.datacenters}
    connected = {(row.host, row.port) for row in seen.peers if row.links_up}
    members: dict[str, list[MemberRow]] = {}
    for member in seen.members:
        members.setdefault(member.dc, []).append(member)
    names = sorted(members | dict.fromkeys(lags), key=lambda name: (not _is_local(members, name), name))
    return tuple(
        _datacenter(members.get(name, []), connected, lags.get(name, LagRow(name)), _is_local(members, name))
        for name in names
    )


def _is_local(members: Mapping[str, list[MemberRow]], name: str) -> bool:
    return any(member.is_local for member in members.get(name, ()))


def _datacenter(
    members: list[MemberRow], connected: set[tuple[str, int]], lag: LagRow, is_local: bool
) -> DatacenterStatus:
    return DatacenterStatus(
        name=lag.name,
        is_local=is_local,
        racks=len({member.rack for member in members}),
        nodes=len(members),
        nodes_connected=sum(member.is_local or (member.host, member.port) in connected for member in members),
        waiting=lag.waiting,
        waiting_bytes=lag.waiting_bytes,
        oldest_ms=lag.oldest_ms,
        sent=lag.sent,
        failed_over=lag.failed_over,
        dropped=lag.dropped,
    )
