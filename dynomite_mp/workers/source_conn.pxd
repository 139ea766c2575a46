# The face of source_conn.pyx: a connection that requests come from.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.request cimport Request, RequestQueue


cdef class SourceConn(Conn):
    cdef DataPath path
    cdef RequestQueue queue
    cdef size_t in_flight_bytes
    cdef size_t parked_bytes        # replies that wait for an earlier one
    cdef uint32_t pause_bits
    cdef uint32_t wait_bucket       # 1 + order bucket it waits for, 0 = none
    cdef bint is_held
    cdef bint is_finishing          # close when everything is answered and sent
    cdef bint is_parting            # so it is, or will be after the next answer
    cdef uint64_t parted_at         # bytes_out when it was told
    cdef bint is_half_closed        # the other side has sent its last byte
    cdef bint has_whole             # the frame at the head of inbuf is complete and not yet handled
    cdef bint frames_replies        # a reply needs a head that names its request: a peer
    cdef uint64_t lead_tail         # position in the queue behind the last request of class lead
    cdef uint64_t lead_run          # and of the first of those that follow each other without another one
    cdef bint has_wide_lead         # one of those not answered has keys of several tokens
    cdef uint64_t frame_id          # of the request being handled
    cdef uint8_t group              # protocol group: GROUP_RESP2 or GROUP_RESP3
    cdef uint8_t read_level         # consistency of its requests
    cdef uint8_t write_level
    cdef readonly object address

    cdef int emit(self, Request* request, const char* p, size_t n) except -1
    cdef int emit_later(self, Request* request, const char* p, size_t n) except -1
    cdef int deliver(self, Request* request, const char* p, size_t n) except -1
    cdef void flush(self)
    cdef void set_pause(self, uint32_t bit) noexcept
    cdef void clear_pause(self, uint32_t bit)
    cdef bint may_follow(self, uint32_t token, bint has_several, bint is_lead) noexcept
    cdef void follow(self, bint has_several, bint is_lead) noexcept
    cdef void settle(self, Request* request) noexcept
    cdef int flush_done(self) except -1
    cdef void finish(self)
    cdef void part(self) noexcept
    cdef int drain(self) except -1
    cdef int check_limits(self) except -1
    cdef void detach_requests(self)


cdef void detach_all(RequestQueue* queue) noexcept
