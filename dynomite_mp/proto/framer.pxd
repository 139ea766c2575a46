# Only Python code uses the framers; see framer.pyx.
from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.resp cimport ReplyScan, RequestScan


cdef class RequestFramer:
    cdef Buf buf
    cdef RequestScan scan
    cdef readonly object error
    cdef readonly size_t consumed


cdef class ReplyFramer:
    cdef Buf buf
    cdef ReplyScan scan
    cdef readonly object error
    cdef readonly size_t consumed
