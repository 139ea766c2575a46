"""The doorbell: one per consumer process, an eventfd and a `sleeping` flag in shared memory.

Writing an eventfd costs a system call, so a producer writes it only when the consumer has said that it sleeps. Each
side stores one word and then looks at the other's; the fence between the two is what makes losing a wake-up
impossible: at least one of the two sees the other's store.

    producer                                     consumer
    1  publish: producer_pos = p (release)       1  sleeping = 1
    2  fence                                     2  fence
    3  sleeping? -> write the eventfd            3  any ring with producer_pos != consumer_pos?
                                                    -> sleeping = 0, go on draining
                                                 4  wait for the eventfd
                                                 5  sleeping = 0, empty the eventfd, drain, back to 1

Step 3 of the consumer compares positions; "the last read returned nothing" would not do. Every interleaving of the two
columns, also with stores delayed in store buffers, is walked in tests/unit/test_doorbell.py; without either fence the
same walk finds a lost wake-up.

The producer never lowers the flag: if it died between lowering it and writing the eventfd, nobody would wake the
consumer again. So several producers may each write while the consumer wakes up, which is harmless. A producer killed
between 1 and 3 leaves a record without a ring of the bell; whoever (re)starts therefore rings all its bells once
(Port.attach).
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EINTR, errno
from posix.unistd cimport read, write

from dynomite_mp.ipc.ring cimport (
    SpscRing,
    shared_fence,
    shared_load_acquire,
    shared_load_relaxed,
    shared_store_release,
)


cdef class Doorbell:
    """`fd` is the eventfd to wait on; the flag lies at `offset` of the ring segment."""

    def __cinit__(self, memory, offset, int fd):
        cdef Py_ssize_t start = offset
        PyObject_GetBuffer(memory, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.mapped = True
        if start < 0 or start % 8 or self.view.len < start + 8:
            raise ValueError(f"no flag fits at {offset} of {self.view.len} bytes")
        self.sleeping = <uint64_t*>(<char*>self.view.buf + start)
        self.fd = fd
        self.watched_count = 0
        self.rings = []

    def __dealloc__(self):
        if self.mapped:
            PyBuffer_Release(&self.view)

    cdef void c_ring(self) noexcept nogil:
        cdef uint64_t one = 1
        shared_fence()
        if shared_load_relaxed(self.sleeping):
            while write(self.fd, &one, sizeof(one)) < 0 and errno == EINTR:
                pass

    cdef bint c_prepare_sleep(self) noexcept nogil:
        cdef int i
        shared_store_release(self.sleeping, 1)
        shared_fence()
        for i in range(self.watched_count):
            if (shared_load_acquire(&self.watched[i].producer_pos)
                    != shared_load_relaxed(&self.watched[i].consumer_pos)):
                shared_store_release(self.sleeping, 0)
                return False
        return True

    cdef void c_awake(self) noexcept nogil:
        cdef uint64_t rung
        shared_store_release(self.sleeping, 0)
        while read(self.fd, &rung, sizeof(rung)) < 0 and errno == EINTR:
            pass

    def watch(self, SpscRing ring):
        """An inbound ring of this process: prepare_sleep() looks at it."""
        if self.watched_count == WATCH_LIMIT:
            raise ValueError(f"a doorbell watches at most {WATCH_LIMIT} rings")
        self.rings.append(ring)
        self.watched[self.watched_count] = ring.control
        self.watched_count += 1

    def ring(self):
        """Producer, after publishing: wake the consumer if it sleeps."""
        self.c_ring()

    def prepare_sleep(self):
        """Consumer: True when it may wait for `fd`; False when a watched ring holds a record (drain again)."""
        return bool(self.c_prepare_sleep())

    def awake(self):
        """Consumer, when `fd` became readable: before it drains."""
        self.c_awake()

    @property
    def is_sleeping(self):
        return shared_load_relaxed(self.sleeping) != 0

    def __repr__(self):
        return f"<Doorbell fd={self.fd} {'sleeping' if self.is_sleeping else 'awake'}, {self.watched_count} rings>"
