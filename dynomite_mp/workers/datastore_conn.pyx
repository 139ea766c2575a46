"""A connection to the datastore: RESP replies, matched to the oldest slot.

What it is: (e) to (g) of the picture in io_path. Its owner (datastore_link) connects it and says what the handshake is.

What it is not: see target_conn for deadlines, silence and loss.

Invariants:
- pushes of RESP3 answer no slot;
- a pause of it is one of this process: to nodes that waited for it this one was silent, and others lead by then;
- while the path holds writes back, what is queued stays here, but for a request of which a part has left;
- while a reply is awaited, what is queued is gathered, up to gather_bytes; it leaves at the end of the turn in which a
  reply has come.
"""

import logging

from dynomite_mp.proto.buffer cimport buf_consume, buf_len, buf_ptr, buf_shrink_idle
from dynomite_mp.proto.resp cimport FRAME_ERROR, FRAME_MORE, next_reply, reply_scan_reset
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.request cimport SLOT_HANDSHAKE, Slot
from dynomite_mp.workers.target_conn cimport TargetConn

log = logging.getLogger("dynomite_mp.io")

cdef enum:
    KEEP_BYTES = 1048576            # an emptied buffer above this goes back at once


cdef class DatastoreConn(TargetConn):
    def __init__(self, DataPath path, owner, int group, int index):
        self.poll = path
        self.path = path
        self.owner = owner
        self.group = group
        self.index = index
        reply_scan_reset(&self.scan)

    cdef void flush(self):
        if self.is_up and not self.send_blocked and (self.path.holds_writes or self.gathers()):
            return
        TargetConn.flush(self)

    cdef bint gathers(self) noexcept:
        """Whether what is queued waits for the replies to what was sent, to go in one piece then (ADR 81)."""
        return self.kept > 0 and buf_len(&self.outbuf) - self.kept < self.path.gather_bytes

    cdef void release(self):
        """What was held back is sent; the silence of before was not the datastore's."""
        self.last_activity_ns = self.poll.now_ns
        self.poll.mark_dirty(self)

    cdef int feed(self) except -1:
        cdef const char* p
        cdef int framed
        cdef Slot slot
        if self.is_silent:
            self.path.store_back()
        if self.has_paused(self.path.pause_ns):
            self.path.stalled_ns = self.poll.now_ns
        self.heard()
        while buf_len(&self.inbuf):
            p = buf_ptr(&self.inbuf)
            framed = next_reply(p, buf_len(&self.inbuf), &self.scan)
            if framed == FRAME_MORE:
                break
            if framed == FRAME_ERROR:
                log.error("%r sent what is no RESP reply; the connection is closed", self)
                self.close_now(0)
                return 0
            if not self.scan.is_push:
                if self.take(&slot):
                    return 0
                if slot.kind == SLOT_HANDSHAKE:
                    self.handshake_reply(p, self.scan.pos)
                else:
                    self.path.target_reply(self, &slot, p, self.scan.pos, self.scan.is_error)
                self.let_go(&slot)
                if self.fd < 0:
                    return 0
            buf_consume(&self.inbuf, self.scan.pos)
            reply_scan_reset(&self.scan)
        if buf_len(&self.outbuf) > self.kept:
            self.poll.mark_dirty(self)          # what was gathered meanwhile
        if self.inbuf.cap > KEEP_BYTES:
            buf_shrink_idle(&self.inbuf, 0)
        return 0
