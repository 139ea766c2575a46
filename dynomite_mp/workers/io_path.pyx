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

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from dynomite_mp.cluster.token cimport hash_tag_span, token_of
from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.proto.buffer cimport buf_append, buf_clear, buf_free, buf_init, buf_len, buf_ptr
from dynomite_mp.proto.command_lookup cimport (
    ACCESS_WRITE, CLASS_NONE, KEYS_NONE, KEYS_RANGE, KEYS_SORT, KEYS_STREAMS, LOCAL_HELLO, LOCAL_PING, LOCAL_RESET,
    ROUTING_ANSWERED, ROUTING_REFUSED, CommandRow, arity_fits, command_lookup, command_row, subcommand_lookup,
)
from dynomite_mp.proto.resp cimport (
    FRAME_OK, ArgWalk, KeyWalk, RequestScan, Span, inline_to_array, next_request, request_key, request_refusal,
    walk_args, walk_key, walk_keys, walk_next,
)
from dynomite_mp.proto.wire_errors cimport (
    append_error, append_protocol_error, append_unknown_command, append_unknown_subcommand, append_wrong_arity,
    error_closes,
)
from dynomite_mp.workers.client_conn cimport ClientConn
from dynomite_mp.workers.conn cimport REQUESTS_PER_TURN, Conn
from dynomite_mp.workers.data_path cimport (
    GROUP_RESP2, GROUP_RESP3, GROUPS, HOLD, ORDER_BUCKETS, PAUSE_BUDGET, PAUSE_HELD, PAUSE_PRESSURE, REFUSED, TAKEN,
    DataPath,
)
from dynomite_mp.workers.datastore_conn cimport DatastoreConn
from dynomite_mp.workers.request cimport (
    REQUEST_ANSWERED, REQUEST_DONE, REQUEST_WAITING, Request, Slot, queue_len, queue_push,
    request_new, request_release, slots_len,
)
from dynomite_mp.workers.source_conn cimport SourceConn
from dynomite_mp.workers.shard_link cimport (
    OFFER_FAILED, OFFER_FULL, SHARD_NOTHING, SHARD_TOOK_REPLY, SHARD_TOOK_REQUEST, ShardLink,
)

from dynomite_mp.cluster.token import hash_kind
from dynomite_mp.errors import WIRE_ERRORS

log = logging.getLogger("dynomite_mp.io")

cdef enum:
    PROBE_EVERY_NS = 100000000
    SHARD_GRACE_NS = 200000000      # beyond the datastore's own time-out at the other io worker

cdef uint16_t E_DATASTORE_DOWN = WIRE_ERRORS["datastore_refused"].code
cdef uint16_t E_DATASTORE_TIMEOUT = WIRE_ERRORS["datastore_timeout"].code
cdef uint16_t E_CROSS_SHARD = WIRE_ERRORS["keys_span_nodes"].code
cdef uint16_t E_SHARD_TIMEOUT = WIRE_ERRORS["shard_timeout"].code
cdef uint16_t E_SPILL_FAILED = WIRE_ERRORS["spill_failed"].code
cdef uint16_t E_NO_MEMORY = WIRE_ERRORS["out_of_memory"].code


cdef class IoPath(DataPath):
    """The data plane of one io worker."""

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
        super().__init__(schedule_turn, schedule_tick, slab, sessions)
        self.shard_index = shard_index
        self.shard_count = shard_count
        self.shards = [None] * shard_count
        self.datastore_count = datastore_connections
        self.datastores = [None] * (GROUPS * datastore_connections)
        self.held = []
        self.hash_kind = hash_kind("murmur")

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
            self.tag_open, self.tag_close = <char><unsigned char>hash_tag[0], <char><unsigned char>hash_tag[1]
        self.timeout_ns = timeout_ms * 1000000
        # A datastore that nobody else could stand in for may be silent until its requests expire (ADR 0004).
        self.silence_ns = self.timeout_ns
        self.client_soft_bytes = client_soft_bytes
        self.client_hard_bytes = client_hard_bytes
        self.datastore_bytes = datastore_bytes
        self.process_bytes = process_bytes

    def set_on_demand(self, connect):
        """`preconnect: false`: what to call when a request finds no connection; None once it has been tried."""
        self.connect_on_demand = connect

    def set_shard(self, index, ShardLink link):
        """The rings to and from another io worker."""
        self.shards[index] = link

    # ---- (b) .. (d): a request comes in

    cdef int handle(self, Conn conn, const char* p, RequestScan* scan) except -1:
        """One whole request at p: answered here, forwarded, or HOLD (nothing happened; it stays at the head)."""
        cdef ClientConn client = <ClientConn>conn
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
            self.slab.add(self.cells.pauses, 1)
            client.set_pause(PAUSE_BUDGET)
        return TAKEN

    cdef int place(self, const char* p, RequestScan* scan, const CommandRow* row,
                   uint32_t* shard, uint32_t* token, bint* wide) except -1:
        """Token of the first key and the io worker of its shard; 0, or the code of the error to answer."""
        cdef Span key
        cdef KeyWalk walk
        cdef int64_t index
        cdef int found = request_key(p, scan, row, &key)
        cdef uint32_t other
        if found < 0:
            return scan.error_code
        if found == 0:
            return 0
        token[0] = self.token(p + key.off, key.len)
        shard[0] = self.shard_of(token[0])
        if row.key_kind == KEYS_RANGE and row.last_key == row.first_key:
            return 0
        if walk_keys(&walk, p, scan, row) < 0:
            return scan.error_code
        walk_key(&walk, &key, &index)
        while walk_key(&walk, &key, &index):
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
            if self.connect_on_demand is not None:
                self.connect_on_demand()
                return HOLD
            self.slab.add(self.cells.unreachable, 1)
            self.fail(request, E_DATASTORE_DOWN)
            return REFUSED
        if conn.is_silent:
            if self.now_ns - conn.last_probe_ns < PROBE_EVERY_NS:
                self.slab.add(self.cells.unreachable, 1)
                self.fail(request, E_DATASTORE_TIMEOUT)
                return REFUSED
            conn.last_probe_ns = self.now_ns
        if buf_len(&conn.outbuf) > self.datastore_bytes:
            return HOLD
        slot = conn.enqueue(NULL, 0, p, n)
        if slot == NULL:
            self.fail(request, E_NO_MEMORY)
            return REFUSED
        slot.request = request
        slot.klass = row.klass
        request.refs += 1
        if row.access == ACCESS_WRITE:
            slot.is_write = 2 if wide else 1
            slot.bucket = token & (ORDER_BUCKETS - 1)
            self.pending[group][slot.bucket] += 1
            self.pending_total[group] += 1
            self.pending_wide[group] += wide
        self.slab.add(self.cells.store_requests[2 * group + (slot.is_write != 0)], 1)
        self.slab.add(self.cells.store_request_bytes[2 * group + (slot.is_write != 0)], n)
        return TAKEN

    cdef int to_shard(self, Request* request, int group, uint32_t shard, const CommandRow* row,
                      const char* p, size_t n) except -1:
        """One record on the ring to the io worker that owns the shard."""
        cdef ShardLink link = <ShardLink>self.shards[shard]
        cdef int taken = link.send_request(request, group, self.now_ns, self.timeout_ns, p, n)
        if taken == OFFER_FULL:
            return HOLD
        if taken == OFFER_FAILED:
            self.fail(request, E_SPILL_FAILED)
            return REFUSED
        request.refs += 1
        self.in_flight += 1
        if not self.ticking:
            self.start_ticking()
        self.slab.add(self.cells.shard_sent, 1)
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

    cdef void stop_waiting(self, Conn conn) noexcept:
        cdef ClientConn client = <ClientConn>conn
        if client.wait_bucket:
            self.waiters[client.wait_bucket - 1] -= 1
            client.wait_bucket = 0

    # ---- (g), (h): a reply comes, or never will

    cdef int target_reply(self, Conn target, Slot* slot, const char* p, size_t n, bint is_error) except -1:
        cdef int group = (<DatastoreConn>target).group
        cdef int at = 2 * group + (slot.is_write != 0)
        self.slab.observe(self.cells.datastore_latency + slot.klass, self.now_ns - slot.queued_ns)
        self.slab.add(self.cells.store_responses[at], 1)
        self.slab.add(self.cells.store_response_bytes[at], n)
        if is_error:
            self.slab.add(self.cells.store_errors[group], 1)
            self.slab.add(self.cells.error_responses, 1)
        if slot.is_write:
            self.wrote(slot, group)
        if slot.request != NULL:
            self.on_reply(slot.request, p, n)
        return 0

    cdef int target_expired(self, Conn target, Slot* slot) except -1:
        cdef Request* request = slot.request
        slot.request = NULL
        self.slab.add(self.cells.timeouts, 1)
        self.slab.add(self.cells.store_timeouts[(<DatastoreConn>target).group], 1)
        self.fail(request, E_DATASTORE_TIMEOUT)
        request_release(request)
        return 0

    cdef int target_lost(self, Conn target, Slot* slot, const char* p, size_t n) except -1:
        """Whether the request was executed nobody can say."""
        if slot.is_write:
            self.wrote(slot, (<DatastoreConn>target).group)
        if slot.request != NULL:
            self.slab.add(self.cells.unreachable, 1)
            self.fail(slot.request, E_DATASTORE_DOWN)
            request_release(slot.request)
        return 0

    cdef int target_changed(self, Conn target) except -1:
        cdef DatastoreConn conn = <DatastoreConn>target
        cdef uint32_t i = conn.group * self.datastore_count + conn.index
        if conn.is_up:
            self.datastores[i] = conn
        elif self.datastores[i] is conn:
            self.datastores[i] = None
        return 0

    cdef void target_sent(self, Conn target, uint64_t waited_ns) noexcept:
        self.slab.observe(self.cells.queue_wait, waited_ns)

    cdef int on_reply(self, Request* request, const char* p, size_t n) except -1:
        """The reply of a request whose slot was taken; releases the slot's hold on it."""
        if request.state != REQUEST_WAITING:
            request_release(request)        # expired: the client has had its error
            return 0
        if request.shard:
            self.shard_reply(request, p, n)
            request_release(request)
            return 0
        self.slab.observe(self.cells.request_latency + request.klass, self.now_ns - request.started_ns)
        (<SourceConn>request.client).deliver(request, p, n)
        request_release(request)
        return 0

    cdef int fail(self, Request* request, uint16_t code) except -1:
        """Answer an error to a request in a client's queue (or to the worker it came from); its slots stay."""
        if request.state != REQUEST_WAITING:
            return 0
        buf_clear(&self.scratch)
        append_error(&self.scratch, code)
        self.slab.add(self.cells.error_responses, 1)
        if request.shard:
            return self.shard_reply(request, buf_ptr(&self.scratch), buf_len(&self.scratch))
        self.slab.observe(self.cells.request_latency + request.klass, self.now_ns - request.started_ns)
        return (<SourceConn>request.client).deliver(request, buf_ptr(&self.scratch), buf_len(&self.scratch))

    cdef int shard_reply(self, Request* request, const char* p, size_t n) except -1:
        request.state = REQUEST_ANSWERED
        self.slab.add(self.cells.shard_replies_sent, 1)
        return (<ShardLink>self.shards[request.shard - 1]).send_reply(request.origin_id, p, n)

    # ---- (c): answers of our own

    cdef void refuse_begin(self) noexcept:
        buf_clear(&self.scratch)
        self.slab.add(self.cells.error_responses, 1)

    cdef int refuse(self, ClientConn client, uint16_t code) except -1:
        self.slab.add(self.cells.refused, 1)
        self.refuse_begin()
        append_error(&self.scratch, code)
        self.answer_scratch(client)
        if error_closes(code):
            client.is_lingering = True
            client.finish()
        return TAKEN

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
            self.slab.add(self.cells.local_requests, 1)
            return self.answer(client, b"+PONG\r\n", 7)
        if row.local_code in (LOCAL_HELLO, LOCAL_RESET) and queue_len(&client.queue):
            return self.hold(client, 0, False)      # replies awaited belong to the old protocol
        if client.session is None:
            client.session = self.sessions.open(client.address)
        reply = self.sessions.answer(client.session, row.local_code, arguments(p, scan))
        client.group = GROUP_RESP3 if client.session.protocol == 3 else GROUP_RESP2
        self.slab.add(self.cells.local_requests, 1)
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

    cdef int protocol_error(self, Conn conn, uint16_t code) except -1:
        """Nothing behind this point can be framed: the error, then the end of the connection."""
        cdef ClientConn client = <ClientConn>conn
        self.slab.add(self.cells.protocol_errors, 1)
        self.refuse_begin()
        append_protocol_error(&self.scratch, code, &client.scan)
        self.answer_scratch(client)
        client.is_lingering = True
        client.finish()
        return 0

    cdef void count_request(self, const CommandRow* row, size_t n) noexcept:
        self.slab.add(self.cells.write_requests if row.access == ACCESS_WRITE else self.cells.read_requests, 1)
        self.slab.add(self.cells.request_bytes, n)
        self.slab.count_command(row.id)
        if row.access == ACCESS_WRITE:
            self.slab.observe(self.cells.payload_size, n)

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
                if what == SHARD_NOTHING:
                    break
                if what == SHARD_TOOK_REPLY:
                    self.in_flight -= 1
                    self.slab.add(self.cells.shard_replies_received, 1)
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
            self.slab.add(self.cells.shard_received, 1)
            request_release(request)            # the slot's hold, if any, is what is left
        return taken

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
                conn.watch_silence(self.silence_ns)
        for item in self.shards:
            if item is not None:
                link = <ShardLink>item
                while True:
                    request = link.next_expired(self.now_ns, self.timeout_ns + SHARD_GRACE_NS)
                    if request == NULL:
                        break
                    self.in_flight -= 1
                    self.slab.add(self.cells.timeouts, 1)
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
            self.slab.add(self.cells.hard_limit, 1)
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
                    self.slab.observe(self.cells.in_queue, conn.unsent())
                    self.slab.observe(self.cells.out_queue, slots_len(&conn.slots) - conn.unsent())
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
                self.slab.observe(self.cells.client_queue, queue_len(&client.queue))
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
