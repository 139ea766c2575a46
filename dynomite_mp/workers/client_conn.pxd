# The face of client_conn.pyx: a client's connection.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dynomite_mp.proto.resp cimport RequestScan
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.request cimport Request, RequestQueue


cdef class ClientConn(Conn):
    cdef DataPath path
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
