"""Requests of the replication process to single nodes: many at once, each with its reply, none in a hurry.

What it is: the data plane under `peer_calls`. Handshake, encryption, silence and the match of replies by id are
PeerOutConn's; here a batch of requests becomes slots of one connection, and the replies become one Python list.

    PeerCalls.ask --> CallPath.send --> PeerOutConn.outbuf ~~~~> io worker of the node
                       CallBatch <-- target_reply, target_lost, target_expired

What it is not: it does not know which node a connection leads to, connects nothing and sends nothing twice.

Invariant: every request of a batch is settled exactly once, with a reply or with None.
"""

from cpython.ref cimport Py_INCREF

from dynomite_mp.ipc.counters cimport SlabWriter
from dynomite_mp.proto.buffer cimport buf_len, buf_ptr
from dynomite_mp.proto.dnode cimport (
    DNODE_DATA_MOST, DNODE_HEADER_MOST, DNODE_REQ, DNODE_REQ_FORWARD, DNODE_VERSION_OURS,
)
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.peer_out_conn cimport PeerOutConn
from dynomite_mp.workers.request cimport Request, Slot, request_new, request_release

from dynomite_mp.proto.dnode_frames import unpack_extension

cdef enum:
    SILENCE_NS = 2000000000         # a dump of a huge value takes its time
    EXTENSION_ROOM = 256            # what an extension of ours may take


cdef class CallBatch:
    def __init__(self, size_t count, on_done):
        self.replies = [None] * count
        self.pending = count
        self.on_done = on_done

    cdef int settle(self, size_t place, object reply) except -1:
        self.replies[place] = reply
        self.pending -= 1
        if self.pending == 0:
            self.on_done(self.replies)
        return 0


cdef class CallPath(DataPath):
    def __init__(self, schedule_turn, schedule_tick, SlabWriter slab, *, deadline_ms):
        super().__init__(schedule_turn, schedule_tick, slab, None)
        self.deadline_ns = deadline_ms * 1000000
        self.conns = []

    def send(self, PeerOutConn conn, payloads, on_done, *, bint is_forward=False, extensions=None):
        cdef char[DNODE_HEADER_MOST + EXTENSION_ROOM] head
        cdef CallBatch batch
        cdef Request* request
        cdef Slot* slot
        cdef bytes payload
        cdef bytes extension = b"d"
        cdef size_t place = 0
        self.read_clock()
        if not conn.is_up or not payloads:
            return None
        if conn.is_silent:
            conn.probe_now_and_then()
            return None
        batch = CallBatch(len(payloads), on_done)
        for payload in payloads:
            request = request_new()
            if request == NULL:
                raise MemoryError
            request.refs = 1
            request.origin_id = place
            Py_INCREF(batch)                        # let go of by request_release
            request.fragments = <void*>batch
            if extensions is not None and conn.is_ours:
                extension = extensions[place]
                assert len(extension) <= EXTENSION_ROOM
            slot = conn.enqueue_frame(head, DNODE_REQ_FORWARD if is_forward else DNODE_REQ, extension, len(extension),
                                      payload, len(payload))
            if slot == NULL:
                raise MemoryError
            slot.request = request
            place += 1
        return batch

    def waiting_bytes(self):
        cdef PeerOutConn conn
        cdef size_t total = 0
        for conn in self.conns:
            total += buf_len(&conn.outbuf)
        return total

    # ---- hooks of PeerOutConn

    cdef int target_reply(self, Conn target, Slot* slot, const char* p, size_t n, bint is_error) except -1:
        cdef PeerOutConn conn = <PeerOutConn>target
        cdef Request* request = slot.request
        cdef const char* data
        extension = None
        if request == NULL:
            return 0
        if conn.head.version >= DNODE_VERSION_OURS and 1 < conn.head.data_len < DNODE_DATA_MOST:
            data = buf_ptr(&conn.inbuf) + conn.head.data_off
            extension = unpack_extension(data[:conn.head.data_len])
        return self.settle(request, (p[:n], extension))

    cdef int target_expired(self, Conn target, Slot* slot, const char* p, size_t n) except -1:
        return self.miss(slot)

    cdef int target_lost(self, Conn target, Slot* slot, const char* p, size_t n) except -1:
        return self.miss(slot)

    cdef int miss(self, Slot* slot) except -1:
        cdef Request* request = slot.request
        slot.request = NULL
        return self.settle(request, None) if request != NULL else 0

    cdef int settle(self, Request* request, object reply) except -1:
        cdef CallBatch batch = <CallBatch>request.fragments
        cdef size_t place = request.origin_id
        request_release(request)
        return batch.settle(place, reply)

    cdef int target_changed(self, Conn target) except -1:
        if (<PeerOutConn>target).is_up:
            self.conns.append(target)
        elif target in self.conns:
            self.conns.remove(target)
        return 0

    def tick(self):
        cdef PeerOutConn conn
        self.read_clock()
        for conn in list(self.conns):
            conn.expire(self.deadline_ns)
            conn.watch_silence(SILENCE_NS)
        self.ticking = self.in_flight > 0
        return self.ticking
