"""A checksummed log in files: appended at one end, read from anywhere, acknowledged from the other end.

    00000000000000000000.log   00000000000004194310.log          state: acked, DIRTY since when and why
    | head | rec rec rec ... | | head | rec rec ... | buffer
             ^ acked: what lies before is trimmed    ^ written    ^ end

A position counts the bytes of all records ever appended; it names a record for ever, and is part of its checksum. A
segment's name and head say the position of its first record. A record is a head of 20 bytes (length, checksum of the
head, time in ms, checksum of the payload) and the payload, which means nothing here.

Appends collect in a buffer; write() puts them into the file with one call, and whoever appended from a ring lets go of
the ring's records only afterwards. So a process that dies has appended a record, or meets it again in the ring.

What it is not: it does not know what a record says, who it is for, nor when it is too old (cluster.hints).

Invariants:
- what read() gives was appended as it is: a flipped byte, a torn end, a file of another name are seen;
- behind a damaged record nothing of its segment is given; the log goes on with the next one and is DIRTY;
- the acknowledged position is saved now and then: after a crash acknowledged records may come again, after close()
  never;
- a full disk raises nothing: what could not be kept is counted, the log is DIRTY, and it tries again later.
"""

import logging
import os
import struct
import zlib
from pathlib import Path

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from dynomite_mp.proto.buffer cimport buf_append, buf_clear, buf_free, buf_init, buf_len, buf_ptr, buf_shrink_idle

from dynomite_mp.cluster.hints import DirtyReason

log = logging.getLogger("dynomite_mp.hints")

cdef enum:
    HEAD = 20
    CHUNK = 1048576
    BUFFER_KEEP = 1048576
    RETRY_MS = 1000

    SCAN_END = 0                    # the bytes end, perhaps inside a record
    SCAN_BAD = 1                    # a record that nobody wrote

RECORD_HEAD_BYTES = HEAD
SEGMENT_MAGIC = b"dynhint1"
STATE_MAGIC = b"dynstat1"
SEGMENT_HEAD = struct.Struct("<8sQI4x")
STATE = struct.Struct("<8sQQI")
SEGMENT_HEAD_BYTES = SEGMENT_HEAD.size
SEGMENT_BYTES = 8 * 1024 * 1024

cdef uint32_t[8][256] CRC
cdef int DISK = DirtyReason.DISK
cdef int FULL = DirtyReason.FULL
cdef int DAMAGED = DirtyReason.DAMAGED


cdef void fill_crc() noexcept:
    """The tables of CRC-32 as zlib computes it, for eight bytes at a time."""
    cdef uint32_t value
    cdef int i, k, _bit
    for i in range(256):
        value = <uint32_t>i
        for _bit in range(8):
            value = (value >> 1) ^ (<uint32_t>0xEDB88320 if value & 1 else 0)
        CRC[0][i] = value
    for i in range(256):
        value = CRC[0][i]
        for k in range(1, 8):
            value = (value >> 8) ^ CRC[0][value & 255]
            CRC[k][i] = value


fill_crc()


cdef uint32_t crc32(const char* data, size_t n) noexcept nogil:
    cdef const unsigned char* p = <const unsigned char*>data
    cdef uint32_t value = <uint32_t>0xFFFFFFFF
    cdef uint32_t low, high
    while n >= 8:
        memcpy(&low, p, 4)
        memcpy(&high, p + 4, 4)
        low ^= value
        value = (CRC[7][low & 255] ^ CRC[6][(low >> 8) & 255] ^ CRC[5][(low >> 16) & 255] ^ CRC[4][low >> 24]
                 ^ CRC[3][high & 255] ^ CRC[2][(high >> 8) & 255] ^ CRC[1][(high >> 16) & 255] ^ CRC[0][high >> 24])
        p += 8
        n -= 8
    while n:
        value = (value >> 8) ^ CRC[0][(value ^ p[0]) & 255]
        p += 1
        n -= 1
    return ~value


cdef uint32_t head_crc(uint32_t length, uint64_t at_ms, uint32_t payload_crc, uint64_t position) noexcept nogil:
    cdef char[24] text
    memcpy(text, &length, 4)
    memcpy(text + 4, &payload_crc, 4)
    memcpy(text + 8, &at_ms, 8)
    memcpy(text + 16, &position, 8)
    return crc32(text, 24)


cdef int scan(const char* p, size_t n, uint64_t position, list out, size_t* used, uint64_t* count) except -1:
    """Whole records from p on, the first of which is at `position`; with `out`, payloads are checked and given."""
    cdef uint32_t length, own_crc, payload_crc
    cdef uint64_t at_ms
    used[0] = 0
    count[0] = 0
    while n - used[0] >= HEAD:
        memcpy(&length, p, 4)
        memcpy(&own_crc, p + 4, 4)
        memcpy(&at_ms, p + 8, 8)
        memcpy(&payload_crc, p + 16, 4)
        if own_crc != head_crc(length, at_ms, payload_crc, position):
            return SCAN_BAD
        if length > n - used[0] - HEAD:
            return SCAN_END
        if out is not None:
            if crc32(p + HEAD, length) != payload_crc:
                return SCAN_BAD
            out.append((position, position + HEAD + length, at_ms, p[HEAD:HEAD + length]))
        p += HEAD + length
        position += HEAD + length
        used[0] += HEAD + length
        count[0] += 1
    return SCAN_END


cdef class Segment:
    """One file."""

    def __cinit__(self):
        self.fd = -1

    def __init__(self, path, start, size):
        self.path = path
        self.start = start
        self.size = size

    def __dealloc__(self):
        self.close()

    def open(self, int flags):
        if self.fd < 0:
            self.fd = os.open(self.path, flags | os.O_CLOEXEC, 0o600)
        return self.fd

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read(self, uint64_t position, size_t n):
        """Bytes from a position on; fewer where the segment ends."""
        cdef uint64_t rest = self.start + self.size - position
        return os.pread(self.open(os.O_RDWR), min(n, rest), SEGMENT_HEAD_BYTES + position - self.start)

    def has_sound_head(self):
        head = os.pread(self.open(os.O_RDWR), SEGMENT_HEAD_BYTES, 0)
        if len(head) < SEGMENT_HEAD_BYTES:
            return False
        magic, start, crc = SEGMENT_HEAD.unpack(head)
        return magic == SEGMENT_MAGIC and start == self.start and crc == zlib.crc32(head[:16])


cdef class HintLog:
    """One directory; one process has it open. Beyond `bytes_max` unacknowledged bytes nothing is kept."""

    def __cinit__(self):
        buf_init(&self.buffer)

    def __init__(self, path, bytes_max, segment_bytes=SEGMENT_BYTES):
        self.path = Path(path)
        self.bytes_max = bytes_max
        self.segment_bytes = segment_bytes
        self.trouble = ""
        self.segments = []
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.state_file = os.open(self.path / "state", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.is_open = True
        self.load_state()
        self.find_segments()
        self.save()

    def __dealloc__(self):
        buf_free(&self.buffer)

    # ---- what is there at the start

    def load_state(self):
        cdef bytes text = os.pread(self.state_file, STATE.size + 4, 0)
        self.state_changed = True
        if len(text) != STATE.size + 4 or zlib.crc32(text[:STATE.size]) != int.from_bytes(text[STATE.size:], "little"):
            if text:
                log.warning("%s: the saved position is damaged; records are sent again", self.path.name)
            return
        magic, acked, since_ms, reason = STATE.unpack(text[:STATE.size])
        if magic == STATE_MAGIC:
            self.acked, self.dirty_since_ms, self.dirty_reason = acked, since_ms, reason

    def find_segments(self):
        """Segments in order; a torn end is cut off, damage elsewhere is met by the reader."""
        cdef Segment segment, before = None
        for path in sorted(self.path.glob("*.log")):
            if not path.stem.isdigit():
                continue
            segment = Segment(path, int(path.stem), max(0, path.stat().st_size - SEGMENT_HEAD_BYTES))
            if before is not None and before.end() != segment.start:
                self.mark_dirty(DAMAGED, 0)
            if before is not None and before.end() > segment.start:
                before.size = segment.start - before.start
            self.segments.append(segment)
            before = segment
        if before is not None:
            self.end = before.end()
            if before.has_sound_head():
                self.cut_torn_end(before)
            before.close()
        if self.end < self.acked:
            self.end = self.acked
        if self.segments and self.segments[0].start > self.acked:
            self.acked = self.segments[0].start
        for segment in self.segments:
            if segment.end() > self.acked:
                self.records += self.count(segment)
                segment.close()
        self.trim()

    def cut_torn_end(self, Segment segment):
        cdef uint64_t position = segment.start
        cdef size_t used
        cdef uint64_t count
        cdef bytes chunk
        cdef size_t most = CHUNK
        while position < segment.end():
            chunk = segment.read(position, most)
            if scan(chunk, len(chunk), position, [], &used, &count) == SCAN_BAD:
                self.mark_dirty(DAMAGED, 0)
                return                              # the reader says where, and passes over it
            if used == 0:
                if <size_t>len(chunk) < most:
                    break
                most *= 4                           # a record larger than the chunk
            position += used
        if position < segment.end():
            log.warning("%s: %d bytes of a record that was not finished are dropped", self.path.name,
                        segment.end() - position)
            segment.size = position - segment.start
            os.ftruncate(segment.fd, SEGMENT_HEAD_BYTES + segment.size)
            self.end = position

    def count(self, Segment segment):
        """Records from the acknowledged position on, as far as they are sound."""
        cdef uint64_t position = max(segment.start, self.acked)
        cdef uint64_t count
        cdef uint64_t found = 0
        cdef size_t used
        cdef bytes chunk
        cdef size_t most = CHUNK
        while position < segment.end():
            chunk = segment.read(position, most)
            if scan(chunk, len(chunk), position, None, &used, &count) == SCAN_BAD or (
                    used == 0 and <size_t>len(chunk) < most):
                self.mark_dirty(DAMAGED, 0)
                return found + count
            if used == 0:
                most *= 4
            position += used
            found += count
        return found

    # ---- appending

    @property
    def pending_bytes(self):
        return self.end - self.acked

    cdef uint64_t c_append(self, const char* p, size_t n, uint64_t at_ms) except? 0:
        """Position behind the record; 0 when it is not kept: the log is full or the disk is."""
        cdef char[HEAD] head
        cdef uint32_t length = <uint32_t>n
        cdef uint32_t payload_crc
        cdef uint32_t own_crc
        self.now_ms = at_ms
        if self.end - self.acked + HEAD + n > self.bytes_max:
            self.lost += 1
            self.mark_dirty(FULL, at_ms)
            return 0
        if at_ms < self.retry_ms:
            self.lost += 1
            self.mark_dirty(DISK, at_ms)            # anew: a comparison may have ended since the disk refused
            return 0
        payload_crc = crc32(p, n)
        own_crc = head_crc(length, at_ms, payload_crc, self.end)
        memcpy(head, &length, 4)
        memcpy(head + 4, &own_crc, 4)
        memcpy(head + 8, &at_ms, 8)
        memcpy(head + 16, &payload_crc, 4)
        if buf_append(&self.buffer, head, HEAD) < 0 or buf_append(&self.buffer, p, n) < 0:
            raise MemoryError
        self.end += HEAD + n
        self.records += 1
        self.buffered += 1
        return self.end

    def append(self, bytes payload, at_ms):
        """Position behind the record; 0 when it is not kept. In the file after write()."""
        return self.c_append(payload, len(payload), at_ms)

    def write(self):
        """Puts what was appended into the file; False when the disk refused it (it is lost then)."""
        cdef Segment segment = self.current
        cdef size_t size = buf_len(&self.buffer)
        if size == 0:
            return True
        try:
            if segment is None or segment.size >= self.segment_bytes:
                segment = self.new_segment(self.end - size)
            write_all(segment.fd, buf_ptr(&self.buffer)[:size], SEGMENT_HEAD_BYTES + segment.size)
        except OSError as failure:
            self.refused(segment, failure)
            return False
        segment.size += size
        self.let_buffer_go()
        self.is_unsynced = True
        return True

    def new_segment(self, uint64_t start):
        cdef Segment segment
        cdef Segment before = self.current
        head = SEGMENT_MAGIC + start.to_bytes(8, "little")
        segment = Segment(self.path / f"{start:020d}.log", start, 0)
        write_all(segment.open(os.O_RDWR | os.O_CREAT | os.O_TRUNC),
                  SEGMENT_HEAD.pack(SEGMENT_MAGIC, start, zlib.crc32(head)), 0)
        if before is not None:
            before.close()
        self.segments.append(segment)
        self.current = segment
        self.trim()
        return segment

    def refused(self, Segment segment, failure):
        """The disk is full, or worse: what is buffered is lost, and said once."""
        self.lost += self.buffered
        self.records -= self.buffered
        if self.gives_back:
            self.given_back += self.buffered_records()
        self.let_buffer_go()
        self.retry_ms = self.now_ms + RETRY_MS
        if segment is not None:
            try:
                os.ftruncate(segment.fd, SEGMENT_HEAD_BYTES + segment.size)
            except OSError as worse:
                failure = worse
            segment.close()
        self.current = None                         # the next write begins another file
        if self.trouble != str(failure) or self.dirty_reason == 0:
            log.error("%s: writes for an absent replica cannot be kept: %s; a comparison will mend it",
                      self.path.name, failure)
        self.trouble = str(failure)
        self.mark_dirty(DISK, self.now_ms)

    cdef list buffered_records(self):
        """[(start, payload)] of what is not in the file."""
        cdef const char* p = buf_ptr(&self.buffer)
        cdef size_t n = buf_len(&self.buffer)
        cdef size_t at = 0
        cdef uint32_t length
        cdef list found = []
        while at < n:
            memcpy(&length, p + at, 4)
            found.append((self.end - n + at, p[at + HEAD:at + HEAD + length]))
            at += HEAD + length
        return found

    cdef void let_buffer_go(self) noexcept:
        self.buffered = 0
        buf_clear(&self.buffer)
        buf_shrink_idle(&self.buffer, BUFFER_KEEP)

    def unsynced_fd(self):
        """A descriptor to be synced and closed by the caller; -1: all is on the disk as far as this log knows."""
        if not self.is_unsynced or self.current is None:
            return -1
        self.is_unsynced = False
        return os.dup(self.current.fd)

    # ---- reading

    cdef Segment segment_at(self, uint64_t position):
        """The first segment that ends behind a position, None behind the last."""
        cdef Segment segment
        for segment in self.segments:
            if segment.end() > position:
                return segment
        return None

    def read(self, uint64_t position, size_t bytes_most=CHUNK):
        """([(start, end, at_ms, payload)], position behind them) from a position on; an empty list at the end."""
        cdef list out = []
        cdef Segment segment
        cdef size_t used
        cdef uint64_t count
        cdef bytes chunk
        cdef int what
        cdef size_t most = bytes_most
        self.write()
        while not out:
            segment = self.segment_at(position)
            if segment is None:
                return out, max(position, self.end)
            if position <= segment.start:
                position = segment.start
                if not segment.has_sound_head():
                    position = self.skip(segment)
                    continue
            chunk = segment.read(position, most)
            what = scan(chunk, len(chunk), position, out, &used, &count)
            position += used
            if not out and (what == SCAN_BAD or <size_t>len(chunk) < most):
                position = self.skip(segment)
            elif not out:
                most *= 4
            if segment is not self.current and position >= segment.end():
                segment.close()
        return out, position

    def skip(self, Segment segment):
        """Nothing more of a damaged segment is used."""
        self.mark_dirty(DAMAGED, self.now_ms)
        log.error("%s: %s is damaged; what is behind the damage is not used", self.path.name, segment.path.name)
        if segment is self.current:
            self.current = None                     # nothing is appended to it either
        segment.close()
        return segment.end()

    def oldest_ms(self):
        """When the oldest unacknowledged record was appended; 0: there is none."""
        if self.records == 0:
            return 0
        out, _ = self.read(self.acked, HEAD)
        return out[0][2] if out else 0

    # ---- acknowledging

    def ack(self, uint64_t position, uint64_t records):
        """Everything before a position is done with; so many records of it were not before."""
        if position > self.acked:
            self.acked = position
            self.state_changed = True
            self.trim()
        self.records = 0 if self.acked == self.end else self.records - min(records, self.records)

    cdef void trim(self):
        cdef Segment segment
        while self.segments:
            segment = self.segments[0]
            if segment.end() > self.acked or (segment is self.current and segment.size < self.segment_bytes):
                return
            if segment is self.current:
                self.current = None
            del self.segments[0]
            segment.close()
            segment.path.unlink(missing_ok=True)

    # ---- state

    def mark_dirty(self, int reason, uint64_t now_ms):
        """Whether it was not before."""
        self.dirty_marks += 1
        if self.dirty_reason:
            return False
        self.dirty_reason = reason
        self.dirty_since_ms = now_ms
        self.state_changed = True
        self.save()
        return True

    def clear_dirty(self):
        """A comparison has mended the lane."""
        self.dirty_reason = 0
        self.dirty_since_ms = 0
        self.state_changed = True
        self.save()

    def save(self):
        """The acknowledged position and the DIRTY mark, over the same bytes of the same file: needs no room."""
        if not self.state_changed or not self.is_open:
            return
        text = STATE.pack(STATE_MAGIC, self.acked, self.dirty_since_ms, self.dirty_reason)
        try:
            os.pwrite(self.state_file, text + zlib.crc32(text).to_bytes(4, "little"), 0)
        except OSError as failure:
            self.trouble = str(failure)
            return
        self.state_changed = False

    def close(self):
        cdef Segment segment
        if not self.is_open:
            return
        self.write()
        self.save()
        self.is_open = False
        for segment in self.segments:
            if segment.fd >= 0:
                os.fdatasync(segment.fd)
            segment.close()
        os.close(self.state_file)

    def __repr__(self):
        return f"<HintLog {self.path.name}, {self.records} records, {self.end - self.acked} bytes pending>"


def write_all(int fd, bytes data, uint64_t offset):
    """The whole of it, or OSError."""
    cdef size_t done = 0
    while done < <size_t>len(data):
        done += os.pwrite(fd, data[done:] if done else data, offset + done)
