# The face of write_order.pyx: the order of writes between the two protocol groups.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef enum:
    ORDER_BUCKETS = 4096


cdef class WriteOrder:
    cdef uint32_t* pending[2]       # writes sent and not answered, by bucket of the key's token
    cdef uint64_t total[2]
    cdef uint64_t wide[2]           # of them such with several keys
    cdef uint16_t* waiters          # held writes, by bucket

    cdef inline bint may_go(self, int group, uint32_t bucket, bint is_wide, bint is_waiter) noexcept:
        # The other group owes no reply to a write of the same key, and nobody has waited longer.
        cdef int other = 1 - group
        if self.waiters[bucket] and not is_waiter:
            return False
        if self.total[other] == 0:
            return True
        return not (is_wide or self.wide[other] or self.pending[other][bucket])

    cdef inline void sent(self, int group, uint32_t bucket, bint is_wide) noexcept:
        self.pending[group][bucket] += 1
        self.total[group] += 1
        self.wide[group] += is_wide

    cdef inline void answered(self, int group, uint32_t bucket, bint is_wide) noexcept:
        # Its reply came, or its connection is gone.
        self.pending[group][bucket] -= 1
        self.total[group] -= 1
        self.wide[group] -= is_wide


cdef inline uint32_t order_bucket(uint32_t token) noexcept:
    return token & (ORDER_BUCKETS - 1)
