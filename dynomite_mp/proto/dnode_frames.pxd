# The Python face of peer frames. See dnode_frames.pyx.
from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.dnode cimport DnodeScan
from dynomite_mp.proto.resp cimport ReplyScan, RequestScan


cdef class DnodeFramer:
    cdef Buf buf
    cdef DnodeScan scan
    cdef RequestScan request
    cdef ReplyScan reply
    cdef bint has_header
    cdef readonly object error      # what is wrong, or None
    cdef readonly size_t consumed   # bytes of the frames given back

    cdef void next_frame(self) noexcept nogil
    cdef int payload_end(self, size_t* payload_len) noexcept nogil
