# The face of key_holds.pyx: keys whose writes wait while a copy of the key is fetched.
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.workers.peer_service cimport PeerService
from dynomite_mp.workers.request cimport Request
from dynomite_mp.workers.source_conn cimport SourceConn


cdef class HeldWrite:
    cdef Request* request           # counted
    cdef const CommandRow* row
    cdef int rack
    cdef bytes payload


cdef class KeyHold:
    cdef bytes key
    cdef uint32_t token
    cdef uint64_t copy_id
    cdef uint64_t since_ns
    cdef list commands              # what makes the key equal to the copy, as requests; None: still being fetched
    cdef list writes                # HeldWrite in the order in which they came, and reads that wait behind writes
    cdef size_t held_bytes
    cdef size_t awaited             # replies to `commands` that have not come
    cdef bytes error                # the first error among them


cdef class CopySource(SourceConn):
    cdef KeyHolds holds


cdef class KeyHolds(PeerService):
    cdef dict holds                 # key -> KeyHold
    cdef list draining              # KeyHold whose commands and writes are to go to the datastore
    cdef dict applying              # number of a command -> KeyHold
    cdef uint64_t next_command
    cdef object on_applied          # (copy id, key, error or b"")
    cdef CopySource copy_source
    cdef KeyHold passing            # whose write is just going on

    cdef bint is_busy(self, bytes key) noexcept
    cdef known_since(self, bytes key, int most, uint64_t since)
    cdef bytes key_answer(self, bytes key)
    cdef uint32_t shard_of(self, uint32_t token) noexcept
    cdef int give_up(self, KeyHold hold) except -1
    cdef int command_done(self, KeyHold hold, bytes reply) except -1

    cdef int drain_holds(self) except -1
    cdef bint drain_hold(self, KeyHold hold) except -1
    cdef int send_command(self, KeyHold hold, bytes command) except -1
    cdef bint send_write(self, KeyHold hold, HeldWrite write) except -1
    cdef int applied(self, Request* request, const char* p, size_t n) except -1
