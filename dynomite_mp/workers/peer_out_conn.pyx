"""A connection to another node, for our requests: frames go out, replies are matched by the id they echo.

What it is: the peer side of (d') and (g) in the picture of io_path. Its owner (peer_mesh) connects it and asks the
first question: a PING whose version says that we are one of ours; who answers with version 2 is too.

What it is not: see target_conn for deadlines, silence and loss; it does not know who owns what.

    outbuf (plain link)      header payload header payload ...     sent as it stands
    outbuf (encrypted link)  payload payload ...                   kept for the case of loss; `wire` is what is sent

Invariants (reference 6.4): an id is the place of its slot in the queue; a reply with a smaller id belongs to the past
and is dropped; a larger one means that those before it will get none. One of ours may give the slot back first (flag
LATER) and reply with the same id when it can; then the request waits in `later`, and no other one behind it.
"""

import logging

from libc.stdint cimport uint64_t

from dynomite_mp.proto.buffer cimport buf_append, buf_consume, buf_free, buf_init, buf_len, buf_ptr, buf_shrink_idle
from dynomite_mp.proto.dnode cimport (
    DNODE_ENCRYPTED, DNODE_REQ, DNODE_RES, DNODE_VERSION_C, DNODE_VERSION_OURS, EXTENSION_LATER, Extension,
    decode_extension, dnode_payload_is_exact, dnode_scan_reset, encode_dnode, next_dnode,
)
from dynomite_mp.proto.resp cimport FRAME_ERROR, FRAME_MORE, next_reply, reply_scan_reset
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.request cimport SLOT_HANDSHAKE, SLOT_PROBE, SLOT_REQUEST, Slot, slots_len
from dynomite_mp.workers.target_conn cimport TargetConn

log = logging.getLogger("dynomite_mp.io")

cdef enum:
    KEEP_BYTES = 1048576            # an emptied buffer above this goes back at once
    HEAD_ROOM = 512
    PING_BYTES = 14


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
        head_len = encode_dnode(head, self.slots.tail + 1, type, 0,
                                DNODE_VERSION_OURS if self.is_ours else DNODE_VERSION_C, self.same_dc,
                                data, data_len, n)
        slot = self.enqueue(head, head_len, p, n)
        if slot != NULL:
            slot.head_len = <unsigned short>head_len
        return slot

    cdef Slot* enqueue_secret(self, int type, const char* data, size_t data_len, const char* p, size_t n):
        """The same on an encrypted link; the first frame carries the key."""
        cdef char[HEAD_ROOM] head
        cdef bytes field = data[:data_len] if self.key_sent else self.cipher.sealed_key
        cdef bytes secret = self.cipher.encrypt(p[:n])
        cdef size_t head_len = encode_dnode(
            head, self.slots.tail + 1, type, DNODE_ENCRYPTED, DNODE_VERSION_OURS if self.is_ours else DNODE_VERSION_C,
            self.same_dc, field, len(field), len(secret))
        cdef Slot* slot = self.enqueue(NULL, 0, p, n)
        if slot == NULL:
            return NULL
        self.key_sent = True
        self.kept += n
        if buf_append(&self.wire, head, head_len) < 0 or buf_append(&self.wire, secret, len(secret)) < 0:
            raise MemoryError
        return slot

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
        return self.path.heard_clock(self, max(extension.clock, extension.stamp))

    cdef int match(self, const char* p, size_t n) except -1:
        """The reply of the frame that was just read goes to the slot whose id it echoes."""
        cdef Slot slot
        cdef bytes plain = None
        cdef uint64_t id = self.head.id
        self.version_seen = self.head.version
        self.reply_marks = 0
        if self.head.data_len > 1 and self.head.version >= DNODE_VERSION_OURS:
            self.read_extension()
        if self.head.flags & DNODE_ENCRYPTED:
            plain = self.cipher.decrypt(p[:n]) if self.cipher is not None else None
            if plain is None:
                log.error("%r sent a reply that cannot be decrypted; it is dropped", self)
                return 0
            p, n = plain, len(plain)
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
