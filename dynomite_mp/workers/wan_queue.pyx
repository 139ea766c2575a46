"""The writes for one other datacenter: a log, and a window over it of the records that are under way.

    log      |  acked  | under way: done, sent, missed ... | not sent yet        |
                       ^ head                              ^ tail, next_start     ^ end
    live:    next_start == end; the next record goes from memory, and the file is only written
    lagging: records from next_start on are read from the file, as connections take them

Acknowledgements come in any order (a connection an owner); the log is acknowledged up to the first record that is not.
What was missed - a lost connection, a deadline, a refusal that may pass - is sent again from the log. What the log
could not take is kept in memory until it is acknowledged, up to KEPT_BYTES; a process that ends loses it, so the log is
DIRTY.

What it is not: it knows no connection and no rack (wan_path).

Invariants: every record of the log is either before `head`'s, an entry, or not before next_start; an entry is done with
once; the log's acknowledged position is the end of a record that is done with, as are all before it.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from dynomite_mp.workers.hint_log cimport HintLog

cdef enum:
    ENTRY_SENT = 0
    ENTRY_MISSED = 1
    ENTRY_DONE = 2

    READ_BYTES = 262144

cdef uint64_t FIRST_KEPT = <uint64_t>1 << 63


cdef class WanQueue:
    def __cinit__(self):
        self.entries = <WanEntry*>calloc(WINDOW, sizeof(WanEntry))
        if self.entries == NULL:
            raise MemoryError

    def __init__(self, name, HintLog log):
        self.name = name
        self.log = log
        self.next_start = log.acked
        self.resent_before = log.end
        self.lost = []
        self.asked = set()
        self.kept = {}
        self.next_kept = FIRST_KEPT
        self.kept_sent = set()
        log.gives_back = True
        log.given_back = []

    def __dealloc__(self):
        free(self.entries)

    cdef uint64_t sent(self, uint64_t start, uint64_t end) noexcept:
        """An entry for a record that is under way now; there has to be room."""
        cdef WanEntry* entry = &self.entries[self.tail & (WINDOW - 1)]
        entry.start = start
        entry.end = end
        entry.state = ENTRY_SENT
        self.next_start = end
        self.tail += 1
        return self.tail - 1

    cdef uint64_t keep(self, const char* p, size_t n) except? 0:
        """An entry for a record that the log does not take, and that is under way now; 0: there is no room for it."""
        if self.kept_bytes + n > KEPT_BYTES:
            return 0
        self.next_kept += 1
        self.kept[self.next_kept] = p[:n]
        self.kept_bytes += n
        self.kept_sent.add(self.next_kept)
        return self.next_kept

    cdef int keep_refused(self) except -1:
        """Records that the log had taken, but not the disk: those under way, and those that would have been."""
        cdef bytes payload
        given, self.log.given_back = self.log.given_back, []
        for start, payload in given:
            if start >= self.next_start:
                index = self.keep(payload, len(payload))
                if index:
                    self.missed(index)
            elif self.kept_bytes + len(payload) <= KEPT_BYTES:
                self.kept[start] = payload
                self.kept_bytes += len(payload)
        return 0

    cdef void let_go(self, uint64_t place):
        payload = self.kept.pop(place, None)
        if payload is not None:
            self.kept_bytes -= len(payload)

    cdef void done(self, uint64_t index):
        cdef WanEntry* entry = &self.entries[index & (WINDOW - 1)]
        if index >= FIRST_KEPT:
            self.kept_sent.discard(index)
            self.let_go(index)
        elif self.head <= index < self.tail:
            entry.state = ENTRY_DONE
            if self.kept:
                self.let_go(entry.start)

    cdef void missed(self, uint64_t index):
        cdef WanEntry* entry = &self.entries[index & (WINDOW - 1)]
        if index >= FIRST_KEPT:
            if index in self.kept_sent:
                self.kept_sent.discard(index)
                self.lost.append(index)
        elif self.head <= index < self.tail and entry.state == ENTRY_SENT:
            entry.state = ENTRY_MISSED
            self.lost.append(index)

    cdef list take_lost(self):
        """Entries to be sent again; they count as under way from now on."""
        lost, self.lost = self.lost, []
        for index in lost:
            if index >= FIRST_KEPT:
                self.kept_sent.add(index)
            else:
                self.entries[<uint64_t>index & (WINDOW - 1)].state = ENTRY_SENT
        return lost

    cdef void put_back(self, list lost):
        for index in lost:
            self.missed(index)

    cdef bytes payload_of(self, uint64_t index):
        """The record of an entry; None when the log does not have it (any more, or it could not be written)."""
        cdef WanEntry* entry = &self.entries[index & (WINDOW - 1)]
        cdef bytes kept = self.kept.get(index if index >= FIRST_KEPT else entry.start) if self.kept else None
        if kept is not None or index >= FIRST_KEPT:
            return kept
        records, _ = self.log.read(entry.start, entry.end - entry.start)
        return records[0][3] if records and records[0][0] == entry.start else None

    cdef bint may_have_been_sent(self, uint64_t start):
        """Whether a record that is read from the log may be known there: of a predecessor, or by another way."""
        if start in self.asked:
            self.asked.discard(start)
            return True
        return start < self.resent_before

    cdef int settle(self) except -1:
        """Tell the log how far everything is done with."""
        cdef uint64_t position = 0
        cdef uint64_t count = 0
        while self.head < self.tail and self.entries[self.head & (WINDOW - 1)].state == ENTRY_DONE:
            position = self.entries[self.head & (WINDOW - 1)].end
            self.head += 1
            count += 1
        if count:
            self.log.ack(position, count)
        return 0

    cdef tuple peek(self):
        """The next record of the log that was never sent, (start, end, at_ms, payload); None: there is none."""
        if self.ahead is None:
            self.ahead, position = self.log.read(self.next_start, READ_BYTES)
            self.ahead_at = 0
            if not self.ahead:
                self.ahead = None
                self.next_start = position
                if self.head == self.tail and position > self.log.acked:
                    self.log.ack(position, 0)       # damaged records that nobody can send
                return None
        return self.ahead[self.ahead_at]

    cdef void pop(self):
        """The record that peek() gave has an entry now."""
        self.ahead_at += 1
        if self.ahead_at == len(self.ahead):
            self.ahead = None

    # ---- for tests

    @property
    def lost_entries(self):
        return list(self.lost)

    def test_sent(self, start, end):
        return self.sent(start, end)

    def test_done(self, index):
        self.done(index)

    def test_missed(self, index):
        self.missed(index)

    def test_settle(self):
        self.settle()

    def test_keep(self, bytes payload):
        return self.keep(payload, len(payload))

    def test_write(self):
        if not self.log.write():
            self.keep_refused()

    def test_take_lost(self):
        return [(index, self.payload_of(index)) for index in self.take_lost()]

    def test_next(self):
        found = self.peek()
        if found is not None:
            self.sent(found[0], found[1])
            self.pop()
        return found
