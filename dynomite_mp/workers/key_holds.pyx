"""Keys whose writes wait for a moment, because a copy of the key is on its way from another node.

What it is: the io worker's part of a key copy (workers.key_copies). While a key is held, every write of it - of a
client, of another node, of another io worker - stands in a queue here instead of going to the datastore. When the
copy has come, the commands that make the key equal to it go first, then what was held, in its order.

    replication --KEY_HOLD--> hold_keys        write of a held key --> to_datastore --> meets_hold: queued here
                <-KEY_HELD---                                                              |
                --KEY_APPLY-> apply_key --> datastore: RESTORE key ... REPLACE             v
                <-KEY_APPLIED------------------ its reply              then the held writes, as if they came now

Which of the held writes the copy contains already, the write table knows when they go on.

A read of a key that has writes in the queue goes to another rack: one of these may have acknowledged them. When it has
nowhere else to go, it waits behind them.

What it is not: it fetches nothing and does not know whether a copy is right. No other reads are held.

Invariants:
- a hold ends, at the latest after HOLD_NS or when it has grown to HELD_BYTES: then without a copy;
- a write that was held goes on or is counted as missed, but is never lost without an outcome;
- while nothing is held this costs the data path one comparison a write.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from dynomite_mp.cluster.route cimport PLAN_LEAD, PLAN_LOCAL, PLAN_ONE_WRITE
from dynomite_mp.proto.command_lookup cimport KEYS_NONE, CommandRow, command_lookup, command_row
from dynomite_mp.proto.dnode cimport EXTENSION_LOCAL_ONLY
from dynomite_mp.proto.resp cimport (
    FRAME_OK, KeyWalk, RequestScan, Span, next_request, walk_key, walk_keys,
)
from dynomite_mp.workers.data_path cimport GROUP_RESP2, GROUP_RESP3, TAKEN
from dynomite_mp.workers.datastore_conn cimport DatastoreConn
from dynomite_mp.workers.fanout cimport DOWN
from dynomite_mp.workers.peer_service cimport PeerService
from dynomite_mp.workers.request cimport (
    REQUEST_ANSWERED, Request, Slot, request_new, request_release,
)
from dynomite_mp.workers.source_conn cimport SourceConn
from dynomite_mp.workers.write_order cimport order_bucket
from dynomite_mp.workers.writes cimport (
    GOES_ELSEWHERE, IS_HELD, MISSING_WRITES, NO_RACK, NOT_HELD, OUT_UNREACHABLE,
)

from dynomite_mp.errors import WIRE_ERRORS

cdef enum:
    RECENT_MS = 5000                # what is older has reached all replicas that can be reached
    IDS_MOST = 48                   # ids of writes that a copy is to contain
    IDS_TOLD = 256                  # of others that it may contain: more, as writes go on meanwhile
    HOLD_NS = 2000000000
    HELD_BYTES = 4194304            # of one key; also HELD_WRITES of it

    HELD_WRITES = 10000

cdef uint16_t E_STATE = WIRE_ERRORS["state_forbids"].code


cdef class HeldWrite:
    """One write in a hold's queue, or a read behind writes."""


cdef class KeyHold:
    """One held key."""


cdef class CopySource(SourceConn):
    """Whom the replies to a copy's commands are for: no connection, but a source of requests like one."""

    def __init__(self, KeyHolds holds):
        self.holds = holds
        self.path = self.poll = holds
        self.fd = -1

    cdef int deliver(self, Request* request, const char* p, size_t n) except -1:
        request.state = REQUEST_ANSWERED
        return self.holds.applied(request, p, n)


cdef class KeyHolds(PeerService):
    def __cinit__(self, *args, **kwargs):
        self.holds = {}
        self.draining = []
        self.applying = {}

    cdef uint32_t shard_of(self, uint32_t token) noexcept:
        """Hook, carried out by IoPath: the io worker that serves a token."""
        return 0

    # ---- from the data path

    cdef int meets_hold(self, Request* request, int rack, const CommandRow* row, const char* p, size_t n) except -1:
        """Whether one of its keys waits for a copy; called only while a key is held. Of a write, which waits too, the
        client hears from another rack while nobody reads here; a copy may take longer than the client has patience. A
        read goes elsewhere if writes wait here, or, when it has nowhere else to go, waits behind them."""
        cdef RequestScan scan
        cdef KeyWalk walk
        cdef Span key
        cdef int64_t index
        cdef KeyHold hold
        cdef HeldWrite write
        memset(&scan, 0, sizeof(RequestScan))
        if not request.is_write and (self.table.racks < 2 or request.mode >= PLAN_LEAD
                                     or request.marks & EXTENSION_LOCAL_ONLY):
            return NOT_HELD
        if row.key_kind == KEYS_NONE or next_request(p, n, &scan) != FRAME_OK or walk_keys(&walk, p, &scan, row) <= 0:
            return NOT_HELD
        while walk_key(&walk, &key, &index):
            hold = self.holds.get(p[key.off:key.off + key.len])
            if hold is None or hold is self.passing or not (request.is_write or hold.writes):
                continue
            if not request.is_write and not request.is_forced:
                request.error_code = E_STATE
                self.put_off(request, MISSING_WRITES, NO_RACK)
                return GOES_ELSEWHERE
            write = HeldWrite.__new__(HeldWrite)
            write.request = request
            write.row = row
            write.rack = rack
            write.payload = p[:n]
            request.refs += 1
            hold.writes.append(write)
            hold.held_bytes += n
            if hold.held_bytes > HELD_BYTES or len(hold.writes) > HELD_WRITES:
                self.give_up(hold)
            request.is_late = request.is_write
            if request.mode == PLAN_ONE_WRITE and self.is_catching_up:
                request.primary_failed = True
            return IS_HELD
        return NOT_HELD

    # ---- from the replication process

    def hold_keys(self, uint64_t copy_id, keys):
        cdef bytes key
        cdef KeyHold hold
        cdef uint32_t token
        cdef list mine = []
        self.read_clock()
        for key in keys:
            self.token(key, len(key), &token)
            if self.shard_of(token) != self.shard_index or key in self.holds:
                continue
            hold = KeyHold.__new__(KeyHold)
            hold.key = key
            hold.token = token
            hold.copy_id = copy_id
            hold.since_ns = self.now_ns
            hold.writes = []
            self.holds[key] = hold
            mine.append(key)
        self.holds_keys = bool(self.holds)
        return mine

    def keys_known(self, keys, int most):
        cdef bytes key
        cdef uint32_t token
        cdef list mine = []
        self.read_clock()
        for key in keys:
            self.token(key, len(key), &token)
            if self.shard_of(token) == self.shard_index:
                mine.append((key, self.known_since(key, most, 0)))
        return mine

    def key_known(self, bytes key):
        """What the write table knows of a key, in the form of the answer to DYNO KEY; None: nothing. Of writes longer
        ago than RECENT_MS, and of those that an overwrite has wiped, nobody asks whether a copy contains them."""
        return self.known_since(key, IDS_MOST, self.clock.reading(self.turn_unix_ns()) - (<uint64_t>RECENT_MS << 16))

    cdef known_since(self, bytes key, int most, uint64_t since):
        found = self.recent.entry(key, most, since, IDS_TOLD) if self.recent is not None else None
        if found is None:
            return None
        stamp, origin, flags, ids, over_stamp, over_origin, *rest = found
        return stamp, origin, flags | self.is_busy(key), ids, (over_stamp, over_origin), *rest

    cdef bint is_busy(self, bytes key) noexcept:
        """Whether a write of the key is on its way to the datastore by other connections than a copy's reads take."""
        cdef uint32_t token = 0
        if self.order.total[GROUP_RESP3] == 0:
            return False
        self.token(key, len(key), &token)
        return not self.order.may_go(GROUP_RESP2, order_bucket(token), False, True)

    cdef bytes key_answer(self, bytes key):
        """The reply to DYNO KEY."""
        found = self.key_known(key)
        return resp_of(found if found is not None else ())

    def apply_key(self, uint64_t copy_id, bytes key, known, commands):
        cdef KeyHold hold = self.holds.get(key)
        if hold is None or hold.copy_id != copy_id or hold.commands is not None:
            return False
        if known and known[0] and self.recent is not None:
            stamp, origin, flags, ids, overwrite, *rest = known
            self.recent.put(key, stamp, origin, flags, ids, *overwrite, *rest)
        hold.commands = list(commands)
        hold.awaited = len(hold.commands)
        self.draining.append(hold)
        self.read_clock()
        self.drain_holds()
        return True

    def release_keys(self, uint64_t copy_id):
        cdef KeyHold hold
        self.read_clock()
        for hold in list(self.holds.values()):
            if hold.copy_id == copy_id and hold.commands is None:
                self.give_up(hold)
        self.drain_holds()

    def expire_holds(self):
        cdef KeyHold hold
        if not self.holds_keys:
            return
        self.read_clock()
        for hold in list(self.holds.values()):
            if self.now_ns < hold.since_ns + HOLD_NS:
                break
            self.give_up(hold)
        self.drain_holds()

    cdef int give_up(self, KeyHold hold) except -1:
        """Without a copy; what is held goes on in the next turn."""
        if hold.commands is None:
            hold.commands = []
            self.draining.append(hold)
            self.want_turn()
        return 0

    # ---- to the datastore

    cdef int drain_holds(self) except -1:
        """Of every hold whose copy has come, as much as the order of writes allows now."""
        cdef list draining = self.draining
        cdef KeyHold hold
        if not draining:
            return 0
        self.draining = []
        for hold in draining:
            if self.drain_hold(hold):
                del self.holds[hold.key]
            else:
                self.draining.append(hold)
        self.holds_keys = bool(self.holds)
        if self.draining:
            self.start_ticking()
        return 0

    cdef bint drain_hold(self, KeyHold hold) except -1:
        """True when nothing is left of it."""
        cdef HeldWrite write
        cdef bytes command
        while hold.commands:
            if not self.order.may_go(GROUP_RESP2, order_bucket(hold.token), False, True):
                return False
            command = hold.commands.pop(0)
            self.send_command(hold, command)
        while hold.writes:
            write = hold.writes[0]
            if not self.send_write(hold, write):
                return False
            hold.writes.pop(0)
        return True

    cdef int send_command(self, KeyHold hold, bytes command) except -1:
        """One command of the copy; never held, never refused as old: it is what the table knows of already."""
        cdef DatastoreConn conn = <DatastoreConn>self.datastores[hold.token % self.datastore_count]
        cdef Request* request
        cdef Slot* slot
        if conn is None or conn.is_silent:
            return self.command_done(hold, b"-ERR the datastore does not answer\r\n")
        request = request_new()
        slot = conn.enqueue(NULL, 0, command, len(command)) if request != NULL else NULL
        if slot == NULL:
            raise MemoryError
        if self.copy_source is None:
            self.copy_source = CopySource(self)
        self.next_command += 1
        self.applying[self.next_command] = hold
        request.refs = 1
        request.client = <void*>self.copy_source
        request.origin_id = self.next_command
        request.started_ns = self.now_ns
        request.is_write = True
        request.is_local_only = True
        request.mode = PLAN_LOCAL
        request.command = command_lookup(b"restore", 7)
        slot.request = request
        slot.rack = <unsigned short>self.table.my_rack
        slot.klass = command_row(request.command).klass
        slot.is_write = 1
        slot.bucket = self.order.sent(GROUP_RESP2, order_bucket(hold.token), False)
        return 0

    cdef int applied(self, Request* request, const char* p, size_t n) except -1:
        """The reply to one command of a copy, or the error instead."""
        cdef KeyHold hold = self.applying.pop(request.origin_id)
        return self.command_done(hold, p[:n])

    cdef int command_done(self, KeyHold hold, bytes reply) except -1:
        if not hold.error and reply[:1] == b"-":
            hold.error = reply
        hold.awaited -= 1
        if hold.awaited == 0:
            self.on_applied(hold.copy_id, hold.key, hold.error or b"")
        return 0

    cdef bint send_write(self, KeyHold hold, HeldWrite write) except -1:
        """A held write goes on as if it came now; False: not yet."""
        cdef Request* request = write.request
        cdef int taken
        if request.is_write and not self.order.may_go(
                request.group, order_bucket(request.token), request.is_wide, True):
            return False
        self.passing = hold                         # for this key it has waited
        taken = self.to_datastore(request, write.rack, write.row, write.payload, len(write.payload), False)
        self.passing = None
        if taken == DOWN:
            self.outcome(request, write.rack, OUT_UNREACHABLE, NULL, 0, NULL, 0)
        elif taken != TAKEN:
            raise AssertionError("a held write was held again")
        request_release(request)
        return True

    def set_on_applied(self, on_applied):
        self.on_applied = on_applied


cdef bytes resp_of(value):
    """Numbers and sequences of them as a RESP reply."""
    if isinstance(value, int):
        return b":%d\r\n" % value
    return b"*%d\r\n" % len(value) + b"".join([resp_of(one) for one in value])
