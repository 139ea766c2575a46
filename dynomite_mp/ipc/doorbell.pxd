"""Header of the doorbell: how a producer wakes the consumer process, and only when it sleeps."""

cimport cython
from cpython.buffer cimport Py_buffer
from libc.stdint cimport uint64_t

from dynomite_mp.ipc.ring cimport RingControl


cdef enum:
    WATCH_LIMIT = 64              # inbound rings of one process


@cython.final
cdef class Doorbell:
    cdef uint64_t* sleeping       # a double cache line of its own in the ring segment
    cdef readonly int fd          # eventfd, non-blocking
    cdef RingControl* watched[WATCH_LIMIT]
    cdef int watched_count
    cdef list rings               # keeps the watched rings, hence their memory, alive
    cdef Py_buffer view
    cdef bint mapped

    # producer: after publishing; fence, then write the eventfd only if the consumer sleeps
    cdef void c_ring(self) noexcept nogil
    # consumer: raise the flag, fence, look at every watched ring; 1 = sleep, 0 = flag lowered again, go on draining
    cdef bint c_prepare_sleep(self) noexcept nogil
    # consumer: lower the flag and empty the eventfd, then drain
    cdef void c_awake(self) noexcept nogil
