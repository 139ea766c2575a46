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


cdef enum:
    SHORT_REPLY_BYTES = 24          # a reply up to this is kept in the set itself


cdef struct ReplicaReply:           # of one rack
    uint64_t digest
    size_t len
    char* long_reply                # malloc'ed, NULL where the reply is short or none is kept
    uint8_t outcome                 # REPLICA_*
    uint8_t is_kept
    char[SHORT_REPLY_BYTES] short_reply


cdef struct ReplySet:
    ReplySet* next                  # free list
    uint16_t racks
    uint16_t quorum
    uint16_t good
    uint16_t bad                    # errors and missed
    uint16_t missed
    int16_t first_good              # replica, -1 none yet
    int16_t first_bad
    int16_t chosen
    uint16_t room                   # racks that fit in
    ReplicaReply* replicas          # behind this struct, in the same piece of memory


cdef ReplySet* reply_set_new(int racks) noexcept nogil
cdef void reply_set_free(ReplySet* replies) noexcept nogil
cdef int reply_set_good(ReplySet* replies, int rack, uint64_t digest) noexcept nogil
cdef int reply_set_bad(ReplySet* replies, int rack, bint answered) noexcept nogil
cdef bint reply_set_again(ReplySet* replies, int rack) noexcept nogil
cdef void reply_set_keep(ReplySet* replies, int rack, const char* p, size_t n) noexcept nogil
cdef const char* reply_set_kept(ReplySet* replies, int rack, size_t* n) noexcept nogil
cdef int reply_set_best(ReplySet* replies, int like, int first, uint64_t doubtful) noexcept nogil
cdef int reply_set_differing(ReplySet* replies) noexcept nogil
cdef uint64_t reply_digest(const char* p, size_t n) noexcept nogil
