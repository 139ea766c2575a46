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
    IoPath.forward --(d) original bytes appended -----------------+      request -> tail of SourceConn.queue
      |  |  Fanout.dispatch                                                      -> tail of TargetConn.slots
      |  +--(d') owner is another node: header + the same bytes (PeerOutConn); its replies come back like (f)
      +--(d") key of another io worker's shard: one record on a ring (ShardLink)
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

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from cpython.ref cimport Py_INCREF

from dynomite_mp.cluster.route cimport LEVEL_EACH_SAFE_QUORUM
from dynomite_mp.cluster.write_table cimport key_hash
from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.proto.buffer cimport buf_clear, buf_free, buf_init, buf_len, buf_ptr
from dynomite_mp.proto.command_lookup cimport (
    ACCESS_WRITE, CONFLICT_LEAD, EFFECT_EXPIRE_AT, KEYS_NONE, KEYS_RANGE, LOCAL_HELLO, LOCAL_PING, LOCAL_RESET,
    ROUTING_ANSWERED, ROUTING_REFUSED, SPLIT_NONE, SPLIT_PAIRS, CommandRow, arity_fits, command_lookup, command_row,
    subcommand_lookup,
)
from dynomite_mp.proto.dnode cimport EXTENSION_FORCE_READ, EXTENSION_STAMP, Extension
from dynomite_mp.proto.effects cimport conflict_of
from dynomite_mp.proto.expiry cimport EXPIRY_ABSOLUTE, absolute_expiry
from dynomite_mp.proto.fragment cimport Fragments
from dynomite_mp.proto.resp cimport (
    FRAME_OK, ArgWalk, KeyWalk, RequestScan, Span, arg_is, inline_to_array, next_request, request_key, request_refusal,
    walk_args, walk_key, walk_keys, walk_next,
)
from dynomite_mp.proto.wire_errors cimport (
    append_protocol_error, append_unknown_command, append_unknown_subcommand, append_wrong_arity,
    error_closes,
)
from dynomite_mp.workers.client_conn cimport ClientConn
from dynomite_mp.workers.conn cimport REQUESTS_PER_TURN, Conn
from dynomite_mp.workers.data_path cimport (
    GROUP_RESP2, GROUP_RESP3, GROUPS, HOLD, PAUSE_BUDGET, PAUSE_PRESSURE, REFUSED, TAKEN,
)
from dynomite_mp.workers.datastore_conn cimport DatastoreConn
from dynomite_mp.workers.key_holds cimport KeyHolds
from dynomite_mp.workers.peer_in_conn cimport PeerInConn
from dynomite_mp.workers.peer_out_conn cimport PeerOutConn
from dynomite_mp.workers.peer_service cimport is_for_node
from dynomite_mp.workers.request cimport (
    Request, queue_len, queue_push, request_new, request_release, slots_len,
)
from dynomite_mp.workers.shard_link cimport (
    IS_BEHIND, OFFER_FAILED, OFFER_FULL, SHARD_NOTHING, SHARD_TOOK_REPLY, SHARD_TOOK_REQUEST, ShardLink,
)
from dynomite_mp.workers.source_conn cimport SourceConn
from dynomite_mp.workers.target_conn cimport queue_figures
from dynomite_mp.workers.write_order cimport order_bucket

from dynomite_mp.cluster.token import hash_kind
from dynomite_mp.errors import WIRE_ERRORS

log = logging.getLogger("dynomite_mp.io")

cdef enum:
    SHARD_GRACE_NS = 200000000      # beyond the target's own time-out at the other io worker
    MS = 1000000
    SPLIT = -1                      # place(): the keys have several owners and the command can be split

    # What a request brings along besides its bytes; also the flags of a SHARD_REQUEST
    WITH_RESP3 = 1
    WITH_LEVEL = 6                  # consistency, two bits
    LEVEL_SHIFT = 1
    WITH_LOCAL_ONLY = 8             # asked by a peer: this node's datastore, no fan-out
    WITH_FORWARD = 16               # asked by another datacenter: this datacenter only
    WITH_LEAD = 32                  # asked by a peer: execute it as the lead of its key
    WITH_FORCE = 64                 # a read that is to be served even while this node is catching up

cdef uint16_t E_SEVERAL_NODES = WIRE_ERRORS["keys_span_nodes"].code
cdef uint16_t E_DRAINING = WIRE_ERRORS["draining"].code
cdef uint16_t E_SHARD_TIMEOUT = WIRE_ERRORS["shard_timeout"].code
cdef uint16_t E_SPILL_FAILED = WIRE_ERRORS["spill_failed"].code
cdef uint16_t E_NO_MEMORY = WIRE_ERRORS["out_of_memory"].code


cdef class IoPath(KeyHolds):
    """The data plane of one io worker."""

    def __cinit__(self, *args, **kwargs):
        buf_init(&self.inline_array)
        buf_init(&self.absolute)

    def __init__(self, schedule_turn, schedule_tick, SlabWriter slab, sessions, table, *, shard_index=0, shard_count=1,
                 datastore_connections=1, gather_bytes=None):
        super().__init__(schedule_turn, schedule_tick, slab, sessions)
        self.shard_index = shard_index
        self.shard_count = shard_count
        self.shards = [None] * shard_count
        self.datastore_count = datastore_connections
        self.datastores = [None] * (GROUPS * datastore_connections)
        if gather_bytes is not None:
            self.gather_bytes = gather_bytes
        self.hash_kind = hash_kind("murmur")
        self.node_state = 4
        self.set_table(table, 1, ())

    def __dealloc__(self):
        buf_free(&self.inline_array)
        buf_free(&self.absolute)
        free(self.groups)

    def configure(self, *, hash_name, hash_tag, timeout_ms, peer_timeout_ms, peer_silence_ms, client_soft_bytes,
                  client_hard_bytes, datastore_bytes, peer_bytes, process_bytes, read_level, write_level):
        """Settings that may change while the worker runs."""
        self.hash_kind = hash_kind(hash_name)
        self.has_tag = bool(hash_tag)
        if hash_tag:
            self.tag_open, self.tag_close = <char><unsigned char>hash_tag[0], <char><unsigned char>hash_tag[1]
        self.timeout_ns = timeout_ms * MS
        self.peer_timeout_ns = peer_timeout_ms * MS
        self.peer_silence_ns = peer_silence_ms * MS
        self.pause_ns = peer_silence_ms * MS // 5 * 4       # less than what others take for silence
        self.client_soft_bytes = client_soft_bytes
        self.client_hard_bytes = client_hard_bytes
        self.datastore_bytes = datastore_bytes
        self.peer_bytes = peer_bytes
        self.process_bytes = process_bytes
        self.read_level = read_level
        self.write_level = write_level

    def open_shards(self):
        """From now on records of the other io workers are served; before, they would find no datastore."""
        self.serves_shards = self.shard_count > 1
        self.want_turn()

    def set_shard(self, index, ShardLink link):
        """The rings to and from another io worker."""
        self.shards[index] = link

    # ---- (b) .. (d): a request comes in

    cdef CommandRow* lookup(self, const char* p, RequestScan* scan) noexcept:
        """Row of a request in array form; scratch holds the error line when there is none."""
        cdef uint32_t command = command_lookup(p + scan.args[0].off, scan.args[0].len)
        cdef CommandRow* row = command_row(command)
        cdef uint32_t sub
        if row == NULL:
            self.refuse_begin()
            append_unknown_command(&self.scratch, p, scan)
            return NULL
        if row.is_container and scan.argc > 1:
            sub = subcommand_lookup(command, p + scan.args[1].off, scan.args[1].len)
            if sub == 0:
                self.refuse_begin()
                append_unknown_subcommand(&self.scratch, row, p, scan)
                return NULL
            row = command_row(sub)
        if not arity_fits(row, scan.argc):
            self.refuse_begin()
            append_wrong_arity(&self.scratch, row)
            return NULL
        return row

    cdef int handle(self, Conn conn, const char* p, RequestScan* scan) except -1:
        """One whole request at p: answered here, forwarded, or HOLD (nothing happened; it stays at the head)."""
        cdef ClientConn client = <ClientConn>conn
        cdef CommandRow* row
        if scan.is_inline:
            return self.handle_inline(client, p, scan)
        row = self.lookup(p, scan)
        if row == NULL:
            return self.answer_scratch(client)
        if row.routing == ROUTING_REFUSED:
            if error_closes(row.refuse_code):
                return self.protocol_error(client, row.refuse_code)
            return self.refuse(client, row.refuse_code)
        if row.routing == ROUTING_ANSWERED:
            return self.answer_locally(client, p, scan, row)
        return self.forward(client, p, scan, row,
                            client.group | (client.write_level if row.access == ACCESS_WRITE
                                            else client.read_level) << LEVEL_SHIFT)

    cdef int handle_peer(self, Conn conn, const char* p, RequestScan* scan, bint is_forward,
                         const Extension* extension) except -1:
        """The same for a peer's request."""
        cdef PeerInConn peer = <PeerInConn>conn
        cdef CommandRow* row
        cdef uint32_t flags
        self.slab.add(self.cells.dnode_requests, 1)
        self.slab.add(self.cells.dnode_request_bytes, scan.pos)
        if is_for_node(p, scan):
            if scan.argc == 3 and arg_is(p, &scan.args[1], b"key"):
                return self.serve_key(peer, p, scan)
            return self.serve_node(peer, p, scan)
        row = self.lookup(p, scan)
        if row == NULL:
            return self.answer_scratch(peer)
        if row.routing == ROUTING_REFUSED:
            return self.refuse(peer, row.refuse_code)
        if row.routing == ROUTING_ANSWERED:
            if row.local_code == LOCAL_PING:
                return self.answer(peer, b"+PONG\r\n", 7)
            return self.refuse(peer, E_SEVERAL_NODES)
        flags = peer.group | (WITH_FORWARD if is_forward else WITH_LOCAL_ONLY)
        if peer.asks_lead:
            flags = peer.group | WITH_LOCAL_ONLY | WITH_LEAD | peer.asked_level << LEVEL_SHIFT
        if extension != NULL and extension.flags & EXTENSION_FORCE_READ:
            flags |= WITH_FORCE
        self.incoming = extension
        try:
            return self.forward(peer, p, scan, row, flags)
        finally:
            self.incoming = NULL

    cdef int serve_key(self, PeerInConn peer, const char* p, RequestScan* scan) except -1:
        """`DYNO KEY key`: what the io worker of the key's shard knows of recent writes to it."""
        cdef Place place
        cdef Request* request
        cdef bytes key = p[scan.args[2].off:scan.args[2].off + scan.args[2].len]
        cdef bytes answer
        place_init(&place, 0, WITH_LOCAL_ONLY)
        self.token(key, len(key), &place.token)
        place.shard = self.shard_of(place.token)
        if place.shard == self.shard_index:
            answer = self.key_answer(key)
            return self.answer(peer, answer, len(answer))
        request = self.admit(peer, command_row(command_lookup(b"dyno", 4)), scan.pos)
        if request == NULL:
            return self.refuse(peer, E_NO_MEMORY)
        if self.to_shard(request, &place, p, scan.pos) == HOLD:
            self.fail(request, E_SPILL_FAILED)
        return TAKEN

    cdef int forward(self, SourceConn source, const char* p, RequestScan* scan, const CommandRow* row,
                     uint32_t flags) except -1:
        """Hand the original bytes to the owners of the key, or to the io worker that owns its shard."""
        cdef Place place
        cdef int code, taken
        cdef Request* request
        cdef RequestScan rewritten
        code = request_refusal(p, scan, row) if row.options else 0
        if code:
            return self.refuse(source, <uint16_t>code)
        if row.effect == EFFECT_EXPIRE_AT and self.is_stamping and scan.argc > 3 and self.make_absolute(
                p, scan, row, flags, &rewritten):
            p, scan = buf_ptr(&self.absolute), &rewritten
        place_init(&place, self.shard_index, flags)
        code = self.place(p, scan, row, &place) if row.key_kind != KEYS_NONE else 0
        if code > 0:
            return self.refuse(source, <uint16_t>code)
        if code == SPLIT and row.access == ACCESS_WRITE and not self.order.may_go(
                source.group, 0, True, self.rerunning):
            return self.hold(source, 0, True)
        if row.key_kind != KEYS_NONE and (place.conflict == CONFLICT_LEAD or source.lead_tail > source.queue.head):
            if not source.may_follow(place.token, place.has_several, place.conflict == CONFLICT_LEAD):
                return self.hold(source, 0, False)
        request = self.admit(source, row, scan.pos)
        if request == NULL:
            return self.refuse(source, E_NO_MEMORY)
        if code == SPLIT:
            taken = self.split(request, p, scan, row, flags)
        else:
            taken = self.send_on(request, row, &place, p, scan.pos)
        if taken == HOLD:
            source.in_flight_bytes -= scan.pos      # as if it had never been read
            source.queue.tail -= 1
            request_release(request)
            return self.hold(source, order_bucket(place.token), row.access == ACCESS_WRITE)
        if place.conflict and not flags & (WITH_LOCAL_ONLY | WITH_FORWARD):
            source.follow(place.has_several or code == SPLIT, place.conflict == CONFLICT_LEAD)
        self.count_request(row, scan.pos)
        if source.in_flight_bytes > self.client_soft_bytes:
            self.slab.add(self.cells.pauses, 1)
            source.set_pause(PAUSE_BUDGET)
        return TAKEN

    cdef bint make_absolute(self, const char* p, RequestScan* scan, const CommandRow* row, uint32_t flags,
                            RequestScan* rewritten) except -1:
        """A relative expiry made absolute, once, by the coordinator; whether there is a rewritten request."""
        if (flags & WITH_LOCAL_ONLY or (self.incoming != NULL and self.incoming.fields & EXTENSION_STAMP)
                or self.has_far_c_nodes or self.has_c_peer()):      # RESTORE with ABSTTL, to C a request that is none
            return False
        buf_clear(&self.absolute)
        if absolute_expiry(row, p, scan, <int64_t>(self.turn_unix_ns() // MS), &self.absolute) != EXPIRY_ABSOLUTE:
            return False
        memset(rewritten, 0, sizeof(RequestScan))
        return next_request(buf_ptr(&self.absolute), buf_len(&self.absolute), rewritten) == FRAME_OK

    cdef bint has_c_peer(self) except -1:
        for item in self.peers:
            if item is not None and not (<PeerOutConn>item).is_ours:
                return True
        return False

    cdef Request* admit(self, SourceConn source, const CommandRow* row, size_t size) noexcept:
        """A request at the tail of the source's queue; NULL when memory is out."""
        cdef Request* request = request_new()
        if request == NULL or queue_push(&source.queue, request) < 0:
            return NULL
        request.client = <void*>source
        request.origin_id = source.frame_id
        request.started_ns = self.now_ns
        request.size = size
        request.command = row.id
        request.klass = row.klass
        request.refs = 1
        source.in_flight_bytes += size
        return request

    cdef int send_on(self, Request* request, const CommandRow* row, const Place* place,
                     const char* p, size_t n) except -1:
        """To the owners of the key, or to the io worker that does it: TAKEN, HOLD, REFUSED."""
        request.token = place.token
        request.is_wide = place.is_wide
        request.group = place.flags & WITH_RESP3
        request.level = (place.flags & WITH_LEVEL) >> LEVEL_SHIFT
        request.is_local_only = (place.flags & WITH_LOCAL_ONLY) != 0
        request.is_forwarded = (place.flags & WITH_FORWARD) != 0
        request.is_forced = (place.flags & WITH_FORCE) != 0
        request.is_lead_asked = (place.flags & WITH_LEAD) != 0
        request.key_hash = place.key_hash
        if not request.is_foreign:
            request.conflict = place.conflict
            if self.incoming != NULL:
                self.adopt_extension(request, self.incoming)
        if place.shard != self.shard_index:
            return self.to_shard(request, place, p, n)
        return self.dispatch(request, row, p, n)

    cdef int split(self, Request* whole, const char* p, RequestScan* scan, const CommandRow* row,
                   uint32_t flags) except -1:
        """One part for each set of owners; their replies are stitched by Fragments."""
        cdef Fragments fragments = Fragments()
        cdef Request* part
        cdef Place place
        cdef RequestScan inner
        cdef const char* q
        cdef size_t n
        cdef int i
        if fragments.build(p, scan, row, self.groups, self.group_count) < 0:
            self.fail(whole, E_NO_MEMORY)
            return REFUSED
        Py_INCREF(fragments)
        whole.fragments = <void*>fragments
        whole.refs += 1                             # parts may fail, and so complete it, while others are being sent
        self.slab.add(self.cells.fragments, fragments.parts)
        for i in range(fragments.parts):
            part = request_new()
            if part == NULL:
                self.fail(whole, E_NO_MEMORY)
                break
            part.parent = whole
            whole.refs += 1
            part.refs = 1
            part.part = <uint16_t>i
            part.started_ns = whole.started_ns
            part.command = row.id
            part.klass = row.klass
            fragments.part(i, &q, &n)
            memset(&inner, 0, sizeof(RequestScan))
            next_request(q, n, &inner)
            place_init(&place, self.shard_index, flags)
            place.is_wide = True
            self.place(q, &inner, row, &place)
            self.send_on(part, row, &place, q, n)
            request_release(part)
        request_release(whole)
        return TAKEN

    cdef int place(self, const char* p, RequestScan* scan, const CommandRow* row, Place* place) except -2:
        """Token of the first key and the io worker of its shard; 0, SPLIT, or the code of the error to answer.

        Keys may travel together when one io worker serves them and their owners are the same in every rack. On SPLIT,
        groups[:group_count] says of every key with which others it may.
        """
        cdef Span key
        cdef KeyWalk walk
        cdef int64_t index
        cdef int found = request_key(p, scan, row, &key)
        cdef uint64_t group
        cdef uint32_t token
        cdef bint is_split = False
        # With other datacenters each key of a write goes the way that it goes alone, lest two writes of it overtake
        # each other there.
        cdef bint is_each = ((place.flags & WITH_LEVEL) >> LEVEL_SHIFT == LEVEL_EACH_SAFE_QUORUM or (
            self.table.has_remote and row.access == ACCESS_WRITE and row.split != SPLIT_NONE
            and not place.flags & WITH_FORWARD))
        if found < 0:
            return scan.error_code
        if found == 0:
            return 0
        if not self.token(p + key.off, key.len, &place.token):
            place.flags |= WITH_LOCAL_ONLY          # an empty hash tag: this node's, whatever the rack (2.4)
        place.shard = self.shard_of(place.token)
        if row.access == ACCESS_WRITE and self.is_stamping:
            place.key_hash = key_hash(p + key.off, key.len)
            self.recent.fetch(place.key_hash)
            place.conflict = <uint8_t>conflict_of(row, p, scan)
        if row.key_kind == KEYS_RANGE and row.last_key == row.first_key:
            return 0
        if walk_keys(&walk, p, scan, row) < 0:
            return scan.error_code
        self.group_count = 0
        while walk_key(&walk, &key, &index):
            self.token(p + key.off, key.len, &token)
            place.has_several = place.has_several or token != place.token
            group = self.table.signature(token, is_each) * self.shard_count + self.shard_of(token)
            if not self.add_group(group):
                return E_NO_MEMORY
            is_split = is_split or group != self.groups[0]
        place.is_wide = self.group_count > 1
        if not is_split or place.flags & WITH_LOCAL_ONLY:
            return 0
        if row.split == SPLIT_NONE or (row.split == SPLIT_PAIRS and scan.argc % 2 == 0):
            return E_SEVERAL_NODES if row.split == SPLIT_NONE else 0
        return SPLIT

    cdef bint add_group(self, uint64_t group) noexcept:
        cdef uint64_t* grown
        if self.group_count == self.group_room:
            grown = <uint64_t*>realloc(self.groups, (2 * self.group_room + 16) * sizeof(uint64_t))
            if grown == NULL:
                return False
            self.groups = grown
            self.group_room = 2 * self.group_room + 16
        self.groups[self.group_count] = group
        self.group_count += 1
        return True

    cdef uint32_t shard_of(self, uint32_t token) noexcept:
        # Mixed first: short hashes (crc32 has 15 bits) must spread over the workers too.
        if self.shard_count == 1:
            return self.shard_index
        return <uint32_t>((<uint64_t>(<uint32_t>(token * <uint32_t>0x9E3779B1)) * self.shard_count) >> 32)

    cdef int to_shard(self, Request* request, const Place* place, const char* p, size_t n) except -1:
        """One record on the ring to the io worker that owns the shard."""
        cdef ShardLink link = <ShardLink>self.shards[place.shard]
        cdef int taken = link.send_request(request, place.flags, self.now_ns, self.timeout_ns, p, n,
                                           request.parent != NULL)
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

    # ---- (c): answers of our own

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
        client.read_level = client.session.read_consistency
        client.write_level = client.session.write_consistency
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

    cdef void peer_opened(self, Conn conn, int change) noexcept:
        self.peer_clients += change
        self.slab.put(self.cells.dnode_clients, self.peer_clients)

    cdef int peer_gossip(self, Conn conn, const char* p, size_t n) except -1:
        if self.on_gossip_text is not None:
            self.on_gossip_text((<PeerInConn>conn).address, p[:n])
        return 0

    cdef void target_mismatch(self, Conn target) noexcept:
        self.slab.add(self.cells.peer_mismatches, 1)

    cdef void count_request(self, const CommandRow* row, size_t n) noexcept:
        self.slab.add(self.cells.write_requests if row.access == ACCESS_WRITE else self.cells.read_requests, 1)
        self.slab.add(self.cells.request_bytes, n)
        self.slab.count_command(row.id)
        if row.access == ACCESS_WRITE:
            self.slab.observe(self.cells.payload_size, n)

    # ---- turns, shards, timers

    cdef bint awaits_events(self) noexcept:
        return self.ticking             # something was in flight at the last tick, or has come since

    cdef int before_flush(self) except -1:
        if self.serves_shards:
            self.serve_shards()
        if self.draining:
            self.drain_holds()
        if self.held:
            self.rerun_held()
        return 0

    cdef int after_flush_turn(self) except -1:
        cdef ShardLink link
        if self.shard_count > 1:
            for link in self.shards:
                if link is not None:
                    link.ring_doorbell()
        if self.remote is not None:
            self.remote.ring_doorbell()
        return 0

    cdef int serve_shards(self) except -1:
        """Records from the other io workers: their requests for our shard, their replies to our requests."""
        cdef ShardLink link
        cdef Request* request
        cdef const char* p
        cdef size_t n
        cdef int what, handled
        self.receives += 1
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
                    if link.reply_status:
                        self.take_status(request, link)
                    self.complete(request, p, n)
                    request_release(request)
                elif what == SHARD_TOOK_REQUEST and self.serve_shard_request(link, request, p, n) == HOLD:
                    request_release(request)
                    break                       # the record stays in the ring: its sender feels the pressure
                link.done_record()
                handled += 1
            if handled == REQUESTS_PER_TURN:
                self.want_turn()
        return 0

    cdef int shard_key(self, Request* request, const char* p, RequestScan* scan) except -1:
        """Another io worker was asked what this one knows of a key."""
        cdef bytes answer = self.key_answer(p[scan.args[2].off:scan.args[2].off + scan.args[2].len])
        self.complete(request, answer, len(answer))
        request_release(request)
        return 0

    cdef int take_status(self, Request* request, ShardLink link) except -1:
        """What another io worker's reply says besides, for the peer that asked."""
        request.reply_marks = <uint8_t>link.reply_status
        request.is_behind = (link.reply_status & IS_BEHIND) != 0
        request.stamp = link.reply_stamp
        return self.follow(None, link.reply_stamp) if self.is_stamping else 0

    cdef int serve_shard_request(self, ShardLink link, Request* request, const char* p, size_t n) except -1:
        """A request that another io worker read from its source; its reply goes back over the ring."""
        cdef RequestScan scan
        cdef CommandRow* row
        cdef Place place
        cdef int taken
        memset(&scan, 0, sizeof(RequestScan))
        if next_request(p, n, &scan) != FRAME_OK:
            raise ValueError(f"io worker {link.peer_index} sent a request that is none")
        if is_for_node(p, &scan):
            self.shard_key(request, p, &scan)
            return TAKEN
        row = self.lookup(p, &scan)
        if row == NULL:
            raise ValueError(f"io worker {link.peer_index} sent a command that is none")
        request.started_ns = self.now_ns
        request.command = row.id
        request.klass = row.klass
        if request.is_foreign and self.is_stamping:
            self.adopt(request, link.clock)
        place_init(&place, self.shard_index, link.flags)
        self.place(p, &scan, row, &place)
        place.shard = self.shard_index
        taken = self.send_on(request, row, &place, p, n)
        if taken != HOLD:
            self.slab.add(self.cells.shard_received, 1)
            request_release(request)            # the slots' holds, if any, are what is left
        return taken

    def tick(self):
        """Every 10 ms while something is in flight; returns whether it is wanted again."""
        cdef DatastoreConn store
        cdef PeerOutConn peer
        cdef ClientConn client
        # A datastore that nobody else could stand in for may be silent until its requests expire (ADR 0004).
        cdef uint64_t store_silence_ns = self.timeout_ns if self.table.racks == 1 else self.peer_silence_ns
        self.read_clock()
        for item in self.datastores:
            if item is not None:
                store = <DatastoreConn>item
                store.expire(self.timeout_ns)
                if not self.holds_writes and store.watch_silence(store_silence_ns):
                    self.slab.add(self.cells.store_ejects, 1)
                    self.target_silent(store)
        for item in self.peers:
            if item is not None:
                peer = <PeerOutConn>item
                peer.expire(self.peer_timeout_ns)
                if peer.watch_silence(self.peer_silence_ns):
                    self.slab.add(self.cells.peer_ejects, 1)
                    self.target_silent(peer)
        self.expire_elsewhere()
        self.retry_leads()
        if self.lingering:
            for client in self.lingering:
                if client.fd >= 0 and self.now_ns > client.linger_until_ns:
                    client.close_now(0)
            self.lingering = [c for c in self.lingering if (<ClientConn>c).fd >= 0]
        if self.held or self.draining or self.shard_count > 1:
            self.want_turn()
        self.ticking = bool(self.in_flight or self.held or self.draining or self.lingering or self.waiting_leads or (
            self.remote is not None and slots_len(&self.remote.waiting)))
        return self.ticking

    cdef int expire_elsewhere(self) except -1:
        """Requests at other io workers and in other datacenters whose time is up."""
        cdef ShardLink link
        cdef Request* request
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
        if self.remote is not None:
            while True:
                request = self.remote.next_expired(self.now_ns)
                if request == NULL:
                    break
                self.slab.add(self.cells.timeouts, 1)
                self.remote_verdict(request, False, NULL, 0)
                request.remote_pending = 0
        return 0

    def remote_reply(self, uint64_t req_id, bint is_good, bytes reply):
        """What another datacenter says to a request at DC_EACH_SAFE_QUORUM."""
        cdef Request* request = self.remote.find(req_id)
        if request != NULL:
            self.read_clock()
            self.remote_verdict(request, is_good, reply, len(reply))
            self.remote.drop_settled()

    # ---- for the cold side

    def accept(self, fd, address):
        """A new client on an accepted socket."""
        return ClientConn(self, fd, address, self.read_level, self.write_level)

    def accept_peer(self, fd, address, keys):
        """A new inbound peer connection; `keys` opens encrypted frames."""
        return PeerInConn(self, fd, address, keys)

    def set_gossip_text(self, on_gossip_text):
        """Called with (address, text) for gossip of C nodes."""
        self.on_gossip_text = on_gossip_text

    def relieve_pressure(self):
        """Several times a second. Over the process budget clients between two requests are not read; far over it, the
        largest is closed. What only matters while both protocol groups write is given up as well."""
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
        self.order.relax()
        if largest is not None and total > self.process_bytes + self.process_bytes // 2:
            log.error("client %s closed: it holds %d bytes while the process is over process_budget_bytes (%d of %d)",
                      largest.address, most, total, self.process_bytes)
            self.slab.add(self.cells.hard_limit, 1)
            largest.close_now(0)
        return total

    def figures(self):
        """Gauges as {cell of the counter table: value}, measured now; feeds the queue length histograms too."""
        cdef SourceConn client
        cells = {
            "client_requests_in_flight": 0, "client_paused": 0, "client_in_queue_bytes": 0, "client_out_queue_bytes": 0,
            "process_budget_used_bytes": self.buffered_bytes(), "datastore_budget_used_bytes": 0,
            "dnode_client_in_queue": 0, "dnode_client_in_queue_bytes": 0, "dnode_client_out_queue_bytes": 0,
            "loop_turns": self.turns, "loop_busy_ns": self.busy_ns,
        }
        for g, name in enumerate(("resp2", "resp3")):
            figures = queue_figures(self.datastores[g * self.datastore_count:(g + 1) * self.datastore_count],
                                    self.slab, self.cells.in_queue, self.cells.out_queue)
            cells.update(zip((f"in_queue:{name}", f"in_queue_bytes:{name}",
                              f"out_queue:{name}", f"out_queue_bytes:{name}"), figures))
            cells["datastore_budget_used_bytes"] += figures[1] + figures[3]
        figures = queue_figures(self.peers, self.slab, self.cells.peer_in_length, self.cells.peer_out_length)
        cells.update(zip(("peer_in_queue", "peer_in_queue_bytes", "peer_out_queue", "peer_out_queue_bytes"), figures))
        for item in self.connections():
            if isinstance(item, ClientConn):
                client = <SourceConn>item
                cells["client_requests_in_flight"] += queue_len(&client.queue)
                cells["client_in_queue_bytes"] += client.in_flight_bytes
                cells["client_out_queue_bytes"] += buf_len(&client.outbuf) + client.parked_bytes
                cells["client_paused"] += client.pause_bits != 0
                self.slab.observe(self.cells.client_queue, queue_len(&client.queue))
            elif isinstance(item, PeerInConn):
                client = <SourceConn>item
                cells["dnode_client_in_queue"] += queue_len(&client.queue)
                cells["dnode_client_in_queue_bytes"] += client.in_flight_bytes
                self.slab.observe(self.cells.dnode_queue, queue_len(&client.queue))
                cells["dnode_client_out_queue_bytes"] += buf_len(&client.outbuf) + client.parked_bytes
        return cells


cdef inline void place_init(Place* place, uint32_t shard, uint32_t flags) noexcept nogil:
    memset(place, 0, sizeof(Place))
    place.shard = shard
    place.flags = flags


cdef list arguments(const char* p, RequestScan* scan):
    """All arguments of a complete frame as bytes; for the cold answers."""
    cdef ArgWalk walk
    cdef Span arg
    cdef list out = []
    walk_args(&walk, p, scan)
    while walk_next(&walk, &arg):
        out.append(p[arg.off:arg.off + arg.len])
    return out
