# The face of refusals.pyx: error replies that are no answer of a datastore.
cdef bint says_unreachable(const char* p, size_t n) noexcept nogil
cdef bint says_state(const char* p, size_t n) noexcept nogil
cdef bint says_unasked(const char* p, size_t n) noexcept nogil
