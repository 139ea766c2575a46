"""Where a key can be copied from, and which of those that have it has the newest.

    Sources(topology, hash).of(key)      owners in the other racks of this datacenter, else in other datacenters
    choose(mine, offers, is_last=...)    whose copy to take: an address, KEEP (mine is the newest), None (not yet)

Not here: asking them (workers.key_copies), the write table that knows (cluster.write_table).

Invariant: two nodes that look at the same offers choose the same one: the newest stamp; of equal ones one that applied
its writes in order; of equal ones the first in the order of preference, racks by name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from dynomite_mp.cluster.continuum import Continuum, continuum_of
from dynomite_mp.cluster.token import hash_key, tagged
from dynomite_mp.cluster.topology import Node, Rack, Topology

BUSY: Final = 1  # a write of the key is on its way to the datastore
DISORDERED: Final = 2  # writes of the key were applied in another order than their stamps'

KEEP: Final = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What a node's write table knows of a key; nothing, when it was not written lately."""

    stamp: int = 0
    origin_node: int = 0
    flags: int = 0
    ids: frozenset[Any] = frozenset()
    overwrite: tuple[int, int] = (0, 0)  # stamp and origin of the last overwrite

    @property
    def is_busy(self) -> bool:
        return bool(self.flags & BUSY)

    @property
    def is_disordered(self) -> bool:
        return bool(self.flags & DISORDERED)

    @property
    def age(self) -> tuple[int, int]:
        return self.stamp, self.origin_node

    @classmethod
    def of_plain(cls, plain: Any) -> Self:
        """Of the answer to DYNO KEY: [stamp, origin node, flags, [ids], [stamp and origin of the last overwrite]];
        anything else knows nothing."""
        if not isinstance(plain, list | tuple) or len(plain) < 4:
            return cls()
        ids = frozenset(tuple(one) if isinstance(one, list) else one for one in plain[3])
        overwrite = plain[4] if len(plain) > 4 else (0, 0)
        return cls(int(plain[0]), int(plain[1]), int(plain[2]), ids, (int(overwrite[0]), int(overwrite[1])))

    def plain(self) -> list[Any]:
        return [self.stamp, self.origin_node, self.flags, list(self.ids), list(self.overwrite)]


def is_contained(mine: Known, theirs: Known) -> bool:
    """Whether their value holds every recent write that mine holds."""
    return mine.ids <= theirs.ids


def choose(mine: Known, offers: Sequence[tuple[str, Known]], *, is_last: bool) -> str | None:
    """The address to copy from. `is_last`: there is no more waiting for writes that are on their way to the others."""
    if not offers:
        return None
    ranked = sorted(
        enumerate(offers), key=lambda item: (item[1][1].age, not item[1][1].is_disordered, -item[0]), reverse=True
    )
    for _place, (address, theirs) in ranked:
        if is_contained(mine, theirs):
            return address
    address, newest = ranked[0][1]
    if not is_last:
        return None
    return KEEP if mine.age > newest.age else address


class Sources:
    """Of one topology."""

    def __init__(self, topology: Topology, *, hash_name: str, hash_tag: bytes) -> None:
        self._hash_name = hash_name
        self._hash_tag = hash_tag or None
        self._local = topology.local
        others = [rack for rack in topology.local_dc.racks if rack.name != topology.local.rack]
        if not others:
            others = [rack for dc in topology.datacenters[1:] for rack in topology.rack_order(dc)]
        self._racks: list[tuple[Rack, Continuum]] = [(rack, continuum_of(rack)) for rack in others]
        far = [rack for dc in topology.datacenters[1:] for rack in topology.rack_order(dc) if rack not in others]
        self._far: list[tuple[Rack, Continuum]] = [(rack, continuum_of(rack)) for rack in far]
        self._own = continuum_of(topology.local_rack)
        self._own_nodes = topology.local_rack.nodes

    def token(self, key: bytes) -> int:
        return hash_key(self._hash_name, tagged(key, self._hash_tag))

    def of(self, key: bytes) -> list[str]:
        """Addresses in the order of preference."""
        token = self.token(key)
        return [rack.nodes[circle.owner(token)].address for rack, circle in self._racks if circle.owner(token) >= 0]

    def everywhere(self, key: bytes) -> list[str]:
        """The same, and the owners in the other datacenters: for a write that this whole datacenter may lack."""
        token = self.token(key)
        racks = (*self._racks, *self._far)
        return [rack.nodes[circle.owner(token)].address for rack, circle in racks if circle.owner(token) >= 0]

    def is_own(self, key: bytes) -> bool:
        """Whether this node owns the key in its rack."""
        place = self._own.owner(self.token(key))
        return place >= 0 and self._own_nodes[place].is_local

    def holders(self) -> list[list[Node]]:
        """The nodes of every rack that is a source, in the order of preference."""
        return [list(rack.nodes) for rack, _ in self._racks]

    def peers(self) -> Iterable[str]:
        return [node.address for rack, _ in self._racks for node in rack.nodes]
