# The face of data_path.pyx: what the connections know of the orchestrator (io_path.IoPath).
from libc.stdint cimport uint16_t, uint64_t

from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.proto.dnode cimport Extension
from dynomite_mp.proto.resp cimport RequestScan
from dynomite_mp.workers.conn cimport Conn, PollSet
from dynomite_mp.workers.io_cells cimport IoCells
from dynomite_mp.workers.request cimport Request, Slot


cpdef enum:
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


cdef class DataPath(PollSet):
    cdef readonly SlabWriter slab
    cdef IoCells cells
    cdef object sessions            # answers HELLO, CLIENT, COMMAND ...
    cdef object schedule_tick
    cdef list lingering             # ClientConn that said their last word and wait for the other side's EOF
    cdef uint64_t pause_ns          # a datastore that sends nothing for that long, and owes a reply, stands still
    cdef uint64_t in_flight         # slots that owe a reply
    cdef readonly uint64_t clients  # open now
    cdef bint ticking
    cdef bint holds_writes          # the datastore is given nothing for now: state WRITES_ONLY
    cdef uint64_t timeout_ns
    cdef uint64_t silence_ns
    cdef size_t gather_bytes        # so much waits for the datastore's replies to what was sent, to go in one piece
    cdef uint64_t remote_wait_ns    # how long a write may wait for other datacenters
    cdef size_t client_soft_bytes
    cdef size_t client_hard_bytes
    cdef size_t datastore_bytes
    cdef size_t process_bytes

    cdef void start_ticking(self)
    # hooks, carried out by IoPath
    cdef int handle(self, Conn source, const char* p, RequestScan* scan) except -1
    cdef int protocol_error(self, Conn source, uint16_t code) except -1
    cdef void stop_waiting(self, Conn source) noexcept
    cdef int target_reply(self, Conn target, Slot* slot, const char* p, size_t n, bint is_error) except -1
    cdef int target_later(self, Conn target, Slot* slot, bytes data, const char* p, size_t n) except -1
    cdef int target_expired(self, Conn target, Slot* slot, const char* p, size_t n) except -1
    cdef int target_lost(self, Conn target, Slot* slot, const char* p, size_t n) except -1
    cdef int target_changed(self, Conn target) except -1
    cdef int store_back(self) except -1
    cdef void target_sent(self, Conn target, uint64_t waited_ns) noexcept
    cdef void target_mismatch(self, Conn target) noexcept
    cdef int handle_peer(self, Conn source, const char* p, RequestScan* scan, bint is_forward,
                         const Extension* extension) except -1
    cdef int peer_gossip(self, Conn source, const char* p, size_t n) except -1
    cdef int heard_clock(self, Conn conn, uint64_t clock) except -1
    cdef size_t describe_reply(self, Request* request, char* data) noexcept
    cdef void foresee(self, const char* p, size_t n) noexcept
    cdef size_t describe_run(self, uint64_t run, char* data) noexcept
    cdef size_t describe_write(self, Request* request, const char** data) noexcept
    cdef void peer_opened(self, Conn source, int change) noexcept
