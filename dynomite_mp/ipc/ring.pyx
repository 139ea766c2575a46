"""The SPSC ring: one producer process, one consumer process, bytes in shared memory, no lock.

Not the wake-up (doorbell.pyx), not what the records mean (messages.py), not what happens when it is full (wiring.py,
proxies.py). Layout and the words head and tail: layout.py.

Invariants
- consumer_pos <= producer_pos <= consumer_pos + capacity; neither ever goes back or wraps; index = pos & mask.
- [consumer_pos, producer_pos) is a whole number of records; none crosses the physical end.
- A position is written by its owner alone. Each side reads its own from shared memory at every call and keeps only a
  cached copy of the other's; a cached copy lags, which errs towards "full" and "empty" and is refreshed before either
  is answered. So a process forked later, with copies from an earlier time, needs no attaching.

    producer: offer                                   consumer: peek, handle, advance
    p = producer_pos                                  c = consumer_pos
    room for record (and padding)? else full          c == producer_pos (acquire)? empty
    payload, type, then length (release)              read length (acquire), type, payload
    producer_pos = p + size (release)                 handle the record
                                                      consumer_pos = c + size (release)

A record exists when producer_pos has passed it, and not before: padding and the record behind it are published by the
same store. A producer killed anywhere in between leaves nothing visible; its successor writes over the debris from
producer_pos. A consumer killed between handling and the store makes its successor see the record again.

A record that fits neither before the physical end nor before the consumer's position is *full*, and nothing at all is
written: the padding goes in only together with the record that needs it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcpy, memset

from dynomite_mp.ipc import layout


class RingCorrupt(Exception):
    """A record that no producer writes: the memory was damaged, and the process must not go on reading it."""


cdef inline uint64_t stride_of(uint64_t length) noexcept nogil:
    return (length + (RECORD_ALIGN_BYTES - 1)) & ~(<uint64_t>RECORD_ALIGN_BYTES - 1)


cdef class SpscRing:
    """One ring over a part of a writable buffer, which it keeps mapped as long as it lives.

    `create` formats the memory; only the process that made the segment passes it, once.
    """

    def __cinit__(self, memory, offset=0, capacity_bytes=None, *, create=False):
        cdef Py_ssize_t start = offset
        cdef uint64_t capacity
        PyObject_GetBuffer(memory, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.mapped = True
        if start < 0 or start % 8 or self.view.len < start + <Py_ssize_t>sizeof(RingControl):
            raise ValueError(f"no ring header fits at {offset} of {self.view.len} bytes")
        self.control = <RingControl*>(<char*>self.view.buf + start)
        if <size_t>self.control % 8:
            raise ValueError("the memory of a ring must be aligned to 8 bytes")
        if create:
            capacity = capacity_bytes
            memset(self.control, 0, sizeof(RingControl))
            self.control.capacity_bytes = capacity
            self.control.magic = <uint64_t>layout.RING_MAGIC
        elif self.control.magic != <uint64_t>layout.RING_MAGIC:
            raise RingCorrupt("no ring here: wrong magic")
        capacity = self.control.capacity_bytes
        if capacity_bytes is not None and capacity != <uint64_t>capacity_bytes:
            raise RingCorrupt(f"the ring has {capacity} bytes, {capacity_bytes} expected")
        if capacity < <uint64_t>layout.RING_CAPACITY_BYTES_MIN or capacity & (capacity - 1):
            raise ValueError(f"capacity {capacity} is not a power of two of at least {layout.RING_CAPACITY_BYTES_MIN}")
        if <uint64_t>(self.view.len - start) - sizeof(RingControl) < capacity:
            raise ValueError(f"a ring of {capacity} bytes does not fit behind {offset} of {self.view.len} bytes")
        self.data = <char*>self.control + sizeof(RingControl)
        self.capacity = capacity
        self.mask = capacity - 1
        self.max_record = capacity // <uint64_t>layout.RING_RECORD_SHARE
        self.high_water_step = capacity >> 6
        self.seen_consumer_pos = shared_load_acquire(&self.control.consumer_pos)
        self.seen_producer_pos = self.seen_consumer_pos

    def __dealloc__(self):
        if self.mapped:
            PyBuffer_Release(&self.view)

    cdef int c_offer2(self, uint32_t type, const char* a, size_t alen, const char* b, size_t blen) noexcept nogil:
        cdef RingControl* control = self.control
        cdef RecordHeader* record
        cdef uint64_t pos, index, to_end, length, stride, need
        if alen > self.max_record or blen > self.max_record - alen:
            return -1
        length = RECORD_HEADER_BYTES + alen + blen
        stride = stride_of(length)
        pos = shared_load_relaxed(&control.producer_pos)
        index = pos & self.mask
        to_end = self.capacity - index
        need = stride if stride <= to_end else to_end + stride
        if pos + need - self.seen_consumer_pos > self.capacity:
            self.seen_consumer_pos = shared_load_acquire(&control.consumer_pos)
            if pos + need - self.seen_consumer_pos > self.capacity:
                shared_add_single_writer(&control.failed_offers, 1)
                return 0
        if stride > to_end:
            record = <RecordHeader*>(self.data + index)
            record.type = PADDING_TYPE
            shared_store_release_u32(&record.length, <uint32_t>to_end)
            index = 0
        record = <RecordHeader*>(self.data + index)
        if alen:
            memcpy(<char*>record + RECORD_HEADER_BYTES, a, alen)
        if blen:
            memcpy(<char*>record + RECORD_HEADER_BYTES + alen, b, blen)
        record.type = type
        shared_store_release_u32(&record.length, <uint32_t>length)
        shared_add_single_writer(&control.records, 1)
        self.note_depth(pos + need)
        shared_store_release(&control.producer_pos, pos + need)
        return 1

    cdef void note_depth(self, uint64_t end_pos) noexcept nogil:
        """High-water mark, exact to capacity/64: the other side's line is read only when the mark may have risen."""
        cdef uint64_t mark = shared_load_relaxed(&self.control.high_water_bytes) + self.high_water_step
        if end_pos - self.seen_consumer_pos > mark:
            self.seen_consumer_pos = shared_load_acquire(&self.control.consumer_pos)
            if end_pos - self.seen_consumer_pos > mark:
                shared_store_relaxed(&self.control.high_water_bytes, end_pos - self.seen_consumer_pos)

    cdef int record_at(self, uint64_t pos, RecordHeader** record) noexcept nogil:
        """1: there is one (perhaps padding), 0: nothing has been published there, -1: what no producer writes."""
        cdef uint64_t index, length
        if pos >= self.seen_producer_pos:
            self.seen_producer_pos = shared_load_acquire(&self.control.producer_pos)
            if pos == self.seen_producer_pos:
                return 0
        if self.seen_producer_pos - pos > self.capacity or pos & (RECORD_ALIGN_BYTES - 1):
            return -1
        index = pos & self.mask
        record[0] = <RecordHeader*>(self.data + index)
        length = shared_load_acquire_u32(&record[0].length)
        if (length < RECORD_HEADER_BYTES or stride_of(length) > self.capacity - index
                or stride_of(length) > self.seen_producer_pos - pos):
            return -1
        return -1 if record[0].type == PADDING_TYPE and length != self.capacity - index else 1

    cdef int c_peek(self, uint32_t* type, const char** data, size_t* n) noexcept nogil:
        cdef RecordHeader* record = NULL
        cdef uint64_t pos
        cdef int found
        while True:
            pos = shared_load_relaxed(&self.control.consumer_pos)
            found = self.record_at(pos, &record)
            if found <= 0:
                return found
            if record.type != PADDING_TYPE:
                type[0] = record.type
                data[0] = <const char*>record + RECORD_HEADER_BYTES
                n[0] = <size_t>(record.length - RECORD_HEADER_BYTES)
                return 1
            shared_store_release(&self.control.consumer_pos, pos + record.length)

    cdef uint64_t c_consumer_pos(self) noexcept nogil:
        return shared_load_relaxed(&self.control.consumer_pos)

    cdef int c_next(self, uint64_t* pos, uint32_t* type, const char** data, size_t* n) noexcept nogil:
        cdef RecordHeader* record = NULL
        cdef int found
        while True:
            found = self.record_at(pos[0], &record)
            if found <= 0:
                return found
            pos[0] += stride_of(record.length)
            if record.type != PADDING_TYPE:
                type[0] = record.type
                data[0] = <const char*>record + RECORD_HEADER_BYTES
                n[0] = <size_t>(record.length - RECORD_HEADER_BYTES)
                return 1

    cdef void c_let_go(self, uint64_t pos) noexcept nogil:
        shared_store_release(&self.control.consumer_pos, pos)

    cdef void c_advance(self) noexcept nogil:
        cdef uint64_t pos = shared_load_relaxed(&self.control.consumer_pos)
        cdef RecordHeader* record = <RecordHeader*>(self.data + (pos & self.mask))
        shared_store_release(&self.control.consumer_pos, pos + stride_of(record.length))

    cdef bint c_is_empty(self) noexcept nogil:
        return (shared_load_acquire(&self.control.producer_pos)
                == shared_load_acquire(&self.control.consumer_pos))

    cdef void c_count_drop(self) noexcept nogil:
        shared_add_single_writer(&self.control.dropped, 1)

    def offer(self, uint32_t type, payload):
        """Publish one record; False when full, which is counted. ValueError if it can never fit."""
        cdef Py_buffer view
        cdef int outcome
        if type == PADDING_TYPE:
            raise ValueError("record type 0 is padding")
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        outcome = self.c_offer2(type, <const char*>view.buf, view.len, NULL, 0)
        PyBuffer_Release(&view)
        if outcome < 0:
            raise ValueError(f"a payload of {len(payload)} bytes is larger than {self.max_record}")
        return outcome == 1

    def offer_many(self, uint32_t type, payloads):
        """Publish payloads in order until one does not fit; how many were published."""
        cdef Py_ssize_t published = 0
        for payload in payloads:
            if not self.offer(type, payload):
                break
            published += 1
        return published

    def drain(self, handler, limit=512):
        """Call handler(type, payload) for up to `limit` records, across the physical end; how many were handled.

        The position moves on after each call, also when it raises: a record that always raises would stop the ring
        for good. The exception goes to the caller.
        """
        cdef uint32_t type
        cdef const char* data
        cdef size_t n
        cdef long handled = 0
        cdef long most = limit
        cdef int outcome
        if self.draining:
            raise RuntimeError("drain() called from a handler of the same ring")
        self.draining = True
        try:
            while handled < most:
                outcome = self.c_peek(&type, &data, &n)
                if outcome == 0:
                    break
                if outcome < 0:
                    raise RingCorrupt(f"corrupt record at {self.control.consumer_pos} of {self!r}")
                payload = PyBytes_FromStringAndSize(data, n)
                try:
                    handler(type, payload)
                except BaseException:
                    shared_add_single_writer(&self.control.handler_errors, 1)
                    raise
                finally:
                    self.c_advance()
                handled += 1
        finally:
            self.draining = False
        return handled

    def peek(self):
        """The oldest record as (type, payload), or None; it stays until advance()."""
        cdef uint32_t type
        cdef const char* data
        cdef size_t n
        cdef int outcome = self.c_peek(&type, &data, &n)
        if outcome < 0:
            raise RingCorrupt(f"corrupt record at {self.control.consumer_pos} of {self!r}")
        return (type, PyBytes_FromStringAndSize(data, n)) if outcome else None

    def advance(self):
        """Done with the record that peek() showed."""
        if self.peek() is None:
            raise RuntimeError("advance() on an empty ring")
        self.c_advance()

    def next_records(self, limit):
        """Up to `limit` records as (type, payload), none of which is let go of, and the position behind them."""
        cdef uint64_t pos = self.c_consumer_pos()
        cdef uint32_t type
        cdef const char* data
        cdef size_t n
        cdef int outcome
        found = []
        while len(found) < limit:
            outcome = self.c_next(&pos, &type, &data, &n)
            if outcome < 0:
                raise RingCorrupt(f"corrupt record at {pos} of {self!r}")
            if outcome == 0:
                break
            found.append((type, PyBytes_FromStringAndSize(data, n)))
        return found, pos

    def let_go(self, position):
        """Done with every record before a position that next_records() gave."""
        self.c_let_go(position)

    def has_room(self, payload_bytes):
        """Whether a payload of that size would be published now; an offer that is not made is not counted."""
        cdef uint64_t size_bytes = payload_bytes
        cdef uint64_t stride = stride_of(RECORD_HEADER_BYTES + size_bytes)
        cdef uint64_t pos = shared_load_relaxed(&self.control.producer_pos)
        cdef uint64_t to_end = self.capacity - (pos & self.mask)
        cdef uint64_t need = stride if stride <= to_end else to_end + stride
        if size_bytes > self.max_record:
            return False
        return pos + need - shared_load_acquire(&self.control.consumer_pos) <= self.capacity

    def is_empty(self):
        return bool(self.c_is_empty())

    def count_drop(self):
        """The producer gave up a record under the ring's full policy."""
        self.c_count_drop()

    @property
    def producer_pos(self):
        return shared_load_acquire(&self.control.producer_pos)

    @property
    def consumer_pos(self):
        return shared_load_acquire(&self.control.consumer_pos)

    @property
    def depth_bytes(self):
        # The consumer's first: in the other order it could overtake the value read before.
        cdef uint64_t consumer = shared_load_acquire(&self.control.consumer_pos)
        return shared_load_acquire(&self.control.producer_pos) - consumer

    @property
    def capacity_bytes(self):
        return self.capacity

    @property
    def max_record_bytes(self):
        """Largest payload."""
        return self.max_record

    @property
    def records(self):
        return shared_load_relaxed(&self.control.records)

    @property
    def failed_offers(self):
        return shared_load_relaxed(&self.control.failed_offers)

    @property
    def high_water_bytes(self):
        return shared_load_relaxed(&self.control.high_water_bytes)

    @property
    def dropped(self):
        return shared_load_relaxed(&self.control.dropped)

    @property
    def handler_errors(self):
        return shared_load_relaxed(&self.control.handler_errors)

    def __repr__(self):
        return (f"<SpscRing {self.depth_bytes}/{self.capacity} bytes, {self.records} records, "
                f"{self.failed_offers} failed offers, {self.dropped} dropped>")


def footprint_bytes(capacity_bytes: int) -> int:
    """Bytes that a ring takes in its segment."""
    return layout.align(sizeof(RingControl) + capacity_bytes, layout.LINE_BYTES)


cdef dict struct_offsets():
    cdef RingControl control
    cdef char* start = <char*>&control
    return {
        "producer": <char*>&control.producer_pos - start,
        "consumer": <char*>&control.consumer_pos - start,
        "constant": <char*>&control.magic - start,
        "header": sizeof(RingControl),
        "record": sizeof(RecordHeader),
        "padding": PADDING_TYPE,
        "spill": SPILL_BIT,
    }


def check_layout() -> None:
    """The C structs and layout.py must say the same."""
    expected = {
        "producer": layout.RING_PRODUCER_OFFSET,
        "consumer": layout.RING_CONSUMER_OFFSET,
        "constant": layout.RING_CONSTANT_OFFSET,
        "header": layout.RING_HEADER_BYTES,
        "record": layout.RECORD_HEADER_BYTES,
        "padding": layout.PADDING_TYPE,
        "spill": layout.SPILL_BIT,
    }
    if struct_offsets() != expected:
        raise ImportError(f"ring layout: compiled {struct_offsets()}, layout.py {expected}")


check_layout()
