"""The data path of the replication process: one write from an io worker to one rack of every other datacenter.

What it is: it takes REPLICATE records from the io workers' rings, puts them into the log of each datacenter, and sends
the bytes on, as REQ_FORWARD, to the owner in the preferred rack of that datacenter (that node copies to its other
racks), or the next rack's when that one is not connected. For DC_EACH_SAFE_QUORUM it asks every rack's owner itself and
answers with the verdict.

    io worker --REPLICATE--> log of dc2, and --REQ_FORWARD--> preferred rack's owner of dc2 --REQ--> its other racks
                             log of dc3, and --REQ_FORWARD--> preferred rack's owner of dc3
              <--REPLICA_REPLY-- (only DC_EACH_SAFE_QUORUM: REQ to every rack's owner, cluster.quorum counts)
    io worker --HINT--> log of the replica that missed the write; workers.hint_lanes brings it there

The log is the queue (wan_queue): a write leaves it when it is answered. One that cannot be sent waits in it; one whose
answer is lost is sent again, marked as such, to whichever rack can be reached; by its origin and sequence the owners
know what they have. A C node does not know, and gets again only what overwrites.

Invariants: a slow or dead datacenter costs memory for at most peer_bytes a connection here, disk for the log, and
nothing in the io workers; a live one costs no reading of the log, and one write to it for each drain of a ring.
"""

import logging

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memset

from dynomite_mp.cluster.quorum cimport (
    QUORUM_AGREED, QUORUM_FAILED, QUORUM_WAIT, reply_set_bad, reply_set_good, reply_set_keep,
    reply_set_kept, reply_set_new,
)
from dynomite_mp.ipc.counters cimport SlabWriter, cell_index, histogram_index
from dynomite_mp.ipc.message_codec cimport (
    MESSAGE_HINT, MESSAGE_REPLICATE, Hint, Replicate, decode_hint, decode_replicate,
)
from dynomite_mp.ipc.ring cimport SpscRing
from dynomite_mp.proto.buffer cimport buf_len
from dynomite_mp.proto.command_lookup cimport CONFLICT_OVERWRITE, command_lookup, command_row
from dynomite_mp.proto.dnode cimport (
    DNODE_HEADER_MOST, DNODE_REQ, DNODE_REQ_FORWARD, EXTENSION_MOST, EXTENSION_ORIGIN, EXTENSION_RESENT,
    EXTENSION_STAMP, Extension, encode_extension,
)
from dynomite_mp.proto.resp cimport FRAME_OK, RequestScan, next_request, request_scan_reset
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.hint_log cimport HintLog
from dynomite_mp.workers.peer_out_conn cimport PeerOutConn
from dynomite_mp.workers.remote_lane cimport ACK_ALL_NODES, ACK_NONE, ACK_READ_ANY, ACK_WRITE
from dynomite_mp.workers.reply_digest cimport digest_of
from dynomite_mp.workers.request cimport (
    REQUEST_ANSWERED, REQUEST_WAITING, Request, Slot, request_new, request_release, slots_at,
)
from dynomite_mp.workers.target_conn cimport queue_figures
from dynomite_mp.workers.wan_queue cimport WanQueue

from dynomite_mp.cluster.continuum import continuum_of
from dynomite_mp.cluster.hints import DirtyReason

log = logging.getLogger("dynomite_mp.replication")

cdef enum:
    SAME_DIGEST = 1
    RECORDS_PER_CALL = 512
    WAN_SILENCE_NS = 2000000000     # a link across datacenters may be quiet for longer
    QUEUED = 255                    # Request.mode of a record of a queue; origin_id is its entry, client its queue
    NO_ENTRY = 0xFFFFFFFFFFFFFFFF
    PUMP_RECORDS = 2000             # of a log, sent in one go
    REFUSED_NS = 200000000          # until what was refused for now is sent again

    # What became of an attempt to send
    NOWHERE = 0
    SENT = 1
    NEVER = 2                       # only C nodes can be reached, and must not get it twice

cdef int UNSENDABLE = DirtyReason.UNSENDABLE
cdef int OLD = DirtyReason.OLD


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

    def lag(self, now_ms):
        """(writes not acknowledged, their bytes, age of the oldest in ms)."""
        oldest_ms = self.queue.log.oldest_ms()
        return self.queue.log.records, self.queue.log.pending_bytes, max(0, now_ms - oldest_ms) if oldest_ms else 0


cdef class WanPath(DataPath):
    """`on_verdict(worker, req_id, dc_index, status, reply)` answers DC_EACH_SAFE_QUORUM."""

    def __init__(self, schedule_turn, schedule_tick, SlabWriter slab, on_verdict, *, reply_timeout_ms, peer_bytes):
        super().__init__(schedule_turn, schedule_tick, slab, None)
        self.on_verdict = on_verdict
        self.reply_timeout_ns = reply_timeout_ms * 1000000
        self.peer_bytes = peer_bytes
        self.datacenters = []
        self.queues = {}
        self.hint_logs = {}
        self.hinted = set()
        self.w_hints = cell_index("hints_received")
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
        for dc in datacenters:
            if dc.name not in self.queues:
                self.queues[dc.name] = WanQueue(dc.name, self.open_queue_log(dc.name))
            dc.queue = self.queues[dc.name]
        self.keep_ticking()

    # ---- from the io workers

    def drain(self, SpscRing ring, other_record, uint64_t now_ms):
        """Records of one ring; cold ones go to other_record(type, payload). How many there were.

        The ring's records are let go of when what is to be logged is in its file.
        """
        cdef uint32_t type
        cdef const char* data
        cdef size_t size
        cdef uint64_t pos = ring.c_consumer_pos()
        cdef Replicate record
        cdef Hint hint
        cdef int handled = 0
        self.read_clock()
        self.now_ms = now_ms
        while handled < RECORDS_PER_CALL and ring.c_next(&pos, &type, &data, &size) == 1:
            if type == MESSAGE_REPLICATE and decode_replicate(data, size, &record):
                self.replicate(&record, data, size)
            elif type == MESSAGE_HINT and decode_hint(data, size, &hint):
                self.log_hint(&hint, data, size)
            else:
                other_record(type, data[:size])
            handled += 1
        if handled:
            self.write_logs()
            ring.c_let_go(pos)
        return handled

    cdef int log_hint(self, const Hint* hint, const char* data, size_t size) except -1:
        """Into the log of the replica that missed the write."""
        cdef bytes node = hint.node[:hint.node_len]
        cdef HintLog log = self.hint_logs.get(node)
        if log is None:
            log = self.hint_logs[node] = self.open_hint_log(node)
        log.c_append(data, size, self.now_ms)
        self.hinted.add(node)
        self.slab.add(self.w_hints, 1)
        return 0

    cdef int write_logs(self) except -1:
        cdef HintLog log
        cdef WanQueue queue
        if self.must_write_queues:
            self.must_write_queues = False
            for queue in self.queues.values():
                if not queue.log.write():
                    queue.keep_refused()
            self.keep_ticking()
        if self.hinted:
            for node in self.hinted:
                log = <HintLog>self.hint_logs[node]
                log.write()
            self.on_hinted(self.hinted)
            self.hinted.clear()
        return 0

    def set_logs(self, open_queue_log, open_hint_log, on_hinted, age_ms_max):
        """Who gives the log of a datacenter, by name, and that of a replica, by address; on_hinted(addresses): there
        is something new in the logs of these."""
        self.open_queue_log = open_queue_log
        self.age_ms_max = age_ms_max
        self.open_hint_log = open_hint_log
        self.on_hinted = on_hinted

    def hint_payload(self, bytes payload, uint64_t now_ms):
        """A hint that came by spill file."""
        cdef Hint hint
        if not decode_hint(payload, len(payload), &hint):
            raise ValueError("not a HINT record")
        self.now_ms = now_ms
        self.log_hint(&hint, payload, len(payload))
        self.write_logs()

    def replicate_payload(self, bytes payload, uint64_t now_ms):
        """A record that came by spill file."""
        cdef Replicate record
        if not decode_replicate(payload, len(payload), &record):
            raise ValueError("not a REPLICATE record")
        self.read_clock()
        self.now_ms = now_ms
        self.replicate(&record, payload, len(payload))
        self.write_logs()

    cdef int replicate(self, const Replicate* record, const char* data, size_t size) except -1:
        cdef RemoteDatacenter dc
        for dc in self.datacenters:
            if not (record.dc_mask >> dc.index) & 1:
                continue
            if record.need_ack == ACK_NONE:
                self.forward(dc, record, data, size)
            elif record.need_ack == ACK_ALL_NODES:
                self.to_every_node(dc, record)
            elif record.need_ack != ACK_READ_ANY:
                self.ask_each(dc, record, data, size)
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

    # ---- the queue of a datacenter

    cdef int forward(self, RemoteDatacenter dc, const Replicate* record, const char* data, size_t size) except -1:
        """One copy to the datacenter; its racks are the receiver's business."""
        cdef WanQueue queue = dc.queue
        cdef bint is_next = queue.is_live() and queue.has_room()
        cdef uint64_t start = queue.log.end
        cdef uint64_t end = queue.log.c_append(data, size, self.now_ms)
        if end == 0:
            return self.forward_unlogged(dc, record, data, size, is_next)
        self.must_write_queues = True
        if is_next and self.send(dc, record, queue.tail, 0) == SENT:
            queue.sent(start, end)
        else:
            self.keep_ticking()
        return 0

    cdef int forward_unlogged(self, RemoteDatacenter dc, const Replicate* record, const char* data, size_t size,
                              bint is_next) except -1:
        """The log does not take it: it waits in memory, or, where there is no room, goes now or never."""
        cdef uint64_t entry = dc.queue.keep(data, size)
        cdef bint is_sent = is_next and self.send(dc, record, entry if entry else NO_ENTRY, 0) == SENT
        if not is_sent and entry:
            dc.queue.missed(entry)
            self.keep_ticking()
        elif not is_sent:
            self.give_up(dc)
        return 0

    cdef void give_up(self, RemoteDatacenter dc):
        dc.dropped += 1
        self.slab.add(self.w_dropped, 1)

    cdef int send(self, RemoteDatacenter dc, const Replicate* record, uint64_t entry, uint32_t flags) except -1:
        """To the first rack that can take it; `entry` is its place in the queue."""
        cdef char[DNODE_HEADER_MOST + EXTENSION_MOST] head
        cdef char[EXTENSION_MOST] data
        cdef size_t data_len
        cdef RemoteRack rack
        cdef PeerOutConn conn
        cdef Slot* slot
        cdef Request* request
        cdef bint is_preferred = True
        cdef int outcome = NOWHERE
        for rack in dc.racks:
            conn = self.conn_of(rack, record.token)
            if conn is not None and flags and not conn.is_ours and record.conflict_class != CONFLICT_OVERWRITE:
                outcome = NEVER
            elif conn is not None:
                data[0] = c"d"
                data_len = extension_of(data, record, flags) if conn.is_ours else 1
                slot = conn.enqueue_frame(head, DNODE_REQ_FORWARD, data, data_len, record.request, record.request_len)
                if slot != NULL:
                    request = request_new()
                    if request == NULL:
                        raise MemoryError
                    request.refs = 1
                    request.mode = QUEUED
                    request.origin_id = entry
                    request.client = <void*>dc.queue        # it lives as long as this path
                    slot.request = request
                    dc.sent += 1
                    self.slab.add(self.w_requests, 1)
                    self.slab.add(self.w_request_bytes, record.request_len)
                    if not is_preferred:
                        dc.failed_over += 1
                        self.slab.add(self.w_failovers, 1)
                    return SENT
            is_preferred = False
        return outcome

    cdef int pump(self, RemoteDatacenter dc) except -1:
        """Send what was missed, then what waits in the log, as far as connections take it."""
        cdef WanQueue queue = dc.queue
        cdef Replicate record
        cdef bytes payload
        cdef int outcome
        cdef int _i
        cdef uint64_t start
        queue.settle()
        if queue.lost and self.now_ns >= queue.lost_not_before_ns:
            self.send_lost(dc, queue)
        for _i in range(PUMP_RECORDS):
            if queue.is_live() or not queue.has_room():
                break
            found = queue.peek()
            if found is None:
                continue                            # is_live() now, or behind what was damaged
            start = found[0]
            payload = found[3]
            outcome = NEVER
            if self.age_ms_max and found[2] + self.age_ms_max < self.now_ms:
                if queue.log.mark_dirty(OLD, self.now_ms):
                    log.error("datacenter %s: writes waited longer than hint_age_ms_max; a comparison will mend it",
                              dc.name)
            elif decode_replicate(payload, len(payload), &record):
                outcome = self.send(dc, &record, queue.tail, EXTENSION_RESENT if queue.may_have_been_sent(start) else 0)
            if outcome == NOWHERE:
                break
            queue.sent(start, found[1])
            queue.pop()
            if outcome == NEVER:
                self.never(dc, queue, queue.tail - 1)
        queue.settle()
        return 0

    cdef int send_lost(self, RemoteDatacenter dc, WanQueue queue) except -1:
        cdef Replicate record
        cdef bytes payload
        cdef list lost = queue.take_lost()
        cdef int outcome
        cdef size_t i = 0
        for i in range(len(lost)):
            payload = queue.payload_of(lost[i])
            outcome = NEVER
            if payload is not None and decode_replicate(payload, len(payload), &record):
                outcome = self.send(dc, &record, lost[i], EXTENSION_RESENT)
            if outcome == NOWHERE:
                queue.put_back(lost[i:])
                return 0
            if outcome == NEVER:
                self.never(dc, queue, lost[i])
        return 0

    cdef void never(self, RemoteDatacenter dc, WanQueue queue, uint64_t entry):
        """A write that cannot be brought there any more."""
        queue.done(entry)
        self.give_up(dc)
        if queue.log.mark_dirty(UNSENDABLE, self.now_ms):
            log.error("datacenter %s has missed a write that must not be sent twice; a comparison will mend it",
                      dc.name)

    cdef void keep_ticking(self):
        """While something waits in a queue there is nothing else that would send it."""
        if not self.ticking and self.lags_behind():
            self.start_ticking()

    cdef bint lags_behind(self):
        cdef RemoteDatacenter dc
        for dc in self.datacenters:
            if dc.queue is not None and (dc.queue.lost or not dc.queue.is_live()):
                return True
        return False

    def tick_queues(self, now_ms):
        """Once a second: what was acknowledged is saved, what is too old is given up by the caller."""
        cdef WanQueue queue
        self.now_ms = now_ms
        for queue in self.queues.values():
            queue.settle()
            if not queue.log.write():
                queue.keep_refused()
            queue.log.save()
        self.keep_ticking()

    def close_queues(self):
        cdef WanQueue queue
        for queue in self.queues.values():
            queue.settle()
            queue.log.close()

    # ---- DC_EACH_SAFE_QUORUM

    cdef int ask_each(self, RemoteDatacenter dc, const Replicate* record, const char* data, size_t size) except -1:
        """Every rack's owner; the verdict goes back to the io worker. A write that any of them missed stays queued."""
        cdef char[DNODE_HEADER_MOST + EXTENSION_MOST] head
        cdef char[EXTENSION_MOST] extension
        cdef size_t extension_len = extension_of(extension, record, 0)
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
        request.pending = <unsigned short>len(dc.racks)
        request.client = <void*>dc.queue
        request.started_ns = self.queue_asked(dc.queue, data, size) if request.is_write else NO_ENTRY
        for rack in dc.racks:
            conn = self.conn_of(rack, record.token)
            slot = NULL
            if conn is not None and conn.is_ours:
                slot = conn.enqueue_frame(head, DNODE_REQ, extension, extension_len, record.request, record.request_len)
            elif conn is not None:
                request.has_c_owner = True
                slot = conn.enqueue_frame(head, DNODE_REQ, b"d", 1, record.request, record.request_len)
            if slot == NULL:
                self.note_outcome(request, False)
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

    cdef uint64_t queue_asked(self, WanQueue queue, const char* data, size_t size) except? 0:
        """The write's entry in the queue; NO_ENTRY: it is not kept, or is behind others and will be sent again."""
        cdef bint is_next = queue.is_live() and queue.has_room()
        cdef uint64_t start = queue.log.end
        cdef uint64_t end = queue.log.c_append(data, size, self.now_ms)
        if end == 0:
            return NO_ENTRY
        self.must_write_queues = True
        if is_next:
            return queue.sent(start, end)
        queue.asked.add(start)
        self.keep_ticking()
        return NO_ENTRY

    cdef int note_outcome(self, Request* request, bint is_good) except -1:
        """One rack's; when all have said, the queue knows whether the write is still owed."""
        cdef WanQueue queue = <WanQueue>request.client
        request.pending -= 1
        if not is_good:
            request.primary_failed = True
        if request.pending == 0 and request.started_ns != NO_ENTRY:
            if request.primary_failed:
                queue.missed(request.started_ns)
            else:
                queue.done(request.started_ns)
        return 0

    cdef int settle(self, Request* request, int verdict) except -1:
        cdef int bad
        cdef const char* error
        cdef size_t n
        if verdict == QUORUM_WAIT or request.state != REQUEST_WAITING:
            return 0
        request.state = REQUEST_ANSWERED
        reply = b""
        bad = request.replies.first_bad
        if verdict == QUORUM_FAILED and bad >= 0:
            error = reply_set_kept(request.replies, bad, &n)
            if error != NULL:
                reply = error[:n]
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
        if request.mode == QUEUED:
            self.answered(<WanQueue>request.client, request.origin_id, p, n, is_error)
            request_release(request)
            return 0
        if request.replies == NULL:                 # a read of any one datacenter
            self.on_verdict(request.shard, request.origin_id, request.part, 0, p[:n])
            request_release(request)
            return 0
        self.note_outcome(request, not is_error)
        if is_error:
            reply_set_keep(request.replies, slot.rack, p, n)
            self.settle(request, reply_set_bad(request.replies, slot.rack, True))
        else:
            self.settle(request, reply_set_good(
                request.replies, slot.rack,
                SAME_DIGEST if request.is_write and not request.has_c_owner
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
        if request.mode == QUEUED:
            self.miss_queued(<WanQueue>request.client, request.origin_id)
        elif request.replies == NULL:
            self.on_verdict(request.shard, request.origin_id, request.part, 1, b"")
        else:
            self.note_outcome(request, False)
            self.settle(request, reply_set_bad(request.replies, slot.rack, False))
        request_release(request)
        return 0

    cdef int miss_queued(self, WanQueue queue, uint64_t entry) except -1:
        """It is sent again; what neither the log nor the memory could keep is missing there from now on."""
        if entry == NO_ENTRY:
            queue.log.mark_dirty(UNSENDABLE, self.now_ms)
        else:
            queue.missed(entry)
        return 0

    cdef int answered(self, WanQueue queue, uint64_t entry, const char* p, size_t n, bint is_error) except -1:
        """A refusal that may pass is no answer; any other error the datastores of that datacenter gave."""
        if is_error and says_not_now(p, n):
            self.miss_queued(queue, entry)
            queue.lost_not_before_ns = self.now_ns + REFUSED_NS
        else:
            queue.done(entry)
        return 0

    cdef int target_silent(self, PeerOutConn conn) except -1:
        """What a silent node owes to a queue goes to another rack; should it wake up, the owners know it by its id."""
        cdef uint64_t at
        cdef Slot* slot
        for at in range(conn.slots.head, conn.slots.tail):
            slot = slots_at(&conn.slots, at)
            if slot.request != NULL and slot.request.mode == QUEUED:
                self.miss(slot)
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
                        if conn.watch_silence(WAN_SILENCE_NS):
                            self.target_silent(conn)
            self.pump(dc)
        self.ticking = self.in_flight > 0 or self.lags_behind()
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
        """{datacenter: (writes not acknowledged, their bytes, ms since the oldest, sent, failed over, dropped)}."""
        cdef RemoteDatacenter dc
        return {dc.name: (*dc.lag(self.now_ms), dc.sent, dc.failed_over, dc.dropped) for dc in self.datacenters}


cdef unsigned short command_of(const char* p, size_t n) noexcept:
    """Id of the command of a whole request; of a subcommand, its container's."""
    cdef RequestScan scan
    request_scan_reset(&scan)
    if next_request(p, n, &scan) != FRAME_OK or scan.argc == 0:
        return 0
    return <unsigned short>command_lookup(p + scan.args[0].off, scan.args[0].len)


cdef size_t extension_of(char* out, const Replicate* record, uint32_t flags) noexcept nogil:
    """What our nodes are told of a write: when and where it was made, and whether it may come a second time."""
    cdef Extension extension
    memset(&extension, 0, sizeof(Extension))
    extension.fields = EXTENSION_STAMP | EXTENSION_ORIGIN
    extension.clock = record.stamp
    extension.protocol = 2
    extension.flags = flags
    extension.stamp = record.stamp
    extension.origin_node = record.origin_node
    extension.origin_boot = record.origin_boot
    extension.origin_worker = record.origin_worker
    extension.sequence = record.sequence
    extension.conflict_class = record.conflict_class
    return encode_extension(out, &extension)


cdef bint starts(const char* p, size_t n, const char* word, size_t len) noexcept nogil:
    return n >= len and memcmp(p, word, len) == 0


cdef bint says_not_now(const char* p, size_t n) noexcept nogil:
    """Errors of a node or its datastore that are no answer to the write: it was not taken, and may be later."""
    return (starts(p, n, b"-LOADING", 8) or starts(p, n, b"-MASTERDOWN", 11) or starts(p, n, b"-OOM", 4)
            or starts(p, n, b"-READONLY", 9) or starts(p, n, b"-MISCONF", 8) or starts(p, n, b"-NOREPLICAS", 11)
            or starts(p, n, b"-BUSY ", 6) or starts(p, n, b"-ERR Storage: ", 14) or starts(p, n, b"-ERR Peer: ", 11)
            or starts(p, n, b"-ERR Dynomite: Dynomite's current state", 39)
            or starts(p, n, b"-ERR dynomite-mp: the node is ", 30)
            or starts(p, n, b"-ERR dynomite-mp: the worker that", 33))
