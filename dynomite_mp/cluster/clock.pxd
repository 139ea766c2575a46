# The face of clock.pyx: the hybrid logical clock that stamps writes.
from libc.stdint cimport int64_t, uint64_t


cdef inline uint64_t stamp_of_ns(uint64_t unix_ns) noexcept nogil:
    # Milliseconds in the upper 48 bits, the rest of the time in the lower 16, where stamps of one moment count on.
    return (unix_ns // 1000000) << 16 | ((unix_ns % 1000000) << 16) // 1000000


cdef class HybridClock:
    cdef readonly uint64_t last     # the highest stamp that was given out or followed
    cdef int64_t ahead              # of the cluster's fastest clock, against this machine's
    cdef int64_t shift              # debug_clock_offset_ms
    cdef uint64_t skew_max

    cdef uint64_t now(self, uint64_t unix_ns) noexcept nogil
    cdef bint follow(self, uint64_t remote, uint64_t unix_ns) noexcept nogil
    cdef inline uint64_t reading(self, uint64_t unix_ns) noexcept nogil:
        # The time, without giving out a stamp.
        cdef uint64_t stamp = stamp_of_ns(unix_ns) + <uint64_t>(self.shift + self.ahead)
        return stamp if stamp > self.last else self.last
    cdef uint64_t limit(self, uint64_t unix_ns) noexcept nogil
    cdef inline void pass_over(self, uint64_t stamp) noexcept nogil:
        # The next stamp is above this one, whatever the clock says.
        if stamp > self.last:
            self.last = stamp
