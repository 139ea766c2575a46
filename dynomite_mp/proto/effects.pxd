# What the other replicas are sent for a command that its lead has executed. See effects.pyx.
from libc.stdint cimport int64_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.proto.resp cimport RequestScan


cdef enum:
    EFFECT_NOTHING = 0          # nothing has changed
    EFFECT_SAME = 1             # the request itself
    EFFECT_WRITTEN = 2          # the requests appended to `out`, one behind the other
    EFFECT_FAILED = -1          # memory is short

    PROBES_MOST = 4             # requests that effect_probes appends at most


# Class of a write, its options considered: CONFLICT_*. Of an effect, see effect_conflict.
cdef int conflict_of(const CommandRow* row, const char* p, const RequestScan* s) noexcept nogil
# Class of an effect at a replica: the lead has decided, so what is left of CONFLICT_LEAD is CONFLICT_ORDERED.
cdef int effect_conflict(const char* p, size_t n) noexcept nogil

# Row of a complete request; NULL: none.
cdef const CommandRow* effect_row(const char* p, const RequestScan* s) noexcept nogil

# Requests that have to be sent to the datastore right behind a request of class lead, so that its effect can be told
# from their replies; appended to `out`. How many: 0 for most commands, -1 when memory is short.
cdef int effect_probes(const CommandRow* row, const char* p, RequestScan* s, Buf* out) noexcept nogil

# EFFECT_* from a request of class lead (its expiry made absolute) and its reply, RESP2 or RESP3.
cdef int effect_of(const CommandRow* row, const char* p, RequestScan* s, const char* reply, size_t reply_len,
                   Buf* out) noexcept nogil
# The same of a request with probes, from all replies to them one behind the other.
cdef int effect_of_probes(const CommandRow* row, const char* p, RequestScan* s, const char* reply, size_t reply_len,
                          const char* probed, size_t probed_len, int64_t now_ms, Buf* out) noexcept nogil
