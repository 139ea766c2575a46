"""Asking members whether they live: round robin, directly, once more, then through relays.

    PING ---- answer_ms/2 ----> PING again ---- answer_ms/2 ----> RELAY to 3 others ---- relay_ms ----> failed
      \\----------------------------- ACK from anywhere: it lives -----------------------------/

A relay sends a PING of its own and answers ACK, or NACK when it got nothing: a missing NACK says that this node's own
links are bad, and lowers its trust in itself (failure.LocalHealth).

Not here: what follows from a failure (membership.py).

Invariants: one probe per target at a time; a late wake-up moves deadlines, it never fails a probe.
"""

from typing import TYPE_CHECKING

from dynomite_mp.cluster.failure import LocalHealth, Timings
from dynomite_mp.cluster.membership_packets import Kind
from dynomite_mp.cluster.membership_post import Post
from dynomite_mp.cluster.membership_record import Address, Member
from dynomite_mp.cluster.membership_view import View

if TYPE_CHECKING:
    from random import Random

RELAYED_LIMIT = 256
"""Questions of others under way at once; more are not taken."""
NEVER_MS = 2**62


class Probe:
    """A question of this node to a member."""

    __slots__ = ("asked", "due_ms", "nacks", "sent_ms", "seq", "stage", "target", "wait_ms")

    def __init__(self, seq: int, target: int, now_ms: int, wait_ms: int) -> None:
        self.seq = seq
        self.target = target
        self.sent_ms = now_ms
        self.wait_ms = wait_ms
        self.due_ms = now_ms + wait_ms // 2
        self.stage = 0  # 0 asked, 1 asked twice, 2 relays asked
        self.asked = 0
        self.nacks = 0


class Relayed:
    """A question that this node asks for another."""

    __slots__ = ("due_ms", "origin", "origin_seq", "target")

    def __init__(self, origin: Address, origin_seq: int, target: int, due_ms: int) -> None:
        self.origin = origin
        self.origin_seq = origin_seq
        self.target = target
        self.due_ms = due_ms


class Call:
    """A question to an address, whoever is there: a seed, or a member that was called down."""

    __slots__ = ("address", "due_ms")

    def __init__(self, address: Address, due_ms: int) -> None:
        self.address = address
        self.due_ms = due_ms


class Prober:
    """All questions under way."""

    def __init__(self, dc: str, view: View, post: Post, timings: Timings, rng: "Random") -> None:
        self.health = LocalHealth(timings.health_max)
        self.answered: dict[Address, int] = {}
        """Which member answered at an address that was called."""
        self.next_probe_ms = 0
        self._dc = dc
        self._view = view
        self._post = post
        self._timings = timings
        self._rng = rng
        self._order: list[int] = []
        self._targets: set[int] = set()
        self._relayed = 0
        self._pending: dict[int, Probe | Relayed | Call] = {}

    def start(self, now_ms: int) -> None:
        """Begin somewhere within the first interval, so that nodes started together do not probe together."""
        self.next_probe_ms = now_ms + self._rng.randrange(self._timings.probe_interval_ms)

    # -- asking --------------------------------------------------------------------------------------------------------

    def probe_next(self, now_ms: int) -> None:
        """The next member in turn."""
        self.next_probe_ms = now_ms + self.health.scale(self._timings.probe_interval_ms)
        members = self._view.members
        for _ in range(2):
            while self._order:
                member = members.get(self._order.pop())
                if member is not None and member.is_present and member.node_id not in self._targets:
                    return self.probe(member, now_ms)
            self._order = [m.node_id for m in self._view.present()]
            self._rng.shuffle(self._order)
        return None

    def welcome(self, node_id: int) -> None:
        """A member is new or back: it gets a turn in this round already."""
        self._order.insert(self._rng.randrange(len(self._order) + 1), node_id)

    def probe(self, member: Member, now_ms: int) -> None:
        """One member, now, unless it is being asked already."""
        if member.node_id in self._targets:
            return
        answer_ms = member.round_trip.answer_ms(self._timings, same_dc=member.profile.dc == self._dc)
        probe = Probe(self._post.sequence(), member.node_id, now_ms, self.health.scale(answer_ms))
        self._pending[probe.seq] = probe
        self._targets.add(member.node_id)
        self._post.figures.probes += 1
        self._post.send(member.address, Kind.PING, (probe.seq, member.node_id), member)

    def call(self, address: Address, member: Member | None, now_ms: int) -> None:
        """Ask who is at an address; the answer is noted in `answered`."""
        seq = self._post.sequence()
        self._pending[seq] = Call(address, now_ms + self._timings.unmeasured_far_answer_ms)
        self._post.send(address, Kind.PING, (seq, member.node_id if member else 0), member)

    # -- answers -------------------------------------------------------------------------------------------------------

    def on_ack(self, seq: int, responder: int, sender: int, now_ms: int) -> int:
        """An answer. Returns a member that is not where it should be, because somebody else answers there; else 0."""
        question = self._pending.pop(seq, None)
        if isinstance(question, Probe):
            self._targets.discard(question.target)
            if responder != question.target:
                self._post.figures.probes_failed += 1
                return question.target
            self.health.adjust(-1)
            member = self._view.members.get(responder)
            if member is not None and sender == responder:
                member.heard_ms = now_ms
                if question.stage < 2:
                    member.round_trip.measured(now_ms - question.sent_ms)
        elif isinstance(question, Relayed):
            if responder == question.target:
                self._relayed -= 1
                self._post.send(question.origin, Kind.ACK, (question.origin_seq, responder))
            else:
                self._pending[seq] = question  # leads to a NACK in time
        elif question is not None:
            self.answered[question.address] = responder
        return 0

    def on_nack(self, seq: int) -> None:
        question = self._pending.get(seq)
        if isinstance(question, Probe):
            question.nacks += 1

    def on_relay(self, origin: Address, seq: int, target: int, address: Address, now_ms: int) -> None:
        """Another member asks to ask."""
        if self._relayed >= RELAYED_LIMIT:
            return
        self._relayed += 1
        own_seq = self._post.sequence()
        # The NACK has to be back before the asker gives up.
        self._pending[own_seq] = Relayed(origin, seq, target, now_ms + self._timings.relay_ms * 2 // 3)
        self._post.send(address, Kind.PING, (own_seq, target), self._view.members.get(target))

    # -- time ----------------------------------------------------------------------------------------------------------

    def run(self, now_ms: int) -> list[int]:
        """Act on everything that is due; the members that failed."""
        failed: list[int] = []
        for seq, question in [(s, q) for s, q in self._pending.items() if q.due_ms <= now_ms]:
            if isinstance(question, Probe):
                member = self._view.members.get(question.target)
                if member is not None and member.is_present and question.stage < 2:
                    self._ask_further(question, member, now_ms)
                    continue
                if member is not None and member.is_present:
                    self._give_up(question)
                    failed.append(question.target)
                self._targets.discard(question.target)
            elif isinstance(question, Relayed):
                self._relayed -= 1
                self._post.send(question.origin, Kind.NACK, (question.origin_seq,))
            del self._pending[seq]
        return failed

    def _ask_further(self, probe: Probe, member: Member, now_ms: int) -> None:
        probe.stage += 1
        self._post.send(member.address, Kind.PING, (probe.seq, probe.target), member)
        if probe.stage == 1:
            probe.due_ms = now_ms + probe.wait_ms - probe.wait_ms // 2
            return
        others = [m for m in self._view.present() if m.node_id != probe.target and m.suspicion is None]
        relays = self._rng.sample(others, min(self._timings.relays, len(others)))
        for relay in relays:
            self._post.send(relay.address, Kind.RELAY, (probe.seq, probe.target, *member.address), relay)
        probe.asked = len(relays)
        probe.due_ms = now_ms + self.health.scale(self._timings.relay_ms)

    def _give_up(self, probe: Probe) -> None:
        self._post.figures.probes_failed += 1
        # Relays that say nothing at all, or nobody to ask: the fault may well be on this side.
        self.health.adjust(probe.asked - probe.nacks if probe.asked else 1)

    def shift(self, late_ms: int) -> None:
        """This node slept: nobody else is to blame for answers it did not read."""
        for question in self._pending.values():
            question.due_ms += late_ms

    def next_due_ms(self) -> int:
        due_ms = self.next_probe_ms if self._view.present() else NEVER_MS
        for question in self._pending.values():
            if question.due_ms < due_ms:
                due_ms = question.due_ms
        return due_ms
