"""What the cluster looks like: nodes in racks in datacenters, as immutable values with a version.

    Topology ── version
      ├─ Datacenter dc1 (the local one is first)
      │    ├─ Rack r1 (racks by name) ── Node, Node, ... (in the order given)
      │    └─ Rack r2
      └─ Datacenter dc2 (the others in the order in which they were first named)

Every rack holds the whole data set; its nodes' tokens cut the circle among them. A change of anything makes a new
Topology with a higher version; receivers swap one reference, so no reader ever sees half a change.

This is not the place that says who owns a token (continuum.pyx), who is alive (membership.py) or where a seed list
comes from (seeds.py).

Invariants: names of datacenters, of racks in one datacenter, and peer addresses are unique; every node has at least
one token and no token occurs twice in a rack; exactly one node is the local one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from dynomite_mp.errors import TopologyError

LARGEST_TOKEN = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Node:
    """One dynomite-mp or C node."""

    dc: str
    rack: str
    host: str
    port: int
    """Peer port (dyn_listen)."""
    tokens: tuple[int, ...]
    is_local: bool = False
    secured: bool = False

    @property
    def name(self) -> str:
        """What Dynomite calls a peer in its REST paths: the host of its seed."""
        return self.host

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Rack:
    """The nodes that share one copy of the data."""

    dc: str
    name: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Datacenter:
    """Racks that are near each other; sorted by name, as all nodes of the cluster sort them."""

    name: str
    racks: tuple[Rack, ...]

    def rack(self, name: str) -> Rack | None:
        return next((rack for rack in self.racks if rack.name == name), None)


def _check(nodes: Sequence[Node]) -> None:
    local = [node for node in nodes if node.is_local]
    if len(local) != 1:
        raise TopologyError(f"{len(local)} nodes are the local one", "exactly one has to be")
    addresses: dict[tuple[str, int], Node] = {}
    owners: dict[tuple[str, str, int], Node] = {}
    for node in nodes:
        if not node.dc or not node.rack or not node.host:
            raise TopologyError(f"node {node.address!r} lacks a datacenter, rack or host", "name all three")
        if not node.tokens:
            raise TopologyError(f"node {node.address} has no token", "give it one, from 0 to 4294967295")
        if (node.host, node.port) in addresses:
            raise TopologyError(f"two nodes have the peer address {node.address}", "give each its own dyn_listen")
        addresses[node.host, node.port] = node
        for token in node.tokens:
            if not 0 <= token <= LARGEST_TOKEN:
                raise TopologyError(f"token {token} of {node.address} is not in 0 .. {LARGEST_TOKEN}", "reduce it")
            other = owners.setdefault((node.dc, node.rack, token), node)
            if other is not node:
                raise TopologyError(
                    f"token {token} belongs to {other.address} and {node.address} of rack {node.dc}/{node.rack}",
                    "give every node of a rack its own",
                )


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole cluster at one moment."""

    version: int
    datacenters: tuple[Datacenter, ...]
    local: Node

    @classmethod
    def build(cls, nodes: Iterable[Node], version: int = 1) -> Self:
        """A topology of these nodes, in the order of the configuration; TopologyError if they make none."""
        members = tuple(replace(node, tokens=tuple(sorted(set(node.tokens)))) for node in nodes)
        _check(members)
        local = next(node for node in members if node.is_local)
        names = dict.fromkeys([local.dc, *(node.dc for node in members)])
        return cls(version, tuple(cls._datacenter(name, members) for name in names), local)

    @staticmethod
    def _datacenter(name: str, members: Sequence[Node]) -> Datacenter:
        racks: dict[str, list[Node]] = {}
        for node in members:
            if node.dc == name:
                racks.setdefault(node.rack, []).append(node)
        return Datacenter(name, tuple(Rack(name, rack, tuple(racks[rack])) for rack in sorted(racks)))

    @property
    def local_dc(self) -> Datacenter:
        return self.datacenters[0]

    @property
    def local_rack(self) -> Rack:
        return next(rack for rack in self.local_dc.racks if rack.name == self.local.rack)

    def replica_addresses(self) -> tuple[str, ...]:
        """Of the other nodes of this datacenter; none when it has one rack, where nobody has what this node has."""
        racks = self.local_dc.racks
        if len(racks) < 2:
            return ()
        return tuple(node.address for rack in racks for node in rack.nodes if not node.is_local)

    def nodes(self) -> Iterator[Node]:
        """All nodes, by datacenter and rack."""
        for dc in self.datacenters:
            for rack in dc.racks:
                yield from rack.nodes

    def datacenter(self, name: str) -> Datacenter | None:
        return next((dc for dc in self.datacenters if dc.name == name), None)

    def rack_order(self, dc: Datacenter) -> tuple[Rack, ...]:
        """Racks of a remote datacenter in the order in which this node tries them: the one at its own rack's place
        first, so that the racks of this datacenter spread over those, then the others by name."""
        place = self.local_dc.racks.index(self.local_rack) % len(dc.racks)
        return (dc.racks[place], *dc.racks[:place], *dc.racks[place + 1 :])

    def with_nodes(self, nodes: Iterable[Node]) -> "Topology":
        """The same cluster with other members, one version later."""
        return Topology.build(nodes, self.version + 1)

    def to_plain(self) -> list[Any]:
        """The value as lists, numbers and strings, for a message."""
        rows = [
            [node.dc, node.rack, node.host, node.port, list(node.tokens), node.is_local, node.secured]
            for node in self.nodes()
        ]
        return [self.version, rows]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> Self:
        """The inverse of to_plain; fields that a later version appends to a row are ignored."""
        version, rows = plain[0], plain[1]
        nodes = [
            Node(dc, rack, host, int(port), tuple(tokens), bool(is_local), bool(secured))
            for dc, rack, host, port, tokens, is_local, secured, *_ in rows
        ]
        return cls.build(nodes, int(version))
