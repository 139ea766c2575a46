"""A guess at the key of the request that comes next, before it is framed.

What it is: a glance at bytes that may be the begin of a request in array form. While one request is handled, what is
known of the next one's key comes from memory; that takes longer than the guess.

What it is not: no parser. It may be wrong, or give up where one would not, and nothing but time may depend on it.
"""

from libc.stdint cimport uint8_t

cdef enum:
    CR = 13
    LINE_LEAST = 4                  # bytes of a line with one digit
    NAME_AT = 8                     # where the name begins, if it is behind such lines
    DIGITS_MOST = 3


cdef inline size_t short_number(const char* p, size_t n, size_t* at, char kind) noexcept nogil:
    """Of a line of that kind, which is passed over; 0 for none, and for long ones."""
    cdef size_t i = at[0]
    cdef size_t number = 0
    cdef int _digit
    cdef uint8_t c
    if n < i + LINE_LEAST + DIGITS_MOST or p[i] != kind:
        return 0
    for _digit in range(DIGITS_MOST + 1):
        i += 1
        c = <uint8_t>(p[i] - c'0')
        if c > 9:
            at[0] = i + 2
            return number if p[i] == CR else 0
        number = 10 * number + c
    return 0


cdef bint peek_key(const char* p, size_t n, Span* key) noexcept nogil:
    """The first argument, unless the command's name begins as GET does."""
    cdef size_t at = 0
    cdef size_t size
    if n > NAME_AT and p[NAME_AT] | 32 == c'g':
        return False                                # nearly always decided here, so that reads pay next to nothing
    if short_number(p, n, &at, c'*') < 2:
        return False
    size = short_number(p, n, &at, c'$')
    if size == 0 or n < at + size + 2 or p[at] | 32 == c'g':
        return False
    at += size + 2
    size = short_number(p, n, &at, c'$')
    if size == 0 or n < at + size:
        return False
    key.off, key.len = at, size
    return True


# ---- for tests

def peeked(bytes data):
    """The key, or None."""
    cdef Span key
    cdef const char* p = data
    if not peek_key(p, len(data), &key):
        return None
    return data[key.off:key.off + key.len]
