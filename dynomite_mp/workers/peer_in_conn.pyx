"""A connection from another node, for its requests: frames in, framed replies out, in the same order.

What it is: to the data path a source like a client, whose every reply carries the id of its request. Plain frames of C
nodes may lie about their payload's length (reference 6.1), so there the request itself says where it ends.

What it is not: it does not know what a request means, nor who owns a key.

    7, flag LATER: waits for other datacenters  ------>
    8, 9: anything                              ------>
                                <------  7, flag LATER: its place in the order only;  8, 9
                                <------  7: the reply, when there is one

    10 .. 25: a batch of writes          ------>
                                <------  25, run of 16: the same reply to each of them (ADR 87)

Invariants: a peer is answered in order, but for requests whose asker takes the reply out of order; these make nobody
wait. A peer is never closed for a request that cannot be served; a frame that cannot be decrypted is dropped, as a C
node does.
"""

import logging

from libc.string cimport memcmp, memcpy

from dynomite_mp.proto.buffer cimport buf_append, buf_consume, buf_len, buf_ptr, buf_shrink_idle
from dynomite_mp.proto.command_lookup cimport CLASS_NONE
from dynomite_mp.proto.dnode cimport (
    BATCH_STEP, DNODE_BATCH, DNODE_ENCRYPTED, DNODE_GOSSIP_SYN, DNODE_HEADER_MOST, DNODE_REQ, DNODE_REQ_FORWARD,
    DNODE_RES, DNODE_VERSION_BATCHES, DNODE_VERSION_C, DNODE_VERSION_OURS, EXTENSION_LATER, EXTENSION_LEAD,
    EXTENSION_LEVEL_MASK, EXTENSION_LEVEL_SHIFT, EXTENSION_MOST, EXTENSION_ORIGIN, EXTENSION_RUN_MOST,
    EXTENSION_STAMP, Extension, decode_extension, dnode_payload_is_exact, dnode_scan_reset, encode_dnode, next_dnode,
    take_step,
)
from dynomite_mp.proto.resp cimport FRAME_ERROR, FRAME_MORE, FRAME_OK, next_request, request_scan_reset
from dynomite_mp.workers.conn cimport REQUESTS_PER_TURN, Conn
from dynomite_mp.workers.data_path cimport GROUP_RESP2, GROUP_RESP3, HOLD, DataPath
from dynomite_mp.workers.request cimport (
    REQUEST_ANSWERED, REQUEST_DONE, REQUEST_WAITING, Request, queue_free, queue_head, queue_init, queue_len, queue_push,
    request_new, request_release,
)
from dynomite_mp.workers.source_conn cimport SourceConn, detach_all

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN

log = logging.getLogger("dynomite_mp.io")

cdef enum:
    KEEP_BYTES = 1048576            # an emptied buffer above this goes back at once
    MORE = -1
    BROKEN = -2
    DROPPED = 0
    WHOLE = 1


cdef class PeerInConn(SourceConn):
    def __init__(self, DataPath path, int fd, address, keys):
        self.poll = path
        self.path = path
        self.fd = fd
        self.address = address
        self.keys = keys
        self.frames_replies = True
        self.version_seen = DNODE_VERSION_C
        dnode_scan_reset(&self.head)
        request_scan_reset(&self.scan)
        path.add(self, EPOLLIN)
        path.peer_opened(self, 1)

    def __cinit__(self, *args):
        queue_init(&self.later)

    def __dealloc__(self):
        queue_free(&self.later)

    cdef int feed(self) except -1:
        cdef int budget = REQUESTS_PER_TURN
        cdef int framed
        cdef const char* p = NULL
        cdef size_t n = 0
        while self.pause_bits == 0 and buf_len(&self.inbuf):
            framed = WHOLE if self.has_head else self.read_head()
            if framed == WHOLE:
                framed = self.batched(&p, &n) if self.batch_left else self.payload(&p, &n)
            if framed == MORE:
                break
            if framed == BROKEN:
                log.error("peer %s sent a request that is none; the connection is closed", self.address)
                self.close_now(0)
                return 0
            if framed == WHOLE:
                if budget == 0:
                    self.poll.mark_ready(self)
                    break
                budget -= 1
                if (self.serve_batched(p) if self.batch_left else self.serve(p, n)) == HOLD:
                    break
                if self.fd < 0:
                    return 0
            self.next_frame()
        if self.is_finishing:
            self.poll.mark_dirty(self)
        if self.inbuf.cap > KEEP_BYTES:
            buf_shrink_idle(&self.inbuf, 0)
        return 0

    cdef int read_head(self) except -3:
        """Of the next frame: WHOLE, MORE, BROKEN."""
        cdef int framed = next_dnode(buf_ptr(&self.inbuf), buf_len(&self.inbuf), &self.head)
        if framed != FRAME_OK:
            return MORE if framed == FRAME_MORE else BROKEN
        self.has_head = True
        if self.head.flags & DNODE_BATCH and self.head.version >= DNODE_VERSION_BATCHES:
            return self.open_batch()
        return WHOLE

    cdef void next_frame(self):
        """What was at the head of the input is done with."""
        self.has_whole = False
        if self.batch_left:
            self.batch_left -= BATCH_STEP + self.scan.pos
            self.batch_next += 1
            buf_consume(&self.inbuf, BATCH_STEP + self.scan.pos)
        else:
            buf_consume(&self.inbuf, self.head.pos + self.payload_len)
            self.plain = None
        request_scan_reset(&self.scan)
        if self.batch_left == 0:
            dnode_scan_reset(&self.head)
            self.has_head = False

    cdef int payload(self, const char** p, size_t* n) except -3:
        """Payload of the frame at the head: MORE bytes are needed, WHOLE, DROPPED (nothing to serve) or BROKEN."""
        cdef size_t have = buf_len(&self.inbuf) - self.head.pos
        cdef int framed
        p[0] = buf_ptr(&self.inbuf) + self.head.pos
        if self.plain is not None:
            p[0], n[0] = self.plain, len(self.plain)
            return WHOLE
        if dnode_payload_is_exact(&self.head):
            if have < self.head.payload_len:
                return MORE
            n[0] = self.payload_len = self.head.payload_len
        elif self.head.type == DNODE_REQ or self.head.type == DNODE_REQ_FORWARD:
            framed = next_request(p[0], have, &self.scan)
            if framed == FRAME_MORE:
                return MORE
            if framed == FRAME_ERROR or (self.scan.is_inline and self.scan.argc > 0):
                return BROKEN
            n[0] = self.payload_len = self.scan.pos
            return WHOLE
        else:
            if have < self.head.payload_len:
                return MORE
            n[0] = self.payload_len = self.head.payload_len
        if self.head.flags & DNODE_ENCRYPTED:
            if self.open_secret(p[0], n[0]) != WHOLE:
                return DROPPED
            p[0], n[0] = self.plain, len(self.plain)
        if self.head.type == DNODE_REQ or self.head.type == DNODE_REQ_FORWARD:
            request_scan_reset(&self.scan)
            if next_request(p[0], n[0], &self.scan) != FRAME_OK or (self.scan.is_inline and self.scan.argc > 0):
                return BROKEN                       # nodes do not ask as people at a terminal do
        return WHOLE

    cdef int open_secret(self, const char* p, size_t n) except -3:
        """Decrypt; the first encrypted frame of a connection brings the key in its data field."""
        cdef const char* data = buf_ptr(&self.inbuf) + self.head.data_off
        if self.keys is None:
            log.error("peer %s sends encrypted frames, but this node has no key; set secure_server_option",
                      self.address)
            return DROPPED
        if self.head.data_len > 1 and not self.is_extension(data):
            self.cipher = self.keys.open_key(data[:self.head.data_len])
        self.plain = self.cipher.decrypt(p[:n]) if self.cipher is not None else None
        if self.plain is None:
            log.error("peer %s sent a frame that cannot be decrypted; it is dropped", self.address)
            return DROPPED
        return WHOLE

    cdef bint is_extension(self, const char* data) noexcept:
        """Whether the data field is not the key that an encrypted frame may bring."""
        cdef Extension extension
        return self.head.version >= DNODE_VERSION_OURS and decode_extension(data, self.head.data_len, &extension)

    cdef int serve(self, const char* p, size_t n) except -1:
        cdef Extension extension
        cdef const char* data = buf_ptr(&self.inbuf) + self.head.data_off
        cdef int taken
        self.has_whole = True
        self.version_seen = self.head.version
        self.frame_id = self.head.id
        self.group = GROUP_RESP2
        self.asks_lead = False
        if self.head.type == DNODE_GOSSIP_SYN:
            self.path.peer_gossip(self, p, n)
            return 0
        if self.head.type != DNODE_REQ and self.head.type != DNODE_REQ_FORWARD:
            return 0                                # a C node drops these as well
        if self.scan.argc == 0:
            return 0
        if self.head.data_len > 1 and self.head.version >= DNODE_VERSION_OURS and decode_extension(
                data, self.head.data_len, &extension):
            self.group = GROUP_RESP3 if extension.protocol == 3 else GROUP_RESP2
            self.asks_lead = extension.flags & EXTENSION_LEAD != 0
            self.asked_level = extension.flags >> EXTENSION_LEVEL_SHIFT & EXTENSION_LEVEL_MASK
            taken = self.path.handle_peer(self, p, &self.scan, self.head.type == DNODE_REQ_FORWARD, &extension)
            if extension.flags & EXTENSION_LATER and taken != HOLD:
                self.reply_later()
            return taken
        return self.path.handle_peer(self, p, &self.scan, self.head.type == DNODE_REQ_FORWARD, NULL)

    # ---- batches

    cdef int open_batch(self) except -3:
        """Its header is taken out of the input; from then on a write is what stands at the head."""
        if (self.head.type != DNODE_REQ or self.head.payload_len == 0 or self.head.flags & DNODE_ENCRYPTED
                or not decode_extension(buf_ptr(&self.inbuf) + self.head.data_off, self.head.data_len, &self.batch)
                or self.batch.fields & (EXTENSION_STAMP | EXTENSION_ORIGIN) != EXTENSION_STAMP | EXTENSION_ORIGIN):
            return BROKEN
        self.version_seen = self.head.version
        self.batch_left = self.head.payload_len
        self.batch_next = self.head.id
        buf_consume(&self.inbuf, self.head.pos)
        return WHOLE

    cdef int batched(self, const char** p, size_t* n) except -3:
        """The write at the head of the input: MORE bytes are needed, WHOLE or BROKEN."""
        cdef size_t have = buf_len(&self.inbuf)
        cdef int framed
        if have <= <size_t>BATCH_STEP:
            return MORE
        p[0] = buf_ptr(&self.inbuf) + BATCH_STEP
        if not self.has_whole:
            framed = next_request(p[0], have - BATCH_STEP, &self.scan)
            if framed == FRAME_MORE and have < self.batch_left:
                return MORE
            if (framed != FRAME_OK or self.scan.is_inline or self.scan.argc == 0
                    or self.scan.pos + BATCH_STEP > self.batch_left):
                return BROKEN
            if have > self.scan.pos + 2 * BATCH_STEP:
                self.path.foresee(p[0] + self.scan.pos + BATCH_STEP, have - self.scan.pos - 2 * BATCH_STEP)
        n[0] = self.scan.pos
        return WHOLE

    cdef int serve_batched(self, const char* p) except -1:
        if not self.has_whole:                      # else it was held, and tries again
            take_step(p - BATCH_STEP, &self.batch)
        self.has_whole = True
        self.frame_id = self.batch_next
        self.group = GROUP_RESP3 if self.batch.protocol == 3 else GROUP_RESP2
        self.asks_lead = False
        return self.path.handle_peer(self, p, &self.scan, False, &self.batch)

    # ---- replies

    cdef int reply_later(self) except -1:
        """The request that was queued last gives up its place, unless it has been answered."""
        cdef Request* request
        cdef Request* place
        if queue_len(&self.queue) == 0:
            return 0
        request = self.queue.items[(self.queue.tail - 1) & self.queue.mask]
        if request.state != REQUEST_WAITING or request.origin_id != self.frame_id:
            return 0
        place = request_new()
        if place == NULL or queue_push(&self.later, request) < 0:
            raise MemoryError
        place.refs = 1
        place.klass = CLASS_NONE
        place.client = <void*>self
        place.origin_id = request.origin_id
        place.reply_marks = EXTENSION_LATER
        place.state = REQUEST_DONE
        self.queue.items[(self.queue.tail - 1) & self.queue.mask] = place
        self.settle(request)                        # it does not count to the budget that would stop the others
        request.size = 0
        request.is_later = True
        if queue_len(&self.queue) == 1:
            self.flush_done()
        self.poll.mark_dirty(self)
        return 0

    cdef int emit_later(self, Request* request, const char* p, size_t n) except -1:
        request.state = REQUEST_ANSWERED
        self.emit(request, p, n)
        while queue_len(&self.later) and queue_head(&self.later).state == REQUEST_ANSWERED:
            request = queue_head(&self.later)
            self.later.head += 1
            request_release(request)
        return 0

    cdef int emit(self, Request* request, const char* p, size_t n) except -1:
        """A reply as a frame that echoes the request's id."""
        cdef char[DNODE_HEADER_MOST + EXTENSION_MOST] head
        cdef char[EXTENSION_MOST] data
        cdef size_t data_len = 1
        cdef size_t head_len
        cdef int version = DNODE_VERSION_C
        cdef bytes secret
        if self.joins_run(request, p, n):
            return 0
        self.end_run()
        data[0] = c"d"
        if self.version_seen >= DNODE_VERSION_OURS:
            version = min(self.version_seen, DNODE_VERSION_BATCHES)
        if version >= DNODE_VERSION_OURS and (request.reply_marks or request.is_behind or request.command == 0):
            data_len = self.path.describe_reply(request, data)
        if self.cipher is not None:
            secret = self.cipher.encrypt(p[:n])
            head_len = encode_dnode(head, request.origin_id, DNODE_RES, DNODE_ENCRYPTED, version, self.head.same_dc,
                                    data, data_len, len(secret))
            buf_append(&self.outbuf, head, head_len)
            buf_append(&self.outbuf, secret, len(secret))
            self.path.slab.add(self.path.cells.dnode_response_bytes, head_len + len(secret))
            return 0
        head_len = encode_dnode(head, request.origin_id, DNODE_RES, 0, version, self.head.same_dc, data,
                                data_len, n)
        buf_append(&self.outbuf, head, head_len)
        buf_append(&self.outbuf, p, n)
        self.path.slab.add(self.path.cells.dnode_response_bytes, head_len + n)
        return 0

    cdef bint joins_run(self, Request* request, const char* p, size_t n) noexcept:
        """Whether a reply waits for others like it, which share a frame."""
        if (self.version_seen < DNODE_VERSION_BATCHES or self.cipher is not None or n > RUN_ROOM or n == 0
                or request.reply_marks or request.command == 0):
            return False
        if (self.run == 0 or request.origin_id != self.run_id + 1 or n != self.run_len
                or self.run == EXTENSION_RUN_MOST or memcmp(p, self.run_reply, n) != 0):
            self.end_run()
            self.run_len = n
            memcpy(self.run_reply, p, n)
        self.run += 1
        self.run_id = request.origin_id
        self.run_tells_time |= request.is_behind
        return True

    cdef void end_run(self) noexcept:
        cdef char[DNODE_HEADER_MOST + EXTENSION_MOST] head
        cdef char[EXTENSION_MOST] data
        cdef size_t data_len = 1
        cdef size_t head_len
        if self.run == 0:
            return
        data[0] = c"d"
        if self.run > 1 or self.run_tells_time:
            data_len = self.path.describe_run(self.run, data)
        head_len = encode_dnode(head, self.run_id, DNODE_RES, 0, DNODE_VERSION_BATCHES, self.head.same_dc, data,
                                data_len, self.run_len)
        buf_append(&self.outbuf, head, head_len)
        buf_append(&self.outbuf, self.run_reply, self.run_len)
        self.path.slab.add(self.path.cells.dnode_response_bytes, head_len + self.run_len)
        self.run = 0
        self.run_tells_time = False

    cdef void flush(self):
        self.end_run()
        Conn.flush(self)

    cdef void after_flush(self):
        if queue_len(&self.later) == 0:
            SourceConn.after_flush(self)

    cdef void on_closed(self, int error):
        self.detach_requests()
        detach_all(&self.later)
        self.path.slab.add(self.path.cells.dnode_err if error else self.path.cells.dnode_eof, 1)
        self.path.peer_opened(self, -1)
