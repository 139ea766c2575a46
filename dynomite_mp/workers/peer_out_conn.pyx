"""A connection to another node, for our requests: frames go out, replies are matched by the id they echo.

What it is: the peer side of (d') and (g) in the picture of io_path. Its owner (peer_mesh) connects it and asks the
first question: a PING whose version says that we are one of ours; who answers with version 2 is too.

What it is not: see target_conn for deadlines, silence and loss; it does not know who owns what.

    outbuf (plain link)      header payload header payload ...     sent as it stands
    outbuf (batches)         header step payload step payload ...  header payload ...
    outbuf (encrypted link)  payload payload ...                   kept for the case of loss; `wire` is what is sent

Invariants (reference 6.4): an id is the place of its slot in the queue; a reply with a smaller id belongs to the past
and is dropped; a larger one means that those before it will get none. One of ours may give the slot back first (flag
LATER) and reply with the same id when it can; then the request waits in `later`, and no other one behind it. One reply
may stand for a run of requests, the last of which it names (ADR 87). A batch is open until something else is queued or
anything is sent; its header is in the slot of its first write.
"""

import logging

from libc.stdint cimport uint64_t

from dynomite_mp.proto.buffer cimport (
    buf_append, buf_consume, buf_free, buf_init, buf_len, buf_ptr, buf_shrink_idle, buf_tail,
)
from dynomite_mp.proto.dnode cimport (
    BATCH_STEP, DNODE_BATCH, DNODE_ENCRYPTED, DNODE_HEADER_MOST, DNODE_REQ, DNODE_RES, DNODE_VERSION_BATCHES,
    DNODE_VERSION_C, DNODE_VERSION_OURS, EXTENSION_LATER, EXTENSION_MOST, EXTENSION_RUN, EXTENSION_RUN_MOST, Extension,
    decode_extension, dnode_payload_is_exact, dnode_scan_reset, encode_dnode, next_dnode, put_batch_length, put_step,
)
from dynomite_mp.proto.resp cimport FRAME_ERROR, FRAME_MORE, next_reply, reply_scan_reset
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.request cimport SLOT_HANDSHAKE, SLOT_PROBE, SLOT_REQUEST, Request, Slot, slots_len
from dynomite_mp.workers.target_conn cimport TargetConn

log = logging.getLogger("dynomite_mp.io")

cdef enum:
    KEEP_BYTES = 1048576            # an emptied buffer above this goes back at once
    HEAD_ROOM = 512
    PING_BYTES = 14
    BATCH_MOST = 262144             # bytes of a batch; and of a write in it:
    BATCHED_MOST = 16384            # what a header more costs is nothing beside it
    SEVEN_DIGITS = 9999999          # of a payload length that is not known yet


cdef class LaterReply:
    """A request that is answered out of order, as it stood in its slot, and its bytes."""


cdef class PeerOutConn(TargetConn):
    def __init__(self, DataPath path, owner, int node, int index, bint same_dc, cipher):
        self.poll = path
        self.path = path
        self.owner = owner
        self.node = node
        self.index = index
        self.same_dc = same_dc
        self.cipher = cipher
        buf_init(&self.wire)
        self.later = {}
        if cipher is not None:
            self.sendbuf = &self.wire
        dnode_scan_reset(&self.head)
        reply_scan_reset(&self.scan)

    def __dealloc__(self):
        buf_free(&self.wire)

    def send_handshake(self, bytes command):
        """The first frame; its version says who we are."""
        cdef char[HEAD_ROOM] head
        cdef Slot* slot
        self.is_ours = True
        slot = self.enqueue_frame(head, DNODE_REQ, b"d", 1, command, len(command))
        self.is_ours = False
        if slot == NULL:
            raise MemoryError
        slot.kind = SLOT_HANDSHAKE

    cdef int probe(self) except -1:
        """A frame the peer cannot read it drops, so what it owes may never come."""
        cdef char[HEAD_ROOM] head
        cdef Slot* slot = self.enqueue_frame(head, DNODE_REQ, b"d", 1, b"*1\r\n$4\r\nPING\r\n", PING_BYTES)
        if slot != NULL:
            slot.kind = SLOT_PROBE
        return 0

    cdef Slot* enqueue_frame(self, char* head, int type, const char* data, size_t data_len,
                             const char* p, size_t n) noexcept:
        """A request to the peer; `head` is room for the header. NULL when memory is out."""
        cdef size_t head_len
        cdef Slot* slot
        if self.cipher is not None:
            return self.enqueue_secret(type, data, data_len, p, n)
        self.seal()
        head_len = encode_dnode(head, self.slots.tail + 1, type, 0,
                                DNODE_VERSION_BATCHES if self.is_ours else DNODE_VERSION_C, self.same_dc,
                                data, data_len, n)
        slot = self.enqueue(head, head_len, p, n)
        if slot != NULL:
            slot.head_len = <unsigned short>head_len
        return slot

    # ---- batches of writes

    cdef Slot* enqueue_write(self, Request* request, const char* p, size_t n) noexcept:
        """A stamped write to one of our nodes: behind the header of the one before, if they have enough in common."""
        cdef char[DNODE_HEADER_MOST + EXTENSION_MOST + BATCH_STEP] head
        cdef const char* data = NULL
        cdef size_t data_len
        if self.batch_bytes and self.may_join(request, n):
            return self.enqueue_step(request, head, 0, self.batch_stamp, self.batch_id.sequence, p, n)
        data_len = self.path.describe_write(request, &data)
        if not self.takes_batches or self.cipher is not None or n > BATCHED_MOST:
            return self.enqueue_frame(head, DNODE_REQ, data, data_len, p, n)
        self.seal()
        self.batch_head_len = encode_dnode(head, self.slots.tail + 1, DNODE_REQ, DNODE_BATCH, DNODE_VERSION_BATCHES,
                                           self.same_dc, data, data_len, SEVEN_DIGITS)
        self.batch_group, self.batch_marks = request.group, request.marks
        return self.enqueue_step(request, head, self.batch_head_len, request.stamp, request.id.sequence, p, n)

    cdef bint may_join(self, Request* request, size_t n) noexcept:
        return (request.id.origin_node == self.batch_id.origin_node
                and request.id.origin_boot == self.batch_id.origin_boot
                and request.id.origin_worker == self.batch_id.origin_worker
                and request.group == self.batch_group and request.marks == self.batch_marks
                and request.stamp >= self.batch_stamp and request.stamp - self.batch_stamp <= <uint32_t>-1
                and request.id.sequence >= self.batch_id.sequence
                and request.id.sequence - self.batch_id.sequence <= <uint8_t>-1
                and n <= BATCHED_MOST and self.batch_bytes + n < BATCH_MOST)

    cdef Slot* enqueue_step(self, Request* request, char* head, size_t head_len, uint64_t stamp, uint64_t sequence,
                            const char* p, size_t n) noexcept:
        cdef Slot* slot
        put_step(head + head_len, <uint32_t>(request.stamp - stamp), <uint8_t>(request.id.sequence - sequence),
                 request.conflict)
        head_len += BATCH_STEP
        slot = self.enqueue(head, head_len, p, n)
        if slot != NULL:
            slot.head_len = <unsigned short>head_len
            self.batch_bytes += head_len + n
            self.batch_id = request.id
            self.batch_stamp = request.stamp
        return slot

    cdef void seal(self) noexcept:
        """Nothing joins the batch any more: its header learns how long it is."""
        if self.batch_bytes:
            put_batch_length(buf_tail(&self.outbuf) - self.batch_bytes + self.batch_head_len,
                             self.batch_bytes - self.batch_head_len)
            self.batch_bytes = 0

    cdef void flush(self):
        self.seal()
        TargetConn.flush(self)

    # ---- encrypted links

    cdef Slot* enqueue_secret(self, int type, const char* data, size_t data_len, const char* p, size_t n):
        """The same on an encrypted link; the first frame carries the key."""
        cdef char[HEAD_ROOM] head
        cdef bytes field = data[:data_len] if self.key_sent else self.cipher.sealed_key
        cdef bytes secret = self.cipher.encrypt(p[:n])
        cdef size_t head_len = encode_dnode(
            head, self.slots.tail + 1, type, DNODE_ENCRYPTED,
            DNODE_VERSION_BATCHES if self.is_ours else DNODE_VERSION_C, self.same_dc, field, len(field), len(secret))
        cdef Slot* slot = self.enqueue(NULL, 0, p, n)
        if slot == NULL:
            return NULL
        self.key_sent = True
        self.kept += n
        if buf_append(&self.wire, head, head_len) < 0 or buf_append(&self.wire, secret, len(secret)) < 0:
            raise MemoryError
        return slot

    # ---- replies

    cdef int feed(self) except -1:
        cdef const char* p
        cdef size_t n
        cdef int framed
        self.heard()
        while buf_len(&self.inbuf):
            if not self.has_head:
                framed = next_dnode(buf_ptr(&self.inbuf), buf_len(&self.inbuf), &self.head)
                if framed == FRAME_MORE:
                    break
                if framed == FRAME_ERROR:
                    log.error("%r sent what is no peer frame; the connection is closed", self)
                    self.close_now(0)
                    return 0
                self.has_head = True
            p = buf_ptr(&self.inbuf) + self.head.pos
            n = buf_len(&self.inbuf) - self.head.pos
            if dnode_payload_is_exact(&self.head) or self.head.type != DNODE_RES:
                if n < self.head.payload_len:
                    break
                n = self.head.payload_len
            else:
                framed = next_reply(p, n, &self.scan)
                if framed == FRAME_MORE:
                    break
                if framed == FRAME_ERROR:
                    log.error("%r sent a reply that is none; the connection is closed", self)
                    self.close_now(0)
                    return 0
                n = self.scan.pos
            if self.head.type == DNODE_RES:
                self.match(p, n)
                if self.fd < 0:
                    return 0
            buf_consume(&self.inbuf, self.head.pos + n)
            dnode_scan_reset(&self.head)
            reply_scan_reset(&self.scan)
            self.has_head = False
        if self.inbuf.cap > KEEP_BYTES:
            buf_shrink_idle(&self.inbuf, 0)
        return 0

    cdef int read_extension(self) except -1:
        """What the reply of one of our nodes says besides."""
        cdef Extension extension
        if not decode_extension(buf_ptr(&self.inbuf) + self.head.data_off, self.head.data_len, &extension):
            return 0
        self.reply_marks = extension.flags
        self.reply_stamp = extension.stamp
        if extension.fields & EXTENSION_RUN:
            self.reply_run = extension.run
        return self.path.heard_clock(self, max(extension.clock, extension.stamp))

    cdef int match(self, const char* p, size_t n) except -1:
        """The reply of the frame that was just read goes to the slot whose id it echoes, or to a run of slots."""
        cdef bytes plain = None
        cdef uint64_t id
        self.version_seen = self.head.version
        self.reply_marks = 0
        self.reply_run = 1
        if self.head.data_len > 1 and self.head.version >= DNODE_VERSION_OURS:
            self.read_extension()
        if self.head.flags & DNODE_ENCRYPTED:
            plain = self.cipher.decrypt(p[:n]) if self.cipher is not None else None
            if plain is None:
                log.error("%r sent a reply that cannot be decrypted; it is dropped", self)
                return 0
            p, n = plain, len(plain)
        if self.reply_run - 1 >= EXTENSION_RUN_MOST or self.reply_run > self.head.id:
            log.error("%r sent a reply to %d requests; the connection is closed", self, self.reply_run)
            self.close_now(0)
            return 0
        for id in range(self.head.id - self.reply_run + 1, self.head.id + 1):
            self.match_one(id, p, n)
            if self.fd < 0:
                return 0
        return 0

    cdef int match_one(self, uint64_t id, const char* p, size_t n) except -1:
        cdef Slot slot
        while slots_len(&self.slots) and id > self.slots.head + 1:
            self.path.target_mismatch(self)
            if self.take(&slot):
                return 0
            if slot.kind == SLOT_REQUEST:
                self.path.target_lost(self, &slot, buf_ptr(&self.outbuf), slot.size)
            self.let_go(&slot)
        if slots_len(&self.slots) == 0 or id < self.slots.head + 1:
            return self.match_later(id, p, n)
        if self.take(&slot):
            return 0
        if slot.kind == SLOT_HANDSHAKE:
            self.handshake_reply(p, n)
        elif self.reply_marks & EXTENSION_LATER:
            self.keep_later(&slot, id)
        elif slot.kind == SLOT_REQUEST:
            self.path.target_reply(self, &slot, p, n, n > 0 and p[0] == c"-")
        self.let_go(&slot)
        return 0

    # ---- replies out of order

    cdef int keep_later(self, Slot* slot, uint64_t id) except -1:
        """Its place in the order has come; what its bytes are needed for comes with the reply, or with its loss."""
        cdef LaterReply later
        if slot.request == NULL:                    # expired; it will be passed over
            return 0
        later = LaterReply.__new__(LaterReply)
        later.slot = slot[0]
        later.data = buf_ptr(&self.outbuf)[slot.head_len:slot.size]
        self.later[id] = later
        self.path.in_flight += 1
        return 0

    cdef int match_later(self, uint64_t id, const char* p, size_t n) except -1:
        """A reply that is not owed to a slot any more."""
        cdef LaterReply later = self.later.pop(id, None)
        if later is None:
            self.path.target_mismatch(self)
            return 0
        self.path.in_flight -= 1
        return self.path.target_later(self, &later.slot, later.data, p, n)

    cdef int give_up_later(self, uint64_t asked_before_ns) except -1:
        """The oldest first: none of them will be answered."""
        cdef LaterReply later
        for id in list(self.later):
            later = self.later[id]
            if later.slot.queued_ns >= asked_before_ns:
                break
            del self.later[id]
            self.path.in_flight -= 1
            self.path.target_later(self, &later.slot, later.data, NULL, 0)
        return 0

    cdef int expire(self, uint64_t timeout_ns) except -1:
        TargetConn.expire(self, timeout_ns)
        if self.later and self.poll.now_ns > timeout_ns + self.path.remote_wait_ns:
            self.give_up_later(self.poll.now_ns - timeout_ns - self.path.remote_wait_ns)
        return 0

    cdef void on_closed(self, int error):
        TargetConn.on_closed(self, error)
        self.give_up_later(<uint64_t>0 - 1)
