"""A request in flight and the two queues it stands in.

What it is: C structs and their memory. A client's queue keeps replies in request order; a target's queue pairs
each reply with the oldest request that is owed one.

What it is not: it decides nothing; io_path does.

Invariants:
- a request is freed when no queue holds it (`refs`);
- a slot leaves a target's queue only with its reply or with the connection, never at a deadline: the late reply
  must find it;
- requests come from a free list, so the data path does not call malloc for them.
"""

from cpython.ref cimport Py_DECREF
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from libc.stdint cimport uint64_t

from dynomite_mp.cluster.quorum cimport reply_set_free
from dynomite_mp.proto.buffer cimport buf_free

cdef enum:
    FIRST_ROOM = 16
    BATCH = 64

cdef extern from *:
    """
    static inline void request_fetch(const void *p, size_t n) {
        for (size_t at = 0; at < n; at += 64)
            __builtin_prefetch((const char *)p + at, 1);
    }
    """
    void request_fetch(const void* p, size_t n) noexcept nogil      # the next one is wanted soon

cdef Request* free_list = NULL
cdef size_t request_bytes = sizeof(Request)     # in a variable: memset is the C library's then, not inline and slower


cdef Request* request_new() noexcept nogil:
    """A zeroed request, NULL when memory is out."""
    global free_list
    cdef Request* block
    cdef Request* request
    cdef int i
    if free_list == NULL:
        block = <Request*>malloc(BATCH * sizeof(Request))
        if block == NULL:
            return NULL
        for i in range(BATCH):
            block[i].next = free_list
            free_list = &block[i]
    request = free_list
    free_list = request.next
    if free_list != NULL:
        request_fetch(free_list, request_bytes)
    memset(request, 0, request_bytes)
    return request


cdef void request_release(Request* request) noexcept:
    """One of those that hold it lets go."""
    global free_list
    request.refs -= 1
    if request.refs == 0:
        if request.reply != NULL:
            free(request.reply)
        if request.replies != NULL:
            reply_set_free(request.replies)
        if request.probed != NULL:
            buf_free(&request.probed.request)
            buf_free(&request.probed.reply)
            buf_free(&request.probed.replies)
            free(request.probed)
        if request.fragments != NULL:
            Py_DECREF(<object>request.fragments)
        if request.parent != NULL:
            request_release(request.parent)
        request.next = free_list
        free_list = request


cdef void slots_init(SlotQueue* queue) noexcept nogil:
    memset(queue, 0, sizeof(SlotQueue))


cdef void slots_free(SlotQueue* queue) noexcept nogil:
    free(queue.slots)
    memset(queue, 0, sizeof(SlotQueue))


cdef bint slots_grow(SlotQueue* queue) noexcept nogil:
    """Twice the room; False when memory is out."""
    cdef uint64_t room = 2 * (queue.mask + 1) if queue.slots != NULL else FIRST_ROOM
    cdef uint64_t i
    cdef Slot* grown = <Slot*>malloc(room * sizeof(Slot))
    if grown == NULL:
        return False
    for i in range(queue.head, queue.tail):
        grown[i & (room - 1)] = queue.slots[i & queue.mask]
    free(queue.slots)
    queue.slots = grown
    queue.mask = room - 1
    return True


cdef void queue_init(RequestQueue* queue) noexcept nogil:
    memset(queue, 0, sizeof(RequestQueue))


cdef void queue_free(RequestQueue* queue) noexcept nogil:
    free(queue.items)
    memset(queue, 0, sizeof(RequestQueue))


cdef bint queue_grow(RequestQueue* queue) noexcept nogil:
    """Twice the room; False when memory is out."""
    cdef uint64_t room = 2 * (queue.mask + 1) if queue.items != NULL else FIRST_ROOM
    cdef uint64_t i
    cdef Request** grown = <Request**>malloc(room * sizeof(Request*))
    if grown == NULL:
        return False
    for i in range(queue.head, queue.tail):
        grown[i & (room - 1)] = queue.items[i & queue.mask]
    free(queue.items)
    queue.items = grown
    queue.mask = room - 1
    return True
