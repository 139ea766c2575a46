"""What connections know of the orchestrator: shared state, and the calls that it carries out.

What it is: the base of `io_path.IoPath`. Client and datastore connections call these hooks when a frame is whole, a
deadline has passed or a connection is gone, and never each other.

What it is not: it does nothing itself.
"""

from libc.stdint cimport uint16_t, uint64_t

from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.proto.dnode cimport Extension
from dynomite_mp.proto.resp cimport RequestScan
from dynomite_mp.workers.conn cimport Conn, PollSet
from dynomite_mp.workers.io_cells cimport bind_cells
from dynomite_mp.workers.request cimport Request, Slot


cdef class DataPath(PollSet):
    """`schedule_tick` starts the 10 ms timer."""

    def __init__(self, schedule_turn, schedule_tick, SlabWriter slab, sessions):
        super().__init__(schedule_turn)
        self.schedule_tick = schedule_tick
        self.slab = slab
        self.sessions = sessions
        self.lingering = []
        self.timeout_ns = self.silence_ns = 5000000000
        self.gather_bytes = 16384       # what Redis reads at once; more need not wait for company
        self.client_soft_bytes = 8 << 20
        self.client_hard_bytes = 1 << 30
        self.datastore_bytes = 256 << 20
        self.process_bytes = 4 << 30
        bind_cells(&self.cells)

    cdef void start_ticking(self):
        if not self.ticking:
            self.ticking = True
            self.schedule_tick()

    cdef int handle(self, Conn source, const char* p, RequestScan* scan) except -1:
        """A whole request at p: TAKEN, REFUSED, or HOLD (try the same one again later)."""
        raise NotImplementedError

    cdef int protocol_error(self, Conn source, uint16_t code) except -1:
        """Bytes that cannot be framed: nothing behind them can be understood."""
        raise NotImplementedError

    cdef void stop_waiting(self, Conn source) noexcept:
        """The client's next request no longer waits for the order of writes."""

    cdef int target_reply(self, Conn target, Slot* slot, const char* p, size_t n, bint is_error) except -1:
        """The reply for the oldest slot; the slot has left the queue."""
        raise NotImplementedError

    cdef int target_later(self, Conn target, Slot* slot, bytes data, const char* p, size_t n) except -1:
        """The reply of a request that left its slot before; n == 0: it will not come. `data` are its bytes."""
        raise NotImplementedError

    cdef int target_expired(self, Conn target, Slot* slot, const char* p, size_t n) except -1:
        """A deadline has passed; the hook takes the request out of the slot, which stays. p[:n] are its bytes."""
        raise NotImplementedError

    cdef int target_lost(self, Conn target, Slot* slot, const char* p, size_t n) except -1:
        """The connection is gone and owed this reply; p[:n] are the bytes that were queued for it."""
        raise NotImplementedError

    cdef int target_changed(self, Conn target) except -1:
        """The connection is up now, or is no longer (is_up)."""
        raise NotImplementedError

    cdef int store_back(self) except -1:
        """The datastore was silent, and now it is not."""
        return 0

    cdef void target_sent(self, Conn target, uint64_t waited_ns) noexcept:
        """Everything queued has left; the oldest of it waited this long."""

    cdef void target_mismatch(self, Conn target) noexcept:
        """A reply that no request waited for, or a request that was passed over."""

    cdef int handle_peer(self, Conn source, const char* p, RequestScan* scan, bint is_forward,
                         const Extension* extension) except -1:
        """A whole request of a peer: for this node's datastore, or (is_forward) for all racks of this datacenter."""
        raise NotImplementedError

    cdef int peer_gossip(self, Conn source, const char* p, size_t n) except -1:
        """Gossip text of a C node."""
        raise NotImplementedError

    cdef int heard_clock(self, Conn conn, uint64_t clock) except -1:
        """A reply of another node told its time."""
        return 0

    cdef size_t describe_reply(self, Request* request, char* data) noexcept:
        """The data field of a reply to one of our nodes; its length."""
        data[0] = c"d"
        return 1

    cdef void foresee(self, const char* p, size_t n) noexcept:
        """The request behind the one at hand, as far as it has come."""

    cdef size_t describe_run(self, uint64_t run, char* data) noexcept:
        """The same of a reply to so many requests in a row."""
        data[0] = c"d"
        return 1

    cdef size_t describe_write(self, Request* request, const char** data) noexcept:
        """The data field of a stamped write's frame to one of our nodes; its length."""
        data[0] = b"d"
        return 1

    cdef void peer_opened(self, Conn source, int change) noexcept:
        """One inbound peer connection more, or (change -1) fewer."""
