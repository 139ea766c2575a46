# When is it enough. See quorum.pyx.
from libc.stdint cimport uint8_t, int16_t, uint16_t, uint64_t


cpdef enum:
    QUORUM_WAIT = 0                 # not decided
    QUORUM_AGREED = 1               # .chosen is the replica whose reply is the answer
    QUORUM_FAILED = 2               # too many errors: the first error is the answer
    QUORUM_DIFFER = 3               # enough replies and no two agree

    REPLICA_WAITS = 0
    REPLICA_GOOD = 1
    REPLICA_ERROR = 2               # it answered an error
    REPLICA_MISSED = 3              # no answer: unreachable, lost, late


cdef struct ReplySet:
    uint16_t racks
    uint16_t quorum
    uint16_t good
    uint16_t bad                    # errors and missed
    uint16_t missed
    int16_t first_good              # replica, -1 none yet
    int16_t first_bad
    int16_t chosen
    uint64_t* digests               # by replica
    uint8_t* outcomes               # REPLICA_*
    char** replies                  # malloc'ed copies, NULL where none is kept
    size_t* reply_lens


cdef ReplySet* reply_set_new(int racks) noexcept nogil
cdef void reply_set_free(ReplySet* replies) noexcept nogil
cdef int reply_set_good(ReplySet* replies, int rack, uint64_t digest) noexcept nogil
cdef int reply_set_bad(ReplySet* replies, int rack, bint answered) noexcept nogil
cdef int reply_set_differing(ReplySet* replies) noexcept nogil
cdef uint64_t reply_digest(const char* p, size_t n) noexcept nogil
