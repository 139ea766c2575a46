"""A client's connection: RESP requests in, replies out.

What it is: (a), (b), (h) and (i) of the picture in io_path: it frames requests out of its input.

What it is not: it knows neither commands nor datastores; a whole request goes to `path.handle`.

Invariant: after its last word (QUIT, protocol error, EOF) it is closed once everything is answered and sent; after a
protocol error it lingers until the other side closes, lest a reset take the error reply away.
"""

from dynomite_mp.proto.buffer cimport buf_clear, buf_consume, buf_len, buf_ptr, buf_shrink_idle
from dynomite_mp.proto.resp cimport FRAME_ERROR, FRAME_MORE, next_request, request_scan_reset
from dynomite_mp.workers.conn cimport REQUESTS_PER_TURN
from dynomite_mp.workers.data_path cimport HOLD, DataPath
from dynomite_mp.workers.request cimport queue_len
from dynomite_mp.workers.source_conn cimport SourceConn

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN
        EPOLLRDHUP
    unsigned int EPOLLET

cdef extern from "<sys/socket.h>" nogil:
    enum:
        SHUT_WR
    int c_shutdown "shutdown"(int fd, int how)

cdef enum:
    LINGER_NS = 2000000000
    KEEP_BYTES = 1048576            # an emptied buffer above this goes back at once


cdef class ClientConn(SourceConn):
    def __init__(self, DataPath path, int fd, address, int read_level=0, int write_level=0):
        self.poll = path
        self.path = path
        self.fd = fd
        self.address = address
        self.read_level = read_level
        self.write_level = write_level
        request_scan_reset(&self.scan)
        self.edge = EPOLLET | EPOLLRDHUP        # spares the kernel a second look at each socket that was ready
        path.add(self, EPOLLIN | self.edge)
        path.clients += 1
        path.slab.put(path.cells.clients, path.clients)

    cdef int feed(self) except -1:
        cdef int budget = REQUESTS_PER_TURN
        cdef int framed
        if self.is_lingering:
            buf_clear(&self.inbuf)
            return 0
        while self.pause_bits == 0:
            if not self.has_whole:
                if buf_len(&self.inbuf) == 0:
                    break
                framed = next_request(buf_ptr(&self.inbuf), buf_len(&self.inbuf), &self.scan)
                if framed == FRAME_MORE:
                    break
                if framed == FRAME_ERROR:
                    buf_clear(&self.inbuf)
                    self.path.protocol_error(self, self.scan.error_code)
                    return 0
                self.has_whole = True
                if buf_len(&self.inbuf) > self.scan.pos:
                    self.path.foresee(buf_ptr(&self.inbuf) + self.scan.pos, buf_len(&self.inbuf) - self.scan.pos)
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
            self.has_whole = False
            if self.is_finishing and not self.is_half_closed:
                buf_clear(&self.inbuf)          # QUIT: nothing behind it counts
                break
        self.poll.count_source(self, REQUESTS_PER_TURN - budget)
        if self.is_finishing:
            self.poll.mark_dirty(self)
        if self.inbuf.cap > KEEP_BYTES:
            buf_shrink_idle(&self.inbuf, 0)
        return 0

    cdef int on_eof(self) except -1:
        if self.is_lingering:
            self.close_now(0)
            return 0
        self.path.slab.add(self.path.cells.client_eof, 1)
        return SourceConn.on_eof(self)

    cdef void after_flush(self):
        if not self.is_lingering:
            SourceConn.after_flush(self)
        elif self.linger_until_ns == 0 and queue_len(&self.queue) == 0 and buf_len(&self.outbuf) == 0:
            # Closing with unread input would reset the connection and could take the error reply with it.
            c_shutdown(self.fd, SHUT_WR)
            self.linger_until_ns = self.poll.now_ns + LINGER_NS
            self.is_eof = False
            self.pause_bits = 0
            self.resume()
            self.update_mask()
            self.path.lingering.append(self)
            self.path.start_ticking()

    cdef void on_closed(self, int error):
        self.path.clients -= 1
        self.path.slab.put(self.path.cells.clients, self.path.clients)
        if error:
            self.path.slab.add(self.path.cells.client_err, 1)
        self.detach_requests()
        if self.session is not None:
            self.path.sessions.close(self.session)
