# The face of conn.pyx: the epoll set and the connections on it.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dynomite_mp.proto.buffer cimport Buf

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void* ptr
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data


cdef enum:
    READ_CHUNK_BYTES = 65536        # at most this is received per connection and turn
    REQUESTS_PER_TURN = 512         # and at most this many requests are handled
    ACCEPTS_PER_TURN = 64


cdef class PollSet:
    cdef readonly int fd
    cdef epoll_event* events
    cdef void** dirty               # borrowed Conn pointers, flushed at the end of the turn
    cdef size_t dirty_count
    cdef size_t dirty_room
    cdef list ready                 # connections with whole requests left in their buffer
    cdef list graveyard             # closed in this turn, freed at its end
    cdef dict conns                 # fd -> Conn: the one strong reference
    cdef uint64_t now_ns            # CLOCK_MONOTONIC, read once a turn
    cdef uint64_t stalled_ns        # when this process, or its datastore, was last found to have been stopped
    cdef uint64_t awake_ns          # when this process had last been stopped: nobody has been heard before
    cdef uint64_t turns
    cdef uint64_t receives          # times that something was received
    cdef uint64_t busy_ns
    cdef object schedule_turn       # () -> None: run turn() once more soon
    cdef bint in_turn
    cdef bint turn_scheduled
    cdef bint lingers               # see linger()
    cdef bint must_leave            # the event loop has something to do
    cdef uint64_t beat_ns           # when beat() was called last
    cdef uint64_t stall_ns          # a turn later than this after a beat: the process stood still; 0: no care

    cdef uint64_t window            # when the present window of counting began
    cdef uint64_t sources           # that have asked for something in it
    cdef uint64_t reads             # reads that brought them requests
    cdef uint64_t requests
    cdef uint64_t sent_on           # frames that went to peers for them
    cdef uint64_t rest_ns           # before a turn that lingers; 0: none

    cdef int add(self, Conn conn, uint32_t events) except -1
    cdef void mark_dirty(self, Conn conn) noexcept
    cdef void mark_ready(self, Conn conn)
    cdef void end_turn(self)
    cdef uint64_t read_clock(self) noexcept nogil
    cdef int stalled(self) except -1
    cpdef void turn(self)
    cdef bint awaits_events(self) noexcept
    cdef void look_again(self)
    cdef void count_source(self, Conn conn, int requests) noexcept
    cdef void end_window(self) noexcept
    cdef void one_turn(self, int wait_ms)
    cdef void serve_events(self, int count)
    cdef void serve_ready(self)
    cdef void guarded_feed(self, Conn conn)
    cdef int before_flush(self) except -1
    cdef int after_flush_turn(self) except -1


cdef class Conn:
    cdef object __weakref__
    cdef PollSet poll
    cdef readonly int fd            # -1 when closed
    cdef uint32_t mask              # events registered with epoll
    cdef uint32_t edge              # flags that go with EPOLLIN where it is edge-triggered, else 0
    cdef Buf inbuf
    cdef Buf outbuf
    cdef Buf* sendbuf               # what flush() sends: outbuf, or its encrypted twin
    cdef bint is_dirty
    cdef bint is_ready
    cdef bint is_paused             # EPOLLIN taken out: a source of requests over its budget
    cdef bint is_eof                # the other side has sent its last byte
    cdef bint has_ended             # edge-triggered: so epoll has said; what came before is not all read yet
    cdef bint send_blocked          # a partial send: EPOLLOUT armed
    cdef bint is_last               # the socket is closed behind what is sent now: both shall arrive together
    cdef bint keeps_sent            # sent bytes stay in outbuf until the subclass consumes them
    cdef size_t kept                # of the bytes in outbuf: sent
    cdef bint reads_much            # the last read filled the room it had: give the next one more
    cdef uint64_t window            # of PollSet, in which it asked for something last
    cdef uint64_t bytes_in
    cdef uint64_t bytes_out

    cdef int feed(self) except -1
    cdef int readable(self) except -1
    cdef int writable(self) except -1
    cdef int on_eof(self) except -1
    cdef void on_closed(self, int error)
    cdef void after_flush(self)
    cdef void flush(self)
    cdef void set_mask(self, uint32_t mask) noexcept
    cdef void look_once_more(self) noexcept
    cdef void update_mask(self) noexcept
    cdef void pause(self) noexcept
    cdef void resume(self) noexcept
    cdef void close_now(self, int error)


cpdef uint64_t rest_after(uint64_t window_ns, uint64_t sources, uint64_t reads, uint64_t requests,
                          uint64_t sent_on) noexcept

cdef int socket_error(int fd)


cdef class Listener(Conn):
    cdef object sock
    cdef object on_accept           # (fd, address) -> None
    cdef object on_exhausted        # () -> None: out of file descriptors


cdef class Watch(Conn):
    pass


cdef class Timer(Conn):
    cdef object on_expiry           # () -> None
