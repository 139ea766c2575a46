"""The link between two io workers: requests for the other's shard, replies to ours.

What it is: one SPSC ring in each direction, the requests that wait for a reply, and the replies that found the ring
full. A leaf: io_path takes records out of it and hands requests to it.

What it is not: it does not know clients or datastores.

    this worker --- SHARD_REQUEST(req_id, flags, deadline, original bytes) ---> worker that owns the shard
                --- SHARD_WRITE(the same, and what a peer's frame said of it) ->
                <-- SHARD_REPLY(req_id, status, stamp, reply bytes) -----------

Invariants:
- req_id = boot << 48 | position in `waiting`: a reply to a predecessor of this process, or to a request that has
  expired, is recognised and dropped;
- a full ring refuses requests (the client is held) and delays replies (`overflow`, in order); nothing is lost;
- the doorbell is rung once a turn.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from dynomite_mp.ipc.message_codec cimport (
    HEAD_BYTES_MAX, MESSAGE_SHARD_REPLY, MESSAGE_SHARD_REQUEST, MESSAGE_SHARD_WRITE, ShardReply, ShardRequest,
    ShardWrite, decode_shard_reply, decode_shard_request, decode_shard_write, encode_shard_reply_head,
    encode_shard_request_head, encode_shard_write_head,
)
from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.ipc.ring cimport SPILL_BIT, SpscRing
from dynomite_mp.proto.buffer cimport buf_append, buf_consume, buf_free, buf_init, buf_len, buf_ptr
from dynomite_mp.workers.request cimport (
    Request, Slot, request_new, slots_at, slots_free, slots_init, slots_len, slots_push,
)

from dynomite_mp.errors import WIRE_ERRORS

cdef enum:
    POSITION_BITS = 48
    SPILL_RECORD_BYTES = 64         # more than the record that names a spill file takes

cdef bytes SPILL_FAILED = WIRE_ERRORS["spill_failed"].line


cdef class ShardLink:
    """`spill` stores values above the ring's record limit (ipc.spill); `boot` is this process's boot count."""

    def __init__(self, int peer_index, SpscRing outbound, SpscRing inbound, *, doorbell, spill, ring_index,
                 other_record, int boot, SlabWriter slab):
        self.peer_index = peer_index
        self.ring_index = ring_index
        self.slab = slab
        self.outbound = outbound
        self.inbound = inbound
        self.doorbell = doorbell
        self.spill = spill
        self.other_record = other_record
        self.id_high = <uint64_t>(boot & 0xFFFF) << POSITION_BITS
        slots_init(&self.waiting)
        buf_init(&self.overflow)

    def __dealloc__(self):
        slots_free(&self.waiting)
        buf_free(&self.overflow)

    def __repr__(self):
        return (f"<ShardLink io[{self.peer_index}] waiting={slots_len(&self.waiting)}"
                f" overflow={buf_len(&self.overflow)}>")

    cdef int send_request(self, Request* request, uint32_t flags, uint64_t now_ns, uint64_t timeout_ns,
                          const char* p, size_t n, bint must_go) except -1:
        """OFFERED; OFFER_FULL: not now; OFFER_FAILED: too large for a record, and no room to spill it."""
        cdef char head[HEAD_BYTES_MAX]
        cdef size_t head_len
        cdef Slot* slot
        cdef int offered
        cdef uint32_t type = MESSAGE_SHARD_REQUEST
        if buf_len(&self.overflow) and not must_go:
            return OFFER_FULL
        slot = slots_push(&self.waiting)
        if slot == NULL:
            raise MemoryError
        if request.is_foreign or request.marks:
            type = MESSAGE_SHARD_WRITE
            head_len = self.write_head(head, request, flags, (now_ns + timeout_ns) // 1000000, n)
        else:
            head_len = encode_shard_request_head(head, self.id_high | (self.waiting.tail - 1), flags,
                                                 (now_ns + timeout_ns) // 1000000, <uint32_t>n)
        offered = OFFER_FULL
        if buf_len(&self.overflow) == 0:
            offered = self.offer(type, head, head_len, p, n)
        if offered == OFFER_FULL and must_go:
            offered = self.keep(type, head, head_len, p, n)
        if offered != OFFERED:
            self.waiting.tail -= 1
            return offered
        slot.request = request
        slot.queued_ns = now_ns
        return OFFERED

    cdef size_t write_head(self, char* head, const Request* request, uint32_t flags, uint64_t deadline_ms,
                           size_t n) noexcept:
        cdef ShardWrite record
        record.req_id = self.id_high | (self.waiting.tail - 1)
        record.flags = flags
        record.deadline_ms = deadline_ms
        record.clock = request.stamp
        record.stamp = request.stamp
        record.origin_node = request.id.origin_node
        record.origin_boot = request.id.origin_boot
        record.origin_worker = request.id.origin_worker
        record.sequence = request.id.sequence
        record.marks = request.marks
        record.conflict_class = request.conflict
        record.request_len = <uint32_t>n
        return encode_shard_write_head(head, &record)

    cdef int send_reply(self, Request* request, const char* p, size_t n) except -1:
        cdef char head[HEAD_BYTES_MAX]
        cdef uint32_t status = request.reply_marks | (IS_BEHIND if request.is_behind else 0)
        cdef size_t head_len = encode_shard_reply_head(head, request.origin_id, status, request.stamp, <uint32_t>n)
        cdef int offered = OFFER_FULL
        if buf_len(&self.overflow) == 0:
            offered = self.offer(MESSAGE_SHARD_REPLY, head, head_len, p, n)
        if offered == OFFER_FAILED:
            return self.send_reply(request, SPILL_FAILED, len(SPILL_FAILED))
        if offered == OFFER_FULL:
            self.keep(MESSAGE_SHARD_REPLY, head, head_len, p, n)
        return 0

    cdef int keep(self, uint32_t type, const char* head, size_t head_len, const char* p, size_t n) except -1:
        """A record that must go waits here for room in the ring."""
        cdef uint32_t frame[3]
        frame[0] = type
        frame[1] = <uint32_t>head_len
        frame[2] = <uint32_t>n
        if (buf_append(&self.overflow, <char*>frame, sizeof(frame)) < 0
                or buf_append(&self.overflow, head, head_len) < 0 or buf_append(&self.overflow, p, n) < 0):
            raise MemoryError
        return OFFERED

    cdef int send_overflow(self) except -1:
        """Records that waited for room in the ring."""
        cdef uint32_t frame[3]
        cdef const char* p
        while buf_len(&self.overflow):
            p = buf_ptr(&self.overflow)
            memcpy(frame, p, sizeof(frame))
            p += sizeof(frame)
            if self.offer(frame[0], p, frame[1], p + frame[1], frame[2]) != OFFERED:
                break
            buf_consume(&self.overflow, sizeof(frame) + frame[1] + frame[2])
        return 0

    cdef int offer(self, uint32_t type, const char* head, size_t head_len, const char* p, size_t n) except -1:
        cdef int offered = self.outbound.c_offer2(type, head, head_len, p, n)
        if offered < 0:
            return self.offer_spilled(type, head[:head_len] + p[:n])
        if offered == 0:
            return OFFER_FULL
        self.must_ring = True
        return OFFERED

    cdef int offer_spilled(self, uint32_t type, bytes payload) except -1:
        """A value above the ring's record limit goes by file (ipc.spill)."""
        if not self.outbound.has_room(SPILL_RECORD_BYTES):
            return OFFER_FULL
        record = self.spill.write(self.ring_index, self.outbound.producer_pos, payload)
        if record is None:
            self.slab.count("spill_refused")
            return OFFER_FAILED
        if not self.outbound.offer(type | SPILL_BIT, record):
            self.spill.remove(record)
            return OFFER_FULL
        self.slab.count("spill_files")
        self.slab.count("spill_file_bytes", len(payload))
        self.must_ring = True
        return OFFERED

    cdef int next_record(self, const char** p, size_t* n, Request** request) except -1:
        """Looks at the next record; the pointers stay valid until done_record()."""
        cdef uint32_t type
        cdef const char* data
        cdef size_t size
        cdef ShardRequest asked
        cdef ShardReply answered
        cdef ShardWrite write
        cdef int found = self.inbound.c_peek(&type, &data, &size)
        if found == 0:
            return SHARD_NOTHING
        if found < 0:
            raise ValueError(f"ring from io worker {self.peer_index} is corrupt")
        if type & SPILL_BIT:
            self.spill_record = data[:size]
            self.spilled = self.spill.read(self.spill_record)
            if self.spilled is None:
                return SHARD_SKIP           # handled before this process's predecessor died
            type &= ~<uint32_t>SPILL_BIT
            data = self.spilled
            size = len(self.spilled)
        if type == MESSAGE_SHARD_REQUEST and decode_shard_request(data, size, &asked):
            request[0] = request_new()
            if request[0] == NULL:
                raise MemoryError
            request[0].refs = 1
            request[0].shard = <unsigned char>(self.peer_index + 1)
            request[0].origin_id = asked.req_id
            request[0].size = asked.request_len
            self.flags = asked.flags
            self.clock = 0
            p[0] = asked.request
            n[0] = asked.request_len
            return SHARD_TOOK_REQUEST
        if type == MESSAGE_SHARD_WRITE and decode_shard_write(data, size, &write):
            request[0] = request_new()
            if request[0] == NULL:
                raise MemoryError
            self.take_write(request[0], &write)
            p[0] = write.request
            n[0] = write.request_len
            return SHARD_TOOK_REQUEST
        if type == MESSAGE_SHARD_REPLY and decode_shard_reply(data, size, &answered):
            request[0] = self.take(answered.req_id)
            self.reply_status = answered.status
            self.reply_stamp = answered.stamp
            p[0] = answered.reply
            n[0] = answered.reply_len
            return SHARD_TOOK_REPLY if request[0] != NULL else SHARD_SKIP
        self.other_record(type, data[:size])
        return SHARD_SKIP

    cdef void take_write(self, Request* request, const ShardWrite* write) noexcept:
        request.refs = 1
        request.shard = <unsigned char>(self.peer_index + 1)
        request.origin_id = write.req_id
        request.size = write.request_len
        request.marks = <unsigned char>write.marks
        request.conflict = <unsigned char>write.conflict_class
        request.stamp = write.stamp
        request.is_foreign = write.stamp != 0
        request.id.origin_node = write.origin_node
        request.id.origin_boot = write.origin_boot
        request.id.origin_worker = write.origin_worker
        request.id.sequence = write.sequence
        self.flags = write.flags
        self.clock = write.clock

    cdef void done_record(self):
        if self.spill_record is not None:
            self.spill.remove(self.spill_record)
            self.spill_record = self.spilled = None
        self.inbound.c_advance()

    cdef Request* take(self, uint64_t req_id) noexcept:
        """The request a reply is for; NULL for one of a predecessor or one that has expired."""
        cdef uint64_t position = req_id & ((<uint64_t>1 << POSITION_BITS) - 1)
        cdef Request* request
        if req_id - position != self.id_high or position < self.waiting.head or position >= self.waiting.tail:
            return NULL
        request = slots_at(&self.waiting, position).request
        slots_at(&self.waiting, position).request = NULL
        while slots_len(&self.waiting) and slots_at(&self.waiting, self.waiting.head).request == NULL:
            self.waiting.head += 1
        return request

    cdef Request* next_expired(self, uint64_t now_ns, uint64_t timeout_ns) noexcept:
        """The oldest request past its deadline, taken out of the link; NULL when there is none."""
        cdef Slot* slot
        if slots_len(&self.waiting) == 0:
            return NULL
        slot = slots_at(&self.waiting, self.waiting.head)
        if slot.queued_ns + timeout_ns > now_ns:
            return NULL
        return self.take(self.id_high | self.waiting.head)

    cdef void ring_doorbell(self) noexcept:
        if self.must_ring:
            self.must_ring = False
            self.doorbell.c_ring()
