"""The writer's side of the counter slab: one process, one record, plain additions that any process may read.

Not the table (counter_table.py), not the named segment (segment.py), not the reader (slab.py).

A word has one writer. The supervisor writes the first 16 words of each record (pid, state, boot count), the worker all
the rest; no addition needs a locked instruction and no reader needs a lock. Values of one record may belong to
different moments.

The bulletin is for figures whose number is not fixed: one value, replaced whole. It has two sides; a post fills the
one that is not shown and then turns the board:

    posts = 4   side 0: the value of post 4   side 1: of post 3, or half of post 5

So a writer that dies or hangs half-way leaves the last value readable, and a reader has to try again only when the
board was turned while it read.
"""

from libc.string cimport memcpy

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

from dynomite_mp.ipc import counter_table, layout

cdef dict CELL_INDEX = {name: i for i, name in enumerate(counter_table.cell_names())}
cdef dict HISTOGRAM_INDEX = {name: i for i, name in enumerate(counter_table.histogram_names())}
cdef dict SUPERVISOR_WORD = {name: i for i, name in enumerate(layout.PROCESS_SUPERVISOR_WORDS)}
cdef int CELLS = len(CELL_INDEX)
cdef int HISTOGRAM_ROWS = len(HISTOGRAM_INDEX)
cdef int HEADER_WORDS = layout.PROCESS_HEADER_WORDS
cdef list GAUGE_CELLS = [
    CELL_INDEX[name]
    for row in counter_table.COUNTERS
    if row.kind is counter_table.Kind.GAUGE
    for name in counter_table.cell_names((row,))
]


cpdef int cell_index(str name) except -1:
    """Place of a counter or gauge; KeyError for a name that is no row of the table."""
    return CELL_INDEX[name]


cpdef int histogram_index(str name) except -1:
    """Place of a histogram; KeyError for a name that is no row of the table."""
    return HISTOGRAM_INDEX[name]


def process_record_bytes() -> int:
    """Size of one process's record."""
    words = HEADER_WORDS + layout.align(CELLS, 16) + COMMAND_CELLS + HISTOGRAM_ROWS * HISTOGRAM_WORDS
    return layout.align((words + layout.BULLETIN_WORDS) * 8, layout.LINE_BYTES)


def bucket_of(uint64_t value) -> int:
    """Histogram bucket of a value, as observe() chooses it."""
    return histogram_bucket(value)


cdef class SlabWriter:
    """The record of one process, over a part of a writable buffer."""

    def __cinit__(self, memory, offset=0):
        cdef Py_ssize_t start = offset
        PyObject_GetBuffer(memory, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.mapped = True
        if start < 0 or start % 8 or self.view.len < start + <Py_ssize_t>process_record_bytes():
            raise ValueError(f"no process record fits at {offset} of {self.view.len} bytes")
        self.header = <uint64_t*>(<char*>self.view.buf + start)
        self.cells = self.header + HEADER_WORDS
        self.commands = self.cells + <int>layout.align(CELLS, 16)
        self.histograms = self.commands + COMMAND_CELLS
        self.bulletin = self.histograms + HISTOGRAM_ROWS * HISTOGRAM_WORDS

    def __dealloc__(self):
        if self.mapped:
            PyBuffer_Release(&self.view)

    cdef bint c_post(self, const char* p, size_t n) noexcept nogil:
        """Replace the bulletin; False when it is too long, and then the last one stays."""
        cdef uint64_t posts = shared_load_relaxed(self.bulletin) + 1
        cdef uint64_t* side = self.bulletin + 1 + (posts & 1) * BULLETIN_SIDE_WORDS
        cdef uint64_t word
        cdef size_t i, left
        if n > BULLETIN_BYTES:
            return False
        shared_fence()              # whoever sees a word of this side sees that the last post is over
        shared_store_relaxed(side, n)
        for i in range((n + 7) // 8):
            left = n - 8 * i
            word = 0
            memcpy(&word, p + 8 * i, 8 if left > 8 else left)
            shared_store_relaxed(side + 1 + i, word)
        shared_store_release(self.bulletin, posts)
        return True

    def post(self, bytes value):
        """c_post() from Python."""
        return self.c_post(value, len(value))

    def count(self, str name, uint64_t n=1):
        """Add to a counter or gauge by name; hot code uses add(cell_index(...), n)."""
        self.add(cell_index(name), n)

    def uncount(self, str name, uint64_t n=1):
        """Take from a gauge by name."""
        self.sub(cell_index(name), n)

    def set_gauge(self, str name, uint64_t value):
        self.put(cell_index(name), value)

    def get(self, str name):
        return self.value(cell_index(name))

    def record(self, str histogram, uint64_t value):
        """observe() by name."""
        self.observe(histogram_index(histogram), value)

    def record_command(self, uint32_t command_id):
        """count_command() from Python."""
        self.count_command(command_id)

    def heartbeat(self, uint64_t monotonic_ns):
        """The worker's event loop is alive now."""
        self.beat(monotonic_ns)

    @property
    def heartbeat_ns(self):
        return shared_load_relaxed(&self.header[HEARTBEAT_WORD])

    def set_header(self, str word, uint64_t value):
        """The supervisor's words: role index pid state boot_count started_at_ns last_exit."""
        shared_store_relaxed(&self.header[<int>SUPERVISOR_WORD[word]], value)

    def header_word(self, str word):
        return shared_load_relaxed(&self.header[<int>SUPERVISOR_WORD[word]])

    def reset_gauges(self):
        """What a (re)started worker does first with its record, and what an ended one leaves; counters go on."""
        for i in GAUGE_CELLS:
            self.put(i, 0)
        self.c_post(b"", 0)

    def reset_histograms(self):
        """Forget all observations; called by the process that owns the record."""
        cdef int i
        for i in range(HISTOGRAM_ROWS * HISTOGRAM_WORDS):
            shared_store_relaxed(&self.histograms[i], 0)


def read_bulletin(memory, Py_ssize_t offset) -> bytes:
    """The value last posted on the board at that place of a buffer; empty when there is none yet."""
    cdef Py_buffer view
    PyObject_GetBuffer(memory, &view, PyBUF_SIMPLE)
    try:
        if offset < 0 or offset % 8 or view.len < offset + <Py_ssize_t>layout.BULLETIN_WORDS * 8:
            raise ValueError(f"no bulletin fits at {offset} of {view.len} bytes")
        return copy_bulletin(<uint64_t*>(<char*>view.buf + offset))
    finally:
        PyBuffer_Release(&view)


cdef bytes copy_bulletin(const uint64_t* board):
    """Until no post came in between; posts are a second apart, so the first or second try is good."""
    cdef char[BULLETIN_BYTES] copy
    cdef const uint64_t* side
    cdef uint64_t posts, size, word
    cdef size_t i
    while True:
        posts = shared_load_acquire(board)
        side = board + 1 + (posts & 1) * BULLETIN_SIDE_WORDS
        size = shared_load_relaxed(side)
        if size > BULLETIN_BYTES:
            size = BULLETIN_BYTES   # of a side that is being filled: the check below sees it
        for i in range((size + 7) // 8):
            word = shared_load_relaxed(side + 1 + i)
            memcpy(copy + 8 * i, &word, 8)
        shared_fence()
        if shared_load_relaxed(board) == posts:
            return copy[:size]


if (COMMAND_CELLS, HISTOGRAM_BUCKETS, HISTOGRAM_WORDS, HEARTBEAT_WORD, BULLETIN_BYTES, BULLETIN_SIDE_WORDS) != (
        layout.COMMAND_CELLS, layout.HISTOGRAM_BUCKETS, layout.HISTOGRAM_WORDS, layout.PROCESS_HEARTBEAT_WORD,
        layout.BULLETIN_BYTES, layout.BULLETIN_SIDE_WORDS):
    raise ImportError("slab layout: counters.pxd and layout.py differ")
