"""Where a key can be copied from, and which of those that have it has the newest.

    Sources(topology, hash).of(key)      owners in the other racks of this datacenter, else in other datacenters
    Sources(topology, hash).far(key)     owners in other datacenters, for keys that nobody here wrote in order
    choose(mine, offers, is_last=...)    whose copy to take: an address, KEEP (mine is right), None (not yet)

Not here: asking them (workers.key_copies), the write table that knows (cluster.write_table).

Invariant: two nodes that look at the same offers choose the same one: the newest stamp; of equal ones one that applied
its writes in order; of equal ones the one that remembers writes for longest; of equal ones the first in the order of
preference, racks by name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from dynomite_mp.cluster.continuum import Continuum, continuum_of
from dynomite_mp.cluster.token import hash_key, tagged
from dynomite_mp.cluster.topology import Node, Rack, Topology

BUSY: Final = 1  # a write of the key is on its way to the datastore
DISORDERED: Final = 2  # writes of the key were applied in another order than their stamps'
LACKING: Final = 4  # an overwrite of the key was skipped, because a later partial write had come before it

KEEP: Final = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What a node's write table knows of a key; nothing, when it was not written lately."""

    stamp: int = 0
    origin_node: int = 0
    flags: int = 0
    ids: frozenset[Any] = frozenset()  # of recent writes since the last overwrite
    overwrite: tuple[int, int] = (0, 0)  # stamp and origin of the last overwrite
    other_ids: frozenset[Any] = frozenset()  # of older writes, and of such that the overwrite has wiped
    in_order: tuple[Any, ...] = field(default=(), compare=False)  # ids, the newest first
    stamps: tuple[int, ...] = field(default=(), compare=False)  # theirs
    horizon: int = field(default=0, compare=False)  # up to this stamp there may have been more
    others_in_order: tuple[Any, ...] = field(default=(), compare=False)  # the other ids and their stamps, likewise
    other_stamps: tuple[int, ...] = field(default=(), compare=False)

    @property
    def is_busy(self) -> bool:
        return bool(self.flags & BUSY)

    @property
    def is_disordered(self) -> bool:
        return bool(self.flags & DISORDERED)

    @property
    def is_lacking(self) -> bool:
        return bool(self.flags & LACKING)

    @property
    def all_ids(self) -> frozenset[Any]:
        return self.ids | self.other_ids

    @property
    def state(self) -> tuple[Any, ...]:
        """Equal as long as no write of the key comes."""
        return self.age, self.flags, self.overwrite, self.all_ids

    @property
    def age(self) -> tuple[int, int]:
        return self.stamp, self.origin_node

    @classmethod
    def of_plain(cls, plain: Any) -> Self:
        """Of the answer to DYNO KEY: [stamp, origin node, flags, [ids], [stamp and origin of the last overwrite],
        [other ids], [stamps of the first ids], horizon, [stamps of the others]]; anything else knows nothing."""
        if not isinstance(plain, list | tuple) or len(plain) < 4:
            return cls()
        ids, other_ids = (
            frozenset(tuple(one) if isinstance(one, list) else one for one in some)
            for some in (plain[3], plain[5] if len(plain) > 5 else ())
        )
        overwrite = plain[4] if len(plain) > 4 else (0, 0)
        in_order, stamps = tuple(plain[3]), tuple(plain[6] if len(plain) > 6 else ())
        last = int(overwrite[0]), int(overwrite[1])
        horizon = int(plain[7]) if len(plain) > 7 else int(plain[0])
        others = tuple(plain[5] if len(plain) > 5 else ()), tuple(plain[8] if len(plain) > 8 else ())
        stamp, origin, flags = int(plain[0]), int(plain[1]), int(plain[2])
        return cls(stamp, origin, flags, ids, last, other_ids, in_order, stamps, horizon, *others)

    def plain(self) -> list[Any]:
        ids, others = list(self.in_order or self.ids), list(self.others_in_order or self.other_ids)
        told = list(self.overwrite), others, list(self.stamps), self.horizon, list(self.other_stamps)
        return [self.stamp, self.origin_node, self.flags, ids, *told]


def is_contained(mine: Known, theirs: Known) -> bool:
    """Whether their value holds every recent write that mine holds."""
    return mine.ids <= theirs.all_ids


def all_disordered(mine: Known, offers: Iterable[tuple[str, Known]]) -> bool:
    """Whether nobody who has the newest write, this node included, had them in order."""
    known = [mine, *(theirs for _address, theirs in offers)]
    newest = max(one.age for one in known)
    return newest > (0, 0) and all(one.is_disordered for one in known if one.age == newest)


def is_first(mine: Known, offers: Sequence[tuple[str, Known]], earlier: Iterable[str]) -> bool:
    """Whether all are to copy from this node: nobody has the writes in order, it has all of them, and of those that
    have the newest it is the first. `earlier`: addresses before it in the order of datacenters and racks."""
    if not all_disordered(mine, offers) or any(theirs.age > mine.age for _address, theirs in offers):
        return False
    rivals = [(address, theirs) for address, theirs in offers if theirs.age == mine.age]
    before = frozenset(earlier)
    return all(theirs.ids <= mine.all_ids for _address, theirs in rivals) and not any(
        theirs.is_lacking < mine.is_lacking or (theirs.is_lacking == mine.is_lacking and address in before)
        for address, theirs in rivals
    )


def choose(
    mine: Known,
    offers: Sequence[tuple[str, Known]],
    *,
    is_last: bool,
    earlier: Iterable[str] | None = None,
    is_lost: bool = False,
    is_judged: bool = False,
    is_whole: bool = False,
) -> str | None:
    """The address to copy from. `is_last`: there is no more waiting for writes that are on their way to the others.
    `is_lost`: this node may no longer have what it knows of. `is_judged`: these replicas' values were found to be
    better than this node's; what is newer here than at all of them came later, or was not known then. `is_whole`: never
    one that lacks a recent write of this node."""

    def is_older(theirs: Known) -> bool:
        """Of equal stamps a comparison has decided by the values, not by who wrote."""
        return theirs.stamp < mine.stamp if is_judged else theirs.age < mine.age

    if not offers:
        return None
    is_common = earlier is None or not mine.is_disordered or all_disordered(mine, offers)
    if earlier is not None and all_disordered(mine, offers):
        if not is_last and any(theirs.age != mine.age for _address, theirs in offers):
            return None  # somebody who will have them in order may only be late
        if is_first(mine, offers, earlier):
            return KEEP
    whole = [(address, theirs) for address, theirs in offers if not theirs.is_lacking]
    if not is_lost and not is_judged and (whole or not mine.is_lacking):
        offers = whole  # what somebody has skipped, somebody else has
        if not offers:
            return KEEP if is_last else None
    ranked = sorted(enumerate(offers), key=lambda item: (*_rank(item[1][1]), -item[0]), reverse=True)
    for _place, (address, theirs) in ranked:
        if is_older(theirs) and not is_lost:
            break  # old writes that came late are not among the recent ones, but newer than theirs all the same
        if is_contained(mine, theirs):
            return address if is_last or is_common or not theirs.is_disordered else None
    address, newest = ranked[0][1]
    if not is_last or (is_whole and not is_older(newest)):
        return None
    return KEEP if is_older(newest) else address


def _rank(theirs: Known) -> tuple[tuple[int, int], bool, bool, int]:
    """Of a source, but for its place. Of equal ones the one that remembers for longest: writes that are in a copy
    without being known to be there would be applied a second time when they are sent again."""
    remembers_from = 0 if theirs.is_disordered else theirs.horizon
    return theirs.age, not theirs.is_disordered, not theirs.is_lacking, -remembers_from


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
        far = [] if others and others[0].dc != topology.local.dc else [*topology.datacenters[1:]]
        self._far = [(rack, continuum_of(rack)) for dc in far for rack in dc.racks]
        self._order = sorted((rack.dc, rack.name) for dc in topology.datacenters for rack in dc.racks)
        self._places = {
            node.address: self._order.index((rack.dc, rack.name))
            for dc in topology.datacenters
            for rack in dc.racks
            for node in rack.nodes
        }
        self._own = continuum_of(topology.local_rack)
        self._own_nodes = topology.local_rack.nodes

    def token(self, key: bytes) -> int:
        return hash_key(self._hash_name, tagged(key, self._hash_tag))

    def of(self, key: bytes) -> list[str]:
        """Addresses in the order of preference."""
        token = self.token(key)
        return [rack.nodes[circle.owner(token)].address for rack, circle in self._racks if circle.owner(token) >= 0]

    def far(self, key: bytes) -> list[str]:
        """The same of other datacenters, when this one has sources."""
        token = self.token(key)
        return [rack.nodes[circle.owner(token)].address for rack, circle in self._far if circle.owner(token) >= 0]

    def ordered(self, addresses: Iterable[str]) -> list[str]:
        """As every node of the cluster orders them: by datacenter and rack."""
        return sorted(addresses, key=lambda address: self._places.get(address, len(self._order)))

    def earlier(self) -> list[str]:
        """Addresses in racks before this node's in that order."""
        own = self._order.index((self._local.dc, self._local.rack))
        return [address for address, place in self._places.items() if place < own]

    def is_own(self, key: bytes) -> bool:
        """Whether this node owns the key in its rack."""
        place = self._own.owner(self.token(key))
        return place >= 0 and self._own_nodes[place].is_local

    def holders(self) -> list[list[Node]]:
        """The nodes of every rack that is a source, in the order of preference."""
        return [list(rack.nodes) for rack, _ in self._racks]

    def peers(self) -> Iterable[str]:
        return [node.address for rack, _ in self._racks for node in rack.nodes]
