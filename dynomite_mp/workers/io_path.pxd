# The face of io_path.pyx: the orchestrator of an io worker.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.proto.resp cimport RequestScan
from dynomite_mp.workers.client_conn cimport ClientConn
from dynomite_mp.workers.key_holds cimport KeyHolds
from dynomite_mp.workers.peer_in_conn cimport PeerInConn
from dynomite_mp.workers.request cimport Request
from dynomite_mp.workers.shard_link cimport ShardLink
from dynomite_mp.workers.source_conn cimport SourceConn


cdef struct Place:                  # of a request: who serves its keys
    uint32_t shard                  # io worker
    uint32_t token
    uint32_t flags                  # WITH_*: protocol, level, who asked
    bint is_wide                    # several keys
    bint has_several                # their tokens differ
    uint64_t key_hash               # of a write of one key
    uint8_t conflict                # class of a write


cdef class IoPath(KeyHolds):
    cdef bint serves_shards
    cdef int read_level             # for new clients
    cdef int write_level
    cdef Buf inline_array
    cdef Buf absolute               # the request at hand, its expiry made absolute
    cdef uint64_t* groups           # of the keys of the request at hand: which may travel together
    cdef size_t group_count
    cdef size_t group_room
    cdef object on_gossip_text
    cdef readonly int peer_clients  # inbound peer connections open now

    cdef CommandRow* lookup(self, const char* p, RequestScan* scan) noexcept
    cdef int forward(self, SourceConn source, const char* p, RequestScan* scan, const CommandRow* row,
                     uint32_t flags) except -1
    cdef bint make_absolute(self, const char* p, RequestScan* scan, const CommandRow* row, uint32_t flags,
                            RequestScan* rewritten) except -1
    cdef bint has_c_peer(self) except -1
    cdef Request* admit(self, SourceConn source, const CommandRow* row, size_t size) noexcept
    cdef int send_on(self, Request* request, const CommandRow* row, const Place* place,
                     const char* p, size_t n) except -1
    cdef int split(self, Request* whole, const char* p, RequestScan* scan, const CommandRow* row,
                   uint32_t flags) except -1
    cdef int place(self, const char* p, RequestScan* scan, const CommandRow* row, Place* place) except -2
    cdef bint add_group(self, uint64_t group) noexcept
    cdef int to_shard(self, Request* request, const Place* place, const char* p, size_t n) except -1
    cdef int answer_locally(self, ClientConn client, const char* p, RequestScan* scan, const CommandRow* row) except -1
    cdef int handle_inline(self, ClientConn client, const char* p, RequestScan* scan) except -1
    cdef int serve_shards(self) except -1
    cdef int serve_key(self, PeerInConn peer, const char* p, RequestScan* scan) except -1
    cdef int shard_key(self, Request* request, const char* p, RequestScan* scan) except -1
    cdef int take_status(self, Request* request, ShardLink link) except -1
    cdef int serve_shard_request(self, ShardLink link, Request* request, const char* p, size_t n) except -1
    cdef int expire_elsewhere(self) except -1
    cdef void count_request(self, const CommandRow* row, size_t n) noexcept
