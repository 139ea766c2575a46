# The face of write_table.pyx: what a replica remembers of recent writes, and what it decides by that.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cpdef enum:
    # Conflict classes, with the numbers of the command table
    WRITE_OVERWRITE = 1
    WRITE_COMMUTE = 2
    WRITE_ORDERED = 3

    # Families of writes that commute with each other
    FAMILY_NONE = 0                 # since the last overwrite: none
    FAMILY_MIXED = 255              # of several families, or of one that has an order

    # What to do with a write
    NOTE_APPLY = 0
    NOTE_APPLY_AND_COPY = 1         # apply; then the key is to be copied from another replica
    NOTE_STALE = 2                  # skip: an applied overwrite is newer. A success
    NOTE_DUPLICATE = 3              # skip: applied before. A success
    NOTE_SKIP_AND_COPY = 4          # skip; the key is to be copied from another replica

    ENTRY_DISORDERED = 2            # flags: writes were applied in another order than that of their stamps
    ENTRY_LACKING = 4               # an overwrite was skipped: what it left, only a copy can bring

cdef enum:
    ENTRY_COPIED = 8                # flag, not told: the value came as a copy, up to whose boundary not all is known
    WAYS = 7
    WAYS_LOG = 3                    # entries of a bucket are 2 ** this apart: two of them share a cache line


cdef struct WriteId:
    uint64_t origin_node
    uint32_t origin_boot
    uint32_t origin_worker
    uint64_t sequence


cdef struct Bucket:                 # a cache line
    uint64_t floor                  # stamps up to this one may have been forgotten
    uint64_t hashes[WAYS]           # 0: free


cdef struct Entry:                  # half a cache line
    uint64_t stamp                  # of the newest write
    uint64_t over_stamp             # of the newest overwrite
    uint64_t recent                 # 1 + position of the key's last write among the recent ones
    uint16_t writer                 # of the newest write
    uint16_t over_writer
    uint8_t flags
    uint8_t family


cdef struct Recent:
    uint64_t stamp
    uint64_t sequence
    uint32_t back                   # so far in front of it stands the write of the same key before it; 0: gone, or none
    uint16_t writer


cdef struct Writer:                 # a process that stamps writes
    uint64_t node
    uint32_t boot
    uint32_t worker


cdef struct Origin:                 # window of the sequence numbers of one origin
    uint64_t node
    uint32_t boot
    uint32_t worker
    uint64_t lowest                 # what came before it is not known
    uint64_t highest
    uint64_t used
    uint64_t* bits


cdef extern from *:
    """
    #define write_table_fetch(p) __builtin_prefetch((p), 1)
    """
    void write_table_fetch(const void* p) noexcept nogil


cdef class WriteTable:
    cdef void* room                 # of buckets and entries, which begin at cache lines in it
    cdef Bucket* buckets
    cdef Entry* entries
    cdef Writer* writers            # by the numbers that stand for them in entries and recents
    cdef uint32_t writer_count
    cdef uint16_t latest_writer
    cdef uint64_t highest           # of all stamps
    cdef uint64_t bucket_mask
    cdef uint64_t first_floor       # of all buckets
    cdef Recent* recents
    cdef uint64_t recent_count
    cdef uint64_t recent_mask
    cdef Origin* origins
    cdef int origin_count
    cdef int latest_origin
    cdef uint64_t uses
    cdef readonly uint64_t newest   # of a STALE verdict: the newest stamp known

    cdef int seen(self, const WriteId* id, bint is_resent) noexcept nogil
    cdef int note(self, uint64_t hash, int klass, int family, const WriteId* id, uint64_t stamp,
                  bint is_resent) noexcept nogil
    cdef int find(self, const Bucket* bucket, uint64_t hash) noexcept nogil
    cdef int insert(self, Bucket* bucket, uint64_t hash, uint64_t stamp) noexcept nogil
    cdef void remember(self, Entry* entry, uint16_t writer, uint64_t sequence, uint64_t stamp) noexcept nogil
    cdef uint64_t boundary_of(self, const Entry* entry) noexcept nogil
    cdef int remember_all(self, Entry* entry, ids, stamps) except -1
    cdef uint16_t writer_of(self, const WriteId* id) noexcept nogil
    cdef void forget(self) noexcept nogil
    cdef bint is_less(self, uint64_t stamp, uint16_t writer, uint64_t other_stamp, uint16_t other) noexcept nogil
    cdef void raise_floors(self, uint64_t stamp) noexcept nogil
    cdef Origin* origin_of(self, const WriteId* id) noexcept nogil
    cdef uint8_t mark(self, const WriteId* id) noexcept nogil
    cdef inline void fetch(self, uint64_t hash) noexcept nogil:
        # Tells the processor which lines note() will want soon, nearly always: to wait for them is most of its cost.
        cdef uint64_t at = hash & self.bucket_mask
        write_table_fetch(&self.buckets[at])
        write_table_fetch(&self.entries[at << WAYS_LOG])

    cdef inline Entry* entry_at(self, const Bucket* bucket, int way) noexcept nogil:
        return &self.entries[((bucket - self.buckets) << WAYS_LOG) + way]


cdef uint64_t key_hash(const char* key, size_t n) noexcept nogil
