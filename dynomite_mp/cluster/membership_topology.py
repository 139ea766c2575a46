"""The snapshot of the cluster that gossip publishes: rows of plain values that topology.py and others read.

    [version, [row, row, ...]]      row = the columns of topology.Node, then those of NodeRow

Topology.from_plain() reads the first columns of each row and ignores the rest; readers that want states, ports or hint
figures use decode_snapshot().

Invariants: a snapshot always makes a Topology: one local node, no address twice, no token twice in a rack. Where
members contradict each other, the local node comes first, then the higher claim; the loser lacks the contested tokens,
or is left out when it has no other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack  # type: ignore[import-untyped]

from dynomite_mp.cluster.membership_guests import Guest
from dynomite_mp.cluster.membership_record import Address, Member
from dynomite_mp.cluster.topology import Node
from dynomite_mp.enums import NodeState, SecureServerOption

OURS, C, UNKNOWN = "ours", "c", "unknown"
"""Flavours: a member of our gossip, a C node, a seed that was not heard of yet."""


@dataclass(slots=True)
class NodeRow:
    """One node of a snapshot. The first columns are those of topology.Node."""

    dc: str
    rack: str
    host: str
    port: int
    tokens: tuple[int, ...]
    is_local: bool = False
    secured: bool = False
    node_id: int = 0
    """0 for a node that is not a member of our gossip."""
    boot: int = 0
    state: NodeState = NodeState.UNKNOWN
    flavour: str = UNKNOWN
    client_port: int = 0
    stats_port: int = 0
    hash: str = ""
    hash_tag: bytes = b""
    version: str = ""
    hints: Mapping[int, int] = field(default_factory=dict)
    """Writes that this node keeps for others, by their node id."""

    @property
    def address(self) -> Address:
        return self.host, self.port

    def node(self) -> Node:
        return Node(self.dc, self.rack, self.host, self.port, self.tokens, self.is_local, self.secured)

    def to_plain(self) -> list[Any]:
        return [
            self.dc, self.rack, self.host, self.port, list(self.tokens), self.is_local, self.secured, self.node_id,
            self.boot, int(self.state), self.flavour, self.client_port, self.stats_port, self.hash, self.hash_tag,
            self.version, dict(self.hints),
        ]  # fmt: skip

    @classmethod
    def from_plain(cls, plain: list[Any]) -> "NodeRow":
        """The inverse; columns that a later version appends are ignored."""
        row = cls(*plain[:COLUMNS])
        row.tokens = tuple(row.tokens)
        row.state = NodeState(row.state)
        return row


COLUMNS = len(NodeRow.__dataclass_fields__)


def member_row(member: Member, *, is_local: bool = False) -> NodeRow:
    profile = member.profile
    return NodeRow(
        profile.dc, profile.rack, profile.host, profile.port, profile.tokens, is_local,
        node_id=member.node_id, boot=member.boot, state=member.shown_state, flavour=OURS,
        client_port=profile.client_port, stats_port=profile.stats_port, hash=profile.hash, hash_tag=profile.hash_tag,
        version=profile.version, hints=member.hints,
    )  # fmt: skip


def guest_row(guest: Guest, state: NodeState) -> NodeRow:
    return NodeRow(
        guest.dc, guest.rack, guest.host, guest.port, guest.tokens, state=state, flavour=C if guest.is_c else UNKNOWN
    )


def settle(rows: Iterable[NodeRow], option: SecureServerOption) -> tuple[list[NodeRow], list[str]]:
    """Rows that make a topology, of rows in the order of precedence with the local one first; and what had to go."""
    kept: list[NodeRow] = []
    clashes: list[str] = []
    addresses: dict[Address, NodeRow] = {}
    owners: dict[tuple[str, str, int], NodeRow] = {}
    for row in rows:
        if (other := addresses.get(row.address)) is not None:
            clashes.append(f"{row.host}:{row.port} is the address of {row.dc}/{row.rack} and {other.dc}/{other.rack}")
            continue
        taken = {token: owners[row.dc, row.rack, token] for token in row.tokens if (row.dc, row.rack, token) in owners}
        for token, owner in taken.items():
            clashes.append(
                f"token {token} of {row.dc}/{row.rack} belongs to {owner.host}:{owner.port} and {row.host}:{row.port}"
            )
        row.tokens = tuple(token for token in row.tokens if token not in taken)
        if not row.tokens:
            continue
        addresses[row.address] = row
        owners.update(dict.fromkeys(((row.dc, row.rack, token) for token in row.tokens), row))
        kept.append(row)
    local = kept[0]
    for row in kept:
        row.secured = is_secured(option, local, row)
    kept.sort(key=lambda row: (row.dc, row.rack, row.tokens))
    return kept, clashes


def is_secured(option: SecureServerOption, local: NodeRow, other: NodeRow) -> bool:
    """Whether this node encrypts what it sends to another."""
    if option is SecureServerOption.ALL:
        return True
    if option is SecureServerOption.NONE or other is local:
        return False
    elsewhere = other.dc != local.dc
    return elsewhere or (option is SecureServerOption.RACK and other.rack != local.rack)


def encode_snapshot(version: int, rows: Iterable[NodeRow]) -> bytes:
    packed: bytes = msgpack.packb([version, [row.to_plain() for row in rows]])
    return packed


def decode_snapshot(blob: bytes) -> tuple[int, list[NodeRow]]:
    """Version and rows of a published snapshot."""
    version, rows, *_ = msgpack.unpackb(blob, strict_map_key=False)
    return version, [NodeRow.from_plain(row) for row in rows]
