"""How requests end, and how they wait to begin: completion, errors, answers of our own, held sources.

What it is: (h) of the picture in io_path. A request is completed once, whatever its replicas still send: towards the
client or peer that asked, the io worker it came from, or the split request it is a part of.

What it is not: it does not decide which reply is the answer; fanout does.

Invariants:
- `complete` and `fail` do nothing for a request that has been answered;
- a held source (its next request waits for a condition) is not read; it is tried again at the end of every turn, the
  oldest first.
"""

from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from dynomite_mp.proto.buffer cimport buf_append, buf_clear, buf_free, buf_init, buf_len, buf_ptr
from dynomite_mp.proto.command_lookup cimport CLASS_NONE
from dynomite_mp.proto.fragment cimport Fragments
from dynomite_mp.proto.wire_errors cimport append_error
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.data_path cimport HOLD, PAUSE_HELD, TAKEN, DataPath
from dynomite_mp.workers.request cimport (
    REQUEST_ANSWERED, REQUEST_DONE, REQUEST_WAITING, Request, queue_len, queue_push, request_new,
)
from dynomite_mp.workers.shard_link cimport ShardLink
from dynomite_mp.workers.source_conn cimport SourceConn
from dynomite_mp.workers.write_order cimport WriteOrder


cdef class Answers(DataPath):
    def __cinit__(self, *args, **kwargs):
        buf_init(&self.scratch)
        buf_init(&self.merged)
        self.order = WriteOrder()
        self.held = []

    def __dealloc__(self):
        buf_free(&self.scratch)
        buf_free(&self.merged)

    # ---- requests end

    cdef int complete(self, Request* request, const char* p, size_t n) except -1:
        """The reply of a request; what replicas send later is swallowed."""
        if request.state != REQUEST_WAITING:
            return 0
        if request.parent != NULL:
            return self.part_complete(request, p, n)
        if request.shard:
            request.state = REQUEST_ANSWERED
            self.slab.add(self.cells.shard_replies_sent, 1)
            return (<ShardLink>self.shards[request.shard - 1]).send_reply(request, p, n)
        self.slab.observe(self.cells.request_latency + request.klass, self.now_ns - request.started_ns)
        return (<SourceConn>request.client).deliver(request, p, n)

    cdef int fail(self, Request* request, uint16_t code) except -1:
        """Complete it with a row of the wire-error table."""
        if request.state != REQUEST_WAITING:
            return 0
        buf_clear(&self.scratch)
        append_error(&self.scratch, code)
        self.slab.add(self.cells.error_responses, 1)
        return self.complete(request, buf_ptr(&self.scratch), buf_len(&self.scratch))

    cdef int part_complete(self, Request* part, const char* p, size_t n) except -1:
        """A part of a split request; the last one completes the whole."""
        cdef Request* whole = part.parent
        part.state = REQUEST_ANSWERED
        if whole.state != REQUEST_WAITING or (<Fragments>whole.fragments).accept(part.part, p, n) != 1:
            return 0
        buf_clear(&self.merged)
        (<Fragments>whole.fragments).merge(&self.merged)
        return self.complete(whole, buf_ptr(&self.merged), buf_len(&self.merged))

    # ---- answers of our own

    cdef void refuse_begin(self) noexcept:
        buf_clear(&self.scratch)
        self.slab.add(self.cells.error_responses, 1)

    cdef int refuse(self, SourceConn source, uint16_t code) except -1:
        self.slab.add(self.cells.refused, 1)
        self.refuse_begin()
        append_error(&self.scratch, code)
        return self.answer_scratch(source)

    cdef int answer_scratch(self, SourceConn source) except -1:
        return self.answer(source, buf_ptr(&self.scratch), buf_len(&self.scratch))

    cdef int answer(self, SourceConn source, const char* p, size_t n) except -1:
        """A reply made here takes its turn behind those still awaited."""
        cdef Request* request
        self.mark_dirty(source)
        if queue_len(&source.queue) == 0 and not source.frames_replies:
            buf_append(&source.outbuf, p, n)
            source.check_limits()
            return TAKEN
        request = request_new()
        if request == NULL or queue_push(&source.queue, request) < 0:
            source.close_now(0)
            return TAKEN
        request.refs = 1
        request.klass = CLASS_NONE
        request.client = <void*>source
        request.origin_id = source.frame_id
        request.reply = <char*>malloc(n if n else 1)
        if request.reply == NULL:
            source.close_now(0)
            return TAKEN
        memcpy(request.reply, p, n)
        request.reply_len = n
        request.state = REQUEST_DONE
        source.parked_bytes += n
        if queue_len(&source.queue) == 1:
            source.flush_done()
        source.check_limits()
        return TAKEN

    # ---- held sources

    cdef int hold(self, SourceConn source, uint32_t bucket, bint is_order) except -1:
        """The source's next request waits; it is tried again at the end of every turn."""
        if is_order and source.wait_bucket == 0:
            source.wait_bucket = 1 + bucket
            self.order.waits(bucket)
        if not source.is_held:
            source.is_held = True
            source.set_pause(PAUSE_HELD)
            self.held.append(source)
            self.start_ticking()
        return HOLD

    cdef int rerun_held(self) except -1:
        cdef list held = self.held
        cdef SourceConn source
        self.held = []
        self.rerunning = True
        try:
            for source in held:
                source.is_held = False
                if source.fd < 0:
                    continue
                source.pause_bits &= ~PAUSE_HELD
                self.guarded_feed(source)
                if not source.is_held:
                    self.stop_waiting(source)
                    if source.pause_bits == 0:
                        source.resume()
        finally:
            self.rerunning = False
        return 0

    cdef void stop_waiting(self, Conn conn) noexcept:
        cdef SourceConn source = <SourceConn>conn
        if source.wait_bucket:
            self.order.waits_no_more(source.wait_bucket - 1)
            source.wait_bucket = 0

    # ---- the last ones

    def part(self):
        """Before a drain: each client is let go of behind its next answer."""
        cdef SourceConn source
        for item in self.connections():
            if isinstance(item, SourceConn):
                source = <SourceConn>item
                if not source.frames_replies:       # peers have others to ask
                    source.part()

    def begin_drain(self):
        """No further request is read; clients close as soon as they have their replies."""
        self.read_clock()
        for item in self.connections():
            if isinstance(item, SourceConn):
                (<SourceConn>item).drain()
