# Writes requests in array form: put_array says how many arguments follow. Every function gives 0, or -1 when memory is
# short (out may then end in the middle of a request: the caller clears it). See request_writer.pyx.
from libc.stdint cimport int64_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.resp cimport Span


cdef int put_array(Buf* out, int64_t argc) noexcept nogil
cdef int put_bulk(Buf* out, const char* p, size_t n) noexcept nogil
cdef int put_word(Buf* out, const char* word) noexcept nogil
cdef int put_integer(Buf* out, int64_t value) noexcept nogil

cdef inline int put_arg(Buf* out, const char* p, const Span* arg) noexcept nogil:
    return put_bulk(out, p + arg.off, arg.len)
