"""What a replica remembers of recent writes, and what it decides by that: apply, skip, or have the key copied.

What it is: the conflict rules, so that replicas that get the same writes in different orders end up equal.

    class      older than an applied overwrite   older than another write, newer than the last overwrite   else
    overwrite  STALE                             SKIP_AND_COPY                                             APPLY
    commute    STALE                             APPLY, if all writes since then commute with it           APPLY
    ordered    STALE                             APPLY_AND_COPY                                            APPLY

    buckets    | floor, hashes of up to 7 keys |   a key that has to go raises its bucket's floor
    entries    | what is known of a key        |   .recent -> position of its last write
    recents    | circular: ids and stamps of writes, chained by key |
    writers    | the processes that stamp writes; entries and recents have their numbers |
    origins    | for each process that stamps writes: which of its last 65,536 sequence numbers were seen |

What it is not: it applies nothing and does not know what a key's value is.

Invariants: fixed memory, touched only as it is used; what was forgotten is never taken for new: a write that was sent
again and is not above the floor of its bucket is not applied, its key is copied. Ties of stamps: the larger node wins.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from dynomite_mp.cluster.quorum cimport reply_digest

cdef enum:
    LINE_BYTES = 64
    WINDOW = 65536                  # sequence numbers of one origin
    ORIGINS = 64
    WRITERS = 4096                  # processes; with one more the table begins anew
    BOUNDARY = 0xFFFF               # instead of a writer's number: up to this stamp writes may be unknown, by a copy
    UNTOLD_MOST = 4096              # writes of a key that are looked at without being told
    GONE = 0xFFFFFFFF               # Recent.back: there was one before it, which has been overwritten
    IS_NEW = 0
    WAS_SEEN = 1
    IS_BELOW = 2


cdef uint64_t key_hash(const char* key, size_t n) noexcept nogil:
    """Of a key, never 0. The digest's low bits know little of a key's last letters, and they name the bucket."""
    cdef uint64_t hash = reply_digest(key, n)
    hash ^= hash >> 32
    return hash if hash else 1


cdef inline bint is_of(const WriteId* id, const Writer* writer) noexcept nogil:
    return (writer.node == id.origin_node and writer.boot == id.origin_boot and writer.worker == id.origin_worker)


cdef class WriteTable:
    def __cinit__(self, uint64_t floor, *, uint64_t buckets=8192, uint64_t recents=65536):
        if buckets & (buckets - 1) or recents & (recents - 1) or not buckets or not recents:
            raise ValueError("sizes are powers of two")
        self.bucket_mask = buckets - 1
        self.recent_mask = recents - 1
        self.room = calloc(buckets * (sizeof(Bucket) + (sizeof(Entry) << WAYS_LOG)) + LINE_BYTES, 1)
        self.buckets = <Bucket*>((<uintptr_t>self.room + LINE_BYTES - 1) & ~<uintptr_t>(LINE_BYTES - 1))
        self.entries = <Entry*>(self.buckets + buckets)
        self.writers = <Writer*>calloc(WRITERS, sizeof(Writer))
        self.recents = <Recent*>calloc(recents, sizeof(Recent))
        self.origins = <Origin*>calloc(ORIGINS, sizeof(Origin))
        if self.room == NULL or self.writers == NULL or self.recents == NULL or self.origins == NULL:
            raise MemoryError
        self.first_floor = floor

    def __dealloc__(self):
        cdef int i
        if self.origins != NULL:
            for i in range(self.origin_count):
                free(self.origins[i].bits)
        free(self.origins)
        free(self.room)
        free(self.writers)
        free(self.recents)

    # ---- one write

    cdef int note(self, uint64_t hash, int klass, int family, const WriteId* id, uint64_t stamp,
                  bint is_resent) noexcept nogil:
        """What to do with a write of a key, NOTE_*; what is applied is remembered."""
        cdef uint16_t writer = self.writer_of(id)
        cdef Bucket* bucket = &self.buckets[hash & self.bucket_mask]
        cdef int way = self.find(bucket, hash)
        cdef bint is_below = stamp <= bucket.floor or stamp <= self.first_floor
        cdef bint is_newest
        cdef Entry* entry
        if stamp > self.highest:
            self.highest = stamp
        if way < 0:
            if is_below and is_resent:
                return NOTE_SKIP_AND_COPY
            way = self.insert(bucket, hash, stamp)
            entry = self.entry_at(bucket, way)
            entry.writer = writer
            if klass == WRITE_OVERWRITE:
                entry.over_stamp, entry.over_writer = stamp, writer
            else:
                entry.family = <uint8_t>(family if klass == WRITE_COMMUTE else FAMILY_MIXED)
            self.remember(entry, writer, id.sequence, stamp)
            if is_below:
                entry.flags |= ENTRY_DISORDERED     # what came after it may have been forgotten
            return NOTE_APPLY_AND_COPY if is_below else NOTE_APPLY
        entry = self.entry_at(bucket, way)
        is_newest = not self.is_less(stamp, writer, entry.stamp, entry.writer)
        if is_newest and klass == WRITE_OVERWRITE:
            entry.stamp = entry.over_stamp = stamp
            entry.writer = entry.over_writer = writer
            entry.family = FAMILY_NONE
            entry.flags = 0
            self.remember(entry, writer, id.sequence, stamp)
            return NOTE_APPLY
        self.newest = entry.stamp
        if self.is_less(stamp, writer, entry.over_stamp, entry.over_writer):
            return NOTE_STALE
        if klass == WRITE_OVERWRITE:
            if self.is_less(entry.over_stamp, entry.over_writer, stamp, writer):
                # It belongs into the copy: what it wipes is stale from now on, and who has not got it is no source.
                entry.over_stamp, entry.over_writer = stamp, writer
                self.remember(entry, writer, id.sequence, stamp)
            elif not entry.flags & ENTRY_LACKING:
                return NOTE_DUPLICATE
            entry.flags |= ENTRY_DISORDERED | ENTRY_LACKING
            return NOTE_SKIP_AND_COPY
        if is_resent and (is_below or (entry.flags & ENTRY_COPIED and stamp <= self.boundary_of(entry))):
            return NOTE_SKIP_AND_COPY               # it may be in the value without being known
        if klass != WRITE_COMMUTE or (entry.family != FAMILY_NONE and entry.family != family):
            family = FAMILY_MIXED
        entry.family = <uint8_t>family
        self.remember(entry, writer, id.sequence, stamp)
        if is_newest:
            entry.stamp = stamp
            entry.writer = writer
            return NOTE_APPLY
        if family != FAMILY_MIXED:
            return NOTE_APPLY
        entry.flags |= ENTRY_DISORDERED
        return NOTE_APPLY_AND_COPY

    cdef uint64_t boundary_of(self, const Entry* entry) noexcept nogil:
        """Up to this stamp a copied value may have writes that were not told with it; 0 where that is forgotten."""
        cdef uint64_t at = entry.recent
        cdef Recent* recent
        while at and at + self.recent_mask >= self.recent_count:
            recent = &self.recents[(at - 1) & self.recent_mask]
            if recent.writer == BOUNDARY:
                return recent.stamp
            at = 0 if recent.back in (0, GONE) else at - recent.back
        return 0

    cdef bint is_less(self, uint64_t stamp, uint16_t writer, uint64_t other_stamp, uint16_t other) noexcept nogil:
        if stamp != other_stamp:
            return stamp < other_stamp
        return self.writers[writer].node < self.writers[other].node

    cdef int find(self, const Bucket* bucket, uint64_t hash) noexcept nogil:
        cdef int way
        for way in range(WAYS):
            if bucket.hashes[way] == hash:
                return way
        return -1

    cdef int insert(self, Bucket* bucket, uint64_t hash, uint64_t stamp) noexcept nogil:
        """A place for a key; the key with the oldest last write makes room."""
        cdef Entry* entries = self.entry_at(bucket, 0)
        cdef int way
        cdef int oldest = 0
        for way in range(WAYS):
            if bucket.hashes[way] == 0:
                oldest = way
                break
            if entries[way].stamp < entries[oldest].stamp:
                oldest = way
        if bucket.hashes[oldest] and entries[oldest].stamp > bucket.floor:
            bucket.floor = entries[oldest].stamp
        bucket.hashes[oldest] = hash
        memset(&entries[oldest], 0, sizeof(Entry))
        entries[oldest].stamp = stamp
        return oldest

    cdef void remember(self, Entry* entry, uint16_t writer, uint64_t sequence, uint64_t stamp) noexcept nogil:
        cdef Recent* recent = &self.recents[self.recent_count & self.recent_mask]
        cdef uint64_t back
        self.recent_count += 1
        back = self.recent_count - entry.recent if entry.recent else 0
        recent.stamp = stamp
        recent.sequence = sequence
        recent.back = <uint32_t>(back if back <= self.recent_mask else <uint64_t>GONE)
        recent.writer = writer
        entry.recent = self.recent_count

    cdef uint16_t writer_of(self, const WriteId* id) noexcept nogil:
        """The number of a process that stamps writes."""
        cdef Writer* writer = &self.writers[self.latest_writer]
        cdef uint32_t i
        if self.writer_count and is_of(id, writer):
            return self.latest_writer
        for i in range(self.writer_count):
            writer = &self.writers[i]
            if is_of(id, writer):
                self.latest_writer = <uint16_t>i
                return self.latest_writer
        if self.writer_count == WRITERS:
            self.forget()
        writer = &self.writers[self.writer_count]
        writer.node, writer.boot, writer.worker = id.origin_node, id.origin_boot, id.origin_worker
        self.latest_writer = <uint16_t>self.writer_count
        self.writer_count += 1
        return self.latest_writer

    cdef void forget(self) noexcept nogil:
        """Everything but what was seen: the floor of all buckets rises to the newest stamp."""
        self.raise_floors(self.highest)
        memset(self.buckets, 0, (self.bucket_mask + 1) * sizeof(Bucket))
        self.writer_count = 0

    cdef void raise_floors(self, uint64_t stamp) noexcept nogil:
        if stamp > self.first_floor:
            self.first_floor = stamp

    # ---- which writes were seen

    cdef int seen(self, const WriteId* id, bint is_resent) noexcept nogil:
        """NOTE_APPLY: a write that was not seen, and is from now on; NOTE_DUPLICATE; NOTE_SKIP_AND_COPY: too long ago
        to know, and it was sent again."""
        cdef uint8_t what = self.mark(id)
        if what == WAS_SEEN:
            return NOTE_DUPLICATE
        return NOTE_SKIP_AND_COPY if what == IS_BELOW and is_resent else NOTE_APPLY

    cdef uint8_t mark(self, const WriteId* id) noexcept nogil:
        cdef Origin* origin = self.origin_of(id)
        cdef uint64_t sequence = id.sequence
        cdef uint64_t word, bit, i
        if origin == NULL:
            return IS_BELOW
        if sequence > origin.highest:
            if sequence - origin.highest >= WINDOW:
                memset(origin.bits, 0, WINDOW // 8)
            else:
                for i in range(origin.highest + 1, sequence):
                    origin.bits[(i % WINDOW) >> 6] &= ~(<uint64_t>1 << (i & 63))
            origin.highest = sequence
            origin.bits[(sequence % WINDOW) >> 6] |= <uint64_t>1 << (sequence & 63)
            return IS_NEW
        if origin.highest - sequence >= WINDOW:
            return IS_BELOW
        word = (sequence % WINDOW) >> 6
        bit = <uint64_t>1 << (sequence & 63)
        if origin.bits[word] & bit:
            return WAS_SEEN
        origin.bits[word] |= bit
        return IS_NEW if sequence >= origin.lowest else IS_BELOW

    cdef Origin* origin_of(self, const WriteId* id) noexcept nogil:
        """The window of an origin; the one that was not used for longest makes room. NULL when memory is out."""
        cdef Origin* origin = &self.origins[self.latest_origin]
        cdef int i
        cdef int oldest = 0
        self.uses += 1
        if origin.node != id.origin_node or origin.boot != id.origin_boot or origin.worker != id.origin_worker or (
                origin.bits == NULL):
            for i in range(self.origin_count):
                origin = &self.origins[i]
                if (origin.node == id.origin_node and origin.boot == id.origin_boot
                        and origin.worker == id.origin_worker):
                    self.latest_origin = i
                    origin.used = self.uses
                    return origin
                if origin.used < self.origins[oldest].used:
                    oldest = i
            if self.origin_count < ORIGINS:
                origin = &self.origins[self.origin_count]
                origin.bits = <uint64_t*>calloc(WINDOW // 64, sizeof(uint64_t))
                if origin.bits == NULL:
                    return NULL
                self.latest_origin = self.origin_count
                self.origin_count += 1
            else:
                origin = &self.origins[oldest]
                memset(origin.bits, 0, WINDOW // 8)
                self.latest_origin = oldest
            origin.node, origin.boot, origin.worker = id.origin_node, id.origin_boot, id.origin_worker
            origin.lowest = id.sequence
            origin.highest = id.sequence - 1 if id.sequence else 0
        origin.used = self.uses
        return origin

    # ---- for key copies and tests

    def note_key(self, bytes key, int klass, id, uint64_t stamp, *, int family=1, bint is_resent=False):
        cdef WriteId what = id_of(id)
        return self.note(key_hash(key, len(key)), klass, family, &what, stamp, is_resent)

    def seen_id(self, id, bint is_resent=False):
        cdef WriteId what = id_of(id)
        return self.seen(&what, is_resent)

    def entry(self, bytes key, int most=64, uint64_t since=0, int others_most=256):
        cdef uint64_t hash = key_hash(key, len(key))
        cdef Bucket* bucket = &self.buckets[hash & self.bucket_mask]
        cdef int way = self.find(bucket, hash)
        cdef Entry* entry
        cdef uint64_t at
        cdef uint64_t horizon = max(bucket.floor, self.first_floor)
        cdef uint64_t reached = 0
        cdef uint64_t untold = 0
        cdef int left = UNTOLD_MOST
        cdef Recent* recent
        cdef Writer* writer
        cdef list ids = []
        cdef list others = []
        cdef list stamps = []
        cdef list other_stamps = []
        if way < 0:
            return None
        entry = self.entry_at(bucket, way)
        at = entry.recent
        while at:
            if at + self.recent_mask < self.recent_count:
                horizon = max(horizon, reached)
                break
            recent = &self.recents[(at - 1) & self.recent_mask]
            if recent.writer == BOUNDARY:
                horizon = max(recent.stamp, untold)
                break
            reached = recent.stamp if recent.stamp else reached
            at = 0 if recent.back in (0, GONE) else at - recent.back
            if recent.back == GONE:
                horizon = max(horizon, reached)
            if len(others) == others_most:
                untold = max(untold, recent.stamp if recent.stamp else reached)
                horizon = max(horizon, untold)
                left -= 1
                if left == 0:
                    break
                continue
            is_told = len(ids) < most and recent.stamp >= since and not self.is_less(
                recent.stamp, recent.writer, entry.over_stamp, entry.over_writer)
            writer = &self.writers[recent.writer]
            (ids if is_told else others).append((writer.node, writer.boot, writer.worker, recent.sequence))
            (stamps if is_told else other_stamps).append(recent.stamp)
        return (entry.stamp, self.writers[entry.writer].node,
                (entry.flags & ~<int>ENTRY_COPIED) + 256 * entry.family, ids,
                entry.over_stamp, self.writers[entry.over_writer].node if entry.over_stamp else 0, others, stamps,
                horizon, other_stamps)

    def put(self, bytes key, uint64_t stamp, uint64_t origin, int flags, ids, uint64_t over_stamp,
            uint64_t over_origin, others=(), stamps=(), uint64_t horizon=0, other_stamps=()):
        cdef uint64_t hash = key_hash(key, len(key))
        cdef Bucket* bucket = &self.buckets[hash & self.bucket_mask]
        cdef int way
        cdef Entry* entry
        cdef WriteId what
        cdef uint16_t writer
        if self.writer_count + len(ids) + len(others) + 2 > WRITERS:
            self.forget()                           # now, not in the middle
        way = self.find(bucket, hash)
        what = id_of((origin, 0, 0, 0))
        writer = self.writer_of(&what)
        self.highest = max(self.highest, stamp)
        if way < 0:
            way = self.insert(bucket, hash, stamp)
            self.entry_at(bucket, way).writer = writer
        entry = self.entry_at(bucket, way)
        if not self.is_less(stamp, writer, entry.stamp, entry.writer):
            entry.stamp = stamp
            entry.writer = writer
        entry.over_stamp = over_stamp
        what = id_of((over_origin, 0, 0, 0))
        entry.over_writer = self.writer_of(&what)
        entry.flags = <uint8_t>(flags & (ENTRY_DISORDERED | ENTRY_LACKING) | (ENTRY_COPIED if horizon else 0))
        entry.family = <uint8_t>(flags >> 8)
        entry.recent = 0
        if horizon:
            self.remember(entry, BOUNDARY, 0, horizon)
        self.remember_all(entry, others, other_stamps if len(other_stamps) == len(others) else [0] * len(others))
        self.remember_all(entry, ids, stamps if len(stamps) == len(ids) else [stamp] * len(ids))

    cdef int remember_all(self, Entry* entry, ids, stamps) except -1:
        """Writes of a copy, the newest first."""
        cdef WriteId what
        for id, stamp in reversed(list(zip(ids, stamps))):
            what = id_of(id)
            self.mark(&what)
            self.remember(entry, self.writer_of(&what), what.sequence, stamp)
        return 0

    def raise_floor(self, uint64_t stamp):
        self.raise_floors(stamp)


cdef WriteId id_of(id):
    cdef WriteId what
    what.origin_node, what.origin_boot, what.origin_worker, what.sequence = id
    return what


def hash_of(bytes key):
    return key_hash(key, len(key))
