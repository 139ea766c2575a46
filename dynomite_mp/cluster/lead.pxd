# Which rack leads a token. See lead.pyx.
from libc.stdint cimport uint32_t, uint64_t


cdef enum:
    NO_LEAD = -1
    LEAD_RACKS_MOST = 64            # racks behind these never lead; they are bits of a mask


cdef class LeadOrder:
    cdef int racks
    cdef uint64_t* seeds            # by rack

    # The best rack that is not in the mask, NO_LEAD when all are.
    cdef int best(self, uint32_t token, uint64_t without) noexcept nogil
    cdef bint is_better(self, uint32_t token, int rack, int than) noexcept nogil
