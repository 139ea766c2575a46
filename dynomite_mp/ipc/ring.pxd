"""Header of the SPSC ring: what the hot path cimports. Layout: layout.py; algorithm: ring.pyx."""

cimport cython
from cpython.buffer cimport Py_buffer
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "atomics.h" nogil:
    uint64_t shared_load_acquire(const uint64_t* word)
    uint32_t shared_load_acquire_u32(const uint32_t* word)
    uint64_t shared_load_relaxed(const uint64_t* word)
    void shared_store_release(uint64_t* word, uint64_t value)
    void shared_store_release_u32(uint32_t* word, uint32_t value)
    void shared_store_relaxed(uint64_t* word, uint64_t value)
    void shared_add_single_writer(uint64_t* word, uint64_t amount)
    void shared_fence()


cdef enum:
    RECORD_HEADER_BYTES = 8
    RECORD_ALIGN_BYTES = 8
    PADDING_TYPE = 0              # the record that fills the space before the physical end
    SPILL_BIT = 0x40000000        # in a record's type: the payload names a spill file (spill.py)


cdef struct RecordHeader:
    uint32_t length               # header + payload, not aligned; never 0 in a published record
    uint32_t type


cdef struct RingControl:          # layout.RING_*: three double cache lines before the data
    uint64_t producer_pos         # written by the producer alone, as is the rest of its line
    uint64_t records
    uint64_t failed_offers
    uint64_t high_water_bytes
    uint64_t dropped
    uint64_t producer_rest[11]
    uint64_t consumer_pos         # written by the consumer alone
    uint64_t handler_errors
    uint64_t consumer_rest[14]
    uint64_t magic                # written once, before the first fork
    uint64_t capacity_bytes
    uint64_t constant_rest[14]


@cython.final
cdef class SpscRing:
    cdef RingControl* control
    cdef char* data
    cdef uint64_t capacity
    cdef uint64_t mask
    cdef uint64_t max_record
    cdef uint64_t high_water_step
    cdef uint64_t seen_consumer_pos   # the producer's cached copy; may lag, never leads
    cdef uint64_t seen_producer_pos   # the consumer's cached copy
    cdef Py_buffer view
    cdef bint mapped
    cdef bint draining

    # 1 published, 0 full (counted), -1 the payload a+b is larger than max_record
    cdef int c_offer2(self, uint32_t type, const char* a, size_t alen, const char* b, size_t blen) noexcept nogil
    # 1 a record (*data stays valid until c_advance), 0 empty, -1 corrupt
    cdef int c_peek(self, uint32_t* type, const char** data, size_t* n) noexcept nogil
    # once, and only after c_peek answered 1 and the record was handled
    cdef void c_advance(self) noexcept nogil
    # several records before any is let go of: c_next moves *pos, c_consumer_pos at first, past the record that it gives
    # (as c_peek does), and c_let_go(*pos) then lets go of all before it
    cdef uint64_t c_consumer_pos(self) noexcept nogil
    cdef int c_next(self, uint64_t* pos, uint32_t* type, const char** data, size_t* n) noexcept nogil
    cdef void c_let_go(self, uint64_t pos) noexcept nogil
    cdef int record_at(self, uint64_t pos, RecordHeader** record) noexcept nogil
    # compares the positions, never a cached copy: the test of the sleep protocol
    cdef bint c_is_empty(self) noexcept nogil
    cdef void c_count_drop(self) noexcept nogil
    cdef void note_depth(self, uint64_t end_pos) noexcept nogil
