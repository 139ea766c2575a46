"""The hybrid logical clock: a stamp for every write, above all stamps that this node has seen.

What it is: the machine's time, plus what the fastest clock of the cluster is ahead, counted on within one moment. When
a stamp from elsewhere is ahead, the difference is kept, so that the whole cluster runs on its fastest clock and what
remains of a slower node's error is less than the time a message takes.

    machine's time + shift (debug_clock_offset_ms) + ahead          <= + skew_max above the machine's time

What it is not: it reads no clock; the time is passed in.

Invariants: stamps never repeat nor fall, also when the machine's clock is set back; a clock that is further ahead than
skew_max is not followed beyond that.
"""

from libc.stdint cimport int64_t, uint64_t


cdef class HybridClock:
    def __init__(self, skew_max_ms, shift_ms=0):
        self.configure(skew_max_ms, shift_ms)

    def configure(self, skew_max_ms, shift_ms):
        self.skew_max = <uint64_t>skew_max_ms << 16
        self.shift = <int64_t>shift_ms * 65536

    cdef uint64_t now(self, uint64_t unix_ns) noexcept nogil:
        """A stamp above all before."""
        cdef uint64_t stamp = stamp_of_ns(unix_ns) + <uint64_t>(self.shift + self.ahead)
        self.last = stamp if stamp > self.last else self.last + 1
        return self.last

    cdef uint64_t limit(self, uint64_t unix_ns) noexcept nogil:
        """The highest stamp that is believed."""
        return stamp_of_ns(unix_ns) + <uint64_t>self.shift + self.skew_max

    cdef bint follow(self, uint64_t remote, uint64_t unix_ns) noexcept nogil:
        """A stamp or clock from elsewhere; False: further ahead than is followed."""
        cdef uint64_t own = stamp_of_ns(unix_ns) + <uint64_t>self.shift
        cdef bint is_believed = remote <= own + self.skew_max
        if not is_believed:
            remote = own + self.skew_max
        if remote > own + <uint64_t>self.ahead:
            self.ahead = <int64_t>(remote - own)
        if remote > self.last:
            self.last = remote
        return is_believed

    # ---- for tests and the cold side

    @property
    def ahead_ms(self):
        return self.ahead >> 16

    def now_at(self, uint64_t unix_ns):
        return self.now(unix_ns)

    def follow_at(self, uint64_t remote, uint64_t unix_ns):
        return self.follow(remote, unix_ns)
