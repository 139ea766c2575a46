# The face of request.pyx: a request, the slot it takes in a target's queue, and the two queues.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef enum RequestState:
    REQUEST_WAITING = 0             # no reply yet
    REQUEST_DONE = 1                # its reply stands in .reply, an earlier one of the client is still awaited
    REQUEST_ANSWERED = 2            # the client has its reply (or an error); a late reply is swallowed


cdef struct Request:
    Request* next                   # free list
    void* client                    # ClientConn (borrowed), NULL once the client is gone
    uint64_t started_ns             # the turn in which it was read
    uint64_t origin_id              # request id at another io worker; only with .shard set
    char* reply                     # malloc'ed, only when DONE
    size_t reply_len
    size_t size                     # bytes of the request: its part of the client's soft budget
    uint32_t refs                   # queues that hold it
    uint16_t command                # id in the command table
    uint8_t klass                   # command class, for counters
    uint8_t state
    uint8_t shard                   # 1 + io worker it came from, 0 for a client of our own


cdef enum SlotKind:
    SLOT_REQUEST = 0
    SLOT_HANDSHAKE = 1              # our own AUTH, HELLO, PING: the reply goes to the connection's owner


cdef struct Slot:
    Request* request                # NULL: expired or detached, the late reply is swallowed
    size_t size                     # its bytes in the output buffer, header included
    uint64_t queued_ns
    uint32_t generation             # of the id a shard link gave it
    uint16_t bucket                 # of the write order between protocol groups
    uint8_t kind
    uint8_t is_write
    uint8_t klass


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
cdef void request_release(Request* request) noexcept nogil

cdef void slots_init(SlotQueue* queue) noexcept nogil
cdef void slots_free(SlotQueue* queue) noexcept nogil
cdef Slot* slots_push(SlotQueue* queue) noexcept nogil
cdef inline uint64_t slots_len(SlotQueue* queue) noexcept nogil:
    return queue.tail - queue.head
cdef inline Slot* slots_at(SlotQueue* queue, uint64_t position) noexcept nogil:
    return &queue.slots[position & queue.mask]

cdef void queue_init(RequestQueue* queue) noexcept nogil
cdef void queue_free(RequestQueue* queue) noexcept nogil
cdef int queue_push(RequestQueue* queue, Request* request) noexcept nogil
cdef inline uint64_t queue_len(RequestQueue* queue) noexcept nogil:
    return queue.tail - queue.head
cdef inline Request* queue_head(RequestQueue* queue) noexcept nogil:
    return queue.items[queue.head & queue.mask] if queue.tail != queue.head else NULL
