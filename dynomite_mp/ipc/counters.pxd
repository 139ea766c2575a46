"""Header of the counter slab's writer: one writer per process, plain additions in shared memory."""

cimport cython
from cpython.buffer cimport Py_buffer
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.ipc.ring cimport (
    shared_add_single_writer, shared_fence, shared_load_acquire, shared_load_relaxed, shared_store_relaxed,
    shared_store_release,
)


cdef extern from "atomics.h" nogil:
    uint32_t histogram_bucket(uint64_t value)


cdef enum:
    COMMAND_CELLS = 512
    HISTOGRAM_BUCKETS = 288
    HISTOGRAM_WORDS = 292         # buckets, then sum, count, max, one spare
    HEARTBEAT_WORD = 16           # in the process record's header
    BULLETIN_BYTES = 16384
    BULLETIN_SIDE_WORDS = 2049    # size, then the bytes


@cython.final
cdef class SlabWriter:
    """Indices come from cell_index() and histogram_index(), taken once at import; nothing here checks them."""
    cdef uint64_t* header
    cdef uint64_t* cells
    cdef uint64_t* commands
    cdef uint64_t* histograms
    cdef uint64_t* bulletin       # how often it was posted, then two sides
    cdef Py_buffer view
    cdef bint mapped

    cdef inline void add(self, int i, uint64_t n) noexcept nogil:
        shared_add_single_writer(&self.cells[i], n)

    cdef inline void sub(self, int i, uint64_t n) noexcept nogil:
        shared_add_single_writer(&self.cells[i], 0 - n)

    cdef inline void put(self, int i, uint64_t value) noexcept nogil:
        shared_store_relaxed(&self.cells[i], value)

    cdef inline uint64_t value(self, int i) noexcept nogil:
        return shared_load_relaxed(&self.cells[i])

    cdef inline void count_command(self, uint32_t command_id) noexcept nogil:
        shared_add_single_writer(&self.commands[command_id & (COMMAND_CELLS - 1)], 1)

    cdef inline void beat(self, uint64_t now_ns) noexcept nogil:
        shared_store_relaxed(&self.header[HEARTBEAT_WORD], now_ns)

    cdef inline void observe(self, int histogram, uint64_t value) noexcept nogil:
        cdef uint64_t* words = self.histograms + histogram * HISTOGRAM_WORDS
        shared_add_single_writer(&words[histogram_bucket(value)], 1)
        shared_add_single_writer(&words[HISTOGRAM_BUCKETS], value)
        shared_add_single_writer(&words[HISTOGRAM_BUCKETS + 1], 1)
        if value > shared_load_relaxed(&words[HISTOGRAM_BUCKETS + 2]):
            shared_store_relaxed(&words[HISTOGRAM_BUCKETS + 2], value)

    cdef bint c_post(self, const char* p, size_t n) noexcept nogil


cpdef int cell_index(str name) except -1
cpdef int histogram_index(str name) except -1
