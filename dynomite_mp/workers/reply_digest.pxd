# The face of reply_digest.pyx: when two replicas' replies are equal.
from libc.stdint cimport uint64_t

from dynomite_mp.proto.command_lookup cimport CommandRow

cdef uint64_t digest_of(const CommandRow* row, const char* p, size_t n) noexcept nogil
