"""When is it enough: the replies of a request's replicas, any number of racks, and the verdict.

What it is: counting. A reply is known by a digest; two replies agree when their digests are equal. The reference's rule
(3.7), without its limit of three racks:

    agreeing replies >= quorum                          AGREED, the first of them is the answer
    racks - errors - missed < quorum                    FAILED, as soon as the quorum is out of reach
    all have answered, good >= quorum, none agree       DIFFER
    otherwise                                           WAIT

Agreement takes quorum equal replies. C is content with any two, which for its at most three racks is the same number.

What it is not: it does not send, keep time or know levels; what DIFFER means (the first reply, or an error) is the
plan's.

Invariants: a replica counts once, a second reply of it is ignored; a verdict, once given, is final.
"""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset


cdef ReplySet* free_list = NULL


cdef ReplySet* reply_set_new(int racks) noexcept nogil:
    """NULL when memory is out."""
    global free_list
    cdef ReplySet* replies = free_list
    if replies != NULL and replies.room == racks:
        free_list = replies.next
    else:
        replies = <ReplySet*>malloc(sizeof(ReplySet) + racks * sizeof(ReplicaReply))
        if replies == NULL:
            return NULL
    memset(replies, 0, sizeof(ReplySet) + racks * sizeof(ReplicaReply))
    replies.racks = replies.room = <uint16_t>racks
    replies.quorum = <uint16_t>(racks // 2 + 1)
    replies.first_good = replies.first_bad = replies.chosen = -1
    replies.replicas = <ReplicaReply*>(<char*>replies + sizeof(ReplySet))
    return replies


cdef void reply_set_free(ReplySet* replies) noexcept nogil:
    """Sets of the size used last are kept for the next request; a topology has one size."""
    global free_list
    cdef int rack
    if replies == NULL:
        return
    for rack in range(replies.racks):
        free(replies.replicas[rack].long_reply)
    while free_list != NULL and free_list.room != replies.room:
        free_list = drop_first(free_list)
    replies.next = free_list
    free_list = replies


cdef ReplySet* drop_first(ReplySet* replies) noexcept nogil:
    cdef ReplySet* rest = replies.next
    free(replies)
    return rest


cdef void reply_set_keep(ReplySet* replies, int rack, const char* p, size_t n) noexcept nogil:
    """A copy of the first reply of a replica; none when memory is out."""
    cdef ReplicaReply* replica = &replies.replicas[rack]
    if replica.is_kept:
        return
    if n <= SHORT_REPLY_BYTES:
        memcpy(replica.short_reply, p, n)
    else:
        replica.long_reply = <char*>malloc(n)
        if replica.long_reply == NULL:
            return
        memcpy(replica.long_reply, p, n)
    replica.len = n
    replica.is_kept = True


cdef const char* reply_set_kept(ReplySet* replies, int rack, size_t* n) noexcept nogil:
    """Valid as long as the set; NULL when none is kept."""
    cdef ReplicaReply* replica = &replies.replicas[rack]
    n[0] = replica.len
    if not replica.is_kept:
        return NULL
    return replica.long_reply if replica.long_reply != NULL else replica.short_reply


cdef int reply_set_good(ReplySet* replies, int rack, uint64_t digest) noexcept nogil:
    """A replica answered; the verdict so far."""
    cdef int other
    cdef uint16_t same = 1
    if replies.replicas[rack].outcome != REPLICA_WAITS:
        return verdict(replies)
    replies.replicas[rack].outcome = REPLICA_GOOD
    replies.replicas[rack].digest = digest
    replies.good += 1
    if replies.first_good < 0:
        replies.first_good = <int16_t>rack
    if replies.chosen < 0:
        for other in range(replies.racks):
            if (other != rack and replies.replicas[other].outcome == REPLICA_GOOD
                    and replies.replicas[other].digest == digest):
                same += 1
        if same >= replies.quorum:
            replies.chosen = <int16_t>rack
    return verdict(replies)


cdef int reply_set_bad(ReplySet* replies, int rack, bint answered) noexcept nogil:
    """A replica answered an error, or will not answer; the verdict so far."""
    if replies.replicas[rack].outcome != REPLICA_WAITS:
        return verdict(replies)
    replies.replicas[rack].outcome = REPLICA_ERROR if answered else REPLICA_MISSED
    replies.bad += 1
    if answered:
        if replies.first_bad < 0:
            replies.first_bad = <int16_t>rack
    else:
        replies.missed += 1
    return verdict(replies)


cdef bint reply_set_again(ReplySet* replies, int rack) noexcept nogil:
    """A replica that did not answer is asked once more; whether it is one."""
    cdef ReplicaReply* replica = &replies.replicas[rack]
    if replica.outcome != REPLICA_MISSED:
        return False
    free(replica.long_reply)
    replica.long_reply = NULL
    replica.is_kept = False
    replica.outcome = REPLICA_WAITS
    replies.bad -= 1
    replies.missed -= 1
    return True


cdef int verdict(ReplySet* replies) noexcept nogil:
    if replies.chosen >= 0:
        return QUORUM_AGREED
    if replies.racks - replies.bad < replies.quorum:
        return QUORUM_FAILED
    if replies.good + replies.bad == replies.racks:
        return QUORUM_DIFFER
    return QUORUM_WAIT


cdef int reply_set_best(ReplySet* replies, int like, int first, uint64_t doubtful) noexcept nogil:
    """The first rack, beginning with `first`, that agrees with rack `like` and is not among the doubtful (a bit each);
    `like` when there is none."""
    cdef int i, rack
    cdef uint64_t digest = replies.replicas[like].digest
    for i in range(replies.racks):
        rack = (first + i) % replies.racks
        if (replies.replicas[rack].outcome == REPLICA_GOOD and replies.replicas[rack].digest == digest
                and (rack >= 64 or not doubtful >> rack & 1)):
            return rack
    return like


cdef int reply_set_differing(ReplySet* replies) noexcept nogil:
    """How many good replies are not of the most frequent kind."""
    cdef int one, other, same
    cdef int most = 0
    for one in range(replies.racks):
        same = 0
        for other in range(replies.racks):
            if (replies.replicas[one].outcome == REPLICA_GOOD and replies.replicas[other].outcome == REPLICA_GOOD
                    and replies.replicas[one].digest == replies.replicas[other].digest):
                same += 1
        most = max(most, same)
    return replies.good - most


cdef uint64_t reply_digest(const char* p, size_t n) noexcept nogil:
    """64-bit FNV-1a over eight bytes a step, mixed at the end; a reply is compared as the bytes it is."""
    cdef uint64_t h = <uint64_t>0xCBF29CE484222325 ^ n
    cdef uint64_t word
    cdef size_t i = 0
    cdef size_t j
    while i + 8 <= n:
        memcpy(&word, p + i, 8)
        h = (h ^ word) * <uint64_t>0x9E3779B97F4A7C15
        h ^= h >> 29
        i += 8
    for j in range(i, n):
        h = (h ^ <uint8_t>p[j]) * <uint64_t>0x100000001B3
    h ^= h >> 32
    return h * <uint64_t>0xD6E8FEB86659FD93


# ---- for tests

cdef class Replies:
    """A reply set as an object: `good(rack, reply)` and `bad(rack, answered)` return the verdict."""

    cdef ReplySet* replies

    def __cinit__(self, racks):
        self.replies = reply_set_new(racks)
        if self.replies == NULL:
            raise MemoryError

    def __dealloc__(self):
        reply_set_free(self.replies)

    def good(self, int rack, bytes reply):
        return reply_set_good(self.replies, rack, reply_digest(reply, len(reply)))

    def bad(self, int rack, bint answered):
        return reply_set_bad(self.replies, rack, answered)

    def again(self, int rack):
        return reply_set_again(self.replies, rack)

    @property
    def differing(self):
        return reply_set_differing(self.replies)

    @property
    def chosen(self):
        return self.replies.chosen

    @property
    def first_bad(self):
        return self.replies.first_bad
