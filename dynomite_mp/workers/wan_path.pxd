# The face of wan_path.pyx: the data path of the replication process.
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.cluster.continuum cimport Continuum
from dynomite_mp.ipc.message_codec cimport Hint, Replicate
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.peer_out_conn cimport PeerOutConn
from dynomite_mp.workers.request cimport Request, Slot
from dynomite_mp.workers.wan_queue cimport WanQueue


cdef class RemoteRack:
    cdef Continuum circle
    cdef list conns                 # PeerOutConn that are up, by place in the rack; None where one is missing
    cdef readonly tuple nodes


cdef class RemoteDatacenter:
    cdef readonly str name
    cdef readonly int index
    cdef WanQueue queue
    cdef list racks                 # RemoteRack in the order in which they are tried: the preferred one first
    cdef readonly uint64_t sent
    cdef readonly uint64_t failed_over
    cdef readonly uint64_t dropped


cdef class WanPath(DataPath):
    cdef list datacenters
    cdef object on_verdict          # (worker, req_id, dc index, status, reply) -> None
    cdef dict queues                # WanQueue by the name of its datacenter; of those that left, too
    cdef bint must_write_queues     # their logs have records that are not written yet
    cdef object open_queue_log      # (name) -> HintLog
    cdef dict hint_logs             # HintLog by the peer address of its replica, bytes
    cdef set hinted                 # addresses whose logs have records that are not written yet
    cdef object open_hint_log       # (address) -> HintLog
    cdef object on_hinted           # (addresses) -> None
    cdef uint64_t now_ms            # wall clock
    cdef uint64_t age_ms_max        # of what waits in a queue; 0: any
    cdef uint64_t reply_timeout_ns
    cdef size_t peer_bytes
    cdef int w_hints
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

    cdef int log_hint(self, const Hint* hint, const char* data, size_t size) except -1
    cdef int write_logs(self) except -1
    cdef int replicate(self, const Replicate* record, const char* data, size_t size) except -1
    cdef int to_every_node(self, RemoteDatacenter dc, const Replicate* record) except -1
    cdef bint ask_any(self, RemoteDatacenter dc, const Replicate* record) except -1
    cdef PeerOutConn conn_of(self, RemoteRack rack, uint32_t token)
    cdef int forward(self, RemoteDatacenter dc, const Replicate* record, const char* data, size_t size) except -1
    cdef int forward_unlogged(self, RemoteDatacenter dc, const Replicate* record, const char* data, size_t size,
                              bint is_next) except -1
    cdef void give_up(self, RemoteDatacenter dc)
    cdef int send(self, RemoteDatacenter dc, const Replicate* record, uint64_t entry, uint32_t flags) except -1
    cdef int pump(self, RemoteDatacenter dc) except -1
    cdef int send_lost(self, RemoteDatacenter dc, WanQueue queue) except -1
    cdef void never(self, RemoteDatacenter dc, WanQueue queue, uint64_t entry)
    cdef void keep_ticking(self)
    cdef bint lags_behind(self)
    cdef int ask_each(self, RemoteDatacenter dc, const Replicate* record, const char* data, size_t size) except -1
    cdef uint64_t queue_asked(self, WanQueue queue, const char* data, size_t size) except? 0
    cdef int note_outcome(self, Request* request, bint is_good) except -1
    cdef int settle(self, Request* request, int verdict) except -1
    cdef int miss(self, Slot* slot) except -1
    cdef int miss_queued(self, WanQueue queue, uint64_t entry) except -1
    cdef int answered(self, WanQueue queue, uint64_t entry, const char* p, size_t n, bint is_error) except -1
    cdef int target_silent(self, PeerOutConn conn) except -1
