"""Whole views: fetched when a node starts, compared when views differ, and the search for those who seem to be gone.

    joining     EXCHANGE, empty   --> a few seeds, again every join_retry_ms;   RECORDS of everything <--
    later       EXCHANGE, digests --> who was seen to differ, or anybody now and then; RECORDS of what either lacks
    always      PING              --> one member that is down, or a seed that never answered

Digests are cut by ranges of ids, and each packet says which range it covers. So every datagram is complete in itself:
what is lost is noticed by the fingerprints and asked for again, and there is no stream to keep.

Not here: what the records change (membership.py).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dynomite_mp.cluster.failure import Timings
from dynomite_mp.cluster.membership_own import OwnRecord
from dynomite_mp.cluster.membership_packets import ENTRIES_LIMIT, Kind, Packet, batches
from dynomite_mp.cluster.membership_post import Post
from dynomite_mp.cluster.membership_probe import NEVER_MS, Prober
from dynomite_mp.cluster.membership_record import Address, Member
from dynomite_mp.cluster.membership_view import View, ranges

if TYPE_CHECKING:
    from random import Random

JOIN_CONTACTS = 3
ANSWERS_PER_S = 200
"""EXCHANGEs answered a second: an answer is larger than the question, and the asker's address may be forged."""


class Exchanger:
    """Keeps this node's view equal to those of the others."""

    def __init__(
        self, own: OwnRecord, view: View, prober: Prober, post: Post, timings: Timings, rng: "Random", now_ms: int
    ) -> None:
        self.contacts: tuple[Address, ...] = ()
        self._own = own
        self._view = view
        self._prober = prober
        self._post = post
        self._timings = timings
        self._rng = rng
        self._alone_ms = now_ms + timings.join_alone_ms
        self._next_join_ms = now_ms
        self._next_exchange_ms = now_ms + timings.exchange_interval_ms
        self._next_mismatch_ms = now_ms
        self._mismatch_since_ms = NEVER_MS
        self._next_reconnect_ms = now_ms + timings.reconnect_interval_ms
        self._answers_left = ANSWERS_PER_S
        self._answers_until_ms = now_ms + 1000
        # Parts of the answers to joining EXCHANGEs that are still missing; one set of questions per contact.
        self._tries: dict[Address, dict[int, set[int] | None]] = {}

    def set_contacts(self, contacts: Iterable[Address]) -> None:
        """Where members may be found."""
        own = self._own.member.address
        self.contacts = tuple(dict.fromkeys(address for address in contacts if address != own))

    # -- packets -------------------------------------------------------------------------------------------------------

    def ask(self, to: Address, member: Member | None = None) -> list[int]:
        """Send this node's digests; the numbers of the questions."""
        self._post.figures.exchanges += 1
        numbers = []
        for low, high, entries in ranges(self._view.entries(), ENTRIES_LIMIT):
            numbers.append(self._post.sequence())
            self._post.send(to, Kind.EXCHANGE, (numbers[-1], low, high, entries), member)
        return numbers

    def on_exchange(self, source: Address, packet: Packet, now_ms: int) -> None:
        if now_ms >= self._answers_until_ms:
            self._answers_left, self._answers_until_ms = ANSWERS_PER_S, now_ms + 1000
        if not self._answers_left:
            return
        self._answers_left -= 1
        number, low, high, entries, *_ = packet.body
        lacking, wanted = self._view.compare(low, high, entries)
        groups = batches(news.encode() for news in lacking)
        for place, group in enumerate(groups):
            self._post.send_records(source, (number, place, len(groups), [] if place else wanted), group)

    def on_records(self, source: Address, packet: Packet) -> None:
        number, place, count, wanted, *_ = packet.body
        if wanted:
            for group in batches(news.encode() for news in self._view.full_news(wanted)):
                if group:
                    self._post.send_records(source, (0, 0, 1, []), group)
        if not self._own.joined:
            self._note_part(number, place, count)

    def _note_part(self, number: int, place: int, count: int) -> None:
        for contact, numbers in self._tries.items():
            if number in numbers:
                missing = numbers[number]
                if missing is None:
                    missing = numbers[number] = set(range(min(count, 4096)))
                missing.discard(place)
                if not any(parts is None or parts for parts in numbers.values()):
                    self._tries.clear()
                    self._prober.answered[contact] = self._prober.answered.get(contact, 0)
                    self._own.join(asked=True)
                return

    def compare(self, source: Address, packet: Packet, now_ms: int) -> None:
        """Look at the fingerprint of a packet that came; ask its sender when views stay different."""
        if packet.fingerprint == self._view.fingerprint:
            self._mismatch_since_ms = NEVER_MS
            self._own.agree()
            return
        if now_ms < self._next_mismatch_ms or not self._own.joined:
            return
        timings = self._timings
        self._mismatch_since_ms = min(self._mismatch_since_ms, now_ms)
        stranger = packet.sender not in self._view.members and packet.sender != self._own.node_id
        settled = now_ms - self._view.changed_ms >= timings.settle_ms
        if stranger or settled or now_ms - self._mismatch_since_ms >= 4 * timings.settle_ms:
            self._next_mismatch_ms = now_ms + self._rng.randrange(
                timings.mismatch_exchange_ms // 2, timings.mismatch_exchange_ms * 3 // 2
            )
            self._mismatch_since_ms = NEVER_MS
            self.ask(source, self._view.members.get(packet.sender))

    # -- time ----------------------------------------------------------------------------------------------------------

    def run(self, now_ms: int) -> None:
        if not self._own.joined:
            self._run_join(now_ms)
        if now_ms >= self._next_exchange_ms:
            self._next_exchange_ms = now_ms + self._spread(self._timings.exchange_interval_ms)
            self._view.expire(now_ms, self._timings.left_keep_ms)
            if present := self._view.present():
                member = self._rng.choice(present)
                self.ask(member.address, member)
        if now_ms >= self._next_reconnect_ms:
            self._next_reconnect_ms = now_ms + self._spread(self._timings.reconnect_interval_ms)
            self._reconnect(now_ms)

    def _run_join(self, now_ms: int) -> None:
        if not self.contacts or now_ms >= self._alone_ms:
            self._own.join(asked=False)
        elif now_ms >= self._next_join_ms:
            self._next_join_ms = now_ms + self._timings.join_retry_ms
            for contact in self._rng.sample(self.contacts, min(JOIN_CONTACTS, len(self.contacts))):
                self._tries[contact] = dict.fromkeys(self.ask(contact))

    def _reconnect(self, now_ms: int) -> None:
        """One try to reach one of those that should be there and are not."""
        down = self._view.down()
        lost: list[tuple[Address, Member | None]] = [(member.address, member) for member in down]
        met = {member.address for member in self._view.members.values()}
        lost += [(c, None) for c in self.contacts if c not in met and not self._is_met(c)]
        if lost:
            address, called = self._rng.choice(lost)
            self._prober.call(address, called, now_ms)

    def _is_met(self, contact: Address) -> bool:
        """Whether a living member has answered there, under another address of its own."""
        member = self._view.members.get(self._prober.answered.get(contact, 0))
        return member is not None and member.is_present

    def _spread(self, interval_ms: int) -> int:
        """About the interval: nodes that started together drift apart."""
        return self._rng.randrange(interval_ms * 3 // 4, interval_ms * 5 // 4)

    def next_due_ms(self) -> int:
        due_ms = min(self._next_exchange_ms, self._next_reconnect_ms)
        return due_ms if self._own.joined else min(due_ms, self._next_join_ms, self._alone_ms)
