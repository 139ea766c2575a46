# The face of leading.pyx: what must not happen twice is executed at one place, and its effect is sent to the others.
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.workers.fanout cimport Fanout
from dynomite_mp.workers.request cimport Request


cdef enum:
    LEAD_EPOCHS = 8


cdef struct KeyTerm:
    uint32_t token
    uint32_t term


cdef class WaitingLead:
    cdef Request* request           # a counted hold
    cdef bytes data


cdef class Leading(Fanout):
    cdef readonly bint is_leading   # the other nodes of the datacenter know that this node leads
    cdef uint64_t leading_since_ns
    cdef bint has_far_c_nodes       # other datacenters have nodes of C Dynomite
    cdef int lead_epoch             # modulo LEAD_EPOCHS; a new one begins when somebody takes or gives up the lead
    cdef uint32_t[8] open_leads     # requests executed here and not finished, by epoch
    cdef list waiting_leads         # WaitingLead: everybody asked has declined
    cdef uint64_t retried_ns
    cdef KeyTerm[1024] key_terms    # by token: the terms whose first command of the key was seen
    cdef Buf rewritten
    cdef Buf probes
    cdef Buf effects

    cdef bint all_can_lead(self, uint32_t token) except -1
    cdef bint may_lead(self, uint32_t token, int rack) except -1
    cdef int ask_next(self, Request* request, const CommandRow* row, const char* p, size_t n, bint may_hold) except -1
    cdef int ask_later(self, Request* request, const char* p, size_t n) except -1
    cdef int retry_leads(self) except -1
    cdef int execute(self, Request* request, const CommandRow* row, const char* p, size_t n, bint may_hold) except -1
    cdef int send_probes(self, Request* request, const char* p, size_t n, int count) except -1
    cdef int executed(self, Request* request, int what, const char* reply, size_t reply_len,
                      const char* p, size_t n) except -1
    cdef int probed(self, Request* probe, int what, const char* reply, size_t reply_len) except -1
    cdef int ship(self, Request* request, const char* p, size_t n, const char* reply, size_t reply_len) except -1
    cdef int ship_one(self, Request* request, const char* p, size_t n, bint is_refused) except -1
    cdef int ship_far(self, Request* effect, const CommandRow* row, const char* p, size_t n) except -1
    cdef int shipped(self, Request* effect, int rack, int what) except -1
    cdef int finish_lead(self, Request* request, const char* reply, size_t reply_len) except -1
    cdef void close_lead(self, Request* request) noexcept
    cdef int first_of_term(self, Request* request, const char* p, size_t n) except -1
    cdef int next_lead(self, uint32_t token, int lost) except -2
    cdef int lost_lead(self, Request* request, int lost, const char* p, size_t n) except -1
