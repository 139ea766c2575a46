# The face of stamps.pyx: identity and time of writes, and what a replica decides by them.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dynomite_mp.cluster.clock cimport HybridClock
from dynomite_mp.cluster.route cimport RouteTable
from dynomite_mp.cluster.write_table cimport WriteTable
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.proto.dnode cimport EXTENSION_MOST, Extension
from dynomite_mp.workers.answers cimport Answers
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.remote_lane cimport RemoteLane
from dynomite_mp.workers.request cimport Request


cpdef enum:                         # KEY_COPY.reason
    COPY_DISORDERED = 0             # writes were applied in another order than that of their stamps
    COPY_SKIPPED = 1                # an overwrite was skipped, a newer partial write was there
    COPY_FORGOTTEN = 2              # a write came again, and nobody knows whether it was applied
    COPY_REFUSED = 3                # the datastore answered an error, another replica's did not
    COPY_WIDE = 5                   # one of several keys of a write that was applied, but this one had it too old
    COPY_READ = 4                   # the replicas of a read answered differently; any of them may be the stale one


cdef class Stamps(Answers):
    cdef RouteTable table
    cdef RemoteLane remote          # to the replication process; None while the only replica is here
    cdef HybridClock clock
    cdef WriteTable recent          # None: this path knows no identity, nothing is stamped
    cdef readonly bint is_stamping
    cdef uint64_t node_id
    cdef uint32_t boot_id
    cdef uint32_t worker_id
    cdef uint64_t sequence
    cdef uint64_t unix_turn         # the turn of unix_now_ns
    cdef uint64_t unix_now_ns
    cdef uint64_t stamp_receives    # what had been received, and in which turn, when the time of stamps was read
    cdef uint64_t stamp_turn
    cdef uint64_t stamp_unix_ns
    cdef object on_skew             # called with the address of a node whose clock is too far ahead
    cdef const Extension* incoming  # of the peer's request at hand, NULL: it brought none
    cdef char[EXTENSION_MOST] outgoing      # of the write at hand, for our nodes
    cdef size_t outgoing_len
    cdef uint64_t outgoing_stamp    # which write that is
    cdef uint64_t outgoing_sequence
    cdef uint8_t outgoing_group
    cdef int hash_kind
    cdef char tag_open
    cdef char tag_close
    cdef bint has_tag

    cdef bint token(self, const char* key, size_t n, uint32_t* token) noexcept
    cdef uint64_t turn_unix_ns(self) noexcept
    cdef void stamp(self, Request* request) noexcept
    cdef void stamp_effect(self, Request* effect, Request* request, int conflict) noexcept
    cdef int adopt(self, Request* request, uint64_t clock) except -1
    cdef int adopt_extension(self, Request* request, const Extension* extension) except -1
    cdef int follow(self, Conn conn, uint64_t clock) except -1
    cdef int note(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1
    cdef int note_keys(self, Request* request, const CommandRow* row, int klass, int family, bint is_resent,
                       const char* p, size_t n) except -1
    cdef int admission(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1
    cdef bint was_slow(self, Request* request, uint64_t newer) noexcept
    cdef int copy_keys(self, Request* request, const char* p, size_t n, int reason) except -1
