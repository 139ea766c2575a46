# The face of remote_lane.pyx: from an io worker to the other datacenters.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.ipc.doorbell cimport Doorbell
from dynomite_mp.ipc.ring cimport SpscRing
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.workers.request cimport Request, SlotQueue


cdef enum:                          # Replicate.need_ack: what the other datacenters are asked
    ACK_NONE = 0                    # one copy each, no answer
    ACK_WRITE = 1                   # every rack's owner; each datacenter's verdict
    ACK_READ = 2                    # the same for a read
    ACK_ALL_NODES = 3               # every node, no answer
    ACK_READ_ANY = 4                # the owner in any one of them; its reply


cdef class RemoteLane:
    cdef SpscRing ring
    cdef Doorbell doorbell
    cdef object outbox              # proxies.Outbox: spills, waits, gives up as the ring's row says
    cdef SlabWriter slab
    cdef SlotQueue waiting          # requests whose remote verdicts are awaited; the position is part of the id
    cdef uint64_t id_high
    cdef uint32_t worker_index
    cdef uint32_t boot
    cdef uint64_t read_wait_ns
    cdef uint64_t write_wait_ns
    cdef bint must_ring

    cdef int send(self, Request* request, const CommandRow* row, const char* p, size_t n, uint64_t now_ns,
                  int ack) except -2
    cdef int hint(self, Request* request, const CommandRow* row, int kind, bytes node,
                  const char* p, size_t n) except -2
    cdef int key_copy(self, uint32_t token, bytes key, int reason) except -2
    cdef Request* find(self, uint64_t req_id) noexcept
    cdef Request* next_expired(self, uint64_t now_ns) noexcept
    cdef void drop_settled(self) noexcept
    cdef void ring_doorbell(self) noexcept
