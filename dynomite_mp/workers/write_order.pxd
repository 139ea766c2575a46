# The face of write_order.pyx: the order of writes between the two protocol groups.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef enum:
    ORDER_BUCKETS = 4096
    UNTRACKED = ORDER_BUCKETS       # instead of the bucket of a write that was sent while nothing was tracked


cdef class WriteOrder:
    cdef uint64_t total[2]          # writes sent and not answered
    cdef uint64_t wide[2]           # of them such with several keys
    cdef uint64_t untracked[2]      # of them such whose bucket nobody knows
    cdef uint32_t* pending[2]       # the others, by bucket of the key's token
    cdef uint32_t* waiters          # held writes, by bucket
    cdef uint64_t waiting           # all of them
    cdef bint is_tracking
    cdef bint is_mixed              # since relax() was called: a write met writes of the other group

    cdef inline bint may_go(self, int group, uint32_t bucket, bint is_wide, bint is_waiter) noexcept:
        # The other group owes no reply to a write of the same key, and nobody has waited longer.
        cdef int other = 1 - group
        if self.waiting and self.waiters[bucket] and not is_waiter:
            return False
        if self.total[other] == 0:
            return True
        self.is_tracking = self.is_mixed = True
        return not (is_wide or self.wide[other] or self.untracked[other] or self.pending[other][bucket])

    cdef inline uint16_t sent(self, int group, uint32_t bucket, bint is_wide) noexcept:
        # What answered() wants to know of it.
        self.total[group] += 1
        self.wide[group] += is_wide
        if not self.is_tracking:
            self.untracked[group] += 1
            return UNTRACKED
        self.pending[group][bucket] += 1
        return <uint16_t>bucket

    cdef inline void answered(self, int group, uint16_t bucket, bint is_wide) noexcept:
        # Its reply came, or its connection is gone.
        self.total[group] -= 1
        self.wide[group] -= is_wide
        if bucket == UNTRACKED:
            self.untracked[group] -= 1
        else:
            self.pending[group][bucket] -= 1

    cdef inline void waits(self, uint32_t bucket) noexcept:
        self.waiters[bucket] += 1
        self.waiting += 1

    cdef inline void waits_no_more(self, uint32_t bucket) noexcept:
        self.waiters[bucket] -= 1
        self.waiting -= 1

    cdef inline void relax(self) noexcept:
        # Now and then: as long as only one group writes there is nothing to track.
        self.is_tracking = self.is_mixed
        self.is_mixed = False


cdef inline uint32_t order_bucket(uint32_t token) noexcept:
    return token & (ORDER_BUCKETS - 1)
