"""The data path of the replication process: one write from an io worker to one rack of every other datacenter.

What it is: it takes REPLICATE records from the io workers' rings and sends the bytes on, as REQ_FORWARD, to the owner
in the preferred rack of each datacenter (that node copies to its other racks), or the next rack's when that one is not
connected. For DC_EACH_SAFE_QUORUM it asks every rack's owner itself and answers with the verdict.

    io worker --REPLICATE--> WanPath --REQ_FORWARD--> preferred rack's owner of dc2 --REQ--> its other racks
                                     --REQ_FORWARD--> preferred rack's owner of dc3
              <--REPLICA_REPLY-- (only DC_EACH_SAFE_QUORUM: REQ to every rack's owner, cluster.quorum counts)

What it is not: it keeps nothing for a datacenter that cannot be reached; such a copy is counted as dropped.

Invariants: a slow or dead datacenter costs at most peer_bytes a connection here and nothing in the io workers; writes
of one key leave on one connection as long as its rack stays the one in use.
"""

import logging

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy, memset

from dynomite_mp.cluster.quorum cimport (
    QUORUM_AGREED, QUORUM_FAILED, QUORUM_WAIT, reply_set_bad, reply_set_good, reply_set_new,
)
from dynomite_mp.ipc.counters cimport SlabWriter, cell_index, histogram_index
from dynomite_mp.ipc.message_codec cimport MESSAGE_REPLICATE, Replicate, decode_replicate
from dynomite_mp.ipc.ring cimport SpscRing
from dynomite_mp.proto.buffer cimport buf_len
from dynomite_mp.proto.command_lookup cimport command_lookup, command_row
from dynomite_mp.proto.dnode cimport (
    DNODE_HEADER_MOST, DNODE_REQ, DNODE_REQ_FORWARD, EXTENSION_MOST, EXTENSION_ORIGIN, EXTENSION_STAMP, Extension,
    encode_extension,
)
from dynomite_mp.proto.resp cimport FRAME_OK, RequestScan, next_request, request_scan_reset
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.peer_out_conn cimport PeerOutConn
from dynomite_mp.workers.remote_lane cimport ACK_ALL_NODES, ACK_NONE, ACK_READ_ANY, ACK_WRITE
from dynomite_mp.workers.reply_digest cimport digest_of
from dynomite_mp.workers.request cimport (
    REQUEST_ANSWERED, REQUEST_WAITING, Request, Slot, request_new, request_release, slots_at, slots_len,
)
from dynomite_mp.workers.target_conn cimport queue_figures

from dynomite_mp.cluster.continuum import continuum_of

log = logging.getLogger("dynomite_mp.replication")

cdef enum:
    SAME_DIGEST = 1
    RECORDS_PER_CALL = 512
    WAN_SILENCE_NS = 2000000000     # a link across datacenters may be quiet for longer


cdef class RemoteRack:
    def __init__(self, rack):
        self.circle = continuum_of(rack)
        self.nodes = rack.nodes
        self.conns = [None] * len(rack.nodes)


cdef class RemoteDatacenter:
    """`racks` in the order of Topology.rack_order."""

    def __init__(self, name, index, racks):
        self.name = name
        self.index = index
        self.racks = [RemoteRack(rack) for rack in racks]

    def rack_list(self):
        return list(self.racks)

    def lag(self, now_ns):
        """(requests awaiting a reply, their bytes, age of the oldest in ns) over all links."""
        cdef PeerOutConn conn
        cdef RemoteRack rack
        waiting = size = oldest = 0
        for rack in self.racks:
            for item in rack.conns:
                if item is not None:
                    conn = <PeerOutConn>item
                    waiting += slots_len(&conn.slots)
                    size += buf_len(&conn.outbuf)
                    if slots_len(&conn.slots):
                        oldest = max(oldest, now_ns - slots_at(&conn.slots, conn.slots.head).queued_ns)
        return waiting, size, oldest


cdef class WanPath(DataPath):
    """`on_verdict(worker, req_id, dc_index, status, reply)` answers DC_EACH_SAFE_QUORUM."""

    def __init__(self, schedule_turn, schedule_tick, SlabWriter slab, on_verdict, *, reply_timeout_ms, peer_bytes):
        super().__init__(schedule_turn, schedule_tick, slab, None)
        self.on_verdict = on_verdict
        self.reply_timeout_ns = reply_timeout_ms * 1000000
        self.peer_bytes = peer_bytes
        self.datacenters = []
        self.w_requests = cell_index("remote_peer_requests")
        self.w_request_bytes = cell_index("remote_peer_request_bytes")
        self.w_responses = cell_index("remote_peer_responses")
        self.w_response_bytes = cell_index("remote_peer_response_bytes")
        self.w_dropped = cell_index("remote_peer_dropped_requests")
        self.w_timeouts = cell_index("remote_peer_timedout_requests")
        self.w_failovers = cell_index("remote_peer_failover_requests")
        self.w_rtt = histogram_index("cross_region_rtt")
        self.w_queue_wait = histogram_index("cross_region_queue_wait")
        self.w_in_length = histogram_index("remote_peer_in_queue_length")
        self.w_out_length = histogram_index("remote_peer_out_queue_length")

    def set_datacenters(self, datacenters, conns):
        """A new topology; `conns` are (RemoteRack, place, PeerOutConn) to keep. A datacenter's figures go on."""
        cdef RemoteRack rack
        cdef RemoteDatacenter dc, before
        for dc in datacenters:
            for before in self.datacenters:
                if before.name == dc.name:
                    dc.sent, dc.failed_over, dc.dropped = before.sent, before.failed_over, before.dropped
        self.datacenters = datacenters
        for rack, place, conn in conns:
            if (<PeerOutConn>conn).is_up:
                rack.conns[place] = conn

    # ---- from the io workers

    def drain(self, SpscRing ring, other_record):
        """Records of one ring; cold ones go to other_record(type, payload). How many there were."""
        cdef uint32_t type
        cdef const char* data
        cdef size_t size
        cdef Replicate record
        cdef int handled = 0
        self.read_clock()
        while handled < RECORDS_PER_CALL and ring.c_peek(&type, &data, &size) == 1:
            if type == MESSAGE_REPLICATE and decode_replicate(data, size, &record):
                self.replicate(&record)
            else:
                other_record(type, data[:size])
            ring.c_advance()
            handled += 1
        return handled

    def replicate_payload(self, bytes payload):
        """A record that came by spill file."""
        cdef Replicate record
        if not decode_replicate(payload, len(payload), &record):
            raise ValueError("not a REPLICATE record")
        self.replicate(&record)

    cdef void describe(self, const Replicate* record) noexcept:
        """The extension of the frames to our nodes: who wrote it when."""
        cdef Extension extension
        self.outgoing_len = 0
        if record.stamp == 0:
            return
        memset(&extension, 0, sizeof(Extension))
        extension.fields = EXTENSION_STAMP | EXTENSION_ORIGIN
        extension.clock = extension.stamp = record.stamp
        extension.protocol = 2
        extension.origin_node = record.origin_node
        extension.origin_boot = record.origin_boot
        extension.origin_worker = record.origin_worker
        extension.sequence = record.sequence
        extension.conflict_class = record.conflict_class
        self.outgoing_len = encode_extension(self.outgoing, &extension)

    cdef Slot* enqueue(self, PeerOutConn conn, int type, const Replicate* record) noexcept:
        """A copy of a write; a C node gets the bare one."""
        cdef char[DNODE_HEADER_MOST + EXTENSION_MOST] head
        if conn.is_ours and self.outgoing_len:
            return conn.enqueue_frame(head, type, self.outgoing, self.outgoing_len, record.request, record.request_len)
        return conn.enqueue_frame(head, type, b"d", 1, record.request, record.request_len)

    cdef int replicate(self, const Replicate* record) except -1:
        cdef RemoteDatacenter dc
        self.describe(record)
        for dc in self.datacenters:
            if not (record.dc_mask >> dc.index) & 1:
                continue
            if record.need_ack == ACK_NONE:
                self.forward(dc, record)
            elif record.need_ack == ACK_ALL_NODES:
                self.to_every_node(dc, record)
            elif record.need_ack != ACK_READ_ANY:
                self.ask_each(dc, record)
            elif self.ask_any(dc, record):
                return 0
        if record.need_ack == ACK_READ_ANY:
            self.on_verdict(record.origin_worker, record.req_id, 0, 1, b"")
        return 0

    cdef int to_every_node(self, RemoteDatacenter dc, const Replicate* record) except -1:
        cdef char[DNODE_HEADER_MOST + 8] head
        cdef RemoteRack rack
        for rack in dc.racks:
            for item in rack.conns:
                if item is not None:
                    (<PeerOutConn>item).enqueue_frame(head, DNODE_REQ, b"d", 1, record.request, record.request_len)
                    self.slab.add(self.w_requests, 1)
                    self.slab.add(self.w_request_bytes, record.request_len)
        return 0

    cdef bint ask_any(self, RemoteDatacenter dc, const Replicate* record) except -1:
        """A read that no rack of its own datacenter could answer: the first owner here that is connected."""
        cdef char[DNODE_HEADER_MOST + 8] head
        cdef RemoteRack rack
        cdef PeerOutConn conn
        cdef Slot* slot
        cdef Request* request
        for rack in dc.racks:
            conn = self.conn_of(rack, record.token)
            if conn is None:
                continue
            # One of our nodes cuts a request of several keys by its own datacenter's tokens; a C node gets it wrong.
            slot = conn.enqueue_frame(head, DNODE_REQ_FORWARD if conn.is_ours else DNODE_REQ, b"d", 1,
                                      record.request, record.request_len)
            if slot == NULL:
                continue
            request = request_new()
            if request == NULL:
                raise MemoryError
            request.refs = 1
            request.origin_id = record.req_id
            request.shard = <unsigned char>record.origin_worker
            request.part = <unsigned short>dc.index
            slot.request = request
            self.slab.add(self.w_requests, 1)
            self.slab.add(self.w_request_bytes, record.request_len)
            return True
        return False

    cdef PeerOutConn conn_of(self, RemoteRack rack, uint32_t token):
        """The usable connection to the owner in a rack, None when there is none."""
        cdef int place = rack.circle.c_owner(token)
        cdef PeerOutConn conn
        if place < 0:
            return None
        conn = <PeerOutConn>rack.conns[place]
        if conn is None or buf_len(&conn.outbuf) > self.peer_bytes:
            return None
        if conn.is_silent:
            conn.probe_now_and_then()
            return None
        return conn

    cdef int forward(self, RemoteDatacenter dc, const Replicate* record) except -1:
        """One copy to the datacenter; its racks are the receiver's business."""
        cdef RemoteRack rack
        cdef PeerOutConn conn
        cdef bint is_preferred = True
        for rack in dc.racks:
            conn = self.conn_of(rack, record.token)
            if conn is not None and self.enqueue(conn, DNODE_REQ_FORWARD, record) != NULL:
                dc.sent += 1
                self.slab.add(self.w_requests, 1)
                self.slab.add(self.w_request_bytes, record.request_len)
                if not is_preferred:
                    dc.failed_over += 1
                    self.slab.add(self.w_failovers, 1)
                return 0
            is_preferred = False
        dc.dropped += 1
        self.slab.add(self.w_dropped, 1)
        return 0

    # ---- DC_EACH_SAFE_QUORUM

    cdef int ask_each(self, RemoteDatacenter dc, const Replicate* record) except -1:
        """Every rack's owner; the verdict goes back to the io worker."""
        cdef RemoteRack rack
        cdef PeerOutConn conn
        cdef Slot* slot
        cdef Request* request = request_new()
        cdef int number = 0
        if request == NULL:
            raise MemoryError
        request.refs = 1
        request.origin_id = record.req_id
        request.shard = <unsigned char>record.origin_worker
        request.part = <unsigned short>dc.index
        request.is_write = record.need_ack == ACK_WRITE
        request.command = command_of(record.request, record.request_len)
        request.replies = reply_set_new(len(dc.racks))
        if request.replies == NULL:
            raise MemoryError
        for rack in dc.racks:
            conn = self.conn_of(rack, record.token)
            slot = NULL
            if conn is not None:
                slot = self.enqueue(conn, DNODE_REQ, record)
            if slot == NULL:
                self.settle(request, reply_set_bad(request.replies, number, False))
            else:
                slot.request = request
                slot.rack = <unsigned short>number
                request.refs += 1
                self.slab.add(self.w_requests, 1)
                self.slab.add(self.w_request_bytes, record.request_len)
            number += 1
        request_release(request)
        return 0

    cdef int settle(self, Request* request, int verdict) except -1:
        cdef int bad
        if verdict == QUORUM_WAIT or request.state != REQUEST_WAITING:
            return 0
        request.state = REQUEST_ANSWERED
        reply = b""
        bad = request.replies.first_bad
        if verdict == QUORUM_FAILED and bad >= 0 and request.replies.replies[bad] != NULL:
            reply = request.replies.replies[bad][:request.replies.reply_lens[bad]]
        self.on_verdict(request.shard, request.origin_id, request.part, verdict != QUORUM_AGREED, reply)
        return 0

    # ---- hooks of PeerOutConn

    cdef int target_reply(self, Conn target, Slot* slot, const char* p, size_t n, bint is_error) except -1:
        cdef Request* request = slot.request
        self.slab.observe(self.w_rtt, self.now_ns - slot.queued_ns)
        self.slab.add(self.w_responses, 1)
        self.slab.add(self.w_response_bytes, n)
        if request == NULL:
            return 0
        if request.replies == NULL:                 # a read of any one datacenter
            self.on_verdict(request.shard, request.origin_id, request.part, 0, p[:n])
            request_release(request)
            return 0
        if is_error:
            if request.replies.replies[slot.rack] == NULL:
                request.replies.replies[slot.rack] = <char*>malloc(n)
                if request.replies.replies[slot.rack] != NULL:
                    memcpy(request.replies.replies[slot.rack], p, n)
                    request.replies.reply_lens[slot.rack] = n
            self.settle(request, reply_set_bad(request.replies, slot.rack, True))
        else:
            self.settle(request, reply_set_good(
                request.replies, slot.rack,
                SAME_DIGEST if request.is_write and (<PeerOutConn>target).is_ours
                else digest_of(command_row(request.command), p, n)))
        request_release(request)
        return 0

    cdef int target_expired(self, Conn target, Slot* slot, const char* p, size_t n) except -1:
        self.slab.add(self.w_timeouts, 1)
        return self.miss(slot)

    cdef int target_lost(self, Conn target, Slot* slot, const char* p, size_t n) except -1:
        return self.miss(slot)

    cdef int miss(self, Slot* slot) except -1:
        cdef Request* request = slot.request
        slot.request = NULL
        if request == NULL:
            return 0
        if request.replies == NULL:
            self.on_verdict(request.shard, request.origin_id, request.part, 1, b"")
        else:
            self.settle(request, reply_set_bad(request.replies, slot.rack, False))
        request_release(request)
        return 0

    cdef int target_changed(self, Conn target) except -1:
        """The link says where the connection belongs."""
        cdef PeerOutConn conn = <PeerOutConn>target
        cdef RemoteRack rack
        if conn.node < 0:
            return 0
        rack, place = conn.owner.where
        if conn.is_up:
            rack.conns[place] = conn
        elif rack.conns[place] is conn:
            rack.conns[place] = None
        return 0

    cdef void target_sent(self, Conn target, uint64_t waited_ns) noexcept:
        self.slab.observe(self.w_queue_wait, waited_ns)

    def tick(self):
        """Every 10 ms while something is in flight; returns whether it is wanted again."""
        cdef PeerOutConn conn
        cdef RemoteDatacenter dc
        cdef RemoteRack rack
        self.read_clock()
        for dc in self.datacenters:
            for rack in dc.racks:
                for item in rack.conns:
                    if item is not None:
                        conn = <PeerOutConn>item
                        conn.expire(self.reply_timeout_ns)
                        conn.watch_silence(WAN_SILENCE_NS)
        self.ticking = self.in_flight > 0
        return self.ticking

    def owes(self):
        """Whether a reply of another datacenter is awaited."""
        return self.in_flight > 0

    def figures(self):
        """Gauges as {cell of the counter table: value}, measured now; feeds the queue length histograms too."""
        cdef RemoteDatacenter dc
        cdef RemoteRack rack
        cdef list conns = []
        for dc in self.datacenters:
            for rack in dc.racks:
                conns += rack.conns
        return dict(zip(
            ("remote_peer_in_queue", "remote_peer_in_queue_bytes", "remote_peer_out_queue",
             "remote_peer_out_queue_bytes"),
            queue_figures(conns, self.slab, self.w_in_length, self.w_out_length)))

    def lags(self):
        """{datacenter: (requests awaiting a reply, their bytes, ms since the oldest, sent, failed over, dropped)}."""
        cdef RemoteDatacenter dc
        self.read_clock()
        out = {}
        for dc in self.datacenters:
            waiting, size, oldest = dc.lag(self.now_ns)
            out[dc.name] = (waiting, size, oldest // 1000000, dc.sent, dc.failed_over, dc.dropped)
        return out


cdef unsigned short command_of(const char* p, size_t n) noexcept:
    """Id of the command of a whole request; of a subcommand, its container's."""
    cdef RequestScan scan
    request_scan_reset(&scan)
    if next_request(p, n, &scan) != FRAME_OK or scan.argc == 0:
        return 0
    return <unsigned short>command_lookup(p + scan.args[0].off, scan.args[0].len)
