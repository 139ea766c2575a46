# The face of request.pyx: a request, the slot it takes in a target's queue, and the two queues.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from dynomite_mp.cluster.quorum cimport ReplySet
from dynomite_mp.cluster.write_table cimport WriteId
from dynomite_mp.proto.buffer cimport Buf

cdef enum RequestState:
    REQUEST_WAITING = 0             # no reply yet
    REQUEST_DONE = 1                # its reply stands in .reply, an earlier one of the client is still awaited
    REQUEST_ANSWERED = 2            # the client has its reply (or an error); a late reply is swallowed


cdef struct Probed:              # of a request whose effect is told from what it has written
    Buf request
    Buf reply
    Buf replies                     # to the probes behind it
    uint16_t left                   # probes not answered
    bint failed


cdef struct Request:
    Request* next                   # free list
    void* client                    # SourceConn (borrowed), NULL once it is gone and for parts and shards
    Request* parent                 # of a part of a split request
    void* fragments                 # Fragments (a counted reference) of a request that was split
    ReplySet* replies               # of a quorum plan
    Probed* probed                  # of a request of class lead, NULL for most
    uint64_t started_ns             # the turn in which it was read
    uint64_t origin_id              # id of the asking peer's frame, or at another io worker
    char* reply                     # malloc'ed: the reply, when DONE; before that another rack's, in reserve
    size_t reply_len
    size_t size                     # bytes of the request: its part of the client's soft budget
    uint32_t refs                   # queues and parts that hold it
    uint32_t token
    uint16_t command                # id in the command table
    uint16_t pending                # targets whose outcome is awaited
    uint16_t racks_tried            # of a read that goes from rack to rack
    uint16_t part                   # number among the parent's parts
    uint16_t primary                # of a fan-out: this rack's number when it was sent
    uint16_t error_code             # why the last target could not answer
    uint64_t stamp                  # of a write; 0: it has none. In a reply that says stale: the newest that is known
    WriteId id                      # of a stamped write
    uint64_t key_hash               # of a write of one key (cluster.write_table)
    uint64_t doubtful_racks         # of a write: whose replies are counted from values that may lack earlier writes
    uint64_t refused_racks          # whose datastore answered an error, while none has taken the write
    uint64_t leads_tried            # racks that were asked to lead it and have not executed it
    uint64_t executed_ns            # when it went to this node's datastore
    uint64_t missed_racks           # of a request executed here: racks without its effect
    uint16_t remote_pending         # other datacenters whose verdict is awaited; PLAN_LEAD: effects that await theirs
    uint8_t klass                   # command class, for counters
    uint8_t state
    uint8_t shard                   # 1 + io worker it came from, 0 for a source of our own
    uint8_t mode                    # PLAN_* of cluster.route
    uint8_t level                   # consistency asked for
    uint8_t group                   # protocol group of the client
    uint8_t is_write
    uint8_t is_wide                 # several keys
    uint8_t is_local_only           # asked by a peer: this node's datastore, no fan-out
    uint8_t is_forwarded            # asked by another datacenter: no copies to others
    uint8_t has_c_owner             # it went to a C node, whose replies to writes are compared
    uint8_t primary_failed          # PLAN_ONE_WRITE: this rack's owner will not answer, or does not know what
    uint8_t is_owed                 # a write: replicas that miss it are told to the replication process
    uint8_t is_taken                # a write that a replica has taken
    uint8_t conflict                # class of a write
    uint8_t marks                   # EXTENSION_* of the asking node
    uint8_t reply_marks             # EXTENSION_* for its reply
    uint8_t is_foreign              # stamped by another coordinator
    uint8_t is_late                 # it has waited for a copy of its key, the other racks have it already
    uint8_t is_behind               # whose clock is behind: the reply tells the time
    uint8_t is_differing            # a read whose replicas answered differently, which has been told
    uint8_t is_restamped            # sent once more with a newer stamp
    uint8_t is_lead_asked           # by a peer: execute it as the key's lead
    uint8_t is_lead_open            # executed here and not finished: counted under lead_epoch
    uint8_t lead_epoch
    uint8_t is_executed             # class lead: it went to this node's datastore, not to another lead
    uint8_t is_later                # of a peer: its reply comes when it comes, out of order
    uint8_t is_declined             # class lead: a rack that could lead said that it does not
    uint16_t put_off                # a read: how many racks did not take it because of what they may lack
    uint16_t old_rack               # 1 + distance from this rack of one of them that lacks some writes only; 0: none
    uint16_t read_from              # distance from this rack of the rack that is asked first
    uint8_t is_forced               # a read that such a replica has to take
    uint8_t has_reserve             # another rack's reply is kept in case
    uint8_t is_guess                # that is this node's, which does not know what the reply should be
    uint8_t is_reserve_weak         # it is that of a replica which may not know what it should be
    uint8_t reserve_len             # of reserve, when it is short; else it stands in .reply
    char[24] reserve


cdef enum SlotKind:
    SLOT_REQUEST = 0
    SLOT_HANDSHAKE = 1              # our own AUTH, HELLO, PING: the reply goes to the connection's owner
    SLOT_PROBE = 2                  # asks a silent target whether it lives; any reply will do


cdef struct Slot:
    Request* request                # NULL: expired or detached, the late reply is swallowed
    size_t size                     # its bytes in the output buffer, header included
    uint64_t queued_ns
    uint16_t rack                   # which replica it is, in this datacenter
    uint16_t head_len               # bytes of .size in front of the request's own
    uint16_t bucket                 # of the write order between protocol groups
    uint8_t kind
    uint8_t is_write
    uint8_t klass
    uint8_t stand_in                # of a read instead of the write: how its reply becomes the write's (proto.stand_in)
    uint8_t is_unsent               # of a lost connection: not all of it has left, so it was not executed


cdef struct SlotQueue:              # FIFO of a target: requests sent whose reply is owed
    Slot* slots
    uint64_t head                   # positions never wrap; index = position & mask
    uint64_t tail
    uint64_t expired                # slots before this position have had their deadline looked at
    uint64_t mask


cdef struct RequestQueue:           # FIFO of a client: replies leave in this order
    Request** items
    uint64_t head
    uint64_t tail
    uint64_t mask


cdef Request* request_new() noexcept nogil
cdef void request_release(Request* request) noexcept

cdef void slots_init(SlotQueue* queue) noexcept nogil
cdef void slots_free(SlotQueue* queue) noexcept nogil
cdef bint slots_grow(SlotQueue* queue) noexcept nogil
cdef inline Slot* slots_push(SlotQueue* queue) noexcept nogil:
    """A zeroed slot at the tail, NULL when memory is out; valid until the next push."""
    cdef Slot* slot
    if (queue.slots == NULL or queue.tail - queue.head > queue.mask) and not slots_grow(queue):
        return NULL
    slot = &queue.slots[queue.tail & queue.mask]
    memset(slot, 0, sizeof(Slot))
    queue.tail += 1
    return slot
cdef inline uint64_t slots_len(SlotQueue* queue) noexcept nogil:
    return queue.tail - queue.head
cdef inline Slot* slots_at(SlotQueue* queue, uint64_t position) noexcept nogil:
    return &queue.slots[position & queue.mask]

cdef void queue_init(RequestQueue* queue) noexcept nogil
cdef void queue_free(RequestQueue* queue) noexcept nogil
cdef bint queue_grow(RequestQueue* queue) noexcept nogil
cdef inline int queue_push(RequestQueue* queue, Request* request) noexcept nogil:
    """0, or -1 when memory is out."""
    if (queue.items == NULL or queue.tail - queue.head > queue.mask) and not queue_grow(queue):
        return -1
    queue.items[queue.tail & queue.mask] = request
    queue.tail += 1
    return 0
cdef inline uint64_t queue_len(RequestQueue* queue) noexcept nogil:
    return queue.tail - queue.head
cdef inline Request* queue_head(RequestQueue* queue) noexcept nogil:
    return queue.items[queue.head & queue.mask] if queue.tail != queue.head else NULL
