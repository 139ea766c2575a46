# The face of shard_link.pyx: the pair of rings between this io worker and another.
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.ipc.doorbell cimport Doorbell
from dynomite_mp.ipc.message_codec cimport ShardWrite
from dynomite_mp.ipc.ring cimport SpscRing
from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.workers.request cimport Request, SlotQueue

cdef enum:
    IS_BEHIND = 0x10000             # of SHARD_REPLY.status: the asking coordinator's clock is behind

    SHARD_NOTHING = 0               # what next_record() found
    SHARD_TOOK_REQUEST = 1
    SHARD_TOOK_REPLY = 2
    SHARD_SKIP = 3                  # handled or of no use: done_record() and go on

    OFFERED = 0                     # what became of a request or reply
    OFFER_FULL = 1
    OFFER_FAILED = 2


cdef class ShardLink:
    cdef readonly int peer_index
    cdef uint32_t flags             # of the request that next_record() gave
    cdef uint64_t clock             # 0: no peer's frame brought one
    cdef uint32_t reply_status      # of the reply that it gave
    cdef uint64_t reply_stamp
    cdef SpscRing outbound
    cdef SpscRing inbound
    cdef Doorbell doorbell
    cdef object spill
    cdef object other_record        # (type, payload) -> None: cold messages on the same ring
    cdef SlotQueue waiting          # our requests at the other worker; the position is part of the id
    cdef uint64_t id_high
    cdef Buf overflow               # records that must go and found the ring full, in order
    cdef int ring_index             # of the outbound ring
    cdef SlabWriter slab
    cdef bytes spilled              # keeps the bytes of a spilled record alive until done_record()
    cdef bytes spill_record
    cdef bint must_ring

    cdef int send_request(self, Request* request, uint32_t flags, uint64_t now_ns, uint64_t timeout_ns,
                          const char* p, size_t n, bint must_go) except -1
    cdef int keep(self, uint32_t type, const char* head, size_t head_len, const char* p, size_t n) except -1
    cdef int send_reply(self, Request* request, const char* p, size_t n) except -1
    cdef size_t write_head(self, char* head, const Request* request, uint32_t flags, uint64_t deadline_ms,
                           size_t n) noexcept
    cdef void take_write(self, Request* request, const ShardWrite* write) noexcept
    cdef int send_overflow(self) except -1
    cdef int next_record(self, const char** p, size_t* n, Request** request) except -1
    cdef void done_record(self)
    cdef Request* next_expired(self, uint64_t now_ns, uint64_t timeout_ns) noexcept
    cdef void ring_doorbell(self) noexcept
    cdef int offer(self, uint32_t type, const char* head, size_t head_len, const char* p, size_t n) except -1
    cdef int offer_spilled(self, uint32_t type, bytes payload) except -1
    cdef Request* take(self, uint64_t req_id) noexcept
