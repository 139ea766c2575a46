"""Error replies that are no answer of a datastore: it was not asked, or a node does not serve such a request now.

What it is not: whether an answer may come later (hint_lanes, wan_path).
"""

from libc.string cimport memcmp

from dynomite_mp.errors import WIRE_ERRORS

cdef bytes _NOT_LEAD = WIRE_ERRORS["not_lead"].text.encode()
cdef const char* NOT_LEAD = _NOT_LEAD
cdef size_t NOT_LEAD_LEN = len(_NOT_LEAD)


cdef bint starts(const char* p, size_t n, const char* word, size_t len) noexcept nogil:
    return n >= len and memcmp(p, word, len) == 0


cdef bint says_unreachable(const char* p, size_t n) noexcept nogil:
    """Error replies that mean that the datastore was not asked: the store's own, and those of nodes (3.9)."""
    return (starts(p, n, b"-LOADING", 8) or starts(p, n, b"-MASTERDOWN", 11) or starts(p, n, b"-ERR Storage: ", 14)
            or starts(p, n, b"-ERR Peer: ", 11) or says_state(p, n) or starts(p, n, NOT_LEAD, NOT_LEAD_LEN))


cdef bint says_state(const char* p, size_t n) noexcept nogil:
    """A node that takes no such request in the state that it is in."""
    return starts(p, n, b"-ERR Dynomite: Dynomite's current state", 39)


cdef bint says_unasked(const char* p, size_t n) noexcept nogil:
    """Those of them that are certain: nothing was executed."""
    return (starts(p, n, b"-LOADING", 8) or starts(p, n, b"-MASTERDOWN", 11) or starts(p, n, NOT_LEAD, NOT_LEAD_LEN)
            or says_state(p, n))
