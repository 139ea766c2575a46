# The face of peer_in_conn.pyx: a connection from another node, for its requests.
from libc.stdint cimport uint32_t

from dynomite_mp.proto.dnode cimport DnodeScan
from dynomite_mp.proto.resp cimport RequestScan
from dynomite_mp.workers.request cimport RequestQueue
from dynomite_mp.workers.source_conn cimport SourceConn


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

    cdef int payload(self, const char** p, size_t* n) except -3
    cdef int open_secret(self, const char* p, size_t n) except -3
    cdef bint is_extension(self, const char* data) noexcept
    cdef int serve(self, const char* p, size_t n) except -1
    cdef int reply_later(self) except -1
