"""Nodes that do not gossip as we do: C nodes, and seeds of which nothing but a line in a file is known yet.

    dyn_seeds, seed provider --+                                  +--> rows of the topology
    C gossip text -------------+--> Guest by (dc, rack, token) ---+--> records of the C gossip text
    links of the io workers ---+

A guest is never probed: what counts is whether the io worker's link to it is up. As soon as a member of ours holds one
of its tokens or its address, the guest is no longer shown; it was that member's seed.

Invariants: a token of a rack has at most one guest; a guest's address changes only by a newer record or a changed seed;
guests are never removed, because a provider that answers nonsense for once must not take nodes out of the cluster.
"""

from collections.abc import Callable, Iterable, Iterator

from dynomite_mp.cluster.gossip_text import TextRecord
from dynomite_mp.cluster.membership_record import Address, is_wildcard
from dynomite_mp.config_values import Seed
from dynomite_mp.enums import NodeState

GUESTS_LIMIT = 4096
SILENT_ROUNDS = 40
"""Rounds of C's gossip without a newer timestamp after which C calls a node down."""

Token = tuple[str, str, int]


class Guest:
    """One such node."""

    __slots__ = ("dc", "heard_ms", "host", "is_c", "is_silent", "port", "rack", "state", "timestamp_s", "tokens")

    def __init__(self, dc: str, rack: str, tokens: tuple[int, ...], host: str, port: int) -> None:
        self.dc = dc
        self.rack = rack
        self.tokens = tokens
        self.host = host
        self.port = port
        self.timestamp_s = 0  # as C wrote it; 0: it never did
        self.heard_ms = 0  # when that came
        self.state = NodeState.UNKNOWN
        self.is_c = False
        self.is_silent = False

    @property
    def address(self) -> Address:
        return self.host, self.port

    def covers(self) -> Iterator[Token]:
        return ((self.dc, self.rack, token) for token in self.tokens)


class Guests:
    """All guests, and what is known of links to anybody."""

    def __init__(self, own_port: int, gossip_interval_ms: int) -> None:
        self._own_port = own_port
        self._silence_ms = SILENT_ROUNDS * gossip_interval_ms
        self._by_token: dict[Token, Guest] = {}
        self._links: dict[Address, bool] = {}
        self.version = 0

    def __iter__(self) -> Iterator[Guest]:
        return iter(dict.fromkeys(self._by_token.values()))

    def take_seeds(self, seeds: Iterable[Seed]) -> bool:
        """Nodes that a seed provider names; True if any of it is new."""
        before = self.version
        for seed in seeds:
            tokens = tuple(sorted(set(seed.tokens)))
            host, port = seed.address.host, seed.address.port
            if is_wildcard(host):
                continue
            known = self._by_token.get((seed.datacenter, seed.rack, tokens[0]))
            if known is None or known.tokens != tokens:
                self._add(Guest(seed.datacenter, seed.rack, tokens, host, port))
            elif known.address != (host, port) and not known.timestamp_s:
                # What a C node says of itself is fresher than a list; without that the list is all there is.
                known.host, known.port = host, port
                self.version += 1
        return self.version != before

    def _add(self, guest: Guest) -> bool:
        if len(self._by_token) + len(guest.tokens) > GUESTS_LIMIT:
            return False
        for token in guest.covers():
            if (other := self._by_token.get(token)) is not None:
                self._drop(other)
        self._by_token.update(dict.fromkeys(guest.covers(), guest))
        self.version += 1
        return True

    def _drop(self, guest: Guest) -> None:
        for token in guest.covers():
            self._by_token.pop(token, None)

    def take_record(self, record: TextRecord, now_ms: int, *, by_c: bool) -> bool:
        """One record of the C gossip text; True if it brings a node or an address that was not known."""
        guest = self._by_token.get((record.dc, record.rack, record.token))
        if guest is None:
            guest = Guest(record.dc, record.rack, (record.token,), record.address, self._own_port)
            if not self._add(guest):
                return False
            is_news = True
        elif record.timestamp_s <= guest.timestamp_s:
            return False
        else:
            is_news = guest.host != record.address
        if is_news or guest.is_silent or guest.state is not record.state:
            self.version += 1
        guest.is_silent = False
        guest.host = record.address
        guest.timestamp_s = record.timestamp_s
        guest.heard_ms = now_ms
        guest.state = record.state
        guest.is_c = guest.is_c or by_c
        return is_news

    def take_link(self, address: Address, up: bool, is_c: bool | None = None) -> bool:
        """A link of an io worker came up or went down; True if that changes what is shown of a guest."""
        known = self._links.get(address)
        guest = next((g for g in self if g.address == address), None)
        if guest is None:
            return False
        self._links[address] = up
        changed = known != up
        if is_c is not None and guest.is_c != is_c:
            guest.is_c = is_c
            changed = True
        self.version += changed
        return changed

    def state_of(self, guest: Guest) -> NodeState:
        """What to act on: the link decides, then what C says, then how old that is."""
        link = self._links.get(guest.address)
        if link is False or (link is None and guest.is_silent):
            return NodeState.DOWN
        if link is None or guest.state in (NodeState.STANDBY, NodeState.WRITES_ONLY, NodeState.RESUMING):
            return guest.state
        return NodeState.NORMAL

    def run(self, now_ms: int) -> None:
        """Who has not been heard of for long; now and then is enough."""
        for guest in self:
            is_silent = guest.timestamp_s > 0 and now_ms - guest.heard_ms > self._silence_ms
            if is_silent != guest.is_silent:
                guest.is_silent = is_silent
                self.version += 1

    def speakers(self, is_hidden: Callable[[Guest], bool]) -> list[Guest]:
        """C nodes to which gossip text can be sent."""
        return [g for g in self if g.is_c and self._links.get(g.address) is not False and not is_hidden(g)]


def records_of(guest: Guest) -> list[TextRecord]:
    """What C nodes are told of a guest; nothing of one that only a seed list names, they have lists of their own."""
    if not guest.timestamp_s:
        return []
    return [
        TextRecord(guest.dc, guest.rack, token, guest.timestamp_s, guest.state, guest.host) for token in guest.tokens
    ]
