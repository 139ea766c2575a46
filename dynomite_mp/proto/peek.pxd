# The face of peek.pyx: a guess at the key of a request that has not been framed yet.
from dynomite_mp.proto.resp cimport Span

cdef bint peek_key(const char* p, size_t n, Span* key) noexcept nogil
