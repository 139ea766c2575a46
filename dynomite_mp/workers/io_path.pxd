# The face of io_path.pyx: the orchestrator of an io worker.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.proto.resp cimport RequestScan
from dynomite_mp.workers.client_conn cimport ClientConn
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.request cimport Request, Slot
from dynomite_mp.workers.shard_link cimport ShardLink


cdef class IoPath(DataPath):
    cdef list datastores            # DatastoreConn that are up, group after group; None where one is missing
    cdef uint32_t datastore_count   # connections in a group
    cdef object connect_on_demand   # preconnect: false, and no request has come yet
    cdef list shards                # ShardLink by io worker index, None for this one
    cdef uint32_t shard_index
    cdef uint32_t shard_count
    cdef int hash_kind
    cdef char tag_open
    cdef char tag_close
    cdef bint has_tag
    cdef bint rerunning
    cdef list held                  # ClientConn whose next request waits, oldest first
    cdef Buf scratch                # an error reply being made
    cdef Buf inline_array
    # order of writes between the protocol groups
    cdef uint32_t* pending[2]       # writes sent and not answered, by bucket of the key's hash
    cdef uint16_t* waiters          # held writes, by bucket
    cdef uint64_t pending_total[2]
    cdef uint64_t pending_wide[2]   # of them such with several keys

    cdef int forward(self, ClientConn client, const char* p, RequestScan* scan, const CommandRow* row) except -1
    cdef int place(self, const char* p, RequestScan* scan, const CommandRow* row,
                   uint32_t* shard, uint32_t* token, bint* wide) except -1
    cdef int to_datastore(self, Request* request, int group, uint32_t token, bint wide, const CommandRow* row,
                          const char* p, size_t n) except -1
    cdef int to_shard(self, Request* request, int group, uint32_t shard, const CommandRow* row,
                      const char* p, size_t n) except -1
    cdef bint may_write(self, int group, uint32_t bucket, bint wide) noexcept
    cdef void wrote(self, Slot* slot, int group) noexcept
    cdef int on_reply(self, Request* request, const char* p, size_t n) except -1
    cdef int fail(self, Request* request, uint16_t code) except -1
    cdef int answer(self, ClientConn client, const char* p, size_t n) except -1
    cdef int answer_scratch(self, ClientConn client) except -1
    cdef int handle_inline(self, ClientConn client, const char* p, RequestScan* scan) except -1
    cdef int refuse(self, ClientConn client, uint16_t code) except -1
    cdef void refuse_begin(self) noexcept
    cdef uint32_t token(self, const char* key, size_t n) noexcept
    cdef uint32_t shard_of(self, uint32_t token) noexcept
    cdef int serve_shard_request(self, ShardLink link, Request* request, const char* p, size_t n) except -1
    cdef int answer_locally(self, ClientConn client, const char* p, RequestScan* scan, const CommandRow* row) except -1
    cdef int hold(self, ClientConn client, uint32_t bucket, bint is_order) except -1
    cdef int rerun_held(self) except -1
    cdef int serve_shards(self) except -1
    cdef int shard_reply(self, Request* request, const char* p, size_t n) except -1
    cdef void count_request(self, const CommandRow* row, size_t n) noexcept
