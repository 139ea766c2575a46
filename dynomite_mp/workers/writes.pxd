# The face of writes.pyx: what is known of a write besides its bytes, and which replicas missed it.
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.workers.request cimport Request, Slot
from dynomite_mp.workers.stamps cimport Stamps
from dynomite_mp.workers.target_conn cimport TargetConn


cpdef enum:                         # Hint.kind: what became of a write at the replica
    HINT_MISSED = 0                 # certainly not executed there
    HINT_UNKNOWN = 1                # perhaps
    HINT_REFUSED = 2                # its datastore answered an error, another replica's did not


cdef enum:
    MISSING_WRITES = 1              # enums.Missing
    MISSING_EVERYTHING = 2
    NO_RACK = -1

    # What meets_hold says
    NOT_HELD = 0
    IS_HELD = 1                     # it waits here
    GOES_ELSEWHERE = 2              # a read; request.error_code

    # What became of one target's part in a request
    OUT_GOOD = 0                    # it answered
    OUT_ERROR = 1                   # its datastore answered an error
    OUT_UNREACHABLE = 2             # it did not, will not, or says that it could not ask its datastore
    OUT_UNSENT = 3                  # the same, and certainly not executed; only of PLAN_LEAD
    OUT_AGAIN = 5                   # none yet: the write was sent once more


cdef class Writes(Stamps):
    cdef list peers                 # PeerOutConn that are up, node after node; None where one is missing
    cdef uint32_t peer_count        # connections to a node
    cdef dict behind                # address of a replica: how many of its missed writes are not known to be there
    cdef object on_behind           # called with (address, that number)
    cdef object on_store_back
    cdef int is_catching_up         # enums.Missing, beside node_state: no reads but such as no other rack takes
    cdef bint holds_keys            # writes of some key wait (key_holds)

    cdef void expect(self, Request* request) noexcept
    cdef bytes address_of(self, TargetConn conn)
    cdef int missed(self, Request* request, TargetConn conn, int kind, const char* p, size_t n) except -1
    cdef int missed_by_owner(self, Request* request, int rack, int kind, const char* p, size_t n) except -1
    cdef int hint(self, Request* request, bytes node, int kind, const char* p, size_t n) except -1
    cdef void put_off(self, Request* request, int missing, int rack) noexcept
    cdef void put_off_by(self, Request* request, TargetConn conn, int rack) noexcept
    cdef void guess(self, Request* request, int rack) noexcept
    cdef int skip(self, Request* request, int rack, TargetConn conn, const CommandRow* row,
                  const char* p, size_t n) except -1
    cdef int skipped(self, Request* request, int rack, const char* p, size_t n) except -1
    cdef int stand_in_came(self, Slot* slot, const char* p, size_t n) except -1
    cdef int outcome(self, Request* request, int rack, int what, const char* reply, size_t reply_len,
                     const char* p, size_t n) except -1
    cdef bint is_worse(self, Request* request) noexcept
    cdef bint is_weak(self, Request* request, int rack) noexcept
    cdef bint has_way(self, Request* request) noexcept
    cdef bint may_read_on(self, Request* request) noexcept
    cdef bint is_put_off(self, Request* request) noexcept
    cdef void doubt(self, Request* request, int rack) noexcept
    cdef int note_behind(self, bytes node) except -1
    cdef int watch_lane(self, bytes node, uint64_t number) except -1
    cdef int one_good(self, Request* request, const char* p, size_t n) except -1
    cdef int one_refused(self, Request* request, int rack, const char* p, size_t n) except -1
    cdef int meets_hold(self, Request* request, int rack, const CommandRow* row, const char* p, size_t n) except -1
