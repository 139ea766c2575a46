"""A connection to the datastore: requests go out, replies are matched to the oldest slot.

What it is: (e) to (g) of the picture in io_path. Its owner (datastore_link) connects it and says what the handshake is.

What it is not: it does not know which command a slot stands for, nor any client.

Invariants:
- a slot leaves the queue only with its reply or with the connection; a deadline only takes the request out of it;
- pushes of RESP3 answer no slot;
- silent is one that owes a reply and has neither sent a byte nor taken one from a backlog for `silence_ns`.
"""

import logging

from libc.stdint cimport uint64_t

from dynomite_mp.proto.buffer cimport buf_append, buf_consume, buf_len, buf_ptr, buf_shrink_idle
from dynomite_mp.proto.resp cimport FRAME_ERROR, FRAME_MORE, next_reply, reply_scan_reset
from dynomite_mp.workers.conn cimport Conn, socket_error
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.request cimport (
    SLOT_HANDSHAKE, SLOT_REQUEST, Request, Slot, slots_at, slots_free, slots_init, slots_len, slots_push,
)

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN
        EPOLLOUT

log = logging.getLogger("dynomite_mp.io")

cdef enum:
    KEEP_BYTES = 1048576            # an emptied buffer above this goes back at once


cdef class DatastoreConn(Conn):
    """One connection to the datastore. Its owner connects it and says what the handshake is."""

    def __init__(self, DataPath path, owner, int group, int index):
        self.poll = path
        self.path = path
        self.owner = owner
        self.group = group
        self.index = index
        slots_init(&self.slots)
        reply_scan_reset(&self.scan)

    def __dealloc__(self):
        slots_free(&self.slots)

    def open(self, sock):
        """Takes over a socket whose non-blocking connect() has been called."""
        self.fd = sock.detach()
        self.is_connecting = True
        self.last_activity_ns = self.poll.read_clock()
        self.poll.add(self, EPOLLIN | EPOLLOUT)

    def send_handshake(self, bytes command):
        """A request of our own; its reply goes to owner.on_handshake(conn, reply)."""
        cdef Slot* slot = slots_push(&self.slots)
        if slot == NULL or buf_append(&self.outbuf, command, len(command)) < 0:
            raise MemoryError
        slot.kind = SLOT_HANDSHAKE
        slot.queued_ns = self.poll.now_ns
        self.path.in_flight += 1
        self.path.start_ticking()
        self.poll.mark_dirty(self)

    def go_up(self):
        """The handshake is done: requests may be sent."""
        self.is_up = True
        self.path.datastore_changed(self)

    def close(self):
        self.close_now(0)

    cdef int writable(self) except -1:
        cdef uint64_t before = self.bytes_out
        if self.is_connecting:
            error = socket_error(self.fd)
            if error:
                self.close_now(error)
                return 0
            self.is_connecting = False
            self.update_mask()
            self.owner.on_connected(self)
        self.flush()
        if self.bytes_out > before:
            self.last_activity_ns = self.poll.now_ns      # a backlog that moves is not silence
        return 0

    cdef int feed(self) except -1:
        cdef const char* p
        cdef int framed
        cdef Slot* slot
        cdef Slot taken
        self.last_activity_ns = self.poll.now_ns
        self.is_silent = False
        while buf_len(&self.inbuf):
            p = buf_ptr(&self.inbuf)
            framed = next_reply(p, buf_len(&self.inbuf), &self.scan)
            if framed == FRAME_MORE:
                break
            if framed == FRAME_ERROR:
                log.error("datastore %r sent what is no RESP reply; the connection is closed", self)
                self.close_now(0)
                return 0
            if not self.scan.is_push:
                if slots_len(&self.slots) == 0:
                    log.error("datastore %r sent a reply nobody asked for; the connection is closed", self)
                    self.close_now(0)
                    return 0
                slot = slots_at(&self.slots, self.slots.head)
                taken = slot[0]
                self.slots.head += 1
                self.path.in_flight -= 1
                if taken.kind == SLOT_HANDSHAKE:
                    self.handshake_reply(p, self.scan.pos)
                else:
                    self.path.datastore_reply(self, &taken, p, self.scan.pos, self.scan.is_error)
                if self.fd < 0:
                    return 0
            buf_consume(&self.inbuf, self.scan.pos)
            reply_scan_reset(&self.scan)
        if self.inbuf.cap > KEEP_BYTES:
            buf_shrink_idle(&self.inbuf, 0)
        return 0

    cdef void after_flush(self):
        """Everything queued has left: how long the oldest of it waited here."""
        if self.sent < self.slots.head:
            self.sent = self.slots.head
        if self.sent < self.slots.tail:
            self.path.slab.observe(self.path.cells.queue_wait,
                                   self.poll.now_ns - slots_at(&self.slots, self.sent).queued_ns)
            self.sent = self.slots.tail

    cdef uint64_t unsent(self) noexcept:
        """Requests of which some byte has not left yet."""
        return self.slots.tail - (self.sent if self.sent > self.slots.head else self.slots.head)

    cdef int handshake_reply(self, const char* p, size_t n) except -1:
        self.owner.on_handshake(self, p[:n])
        return 0

    cdef int expire(self, uint64_t timeout_ns) except -1:
        """Answer the clients of requests past their deadline; the slots stay for the late replies."""
        cdef Slot* slot
        cdef Request* request
        if self.slots.expired < self.slots.head:
            self.slots.expired = self.slots.head
        while self.slots.expired < self.slots.tail:
            slot = slots_at(&self.slots, self.slots.expired)
            if slot.queued_ns + timeout_ns > self.poll.now_ns:
                break
            self.slots.expired += 1
            if slot.kind == SLOT_HANDSHAKE:
                self.close_now(0)
                return 0
            request = slot.request
            if request != NULL:
                slot.request = NULL
                self.path.slab.add(self.path.cells.store_timeouts[self.group], 1)
                self.path.datastore_expired(self, request)
        return 0

    cdef void watch_silence(self) noexcept:
        cdef uint64_t since
        if slots_len(&self.slots) == 0:
            return
        since = slots_at(&self.slots, self.slots.head).queued_ns
        if self.last_activity_ns > since:
            since = self.last_activity_ns
        if self.poll.now_ns > since + self.path.silence_ns:
            self.is_silent = True

    cdef void on_closed(self, int error):
        """Every request on it fails; whether they were executed nobody can say."""
        cdef Slot slot
        if self.is_up:
            self.is_up = False
            self.path.datastore_changed(self)
        while slots_len(&self.slots):
            slot = slots_at(&self.slots, self.slots.head)[0]
            self.slots.head += 1
            self.path.in_flight -= 1
            if slot.kind == SLOT_REQUEST:
                self.path.datastore_lost(self, &slot)
        self.owner.on_lost(self, error)
