"""This node's own record: announcing it, changing it, defending it, and giving way to another that has its place.

    starting --joined--> announced <--> withdrawn (its tokens or its id are somebody else's who lives)
                            |
                            +--leave()--> gone

A new node asks the cluster first and announces itself then, so that it knows whose place it takes. Its tokens may be
held by
  - nobody:                       it announces itself;
  - a node that is down or left, or one at this node's own address (which cannot be there any more):
                                  it takes the place with a higher claim;
  - a node that lives:            it waits until that one is gone, and says so. Starting a second node with a copied
                                  configuration must not take the tokens of the first.
A node that announced itself because nobody answered has claim 0 until it agrees with others, so it gives way to one
that was there before.

Not here: other members' records (membership_view.py).

Invariants: only this class changes boot, incarnation and claim of the own record, and only upwards; a record that is
not announced is in no packet and in no fingerprint.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dynomite_mp.cluster.failure import LocalHealth, Timings
from dynomite_mp.cluster.membership_post import Happened, Post
from dynomite_mp.cluster.membership_record import Liveness, Member, News, Profile, tokens_text
from dynomite_mp.cluster.membership_view import View
from dynomite_mp.enums import NodeState

ASKED_CLAIM = 1
"""Claim of a node that has compared its view with others."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is when it starts."""

    node_id: int
    boot: int
    profile: Profile
    state: NodeState = NodeState.JOINING
    incarnation: int = 0
    """A process that starts again within one boot begins above all incarnations of its predecessor."""


class OwnRecord:
    """What this node says of itself."""

    def __init__(self, identity: Identity, view: View, post: Post, timings: Timings, now_ms: int) -> None:
        news = News(
            identity.node_id, identity.boot, identity.incarnation, Liveness.ALIVE, identity.state, identity.incarnation
        )
        self.member = Member(news, identity.profile, now_ms)
        self.joined = False
        self.leaving = False
        self.rival = 0
        """The living holder of this node's place, if it is another."""
        self.twin = False
        """A living node elsewhere has this node's id."""
        self._view = view
        self._post = post
        self._hints_interval_ms = timings.hints_interval_ms
        self._hints: Mapping[int, int] = {}
        self._hints_told_ms = now_ms - timings.hints_interval_ms

    @property
    def node_id(self) -> int:
        return self.member.node_id

    @property
    def announced(self) -> bool:
        return self._view.own is not None

    # -- announcing and changing ---------------------------------------------------------------------------------------

    def join(self, *, asked: bool) -> None:
        """The cluster was asked, or nobody is there to ask."""
        if not self.joined:
            self.joined = True
            if asked:
                self._keep_claim(ASKED_CLAIM)
            self._announce()

    def agree(self) -> None:
        """Another member's view is equal to this node's: so nobody else has its place."""
        if self.announced and not self.leaving:
            self._keep_claim(ASKED_CLAIM)

    def _announce(self) -> None:
        if not self.joined or self.rival or self.twin or self.leaving or self.announced:
            return
        self._view.set_own(self.member)
        self._change(full=True)
        self._post.event(Happened.ANNOUNCED, self.member)

    def _withdraw(self) -> None:
        self._view.set_own(None)
        self._post.rumours.forget(self.node_id)

    def _change(self, *, full: bool = False) -> None:
        """A new incarnation; with its profile when that is news too, or when others may not know it."""
        member = self.member
        member.incarnation += 1
        if full:
            member.edition = member.incarnation
        self._view.version += 1
        if self.announced:
            self._view.set_own(member)
            self._post.rumours.put(member.news(full=full))

    def set_state(self, state: NodeState) -> None:
        if state is not self.member.state:
            self.member.state = state
            self._change()

    def set_profile(self, profile: Profile) -> None:
        """Other tokens or another address; the claim stays this class's own."""
        self.member.profile = replace(profile, claim=self.member.profile.claim)
        self._change(full=True)

    def set_hints(self, hints: Mapping[int, int], now_ms: int) -> None:
        """How many writes this node keeps for others. Told at once when it begins or ends, else now and then."""
        self._hints = {node_id: count for node_id, count in hints.items() if count > 0}
        if self._hints.keys() != self.member.hints.keys():
            self._tell_hints(now_ms)

    def _tell_hints(self, now_ms: int) -> None:
        self._hints_told_ms = now_ms
        self.member.hints = self._hints
        self._change()

    def run(self, now_ms: int) -> None:
        if self._hints != self.member.hints and now_ms >= self.next_due_ms(now_ms):
            self._tell_hints(now_ms)

    def next_due_ms(self, never_ms: int) -> int:
        if self._hints == self.member.hints:
            return never_ms
        return self._hints_told_ms + self._hints_interval_ms

    def leave(self, *, for_good: bool) -> None:
        """Tell the others: gone for good (it holds no tokens any more), or down until it comes back."""
        self.leaving = True
        self.member.incarnation += 1
        self.member.liveness = Liveness.LEFT if for_good else Liveness.DOWN
        if self.announced:
            self._view.set_own(self.member)
            self._post.rumours.put(self.member.news())

    # -- what others say of this node ----------------------------------------------------------------------------------

    def hear(self, news: News, health: LocalHealth) -> None:
        """News about this node: outdated, an accusation to refute, or a twin."""
        member = self.member
        if news.profile is not None and news.profile.place == member.profile.place:
            self._keep_claim(news.profile.claim)
        if self.leaving:
            return
        alive = news.liveness <= Liveness.SUSPECT
        elsewhere = news.profile is not None and news.profile.address != member.address
        if alive and elsewhere and (news.rank > member.rank or not self.announced):
            # Perhaps this node itself before it moved: then that one will be called down soon.
            self._meet_twin(news)
            return
        if not alive:
            self.twin = False
        if news.rank <= member.rank:
            self._announce()
            return
        if news.boot > member.boot:
            # Nobody but this node raises its boot: it did so in a life that this one has forgotten.
            self._post.event(Happened.BOOT_BEHIND, member, f"the others know boot {news.boot}")
            member.boot = news.boot
        member.incarnation = news.incarnation
        accused = news.liveness is not Liveness.ALIVE
        if not self.announced:
            self._announce()
            return
        self._change(full=not accused)
        if accused:
            health.adjust(+1)
            self._post.figures.refutations += 1
            self._post.event(Happened.REFUTED, member, f"{news.liveness.name.lower()} by {news.by:x}")

    def _keep_claim(self, claim: int) -> None:
        """At least this claim: an earlier life of this node had it, or nobody objects."""
        if claim > self.member.profile.claim:
            self.member.profile = replace(self.member.profile, claim=claim)
            if self.announced:
                self._change(full=True)

    def _meet_twin(self, news: News) -> None:
        assert news.profile is not None
        if not self.twin:
            self.twin = True
            self._withdraw()
            host, port = news.profile.address
            self._post.event(Happened.TWIN, self.member, f"{host}:{port} has this node's id")

    # -- who has this node's place -------------------------------------------------------------------------------------

    def hear_rival(self, news: News, profile: Profile) -> bool:
        """News about another node with this node's place; True if the view should have it."""
        own = self.member.profile
        wins = (profile.claim, news.node_id) > (own.claim, self.node_id)
        if news.liveness >= Liveness.DOWN or profile.address == own.address:
            if wins or not self.announced:
                self._take_place(news.node_id, profile.claim)
            return False
        if self.announced and not wins:
            return False
        if self.rival != news.node_id:
            self.rival = news.node_id
            lost = self.announced
            self._withdraw()
            self._post.event_at(
                Happened.PLACE_LOST if lost else Happened.PLACE_TAKEN,
                news.node_id, profile.address, f"{own.dc}/{own.rack} token {tokens_text(own.tokens)}",
            )  # fmt: skip
        return True

    def rival_changed(self) -> None:
        """The holder of this node's place is something else now, or another."""
        rival = self._view.members.get(self.rival)
        if rival is None or rival.profile.place != self.member.profile.place:
            self.rival = 0
            self._announce()
        elif rival.liveness >= Liveness.DOWN:
            self._take_place(rival.node_id, rival.profile.claim)

    def _take_place(self, holder: int, claim: int) -> None:
        own = self.member.profile
        if claim >= own.claim:
            self.member.profile = replace(own, claim=claim + 1)
        known = self._view.members.get(holder)
        if known is not None:
            self._view.remove(known)
            self._post.rumours.forget(holder)
            self._post.event(Happened.REPLACED, known, "by this node")
        if self.rival == holder:
            self.rival = 0
        if self.announced:
            self._change(full=True)
        else:
            self._announce()
