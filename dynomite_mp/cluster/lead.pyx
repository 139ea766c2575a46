"""Which rack leads a token: the order in which racks are asked to execute what must not happen twice.

What it is: rendezvous hashing of (token, name of the rack). Every node computes the same order from the same names,
whatever their places in the topology; a rack that goes leaves everybody else's order as it was, and its tokens are
spread over the others evenly.

What it is not: it does not know which racks are usable; the data path does, and skips them.

Invariants: pure; the first LEAD_RACKS_MOST racks take part; equal scores cannot be told apart by accident, the rack
with the smaller seed wins.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef uint64_t MIX_1 = 0xBF58476D1CE4E5B9
cdef uint64_t MIX_2 = 0x94D049BB133111EB


cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    x = (x ^ (x >> 30)) * MIX_1
    x = (x ^ (x >> 27)) * MIX_2
    return x ^ (x >> 31)


cdef uint64_t seed_of(bytes name):
    cdef uint64_t h = <uint64_t>0xCBF29CE484222325
    cdef unsigned char c
    for c in name:
        h = (h ^ c) * <uint64_t>0x100000001B3
    return mixed(h)


cdef class LeadOrder:
    """The racks of one datacenter, by name."""

    def __cinit__(self, names):
        self.racks = min(len(names), <int>LEAD_RACKS_MOST)
        self.seeds = <uint64_t*>malloc((self.racks + 1) * sizeof(uint64_t))
        if self.seeds == NULL:
            raise MemoryError
        for rack in range(self.racks):
            self.seeds[rack] = seed_of(names[rack].encode())

    def __dealloc__(self):
        free(self.seeds)

    cdef bint is_better(self, uint32_t token, int rack, int than) noexcept nogil:
        """Whether `rack` comes before `than`."""
        cdef uint64_t ours = mixed(self.seeds[rack] ^ (<uint64_t>token * <uint64_t>0x9E3779B97F4A7C15))
        cdef uint64_t theirs = mixed(self.seeds[than] ^ (<uint64_t>token * <uint64_t>0x9E3779B97F4A7C15))
        return ours > theirs or (ours == theirs and self.seeds[rack] < self.seeds[than])

    cdef int best(self, uint32_t token, uint64_t without) noexcept nogil:
        cdef int rack
        cdef int found = NO_LEAD
        for rack in range(self.racks):
            if not (without >> rack) & 1 and (found == NO_LEAD or self.is_better(token, rack, found)):
                found = rack
        return found

    def order(self, uint32_t token):
        """All racks, the best first."""
        cdef uint64_t without = 0
        cdef int rack
        found = []
        while True:
            rack = self.best(token, without)
            if rack == NO_LEAD:
                return found
            found.append(rack)
            without |= <uint64_t>1 << rack
