# The face of call_path.pyx: what the replication process asks of single nodes.
from libc.stdint cimport uint64_t

from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.request cimport Request, Slot


cdef class CallBatch:
    cdef readonly list replies      # one a request: (bytes, extension or None), None where there is none
    cdef readonly size_t pending
    cdef object on_done             # called with the list when nothing is awaited any more

    cdef int settle(self, size_t place, object reply) except -1


cdef class CallPath(DataPath):
    cdef list conns                 # PeerOutConn that are up
    cdef uint64_t deadline_ns

    cdef int miss(self, Slot* slot) except -1
    cdef int settle(self, Request* request, object reply) except -1
