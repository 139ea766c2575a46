"""From an io worker to the replication process: one record a write for other datacenters, one a write that was missed.

What it is: the producer's end of that ring, and the requests that wait for what the other datacenters say
(DC_EACH_SAFE_QUORUM).

What it is not: it does not know the other datacenters; replication does.

Invariants: a full ring never makes a client wait (what happens then is the ring's row in ipc.wiring); a verdict for a
request that has been answered, or was asked by a predecessor of this process, is dropped.
"""

from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.ipc.message_codec cimport (
    HEAD_BYTES_MAX, HINT_HEAD_BYTES_MAX, MESSAGE_HINT, MESSAGE_KEY_COPY, MESSAGE_REPLICATE, Hint, Replicate,
    encode_hint_head, encode_replicate_head,
)
from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.ipc.ring cimport SpscRing
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.workers.request cimport (
    REQUEST_WAITING, Request, Slot, request_release, slots_at, slots_free, slots_init, slots_len, slots_push,
)

from dynomite_mp.ipc.messages import encode

cdef enum:
    POSITION_BITS = 48
    MS = 1000000


cdef class RemoteLane:
    """`outbox` is the proxy's for the same ring: it takes what the ring refuses."""

    def __init__(self, SpscRing ring, doorbell, outbox, SlabWriter slab, *, worker_index, boot, read_wait_ms,
                 write_wait_ms):
        self.ring = ring
        self.doorbell = doorbell
        self.outbox = outbox
        self.slab = slab
        self.worker_index = worker_index
        self.boot = boot
        self.id_high = <uint64_t>(boot & 0xFFFF) << POSITION_BITS
        self.read_wait_ns = read_wait_ms * MS
        self.write_wait_ns = write_wait_ms * MS
        slots_init(&self.waiting)

    def __dealloc__(self):
        slots_free(&self.waiting)

    cdef int send(self, Request* request, const CommandRow* row, const char* p, size_t n, uint64_t now_ns,
                  int ack) except -2:
        """0, or -1 when the record was given up (then the copies of the other datacenters miss it)."""
        cdef char[HEAD_BYTES_MAX] head
        cdef size_t head_len
        cdef Replicate record
        cdef Slot* slot
        cdef uint64_t wait_ns = self.write_wait_ns if request.is_write else self.read_wait_ns
        record.req_id = 0
        record.origin_node = request.id.origin_node
        record.origin_boot = request.id.origin_boot
        record.origin_worker = self.worker_index
        record.sequence = request.id.sequence
        record.stamp = request.stamp
        record.conflict_class = request.conflict if request.conflict else row.conflict
        record.token = request.token
        record.dc_mask = <uint64_t>0 - 1
        record.need_ack = <uint32_t>ack
        record.deadline_ms = (now_ns + wait_ns) // MS
        record.request_len = <uint32_t>n
        record.request = p
        if ack == ACK_WRITE or ack == ACK_READ or ack == ACK_READ_ANY:
            slot = slots_push(&self.waiting)
            if slot == NULL:
                return -1
            slot.request = request
            slot.queued_ns = now_ns + wait_ns
            request.refs += 1
            record.req_id = self.id_high | (self.waiting.tail - 1)
        head_len = encode_replicate_head(head, &record)
        if not self.outbox.waiting and self.ring.c_offer2(MESSAGE_REPLICATE, head, head_len, p, n) == 1:
            self.must_ring = True
            return 0
        return 0 if self.outbox.send(MESSAGE_REPLICATE, head[:head_len] + p[:n]) else -1

    cdef int hint(self, Request* request, const CommandRow* row, int kind, bytes node,
                  const char* p, size_t n) except -2:
        """A replica of this datacenter missed this write: 0, or -1 when the record was given up."""
        cdef char[HINT_HEAD_BYTES_MAX] head
        cdef size_t head_len
        cdef Hint record
        record.kind = <uint32_t>kind
        record.node = node
        record.node_len = <uint32_t>len(node)
        record.origin_node = request.id.origin_node
        record.origin_boot = request.id.origin_boot
        record.origin_worker = request.id.origin_worker
        record.sequence = request.id.sequence
        record.stamp = request.stamp
        record.conflict_class = request.conflict if request.conflict else row.conflict
        record.token = request.token
        record.request_len = <uint32_t>n
        record.request = p
        head_len = encode_hint_head(head, &record)
        if not self.outbox.waiting and self.ring.c_offer2(MESSAGE_HINT, head, head_len, p, n) == 1:
            self.must_ring = True
            return 0
        return 0 if self.outbox.send(MESSAGE_HINT, head[:head_len] + p[:n]) else -1

    cdef int key_copy(self, uint32_t token, bytes key, int reason) except -2:
        """This node's copy of a key has to be mended: 0, or -1 when the record was given up."""
        return 0 if self.outbox.send(MESSAGE_KEY_COPY, encode(MESSAGE_KEY_COPY, token, key, reason)) else -1

    cdef Request* find(self, uint64_t req_id) noexcept:
        """The waiting request of an id; NULL when nobody waits any more."""
        cdef uint64_t position = req_id & ((<uint64_t>1 << POSITION_BITS) - 1)
        if req_id - position != self.id_high or position < self.waiting.head or position >= self.waiting.tail:
            return NULL
        return slots_at(&self.waiting, position).request

    cdef void drop_settled(self) noexcept:
        """Let go of requests at the head that have been answered."""
        cdef Request* request
        while slots_len(&self.waiting):
            request = slots_at(&self.waiting, self.waiting.head).request
            if request != NULL:
                if request.state == REQUEST_WAITING and request.remote_pending:
                    break
                request_release(request)
            self.waiting.head += 1

    cdef Request* next_expired(self, uint64_t now_ns) noexcept:
        """The oldest request whose time is up; the caller completes it, then drop_settled() lets go of it."""
        cdef Slot* slot
        self.drop_settled()
        if slots_len(&self.waiting) == 0:
            return NULL
        slot = slots_at(&self.waiting, self.waiting.head)
        return slot.request if slot.queued_ns <= now_ns else NULL

    cdef void ring_doorbell(self) noexcept:
        if self.must_ring:
            self.must_ring = False
            self.doorbell.c_ring()
