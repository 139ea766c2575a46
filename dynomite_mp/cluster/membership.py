"""Who is in the cluster and who is alive: one node's part of a SWIM protocol, as a state machine.

    datagram --step()--+                                              +--> packets to send
    time     --tick()--+--> own record, view, prober, exchanger, ... -+--> events
    orders   --set_*---+                                              +--> when to call tick() again

    membership_own       this node's record: announcing, refuting, replacing      membership_packets   bytes
    membership_view      the others' records, places, fingerprint                 membership_record    one member
    membership_probe     are you there                                            membership_rumours   news to pass on
    membership_exchange  joining, comparing whole views, finding the lost         membership_topology  snapshots
    membership_guests    C nodes and silent seeds                                 failure              numbers

It has no socket, no clock and no randomness of its own: `now_ms` (any clock that never goes back) and a Random are
passed in, and what it wants done is returned. So a whole cluster of them runs in the simulator (tests/sim).

Invariants: no datagram, whatever its bytes, raises; every method that takes `now_ms` returns Outputs that contain all
packets and events since the last one; tick() called late blames nobody but this node.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]

from dynomite_mp.cluster import gossip_text, membership_topology
from dynomite_mp.cluster.failure import LAN, Suspicion, Timings
from dynomite_mp.cluster.gossip_text import TextRecord
from dynomite_mp.cluster.membership_exchange import Exchanger
from dynomite_mp.cluster.membership_guests import Guest, Guests, records_of
from dynomite_mp.cluster.membership_own import Identity, OwnRecord
from dynomite_mp.cluster.membership_packets import BadMac, Kind, Packet, Writer, decode
from dynomite_mp.cluster.membership_post import Figures, Happened, Outputs, Post
from dynomite_mp.cluster.membership_probe import NEVER_MS, Prober
from dynomite_mp.cluster.membership_record import Address, BadNews, Liveness, Member, News, Profile
from dynomite_mp.cluster.membership_record import decode as decode_news
from dynomite_mp.cluster.membership_topology import NodeRow
from dynomite_mp.cluster.membership_view import Outcome, View
from dynomite_mp.config_values import Seed
from dynomite_mp.enums import NodeState, SecureServerOption

if TYPE_CHECKING:
    from random import Random


class Membership:
    """One node's view of the cluster."""

    def __init__(
        self,
        identity: Identity,
        rng: "Random",
        now_ms: int,
        *,
        timings: Timings = LAN,
        key: bytes | None = None,
        secure: SecureServerOption = SecureServerOption.NONE,
        c_interval_ms: int = 30_000,
        first_version: int = 1,
        gossips: bool = True,
    ) -> None:
        """`first_version` is above every version that this node published before. A node that does not gossip asks
        nobody and is asked by nobody: it knows its seeds, C gossip text and links."""
        self._timings = timings
        self._rng = rng
        self._key = key
        self._secure = secure
        self._gossips = gossips
        self._now_ms = now_ms
        self._wakeup_ms = now_ms
        self._next_gossip_ms = now_ms
        self.writer = Writer(identity.node_id, key)
        self.view = View(now_ms, first_version)
        self._post = Post(self.writer, self.view, timings, rng)
        self.own = OwnRecord(identity, self.view, self._post, timings, now_ms)
        self.prober = Prober(identity.profile.dc, self.view, self._post, timings, rng)
        self._exchanger = Exchanger(self.own, self.view, self.prober, self._post, timings, rng, now_ms)
        self.guests = Guests(identity.profile.port, c_interval_ms)
        self._suspects: set[int] = set()

    # -- inputs --------------------------------------------------------------------------------------------------------

    def start(self, now_ms: int, seeds: Iterable[Seed] = (), contacts: Iterable[Address] = ()) -> Outputs:
        """Begin: ask the seeds for the cluster."""
        self._now_ms = self._wakeup_ms = now_ms
        self.prober.start(now_ms)
        self._take_seeds(seeds, contacts)
        return self.tick(now_ms)

    def set_seeds(self, now_ms: int, seeds: Iterable[Seed], contacts: Iterable[Address] = ()) -> Outputs:
        """What a seed provider says: nodes with their places, and addresses where members may be found."""
        self._enter(now_ms)
        self._take_seeds(seeds, contacts)
        return self._finish()

    def _take_seeds(self, seeds: Iterable[Seed], contacts: Iterable[Address]) -> None:
        listed = list(seeds)
        self.guests.take_seeds(listed)
        if self._gossips:
            self._exchanger.set_contacts([*((s.address.host, s.address.port) for s in listed), *contacts])

    def step(self, now_ms: int, source: Address, data: bytes) -> Outputs:
        """A datagram came."""
        self._enter(now_ms)
        figures = self._post.figures
        figures.packets_in += 1
        try:
            packet = decode(data, self._key)
        except BadMac:
            figures.bad_signatures += 1
            return self._finish()
        except BadNews:
            figures.bad_packets += 1
            return self._finish()
        if packet.sender == self.own.node_id and source == self.own.member.address:
            return self._finish()  # one of the seeds is this node itself
        if (sender := self.view.members.get(packet.sender)) is not None:
            sender.stamp = packet.stamp
        from_exchange = packet.kind is Kind.RECORDS
        for raw in packet.rumours:
            self._hear(raw, from_exchange=from_exchange)
        self._act(source, packet)
        return self._finish()

    def tick(self, now_ms: int) -> Outputs:
        """Time has passed: at the latest at `next_wakeup_ms` of the last Outputs."""
        self._enter(now_ms)
        for node_id in self.prober.run(now_ms):
            self._accuse(node_id)
        self._end_suspicions()
        if now_ms >= self.prober.next_probe_ms:
            self.prober.probe_next(now_ms)
        self._exchanger.run(now_ms)
        self.own.run(now_ms)
        self.guests.run(now_ms)
        if len(self._post.rumours) and now_ms >= self._next_gossip_ms:
            self._next_gossip_ms = now_ms + self._timings.gossip_interval_ms
            self._gossip()
        return self._finish()

    def take_link(self, now_ms: int, address: Address, up: bool, is_c: bool | None = None) -> Outputs:
        """An io worker's link to a peer came up or went down. For a C node that decides; a member is asked at once."""
        self._enter(now_ms)
        member = next((m for m in self.view.members.values() if m.address == address), None)
        if member is None:
            self.guests.take_link(address, up, is_c)
        elif member.is_present and not up:
            self.prober.probe(member, now_ms)
        elif member.liveness is Liveness.DOWN and up:
            self.prober.call(address, member, now_ms)
        return self._finish()

    def take_c_text(self, now_ms: int, text: bytes | str) -> Outputs:
        """Gossip text came from a C node."""
        self._enter(now_ms)
        records, bad = gossip_text.parse(text)
        self._post.figures.bad_packets += bad > 0
        for record in records:
            self._take_record(record, by_c=True)
        return self._finish()

    # -- orders --------------------------------------------------------------------------------------------------------

    def set_state(self, now_ms: int, state: NodeState) -> Outputs:
        """This node's own state."""
        self._enter(now_ms)
        self.own.set_state(state)
        return self._finish()

    def set_profile(self, now_ms: int, profile: Profile) -> Outputs:
        """This node's tokens or addresses changed."""
        self._enter(now_ms)
        self.own.set_profile(profile)
        return self._finish()

    def set_hints(self, now_ms: int, hints: Mapping[int, int]) -> Outputs:
        """How many writes this node keeps for others, by node id."""
        self._enter(now_ms)
        self.own.set_hints(hints, now_ms)
        return self._finish()

    def leave(self, now_ms: int, *, for_good: bool) -> Outputs:
        """Tell everybody at once that this node goes: for good, or down until it comes back. The caller sends the
        packets twice, a moment apart: there is nobody left to repeat what is lost."""
        self._enter(now_ms)
        was_announced = self.own.announced
        self.own.leave(for_good=for_good)
        if was_announced:
            farewell = [self.own.member.news().encode()]
            for member in self.view.present():
                self._post.send(member.address, Kind.RUMOURS, (), member, farewell)
        return self._finish()

    def forget(self, now_ms: int, node_id: int) -> Outputs:
        """An operator says that a member that is down will not come back: it holds no tokens any more."""
        self._enter(now_ms)
        member = self.view.members.get(node_id)
        if member is not None and member.liveness is Liveness.DOWN:
            self._declare(member, Liveness.LEFT)
        return self._finish()

    # -- reading -------------------------------------------------------------------------------------------------------

    @property
    def figures(self) -> Figures:
        return self._post.figures

    @property
    def announced(self) -> bool:
        """Whether the others are told of this node: it has joined, and its tokens are nobody else's."""
        return self.own.announced

    @property
    def version(self) -> int:
        """Grows with every change that a snapshot shows."""
        return self.view.version + self.guests.version

    def members(self) -> Iterator[Member]:
        """All members, this node first."""
        yield self.own.member
        yield from self.view.members.values()

    def hints_for_me(self) -> dict[int, int]:
        """Living members of this datacenter that keep writes for this node, and how many."""
        own = self.own.member
        return {
            m.node_id: m.hints[own.node_id]
            for m in self.view.present()
            if m.profile.dc == own.profile.dc and m.hints.get(own.node_id)
        }

    def snapshot(self) -> tuple[int, list[NodeRow], list[str]]:
        """Version, rows in their common order, and contradictions that had to be settled."""
        rows, clashes = membership_topology.settle(self._rows(), self._secure)
        return self.version, rows, clashes

    def to_topology(self) -> bytes:
        """The snapshot that is published."""
        version, rows, _ = self.snapshot()
        return membership_topology.encode_snapshot(version, rows)

    def _rows(self) -> Iterator[NodeRow]:
        """This node, then whoever has better evidence first."""
        yield membership_topology.member_row(self.own.member, is_local=True)
        others = sorted(self.view.members.values(), key=lambda m: (m.profile.claim, m.node_id), reverse=True)
        yield from (membership_topology.member_row(m) for m in others if m.is_present)
        hidden = self._hidden_guests()
        states = [(guest, self.guests.state_of(guest)) for guest in self.guests if guest not in hidden]
        yield from (membership_topology.guest_row(g, s) for g, s in states if g.is_c and s is not NodeState.DOWN)
        yield from (membership_topology.member_row(m) for m in others if m.liveness is Liveness.DOWN)
        yield from (membership_topology.guest_row(g, s) for g, s in states if not g.is_c or s is NodeState.DOWN)

    def _hidden_guests(self) -> set[Guest]:
        """Guests that are members under another name. A C node may take over from a member that is gone."""
        own = self.own.member
        tokens = {(own.profile.dc, own.profile.rack, token) for token in own.profile.tokens}
        addresses = {own.address}
        gone = set()
        for member in self.view.members.values():
            covered = {(member.profile.dc, member.profile.rack, token) for token in member.profile.tokens}
            if member.is_present:
                tokens |= covered
                addresses.add(member.address)
            else:
                gone |= covered
        hidden = set()
        for guest in self.guests:
            covers = set(guest.covers())
            if guest.address in addresses or covers & tokens or (covers & gone and not guest.is_c):
                hidden.add(guest)
        return hidden

    # -- C gossip text -------------------------------------------------------------------------------------------------

    def c_text(self, wall_s: int) -> str:
        """What this node tells C nodes; `wall_s` is unix time."""
        records: list[TextRecord] = []
        for member in self.members():
            if member.liveness is Liveness.LEFT:
                continue
            age_s = 0 if member.is_present else max(0, self._now_ms - member.changed_ms) // 1000
            profile, state = member.profile, member.shown_state
            records += [
                TextRecord(profile.dc, profile.rack, token, wall_s - age_s, state, profile.host)
                for token in profile.tokens
            ]
        hidden = self._hidden_guests()
        for guest in self.guests:
            if guest not in hidden:
                records += records_of(guest)
        return gossip_text.write(records)

    def c_peers(self) -> list[Address]:
        """C nodes that can be told."""
        hidden = self._hidden_guests()
        return [guest.address for guest in self.guests.speakers(hidden.__contains__)]

    def _take_record(self, record: TextRecord, *, by_c: bool) -> None:
        for member in self.members():
            profile = member.profile
            same_rack = (profile.dc, profile.rack) == (record.dc, record.rack)
            if member.is_present and same_rack and record.token in profile.tokens:
                return  # a member speaks for itself
        if self.guests.take_record(record, self._now_ms, by_c=by_c):
            self._post.rumours.put_text((record.dc, record.rack, record.token), msgpack.packb(str(record)))
            self._post.event_at(Happened.GUEST, 0, (record.address, 0), str(record))

    # -- packets -------------------------------------------------------------------------------------------------------

    def _act(self, source: Address, packet: Packet) -> None:
        """The part of a packet that is not rumours."""
        kind, body, now_ms = packet.kind, packet.body, self._now_ms
        if kind is Kind.EXCHANGE:
            return self._exchanger.on_exchange(source, packet, now_ms)
        if kind is Kind.RECORDS:
            return self._exchanger.on_records(source, packet)
        if kind is Kind.PING:
            # Whoever was meant: the asker learns who is here.
            sender = self.view.members.get(packet.sender)
            self._post.send(source, Kind.ACK, (body[0], self.own.node_id), sender)
        elif kind is Kind.ACK:
            missing = self.prober.on_ack(body[0], body[1], packet.sender, now_ms)
            if missing:
                self._accuse(missing)
        elif kind is Kind.RELAY:
            self.prober.on_relay(source, body[0], body[1], (body[2], body[3]), now_ms)
        elif kind is Kind.NACK:
            self.prober.on_nack(body[0])
        return self._exchanger.compare(source, packet, now_ms)

    def _gossip(self) -> None:
        present = self.view.present()
        for member in self._rng.sample(present, min(self._timings.gossip_fanout, len(present))):
            if len(self._post.rumours):
                self._post.send(member.address, Kind.RUMOURS, (), member)

    # -- news ----------------------------------------------------------------------------------------------------------

    def _hear(self, raw: Any, *, from_exchange: bool) -> None:
        """One rumour, not checked yet."""
        if type(raw) is str:
            record = gossip_text.parse_record(raw)
            if record is not None:
                self._take_record(record, by_c=True)
            return
        if self._is_old(raw):
            return
        try:
            news = decode_news(raw)
        except BadNews:
            self._post.figures.bad_packets += 1
            return
        if news.node_id == self.own.node_id:
            self.own.hear(news, self.prober.health)
        elif news.liveness is Liveness.SUSPECT:
            self._hear_suspicion(news)
        else:
            self._take(news, from_exchange=from_exchange)

    def _is_old(self, raw: Any) -> bool:
        """Whether a rumour is known already: most are, so this looks before anything is decoded."""
        try:
            if raw[0] != self.own.node_id:
                known = self.view.members.get(raw[0])
            elif raw[8] is None and not self.own.twin:
                known = self.own.member
            else:
                return False  # an old record of this node tells its claim, or that a twin is gone
            rank = (raw[1], raw[2], raw[3])
            if known is None or rank > known.rank:
                return False
            # Accusations of the same incarnation add up.
            suspicion = known.suspicion
            return rank < known.rank or raw[3] != Liveness.SUSPECT or suspicion is None or suspicion.is_settled(raw[7])
        except (TypeError, IndexError, KeyError):
            return False

    def _take(self, news: News, *, from_exchange: bool = False) -> None:
        """News of a member's life, death or change."""
        known = self.view.members.get(news.node_id)
        profile = news.profile or (known.profile if known else None)
        own = self.own.member.profile
        if profile is not None and profile.place == own.place and not self.own.hear_rival(news, profile):
            return
        before = (known.liveness, known.profile) if known else None
        outcome = self.view.apply(news, self._now_ms)
        if outcome not in (Outcome.ADDED, Outcome.CHANGED):
            return
        member = self.view.members[news.node_id]
        if news.liveness is not Liveness.SUSPECT:
            member.suspicion = None
            self._suspects.discard(news.node_id)
        if member.is_present and (before is None or before[0] >= Liveness.DOWN):
            self.prober.welcome(news.node_id)
        # A node that is still fetching everything has nothing new to tell.
        if not from_exchange or self.own.joined:
            self._post.rumours.put(news)
        self._report(member, before)
        self._settle_places()

    def _report(self, member: Member, before: tuple[Liveness, Profile] | None) -> None:
        post, liveness = self._post, member.liveness
        if before is None:
            if liveness is not Liveness.LEFT:
                post.event(Happened.JOINED, member, liveness.name.lower())
        elif liveness is Liveness.DOWN and before[0] is not Liveness.DOWN:
            post.figures.downs += 1
            post.event(Happened.DOWN, member)
        elif liveness is Liveness.LEFT:
            post.event(Happened.LEFT, member)
        elif liveness is Liveness.ALIVE:
            post.event(Happened.UP if before[0] >= Liveness.DOWN else Happened.CHANGED, member)

    def _settle_places(self) -> None:
        """After a change of the view: who was replaced, and whether this node's place is free."""
        for member, holder in self.view.replaced:
            self._suspects.discard(member.node_id)
            self._post.rumours.forget(member.node_id)
            self._post.event(Happened.REPLACED, member, f"by {holder:x}")
        self.view.replaced.clear()
        if self.own.rival:
            self.own.rival_changed()

    # -- suspicion -----------------------------------------------------------------------------------------------------

    def _accuse(self, node_id: int) -> None:
        """A probe of this node failed."""
        member = self.view.members.get(node_id)
        if member is not None and member.is_present:
            self._hear_suspicion(replace(member.news(by=self.own.node_id), liveness=Liveness.SUSPECT))

    def _hear_suspicion(self, news: News) -> None:
        member = self.view.members.get(news.node_id)
        if member is None or not news.by or (news.boot, news.incarnation) < (member.boot, member.incarnation):
            return
        if member.suspicion is not None and news.rank == member.rank:
            if member.suspicion.confirm(news.by):
                self._post.rumours.put(news)
        elif news.rank > member.rank and self.view.apply(news, self._now_ms) is Outcome.CHANGED:
            living = len(self.view.present()) + 1
            member.suspicion = Suspicion(self._timings, self._now_ms, living, news.by)
            self._suspects.add(news.node_id)
            self._post.rumours.put(news)
            self._post.figures.suspicions += 1
            self._post.event(Happened.SUSPECTED, member, f"by {news.by:x}")

    def _end_suspicions(self) -> None:
        for node_id in list(self._suspects):
            member = self.view.members.get(node_id)
            if member is None or member.suspicion is None:
                self._suspects.discard(node_id)
            elif self._now_ms >= member.suspicion.deadline_ms:
                if member.heard_ms > member.suspicion.started_ms:
                    # It answers this very node; let those who get no answer decide.
                    living = len(self.view.present()) + 1
                    member.suspicion = Suspicion(self._timings, self._now_ms, living, self.own.node_id)
                else:
                    self._declare(member, Liveness.DOWN)

    def _declare(self, member: Member, liveness: Liveness) -> None:
        self._take(replace(member.news(), liveness=liveness))
        # Should it live after all, it hears it first.
        self._post.send(member.address, Kind.RUMOURS, (), member)

    # -- time ----------------------------------------------------------------------------------------------------------

    def _enter(self, now_ms: int) -> None:
        """Every input begins here. Being called late means that this process slept, not that others are silent."""
        now_ms = max(now_ms, self._now_ms)
        late_ms = now_ms - self._wakeup_ms
        self._now_ms = now_ms
        if late_ms > self._timings.late_ms:
            self._post.figures.late_wakeups += 1
            self.prober.health.adjust(+1)
            self.prober.shift(late_ms)
            for node_id in self._suspects:
                member = self.view.members.get(node_id)
                if member is not None and member.suspicion is not None:
                    member.suspicion.shift(late_ms)

    def _finish(self) -> Outputs:
        """Every input ends here."""
        outputs = self._post.collect()
        due_ms = min(self.prober.next_due_ms(), self._exchanger.next_due_ms(), self.own.next_due_ms(NEVER_MS))
        if len(self._post.rumours) and self.view.present():
            due_ms = min(due_ms, self._next_gossip_ms)
        for node_id in self._suspects:
            member = self.view.members.get(node_id)
            if member is not None and member.suspicion is not None:
                due_ms = min(due_ms, member.suspicion.deadline_ms)
        self._wakeup_ms = outputs.next_wakeup_ms = max(due_ms, self._now_ms)
        return outputs
