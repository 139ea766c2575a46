# A growing byte buffer with a read offset and a write offset; every function is inline and free of Python objects.
#
#      data                head              tail             cap
#       |  already consumed  |  unread bytes   |   free room     |
#       +--------------------+-----------------+-----------------+
#
# Invariants: head <= tail <= cap; data is NULL exactly when cap is 0; head == tail implies both are 0.
# Pointers from buf_ptr and buf_tail die at the next buf_reserve, buf_append or buf_shrink_idle: keep offsets.
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove


cdef enum:
    BUF_SMALLEST = 512              # first allocation


cdef struct Buf:
    char* data
    size_t cap
    size_t head
    size_t tail


cdef inline void buf_init(Buf* b) noexcept nogil:
    b.data = NULL
    b.cap = 0
    b.head = 0
    b.tail = 0


cdef inline void buf_free(Buf* b) noexcept nogil:
    free(b.data)
    buf_init(b)


cdef inline size_t buf_len(const Buf* b) noexcept nogil:
    return b.tail - b.head


cdef inline char* buf_ptr(const Buf* b) noexcept nogil:
    # First unread byte; NULL for a buffer that never held any.
    return b.data + b.head


cdef inline char* buf_tail(const Buf* b) noexcept nogil:
    # Where the next byte goes; buf_room bytes may be written there, then reported by buf_produce.
    return b.data + b.tail


cdef inline size_t buf_room(const Buf* b) noexcept nogil:
    return b.cap - b.tail


cdef inline int buf_reserve(Buf* b, size_t n) noexcept nogil:
    # Makes room for n bytes behind the tail. 0, or -1 when memory is short (the buffer is unchanged then).
    cdef size_t live, cap
    cdef char* data
    if b.cap - b.tail >= n:
        return 0
    live = b.tail - b.head
    if n > (<size_t>-1) // 4 - b.tail:
        return -1                   # doubling would wrap around; more than any machine has, too
    # Moving is cheap when it moves no more bytes than were consumed since the last move.
    if b.head >= live and b.cap - live >= n:
        memmove(b.data, b.data + b.head, live)
        b.head = 0
        b.tail = live
        return 0
    cap = b.cap * 2 if b.cap >= <size_t>BUF_SMALLEST else <size_t>BUF_SMALLEST
    while cap - b.tail < n:
        cap *= 2
    data = <char*>realloc(b.data, cap)
    if data == NULL:
        return -1
    b.data = data
    b.cap = cap
    return 0


cdef inline void buf_produce(Buf* b, size_t n) noexcept nogil:
    # n bytes were written at buf_tail.
    b.tail += n


cdef inline int buf_append(Buf* b, const char* p, size_t n) noexcept nogil:
    # 0, or -1 when memory is short (nothing is appended then).
    if b.cap - b.tail < n and buf_reserve(b, n) < 0:
        return -1
    if n:
        memcpy(b.data + b.tail, p, n)
        b.tail += n
    return 0


cdef inline void buf_consume(Buf* b, size_t n) noexcept nogil:
    # n <= buf_len unread bytes are done with.
    b.head += n
    if b.head == b.tail:
        b.head = 0
        b.tail = 0


cdef inline void buf_clear(Buf* b) noexcept nogil:
    b.head = 0
    b.tail = 0


cdef inline void buf_shrink_idle(Buf* b, size_t keep_bytes) noexcept nogil:
    # Gives memory above keep_bytes back if the buffer is empty; a buffer with unread bytes is left alone.
    cdef char* data
    if b.head != b.tail or b.cap <= keep_bytes:
        return
    if keep_bytes == 0:
        buf_free(b)
        return
    data = <char*>realloc(b.data, keep_bytes)
    if data != NULL:
        b.data = data
        b.cap = keep_bytes


cdef class ByteBuffer:
    cdef Buf buf
