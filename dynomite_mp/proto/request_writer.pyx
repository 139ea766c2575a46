"""Writes requests: the array form that every datastore reads.

What it is: four functions that append to a buffer. Who rewrites a request copies its arguments one by one.

What it is not: it does not know commands.
"""

from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.string cimport strlen

from dynomite_mp.proto.buffer cimport Buf, buf_append

cdef enum:
    HEAD_BYTES = 32             # more than "*9223372036854775807\r\n" and the NUL of snprintf


cdef int put_array(Buf* out, int64_t argc) noexcept nogil:
    cdef char[HEAD_BYTES] head
    cdef int n = snprintf(head, HEAD_BYTES, b"*%lld\r\n", <long long>argc)
    return buf_append(out, head, n)


cdef int put_bulk(Buf* out, const char* p, size_t n) noexcept nogil:
    cdef char[HEAD_BYTES] head
    cdef int written = snprintf(head, HEAD_BYTES, b"$%zu\r\n", n)
    if buf_append(out, head, written) < 0 or buf_append(out, p, n) < 0:
        return -1
    return buf_append(out, b"\r\n", 2)


cdef int put_word(Buf* out, const char* word) noexcept nogil:
    return put_bulk(out, word, strlen(word))


cdef int put_integer(Buf* out, int64_t value) noexcept nogil:
    cdef char[HEAD_BYTES] digits
    cdef int n = snprintf(digits, HEAD_BYTES, b"%lld", <long long>value)
    return put_bulk(out, digits, n)


def request_of(args):
    """The bytes of a request with these arguments, each bytes; for tests and the cold side."""
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)
