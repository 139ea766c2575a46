# The face of hint_log.pyx: a checksummed log in files, appended at one end and acknowledged from the other.
from libc.stdint cimport uint64_t

from dynomite_mp.proto.buffer cimport Buf


cdef class Segment:
    cdef readonly uint64_t start    # position of its first record
    cdef readonly uint64_t size     # bytes of records in the file
    cdef readonly object path
    cdef int fd

    cdef inline uint64_t end(self):
        return self.start + self.size


cdef class HintLog:
    cdef readonly object path
    cdef readonly uint64_t bytes_max
    cdef readonly uint64_t end      # position behind the last record
    cdef readonly uint64_t acked    # records before it are done with
    cdef readonly uint64_t records  # that are not acknowledged
    cdef readonly uint64_t lost     # records that could not be kept, since this process started
    cdef readonly int dirty_reason
    cdef readonly uint64_t dirty_marks      # times that something was given up, since this process began
    cdef readonly uint64_t dirty_since_ms
    cdef readonly str trouble       # what the system said when a write failed last
    cdef uint64_t segment_bytes
    cdef uint64_t buffered          # records in the buffer
    cdef uint64_t retry_ms          # after a failed write nothing is tried before
    cdef uint64_t now_ms            # of the last append
    cdef Buf buffer
    cdef list segments
    cdef Segment current            # the one that this process appends to
    cdef object state_file
    cdef bint state_changed
    cdef bint is_unsynced
    cdef bint is_open
    cdef bint gives_back            # what the disk refuses is wanted back by who appended it
    cdef list given_back            # (start, payload)

    cdef uint64_t c_append(self, const char* p, size_t n, uint64_t at_ms) except? 0
    cdef Segment segment_at(self, uint64_t position)
    cdef list buffered_records(self)
    cdef void let_buffer_go(self) noexcept
    cdef void trim(self)
