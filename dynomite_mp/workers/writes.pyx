"""Which replicas missed a write: each of them becomes one record on the ring to the replication process.

What it is: the part of the plan engine (fanout) that knows what a write owes to its replicas. A replica that is down,
over its budget, lost, silent, too late, or says that it did not ask its datastore has missed the write, or may have;
one whose datastore answered an error, while another replica's did not, has refused it.

    missed --HINT, once per replica LANE_WATCH--> replication process
                reads of that replica go elsewhere
           <--LANE_EMPTY, when it has all of them

What it is not: it keeps no record and brings none; the replication process does.

Invariants: at most one record a replica and write; reads and writes that have one replica only leave none.
"""

from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memset

from dynomite_mp.cluster.route cimport NO_OWNER, PLAN_LEAD, PLAN_LOCAL, PLAN_ONE_WRITE
from dynomite_mp.proto.buffer cimport buf_clear, buf_len, buf_ptr
from dynomite_mp.proto.command_lookup cimport CONFLICT_OVERWRITE, CommandRow, command_row
from dynomite_mp.proto.dnode cimport EXTENSION_FORCE_READ, EXTENSION_RESENT
from dynomite_mp.proto.resp cimport FRAME_OK, RequestScan, next_request
from dynomite_mp.proto.stand_in cimport STAND_IN_NONE, STAND_IN_OK, stand_in, stand_in_reply
from dynomite_mp.workers.data_path cimport TAKEN
from dynomite_mp.workers.datastore_conn cimport DatastoreConn
from dynomite_mp.workers.peer_out_conn cimport PeerOutConn
from dynomite_mp.workers.remote_lane cimport RemoteLane
from dynomite_mp.workers.request cimport Request, Slot, request_release
from dynomite_mp.workers.stamps cimport COPY_REFUSED, Stamps
from dynomite_mp.workers.target_conn cimport TargetConn

from dynomite_mp.errors import WIRE_ERRORS

cdef enum:
    RACKS_WATCHED = 64              # racks whose refusal is remembered until another one has taken the write

cdef uint16_t E_STATE = WIRE_ERRORS["state_forbids"].code


cdef class Writes(Stamps):
    def __cinit__(self, *args, **kwargs):
        self.behind = {}

    cdef void expect(self, Request* request) noexcept:
        """Before a write goes to its replicas: from now on it is told who misses it."""
        request.is_owed = self.remote is not None and (self.table.racks > 1 or request.is_forwarded)

    cdef bytes address_of(self, TargetConn conn):
        """Peer address of the replica behind a connection."""
        cdef PeerOutConn peer
        if isinstance(conn, DatastoreConn):
            return <bytes>self.table.addresses[self.table.local_node]
        peer = <PeerOutConn>conn
        if peer.node >= 0:
            return <bytes>self.table.addresses[peer.node]
        return peer.owner.node.address.encode()     # it has left the topology while it owed the reply

    cdef int missed(self, Request* request, TargetConn conn, int kind, const char* p, size_t n) except -1:
        """The replica behind a connection; p[:n] is the request."""
        return self.hint(request, self.address_of(conn), kind, p, n)

    cdef int missed_by_owner(self, Request* request, int rack, int kind, const char* p, size_t n) except -1:
        cdef int node = self.table.owner(rack, request.token)
        if node == NO_OWNER:
            return 0
        return self.hint(request, <bytes>self.table.addresses[node], kind, p, n)

    cdef int hint(self, Request* request, bytes node, int kind, const char* p, size_t n) except -1:
        if kind == HINT_REFUSED and node is self.table.addresses[self.table.local_node]:
            self.copy_keys(request, p, n, COPY_REFUSED)     # the own copy is mended from the others
        else:
            self.remote.hint(request, command_row(request.command), kind, node, p, n)
            self.note_behind(node)
        self.slab.add(self.cells.refused_writes if kind == HINT_REFUSED else self.cells.missed_writes, 1)
        if not self.in_turn:
            self.want_turn()                        # its end rings the bell
        return 0

    cdef void put_off(self, Request* request, int missing, int rack) noexcept:
        """A replica did not take a read because of what it may lack. Of one that lacks little an old value is better
        than none; else none, as long as a rack that cannot be reached may have what the others lack. `rack`: who is to
        be asked first then, rather than one that lacks everything; NO_RACK: who lacks what this node knows of."""
        if missing != MISSING_WRITES:
            request.put_off += 1
            return
        request.put_off = <uint16_t>self.table.racks
        request.reply_marks |= EXTENSION_FORCE_READ     # where a peer asks: it may ask again so
        if request.old_rack == 0 and rack != NO_RACK:
            request.old_rack = <uint16_t>(1 + (rack + self.table.racks - self.table.my_rack) % self.table.racks)

    cdef void put_off_by(self, Request* request, TargetConn conn, int rack) noexcept:
        """A peer has answered that it is catching up; it says how."""
        cdef bint is_little = isinstance(conn, PeerOutConn) and (<PeerOutConn>conn).reply_marks & EXTENSION_FORCE_READ
        self.put_off(request, MISSING_WRITES if is_little else MISSING_EVERYTHING, rack)

    cdef bint has_way(self, Request* request) noexcept:
        """Whether a read may go to another rack, or once more to one that has put it off."""
        return request.racks_tried < self.table.racks or (
            request.put_off >= self.table.racks and not request.is_forced)

    cdef bint may_read_on(self, Request* request) noexcept:
        """The same, and where to begin once more: who lacks some writes before who may lack everything."""
        if request.racks_tried >= self.table.racks and self.has_way(request):
            request.is_forced = True
            request.racks_tried = 0
            request.read_from = request.old_rack - 1 if request.old_rack else self.is_catching_up == MISSING_EVERYTHING
        return request.racks_tried < self.table.racks

    cdef bint is_put_off(self, Request* request) noexcept:
        """A read is not for a replica that misses writes which this coordinator has acknowledged, if another has them.
        (One that only other coordinators know to be behind says so itself.)"""
        if request.is_write or request.is_forced or request.mode == PLAN_LOCAL or request.mode >= PLAN_LEAD:
            return False
        request.error_code = E_STATE
        self.put_off(request, MISSING_WRITES, NO_RACK)
        return True

    cdef void doubt(self, Request* request, int rack) noexcept:
        """That rack's owner executes this write without some earlier ones: what it replies may be counted wrong. The
        reply to an overwrite is the same everywhere."""
        if request.conflict == CONFLICT_OVERWRITE:
            return
        if rack < RACKS_WATCHED:
            request.doubtful_racks |= <uint64_t>1 << rack
        if request.mode == PLAN_ONE_WRITE and rack == request.primary:
            request.primary_failed = True

    cdef void guess(self, Request* request, int rack) noexcept:
        """This node has skipped a write: what the reply should be is not known here."""
        self.doubt(request, rack)
        request.is_guess = request.mode == PLAN_ONE_WRITE and request.conflict != CONFLICT_OVERWRITE

    cdef int skip(self, Request* request, int rack, TargetConn conn, const CommandRow* row,
                  const char* p, size_t n) except -1:
        """A write that is a success without the datastore, which at most is asked what the answer may be."""
        cdef RequestScan scan
        cdef Slot* slot
        cdef int kind = STAND_IN_OK
        self.slab.add(self.cells.skipped_writes, 1)
        if request.conflict != CONFLICT_OVERWRITE and request.mode < PLAN_LEAD and not request.marks & EXTENSION_RESENT:
            memset(&scan, 0, sizeof(RequestScan))
            buf_clear(&self.scratch)
            if next_request(p, n, &scan) == FRAME_OK:
                kind = stand_in(row.id, p, &scan, &self.scratch)
        if kind <= STAND_IN_NONE:
            return self.skipped(request, rack, b":0\r\n" if kind == STAND_IN_NONE else b"+OK\r\n",
                                4 if kind == STAND_IN_NONE else 5)
        slot = conn.enqueue(NULL, 0, buf_ptr(&self.scratch), buf_len(&self.scratch))
        if slot == NULL:
            return self.skipped(request, rack, b"+OK\r\n", 5)
        slot.request = request
        slot.rack = <uint16_t>rack
        slot.klass = row.klass
        slot.stand_in = <uint8_t>kind
        request.refs += 1
        return TAKEN

    cdef int skipped(self, Request* request, int rack, const char* p, size_t n) except -1:
        if request.mode == PLAN_LOCAL:
            self.complete(request, p, n)
        else:
            self.guess(request, rack)
            self.outcome(request, rack, OUT_GOOD, p, n, NULL, 0)
        return TAKEN

    cdef int stand_in_came(self, Slot* slot, const char* p, size_t n) except -1:
        """The reply to what was read instead."""
        buf_clear(&self.scratch)
        if stand_in_reply(slot.stand_in, p, n, &self.scratch) < 0:
            raise MemoryError
        self.skipped(slot.request, slot.rack, buf_ptr(&self.scratch), buf_len(&self.scratch))
        request_release(slot.request)
        return 0

    cdef int outcome(self, Request* request, int rack, int what, const char* reply, size_t reply_len,
                     const char* p, size_t n) except -1:
        """Hook of fanout."""
        raise NotImplementedError

    cdef bint is_worse(self, Request* request) noexcept:
        """Whether this node's reply is a guess, of a write that it has skipped or counted from nothing, and another
        rack's is there, which at most lacks some writes."""
        request.is_guess |= self.is_catching_up == MISSING_EVERYTHING
        if not request.is_guess or not request.has_reserve:
            return False
        request.is_guess = False
        return True

    cdef bint is_weak(self, Request* request, int rack) noexcept:
        """Whether another rack's reply is not to be taken as long as there may be, or is, a better one."""
        if request.is_guess:
            request.has_reserve = request.is_guess = False
        if request.pending == 0 and not request.has_reserve:
            return False
        return rack < RACKS_WATCHED and request.doubtful_racks >> rack & 1

    cdef int note_behind(self, bytes node) except -1:
        """From now on this coordinator reads elsewhere, until the replica has what it missed. This node's own copy is
        not meant: it knows by itself when its datastore was away."""
        cdef bint is_known = node in self.behind
        if node == self.table.addresses[self.table.local_node]:
            return 0
        self.behind[node] = self.behind.get(node, 0) + 1
        if not is_known:
            self.mark_behind(node, True)
            self.watch_lane(node, 1)
        return 0

    cdef int watch_lane(self, bytes node, uint64_t number) except -1:
        if self.on_behind is not None:
            self.on_behind(node.decode(), number)
        return 0

    def mark_behind(self, bytes node, bint is_behind):
        cdef PeerOutConn peer
        for item in self.peers:
            if item is not None:
                peer = <PeerOutConn>item
                if self.address_of(peer) == node:
                    peer.is_behind = is_behind

    def lane_empty(self, bytes node, uint64_t number):
        """The replica has all writes that it was known to have missed when that was their number."""
        cdef uint64_t now = self.behind.get(node, 0)
        if now > number:
            self.watch_lane(node, now)
        elif now:
            del self.behind[node]
            self.mark_behind(node, False)

    def ask_again(self):
        """Now and then, for questions that a replication process did not live to answer."""
        for node, number in self.behind.items():
            self.watch_lane(node, number)

    def set_on_behind(self, on_behind):
        self.on_behind = on_behind

    cdef int one_good(self, Request* request, const char* p, size_t n) except -1:
        """A replica has taken the write: those that refused it before differ from it."""
        cdef int rack
        cdef uint64_t refused = request.refused_racks
        request.is_taken = True
        if refused == 0:
            return 0
        request.refused_racks = 0
        for rack in range(RACKS_WATCHED):
            if (refused >> rack) & 1:
                self.missed_by_owner(request, rack, HINT_REFUSED, p, n)
        return 0

    cdef int one_refused(self, Request* request, int rack, const char* p, size_t n) except -1:
        """A replica's datastore answered an error; only when another one takes the write do they differ."""
        if request.is_taken:
            return self.missed_by_owner(request, rack, HINT_REFUSED, p, n)
        if rack < RACKS_WATCHED:
            request.refused_racks |= <uint64_t>1 << rack
        return 0

    cdef int meets_hold(self, Request* request, int rack, const CommandRow* row, const char* p, size_t n) except -1:
        """Hook, carried out by KeyHolds: whether a key is held."""
        raise NotImplementedError

    def set_catching_up(self, int missing):
        """What this node may lack (enums.Missing): reads go to other racks, if any can take them."""
        self.is_catching_up = missing

    cdef int store_back(self) except -1:
        """It took no write while it was silent."""
        if self.on_store_back is not None:
            self.on_store_back()
        return 0

    def set_on_store_back(self, on_store_back):
        self.on_store_back = on_store_back

    def set_remote(self, RemoteLane remote):
        self.remote = remote
        self.remote_wait_ns = remote.write_wait_ns

    def has_remote_lane(self):
        return self.remote is not None
