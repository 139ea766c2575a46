"""The table of members: which news changes it, who holds a place when two want it, and its fingerprint.

    news --apply()--> nothing | added | changed | unknown

A place is (datacenter, rack, tokens). When a node is replaced, old and new have one place; the one with the higher
(claim, node id) holds it and the other is dropped, at every node alike, in whatever order the news come.

The fingerprint is the exclusive or of one hash per member that is not gone for good. Equal views have equal
fingerprints; it rides on every packet, so that a difference is noticed within a probe. A suspicion does not count:
it is a rumour that ends by itself.

Not here: this node's own record is changed by membership.py only.

Invariants: two members never hold one place; `version` grows with every change that readers of a topology can see.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import Enum, auto
from hashlib import blake2b

from dynomite_mp.cluster.membership_record import LARGEST_ID, Liveness, Member, News, Profile

MEMBERS_LIMIT = 4096

Entry = list[int]
Place = tuple[str, str, tuple[int, ...]]


class Outcome(Enum):
    """What a piece of news did."""

    NOTHING = auto()
    """Known already, older, or about a node that lost its place."""
    UNKNOWN = auto()
    """It cannot be used: this node has never seen the profile that it refers to."""
    ADDED = auto()
    CHANGED = auto()


class View:
    """All members, and their sum. This node itself is `own` while it is announced."""

    def __init__(self, now_ms: int, first_version: int = 1) -> None:
        self.members: dict[int, Member] = {}
        self.places: dict[Place, int] = {}
        self.version = first_version
        self.changed_ms = now_ms
        self.own: Member | None = None
        self.fingerprint = 0
        self.replaced: list[tuple[Member, int]] = []
        """Members that lost their place and the new holder's id, until the owner of this view takes them."""
        self._own_hash = 0
        self._present: list[Member] | None = None

    def set_own(self, own: Member | None) -> None:
        """This node's record was announced, changed or withdrawn."""
        self.own = own
        self.fingerprint ^= self._own_hash
        self._own_hash = _hash_of(own) if own else 0
        self.fingerprint ^= self._own_hash

    def present(self) -> list[Member]:
        """The others that are alive or suspected; not to be changed."""
        if self._present is None:
            self._present = [member for member in self.members.values() if member.is_present]
        return self._present

    def down(self) -> list[Member]:
        return [member for member in self.members.values() if member.liveness is Liveness.DOWN]

    def apply(self, news: News, now_ms: int) -> Outcome:
        """Take news about another member."""
        known = self.members.get(news.node_id)
        if known is None:
            return self._add(news, now_ms)
        if news.rank <= known.rank:
            return Outcome.NOTHING
        if news.profile is None and (news.boot, news.edition) != (known.boot, known.edition):
            return Outcome.UNKNOWN
        profile = news.profile or known.profile
        if profile.place != known.profile.place:
            if not self._win_place(profile.place, profile.claim, news.node_id):
                return Outcome.NOTHING
            del self.places[known.profile.place]
            self.places[profile.place] = news.node_id
        self._overwrite(known, news, profile, now_ms)
        return Outcome.CHANGED

    def _overwrite(self, known: Member, news: News, profile: Profile, now_ms: int) -> None:
        visible = _visible(known)
        self.fingerprint ^= _hash_of(known)
        if news.liveness is not known.liveness:
            known.changed_ms = now_ms
            if (news.liveness <= Liveness.SUSPECT) != known.is_present:
                self._present = None
        if news.boot != known.boot:
            known.heard_ms = 0
        known.boot, known.incarnation, known.liveness = news.boot, news.incarnation, news.liveness
        known.state, known.edition, known.hints, known.profile = news.state, news.edition, news.hints, profile
        self.fingerprint ^= _hash_of(known)
        self.changed_ms = now_ms
        if visible != _visible(known):
            self.version += 1

    def _add(self, news: News, now_ms: int) -> Outcome:
        if news.profile is None or len(self.members) >= MEMBERS_LIMIT:
            return Outcome.UNKNOWN
        if not self._win_place(news.profile.place, news.profile.claim, news.node_id):
            return Outcome.NOTHING
        member = self.members[news.node_id] = Member(news, news.profile, now_ms)
        self.places[news.profile.place] = news.node_id
        self.fingerprint ^= _hash_of(member)
        self.changed_ms = now_ms
        self.version += 1
        self._present = None
        return Outcome.ADDED

    def _win_place(self, place: Place, claim: int, node_id: int) -> bool:
        """Clear the place for a node, or say that the present holder keeps it."""
        holder = self.members.get(self.places.get(place, 0))
        if holder is None or holder.node_id == node_id:
            return True
        if (claim, node_id) < (holder.profile.claim, holder.node_id):
            return False
        self.remove(holder)
        self.replaced.append((holder, node_id))
        return True

    def remove(self, member: Member) -> None:
        """As if it had never been there."""
        del self.members[member.node_id]
        del self.places[member.profile.place]
        self.fingerprint ^= _hash_of(member)
        self.version += 1
        self._present = None

    def expire(self, now_ms: int, left_keep_ms: int) -> None:
        """Forget those who left long ago."""
        for member in list(self.members.values()):
            if member.liveness is Liveness.LEFT and now_ms - member.changed_ms > left_keep_ms:
                self.remove(member)

    # -- exchange of whole views ---------------------------------------------------------------------------------------

    def _all(self) -> Iterator[Member]:
        yield from self.members.values()
        if self.own:
            yield self.own

    def entries(self) -> list[Entry]:
        """All that is known, as [id, boot, incarnation, liveness], sorted by id."""
        return sorted([m.node_id, m.boot, m.incarnation, _settled(m.liveness)] for m in self._all())

    def compare(self, low: int, high: int, entries: Iterable[Entry]) -> tuple[list[News], list[int]]:
        """What the other side lacks of ids low..high, as full news, and the ids of which it knows more."""
        theirs = {entry[0]: (entry[1], entry[2], entry[3]) for entry in entries}
        lacking, wanted = [], []
        for member in self._all():
            if not low <= member.node_id <= high:
                continue
            rank = member.boot, member.incarnation, int(_settled(member.liveness))
            other = theirs.pop(member.node_id, None)
            if other is None or other < rank:
                lacking.append(settled_news(member))
            elif other > rank:
                wanted.append(member.node_id)
        return lacking, wanted + [node_id for node_id in theirs if low <= node_id <= high]

    def full_news(self, ids: Iterable[int]) -> list[News]:
        """What is known of these, as far as it is."""
        known = {**self.members, **({self.own.node_id: self.own} if self.own else {})}
        return [settled_news(known[node_id]) for node_id in ids if node_id in known]


def _hash_of(member: Member) -> int:
    if member.liveness is Liveness.LEFT:
        return 0
    down = member.liveness is Liveness.DOWN
    packed = b"%d/%d/%d/%d" % (member.node_id, member.boot, member.incarnation, down)
    return int.from_bytes(blake2b(packed, digest_size=8).digest(), "big")


def _visible(member: Member) -> tuple[object, ...]:
    """What readers of a topology see."""
    return member.shown_state, member.liveness is Liveness.LEFT, member.boot, member.profile, member.hints


def _settled(liveness: Liveness) -> Liveness:
    return Liveness.ALIVE if liveness is Liveness.SUSPECT else liveness


def settled_news(member: Member) -> News:
    """Full news without suspicion: accusations travel as rumours only, each with its accuser."""
    news = member.news(full=True)
    return news if news.liveness is not Liveness.SUSPECT else replace(news, liveness=Liveness.ALIVE)


def ranges(entries: list[Entry], size: int) -> list[tuple[int, int, list[Entry]]]:
    """Sorted entries in pieces (low, high, entries) that together cover all ids; at least one piece."""
    pieces: list[tuple[int, int, list[Entry]]] = []
    low = 0
    for start in range(0, max(len(entries), 1), size):
        piece = entries[start : start + size]
        last = start + size >= len(entries)
        high = LARGEST_ID if last else piece[-1][0]
        pieces.append((low, high, piece))
        low = high + 1
    return pieces
