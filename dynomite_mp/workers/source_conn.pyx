"""A connection that requests come from: what it asked for is answered in the same order, within its budgets.

What it is: the common part of a client (client_conn) and of a peer that asks (peer_in_conn): the queue in whose order
replies leave, soft budget and hard limit, holding and finishing.

What it is not: it frames nothing.

Invariants:
- it is not read while pause_bits is set: over its soft budget, held, or the process is short of memory;
- what a client pipelines behind a command that another node leads waits, if it is about the same keys (may_follow);
- unsent replies never pause reading; past the hard limit the connection is closed.
"""

import logging

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from dynomite_mp.proto.buffer cimport buf_append, buf_len
from dynomite_mp.proto.command_lookup cimport CONFLICT_LEAD
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.data_path cimport PAUSE_BUDGET
from dynomite_mp.workers.request cimport (
    REQUEST_ANSWERED, REQUEST_DONE, REQUEST_WAITING, Request, RequestQueue, queue_free, queue_head, queue_init,
    queue_len, request_release,
)

cdef enum:
    QUEUE_LOOKED_AT = 64            # positions of the queue; behind more of them everything waits

log = logging.getLogger("dynomite_mp.io")


cdef class SourceConn(Conn):
    def __cinit__(self, *args):
        queue_init(&self.queue)

    def __dealloc__(self):
        queue_free(&self.queue)

    cdef int emit(self, Request* request, const char* p, size_t n) except -1:
        """Put a reply whose turn it is into the output."""
        buf_append(&self.outbuf, p, n)
        return 0

    cdef int deliver(self, Request* request, const char* p, size_t n) except -1:
        """The reply of a request in the queue: out if it is its turn, else parked in the request."""
        self.settle(request)
        if queue_head(&self.queue) == request:
            self.queue.head += 1
            request.state = REQUEST_ANSWERED
            self.emit(request, p, n)
            request_release(request)
            if queue_len(&self.queue) and queue_head(&self.queue).state == REQUEST_DONE:
                self.flush_done()
        elif request.is_later:
            self.emit_later(request, p, n)
        else:
            if p != request.reply:                  # else it is the reply kept in reserve
                free(request.reply)
                request.reply = <char*>malloc(n if n else 1)
                if request.reply == NULL:
                    self.close_now(0)
                    return 0
                memcpy(request.reply, p, n)
            request.reply_len = n
            request.state = REQUEST_DONE
            self.parked_bytes += n
        self.path.slab.add(self.path.cells.responses, 1)
        self.path.slab.add(self.path.cells.response_bytes, n)
        self.check_limits()
        self.poll.mark_dirty(self)
        return 0

    cdef int emit_later(self, Request* request, const char* p, size_t n) except -1:
        """Hook of peer_in_conn: the reply of a request that has left the queue."""
        raise NotImplementedError

    cdef int flush_done(self) except -1:
        """Replies that came early and whose turn it is now."""
        cdef Request* request
        while queue_len(&self.queue):
            request = queue_head(&self.queue)
            if request.state != REQUEST_DONE:
                break
            self.queue.head += 1
            self.parked_bytes -= request.reply_len
            self.emit(request, request.reply, request.reply_len)
            request.state = REQUEST_ANSWERED
            request_release(request)
        return 0

    cdef bint may_follow(self, uint32_t token, bint has_several, bint is_lead) noexcept:
        """Whether the next request finds what this source asked before of its keys.

        Commands of class lead on one token are asked of one lead, in order: they need not wait for each other. Others
        wait for their effects; and they wait for others, reads too, which their effects would overtake.
        """
        cdef uint64_t tail = self.lead_tail
        cdef uint64_t at
        cdef Request* request
        if self.lead_tail > self.queue.head and (has_several or self.has_wide_lead):
            return False
        if is_lead and not self.frames_replies:     # those of a peer come in the order of its lanes; each by itself
            tail = self.lead_run if self.lead_tail == self.queue.tail else self.queue.tail
        if tail <= self.queue.head:
            return True
        if has_several or tail - self.queue.head > QUEUE_LOOKED_AT:
            return False
        for at in range(self.queue.head, tail):
            request = self.queue.items[at & self.queue.mask]
            if request.state != REQUEST_WAITING or (request.conflict == CONFLICT_LEAD) == is_lead:
                continue
            if request.token == token or request.fragments != NULL:
                return False
        return True

    cdef void follow(self, bint has_several, bint is_lead) noexcept:
        """The request that was queued last is a write."""
        if not is_lead:
            return
        if self.lead_tail != self.queue.tail - 1:
            self.lead_run = self.queue.tail - 1
        self.has_wide_lead = has_several or (self.has_wide_lead and self.lead_tail > self.queue.head)
        self.lead_tail = self.queue.tail

    cdef void finish(self):
        """Read no more; close when everything is answered and sent."""
        self.is_finishing = self.is_parting = True
        self.is_eof = True
        self.update_mask()
        self.poll.mark_dirty(self)

    cdef void part(self) noexcept:
        """Close behind the next answer: a client that waits for its answers has sent nothing then."""
        self.is_parting = True
        self.parted_at = self.bytes_out

    cdef int drain(self) except -1:
        """The last that is read is what has come already: it is answered too."""
        if not self.is_paused and not self.is_eof:
            self.readable()
        if self.fd >= 0:
            self.is_half_closed = True
            self.finish()
        return 0

    cdef void flush(self):
        """A client that has its last answer but not yet the end of the connection would ask on, in vain."""
        self.is_last = (self.is_parting and not self.frames_replies and not self.is_ready
                        and queue_len(&self.queue) == 0 and buf_len(&self.inbuf) == 0)
        Conn.flush(self)

    cdef void after_flush(self):
        if not self.is_parting or queue_len(&self.queue) or buf_len(&self.outbuf) or self.is_ready:
            return
        if not self.is_finishing and (self.bytes_out == self.parted_at or buf_len(&self.inbuf)):
            return                              # its last answer has still to come
        if self.is_half_closed and self.pause_bits and buf_len(&self.inbuf):
            return                              # requests read before the end of the input
        self.close_now(0)

    cdef int on_eof(self) except -1:
        """Half-closed or gone: what it asked for is finished, then the connection ends."""
        self.is_half_closed = True
        self.finish()
        return 0

    cdef void on_closed(self, int error):
        self.detach_requests()

    cdef void detach_requests(self):
        """Nobody waits for these replies any more; the slots swallow them."""
        self.path.slab.add(self.path.cells.dropped, queue_len(&self.queue))
        detach_all(&self.queue)
        self.path.stop_waiting(self)

    cdef void set_pause(self, uint32_t bit) noexcept:
        self.pause_bits |= bit
        self.pause()

    cdef void clear_pause(self, uint32_t bit):
        if not self.pause_bits & bit:
            return
        self.pause_bits &= ~bit
        if self.pause_bits == 0:
            self.resume()
            if buf_len(&self.inbuf) or self.has_whole:
                self.poll.mark_ready(self)

    cdef void settle(self, Request* request) noexcept:
        """The request is answered: its bytes no longer count to the soft budget."""
        self.in_flight_bytes -= request.size
        if self.pause_bits & PAUSE_BUDGET and self.in_flight_bytes <= self.path.client_soft_bytes // 2:
            self.clear_pause(PAUSE_BUDGET)

    cdef int check_limits(self) except -1:
        cdef size_t held = buf_len(&self.outbuf) + self.parked_bytes
        if held > self.path.client_hard_bytes and self.fd >= 0:
            log.error("%s closed: %d bytes of replies unread, more than client_hard_limit_bytes (%d)",
                      self.address, held, self.path.client_hard_bytes)
            self.path.slab.add(self.path.cells.hard_limit, 1)
            self.close_now(0)
        return 0


cdef void detach_all(RequestQueue* queue) noexcept:
    """Empties it; what is still awaited for its requests answers nobody."""
    cdef Request* request
    while queue_len(queue):
        request = queue_head(queue)
        queue.head += 1
        request.client = NULL
        request.state = REQUEST_ANSWERED
        request_release(request)
