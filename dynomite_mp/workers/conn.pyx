"""Plain TCP and unix sockets on an epoll set of our own, below uvloop.

What it is: `PollSet` owns an epoll fd that uvloop watches by `add_reader`; when it is readable, `turn()` runs once.
`Conn` is a socket with an input and an output buffer. What the bytes mean is the business of its subclasses (io_path).

What it is not: it knows no protocol, no request and no peer. TLS connections do not sit here; they feed the same
two methods, `feed` and `flush`, from a uvloop transport.

    uvloop -- add_reader(PollSet.fd) --> turn(), and again while replies are awaited, up to LINGER_NS (ADR 83):
        rest      when many sources ask, each for little at a time (ADR 86)
        epoll_wait; timeout 0 at first, none when lingering
        ready     feed() of connections that stopped at the request limit
        readable  recv <= 64 KB into inbuf -> feed()     (<= 512 requests)
        writable  flush()
        again     with several events: send() to clients, epoll_wait, readable and writable once more (ADR 85)
        dirty     one send() per connection that has output
        graveyard connections closed in this turn are freed

Invariants:
- one or two `epoll_wait` a turn; one `recv` and one `send` per connection and `epoll_wait`;
- a connection on which output was put is on the dirty list or has EPOLLOUT armed; outside a turn `mark_dirty`
  schedules one;
- edge-triggered connections (clients) are read again without a new event when a read has filled its room, or the end
  of the input has come with it: see look_once_more();
- a Conn pointer held by epoll or by the dirty list stays valid until the end of the turn: closed connections
  wait in the graveyard;
- buffers are never moved per send; they have read and write offsets;
- the GIL is kept over system calls: giving it back would cost more than they do. Only a lingering turn waits or rests,
  until its timer at the latest; another thread of this process (a name look-up) then waits as long.
"""

import errno
import logging
import os
import socket as socket_module

from libc.errno cimport EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno as c_errno
from libc.stdlib cimport free, malloc, realloc
from libc.stdint cimport uint32_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close as c_close, read as c_read

from dynomite_mp.proto.buffer cimport (
    buf_consume, buf_free, buf_init, buf_len, buf_ptr, buf_reserve, buf_shrink_idle,
)

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLLRDHUP
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD
        EPOLL_CTL_DEL
        EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)

cdef extern from "<sys/timerfd.h>" nogil:
    enum:
        TFD_NONBLOCK
        TFD_CLOEXEC
    cdef struct itimerspec:
        timespec it_interval
        timespec it_value
    int timerfd_create(int clockid, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* new_value, itimerspec* old_value)

cdef extern from "<sys/prctl.h>" nogil:
    enum:
        PR_SET_TIMERSLACK
    int prctl(int option, unsigned long value)

cdef extern from "<time.h>" nogil:
    int nanosleep(const timespec* wanted, timespec* left)

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_NOSIGNAL
        MSG_DONTWAIT
        MSG_MORE
    ssize_t c_recv "recv"(int fd, void* buf, size_t n, int flags)
    ssize_t c_send "send"(int fd, const void* buf, size_t n, int flags)

log = logging.getLogger("dynomite_mp.io")

cdef enum:
    EVENTS_PER_TURN = 1024
    FIRST_READ_BYTES = 16384
    KEEP_BYTES = 1048576            # an emptied buffer above this goes back at once
    LINGER_NS = 5000000             # so long the event loop's own events may have to wait
    STALL_NS = 400000000            # less than what others take for silence
    WINDOW_NS = 1000000             # so long sources are counted before the next rest is set
    RESTING_SOURCES = 16            # fewer are served as they come
    REST_NS_PER_SOURCE = 1250       # a small part of what one round of all of them takes
    REST_NS = 60000                 # at most
    LONG_REST_NS = 100000           # the same where pipelined requests go to peers
    TIMER_SLACK_NS = 1000           # how late the kernel may end a rest; its default is as long as a rest


cdef class PollSet:
    """The epoll set of one io worker. `schedule_turn` is called when a turn is wanted although no event will come."""

    def __cinit__(self):
        self.fd = epoll_create1(EPOLL_CLOEXEC)
        if self.fd < 0:
            raise OSError(c_errno, "epoll_create1 failed")
        self.events = <epoll_event*>malloc(EVENTS_PER_TURN * sizeof(epoll_event))
        self.dirty_room = 1024
        self.dirty = <void**>malloc(self.dirty_room * sizeof(void*))
        if self.events == NULL or self.dirty == NULL:
            raise MemoryError
        self.ready = []
        self.graveyard = []
        self.conns = {}
        self.read_clock()

    def __init__(self, schedule_turn):
        self.schedule_turn = schedule_turn

    def __dealloc__(self):
        free(self.events)
        free(self.dirty)
        if self.fd >= 0:
            c_close(self.fd)

    cdef uint64_t read_clock(self) noexcept nogil:
        cdef timespec ts
        cdef uint64_t before = self.now_ns
        clock_gettime(CLOCK_MONOTONIC, &ts)
        self.now_ns = <uint64_t>ts.tv_sec * 1000000000 + <uint64_t>ts.tv_nsec
        if self.now_ns - before > STALL_NS:
            self.stalled_ns = self.awake_ns = self.now_ns
        return self.now_ns

    cdef int add(self, Conn conn, uint32_t events) except -1:
        """Registers the connection; the set keeps it alive until close_now()."""
        cdef epoll_event event
        event.events = events
        event.data.ptr = <void*>conn
        if epoll_ctl(self.fd, EPOLL_CTL_ADD, conn.fd, &event) < 0:
            raise OSError(c_errno, "epoll_ctl failed")
        conn.mask = events
        self.conns[conn.fd] = conn
        return 0

    cdef void mark_dirty(self, Conn conn) noexcept:
        """Its output is sent at the end of this turn, or of one that is scheduled now."""
        cdef void** grown
        if conn.is_dirty or conn.fd < 0:
            return
        if self.dirty_count == self.dirty_room:
            grown = <void**>realloc(self.dirty, 2 * self.dirty_room * sizeof(void*))
            if grown == NULL:
                return              # EPOLLOUT is not armed, but the next output marks it again
            self.dirty = grown
            self.dirty_room *= 2
        conn.is_dirty = True
        self.dirty[self.dirty_count] = <void*>conn
        self.dirty_count += 1
        if not self.in_turn:
            self.want_turn()

    cdef void mark_ready(self, Conn conn):
        if not conn.is_ready and conn.fd >= 0:
            conn.is_ready = True
            self.ready.append(conn)
            if not self.in_turn:
                self.want_turn()

    def want_turn(self):
        """Run a turn soon although epoll may not fire."""
        if not self.turn_scheduled:
            self.turn_scheduled = True
            self.schedule_turn()

    cpdef void turn(self):
        """Turns of the data plane: one, and more while replies are awaited."""
        cdef uint64_t until
        self.turn_scheduled = self.must_leave = False
        self.one_turn(0)
        if not self.lingers:
            return
        until = self.now_ns + LINGER_NS
        while self.awaits_events() and self.lingers and not self.turn_scheduled and not self.must_leave and (
                self.now_ns < until):
            if self.rest_ns:
                rest(self.rest_ns)
            self.one_turn(-1)

    cdef bint awaits_events(self) noexcept:
        """For the orchestrator: whether something will come soon, and a timer in this set ends the waiting else."""
        return False

    cdef void count_source(self, Conn conn, int requests) noexcept:
        """So many requests have been read from it."""
        if requests == 0:
            return
        self.reads += 1
        self.requests += <uint64_t>requests
        if conn.window != self.window:
            conn.window = self.window
            self.sources += 1

    cdef void end_window(self) noexcept:
        """Sets how long to rest before each turn of the next window."""
        self.rest_ns = rest_after(self.now_ns - self.window, self.sources, self.reads, self.requests, self.sent_on)
        self.window = self.now_ns
        self.sources = self.reads = self.requests = self.sent_on = 0

    def linger(self, doorbell_fd):
        """From now on wait here, not in the event loop, while replies are awaited; leave when the doorbell rings."""
        Watch(self, doorbell_fd)
        prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS)
        self.lingers = True

    cdef void one_turn(self, int wait_ms):
        """One turn of the data plane; see the picture above."""
        cdef int count
        cdef uint64_t started
        self.in_turn = True
        count = epoll_wait(self.fd, self.events, EVENTS_PER_TURN, wait_ms)
        started = self.read_clock()
        self.turns += 1
        if started - self.window >= WINDOW_NS:
            self.end_window()
        if self.stall_ns and started > self.beat_ns + self.stall_ns:
            self.stalled()
        if self.ready:
            self.serve_ready()
        if count > 0:
            self.serve_events(count)
        if count > 1 and self.dirty_count > 1:
            self.look_again()
        try:
            self.before_flush()
            self.end_turn()
            self.after_flush_turn()
        finally:
            self.in_turn = False
        if self.ready:
            self.want_turn()
        self.busy_ns += self.read_clock() - started

    cdef void look_again(self):
        """Under load replies leave before requests do, and what comes meanwhile joins those requests (ADR 85)."""
        cdef size_t i = 0, left = 0
        cdef int count
        cdef Conn conn
        while i < self.dirty_count:
            conn = <Conn>self.dirty[i]
            i += 1
            if conn.keeps_sent:
                self.dirty[left] = <void*>conn
                left += 1
                continue
            conn.is_dirty = False
            if conn.fd >= 0:
                conn.flush()
        self.dirty_count = left
        count = epoll_wait(self.fd, self.events, EVENTS_PER_TURN, 0)
        self.read_clock()
        if count > 0:
            self.serve_events(count)

    cdef int stalled(self) except -1:
        """Hook: the process stood still for a while, and nothing has been handled since."""
        return 0

    def beat(self):
        """To be called well within stall_ns, again and again. After a stop a timer may be due before any turn is."""
        cdef uint64_t before = self.beat_ns
        self.beat_ns = self.read_clock()
        if self.stall_ns and self.beat_ns > before + self.stall_ns:
            self.stalled()

    cdef void serve_events(self, int count):
        cdef int i
        cdef uint32_t events
        cdef Conn conn
        for i in range(count):
            conn = <Conn>self.events[i].data.ptr
            if conn.fd < 0:
                continue            # closed earlier in this turn
            events = self.events[i].events
            try:
                if events & (EPOLLERR | EPOLLHUP) and not (events & EPOLLIN and conn.mask & EPOLLIN):
                    conn.close_now(socket_error(conn.fd))
                    continue
                if events & EPOLLRDHUP:
                    conn.has_ended = True
                if events & EPOLLOUT:
                    conn.writable()
                if events & EPOLLIN and conn.fd >= 0:
                    conn.readable()
            except Exception:
                log.exception("connection %r failed and is closed", conn)
                conn.close_now(0)

    cdef void serve_ready(self):
        cdef list ready = self.ready
        cdef Conn conn
        self.ready = []
        for conn in ready:
            conn.is_ready = False
            if conn.fd >= 0 and not conn.is_paused:
                self.guarded_feed(conn)

    cdef void guarded_feed(self, Conn conn):
        """feed() outside the event loop's own guard: an exception closes this connection, no other."""
        try:
            conn.feed()
        except Exception:
            log.exception("connection %r failed and is closed", conn)
            conn.close_now(0)

    cdef void end_turn(self):
        """Flush what is dirty; a flush may close a connection and make others dirty, so the list may grow meanwhile."""
        cdef size_t i = 0
        cdef Conn conn
        while i < self.dirty_count:
            conn = <Conn>self.dirty[i]
            i += 1
            conn.is_dirty = False
            if conn.fd >= 0:
                conn.flush()
        self.dirty_count = 0
        if self.graveyard:
            self.graveyard = []

    cdef int before_flush(self) except -1:
        """For the orchestrator: events are served, nothing is sent yet."""
        return 0

    cdef int after_flush_turn(self) except -1:
        """For the orchestrator: everything is sent."""
        return 0

    def connections(self):
        """Every open connection, listeners included."""
        return list(self.conns.values())

    def buffered_bytes(self):
        """Memory held in the buffers of all connections."""
        cdef Conn conn
        cdef size_t total = 0
        for conn in self.conns.values():
            total += conn.inbuf.cap + conn.outbuf.cap
        return total

    def shrink_idle(self):
        """Gives back the memory of buffers that are empty now."""
        cdef Conn conn
        for conn in self.conns.values():
            buf_shrink_idle(&conn.inbuf, 0)
            buf_shrink_idle(&conn.outbuf, 0)

    def close_all(self):
        """Close every connection; the set itself stays usable."""
        cdef Conn conn
        self.lingers = False            # the timer that ends the waiting is one of them
        for conn in list(self.conns.values()):
            conn.close_now(0)
        self.dirty_count = 0
        self.graveyard = []
        self.ready = []


cpdef uint64_t rest_after(uint64_t window_ns, uint64_t sources, uint64_t reads, uint64_t requests,
                          uint64_t sent_on) noexcept:
    """How long to rest before a turn, ns, when in a window of that length so many sources asked for something.

    `reads` brought those `requests`, of which `sent_on` frames went to peers. Requests that come several at a time make
    batches for the datastore already; not so for peers, among which they are dealt out, unless each peer gets each.
    """
    if window_ns >= 2 * WINDOW_NS or sources < RESTING_SOURCES:
        return 0
    if requests < 2 * reads:
        return min(sources * REST_NS_PER_SOURCE, <uint64_t>REST_NS)
    if 4 * sent_on >= requests > sent_on:
        return min(2 * sources * REST_NS_PER_SOURCE, <uint64_t>LONG_REST_NS)
    return 0


cdef void rest(uint64_t rest_ns) noexcept:
    cdef timespec wanted
    wanted.tv_sec = 0
    wanted.tv_nsec = <long>rest_ns
    nanosleep(&wanted, NULL)


cdef int socket_error(int fd):
    """Pending error of the socket (errno), 0 for none."""
    try:
        with socket_module.socket(fileno=fd) as sock:
            try:
                return sock.getsockopt(socket_module.SOL_SOCKET, socket_module.SO_ERROR)
            finally:
                sock.detach()
    except OSError as failure:
        return failure.errno or errno.EIO


cdef class Conn:
    """One socket; owns the fd. A subclass says what its bytes mean in feed()."""

    def __cinit__(self):
        self.fd = -1
        buf_init(&self.inbuf)
        buf_init(&self.outbuf)
        self.sendbuf = &self.outbuf

    def __dealloc__(self):
        if self.fd >= 0:
            c_close(self.fd)
        buf_free(&self.inbuf)
        buf_free(&self.outbuf)

    def __repr__(self):
        return (f"<{type(self).__name__} fd={self.fd} in={buf_len(&self.inbuf)} out={buf_len(&self.outbuf)}"
                f"{' paused' if self.is_paused else ''}{' eof' if self.is_eof else ''}>")

    cdef int feed(self) except -1:
        """Bytes stand in inbuf; consume what is whole."""
        raise NotImplementedError

    cdef void on_closed(self, int error):
        """The connection is gone (error: errno or 0); called once."""

    cdef void after_flush(self):
        """All output has left."""

    cdef int on_eof(self) except -1:
        self.close_now(0)
        return 0

    cdef int readable(self) except -1:
        cdef size_t want = READ_CHUNK_BYTES if self.reads_much else FIRST_READ_BYTES
        cdef size_t room
        cdef ssize_t got
        cdef int error = 0
        if buf_reserve(&self.inbuf, want) < 0:
            self.close_now(ENOMEM)
            return 0
        room = self.inbuf.cap - self.inbuf.tail
        if room > READ_CHUNK_BYTES:
            room = READ_CHUNK_BYTES
        got = c_recv(self.fd, self.inbuf.data + self.inbuf.tail, room, MSG_DONTWAIT)
        if got < 0:
            error = c_errno
        if got > 0:
            self.reads_much = <size_t>got == room or (self.reads_much and got > FIRST_READ_BYTES)
            self.inbuf.tail += <size_t>got
            if self.edge and (<size_t>got == room or self.has_ended):
                self.look_once_more()
            self.bytes_in += <uint64_t>got
            self.poll.receives += 1
            return self.feed()
        if got == 0:
            self.is_eof = True
            self.update_mask()
            return self.on_eof()
        if error != EAGAIN and error != EINTR:
            self.close_now(error)
        return 0

    cdef int writable(self) except -1:
        self.flush()
        return 0

    cdef void flush(self):
        """One send; what does not fit waits for EPOLLOUT."""
        cdef bint keeps = self.keeps_sent and self.sendbuf == &self.outbuf
        cdef size_t skip = self.kept if keeps else 0
        cdef size_t n = buf_len(self.sendbuf) - skip
        cdef ssize_t sent
        cdef int error = 0
        if n == 0:
            if self.send_blocked:
                self.send_blocked = False
                self.update_mask()
            self.after_flush()
            return
        sent = c_send(self.fd, buf_ptr(self.sendbuf) + skip, n,
                      MSG_NOSIGNAL | MSG_DONTWAIT | (MSG_MORE if self.is_last else 0))
        if sent < 0:
            error = c_errno
        if sent < 0:
            if error != EAGAIN and error != EINTR and error != ENOBUFS:
                self.close_now(error)
                return
            sent = 0
        elif sent > 0:
            self.bytes_out += <uint64_t>sent
            if keeps:
                self.kept += <size_t>sent
            else:
                buf_consume(self.sendbuf, <size_t>sent)
        if <size_t>sent < n:
            if not self.send_blocked:
                self.send_blocked = True
                self.update_mask()
            return
        if self.sendbuf.cap > KEEP_BYTES:
            buf_shrink_idle(self.sendbuf, 0)
        if self.send_blocked:
            self.send_blocked = False
            self.update_mask()
        self.after_flush()

    cdef void set_mask(self, uint32_t mask) noexcept:
        cdef epoll_event event
        if self.fd < 0 or mask == self.mask:
            return
        event.events = mask
        event.data.ptr = <void*>self
        if epoll_ctl(self.poll.fd, EPOLL_CTL_MOD, self.fd, &event) == 0:
            self.mask = mask

    cdef void look_once_more(self) noexcept:
        """There may be more to read, for which no edge will come: setting the same mask anew makes the kernel look."""
        cdef uint32_t mask = self.mask
        self.mask = 0
        self.set_mask(mask)

    cdef void update_mask(self) noexcept:
        cdef uint32_t mask = 0
        if not self.is_paused and not self.is_eof:
            mask |= EPOLLIN | self.edge
        if self.send_blocked:
            mask |= EPOLLOUT
        self.set_mask(mask)

    cdef void pause(self) noexcept:
        """Stop reading: a source of requests is over its budget, or waits for a condition."""
        if not self.is_paused:
            self.is_paused = True
            self.update_mask()

    cdef void resume(self) noexcept:
        if self.is_paused:
            self.is_paused = False
            self.update_mask()

    cdef void close_now(self, int error):
        """Close the socket; the object lives on in the graveyard until the end of the turn."""
        cdef int fd = self.fd
        if fd < 0:
            return
        self.fd = -1
        self.poll.graveyard.append(self)
        self.poll.conns.pop(fd, None)
        c_close(fd)
        self.on_closed(error)
        if not self.poll.in_turn:
            self.poll.want_turn()       # a turn's end frees the graveyard


cdef class Listener(Conn):
    """A listening socket: calls `on_accept(fd, address)` for each new connection, `on_exhausted()` on EMFILE."""

    def __init__(self, PollSet poll, sock, on_accept, on_exhausted):
        self.poll = poll
        self.on_accept = on_accept
        self.on_exhausted = on_exhausted
        sock.setblocking(False)
        self.sock = sock
        self.fd = sock.fileno()
        poll.add(self, EPOLLIN)

    cdef int readable(self) except -1:
        cdef int _i
        for _i in range(ACCEPTS_PER_TURN):
            try:
                # The raw call: socket.accept() would build an object that has to be detached again.
                fd, address = self.sock._accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as failure:
                if failure.errno in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
                    self.pause()
                    self.on_exhausted()
                    break
                raise
            self.on_accept(fd, address)
        return 0

    cdef void on_closed(self, int error):
        self.sock.detach()

    def stop(self):
        """Take the listener out of the set (no file descriptors left)."""
        self.pause()

    def restart(self):
        self.resume()

    def close(self):
        self.close_now(0)


cdef class Watch(Conn):
    """A file of the event loop's; when it is readable the set stops lingering. Whose it is reads it."""

    def __init__(self, PollSet poll, fd):
        self.poll = poll
        self.fd = os.dup(fd)
        poll.add(self, EPOLLIN)

    cdef int readable(self) except -1:
        self.poll.must_leave = True
        return 0


cdef class Timer(Conn):
    """A periodic timer of the kernel, in the epoll set: calls `on_expiry()`.

    Short timers of the event loop would bound each of its sleeps, and a sleep with a near end costs more: on a virtual
    machine the kernel's timer is programmed anew, by an exit to the host, at its begin and again at its end (ADR 82).
    """

    def __init__(self, PollSet poll, on_expiry):
        self.poll = poll
        self.on_expiry = on_expiry
        self.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.fd < 0:
            raise OSError(c_errno, "timerfd_create failed")
        poll.add(self, EPOLLIN)

    def every(self, uint32_t period_ms):
        """From now on with this period; 0: no more."""
        cdef itimerspec spec
        spec.it_value.tv_sec = period_ms // 1000
        spec.it_value.tv_nsec = period_ms % 1000 * 1000000
        spec.it_interval = spec.it_value
        if timerfd_settime(self.fd, 0, &spec, NULL) < 0:
            raise OSError(c_errno, "timerfd_settime failed")

    cdef int readable(self) except -1:
        cdef uint64_t expirations
        if c_read(self.fd, &expirations, sizeof(expirations)) > 0:
            try:
                self.on_expiry()
            except Exception:
                log.exception("what a timer does failed")
        return 0
