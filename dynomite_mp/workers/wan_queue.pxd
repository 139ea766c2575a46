# The face of wan_queue.pyx: the writes for one other datacenter, in a log, and which of them are under way.
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.workers.hint_log cimport HintLog

cdef enum:
    WINDOW = 65536                  # records under way at most


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
    cdef void done(self, uint64_t index) noexcept
    cdef void missed(self, uint64_t index)
    cdef list take_lost(self)
    cdef void put_back(self, list lost)
    cdef bytes payload_of(self, uint64_t index)
    cdef bint may_have_been_sent(self, uint64_t start)
    cdef int settle(self) except -1
    cdef tuple peek(self)
    cdef void pop(self)
