"""A connection that requests go to: the datastore (datastore_conn) or a peer (peer_out_conn).

What it is: the queue of slots that owe a reply, deadlines, silence, connecting. The bytes of a request stay in the
output buffer until its reply has come, so that what a lost connection did not answer can go elsewhere:

    outbuf:   | sent, reply awaited | not sent yet |
              head             head + kept         tail
    slots:    one per request, in the same order; each knows how many of these bytes are its own

What it is not: it does not know what a reply looks like, nor which command a slot stands for, nor any client.

Invariants:
- a slot leaves the queue only with its reply or with the connection; a deadline only takes the request out of it;
- silent is one that owes a reply and has neither sent a byte nor taken one from a backlog for a while;
- what this process stood still counts neither for silence nor for a deadline: replies may lie in the socket.
"""

import logging

from libc.stdint cimport uint64_t

from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.proto.buffer cimport buf_append, buf_clear, buf_consume, buf_len, buf_ptr, buf_reserve
from dynomite_mp.workers.conn cimport Conn, socket_error
from dynomite_mp.workers.request cimport (
    SLOT_HANDSHAKE, SLOT_REQUEST, Slot, slots_at, slots_free, slots_init, slots_len, slots_push,
)

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN
        EPOLLOUT

log = logging.getLogger("dynomite_mp.io")


cdef enum:
    BULK_BYTES = 16777216           # a request above this extends the deadlines behind it
    PROBE_EVERY_NS = 100000000
    BULK_NS_PER_BYTE = 64           # by its size at 16 MB/s, what a slow disk under an append-only file writes


cdef class TargetConn(Conn):
    def __cinit__(self, *args):
        slots_init(&self.slots)
        self.keeps_sent = True

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
        cdef Slot* slot = self.enqueue(NULL, 0, command, len(command))
        if slot == NULL:
            raise MemoryError
        slot.kind = SLOT_HANDSHAKE

    def go_up(self):
        """The handshake is done: requests may be sent."""
        self.is_up = True
        self.path.target_changed(self)

    def close(self):
        self.close_now(0)

    @property
    def in_flight(self):
        """Requests that are not answered yet, those past their deadline included."""
        return slots_len(&self.slots)

    @property
    def waiting_bytes(self):
        """Their bytes; kept until they are answered."""
        return buf_len(&self.outbuf)

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

    cdef Slot* enqueue(self, const char* head, size_t head_len, const char* p, size_t n) noexcept:
        """head + p behind what is to be sent, and the slot for the reply; NULL when memory is out."""
        cdef Slot* slot
        if buf_reserve(&self.outbuf, head_len + n) < 0:
            return NULL
        slot = slots_push(&self.slots)
        if slot == NULL:
            return NULL
        if head_len:
            buf_append(&self.outbuf, head, head_len)
        buf_append(&self.outbuf, p, n)
        slot.size = head_len + n
        slot.kind = SLOT_REQUEST
        slot.queued_ns = self.poll.now_ns
        if n > BULK_BYTES and n * BULK_NS_PER_BYTE > self.bulk_ns:
            self.bulk_ns = n * BULK_NS_PER_BYTE
        self.path.in_flight += 1
        if not self.path.ticking:
            self.path.start_ticking()
        self.poll.mark_dirty(self)
        return slot

    cdef void undo(self) noexcept:
        """Take back what enqueue() did last, in the same turn."""
        cdef Slot* slot = slots_at(&self.slots, self.slots.tail - 1)
        self.outbuf.tail -= slot.size
        if self.outbuf.tail == self.outbuf.head:
            buf_clear(&self.outbuf)
        self.slots.tail -= 1
        self.path.in_flight -= 1

    cdef void heard(self) noexcept:
        self.last_activity_ns = self.poll.now_ns
        self.is_silent = False

    cdef int probe_now_and_then(self) except -1:
        """For a silent target, when somebody would have had a request for it."""
        if self.poll.now_ns - self.last_probe_ns >= PROBE_EVERY_NS:
            self.last_probe_ns = self.poll.now_ns
            self.probe()
        return 0

    cdef int probe(self) except -1:
        """Ask a silent target whether it lives. One that never leaves out a reply need not be asked."""
        return 0

    cdef int take(self, Slot* slot) except -1:
        """The oldest slot, for which a reply has come; 0, or 1 when nobody had asked (the connection is closed then).

        Its bytes stay at the head of the output until let_go().
        """
        if slots_len(&self.slots) == 0 or slots_at(&self.slots, self.slots.head).size > self.kept:
            log.error("%r sent a reply nobody had asked for; the connection is closed", self)
            self.close_now(0)
            return 1
        slot[0] = slots_at(&self.slots, self.slots.head)[0]
        self.slots.head += 1
        self.path.in_flight -= 1
        if slot.size > BULK_BYTES:
            self.bulk_ns = 0
        return 0

    cdef void let_go(self, Slot* slot) noexcept:
        """The bytes of a taken slot are no longer needed."""
        if self.fd >= 0:
            self.kept -= slot.size
            buf_consume(&self.outbuf, slot.size)

    cdef void after_flush(self):
        """Everything queued has left: how long the oldest of it waited here."""
        if self.left < self.slots.head:
            self.left = self.slots.head
        if self.left < self.slots.tail:
            self.path.target_sent(self, self.poll.now_ns - slots_at(&self.slots, self.left).queued_ns)
            self.left = self.slots.tail

    cdef uint64_t unsent(self) noexcept:
        """Requests of which some byte has not left yet."""
        return self.slots.tail - (self.left if self.left > self.slots.head else self.slots.head)

    cdef int handshake_reply(self, const char* p, size_t n) except -1:
        self.owner.on_handshake(self, p[:n])
        return 0

    cdef int expire(self, uint64_t timeout_ns) except -1:
        """Requests past their deadline leave their slots; the slots stay for the late replies.

        Nobody behind a huge value can be answered before it has been moved, nor behind a reply that is just arriving.
        """
        cdef Slot* slot
        cdef uint64_t at
        cdef size_t offset = 0
        cdef bint is_found = False                  # offset is that of the slot at hand
        if buf_len(&self.inbuf) and self.last_activity_ns + timeout_ns > self.poll.now_ns:
            return 0
        timeout_ns += self.bulk_ns
        if self.slots.expired < self.slots.head:
            self.slots.expired = self.slots.head
        while self.slots.expired < self.slots.tail:
            slot = slots_at(&self.slots, self.slots.expired)
            if max(slot.queued_ns, self.poll.awake_ns) + timeout_ns > self.poll.now_ns:
                break
            self.slots.expired += 1
            if slot.kind == SLOT_HANDSHAKE:
                self.close_now(0)
                return 0
            if slot.request != NULL:
                if not is_found:
                    is_found = True
                    for at in range(self.slots.head, self.slots.expired - 1):
                        offset += slots_at(&self.slots, at).size
                self.path.target_expired(self, slot, buf_ptr(&self.outbuf) + offset, slot.size)
            if is_found:
                offset += slots_at(&self.slots, self.slots.expired - 1).size
        return 0

    cdef bint watch_silence(self, uint64_t silence_ns) noexcept:
        """Whether it has become silent just now."""
        if self.is_silent:
            return False
        self.is_silent = self.has_paused(silence_ns)
        return self.is_silent

    cdef bint has_paused(self, uint64_t pause_ns) noexcept:
        """Whether it owes a reply and nothing has come for that long."""
        cdef uint64_t since
        if slots_len(&self.slots) == 0:
            return False
        since = max(slots_at(&self.slots, self.slots.head).queued_ns, self.last_activity_ns)
        since = max(since, self.poll.awake_ns)
        return self.poll.now_ns > since + pause_ns + self.bulk_ns

    cdef void on_closed(self, int error):
        """What it owed is handed back with its bytes; whether it was executed nobody can say."""
        cdef Slot slot
        cdef size_t left = self.kept                # bytes that have left
        if self.is_up:
            self.is_up = False
            self.path.target_changed(self)
        while slots_len(&self.slots):
            slot = slots_at(&self.slots, self.slots.head)[0]
            self.slots.head += 1
            self.path.in_flight -= 1
            slot.is_unsent = slot.size > left
            left -= min(left, slot.size)
            if slot.kind == SLOT_REQUEST:
                self.path.target_lost(self, &slot, buf_ptr(&self.outbuf), slot.size)
            buf_consume(&self.outbuf, slot.size)
        self.owner.on_lost(self, error)


cdef tuple queue_figures(list conns, SlabWriter slab, int in_length, int out_length):
    """(requests to be sent, their bytes, requests sent, their bytes) of these connections, None among them; each one's
    queues are observed in the two histograms."""
    cdef TargetConn conn
    cdef uint64_t unsent = 0, unsent_bytes = 0, sent = 0, sent_bytes = 0, waiting, awaited
    for item in conns:
        if item is None:
            continue
        conn = <TargetConn>item
        waiting = conn.unsent()
        awaited = slots_len(&conn.slots) - waiting
        slab.observe(in_length, waiting)
        slab.observe(out_length, awaited)
        unsent += waiting
        sent += awaited
        sent_bytes += conn.kept
        unsent_bytes += buf_len(&conn.outbuf) - conn.kept
    return unsent, unsent_bytes, sent, sent_bytes
