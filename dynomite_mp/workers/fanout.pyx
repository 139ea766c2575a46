"""From a request to its targets, and from their outcomes to one answer: the plan engine of the data path.

What it is: (d) to (h) of the picture in io_path. A plan (cluster.route) says whose replies make the answer; this file
sends to the owners it names, through the datastore's connections or a peer's, and turns what comes back - replies,
errors, losses, deadlines, silence - into one outcome per rack.

    plan              targets                       answer
    PLAN_LOCAL        this node's datastore         its reply
    PLAN_ONE_READ     owner in this rack            its reply; unreachable: the next rack's owner
    PLAN_ONE_WRITE    owner in every rack           this rack's reply; unreachable: the first other rack's
    PLAN_*QUORUM      owner in every rack           what cluster.quorum says
    PLAN_LEAD         one rack's owner              its reply (leading.pyx)
    any write         + one record for all other datacenters (RemoteLane)

What it is not: it does not frame, and it does not talk to sockets; it never re-sends a write.

Invariants:
- every target that was given a request yields exactly one outcome for it: the reply, or the loss of its connection, or
  its deadline, or its silence, whichever comes first; the slot swallows the rest;
- a target of another rack never makes a request of this rack wait: over its budget it counts as unreachable.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from dynomite_mp.cluster.quorum cimport (
    QUORUM_DIFFER, QUORUM_FAILED, QUORUM_WAIT, ReplySet, reply_set_again, reply_set_bad,
    reply_set_best, reply_set_differing, reply_set_good, reply_set_keep, reply_set_kept, reply_set_new,
)
from dynomite_mp.cluster.route cimport (
    LEVEL_EACH_SAFE_QUORUM, NO_OWNER, PLAN_EACH_SAFE_QUORUM, PLAN_EFFECT, PLAN_LEAD, PLAN_LOCAL, PLAN_ONE_READ,
    PLAN_ONE_WRITE, PLAN_QUORUM, RouteTable,
)
from dynomite_mp.cluster.write_table cimport NOTE_APPLY
from dynomite_mp.proto.buffer cimport buf_len, buf_ptr
from dynomite_mp.proto.command_lookup cimport (
    ACCESS_WRITE, CONFLICT_LEAD, KEYS_NONE, ROUTING_ALL_NODES, ROUTING_LOCAL_NODE,
    ROUTING_RACK_OWNER, CommandRow, command_row,
)
from dynomite_mp.proto.dnode cimport (
    DNODE_HEADER_MOST, DNODE_REQ, EXTENSION_CATCHING_UP, EXTENSION_FORCE_READ, EXTENSION_LATER, EXTENSION_LEAD,
    EXTENSION_LEVEL_SHIFT, EXTENSION_LOCAL_ONLY, EXTENSION_MOST, EXTENSION_NOT_EXECUTED, EXTENSION_STALE, Extension,
    encode_extension,
)
from dynomite_mp.proto.wire_errors cimport error_text
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.data_path cimport GROUP_RESP3, HOLD, REFUSED, TAKEN
from dynomite_mp.workers.datastore_conn cimport DatastoreConn
from dynomite_mp.workers.peer_out_conn cimport PeerOutConn
from dynomite_mp.workers.refusals cimport says_state, says_unasked, says_unreachable
from dynomite_mp.workers.remote_lane cimport (
    ACK_ALL_NODES, ACK_NONE, ACK_READ, ACK_READ_ANY, ACK_WRITE,
)
from dynomite_mp.workers.reply_digest cimport digest_of
from dynomite_mp.workers.request cimport (
    REQUEST_ANSWERED, REQUEST_WAITING, Request, Slot, request_new, request_release, slots_at,
)
from dynomite_mp.workers.stamps cimport COPY_READ
from dynomite_mp.workers.target_conn cimport TargetConn
from dynomite_mp.workers.write_order cimport order_bucket
from dynomite_mp.workers.writes cimport (
    HINT_MISSED, HINT_UNKNOWN, IS_HELD, MISSING_EVERYTHING, NOT_HELD, OUT_AGAIN, OUT_ERROR, OUT_GOOD, OUT_UNREACHABLE,
    OUT_UNSENT, Writes,
)

from dynomite_mp.enums import NodeState
from dynomite_mp.errors import WIRE_ERRORS
from dynomite_mp.proto.resp3_shape import reshape_frame

cdef enum:
    RESTAMPS_MOST = 3               # times that one write is sent again with a newer stamp
    SAME_DIGEST = 1                 # of a write that one of our nodes says it applied
    TEXT_ROOM = 320

cdef int STATE_STANDBY = NodeState.STANDBY
cdef int STATE_WRITES_ONLY = NodeState.WRITES_ONLY
cdef int STATE_RESUMING = NodeState.RESUMING
cdef int STATE_NORMAL = NodeState.NORMAL

cdef uint16_t E_DATASTORE_DOWN = WIRE_ERRORS["datastore_refused"].code
cdef uint16_t E_DATASTORE_TIMEOUT = WIRE_ERRORS["datastore_timeout"].code
cdef uint16_t E_PEER_DOWN = WIRE_ERRORS["peer_not_connected"].code
cdef uint16_t E_PEER_LOST = WIRE_ERRORS["peer_refused"].code
cdef uint16_t E_PEER_TIMEOUT = WIRE_ERRORS["peer_timeout"].code
cdef uint16_t E_STATE = WIRE_ERRORS["state_forbids"].code
cdef uint16_t E_NO_OWNER = WIRE_ERRORS["no_owner"].code
cdef uint16_t E_NO_QUORUM = WIRE_ERRORS["no_quorum"].code
cdef uint16_t E_NO_MEMORY = WIRE_ERRORS["out_of_memory"].code


cdef class Fanout(Writes):
    # ---- to the targets

    cdef int dispatch(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1:
        """Send a request where its plan says. TAKEN; REFUSED: answered with an error; HOLD: nothing has happened."""
        cdef int taken
        request.is_write = row.access == ACCESS_WRITE
        if request.is_write and not self.order.may_go(request.group, order_bucket(request.token), request.is_wide,
                                                      self.rerunning) and request.parent == NULL:
            return HOLD
        if row.routing == ROUTING_ALL_NODES and not request.is_local_only:
            return self.to_all_nodes(request, row, p, n)
        if request.is_lead_asked:
            return self.lead_asked(request, row, p, n)
        if (self.table.is_alone or request.is_local_only or row.key_kind == KEYS_NONE
                or row.routing == ROUTING_LOCAL_NODE):
            request.mode = PLAN_LOCAL
            if not request.is_local_only and not self.table.is_alone:
                request.is_forced = True            # it asks about this node, not for a key
            if request.is_write and self.is_stamping and request.stamp == 0 and row.key_kind != KEYS_NONE:
                self.stamp(request)
            taken = self.to_datastore(request, self.table.my_rack, row, p, n, request.parent == NULL)
            if taken == DOWN:
                request.reply_marks |= EXTENSION_NOT_EXECUTED
                self.fail(request, request.error_code)
                return REFUSED
            return taken
        if ((row.conflict == CONFLICT_LEAD or row.lead_words != NULL) and not request.is_forwarded
                and (self.table.racks > 1 or self.table.has_remote)):
            taken = self.to_lead(request, row, p, n)
            if taken != AS_BEFORE:
                return taken
        request.mode = <unsigned char>self.table.plan(
            request.is_write, request.level, row.routing == ROUTING_RACK_OWNER)
        if request.mode == PLAN_ONE_READ:
            return self.read_next(request, row, p, n, request.parent == NULL)
        return self.copy_to_racks(request, row, p, n)

    cdef int to_lead(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1:
        """Hook of leading: a write that has other replicas and may be of class lead."""
        raise NotImplementedError

    cdef int lead_asked(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1:
        """Hook of leading: a peer takes this node for the lead."""
        raise NotImplementedError

    cdef int lead_outcome(self, Request* request, int rack, int what, const char* reply, size_t reply_len,
                          const char* p, size_t n) except -1:
        """Hook of leading: what became of a request of PLAN_LEAD, PLAN_EFFECT or PLAN_PROBE."""
        raise NotImplementedError

    cdef int read_next(self, Request* request, const CommandRow* row, const char* p, size_t n, bint is_first) except -1:
        """Ask the next rack's owner; this rack's first. When all that can be reached are only catching up, once more:
        then they have to answer (put_off)."""
        cdef int taken, rack
        while self.may_read_on(request):
            rack = (self.table.my_rack + request.read_from + request.racks_tried) % self.table.racks
            taken = self.to_node(request, rack, row, p, n, is_first)
            if taken == HOLD:
                return HOLD
            request.racks_tried += 1
            if taken == TAKEN:
                return TAKEN
        if (self.reads_remote and self.table.has_remote and self.remote is not None and not request.is_forwarded
                and request.remote_pending == 0):
            request.remote_pending = 1
            if self.remote.send(request, row, p, n, self.now_ns, ACK_READ_ANY) == 0:
                return TAKEN
            request.remote_pending = 0
        self.fail(request, request.error_code)
        return REFUSED

    cdef int to_all_nodes(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1:
        """Every node of every datacenter; this node's datastore answers."""
        cdef Request* copy
        cdef int node
        cdef int taken
        request.mode = PLAN_LOCAL
        taken = self.to_datastore(request, self.table.my_rack, row, p, n, True)
        if taken == HOLD:
            return HOLD
        for node in range(self.table.nodes):
            if node == self.table.local_node:
                continue
            copy = request_new()                    # nobody waits for its reply
            if copy == NULL:
                raise MemoryError
            copy.refs = 1
            copy.state = REQUEST_ANSWERED
            copy.group = request.group
            self.to_peer(copy, node, 0, row, p, n, False)
            request_release(copy)
        if self.table.has_remote and self.remote is not None:
            self.remote.send(request, row, p, n, self.now_ns, ACK_ALL_NODES)
        if taken == DOWN:
            self.fail(request, request.error_code)
            return REFUSED
        return TAKEN

    cdef int copy_to_racks(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1:
        """Every rack's owner, this rack's first: only that one may make the source wait."""
        cdef int taken
        if request.mode != PLAN_ONE_WRITE and request.replies == NULL:
            request.replies = reply_set_new(self.table.racks)
            if request.replies == NULL:
                self.fail(request, E_NO_MEMORY)
                return REFUSED
        request.refs += 1                           # a target that fails at once may complete it
        request.pending = <uint16_t>self.table.racks
        request.primary = <uint16_t>self.table.my_rack
        if request.is_write:
            self.expect(request)
            if self.is_stamping and request.stamp == 0:
                self.stamp(request)
        request.remote_pending = <uint16_t>self.table.remote_dcs if request.mode == PLAN_EACH_SAFE_QUORUM else 0
        taken = self.to_each_rack(request, row, p, n, request.parent == NULL)
        if taken == HOLD:
            request.refs -= 1
            return HOLD
        request_release(request)
        return TAKEN

    cdef int to_each_rack(self, Request* request, const CommandRow* row, const char* p, size_t n,
                          bint may_hold) except -1:
        cdef int i, taken, rack
        for i in range(self.table.racks):
            rack = (self.table.my_rack + i) % self.table.racks
            taken = self.to_node(request, rack, row, p, n, i == 0 and may_hold)
            if taken == HOLD:
                return HOLD
            if taken == DOWN:
                if request.is_owed:
                    self.missed_by_owner(request, rack, HINT_MISSED, p, n)
                self.outcome(request, rack, OUT_UNREACHABLE, NULL, 0, p, n if request.mode < PLAN_LEAD else 0)
        if self.table.has_remote and self.remote is not None and not request.is_forwarded and (
                request.is_write or request.remote_pending):
            if self.remote.send(request, row, p, n, self.now_ns, ACK_NONE if request.remote_pending == 0 else (
                    ACK_WRITE if request.is_write else ACK_READ)) < 0 and request.remote_pending:
                self.remote_verdict(request, False, NULL, 0)
        return TAKEN

    cdef int send_again(self, Request* request, const char* p, size_t n) except -1:
        """A write that this rack's owner found too old: once more to all, with a stamp above what is there."""
        cdef bytes copy = p[:n]                     # p is part of a buffer that may move now
        request.is_restamped += 1
        self.stamp(request)
        self.slab.add(self.cells.restamped_writes, 1)
        request.refs += 1
        request.pending += <uint16_t>(self.table.racks - 1)     # the outcome at hand is not counted
        self.to_each_rack(request, command_row(request.command), copy, n, False)
        request_release(request)
        return 0

    cdef int to_node(self, Request* request, int rack, const CommandRow* row,
                     const char* p, size_t n, bint may_hold) except -1:
        cdef int node = self.table.owner(rack, request.token)
        if node == self.table.local_node:
            return self.to_datastore(request, rack, row, p, n, may_hold)
        if node == NO_OWNER:
            request.error_code = E_NO_OWNER
            return DOWN
        return self.to_peer(request, node, rack, row, p, n, may_hold)

    cdef bint is_usable(self, Request* request, TargetConn conn, uint16_t code) except -1:
        """A silent target gets no request: what it owes, or its answer to a probe, will show that it lives."""
        if not conn.is_silent:
            return True
        conn.probe_now_and_then()
        request.error_code = code
        self.slab.add(self.cells.unreachable, 1)
        return False

    cdef int to_datastore(self, Request* request, int rack, const CommandRow* row,
                          const char* p, size_t n, bint may_hold) except -1:
        """Append the bytes to the connection of this key: TAKEN, DOWN, or HOLD when it is over its budget."""
        cdef uint32_t at = request.group * self.datastore_count + (
            request.token % self.datastore_count if self.datastore_count > 1 else 0)
        cdef DatastoreConn conn = <DatastoreConn>self.datastores[at]
        cdef Slot* slot
        cdef int held
        if (self.node_state != STATE_NORMAL or self.is_catching_up) and not self.state_allows(request):
            return DOWN
        if self.holds_keys:
            held = self.meets_hold(request, rack, row, p, n)
            if held != NOT_HELD:
                return TAKEN if held == IS_HELD else DOWN
        if conn is None:
            if self.connect_on_demand is not None and may_hold:
                self.connect_on_demand()
                return HOLD
            request.error_code = E_DATASTORE_DOWN
            self.slab.add(self.cells.unreachable, 1)
            return DOWN
        if not self.is_usable(request, conn, E_DATASTORE_TIMEOUT):
            return DOWN
        if may_hold and buf_len(&conn.outbuf) > self.datastore_bytes:
            return HOLD
        if request.stamp and self.is_stamping and self.admission(request, row, p, n) != NOTE_APPLY:
            return self.skip(request, rack, conn, row, p, n)
        slot = conn.enqueue(NULL, 0, p, n)
        if slot == NULL:
            request.error_code = E_NO_MEMORY
            return DOWN
        slot.request = request
        slot.rack = <uint16_t>rack
        slot.klass = row.klass
        request.refs += 1
        if request.mode == PLAN_ONE_WRITE and self.holds_writes:
            request.primary_failed = True           # it is kept for later
        if request.is_write:
            if self.is_catching_up:
                self.doubt(request, rack)
                request.reply_marks |= EXTENSION_CATCHING_UP
            slot.is_write = 2 if request.is_wide else 1
            slot.bucket = self.order.sent(request.group, order_bucket(request.token), request.is_wide)
        self.slab.add(self.cells.store_requests[2 * request.group + request.is_write], 1)
        self.slab.add(self.cells.store_request_bytes[2 * request.group + request.is_write], n)
        return TAKEN

    cdef bint state_allows(self, Request* request) noexcept:
        """STANDBY takes nothing; WRITES_ONLY takes writes and keeps them back; RESUMING takes writes."""
        if self.node_state == STATE_STANDBY or (
                not request.is_write and (self.node_state == STATE_WRITES_ONLY or self.node_state == STATE_RESUMING)):
            request.error_code = E_STATE
            return False
        if self.is_catching_up and not request.is_write and (not request.is_forced or (
                self.is_catching_up == MISSING_EVERYTHING and request.marks & EXTENSION_LOCAL_ONLY)):
            request.error_code = E_STATE            # a copy made of what may be empty would delete the key elsewhere
            self.put_off(request, self.is_catching_up, self.table.my_rack)
            return False
        return True

    cdef int to_peer(self, Request* request, int node, int rack, const CommandRow* row,
                     const char* p, size_t n, bint may_hold) except -1:
        """One frame to a node of this datacenter: TAKEN, DOWN, or HOLD when it is over its budget."""
        cdef PeerOutConn conn = <PeerOutConn>self.peers[node * self.peer_count + request.token % self.peer_count]
        cdef char[DNODE_HEADER_MOST + EXTENSION_MOST] head
        cdef char[EXTENSION_MOST] own
        cdef Extension extension
        cdef Slot* slot
        if conn is None:
            request.error_code = E_PEER_DOWN
            self.slab.add(self.cells.unreachable, 1)
            return DOWN
        if conn.is_behind:
            if self.is_put_off(request):
                return DOWN
            self.doubt(request, rack)
        if not self.is_usable(request, conn, E_PEER_TIMEOUT):
            return DOWN
        if buf_len(&conn.outbuf) > self.peer_bytes:
            if may_hold:
                return HOLD
            request.error_code = E_PEER_TIMEOUT
            self.slab.add(self.cells.peer_dropped, 1)
            return DOWN
        if request.stamp and request.mode != PLAN_LEAD and conn.is_ours:
            slot = conn.enqueue_write(request, p, n)
        elif conn.is_ours and (request.group == GROUP_RESP3 or request.mode == PLAN_LEAD or request.is_forced):
            memset(&extension, 0, sizeof(Extension))
            extension.protocol = 3 if request.group == GROUP_RESP3 else 2
            if request.mode == PLAN_LEAD:
                extension.flags = EXTENSION_LEAD | <uint32_t>request.level << EXTENSION_LEVEL_SHIFT
                if request.level == LEVEL_EACH_SAFE_QUORUM:
                    extension.flags |= EXTENSION_LATER
            elif request.is_forced:
                extension.flags = EXTENSION_FORCE_READ
            slot = conn.enqueue_frame(head, DNODE_REQ, own, encode_extension(own, &extension), p, n)
        else:
            slot = conn.enqueue_frame(head, DNODE_REQ, b"d", 1, p, n)
        if slot == NULL:
            request.error_code = E_NO_MEMORY
            return DOWN
        if not conn.is_ours:
            request.has_c_owner = True
        slot.request = request
        slot.rack = <uint16_t>rack
        slot.klass = row.klass
        request.refs += 1
        self.sent_on += 1
        self.slab.add(self.cells.peer_requests, 1)
        self.slab.add(self.cells.peer_request_bytes, n)
        return TAKEN

    # ---- from the targets: hooks of TargetConn

    cdef int target_reply(self, Conn target, Slot* slot, const char* p, size_t n, bint is_error) except -1:
        cdef TargetConn conn = <TargetConn>target
        cdef Request* request = slot.request
        cdef int what = OUT_GOOD
        cdef bytes shaped
        self.count_reply(conn, slot, n, is_error)
        if slot.is_write:
            self.order.answered((<DatastoreConn>conn).group, slot.bucket, slot.is_write == 2)
        if request == NULL:
            return 0
        if slot.stand_in:
            return self.stand_in_came(slot, p, n)
        if is_error:
            what = OUT_ERROR
            if self.table.racks > 1 and says_unreachable(p, n):
                what = OUT_UNREACHABLE
                request.error_code = E_DATASTORE_DOWN
                if says_state(p, n):
                    self.put_off_by(request, conn, slot.rack)
        elif request.group == GROUP_RESP3 and n and p[0] != c"+" and p[0] != c":" and answers_in_resp2(conn):
            shaped = reshape_frame(request.command, buf_ptr(&conn.outbuf)[slot.head_len:slot.size], p[:n])
            p, n = shaped, len(shaped)
        if request.is_owed:
            what = self.note_reply(request, conn, slot, what, p, n)
            if what == OUT_AGAIN:
                request_release(request)
                return 0
        self.outcome(request, slot.rack, what, p, n, buf_ptr(&conn.outbuf) + slot.head_len, slot.size - slot.head_len)
        request_release(request)
        return 0

    cdef int note_reply(self, Request* request, TargetConn conn, Slot* slot, int what,
                        const char* reply, size_t reply_len) except -1:
        """What a replica's reply to a write says of its copy; the outcome, or OUT_AGAIN: it is on its way once more."""
        cdef const char* p = buf_ptr(&conn.outbuf) + slot.head_len
        cdef size_t n = slot.size - slot.head_len
        cdef uint32_t marks = 0 if slot.is_write else (<PeerOutConn>conn).reply_marks
        if marks & EXTENSION_CATCHING_UP:
            self.doubt(request, slot.rack)
        if marks & EXTENSION_NOT_EXECUTED:
            self.missed(request, conn, HINT_MISSED, p, n)
            return OUT_UNREACHABLE
        if (marks & EXTENSION_STALE and not request.is_foreign and request.mode < PLAN_LEAD
                and request.is_restamped < RESTAMPS_MOST
                and (slot.rack == request.primary or self.was_slow(request, (<PeerOutConn>conn).reply_stamp))):
            self.clock.pass_over((<PeerOutConn>conn).reply_stamp)
            self.send_again(request, p, n)
            return OUT_AGAIN
        if what == OUT_GOOD:
            if not request.is_taken:
                self.one_good(request, p, n)
        elif what == OUT_ERROR:
            self.one_refused(request, slot.rack, p, n)
        else:
            self.missed(request, conn, HINT_MISSED if says_unasked(reply, reply_len) else HINT_UNKNOWN, p, n)
        return what

    cdef int target_expired(self, Conn target, Slot* slot, const char* p, size_t n) except -1:
        cdef TargetConn conn = <TargetConn>target
        cdef Request* request = slot.request
        slot.request = NULL
        self.slab.add(self.cells.timeouts, 1)
        if isinstance(conn, DatastoreConn):
            self.slab.add(self.cells.store_timeouts[(<DatastoreConn>conn).group], 1)
            request.error_code = E_DATASTORE_TIMEOUT
        else:
            self.slab.add(self.cells.peer_timeouts, 1)
            request.error_code = E_PEER_TIMEOUT
        request.racks_tried = <uint16_t>self.table.racks        # its time is up wherever it might go
        if request.is_owed and not slot.stand_in:
            self.missed(request, conn, HINT_UNKNOWN, p + slot.head_len, n - slot.head_len)
        if request.mode >= PLAN_LEAD:
            p, n = p + slot.head_len, n - slot.head_len
        else:
            p, n = NULL, 0                          # it goes nowhere else
        self.outcome(request, slot.rack, OUT_UNREACHABLE, NULL, 0, p, n)
        request_release(request)
        return 0

    cdef int target_lost(self, Conn target, Slot* slot, const char* p, size_t n) except -1:
        """Whether it was executed nobody can say: a read goes elsewhere, a write does not."""
        cdef Request* request = slot.request
        if slot.is_write:
            self.order.answered((<DatastoreConn>target).group, slot.bucket, slot.is_write == 2)
        if request == NULL:
            return 0
        self.slab.add(self.cells.unreachable, 1)
        request.error_code = E_DATASTORE_DOWN if isinstance(target, DatastoreConn) else E_PEER_LOST
        if request.is_owed and not slot.stand_in:
            self.missed(request, <TargetConn>target, HINT_MISSED if slot.is_unsent else HINT_UNKNOWN,
                        p + slot.head_len, n - slot.head_len)
        self.outcome(request, slot.rack,
                     OUT_UNSENT if slot.is_unsent and request.mode == PLAN_LEAD else OUT_UNREACHABLE, NULL, 0,
                     p + slot.head_len, n - slot.head_len)
        request_release(request)
        return 0

    cdef int target_silent(self, TargetConn conn) except -1:
        """What can be had elsewhere is not waited for any longer."""
        cdef uint64_t at
        cdef size_t offset = 0
        cdef Slot* slot
        cdef Request* request
        cdef const char* p
        cdef bint is_store = isinstance(conn, DatastoreConn)
        if is_store:
            self.stalled_ns = self.now_ns           # it leads no longer, nor does what it executes now count
        else:
            self.stops_leading(conn)                # until it says again that it leads
        for at in range(conn.slots.head, conn.slots.tail):
            slot = slots_at(&conn.slots, at)
            request = slot.request
            if request != NULL and (
                    request.mode == PLAN_EFFECT
                    or (request.mode == PLAN_ONE_READ and self.has_way(request))
                    or (request.mode == PLAN_ONE_WRITE and slot.rack == request.primary and request.pending > 1)
                    or (request.mode == PLAN_ONE_WRITE and slot.rack == request.primary and request.has_reserve)
                    or (request.mode == PLAN_ONE_WRITE and slot.rack != request.primary and request.has_reserve
                        and request.primary_failed and request.state == REQUEST_WAITING)):
                slot.request = NULL
                request.error_code = E_DATASTORE_TIMEOUT if is_store else E_PEER_TIMEOUT
                p = buf_ptr(&conn.outbuf) + offset + slot.head_len
                if request.is_owed and not slot.stand_in:
                    self.missed(request, conn, HINT_UNKNOWN, p, slot.size - slot.head_len)
                self.outcome(request, slot.rack, OUT_UNREACHABLE, NULL, 0, p, slot.size - slot.head_len)
                request_release(request)
            offset += slot.size
        return 0

    cdef int target_changed(self, Conn target) except -1:
        cdef DatastoreConn store
        cdef PeerOutConn peer
        cdef list conns
        cdef uint32_t at
        if isinstance(target, DatastoreConn):
            store = <DatastoreConn>target
            conns, at = self.datastores, store.group * self.datastore_count + store.index
        else:
            peer = <PeerOutConn>target
            if peer.node < 0:
                return 0                            # no longer part of the topology
            conns, at = self.peers, peer.node * self.peer_count + peer.index
            peer.is_behind = self.address_of(peer) in self.behind
        if (<TargetConn>target).is_up:
            conns[at] = target
        elif conns[at] is target:
            conns[at] = None
            if isinstance(target, PeerOutConn):
                self.stops_leading(<TargetConn>target)
        return 0

    cdef void stops_leading(self, TargetConn conn) noexcept:
        """A node is gone or silent: others lead its keys, and do not know what it had told to whom."""
        cdef PeerOutConn peer = <PeerOutConn>conn
        if peer.is_leading:
            peer.is_leading = False
            self.term += 1
            self.term_began_ns = self.now_ns

    cdef void target_sent(self, Conn target, uint64_t waited_ns) noexcept:
        self.slab.observe(self.cells.queue_wait if isinstance(target, DatastoreConn) else self.cells.peer_queue_wait,
                          waited_ns)

    cdef void count_reply(self, TargetConn conn, Slot* slot, size_t n, bint is_error) noexcept:
        cdef int at, group
        if isinstance(conn, DatastoreConn):
            group = (<DatastoreConn>conn).group
            at = 2 * group + (slot.is_write != 0)
            self.slab.observe(self.cells.datastore_latency + slot.klass, self.now_ns - slot.queued_ns)
            self.slab.add(self.cells.store_responses[at], 1)
            self.slab.add(self.cells.store_response_bytes[at], n)
            if is_error:
                self.slab.add(self.cells.store_errors[group], 1)
                self.slab.add(self.cells.error_responses, 1)
        else:
            self.slab.observe(self.cells.peer_latency, self.now_ns - slot.queued_ns)
            self.slab.add(self.cells.peer_responses, 1)
            self.slab.add(self.cells.peer_response_bytes, n)

    # ---- one outcome per rack, one answer per request

    cdef int outcome(self, Request* request, int rack, int what, const char* reply, size_t reply_len,
                     const char* p, size_t n) except -1:
        """What became of one target; p[:n] are the request's own bytes, where it may go elsewhere (else n == 0)."""
        if request.pending:
            request.pending -= 1
        if request.mode >= PLAN_LEAD:
            return self.lead_outcome(request, rack, what, reply, reply_len, p, n)
        if request.mode >= PLAN_QUORUM and self.mends_reads and not request.is_write:
            self.watch_read(request, what, reply, reply_len, p, n)
        if request.state != REQUEST_WAITING:
            return 0
        if request.mode == PLAN_ONE_WRITE:
            return self.one_write_outcome(request, rack, what, reply, reply_len)
        if request.mode >= PLAN_QUORUM:
            return self.quorum_outcome(request, rack, what, reply, reply_len, p, n)
        if what != OUT_UNREACHABLE:
            return self.complete(request, reply, reply_len)
        if request.mode == PLAN_ONE_READ and n and self.may_read_on(request):
            self.read_next(request, command_row(request.command), p, n, False)
            return 0
        if reply_len:
            return self.complete(request, reply, reply_len)
        return self.fail(request, request.error_code)

    cdef int one_write_outcome(self, Request* request, int rack, int what, const char* reply, size_t n) except -1:
        """This rack's reply is the answer; when it will not come, the first other rack's."""
        if request.is_foreign:
            return self.every_outcome(request, rack, what, reply, n)
        cdef bint is_weak = False
        if rack == request.primary:
            if what != OUT_UNREACHABLE and (what == OUT_ERROR or not request.primary_failed):
                return self.complete(request, reply, n)
            request.primary_failed = True
            if request.has_reserve and not request.is_reserve_weak:
                return self.use_reserve(request)
            if what == OUT_GOOD and not self.is_worse(request):     # of wrong ones, what this node itself knows
                self.keep_reserve(request, reply, n)
                request.is_reserve_weak = True
        elif what == OUT_GOOD or (what == OUT_ERROR and not request.has_reserve):
            is_weak = self.is_weak(request, rack)
            if request.primary_failed and not is_weak:
                return self.complete(request, reply, n)
            if not request.has_reserve:
                self.keep_reserve(request, reply, n)
                request.is_reserve_weak = is_weak
        if request.pending == 0:
            return self.use_reserve(request) if request.has_reserve else self.fail(request, request.error_code)
        return 0

    cdef int every_outcome(self, Request* request, int rack, int what, const char* reply, size_t n) except -1:
        """A write of another datacenter: answered when every rack has it, or its miss is on record."""
        if what != OUT_UNREACHABLE and not request.has_reserve:
            self.keep_reserve(request, reply, n)
        if request.pending:
            return 0
        if request.has_reserve:
            return self.use_reserve(request)
        return self.complete(request, b"+OK\r\n", 5) if request.is_owed else self.fail(request, request.error_code)

    cdef int keep_reserve(self, Request* request, const char* reply, size_t n) except -1:
        if n <= sizeof(request.reserve):
            memcpy(request.reserve, reply, n)
            request.reserve_len = <unsigned char>n
        else:
            request.reserve_len = 0
            free(request.reply)                     # of a weaker one
            request.reply = <char*>malloc(n)
            if request.reply == NULL:
                return 0                            # then only this rack's reply will do
            memcpy(request.reply, reply, n)
            request.reply_len = n
        request.has_reserve = True
        return 0

    cdef int use_reserve(self, Request* request) except -1:
        if request.reserve_len:
            return self.complete(request, request.reserve, request.reserve_len)
        return self.complete(request, request.reply, request.reply_len)

    cdef int quorum_outcome(self, Request* request, int rack, int what, const char* reply, size_t n,
                            const char* p, size_t size) except -1:
        cdef ReplySet* replies = request.replies
        cdef uint64_t digest
        cdef int verdict
        if n:
            reply_set_keep(replies, rack, reply, n)
        if what == OUT_GOOD:
            # Our nodes say whether a write was applied; what INCR gives may differ while writes cross.
            if request.is_write and not request.has_c_owner:
                digest = SAME_DIGEST
            else:
                digest = digest_of(command_row(request.command), reply, n)
            return self.decide(request, reply_set_good(replies, rack, digest))
        verdict = reply_set_bad(replies, rack, what == OUT_ERROR)
        if (verdict == QUORUM_FAILED and size and replies.missed and request.put_off >= replies.missed
                and not request.is_write and not request.is_forced):
            return self.ask_missed(request, p, size)
        return self.decide(request, verdict)

    cdef int ask_missed(self, Request* request, const char* p, size_t n) except -1:
        """A read of a quorum that only failed because replicas put it off: they are asked once more, to answer."""
        cdef bytes copy = p[:n]                     # p is part of a buffer that may move now
        cdef int rack
        request.is_forced = True
        request.refs += 1
        for rack in range(self.table.racks):
            if reply_set_again(request.replies, rack):
                request.pending += 1
                if self.to_node(request, rack, command_row(request.command), copy, n, False) == DOWN:
                    self.outcome(request, rack, OUT_UNREACHABLE, NULL, 0, NULL, 0)
        request_release(request)
        return 0

    cdef int watch_read(self, Request* request, int what, const char* reply, size_t reply_len,
                        const char* p, size_t n) except -1:
        """With read repair: when a reply, late ones too, differs from an earlier one, the keys are looked at again."""
        cdef ReplySet* replies = request.replies
        cdef uint64_t digest
        if what != OUT_GOOD or replies == NULL or replies.first_good < 0 or n == 0 or request.is_differing:
            return 0
        digest = digest_of(command_row(request.command), reply, reply_len)
        if replies.replicas[replies.first_good].digest != digest:
            request.is_differing = True
            self.slab.add(self.cells.read_repairs, 1)
            self.copy_keys(request, p, n, COPY_READ)
        return 0

    cdef int decide(self, Request* request, int verdict) except -1:
        cdef ReplySet* replies = request.replies
        cdef int rack = replies.chosen
        cdef const char* reply
        cdef size_t n
        if verdict == QUORUM_WAIT:
            return 0
        if verdict == QUORUM_FAILED or (verdict == QUORUM_DIFFER and request.mode != PLAN_QUORUM):
            return self.quorum_error(request, verdict)
        if verdict == QUORUM_DIFFER:
            rack = replies.first_good
        rack = reply_set_best(replies, rack, request.primary, request.doubtful_racks)
        reply = reply_set_kept(replies, rack, &n)
        if reply == NULL:
            return self.fail(request, E_NO_MEMORY)
        if request.remote_pending:                  # the other datacenters have not said yet
            if not request.has_reserve:
                self.keep_reserve(request, reply, n)
            return 0
        return self.complete(request, reply, n)

    cdef int remote_verdict(self, Request* request, bint is_good, const char* reply, size_t n) except -1:
        """What another datacenter says: its verdict for PLAN_EACH_SAFE_QUORUM, the reply to a read that went there."""
        if request.state != REQUEST_WAITING or request.remote_pending == 0:
            return 0
        request.remote_pending -= 1
        if request.mode == PLAN_ONE_READ:
            return self.complete(request, reply, n) if is_good else self.fail(request, request.error_code)
        if not is_good:
            if n:
                return self.complete(request, reply, n)
            return self.fail(request, E_NO_QUORUM)
        if request.remote_pending == 0 and request.has_reserve:
            return self.use_reserve(request)
        return 0

    cdef int quorum_error(self, Request* request, int verdict) except -1:
        """The first error as it came; without one, C's sentence and what the racks did."""
        cdef ReplySet* replies = request.replies
        cdef char[TEXT_ROOM] text
        cdef const char* sentence
        cdef size_t n
        cdef int written
        if verdict == QUORUM_FAILED and replies.first_bad >= 0:
            sentence = reply_set_kept(replies, replies.first_bad, &n)
            if sentence != NULL:
                return self.complete(request, sentence, n)
        sentence = error_text(E_NO_QUORUM if verdict == QUORUM_DIFFER else request.error_code, &n)
        if n == 0:
            sentence = error_text(E_PEER_LOST, &n)
        if verdict == QUORUM_DIFFER:
            written = snprintf(text, TEXT_ROOM, b"%.*s (%d of %d racks answered, %d differed)\r\n", <int>n, sentence,
                               <int>(replies.racks - replies.missed), <int>replies.racks, reply_set_differing(replies))
        else:
            written = snprintf(text, TEXT_ROOM, b"%.*s (%d of %d racks %s)\r\n", <int>n, sentence, <int>replies.good,
                               <int>replies.racks, b"applied it" if request.is_write else b"answered")
        if written >= TEXT_ROOM:
            return self.fail(request, E_NO_QUORUM)
        self.slab.add(self.cells.no_quorum_writes if request.is_write else self.cells.no_quorum_reads, 1)
        self.slab.add(self.cells.error_responses, 1)
        return self.complete(request, text, written)

    # ---- what the cold side sets

    def set_table(self, RouteTable table, int peer_count, conns):
        """A new topology; `conns` are the PeerOutConn to keep, each with its new node (its attribute `node`)."""
        cdef PeerOutConn conn
        self.table = table
        self.is_stamping = self.recent is not None and (table.racks > 1 or table.has_remote)
        self.peer_count = peer_count
        self.peers = [None] * (table.nodes * peer_count)
        for item in conns:
            conn = <PeerOutConn>item
            if conn.is_up and conn.node >= 0:
                self.peers[conn.node * peer_count + conn.index] = conn

    def set_node_state(self, int state):
        cdef DatastoreConn conn
        cdef bint held = self.holds_writes
        self.node_state = state
        self.holds_writes = state == STATE_WRITES_ONLY
        if held and not self.holds_writes:
            self.read_clock()
            for item in self.datastores:
                if item is not None:
                    conn = <DatastoreConn>item
                    conn.release()

    def set_remote_reads(self, bint reads_remote):
        """Whether a read that no rack of this datacenter can answer is asked of another."""
        self.reads_remote = reads_remote

    def set_read_repairs(self, bint mends_reads):
        """Whether replicas whose replies to a read differ are mended."""
        self.mends_reads = mends_reads

    def set_on_demand(self, connect):
        """`preconnect: false`: what to call when a request finds no connection; None once it has been tried."""
        self.connect_on_demand = connect


cdef bint answers_in_resp2(TargetConn conn):
    """C nodes, and whoever could not be told what the client speaks: an encrypted frame has no room for it."""
    return isinstance(conn, PeerOutConn) and (not (<PeerOutConn>conn).is_ours or (<PeerOutConn>conn).cipher is not None)
