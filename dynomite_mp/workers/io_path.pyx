"""The hot path: a request's life in an io worker, from the client's bytes to the client's reply.

What it is: the orchestrator. `proto` frames, `cluster` decides and `workers.conn` moves bytes; they are leaves that
return to this file and never call each other. No task, no await, no Python object per request.

What it is not: the cold side (listening, connecting, settings) is io_worker; what HELLO or CLIENT answer is sessions.

    client                                                      datastore (one connection per group and place)
      | (a) recv -> ClientConn.inbuf                              ^ (e) one send per turn: DatastoreConn.outbuf
      v                                                           |
    ClientConn.feed                                               |
      | (b) next_request: where it ends, which command            |
      v                                                           |
    IoPath.handle --(c) answered here: ping, hello, errors        |
      | token of the key, shard, group                            |
      v                                                           |
    IoPath.forward --(d) original bytes appended -----------------+      request -> tail of ClientConn.queue
      |                                                                          -> tail of DatastoreConn.slots
      +--(d') key of another io worker's shard: one record on a ring (ShardLink)
                                                                  | (f) recv -> DatastoreConn.inbuf
    ClientConn.outbuf <---(h) in request order------ on_reply <---+ (g) next_reply, matched to the head of slots
      | (i) one send per turn
      v

Invariants:
- replies leave in request order: a reply that comes early is parked in its request (REQUEST_DONE);
- a slot leaves `slots` only with its reply or with its connection; a deadline answers the client and leaves the
  slot to swallow the late reply;
- a held client (its next request waits for a condition) is not read; it is tried again at the end of every turn;
- only sources of requests are paused, never replies;
- one key has one connection within a group; a write waits while the other group owes a reply to a write of its key.
"""

import logging

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from dynomite_mp.cluster.token cimport hash_tag_span, token_of
from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.ipc.counters import cell_index, histogram_index
from dynomite_mp.proto.buffer cimport (
    Buf, buf_append, buf_clear, buf_consume, buf_free, buf_init, buf_len, buf_ptr, buf_shrink_idle,
)
from dynomite_mp.proto.command_lookup cimport (
    ACCESS_WRITE, CLASS_NONE, KEYS_NONE, KEYS_SORT, KEYS_STREAMS, LOCAL_HELLO, LOCAL_PING, LOCAL_RESET,
    ROUTING_ANSWERED, ROUTING_LOCAL_NODE, ROUTING_REFUSED, CommandRow, arity_fits, command_lookup, command_row,
    subcommand_lookup,
)
from dynomite_mp.proto.resp cimport (
    FRAME_ERROR, FRAME_MORE, FRAME_OK, ArgWalk, KeyWalk, ReplyScan, RequestScan, Span, inline_to_array, next_reply,
    next_request, reply_scan_reset, request_key, request_refusal, request_scan_reset, walk_args, walk_key, walk_keys,
    walk_next,
)
from dynomite_mp.proto.wire_errors cimport (
    append_error, append_unknown_command, append_unknown_subcommand, append_wrong_arity,
)
from dynomite_mp.workers.conn cimport REQUESTS_PER_TURN, Conn, PollSet, socket_error
from dynomite_mp.workers.request cimport (
    REQUEST_ANSWERED, REQUEST_DONE, REQUEST_WAITING, SLOT_HANDSHAKE, SLOT_REQUEST, Request, RequestQueue, Slot,
    SlotQueue, queue_free, queue_head, queue_init, queue_len, queue_push, request_new, request_release, slots_at,
    slots_free, slots_init, slots_len, slots_push,
)
from dynomite_mp.workers.shard_link cimport SHARD_TOOK_REPLY, SHARD_TOOK_REQUEST, ShardLink

from dynomite_mp.cluster.token import hash_kind
from dynomite_mp.errors import WIRE_ERRORS

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN
        EPOLLOUT

cdef extern from "<sys/socket.h>" nogil:
    enum:
        SHUT_WR
    int c_shutdown "shutdown"(int fd, int how)

log = logging.getLogger("dynomite_mp.io")

cdef enum:
    PROBE_EVERY_NS = 100000000
    LINGER_NS = 2000000000
    SHARD_GRACE_NS = 200000000      # beyond the datastore's own time-out at the other io worker
    KEEP_BYTES = 1048576            # an emptied buffer above this goes back at once

cdef uint16_t E_DATASTORE_DOWN = WIRE_ERRORS["datastore_refused"].code
cdef uint16_t E_DATASTORE_TIMEOUT = WIRE_ERRORS["datastore_timeout"].code
cdef uint16_t E_CROSS_SHARD = WIRE_ERRORS["keys_span_nodes"].code
cdef uint16_t E_SHARD_TIMEOUT = WIRE_ERRORS["shard_timeout"].code
cdef uint16_t E_NO_MEMORY = WIRE_ERRORS["out_of_memory"].code


cdef class IoPath(PollSet):
    """The data plane of one io worker. `owner` gets on_datastore_* calls; `schedule_tick` starts the 10 ms timer."""

    def __cinit__(self, *args, **kwargs):
        cdef int g
        for g in range(GROUPS):
            self.pending[g] = <uint32_t*>calloc(ORDER_BUCKETS, sizeof(uint32_t))
        self.waiters = <uint16_t*>calloc(ORDER_BUCKETS, sizeof(uint16_t))
        if self.pending[0] == NULL or self.pending[1] == NULL or self.waiters == NULL:
            raise MemoryError
        buf_init(&self.scratch)
        buf_init(&self.inline_array)

    def __init__(self, schedule_turn, schedule_tick, SlabWriter slab, sessions, *, shard_index=0, shard_count=1,
                 datastore_connections=1):
        super().__init__(schedule_turn)
        self.schedule_tick = schedule_tick
        self.slab = slab
        self.sessions = sessions
        self.shard_index = shard_index
        self.shard_count = shard_count
        self.shards = [None] * shard_count
        self.datastore_count = datastore_connections
        self.datastores = [None] * (GROUPS * datastore_connections)
        self.held = []
        self.lingering = []
        self.hash_kind = hash_kind("murmur")
        self.timeout_ns = self.silence_ns = 5000000000
        self.client_soft_bytes = 8 << 20
        self.client_hard_bytes = 1 << 30
        self.datastore_bytes = 256 << 20
        self.process_bytes = 4 << 30
        self.bind_counters()

    def bind_counters(self):
        """Places of the counters in the slab, looked up once."""
        self.c_read_requests = cell_index("client_read_requests")
        self.c_write_requests = cell_index("client_write_requests")
        self.c_request_bytes = cell_index("client_request_bytes")
        self.c_responses = cell_index("client_responses")
        self.c_response_bytes = cell_index("client_response_bytes")
        self.c_local_requests = cell_index("client_local_requests")
        self.c_error_responses = cell_index("client_error_responses")
        self.c_timeouts = cell_index("client_timedout_requests")
        self.c_unreachable = cell_index("client_unreachable_requests")
        self.c_refused = cell_index("client_refused_requests")
        self.c_protocol_errors = cell_index("client_protocol_errors")
        self.c_hard_limit = cell_index("client_hard_limit_closes")
        self.c_pauses = cell_index("client_pauses")
        self.c_clients = cell_index("client_connections")
        self.c_client_eof = cell_index("client_eof")
        self.c_client_err = cell_index("client_err")
        self.c_dropped = cell_index("client_dropped_requests")
        self.c_shard_sent = cell_index("shard_requests_sent")
        self.c_shard_received = cell_index("shard_requests_received")
        self.c_shard_replies_sent = cell_index("shard_replies_sent")
        self.c_shard_replies_received = cell_index("shard_replies_received")
        self.h_request = histogram_index("request_latency_none")
        self.h_datastore = histogram_index("server_latency_none")
        self.h_payload = histogram_index("payload_size")
        self.h_queue_wait = histogram_index("server_queue_wait")
        self.h_client_queue = histogram_index("client_out_queue")
        self.h_in_queue = histogram_index("server_in_queue")
        self.h_out_queue = histogram_index("server_out_queue")
        for group, name in enumerate(("resp2", "resp3")):
            for is_write, access in enumerate(("read", "write")):
                at = 2 * group + is_write
                self.c_store_requests[at] = cell_index(f"{access}_requests:{name}")
                self.c_store_request_bytes[at] = cell_index(f"{access}_request_bytes:{name}")
                self.c_store_responses[at] = cell_index(f"{access}_responses:{name}")
                self.c_store_response_bytes[at] = cell_index(f"{access}_response_bytes:{name}")
            self.c_store_timeouts[group] = cell_index(f"server_timedout_requests:{name}")
            self.c_store_errors[group] = cell_index(f"server_error_responses:{name}")

    def __dealloc__(self):
        free(self.pending[0])
        free(self.pending[1])
        free(self.waiters)
        buf_free(&self.scratch)
        buf_free(&self.inline_array)

    def configure(self, *, hash_name, hash_tag, timeout_ms, client_soft_bytes, client_hard_bytes, datastore_bytes,
                  process_bytes):
        """Settings that may change while the worker runs."""
        self.hash_kind = hash_kind(hash_name)
        self.has_tag = bool(hash_tag)
        if hash_tag:
            self.tag_open, self.tag_close = (ord(c) for c in hash_tag)
        self.timeout_ns = timeout_ms * 1000000
        # A datastore that nobody else could stand in for may be silent until its requests expire (ADR 0004).
        self.silence_ns = self.timeout_ns
        self.client_soft_bytes = client_soft_bytes
        self.client_hard_bytes = client_hard_bytes
        self.datastore_bytes = datastore_bytes
        self.process_bytes = process_bytes

    def set_shard(self, index, ShardLink link):
        """The rings to and from another io worker."""
        self.shards[index] = link

    def datastore_up(self, DatastoreConn conn):
        self.datastores[conn.group * self.datastore_count + conn.index] = conn

    def datastore_down(self, DatastoreConn conn):
        cdef uint32_t i = conn.group * self.datastore_count + conn.index
        if self.datastores[i] is conn:
            self.datastores[i] = None

    # ---- (b) .. (d): a request comes in

    cdef int handle(self, ClientConn client, const char* p, RequestScan* scan) except -1:
        """One whole request at p: answered here, forwarded, or HOLD (nothing happened; it stays at the head)."""
        cdef uint32_t command, sub
        cdef CommandRow* row
        if scan.is_inline:
            return self.handle_inline(client, p, scan)
        command = command_lookup(p + scan.args[0].off, scan.args[0].len)
        row = command_row(command)
        if row == NULL:
            self.refuse_begin()
            append_unknown_command(&self.scratch, p, scan)
            return self.answer_scratch(client)
        if row.is_container and scan.argc > 1:
            sub = subcommand_lookup(command, p + scan.args[1].off, scan.args[1].len)
            if sub == 0:
                self.refuse_begin()
                append_unknown_subcommand(&self.scratch, row, p, scan)
                return self.answer_scratch(client)
            row = command_row(sub)
        if not arity_fits(row, scan.argc):
            self.refuse_begin()
            append_wrong_arity(&self.scratch, row)
            return self.answer_scratch(client)
        if row.routing == ROUTING_REFUSED:
            return self.refuse(client, row.refuse_code)
        if row.routing == ROUTING_ANSWERED:
            return self.answer_locally(client, p, scan, row)
        return self.forward(client, p, scan, row)

    cdef int forward(self, ClientConn client, const char* p, RequestScan* scan, const CommandRow* row) except -1:
        """Hand the original bytes to the datastore or to the io worker that owns the key's shard."""
        cdef uint32_t shard = self.shard_index
        cdef uint32_t token = 0
        cdef bint wide = False
        cdef int code, taken
        cdef Request* request
        if row.key_kind == KEYS_STREAMS or row.key_kind == KEYS_SORT:
            code = request_refusal(p, scan, row)
            if code:
                return self.refuse(client, <uint16_t>code)
        if row.key_kind != KEYS_NONE:
            code = self.place(p, scan, row, &shard, &token, &wide)
            if code:
                return self.refuse(client, <uint16_t>code)
        if row.access == ACCESS_WRITE and shard == self.shard_index:
            if not self.may_write(client.group, token & (ORDER_BUCKETS - 1), wide):
                return self.hold(client, token & (ORDER_BUCKETS - 1), True)
        request = request_new()
        if request == NULL or queue_push(&client.queue, request) < 0:
            return self.refuse(client, E_NO_MEMORY)
        request.client = <void*>client
        request.started_ns = self.now_ns
        request.size = scan.pos
        request.command = row.id
        request.klass = row.klass
        request.refs = 1
        client.in_flight_bytes += scan.pos
        if shard == self.shard_index:
            taken = self.to_datastore(request, client.group, token, wide, row, p, scan.pos)
        else:
            taken = self.to_shard(request, client.group, shard, row, p, scan.pos)
        if taken == HOLD:
            client.in_flight_bytes -= scan.pos      # as if it had never been read
            client.queue.tail -= 1
            request_release(request)
            return self.hold(client, 0, False)
        self.count_request(row, scan.pos)
        if client.in_flight_bytes > self.client_soft_bytes:
            self.slab.add(self.c_pauses, 1)
            client.set_pause(PAUSE_BUDGET)
        return TAKEN

    cdef int place(self, const char* p, RequestScan* scan, const CommandRow* row,
                   uint32_t* shard, uint32_t* token, bint* wide) except -1:
        """Token of the first key and the io worker of its shard; 0, or the code of the error to answer."""
        cdef Span key
        cdef KeyWalk walk
        cdef int found = request_key(p, scan, row, &key)
        cdef uint32_t other
        if found < 0:
            return scan.error_code
        if found == 0:
            return 0
        token[0] = self.token(p + key.off, key.len)
        shard[0] = self.shard_of(token[0])
        if row.key_kind == 1 and row.last_key == row.first_key:
            return 0
        if walk_keys(&walk, p, scan, row) < 0:
            return scan.error_code
        walk_key(&walk, &key, NULL)
        while walk_key(&walk, &key, NULL):
            wide[0] = True
            other = self.token(p + key.off, key.len)
            if self.shard_of(other) != shard[0]:
                return E_CROSS_SHARD
        return 0

    cdef uint32_t token(self, const char* key, size_t n) noexcept:
        cdef const char* part = key
        cdef size_t part_len = n
        if self.has_tag:
            hash_tag_span(key, n, self.tag_open, self.tag_close, &part, &part_len)
        return token_of(self.hash_kind, part, part_len)

    cdef uint32_t shard_of(self, uint32_t token) noexcept:
        # Mixed first: short hashes (crc32 has 15 bits) must spread over the workers too.
        if self.shard_count == 1:
            return self.shard_index
        return <uint32_t>((<uint64_t>(<uint32_t>(token * <uint32_t>0x9E3779B1)) * self.shard_count) >> 32)

    cdef int to_datastore(self, Request* request, int group, uint32_t token, bint wide, const CommandRow* row,
                          const char* p, size_t n) except -1:
        """Append the bytes to the datastore connection of this key. HOLD when it is over its budget."""
        cdef DatastoreConn conn
        cdef Slot* slot
        conn = <DatastoreConn>self.datastores[group * self.datastore_count + token % self.datastore_count]
        if conn is None:
            self.fail(request, E_DATASTORE_DOWN)
            return REFUSED
        if conn.is_silent:
            if self.now_ns - conn.last_probe_ns < PROBE_EVERY_NS:
                self.fail(request, E_DATASTORE_TIMEOUT)
                return REFUSED
            conn.last_probe_ns = self.now_ns
        if buf_len(&conn.outbuf) > self.datastore_bytes:
            return HOLD
        slot = slots_push(&conn.slots)
        if slot == NULL or buf_append(&conn.outbuf, p, n) < 0:
            if slot != NULL:
                conn.slots.tail -= 1
            self.fail(request, E_NO_MEMORY)
            return REFUSED
        slot.request = request
        slot.queued_ns = self.now_ns
        slot.kind = SLOT_REQUEST
        slot.klass = row.klass
        request.refs += 1
        if row.access == ACCESS_WRITE:
            slot.is_write = 2 if wide else 1
            slot.bucket = token & (ORDER_BUCKETS - 1)
            self.pending[group][slot.bucket] += 1
            self.pending_total[group] += 1
            self.pending_wide[group] += wide
        self.in_flight += 1
        if not self.ticking:
            self.start_ticking()
        self.slab.add(self.c_store_requests[2 * group + (slot.is_write != 0)], 1)
        self.slab.add(self.c_store_request_bytes[2 * group + (slot.is_write != 0)], n)
        self.mark_dirty(conn)
        return TAKEN

    cdef int to_shard(self, Request* request, int group, uint32_t shard, const CommandRow* row,
                      const char* p, size_t n) except -1:
        """One record on the ring to the io worker that owns the shard."""
        cdef ShardLink link = <ShardLink>self.shards[shard]
        cdef int taken = link.send_request(request, group, self.now_ns, self.timeout_ns, p, n)
        if taken != TAKEN:
            return HOLD
        request.refs += 1
        self.in_flight += 1
        if not self.ticking:
            self.start_ticking()
        self.slab.add(self.c_shard_sent, 1)
        if not self.in_turn:
            self.want_turn()
        return TAKEN

    # ---- order of writes between the two protocol groups

    cdef bint may_write(self, int group, uint32_t bucket, bint wide) noexcept:
        """Whether a write may go now: the other group owes no reply to a write of the same key."""
        cdef int other = 1 - group
        if self.waiters[bucket] and not self.rerunning:
            return False
        if self.pending_total[other] == 0:
            return True
        return not (wide or self.pending_wide[other] or self.pending[other][bucket])

    cdef void wrote(self, Slot* slot, int group) noexcept:
        """A write's reply came, or its connection is gone."""
        self.pending[group][slot.bucket] -= 1
        self.pending_total[group] -= 1
        self.pending_wide[group] -= slot.is_write == 2

    # ---- held clients

    cdef int hold(self, ClientConn client, uint32_t bucket, bint is_order) except -1:
        """The client's next request waits; it is tried again at the end of every turn."""
        if is_order and client.wait_bucket == 0:
            client.wait_bucket = 1 + bucket
            self.waiters[bucket] += 1
        if not client.is_held:
            client.is_held = True
            client.set_pause(PAUSE_HELD)
            self.held.append(client)
            self.start_ticking()
        return HOLD

    cdef int rerun_held(self) except -1:
        cdef list held = self.held
        cdef ClientConn client
        self.held = []
        self.rerunning = True
        try:
            for client in held:
                client.is_held = False
                if client.fd < 0:
                    continue
                client.pause_bits &= ~PAUSE_HELD
                self.guarded_feed(client)
                if not client.is_held:
                    self.stop_waiting(client)
                    if client.pause_bits == 0:
                        client.resume()
        finally:
            self.rerunning = False
        return 0

    cdef void stop_waiting(self, ClientConn client) noexcept:
        if client.wait_bucket:
            self.waiters[client.wait_bucket - 1] -= 1
            client.wait_bucket = 0

    # ---- (g), (h): a reply comes

    cdef int on_reply(self, Request* request, const char* p, size_t n) except -1:
        """The reply of a request whose slot was taken; releases the slot's hold on it."""
        cdef ClientConn client
        if request.state != REQUEST_WAITING:
            request_release(request)        # expired: the client has had its error
            return 0
        if request.shard:
            self.shard_reply(request, p, n)
            request_release(request)
            return 0
        self.slab.observe(self.h_request + request.klass, self.now_ns - request.started_ns)
        client = <ClientConn>request.client
        self.deliver(client, request, p, n)
        request_release(request)
        return 0

    cdef int deliver(self, ClientConn client, Request* request, const char* p, size_t n) except -1:
        client.settle(request)
        if queue_head(&client.queue) == request:
            client.queue.head += 1
            request.state = REQUEST_ANSWERED
            buf_append(&client.outbuf, p, n)
            request_release(request)
            if queue_len(&client.queue):
                client.flush_done()
        else:
            request.reply = <char*>malloc(n if n else 1)
            if request.reply == NULL:
                client.close_now(0)
                return 0
            memcpy(request.reply, p, n)
            request.reply_len = n
            request.state = REQUEST_DONE
            client.parked_bytes += n
        self.slab.add(self.c_responses, 1)
        self.slab.add(self.c_response_bytes, n)
        client.check_limits()
        self.mark_dirty(client)
        return 0

    cdef int fail(self, Request* request, uint16_t code) except -1:
        """Answer an error to a request in a client's queue (or to the worker it came from); its slots stay."""
        if request.state != REQUEST_WAITING:
            return 0
        buf_clear(&self.scratch)
        append_error(&self.scratch, code)
        self.slab.add(self.c_error_responses, 1)
        if request.shard:
            return self.shard_reply(request, buf_ptr(&self.scratch), buf_len(&self.scratch))
        self.slab.observe(self.h_request + request.klass, self.now_ns - request.started_ns)
        return self.deliver(<ClientConn>request.client, request, buf_ptr(&self.scratch), buf_len(&self.scratch))

    cdef int shard_reply(self, Request* request, const char* p, size_t n) except -1:
        request.state = REQUEST_ANSWERED
        self.slab.add(self.c_shard_replies_sent, 1)
        return (<ShardLink>self.shards[request.shard - 1]).send_reply(request.origin_id, p, n)

    # ---- (c): answers of our own

    cdef void refuse_begin(self) noexcept:
        buf_clear(&self.scratch)
        self.slab.add(self.c_error_responses, 1)

    cdef int refuse(self, ClientConn client, uint16_t code) except -1:
        self.slab.add(self.c_refused, 1)
        self.refuse_begin()
        append_error(&self.scratch, code)
        return self.answer_scratch(client)

    cdef int answer_scratch(self, ClientConn client) except -1:
        return self.answer(client, buf_ptr(&self.scratch), buf_len(&self.scratch))

    cdef int answer(self, ClientConn client, const char* p, size_t n) except -1:
        """A reply made here takes its turn behind those still awaited."""
        cdef Request* request
        self.mark_dirty(client)
        if queue_len(&client.queue) == 0:
            buf_append(&client.outbuf, p, n)
            client.check_limits()
            return TAKEN
        request = request_new()
        if request == NULL or queue_push(&client.queue, request) < 0:
            client.close_now(0)
            return TAKEN
        request.refs = 1
        request.klass = CLASS_NONE
        request.client = <void*>client
        request.reply = <char*>malloc(n if n else 1)
        if request.reply == NULL:
            client.close_now(0)
            return TAKEN
        memcpy(request.reply, p, n)
        request.reply_len = n
        request.state = REQUEST_DONE
        client.parked_bytes += n
        client.check_limits()
        return TAKEN

    cdef int answer_locally(self, ClientConn client, const char* p, RequestScan* scan, const CommandRow* row) except -1:
        cdef bytes reply
        if row.local_code == LOCAL_PING and scan.argc == 1:
            self.slab.add(self.c_local_requests, 1)
            return self.answer(client, b"+PONG\r\n", 7)
        if row.local_code in (LOCAL_HELLO, LOCAL_RESET) and queue_len(&client.queue):
            return self.hold(client, 0, False)      # replies awaited belong to the old protocol
        if client.session is None:
            client.session = self.sessions.open(client.address)
        reply = self.sessions.answer(client.session, row.local_code, arguments(p, scan))
        client.group = GROUP_RESP3 if client.session.protocol == 3 else GROUP_RESP2
        self.slab.add(self.c_local_requests, 1)
        self.answer(client, reply, len(reply))
        if client.session.is_closing:
            client.finish()
        return TAKEN

    cdef int handle_inline(self, ClientConn client, const char* p, RequestScan* scan) except -1:
        """A line as typed by hand: handled as the array it stands for."""
        cdef RequestScan whole
        buf_clear(&self.inline_array)
        if inline_to_array(p, scan, &self.inline_array) == 0:
            return self.refuse(client, E_NO_MEMORY)
        memset(&whole, 0, sizeof(RequestScan))
        if next_request(buf_ptr(&self.inline_array), buf_len(&self.inline_array), &whole) != FRAME_OK:
            return self.protocol_error(client, whole.error_code)
        return self.handle(client, buf_ptr(&self.inline_array), &whole)

    cdef int protocol_error(self, ClientConn client, uint16_t code) except -1:
        """Nothing behind this point can be framed: the error, then the end of the connection."""
        self.slab.add(self.c_protocol_errors, 1)
        self.refuse_begin()
        append_error(&self.scratch, code)
        self.answer_scratch(client)
        client.is_lingering = True
        client.finish()
        return 0

    cdef void count_request(self, const CommandRow* row, size_t n) noexcept:
        self.slab.add(self.c_write_requests if row.access == ACCESS_WRITE else self.c_read_requests, 1)
        self.slab.add(self.c_request_bytes, n)
        self.slab.count_command(row.id)
        if row.access == ACCESS_WRITE:
            self.slab.observe(self.h_payload, n)

    cdef void count_reply(self, DatastoreConn conn, Slot* slot, size_t n) noexcept:
        cdef int at = 2 * conn.group + (slot.is_write != 0)
        self.slab.observe(self.h_datastore + slot.klass, self.now_ns - slot.queued_ns)
        self.slab.add(self.c_store_responses[at], 1)
        self.slab.add(self.c_store_response_bytes[at], n)
        if conn.scan.is_error:
            self.slab.add(self.c_store_errors[conn.group], 1)
            self.slab.add(self.c_error_responses, 1)

    # ---- turns, shards, timers

    cdef int before_flush(self) except -1:
        if self.shard_count > 1:
            self.serve_shards()
        if self.held:
            self.rerun_held()
        return 0

    cdef int after_flush_turn(self) except -1:
        cdef ShardLink link
        if self.shard_count > 1:
            for link in self.shards:
                if link is not None:
                    link.ring_doorbell()
        return 0

    cdef int serve_shards(self) except -1:
        """Records from the other io workers: their requests for our shard, their replies to our requests."""
        cdef ShardLink link
        cdef Request* request
        cdef const char* p
        cdef size_t n
        cdef int what, handled
        for link in self.shards:
            if link is None:
                continue
            link.send_overflow()
            handled = 0
            while handled < REQUESTS_PER_TURN:
                what = link.next_record(&p, &n, &request)
                if what == 0:
                    break
                if what == SHARD_TOOK_REPLY:
                    self.in_flight -= 1
                    self.slab.add(self.c_shard_replies_received, 1)
                    self.on_reply(request, p, n)
                elif what == SHARD_TOOK_REQUEST and self.serve_shard_request(link, request, p, n) == HOLD:
                    request_release(request)
                    break                       # the record stays in the ring: its sender feels the pressure
                link.done_record()
                handled += 1
            if handled == REQUESTS_PER_TURN:
                self.want_turn()
        return 0

    cdef int serve_shard_request(self, ShardLink link, Request* request, const char* p, size_t n) except -1:
        """A request that another io worker read from its client; its reply goes back over the ring."""
        cdef RequestScan scan
        cdef CommandRow* row
        cdef uint32_t shard, token = 0
        cdef bint wide = False
        cdef int taken
        memset(&scan, 0, sizeof(RequestScan))
        if next_request(p, n, &scan) != FRAME_OK:
            raise ValueError(f"io worker {link.peer_index} sent a request that is none")
        row = command_row(command_lookup(p + scan.args[0].off, scan.args[0].len))
        if row.is_container:
            row = command_row(subcommand_lookup(row.id, p + scan.args[1].off, scan.args[1].len))
        request.started_ns = self.now_ns
        request.command = row.id
        request.klass = row.klass
        self.place(p, &scan, row, &shard, &token, &wide)
        if row.access == ACCESS_WRITE and not self.may_write(link.group, token & (ORDER_BUCKETS - 1), wide):
            return HOLD
        taken = self.to_datastore(request, link.group, token, wide, row, p, n)
        if taken != HOLD:
            self.slab.add(self.c_shard_received, 1)
            request_release(request)            # the slot's hold, if any, is what is left
        return taken

    cdef void start_ticking(self):
        if not self.ticking:
            self.ticking = True
            self.schedule_tick()

    def tick(self):
        """Every 10 ms while something is in flight; returns whether it is wanted again."""
        cdef DatastoreConn conn
        cdef ShardLink link
        cdef ClientConn client
        cdef Request* request
        self.read_clock()
        for item in self.datastores:
            if item is not None:
                conn = <DatastoreConn>item
                conn.expire(self.timeout_ns)
                conn.watch_silence()
        for item in self.shards:
            if item is not None:
                link = <ShardLink>item
                while True:
                    request = link.next_expired(self.now_ns, self.timeout_ns + SHARD_GRACE_NS)
                    if request == NULL:
                        break
                    self.in_flight -= 1
                    self.slab.add(self.c_timeouts, 1)
                    self.fail(request, E_SHARD_TIMEOUT)
                    request_release(request)
        if self.lingering:
            for client in self.lingering:
                if client.fd >= 0 and self.now_ns > client.linger_until_ns:
                    client.close_now(0)
            self.lingering = [c for c in self.lingering if (<ClientConn>c).fd >= 0]
        if self.held or self.shard_count > 1:
            self.want_turn()
        self.ticking = bool(self.in_flight or self.held or self.lingering)
        return self.ticking

    def accept(self, fd, address):
        """A new client on an accepted socket."""
        return ClientConn(self, fd, address)

    def relieve_pressure(self):
        """Over the process budget: clients between two requests are not read; far over it, the largest is closed."""
        cdef ClientConn client
        cdef ClientConn largest = None
        cdef size_t most = 0
        cdef size_t total = self.buffered_bytes()
        for item in self.connections():
            if not isinstance(item, ClientConn):
                continue
            client = <ClientConn>item
            if total > self.process_bytes:
                if buf_len(&client.inbuf) == 0:
                    client.set_pause(PAUSE_PRESSURE)
                if client.inbuf.cap + client.outbuf.cap + client.parked_bytes > most:
                    most = client.inbuf.cap + client.outbuf.cap + client.parked_bytes
                    largest = client
            elif total < self.process_bytes // 2:
                client.clear_pause(PAUSE_PRESSURE)
        if largest is not None and total > self.process_bytes + self.process_bytes // 2:
            log.error("client %s closed: it holds %d bytes while the process is over process_budget_bytes (%d of %d)",
                      largest.address, most, total, self.process_bytes)
            self.slab.add(self.c_hard_limit, 1)
            largest.close_now(0)
        return total

    def figures(self):
        """Gauges as {cell of the counter table: value}, measured now; feeds the queue length histograms too."""
        cdef DatastoreConn conn
        cdef ClientConn client
        cells = {
            "client_requests_in_flight": 0, "client_paused": 0, "client_in_queue_bytes": 0, "client_out_queue_bytes": 0,
            "process_budget_used_bytes": self.buffered_bytes(), "datastore_budget_used_bytes": 0,
            "loop_turns": self.turns, "loop_busy_ns": self.busy_ns,
        }
        for g, name in enumerate(("resp2", "resp3")):
            waiting = sent = waiting_bytes = 0
            for item in self.datastores[g * self.datastore_count:(g + 1) * self.datastore_count]:
                if item is not None:
                    conn = <DatastoreConn>item
                    waiting += conn.unsent()
                    sent += slots_len(&conn.slots) - conn.unsent()
                    waiting_bytes += buf_len(&conn.outbuf)
                    self.slab.observe(self.h_in_queue, conn.unsent())
                    self.slab.observe(self.h_out_queue, slots_len(&conn.slots) - conn.unsent())
            cells[f"in_queue:{name}"] = waiting
            cells[f"in_queue_bytes:{name}"] = waiting_bytes
            cells[f"out_queue:{name}"] = sent
            cells["datastore_budget_used_bytes"] += waiting_bytes
        for item in self.connections():
            if isinstance(item, ClientConn):
                client = <ClientConn>item
                cells["client_requests_in_flight"] += queue_len(&client.queue)
                cells["client_in_queue_bytes"] += client.in_flight_bytes
                cells["client_out_queue_bytes"] += buf_len(&client.outbuf) + client.parked_bytes
                cells["client_paused"] += client.pause_bits != 0
                self.slab.observe(self.h_client_queue, queue_len(&client.queue))
        return cells

    def begin_drain(self):
        """No further request is read; clients close as soon as they have their replies."""
        cdef ClientConn client
        for item in self.connections():
            if isinstance(item, ClientConn):
                client = <ClientConn>item
                client.finish()


cdef list arguments(const char* p, RequestScan* scan):
    """All arguments of a complete frame as bytes; for the cold answers."""
    cdef ArgWalk walk
    cdef Span arg
    cdef list out = []
    walk_args(&walk, p, scan)
    while walk_next(&walk, &arg):
        out.append(p[arg.off:arg.off + arg.len])
    return out


cdef class ClientConn(Conn):
    """A client: its requests in order, its replies in the same order."""

    def __init__(self, IoPath path, int fd, address):
        self.poll = path
        self.path = path
        self.fd = fd
        self.address = address
        queue_init(&self.queue)
        request_scan_reset(&self.scan)
        path.add(self, EPOLLIN)
        path.clients += 1
        path.slab.put(path.c_clients, path.clients)

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
        self.path.slab.add(self.path.c_client_eof, 1)
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
        self.path.slab.put(self.path.c_clients, self.path.clients)
        if error:
            self.path.slab.add(self.path.c_client_err, 1)
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
            self.path.slab.add(self.path.c_hard_limit, 1)
            self.close_now(0)


cdef class DatastoreConn(Conn):
    """One connection to the datastore. Its owner connects it and says what the handshake is."""

    def __init__(self, IoPath path, owner, int group, int index):
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
        self.path.datastore_up(self)

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
                if taken.is_write:
                    self.path.wrote(&taken, self.group)
                if taken.kind == SLOT_HANDSHAKE:
                    self.handshake_reply(p, self.scan.pos)
                else:
                    self.path.count_reply(self, &taken, self.scan.pos)
                    if taken.request != NULL:
                        self.path.on_reply(taken.request, p, self.scan.pos)
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
            self.path.slab.observe(self.path.h_queue_wait,
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
                self.path.slab.add(self.path.c_timeouts, 1)
                self.path.slab.add(self.path.c_store_timeouts[self.group], 1)
                self.path.fail(request, E_DATASTORE_TIMEOUT)
                request_release(request)
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
            self.path.datastore_down(self)
            self.is_up = False
        while slots_len(&self.slots):
            slot = slots_at(&self.slots, self.slots.head)[0]
            self.slots.head += 1
            self.path.in_flight -= 1
            if slot.is_write:
                self.path.wrote(&slot, self.group)
            if slot.request != NULL:
                try:
                    self.path.fail(slot.request, E_DATASTORE_DOWN)
                finally:
                    request_release(slot.request)
        self.owner.on_lost(self, error)
