# The face of target_conn.pyx: a connection that requests go to.
from libc.stdint cimport uint64_t

from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.request cimport Slot, SlotQueue


cdef class TargetConn(Conn):
    cdef DataPath path
    cdef object owner               # the link that connects it, and again after a loss
    cdef SlotQueue slots
    cdef uint64_t left              # slots before this position have left completely
    cdef readonly bint is_connecting
    cdef readonly bint is_up        # handshake done: requests may be sent
    cdef readonly bint is_silent    # owes replies and says nothing
    cdef uint64_t last_activity_ns
    cdef uint64_t last_probe_ns
    cdef uint64_t bulk_ns           # by how much a huge request in the queue extends deadlines

    cdef Slot* enqueue(self, const char* head, size_t head_len, const char* p, size_t n) noexcept
    cdef void undo(self) noexcept
    cdef void heard(self) noexcept
    cdef int probe_now_and_then(self) except -1
    cdef int probe(self) except -1
    cdef int take(self, Slot* slot) except -1
    cdef void let_go(self, Slot* slot) noexcept
    cdef uint64_t unsent(self) noexcept
    cdef int handshake_reply(self, const char* p, size_t n) except -1
    cdef int expire(self, uint64_t timeout_ns) except -1
    cdef bint watch_silence(self, uint64_t silence_ns) noexcept
    cdef bint has_paused(self, uint64_t pause_ns) noexcept


cdef tuple queue_figures(list conns, SlabWriter slab, int in_length, int out_length)
