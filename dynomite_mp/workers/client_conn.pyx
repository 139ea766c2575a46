"""A client's connection: its requests in order, its replies in the same order, its budgets.

What it is: (a), (b), (h) and (i) of the picture in io_path: it frames requests out of its input and keeps the queue in
whose order replies leave.

What it is not: it knows neither commands nor datastores; a whole request goes to `path.handle`.

Invariants:
- it is not read while pause_bits is set: over its soft budget, held, or the process is short of memory;
- unsent replies never pause reading; past the hard limit the client is closed;
- after its last word (QUIT, protocol error, EOF) it is closed once everything is answered and sent; after a protocol
  error it lingers until the other side closes, lest a reset take the error reply away.
"""

import logging

from libc.stdint cimport uint32_t

from dynomite_mp.proto.buffer cimport buf_append, buf_clear, buf_consume, buf_len, buf_ptr, buf_shrink_idle
from dynomite_mp.proto.resp cimport FRAME_ERROR, FRAME_MORE, next_request, request_scan_reset
from dynomite_mp.workers.conn cimport REQUESTS_PER_TURN, Conn
from dynomite_mp.workers.data_path cimport HOLD, PAUSE_BUDGET, DataPath
from dynomite_mp.workers.request cimport (
    REQUEST_ANSWERED, REQUEST_DONE, Request, queue_free, queue_head, queue_init, queue_len, request_release,
)

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN

cdef extern from "<sys/socket.h>" nogil:
    enum:
        SHUT_WR
    int c_shutdown "shutdown"(int fd, int how)

log = logging.getLogger("dynomite_mp.io")

cdef enum:
    LINGER_NS = 2000000000
    KEEP_BYTES = 1048576            # an emptied buffer above this goes back at once


cdef class ClientConn(Conn):
    """A client: its requests in order, its replies in the same order."""

    def __init__(self, DataPath path, int fd, address):
        self.poll = path
        self.path = path
        self.fd = fd
        self.address = address
        queue_init(&self.queue)
        request_scan_reset(&self.scan)
        path.add(self, EPOLLIN)
        path.clients += 1
        path.slab.put(path.cells.clients, path.clients)

    def __dealloc__(self):
        queue_free(&self.queue)

    cdef int feed(self) except -1:
        cdef int budget = REQUESTS_PER_TURN
        cdef int framed
        if self.is_lingering:
            buf_clear(&self.inbuf)
            return 0
        while self.pause_bits == 0:
            if not self.scan_whole:
                if buf_len(&self.inbuf) == 0:
                    break
                framed = next_request(buf_ptr(&self.inbuf), buf_len(&self.inbuf), &self.scan)
                if framed == FRAME_MORE:
                    break
                if framed == FRAME_ERROR:
                    buf_clear(&self.inbuf)
                    self.path.protocol_error(self, self.scan.error_code)
                    return 0
                self.scan_whole = True
            if self.scan.argc > 0:
                if budget == 0:
                    self.poll.mark_ready(self)
                    break
                budget -= 1
                if self.path.handle(self, buf_ptr(&self.inbuf), &self.scan) == HOLD:
                    break
                if self.fd < 0 or self.is_lingering:
                    return 0
            buf_consume(&self.inbuf, self.scan.pos)
            request_scan_reset(&self.scan)
            self.scan_whole = False
            if self.is_finishing and not self.is_half_closed:
                buf_clear(&self.inbuf)          # QUIT: nothing behind it counts
                break
        if self.is_finishing:
            self.poll.mark_dirty(self)
        if self.inbuf.cap > KEEP_BYTES:
            buf_shrink_idle(&self.inbuf, 0)
        return 0

    cdef int on_eof(self) except -1:
        """Half-closed or gone: what it asked for is finished, then the connection ends."""
        if self.is_lingering:
            self.close_now(0)
            return 0
        self.is_half_closed = True
        self.path.slab.add(self.path.cells.client_eof, 1)
        self.finish()
        return 0

    cdef void finish(self):
        """Read no more; close when everything is answered and sent."""
        self.is_finishing = True
        self.is_eof = True
        self.update_mask()
        self.poll.mark_dirty(self)

    cdef void after_flush(self):
        if not self.is_finishing or queue_len(&self.queue) or buf_len(&self.outbuf) or self.is_ready:
            return
        if self.is_half_closed and self.pause_bits and buf_len(&self.inbuf):
            return
        if self.is_lingering and self.linger_until_ns == 0:
            # Closing with unread input would reset the connection and could take the error reply with it.
            c_shutdown(self.fd, SHUT_WR)
            self.linger_until_ns = self.poll.now_ns + LINGER_NS
            self.is_eof = False
            self.pause_bits = 0
            self.resume()
            self.update_mask()
            self.path.lingering.append(self)
            self.path.start_ticking()
            return
        if not self.is_lingering:
            self.close_now(0)

    cdef void on_closed(self, int error):
        cdef Request* request
        self.path.clients -= 1
        self.path.slab.put(self.path.cells.clients, self.path.clients)
        if error:
            self.path.slab.add(self.path.cells.client_err, 1)
        while queue_len(&self.queue):
            request = queue_head(&self.queue)
            self.queue.head += 1
            request.client = NULL
            request.state = REQUEST_ANSWERED
            request_release(request)
        self.path.stop_waiting(self)
        if self.session is not None:
            self.path.sessions.close(self.session)

    cdef void set_pause(self, uint32_t bit) noexcept:
        self.pause_bits |= bit
        self.pause()

    cdef void clear_pause(self, uint32_t bit):
        if not self.pause_bits & bit:
            return
        self.pause_bits &= ~bit
        if self.pause_bits == 0:
            self.resume()
            if buf_len(&self.inbuf) or self.scan_whole:
                self.poll.mark_ready(self)

    cdef void settle(self, Request* request) noexcept:
        """The request is answered: its bytes no longer count to the soft budget."""
        self.in_flight_bytes -= request.size
        if self.pause_bits & PAUSE_BUDGET and self.in_flight_bytes <= self.path.client_soft_bytes // 2:
            self.clear_pause(PAUSE_BUDGET)

    cdef int flush_done(self) except -1:
        """Replies that came early and whose turn it is now."""
        cdef Request* request
        while queue_len(&self.queue):
            request = queue_head(&self.queue)
            if request.state != REQUEST_DONE:
                break
            self.queue.head += 1
            self.parked_bytes -= request.reply_len
            buf_append(&self.outbuf, request.reply, request.reply_len)
            request.state = REQUEST_ANSWERED
            request_release(request)
        return 0

    cdef void check_limits(self):
        cdef size_t held = buf_len(&self.outbuf) + self.parked_bytes
        if held > self.path.client_hard_bytes and self.fd >= 0:
            log.error("client %s closed: %d bytes of replies unread, more than client_hard_limit_bytes (%d)",
                      self.address, held, self.path.client_hard_bytes)
            self.path.slab.add(self.path.cells.hard_limit, 1)
            self.close_now(0)
