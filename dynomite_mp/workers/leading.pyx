"""Commands that must not happen twice: one rack executes them, the others and other datacenters get the effect.

What it is: PLAN_LEAD of the plan engine (fanout). The lead of a key is its owner in the best rack of cluster.lead that
is usable. proto.effects says what the others are sent.

    coordinator                    the key's lead                          owners in the other racks
      | ask_next                      |                                        |
      |--REQ, flag LEAD-------------->| execute: to its datastore              |
      |                               |<--reply                                |
      |                               | ship: the effect ----REQ-------------->|   and one record for other datacenters
      |                               |<---------------------reply or loss-----|   a miss is a hint, as of any write
      |<--the reply-------------------| when the last of them has said so      |
      |
      |<--"not the lead"--------------| it sees a better one, or may not lead: the next rack is asked
      |   (connection lost, too late): outcome unknown, nothing is sent again, every replica's key is copied

What it is not: it does not decide who leads (cluster.lead) nor what an effect is (proto.effects).

Invariants:
- a request is executed by at most one rack: only a lead that says it did not execute makes the next one be asked;
- effects of one key leave on one connection in the order of the datastore's replies;
- when a leading node is lost, the first command of each key that another one leads makes the other racks copy the key:
  the lost one may have told its last effect to some of them;
- a client has its reply only when every usable rack has the effect, so that the next lead has it too; at
  DC_EACH_SAFE_QUORUM only when most racks of every other datacenter have it as well (remote_verdict). What waits for
  that makes no other reply of its peer connection wait: see EXTENSION_LATER in peer_in_conn.
"""

from libc.stdio cimport snprintf
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc

from dynomite_mp.cluster.lead cimport NO_LEAD
from dynomite_mp.cluster.route cimport (
    LEVEL_EACH_SAFE_QUORUM, LEVEL_ONE, LEVEL_SAFE_QUORUM, NO_OWNER, PLAN_EFFECT, PLAN_LEAD, PLAN_PROBE,
)
from dynomite_mp.proto.buffer cimport buf_append, buf_clear, buf_free, buf_init, buf_len, buf_ptr
from dynomite_mp.proto.command_lookup cimport (
    CLASS_LEAD, CONFLICT_LEAD, EFFECT_EXPIRE_AT, EFFECT_KEYS, CommandRow, command_row,
)
from dynomite_mp.proto.effects cimport (
    EFFECT_FAILED, EFFECT_SAME, EFFECT_WRITTEN, conflict_of, effect_conflict, effect_of, effect_of_probes,
    effect_probes, effect_row,
)
from dynomite_mp.proto.expiry cimport EXPIRY_ABSOLUTE, absolute_expiry
from dynomite_mp.proto.resp cimport RequestScan, next_request, request_scan_reset
from dynomite_mp.proto.wire_errors cimport error_text
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.data_path cimport GROUP_RESP2, HOLD, REFUSED, TAKEN
from dynomite_mp.workers.fanout cimport AS_BEFORE, DOWN, Fanout
from dynomite_mp.workers.peer_out_conn cimport PeerOutConn
from dynomite_mp.workers.refusals cimport says_unasked, says_unreachable
from dynomite_mp.workers.remote_lane cimport ACK_NONE, ACK_WRITE
from dynomite_mp.workers.request cimport REQUEST_WAITING, Probed, Request, Slot, request_new, request_release
from dynomite_mp.workers.target_conn cimport TargetConn
from dynomite_mp.workers.writes cimport (
    HINT_MISSED, HINT_UNKNOWN, OUT_ERROR, OUT_GOOD, OUT_UNREACHABLE, OUT_UNSENT,
)

from dynomite_mp.enums import NodeState
from dynomite_mp.errors import WIRE_ERRORS

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_REALTIME
    int clock_gettime(int clock, timespec* now)

cdef enum:
    TEXT_ROOM = 256
    KEY_TERMS = 1024
    TERM_NS = 10000000000           # keys that nobody uses for that long are left to the comparison of replicas
    RETRY_EVERY_NS = 20000000       # while no rack wants to lead

cdef int STATE_NORMAL = NodeState.NORMAL
cdef uint16_t E_NOT_LEAD = WIRE_ERRORS["not_lead"].code
cdef uint16_t E_NO_LEAD = WIRE_ERRORS["no_lead"].code
cdef uint16_t E_NO_OWNER = WIRE_ERRORS["no_owner"].code
cdef uint16_t E_NO_QUORUM = WIRE_ERRORS["no_quorum"].code
cdef uint16_t E_NO_MEMORY = WIRE_ERRORS["out_of_memory"].code
cdef uint16_t E_UNKNOWN = WIRE_ERRORS["outcome_unknown"].code


cdef int64_t wall_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef inline bint has_options(const CommandRow* row, const char* p) noexcept nogil:
    # Whether there are arguments enough for options that matter; a plain SET is told by its first three bytes.
    return p[1] - 48 > row.lead_at or p[2] != c"\r"


cdef class WaitingLead:
    """A request that no rack wanted to lead, and its bytes."""


cdef class Leading(Fanout):
    def __cinit__(self, *args, **kwargs):
        buf_init(&self.rewritten)
        buf_init(&self.probes)
        buf_init(&self.effects)
        self.waiting_leads = []

    def __dealloc__(self):
        buf_free(&self.rewritten)
        buf_free(&self.probes)
        buf_free(&self.effects)

    # ---- the coordinator asks

    cdef int to_lead(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1:
        """A write that has other replicas: AS_BEFORE when it is not of class lead, or a C node owns the key too."""
        cdef RequestScan scan
        if row.conflict != CONFLICT_LEAD and not row.lead_unless and not has_options(row, p):
            return AS_BEFORE
        request_scan_reset(&scan)
        next_request(p, n, &scan)
        if conflict_of(row, p, &scan) != CONFLICT_LEAD or not self.all_can_lead(request.token):
            return AS_BEFORE
        if request.level == LEVEL_EACH_SAFE_QUORUM and not self.table.has_remote:
            request.level = LEVEL_SAFE_QUORUM
        request.mode = PLAN_LEAD
        request.klass = CLASS_LEAD
        request.conflict = CONFLICT_LEAD
        return self.ask_next(request, row, p, n, request.parent == NULL)

    cdef bint all_can_lead(self, uint32_t token) except -1:
        """Whether every owner of the key that can be seen knows what a lead is, and the effects that it sends."""
        cdef int rack, node
        cdef PeerOutConn conn
        if self.has_far_c_nodes:
            return False
        for rack in range(self.table.racks):
            node = self.table.owner(rack, token)
            if node != self.table.local_node and node != NO_OWNER:
                conn = <PeerOutConn>self.peers[node * self.peer_count + token % self.peer_count]
                if conn is not None and (not conn.is_ours or conn.cipher is not None):
                    return False
        return True

    cdef int ask_next(self, Request* request, const CommandRow* row, const char* p, size_t n,
                      bint may_hold) except -1:
        """The best rack that has not declined. TAKEN, REFUSED or HOLD, as dispatch."""
        cdef int rack, node, taken
        while True:
            rack = self.table.leads.best(request.token, request.leads_tried)
            if rack == NO_LEAD:
                break
            node = self.table.owner(rack, request.token)
            taken = DOWN
            if node == self.table.local_node:
                if self.may_lead(request.token, rack):
                    taken = self.execute(request, row, p, n, may_hold)
                else:
                    request.is_declined = True
            elif node != NO_OWNER:
                request.is_executed = False
                taken = self.to_peer(request, node, rack, row, p, n, may_hold)
                request.pending = 1
            if taken == HOLD:
                request.leads_tried = 0
                return HOLD
            if taken == TAKEN:
                return TAKEN
            request.leads_tried |= <uint64_t>1 << rack
        if request.is_declined:
            return self.ask_later(request, p, n)
        self.fail(request, request.error_code if request.error_code else E_NO_OWNER)
        return REFUSED

    cdef int ask_later(self, Request* request, const char* p, size_t n) except -1:
        """Leads are changing: those who declined know more in a moment."""
        cdef WaitingLead waiting = WaitingLead.__new__(WaitingLead)
        waiting.request = request
        waiting.data = p[:n]
        request.refs += 1
        self.waiting_leads.append(waiting)
        self.start_ticking()
        return TAKEN

    cdef int retry_leads(self) except -1:
        """At every tick."""
        cdef WaitingLead waiting
        cdef Request* request
        cdef list all_waiting = self.waiting_leads
        if not all_waiting or self.now_ns - self.retried_ns < RETRY_EVERY_NS:
            return 0
        self.retried_ns = self.now_ns
        self.waiting_leads = []
        for waiting in all_waiting:
            request = waiting.request
            if request.state == REQUEST_WAITING:
                request.leads_tried = 0
                request.is_declined = False
                if self.now_ns - request.started_ns > self.timeout_ns:
                    self.fail(request, E_NO_LEAD)
                else:
                    self.ask_next(request, command_row(request.command), waiting.data, len(waiting.data), False)
            request_release(request)
        return 0

    # ---- the lead executes

    cdef bint may_lead(self, uint32_t token, int rack) except -1:
        """Whether this node, in its rack, is the best one that leads now."""
        cdef int other, node
        cdef PeerOutConn conn
        if self.table.racks == 1:
            return True
        if not self.is_leading or self.node_state != STATE_NORMAL or self.stalled_ns >= self.leading_since_ns:
            return False
        for other in range(self.table.leads.racks):
            if other == rack or not self.table.leads.is_better(token, other, rack):
                continue
            node = self.table.owner(other, token)
            if node == NO_OWNER:
                continue
            conn = <PeerOutConn>self.peers[node * self.peer_count + token % self.peer_count]
            if conn is None or conn.is_silent or not conn.is_leading:
                continue
            conn.probe_now_and_then()               # should it have stopped, its silence will show it
            return False
        return True

    cdef int lead_asked(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1:
        """Another node takes this one for the lead."""
        cdef int taken = DOWN
        request.mode = PLAN_LEAD
        request.conflict = CONFLICT_LEAD
        if self.may_lead(request.token, self.table.my_rack):
            taken = self.execute(request, row, p, n, True)
        if taken != DOWN:
            return taken
        self.fail(request, E_NOT_LEAD)
        return REFUSED

    cdef int execute(self, Request* request, const CommandRow* row, const char* p, size_t n,
                     bint may_hold) except -1:
        """To this node's datastore, with what is needed to tell the effect behind it: TAKEN, DOWN, HOLD."""
        cdef RequestScan scan
        cdef int taken
        cdef int count = 0
        request_scan_reset(&scan)
        next_request(p, n, &scan)
        buf_clear(&self.rewritten)
        if row.effect == EFFECT_EXPIRE_AT and absolute_expiry(
                row, p, &scan, wall_ms(), &self.rewritten) == EXPIRY_ABSOLUTE:
            p = buf_ptr(&self.rewritten)
            n = buf_len(&self.rewritten)
        if row.effect == EFFECT_KEYS:
            buf_clear(&self.probes)
            count = effect_probes(row, p, &scan, &self.probes)
            if request.probed == NULL:
                request.probed = <Probed*>calloc(1, sizeof(Probed))
            if count < 0 or request.probed == NULL or buf_append(&request.probed.request, p, n) < 0:
                request.error_code = E_NO_MEMORY
                return DOWN
        request.is_executed = True
        if self.is_stamping:
            self.stamp(request)                     # in the order in which the datastore executes
        taken = self.to_datastore(request, self.table.my_rack, row, p, n, may_hold)
        if taken != TAKEN:
            request.is_executed = False
            return taken
        request.pending = 1
        request.executed_ns = self.now_ns
        request.is_lead_open = True
        request.lead_epoch = <unsigned char>self.lead_epoch
        self.open_leads[self.lead_epoch] += 1
        return self.send_probes(request, buf_ptr(&self.probes), buf_len(&self.probes), count) if count else TAKEN

    cdef int send_probes(self, Request* request, const char* p, size_t n, int count) except -1:
        """DUMP and PTTL of what it writes, right behind it on the same connection."""
        cdef RequestScan scan
        cdef Request* probe
        cdef size_t at = 0
        request.probed.left = <uint16_t>count
        while at < n:
            request_scan_reset(&scan)
            next_request(p + at, n - at, &scan)
            probe = request_new()
            if probe == NULL:
                raise MemoryError
            probe.refs = 1
            probe.mode = PLAN_PROBE
            probe.token = request.token
            probe.group = request.group
            probe.parent = request
            request.refs += 1
            if self.to_datastore(probe, self.table.my_rack, effect_row(p + at, &scan), p + at, scan.pos,
                                 False) != TAKEN:
                request.probed.failed = True        # its connection is the request's: nothing is lost but memory
            request_release(probe)
            at += scan.pos
        return TAKEN

    # ---- what becomes of it

    cdef int lead_outcome(self, Request* request, int rack, int what, const char* reply, size_t reply_len,
                          const char* p, size_t n) except -1:
        if request.mode == PLAN_EFFECT:
            return self.shipped(request, rack, what)
        if request.mode == PLAN_PROBE:
            return self.probed(request, what, reply, reply_len)
        if request.is_executed:
            return self.executed(request, what, reply, reply_len, p, n)
        if what < OUT_UNREACHABLE:
            return self.complete(request, reply, reply_len)
        if what == OUT_UNSENT or (reply_len and says_unasked(reply, reply_len)):
            request.is_declined = True
            request.leads_tried |= <uint64_t>1 << rack
            if request.state == REQUEST_WAITING:
                self.ask_next(request, command_row(request.command), p, n, False)
            return 0
        return self.lost_lead(request, rack, p, n)

    cdef int target_later(self, Conn target, Slot* slot, bytes data, const char* p, size_t n) except -1:
        """What the lead says when the other datacenters have said."""
        cdef Request* request = slot.request
        cdef int what = OUT_GOOD
        if n:
            self.count_reply(<TargetConn>target, slot, n, p[0] == c"-")
            if p[0] == c"-":
                what = OUT_UNREACHABLE if says_unreachable(p, n) else OUT_ERROR
        else:
            what = OUT_UNREACHABLE
            self.slab.add(self.cells.unreachable, 1)
        self.outcome(request, slot.rack, what, p, n, data, len(data))
        request_release(request)
        return 0

    cdef void close_lead(self, Request* request) noexcept:
        """It has left nothing undone here."""
        if request.is_lead_open:
            request.is_lead_open = False
            self.open_leads[request.lead_epoch] -= 1

    cdef int first_of_term(self, Request* request, const char* p, size_t n) except -1:
        """A leading node was lost a moment ago, and what it told last may have reached some racks only."""
        cdef KeyTerm* seen = &self.key_terms[request.token & (KEY_TERMS - 1)]
        cdef int rack
        if (seen.token == request.token and seen.term == self.term) or self.remote is None or self.table.racks == 1:
            return 0
        seen.token = request.token
        seen.term = self.term
        for rack in range(self.table.racks):
            if rack != self.table.my_rack:
                self.missed_by_owner(request, rack, HINT_UNKNOWN, p, n)
        return 0

    cdef int next_lead(self, uint32_t token, int lost) except -2:
        """The rack whose owner stands in for that of a lost one, NO_LEAD when there is none."""
        cdef uint64_t without = <uint64_t>1 << lost
        cdef int rack, node
        while True:
            rack = self.table.leads.best(token, without)
            if rack == NO_LEAD:
                return rack
            node = self.table.owner(rack, token)
            if node == self.table.local_node or (
                    node != NO_OWNER and self.peers[node * self.peer_count + token % self.peer_count] is not None):
                return rack
            without |= <uint64_t>1 << rack

    cdef int lost_lead(self, Request* request, int lost, const char* p, size_t n) except -1:
        """It may have executed the command and told some of the others: they copy the key from who leads now.

        What the new lead holds is what counts; were it to copy from the others, it would take back what it has given.
        """
        cdef int rack, lead
        self.close_lead(request)
        self.slab.add(self.cells.lead_unknown, 1)
        if n and self.remote is not None and self.table.racks > 1:
            lead = self.next_lead(request.token, lost)
            for rack in range(self.table.racks):
                if rack != lead:
                    self.missed_by_owner(request, rack, HINT_UNKNOWN, p, n)
        return self.fail(request, E_UNKNOWN)

    cdef int executed(self, Request* request, int what, const char* reply, size_t reply_len,
                      const char* p, size_t n) except -1:
        """The datastore's outcome; the effect goes out even if nobody waits for the reply any more."""
        cdef RequestScan scan
        cdef const CommandRow* row = command_row(request.command)
        cdef int made
        if what == OUT_UNSENT or (what == OUT_UNREACHABLE and says_unasked(reply, reply_len)):
            self.close_lead(request)
            request.is_declined = True
            request.leads_tried |= <uint64_t>1 << self.table.my_rack
            if request.probed != NULL or request.is_lead_asked:
                return self.fail(request, E_NOT_LEAD)
            if request.state == REQUEST_WAITING:
                self.ask_next(request, row, p, n, False)
            return 0
        if what == OUT_UNREACHABLE or (self.table.racks > 1 and request.executed_ns <= self.stalled_ns):
            # After a stop another one leads: the effect would come too late.
            return self.lost_lead(request, self.table.my_rack, p, n)
        self.slab.add(self.cells.lead_executed, 1)
        if self.term and self.now_ns - self.term_began_ns < TERM_NS:
            self.first_of_term(request, p, n)
        if request.probed != NULL and request.probed.left:
            buf_append(&request.probed.reply, reply, reply_len)
            return 0
        request_scan_reset(&scan)
        next_request(p, n, &scan)
        buf_clear(&self.effects)
        made = effect_of(row, p, &scan, reply, reply_len, &self.effects)
        if made == EFFECT_FAILED:
            return self.lost_lead(request, self.table.my_rack, p, n)
        if made == EFFECT_SAME:
            return self.ship(request, p, n, reply, reply_len)
        return self.ship(request, buf_ptr(&self.effects), buf_len(&self.effects) if made == EFFECT_WRITTEN else 0,
                         reply, reply_len)

    cdef int probed(self, Request* probe, int what, const char* reply, size_t reply_len) except -1:
        """A probe's reply; the last one makes the effect."""
        cdef RequestScan scan
        cdef Request* request = probe.parent
        cdef Probed* seen = request.probed
        cdef const char* p = buf_ptr(&seen.request)
        cdef size_t n = buf_len(&seen.request)
        cdef int made = EFFECT_FAILED
        seen.failed = seen.failed or what != 0 or buf_append(&seen.replies, reply, reply_len) < 0
        seen.left -= 1
        if seen.left or buf_len(&seen.reply) == 0:  # or its own outcome was a loss
            return 0
        request_scan_reset(&scan)
        next_request(p, n, &scan)
        buf_clear(&self.effects)
        if not seen.failed:
            made = effect_of_probes(command_row(request.command), p, &scan, buf_ptr(&seen.reply), buf_len(&seen.reply),
                                    buf_ptr(&seen.replies), buf_len(&seen.replies), wall_ms(), &self.effects)
        if made == EFFECT_FAILED:
            return self.lost_lead(request, self.table.my_rack, p, n)
        return self.ship(request, buf_ptr(&self.effects), buf_len(&self.effects), buf_ptr(&seen.reply),
                         buf_len(&seen.reply))

    # ---- the effect goes out

    cdef int ship(self, Request* request, const char* p, size_t n, const char* reply, size_t reply_len) except -1:
        """p[:n] are the effect's requests, none when nothing has changed."""
        cdef RequestScan scan
        cdef size_t at = 0
        request.refs += 1
        request.pending = 1                         # nobody finishes it before the last one is on its way
        while at < n:
            request_scan_reset(&scan)
            next_request(p + at, n - at, &scan)
            self.ship_one(request, p + at, scan.pos, reply_len > 0 and reply[0] == c"-")
            at += scan.pos
        request.pending -= 1
        if request.pending == 0:
            self.finish_lead(request, reply, reply_len)
        elif request.state == REQUEST_WAITING:      # else another datacenter has failed it already
            self.keep_reserve(request, reply, reply_len)
        request_release(request)
        return 0

    cdef int ship_one(self, Request* request, const char* p, size_t n, bint is_refused) except -1:
        """One request to the owners in the other racks, and one record for other datacenters.

        A script that failed here (is_refused) goes out as it is, for what it wrote before: it is to fail there too.
        """
        cdef RequestScan scan
        cdef const CommandRow* row
        cdef Request* effect = request_new()
        cdef int rack
        if effect == NULL:
            raise MemoryError
        request_scan_reset(&scan)
        next_request(p, n, &scan)
        row = effect_row(p, &scan)
        effect.refs = 1
        effect.mode = PLAN_EFFECT
        effect.parent = request
        request.refs += 1
        effect.token = request.token
        effect.command = row.id
        effect.klass = row.klass
        effect.group = GROUP_RESP2
        effect.is_write = True
        effect.is_wide = request.is_wide
        self.stamp_effect(effect, request, effect_conflict(p, n))
        self.expect(effect)
        effect.is_taken = not is_refused            # this rack has it
        for rack in range(self.table.racks):
            if rack == self.table.my_rack or self.table.owner(rack, request.token) == NO_OWNER:
                continue
            if self.to_node(effect, rack, row, p, n, False) == TAKEN:
                request.pending += 1
            else:
                request.missed_racks |= <uint64_t>1 << (rack & 63)
                if effect.is_owed:
                    self.missed_by_owner(effect, rack, HINT_MISSED, p, n)
        if self.table.has_remote and self.remote is not None:
            self.ship_far(effect, row, p, n)
        self.slab.add(self.cells.lead_effects, 1)
        request_release(effect)
        return 0

    cdef int ship_far(self, Request* effect, const CommandRow* row, const char* p, size_t n) except -1:
        """One record for all other datacenters; at DC_EACH_SAFE_QUORUM the request waits for what they say."""
        cdef Request* request = effect.parent
        if request.level != LEVEL_EACH_SAFE_QUORUM:
            self.remote.send(effect, row, p, n, self.now_ns, ACK_NONE)
            return 0
        effect.remote_pending = <uint16_t>self.table.remote_dcs
        request.remote_pending += 1
        if self.remote.send(effect, row, p, n, self.now_ns, ACK_WRITE) < 0:
            self.remote_verdict(effect, False, NULL, 0)
        return 0

    cdef int remote_verdict(self, Request* request, bint is_good, const char* reply, size_t n) except -1:
        """What another datacenter says; here of an effect."""
        cdef Request* asked = request.parent
        if request.mode != PLAN_EFFECT:
            return Fanout.remote_verdict(self, request, is_good, reply, n)
        if request.remote_pending == 0:
            return 0
        request.remote_pending = request.remote_pending - 1 if is_good else 0
        if request.remote_pending:
            return 0
        asked.remote_pending -= 1
        if not is_good:                             # never an error that would say that the lead has not executed
            if n and not says_unreachable(reply, n):
                return self.complete(asked, reply, n)
            return self.fail(asked, E_NO_QUORUM)
        if asked.remote_pending == 0 and asked.pending == 0 and asked.state == REQUEST_WAITING:
            return self.use_reserve(asked) if asked.has_reserve else self.fail(asked, E_NO_MEMORY)
        return 0

    cdef int shipped(self, Request* effect, int rack, int what) except -1:
        """What became of the effect in one rack."""
        cdef Request* request = effect.parent
        if what >= OUT_UNREACHABLE:
            request.missed_racks |= <uint64_t>1 << (rack & 63)
        request.pending -= 1
        if request.pending:
            return 0
        if not request.has_reserve:
            self.close_lead(request)
            return self.fail(request, E_NO_MEMORY)
        if request.reserve_len:
            return self.finish_lead(request, request.reserve, request.reserve_len)
        return self.finish_lead(request, request.reply, request.reply_len)

    cdef int finish_lead(self, Request* request, const char* reply, size_t reply_len) except -1:
        """The reply, if as many racks have it as the level asks for."""
        cdef char[TEXT_ROOM] text
        cdef const char* sentence
        cdef size_t n
        cdef int written
        cdef int racks = self.table.racks
        cdef int applied = racks
        cdef uint64_t missed = request.missed_racks
        self.close_lead(request)
        while missed:
            missed &= missed - 1
            applied -= 1
        if request.level == LEVEL_ONE or applied >= racks // 2 + 1:
            if request.remote_pending == 0 or request.state != REQUEST_WAITING:
                return self.complete(request, reply, reply_len)
            if not request.has_reserve:             # the other datacenters have not said yet
                self.keep_reserve(request, reply, reply_len)
            return 0
        sentence = error_text(E_NO_QUORUM, &n)
        written = snprintf(text, TEXT_ROOM, b"%.*s (%d of %d racks applied it)\r\n", <int>n, sentence, applied, racks)
        self.slab.add(self.cells.no_quorum_writes, 1)
        self.slab.add(self.cells.error_responses, 1)
        return self.complete(request, text, min(written, <int>TEXT_ROOM - 1))

    # ---- what the cold side sets

    def set_far_c_nodes(self, bint are_there):
        """Whether other datacenters have nodes that take the commands of C Dynomite only."""
        self.has_far_c_nodes = are_there

    def set_leading(self, bytes address, bint is_leading):
        """A node leads from now on, or no longer; False when it is another one to which no connection is up."""
        cdef PeerOutConn conn
        found = False
        if address not in self.table.addresses:
            return False
        node = self.table.addresses.index(address)
        if node == self.table.local_node:
            self.is_leading = is_leading
            self.leading_since_ns = self.read_clock()
            return True
        for item in self.peers[node * self.peer_count:(node + 1) * self.peer_count]:
            if item is not None:
                conn = <PeerOutConn>item
                conn.is_leading = is_leading
                found = True
        return found

    def can_lead(self):
        """Whether this worker can execute commands; not once after it, or its datastore, had been stopped, so that
        others hear of it."""
        self.read_clock()
        if self.is_leading and self.stalled_ns >= self.leading_since_ns:
            self.is_leading = False
            return False
        for store in self.datastores:
            if store is not None and (<TargetConn>store).is_silent:
                return False
        return self.node_state == STATE_NORMAL and self.datastores[0] is not None

    def next_lead_epoch(self):
        """Begins a new epoch; returns the one that has ended, whose requests leads_of() counts."""
        ended = self.lead_epoch
        self.lead_epoch = (self.lead_epoch + 1) % LEAD_EPOCHS
        return ended

    def leads_of(self, int epoch):
        """Requests of an epoch that were executed here and are not finished."""
        return self.open_leads[epoch]
