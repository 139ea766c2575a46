# The face of io_path.pyx: the orchestrator of an io worker and its connections.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.proto.resp cimport ReplyScan, RequestScan
from dynomite_mp.workers.conn cimport Conn, PollSet
from dynomite_mp.workers.request cimport Request, RequestQueue, Slot, SlotQueue
from dynomite_mp.workers.shard_link cimport ShardLink


cdef enum:
    GROUP_RESP2 = 0
    GROUP_RESP3 = 1
    GROUPS = 2
    ORDER_BUCKETS = 4096

    # Reasons for which a client is not read (ClientConn.pause_bits)
    PAUSE_BUDGET = 1                # its unanswered requests are over its soft budget
    PAUSE_HELD = 2                  # its next request waits for a condition
    PAUSE_PRESSURE = 4              # the process is over its budget

    # What happened to a request that was handed on
    TAKEN = 0
    HOLD = 1                        # not now: try the same request again later
    REFUSED = 2                     # an error was answered


cdef class IoPath(PollSet):
    cdef readonly SlabWriter slab
    cdef object owner               # IoWorker: the cold side
    cdef object sessions            # answers HELLO, CLIENT, COMMAND ...
    cdef object schedule_tick
    cdef list datastores            # DatastoreConn that are up, group after group; None where one is missing
    cdef uint32_t datastore_count   # connections in a group
    cdef list shards                # ShardLink by io worker index, None for this one
    cdef uint32_t shard_index
    cdef uint32_t shard_count
    cdef int hash_kind
    cdef char tag_open
    cdef char tag_close
    cdef bint has_tag
    cdef bint ticking
    cdef bint rerunning
    cdef bint draining
    cdef list held                  # ClientConn whose next request waits, oldest first
    cdef list lingering             # ClientConn that said their last word and wait for the other side's EOF
    cdef Buf scratch                # an error reply being made
    cdef Buf inline_array
    cdef uint64_t in_flight         # slots that owe a reply
    # budgets and deadlines
    cdef uint64_t timeout_ns
    cdef uint64_t silence_ns
    cdef size_t client_soft_bytes
    cdef size_t client_hard_bytes
    cdef size_t datastore_bytes
    cdef size_t process_bytes
    # order of writes between the protocol groups
    cdef uint32_t* pending[2]       # writes sent and not answered, by bucket of the key's hash
    cdef uint16_t* waiters          # held writes, by bucket
    cdef uint64_t pending_total[2]
    cdef uint64_t pending_wide[2]   # of them such with several keys
    # places in the counter slab
    cdef int c_read_requests
    cdef int c_write_requests
    cdef int c_request_bytes
    cdef int c_responses
    cdef int c_response_bytes
    cdef int c_local_requests
    cdef int c_error_responses
    cdef int c_timeouts
    cdef int c_unreachable
    cdef int c_refused
    cdef int c_protocol_errors
    cdef int c_hard_limit
    cdef int c_pauses
    cdef int c_clients
    cdef int c_client_eof
    cdef int c_client_err
    cdef int c_dropped
    cdef int c_shard_sent
    cdef int c_shard_received
    cdef int c_shard_replies_sent
    cdef int c_shard_replies_received
    cdef int c_store_requests[4]    # by 2 * group + is_write
    cdef int c_store_request_bytes[4]
    cdef int c_store_responses[4]
    cdef int c_store_response_bytes[4]
    cdef int c_store_timeouts[2]    # by group
    cdef int c_store_errors[2]
    cdef int h_request              # histograms: the first command class's place
    cdef int h_datastore
    cdef int h_payload
    cdef int h_queue_wait
    cdef int h_client_queue
    cdef int h_in_queue
    cdef int h_out_queue
    cdef readonly uint64_t clients  # open now

    cdef int handle(self, ClientConn client, const char* p, RequestScan* scan) except -1
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
    cdef int protocol_error(self, ClientConn client, uint16_t code) except -1
    cdef int refuse(self, ClientConn client, uint16_t code) except -1
    cdef void refuse_begin(self) noexcept
    cdef uint32_t token(self, const char* key, size_t n) noexcept
    cdef uint32_t shard_of(self, uint32_t token) noexcept
    cdef void stop_waiting(self, ClientConn client) noexcept
    cdef int deliver(self, ClientConn client, Request* request, const char* p, size_t n) except -1
    cdef int serve_shard_request(self, ShardLink link, Request* request, const char* p, size_t n) except -1
    cdef int answer_locally(self, ClientConn client, const char* p, RequestScan* scan, const CommandRow* row) except -1
    cdef int hold(self, ClientConn client, uint32_t bucket, bint is_order) except -1
    cdef int rerun_held(self) except -1
    cdef int serve_shards(self) except -1
    cdef int shard_reply(self, Request* request, const char* p, size_t n) except -1
    cdef void count_reply(self, DatastoreConn conn, Slot* slot, size_t n) noexcept
    cdef void count_request(self, const CommandRow* row, size_t n) noexcept
    cdef void start_ticking(self)


cdef class ClientConn(Conn):
    cdef IoPath path
    cdef RequestScan scan
    cdef bint scan_whole            # the frame at the head of inbuf is complete and not yet handled
    cdef RequestQueue queue
    cdef size_t in_flight_bytes
    cdef size_t parked_bytes        # replies that wait for an earlier one
    cdef uint32_t pause_bits
    cdef uint32_t wait_bucket       # 1 + order bucket it waits for, 0 = none
    cdef bint is_held
    cdef bint is_finishing          # close when everything is answered and sent
    cdef bint is_half_closed        # the client has sent its last byte
    cdef bint is_lingering          # write side shut down, input is thrown away
    cdef uint64_t linger_until_ns
    cdef uint8_t group              # protocol group: GROUP_RESP2 or GROUP_RESP3
    cdef readonly object session    # None until a command needs one
    cdef readonly object address

    cdef void set_pause(self, uint32_t bit) noexcept
    cdef void clear_pause(self, uint32_t bit)
    cdef void settle(self, Request* request) noexcept
    cdef int flush_done(self) except -1
    cdef void finish(self)
    cdef void check_limits(self)


cdef class DatastoreConn(Conn):
    cdef IoPath path
    cdef object owner               # DatastoreLink: connects and reconnects
    cdef readonly int group
    cdef readonly int index
    cdef SlotQueue slots
    cdef uint64_t sent              # slots before this position have left completely
    cdef ReplyScan scan
    cdef readonly bint is_connecting
    cdef readonly bint is_up        # handshake done
    cdef readonly bint is_silent
    cdef uint64_t last_activity_ns
    cdef uint64_t last_probe_ns

    cdef uint64_t unsent(self) noexcept
    cdef int handshake_reply(self, const char* p, size_t n) except -1
    cdef int expire(self, uint64_t timeout_ns) except -1
    cdef void watch_silence(self) noexcept
