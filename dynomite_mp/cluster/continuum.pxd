# Who owns a token in one rack. See continuum.pyx.
from libc.stdint cimport uint32_t


cdef class Continuum:
    cdef uint32_t* tokens       # sorted, no value twice
    cdef uint32_t* owners       # place of the owner among the rack's nodes, one for each token
    cdef readonly uint32_t count
    cdef readonly uint32_t nodes

    # Place of the owning node among the rack's nodes; -1 when the rack has no token.
    cdef int c_owner(self, uint32_t token) noexcept nogil
