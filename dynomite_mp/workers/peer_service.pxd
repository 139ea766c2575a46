# The face of peer_service.pyx: what other nodes ask of this node itself.
from libc.stdint cimport uint64_t

from dynomite_mp.proto.resp cimport RequestScan
from dynomite_mp.workers.leading cimport Leading
from dynomite_mp.workers.peer_in_conn cimport PeerInConn
from dynomite_mp.workers.request cimport Request


cdef class PeerService(Leading):
    cdef object on_call             # (call id, address, payload) -> bool: towards the replication process
    cdef dict calls                 # call id -> (PeerInConn, frame id, since ns)
    cdef uint64_t next_call
    cdef object on_stall            # () -> None

    cdef int serve_node(self, PeerInConn peer, const char* p, RequestScan* scan) except -1
    cdef int serve_call(self, PeerInConn peer, const char* p, RequestScan* scan) except -1
    cdef Request* find_call(self, PeerInConn peer, uint64_t frame_id) noexcept


cdef inline bint is_for_node(const char* p, const RequestScan* scan) noexcept nogil:
    # `DYNO ...`: for the node, not for its datastore
    cdef const char* word = p + scan.args[0].off
    return (scan.argc > 2 and scan.args[0].len == 4 and word[0] == c"D" and word[1] == c"Y" and word[2] == c"N"
            and word[3] == c"O")
