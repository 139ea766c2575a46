# The face of remote_lane.pyx: from an io worker to the other datacenters.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.ipc.doorbell cimport Doorbell
from dynomite_mp.ipc.ring cimport SpscRing
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.workers.request cimport Request, SlotQueue


cdef class RemoteLane:
    cdef SpscRing ring
    cdef Doorbell doorbell
    cdef object outbox              # proxies.Outbox: spills, waits, gives up as the ring's row says
    cdef SlabWriter slab
    cdef SlotQueue waiting          # requests whose remote verdicts are awaited; the position is part of the id
    cdef uint64_t id_high
    cdef uint64_t sequence
    cdef uint32_t worker_index
    cdef uint32_t boot
    cdef uint64_t read_wait_ns
    cdef uint64_t write_wait_ns
    cdef bint must_ring

    cdef int send(self, Request* request, const CommandRow* row, const char* p, size_t n, uint64_t now_ns) except -2
    cdef Request* find(self, uint64_t req_id) noexcept
    cdef Request* next_expired(self, uint64_t now_ns) noexcept
    cdef void drop_settled(self) noexcept
    cdef void ring_doorbell(self) noexcept
