# One request over several groups of keys: its parts' frames, their replies, and the one reply. See fragment.pyx.
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.proto.resp cimport RequestScan


cdef enum:
    # What build returns.
    SPLIT_BUILT = 0
    SPLIT_NO_MEMORY = -1
    SPLIT_UNFIT = -2            # a key without its value, or no request of `keys` keys: answer append_wrong_arity


cdef struct Part:
    uint64_t group
    size_t frame_at             # in Fragments.frame_bytes
    size_t frame_len
    char* reply                 # NULL until it has replied
    size_t reply_len
    size_t value_at             # in reply, behind any attributes
    size_t cursor               # in reply, during a merge; in frame_bytes, during a build
    uint32_t keys


@cython.final
cdef class Fragments:
    cdef readonly int parts     # 0 until build has succeeded
    cdef readonly int waiting   # parts that have not replied
    cdef readonly size_t held_bytes     # frames and replies kept here, for the memory budget
    cdef Part* part_table
    cdef uint32_t* part_of_key  # in the order of the request's keys
    cdef size_t keys
    cdef char* frame_bytes      # all parts' frames, one behind the other
    cdef int merge_by           # MERGE_*

    # Cuts a complete request in array form (is_inline = 0), whose row has a split. groups[i] is the group of its i-th
    # key; equal groups go together, parts stand in the order of their first keys. SPLIT_*; nothing of p is kept.
    cdef int build(
        self, const char* p, const RequestScan* s, const CommandRow* row, const uint64_t* groups, size_t keys
    ) noexcept nogil
    # The whole frame of part i; valid while this object lives and is not built anew. The same as often as asked for.
    cdef void part(self, int i, const char** p, size_t* n) noexcept nogil
    cdef uint64_t group(self, int i) noexcept nogil
    # Copies the reply of part i, one whole frame; a second reply of a part changes nothing.
    # 0 others are missing, 1 all parts have replied, -1 memory is short (the part counts as not replied).
    cdef int accept(self, int i, const char* p, size_t n) noexcept nogil
    # Appends the one reply; 0, or -1 when memory is short (out is as it was then). May be called again.
    cdef int merge(self, Buf* out) noexcept nogil

    cdef void drop(self) noexcept nogil
    cdef int group_keys(self, const uint64_t* groups) noexcept nogil
    cdef int write_frames(self, const char* p, const RequestScan* s, int step) noexcept nogil
    cdef int first_error(self) noexcept nogil
    cdef bint merge_array(self, Buf* out) noexcept nogil
    cdef bint merge_sum(self, Buf* out) noexcept nogil
    cdef bint merge_ok(self, Buf* out) noexcept nogil
