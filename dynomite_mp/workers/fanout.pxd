# The face of fanout.pyx: from a request to its targets, and from their outcomes to one answer.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.workers.request cimport Request, Slot
from dynomite_mp.workers.target_conn cimport TargetConn
from dynomite_mp.workers.writes cimport Writes


cdef enum:
    DOWN = 3                        # beside TAKEN, HOLD and REFUSED: the target cannot be reached; request.error_code

    AS_BEFORE = 4                   # of to_lead: the request is not of class lead


cdef class Fanout(Writes):
    cdef list datastores            # DatastoreConn that are up, group after group; None where one is missing
    cdef uint32_t datastore_count   # connections in a group
    cdef object connect_on_demand   # preconnect: false, and no request has come yet
    cdef uint32_t term              # counts the times that a leading node was lost
    cdef uint64_t term_began_ns
    cdef bint reads_remote          # a read that no rack of this datacenter can answer goes to another
    cdef bint mends_reads           # replicas whose replies to a read differ are mended
    cdef int node_state             # enums.NodeState
    cdef uint64_t peer_timeout_ns
    cdef uint64_t peer_silence_ns
    cdef size_t peer_bytes

    cdef int dispatch(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1
    cdef void stops_leading(self, TargetConn conn) noexcept
    cdef int to_lead(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1
    cdef int lead_asked(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1
    cdef int lead_outcome(self, Request* request, int rack, int what, const char* reply, size_t reply_len,
                          const char* p, size_t n) except -1
    cdef int read_next(self, Request* request, const CommandRow* row, const char* p, size_t n, bint is_first) except -1
    cdef int to_all_nodes(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1
    cdef int copy_to_racks(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1
    cdef int to_each_rack(self, Request* request, const CommandRow* row, const char* p, size_t n,
                          bint may_hold) except -1
    cdef int send_again(self, Request* request, const char* p, size_t n) except -1
    cdef int to_node(self, Request* request, int rack, const CommandRow* row,
                     const char* p, size_t n, bint may_hold) except -1
    cdef int to_datastore(self, Request* request, int rack, const CommandRow* row,
                          const char* p, size_t n, bint may_hold) except -1
    cdef bint state_allows(self, Request* request) noexcept
    cdef int watch_read(self, Request* request, int what, const char* reply, size_t reply_len,
                        const char* p, size_t n) except -1
    cdef int to_peer(self, Request* request, int node, int rack, const CommandRow* row,
                     const char* p, size_t n, bint may_hold) except -1
    cdef bint is_usable(self, Request* request, TargetConn conn, uint16_t code) except -1
    cdef int outcome(self, Request* request, int rack, int what, const char* reply, size_t reply_len,
                     const char* p, size_t n) except -1
    cdef int one_write_outcome(self, Request* request, int rack, int what, const char* reply, size_t n) except -1
    cdef int quorum_outcome(self, Request* request, int rack, int what, const char* reply, size_t n,
                            const char* p, size_t size) except -1
    cdef int ask_missed(self, Request* request, const char* p, size_t n) except -1
    cdef int decide(self, Request* request, int verdict) except -1
    cdef int quorum_error(self, Request* request, int verdict) except -1
    cdef int remote_verdict(self, Request* request, bint is_good, const char* reply, size_t n) except -1
    cdef int every_outcome(self, Request* request, int rack, int what, const char* reply, size_t n) except -1
    cdef int keep_reserve(self, Request* request, const char* reply, size_t n) except -1
    cdef int use_reserve(self, Request* request) except -1
    cdef int note_reply(self, Request* request, TargetConn conn, Slot* slot, int what,
                        const char* reply, size_t reply_len) except -1
    cdef void count_reply(self, TargetConn conn, Slot* slot, size_t n, bint is_error) noexcept
    cdef int target_silent(self, TargetConn conn) except -1
