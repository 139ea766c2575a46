"""Where a simulated coordinator sends requests: its own datastore, and links to other nodes; as workers.target_conn.

A target has slots, one per request that owes a reply. A deadline takes the request out of its slot, and the slot waits
for the late reply. The frames, and the reading of frames, are the real ones of proto.dnode.

    StoreTarget    words in, replies in the order of the requests
    PeerTarget     frames with an id; a reply goes to the slot whose id it echoes
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynomite_mp.proto.dnode import DNODE_REQ, DNODE_RES, DNODE_VERSION_OURS
from dynomite_mp.proto.dnode_frames import DnodeFrame, DnodeFramer, encode_frame

from .data_store import Store
from .network import Address
from .streams import End

if TYPE_CHECKING:
    from .coordinator import Coordinator, Pending

TIMEOUT_MS = 1500
SILENCE_MS = 400
PROBE_MS = 100
RECONNECT_MS = 100
PING = b"*1\r\n$4\r\nPING\r\n"
PONG = b"+PONG\r\n"


@dataclass
class Slot:
    """A request that was sent; `pending` is None once nobody waits, and for requests of the link's own."""

    id: int
    pending: Pending | None
    rack: int
    queued_ms: int


class Target:
    """Slots, deadlines, silence, loss."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self.slots: deque[Slot] = deque()
        self.next_id = 1
        self.is_up = False
        self.is_silent = False
        self.heard_ms = 0
        self.probed_ms = 0

    @property
    def now_ms(self) -> int:
        return self.coordinator.now_ms

    def add_slot(self, pending: Pending | None, rack: int) -> Slot:
        slot = Slot(self.next_id, pending, rack, self.now_ms)
        self.next_id += 1
        self.slots.append(slot)
        return slot

    def send(self, pending: Pending, rack: int) -> bool:
        """False when it cannot be reached; else there will be one outcome."""
        if not self.is_up:
            return False
        if self.is_silent:
            if self.now_ms - self.probed_ms >= PROBE_MS:
                self.probed_ms = self.now_ms
                self.probe()
            return False
        self.write(self.add_slot(pending, rack), pending)
        return True

    def write(self, slot: Slot, pending: Pending) -> None:
        raise NotImplementedError

    def probe(self) -> None:
        raise NotImplementedError

    def heard(self) -> None:
        self.heard_ms = self.now_ms
        self.is_silent = False

    def answer(self, slot: Slot, reply: bytes) -> None:
        if slot.pending is not None:
            self.coordinator.replied(slot.pending, slot.rack, reply)

    def lose(self, slot: Slot) -> None:
        if slot.pending is not None:
            self.coordinator.unreachable(slot.pending, slot.rack)

    def tick(self) -> None:
        """Deadlines and silence."""
        for slot in list(self.slots):
            if slot.pending is not None and slot.queued_ms + TIMEOUT_MS <= self.now_ms:
                self.expire(slot)
        if self.slots and not self.is_silent and (
            self.now_ms > max(self.slots[0].queued_ms, self.heard_ms) + SILENCE_MS
        ):
            self.is_silent = True
            for slot in list(self.slots):
                if slot.pending is not None and self.coordinator.may_go_elsewhere(slot.pending, slot.rack):
                    pending, slot.pending = slot.pending, None
                    self.coordinator.unreachable(pending, slot.rack)

    def expire(self, slot: Slot) -> None:
        """The slot stays and swallows the late reply."""
        pending, slot.pending = slot.pending, None
        assert pending is not None
        pending.racks_tried = self.coordinator.table.racks
        self.coordinator.unreachable(pending, slot.rack)

    def lost(self) -> None:
        self.is_up = self.is_silent = False
        owed, self.slots = self.slots, deque()
        for slot in owed:
            self.lose(slot)


class StoreTarget(Target):
    """The node's own datastore."""

    def __init__(self, coordinator: Coordinator, store: Store) -> None:
        super().__init__(coordinator)
        self.store = store
        self.is_up = store.is_up

    def write(self, slot: Slot, pending: Pending) -> None:
        life = self.coordinator.life
        self.store.submit(pending.words, lambda reply: self.on_reply(slot, reply, life))

    def probe(self) -> None:
        pass

    def on_reply(self, slot: Slot, reply: bytes, life: int) -> None:
        if life != self.coordinator.life or slot not in self.slots:
            return
        self.heard()
        assert self.slots[0] is slot
        self.slots.popleft()
        self.answer(slot, reply)


class PeerTarget(Target):
    """A link to another node."""

    def __init__(self, coordinator: Coordinator, address: Address) -> None:
        super().__init__(coordinator)
        self.address = address
        self.end: End | None = None
        self.framer = DnodeFramer()
        self.is_closed = False
        self.connect()

    def connect(self) -> None:
        self.framer = DnodeFramer()
        self.next_id = 1
        self.end = self.coordinator.streams.connect(self, self.coordinator.address, self.address)

    def close(self) -> None:
        """No longer part of the topology, or the node dies."""
        self.is_closed = True
        if self.end is not None:
            self.end.close()
        self.lost()

    def on_open(self, end: End) -> None:
        """The first frame asks who it is; until it is answered there are no requests."""
        self.probe()

    def on_closed(self, end: End) -> None:
        self.lost()
        if not self.is_closed:
            self.coordinator.later(RECONNECT_MS, self.reconnect)

    def reconnect(self) -> None:
        if not self.is_closed:
            self.connect()

    def on_bytes(self, end: End, data: bytes) -> None:
        self.heard()
        for frame in self.framer.feed(data):
            if frame.type == DNODE_RES:
                self.match(frame)
        assert self.framer.error is None, self.framer.error

    def match(self, frame: DnodeFrame) -> None:
        """As workers.peer_out_conn: a smaller id belongs to the past; a larger one means that those before get none."""
        while self.slots and frame.id > self.slots[0].id:
            self.lose(self.slots.popleft())
        if not self.slots or frame.id < self.slots[0].id:
            return
        slot = self.slots.popleft()
        if frame.payload == PONG:
            self.is_up = True
        else:
            self.answer(slot, frame.payload)

    def write(self, slot: Slot, pending: Pending) -> None:
        self.send_frame(slot, pending.raw)

    def probe(self) -> None:
        self.send_frame(self.add_slot(None, 0), PING)

    def send_frame(self, slot: Slot, payload: bytes) -> None:
        assert self.end is not None
        self.end.send(encode_frame(slot.id, DNODE_REQ, payload, version=DNODE_VERSION_OURS))
