"""Defects on purpose in the way of requests: each a small change of a rule that the checkers have to notice."""

from typing import Any

from dynomite_mp.cluster.quorum import QUORUM_AGREED, QUORUM_WAIT, Replies
from dynomite_mp.cluster.route import RouteTable
from dynomite_mp.proto.dnode_frames import DnodeFramer

from .coordinator import ClientSide, Coordinator, PeerSide, Pending
from .mutants import mutant
from .targets import PeerTarget, Slot, Target

ALL = ("requests", "away", "turmoil", "retoken")


class EarlyReplies:
    """As cluster.quorum.Replies, content with one reply fewer."""

    def __init__(self, racks: int) -> None:
        self.real = Replies(racks)
        self.quorum = racks // 2
        self.goods: list[tuple[int, bytes]] = []
        self.chosen = -1

    @property
    def first_bad(self) -> int:
        return self.real.first_bad

    def good(self, rack: int, reply: bytes) -> int:
        verdict = self.real.good(rack, reply)
        self.chosen = self.real.chosen
        self.goods.append((rack, reply))
        if verdict == QUORUM_WAIT and sum(other == reply for _, other in self.goods) >= self.quorum:
            self.chosen = rack
            return QUORUM_AGREED
        return verdict

    def bad(self, rack: int, answered: bool) -> int:
        return self.real.bad(rack, answered)


@mutant("quorum_off_by_one", "a quorum is one reply short", ALL, Coordinator, "new_replies")
def _(right: Any) -> Any:
    return lambda self: EarlyReplies(self.table.racks)


@mutant("error_counts", "an error counts as a reply like any other", ("turmoil",), Coordinator, "is_good")
def _(right: Any) -> Any:
    return lambda self, reply: True


@mutant(
    "lost_is_applied",
    "a replica that was lost counts as one that applied",
    ("away", "turmoil"),
    Coordinator,
    "unreachable",
)
def _(right: Any) -> Any:
    def unreachable(self: Coordinator, pending: Pending, rack: int) -> None:
        if pending.replies is not None and pending.words[0] == b"SET" and pending.answer is None:
            text = b"%s %s OK" % (pending.id, pending.words[1])
            self.replied(pending, rack, b"$%d\r\n%s\r\n" % (len(text), text))
        else:
            right(self, pending, rack)

    return unreachable


@mutant("disagreement_is_fine", "a safe quorum takes the first reply when all differ", ALL, Coordinator, "differ")
def _(right: Any) -> Any:
    return lambda self, pending, goods: self.finish(pending, next(iter(goods.values())))


@mutant("next_request", "a late reply is given to the next request", ("turmoil", "away"), Target, "expire")
def _(right: Any) -> Any:
    def expire(self: Target, slot: Slot) -> None:
        right(self, slot)
        self.slots.remove(slot)
        for later in self.slots:
            later.id -= 1

    return expire


@mutant("gap_ignored", "a reply is given to the oldest request, whatever its id", ("turmoil",), PeerTarget, "match")
def _(right: Any) -> Any:
    def match(self: PeerTarget, frame: Any) -> None:
        right(self, frame._replace(id=self.slots[0].id) if self.slots else frame)

    return match


@mutant("stale_topology", "a node goes on with the tokens it started with", ("retoken",), Coordinator, "take_topology")
def _(right: Any) -> Any:
    return lambda self, topology: None


@mutant(
    "old_topology_wins", "an older topology that comes late replaces a newer one", ("retoken",), Coordinator, "is_news"
)
def _(right: Any) -> Any:
    return lambda self, topology: True


@mutant("own_racks_tokens", "owners in other racks are looked up by this rack's tokens", ALL, Coordinator, "owner_in")
def _(right: Any) -> Any:
    def owner_in(self: Coordinator, rack: int, token: int) -> int:
        table: RouteTable = self.table
        mine = [node for node in table.node_list if node.rack == table.node_list[table.local_node].rack]
        theirs = [n for n, node in enumerate(table.node_list) if node.rack == f"r{rack}"]
        place = mine.index(table.node_list[table.owner_of(table.my_rack, token)])
        return theirs[place % len(theirs)]

    return owner_in


@mutant("sent_again", "a write whose connection is lost is sent again", ("turmoil",), PeerTarget, "lost")
def _(right: Any) -> Any:
    def lost(self: PeerTarget) -> None:
        writes = [slot.pending for slot in self.slots if slot.pending is not None and slot.pending.is_write]
        right(self)
        for pending in writes:
            self.coordinator.later(500, lambda p=pending: self.send(p, 0))

    return lost


@mutant("lane_by_turn", "connections to a node are used in turn, not by key", ALL, Coordinator, "link_of")
def _(right: Any) -> Any:
    return lambda self, token: len(self.dispatched) % 2


@mutant("as_they_come", "a client gets replies in the order in which they come", ALL, ClientSide, "ready")
def _(right: Any) -> Any:
    def ready(self: ClientSide) -> None:
        for pending in [p for p in self.waiting if p.answer is not None]:
            self.waiting.remove(pending)
            self.end.send(pending.answer or b"")

    return ready


@mutant("peer_as_they_come", "a node answers others out of order", ("turmoil", "away"), PeerSide, "ready")
def _(right: Any) -> Any:
    def ready(self: PeerSide) -> None:
        self.waiting.reverse()
        right(self)
        self.waiting.reverse()

    return ready


@mutant("no_deadline", "a request waits for its reply for ever", ("away",), Target, "tick")
def _(right: Any) -> Any:
    return lambda self: None


@mutant("read_gives_up", "a read is not tried elsewhere", ("away",), Coordinator, "read_next")
def _(right: Any) -> Any:
    def read_next(self: Coordinator, pending: Pending) -> None:
        if pending.racks_tried:
            pending.racks_tried = self.table.racks
        right(self, pending)

    return read_next


@mutant(
    "own_reply_only", "a DC_ONE write fails when this rack's owner is lost", ("away",), Coordinator, "one_write_outcome"
)
def _(right: Any) -> Any:
    def one_write_outcome(self: Coordinator, pending: Pending, rack: int, reply: bytes | None) -> None:
        if rack == pending.primary and reply is None:
            self.finish(pending, b"-ERR Peer: lost %s\r\n" % pending.id)
        else:
            right(self, pending, rack, reply)

    return one_write_outcome


@mutant("numbers_compared", "replies to writes are compared", ALL, Coordinator, "digest")
def _(right: Any) -> Any:
    return lambda self, pending, reply: reply


@mutant("piece_is_a_frame", "what a read brings is taken for whole frames", ALL, PeerSide, "feed")
def _(right: Any) -> Any:
    def feed(self: PeerSide, data: bytes) -> Any:
        self.framer = DnodeFramer()
        return right(self, data)

    return feed
