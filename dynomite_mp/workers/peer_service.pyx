"""What other nodes ask of this node itself, in frames like those for its datastore: `DYNO CALL <question>`.

What it is: the io worker's part of a call between replication processes. The question goes to this node's replication
process as it came, and the answer goes back on the connection, in the order of its requests.

    io worker: PeerInConn --DYNO CALL--> serve_call --PEER_CALL--> replication process
               PeerInConn <-- deliver <-- answer_call <--PEER_ANSWER--+

What it is not: it does not know what is asked (workers.peer_calls), and clients cannot ask.

Invariants: a call that the replication process does not answer in time, because it ended, gets an error; an answer to
a connection that is gone, or to a call of a predecessor of this process, is dropped.
"""

from libc.stdint cimport uint64_t

from dynomite_mp.proto.buffer cimport buf_len, buf_ptr
from dynomite_mp.proto.resp cimport RequestScan, arg_is
from dynomite_mp.proto.wire_errors cimport append_error, append_unknown_command
from dynomite_mp.workers.data_path cimport TAKEN
from dynomite_mp.workers.leading cimport Leading
from dynomite_mp.workers.peer_in_conn cimport PeerInConn
from dynomite_mp.workers.request cimport (
    REQUEST_WAITING, Request, queue_push, request_new,
)

from dynomite_mp.errors import WIRE_ERRORS

cdef uint64_t CALL_NS = 3000000000  # the other side answers within a fraction of this, if only that it goes on
cdef unsigned short E_NO_MEMORY = WIRE_ERRORS["out_of_memory"].code
cdef unsigned short E_CALL_LOST = WIRE_ERRORS["call_lost"].code


cdef class PeerService(Leading):
    def __cinit__(self, *args, **kwargs):
        self.calls = {}

    cdef int serve_node(self, PeerInConn peer, const char* p, RequestScan* scan) except -1:
        """A request `DYNO <what> ...` of a peer."""
        if scan.argc == 3 and arg_is(p, &scan.args[1], b"call"):
            return self.serve_call(peer, p, scan)
        self.refuse_begin()
        append_unknown_command(&self.scratch, p, scan)
        return self.answer_scratch(peer)

    cdef int serve_call(self, PeerInConn peer, const char* p, RequestScan* scan) except -1:
        cdef Request* request
        self.next_call += 1
        if self.on_call is None or not self.on_call(
                self.next_call, peer.address, p[scan.args[2].off:scan.args[2].off + scan.args[2].len]):
            return self.refuse(peer, E_CALL_LOST)
        request = request_new()
        if request == NULL or queue_push(&peer.queue, request) < 0:
            return self.refuse(peer, E_NO_MEMORY)
        request.client = <void*>peer
        request.origin_id = peer.frame_id
        request.refs = 1
        self.calls[self.next_call] = (peer, peer.frame_id, self.now_ns)
        return TAKEN

    cdef Request* find_call(self, PeerInConn peer, uint64_t frame_id) noexcept:
        """The waiting request of a frame; NULL when it is none any more."""
        cdef uint64_t i
        cdef Request* request
        for i in range(peer.queue.head, peer.queue.tail):
            request = peer.queue.items[i & peer.queue.mask]
            if request.origin_id == frame_id and request.state == REQUEST_WAITING:
                return request
        return NULL

    def answer_call(self, uint64_t call_id, bytes reply):
        cdef Request* request
        cdef PeerInConn peer
        found = self.calls.pop(call_id, None)
        if found is None:
            return
        peer = found[0]
        request = self.find_call(peer, found[1]) if peer.fd >= 0 else NULL
        if request != NULL:
            self.read_clock()
            peer.deliver(request, reply, len(reply))

    def expire_calls(self):
        self.read_clock()
        for call_id, (_peer, _frame, since_ns) in list(self.calls.items()):
            if self.now_ns < since_ns + CALL_NS:
                return
            self.refuse_begin()
            append_error(&self.scratch, E_CALL_LOST)
            self.answer_call(call_id, buf_ptr(&self.scratch)[:buf_len(&self.scratch)])

    # ---- a process that stood still may have missed writes

    cdef int stalled(self) except -1:
        """Before any read is served: the io worker says so, and which state this node is in."""
        self.beat_ns = self.awake_ns = self.now_ns
        if self.on_stall is not None:
            self.on_stall()
        return 0

    def set_on_stall(self, on_stall, uint64_t stall_ms):
        self.beat_ns = self.read_clock()
        self.stall_ns = stall_ms * 1000000
        self.on_stall = on_stall

    def set_on_call(self, on_call, uint64_t first_id):
        self.on_call = on_call
        self.next_call = first_id
