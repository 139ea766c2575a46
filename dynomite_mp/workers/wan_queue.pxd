# The face of wan_queue.pyx: the writes for one other datacenter, in a log, and which of them are under way.
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.workers.hint_log cimport HintLog

cdef enum:
    WINDOW = 65536                  # records under way at most
    KEPT_BYTES = 16777216           # of records that the log could not take

cdef uint64_t FIRST_KEPT            # entries from here on are of records that are not in the log


cdef struct WanEntry:
    uint64_t start                  # position of the record in the log
    uint64_t end
    uint32_t state


cdef class WanQueue:
    cdef readonly str name
    cdef readonly HintLog log
    cdef WanEntry* entries          # a ring: index & (WINDOW - 1)
    cdef readonly uint64_t head     # entries before it are done with
    cdef readonly uint64_t tail
    cdef readonly uint64_t next_start       # position of the first record that was never sent by this process
    cdef readonly uint64_t resent_before    # records before it may have been sent by a predecessor
    cdef list lost                  # entries to be sent again
    cdef dict kept                  # payloads that the log has not: by entry, or by start where there is an entry
    cdef size_t kept_bytes
    cdef uint64_t next_kept
    cdef set kept_sent              # entries of these that are under way
    cdef uint64_t lost_not_before_ns
    cdef set asked                  # positions of records that went to every rack already (DC_EACH_SAFE_QUORUM)
    cdef list ahead                 # records read from the log, to be sent next; the first is at ahead_at
    cdef Py_ssize_t ahead_at

    cdef inline bint is_live(self):
        # Whether the next record may be sent from memory: all before it have been sent.
        return self.next_start == self.log.end and self.ahead is None

    cdef inline bint has_room(self):
        return self.tail - self.head < WINDOW

    cdef uint64_t sent(self, uint64_t start, uint64_t end) noexcept
    cdef uint64_t keep(self, const char* p, size_t n) except? 0
    cdef int keep_refused(self) except -1
    cdef void let_go(self, uint64_t place)
    cdef void done(self, uint64_t index)
    cdef void missed(self, uint64_t index)
    cdef list take_lost(self)
    cdef void put_back(self, list lost)
    cdef bytes payload_of(self, uint64_t index)
    cdef bint may_have_been_sent(self, uint64_t start)
    cdef int settle(self) except -1
    cdef tuple peek(self)
    cdef void pop(self)
