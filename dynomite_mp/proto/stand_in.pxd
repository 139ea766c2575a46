# What a write that is not executed should have answered, read back. See stand_in.pyx.
from libc.stdint cimport uint8_t, uint16_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.resp cimport RequestScan


cdef enum:
    STAND_IN_OK = 0             # +OK, or nobody can tell
    STAND_IN_NONE = 1           # :0, nothing has been changed
    STAND_IN_READ = 2           # the reply to the read
    STAND_IN_COUNT = 3          # the same as an integer

# STAND_IN_*; of the last two, `out`, which is empty, holds the read. The request is complete and in array form.
cdef uint8_t stand_in(uint16_t command, const char* p, RequestScan* s, Buf* out) noexcept nogil
# The reply of the write, from that of the read; -1 when memory is short.
cdef int stand_in_reply(uint8_t kind, const char* p, size_t n, Buf* out) noexcept nogil
