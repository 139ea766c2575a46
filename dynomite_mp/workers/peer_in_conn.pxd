# The face of peer_in_conn.pyx: a connection from another node, for its requests.
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.proto.dnode cimport DnodeScan, Extension
from dynomite_mp.proto.resp cimport RequestScan
from dynomite_mp.workers.request cimport Request, RequestQueue
from dynomite_mp.workers.source_conn cimport SourceConn

cdef enum:
    RUN_ROOM = 24                   # longer replies do not make runs


cdef class PeerInConn(SourceConn):
    cdef DnodeScan head
    cdef bint has_head              # the header of the frame at the head of inbuf is read
    cdef RequestScan scan
    cdef object keys                # dnode_crypto.NodeKey, None: encrypted frames cannot be read
    cdef object cipher              # made from the key in the first encrypted frame
    cdef bytes plain                # the decrypted payload of the frame at hand
    cdef size_t payload_len         # of the frame at hand, as it stands in inbuf
    cdef int version_seen
    cdef bint asks_lead             # the frame at hand is for the lead of its key, with this level:
    cdef uint32_t asked_level

    cdef RequestQueue later         # requests whose reply comes out of order
    cdef size_t batch_left          # bytes of the batch at hand that stand in inbuf or are still to come; 0: none
    cdef Extension batch            # of its write at hand
    cdef uint64_t batch_next        # and its id
    cdef uint64_t run               # equal replies in a row that are not in outbuf yet
    cdef uint64_t run_id            # of the last
    cdef bint run_tells_time        # one of those that asked has a clock that is behind
    cdef size_t run_len
    cdef char[RUN_ROOM] run_reply

    cdef int payload(self, const char** p, size_t* n) except -3
    cdef int open_secret(self, const char* p, size_t n) except -3
    cdef bint is_extension(self, const char* data) noexcept
    cdef int serve(self, const char* p, size_t n) except -1
    cdef int read_head(self) except -3
    cdef void next_frame(self)
    cdef int open_batch(self) except -3
    cdef int batched(self, const char** p, size_t* n) except -3
    cdef int serve_batched(self, const char* p) except -1
    cdef bint joins_run(self, Request* request, const char* p, size_t n) noexcept
    cdef void end_run(self) noexcept
    cdef int reply_later(self) except -1
