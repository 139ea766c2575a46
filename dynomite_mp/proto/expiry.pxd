# Relative expiries made absolute: what the replicas of a write are sent must mean the same at each. See expiry.pyx.
from libc.stdint cimport int64_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.proto.resp cimport RequestScan


cdef enum:
    EXPIRY_AS_IS = 0            # nothing relative in it, or nothing that a datastore would accept
    EXPIRY_ABSOLUTE = 1         # the new request stands in `out`
    EXPIRY_NO_MEMORY = -1

# A complete request in array form, of a row whose effect is EFFECT_EXPIRE_AT; `out` is
# empty. The reply to the new request is the reply to the old one.
cdef int absolute_expiry(
    const CommandRow* row, const char* p, const RequestScan* s, int64_t now_ms, Buf* out) noexcept nogil
