# The face of wan_path.pyx: the data path of the replication process.
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.cluster.continuum cimport Continuum
from dynomite_mp.ipc.message_codec cimport Replicate
from dynomite_mp.proto.dnode cimport EXTENSION_MOST
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.peer_out_conn cimport PeerOutConn
from dynomite_mp.workers.request cimport Request, Slot


cdef class RemoteRack:
    cdef Continuum circle
    cdef list conns                 # PeerOutConn that are up, by place in the rack; None where one is missing
    cdef readonly tuple nodes


cdef class RemoteDatacenter:
    cdef readonly str name
    cdef readonly int index
    cdef list racks                 # RemoteRack in the order in which they are tried: the preferred one first
    cdef readonly uint64_t sent
    cdef readonly uint64_t failed_over
    cdef readonly uint64_t dropped


cdef class WanPath(DataPath):
    cdef list datacenters
    cdef object on_verdict          # (worker, req_id, dc index, status, reply) -> None
    cdef uint64_t reply_timeout_ns
    cdef size_t peer_bytes
    cdef char[EXTENSION_MOST] outgoing      # what the frames of the record at hand say of it
    cdef size_t outgoing_len
    cdef int w_requests
    cdef int w_request_bytes
    cdef int w_responses
    cdef int w_response_bytes
    cdef int w_dropped
    cdef int w_timeouts
    cdef int w_failovers
    cdef int w_rtt
    cdef int w_queue_wait
    cdef int w_in_length
    cdef int w_out_length

    cdef void describe(self, const Replicate* record) noexcept
    cdef Slot* enqueue(self, PeerOutConn conn, int type, const Replicate* record) noexcept
    cdef int replicate(self, const Replicate* record) except -1
    cdef int forward(self, RemoteDatacenter dc, const Replicate* record) except -1
    cdef int to_every_node(self, RemoteDatacenter dc, const Replicate* record) except -1
    cdef bint ask_any(self, RemoteDatacenter dc, const Replicate* record) except -1
    cdef int ask_each(self, RemoteDatacenter dc, const Replicate* record) except -1
    cdef int settle(self, Request* request, int verdict) except -1
    cdef int miss(self, Slot* slot) except -1
    cdef PeerOutConn conn_of(self, RemoteRack rack, uint32_t token)
