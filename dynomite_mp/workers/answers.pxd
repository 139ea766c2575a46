# The face of answers.pyx: how requests end, and how they wait to begin.
from libc.stdint cimport uint16_t, uint32_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.workers.data_path cimport DataPath
from dynomite_mp.workers.request cimport Request
from dynomite_mp.workers.source_conn cimport SourceConn
from dynomite_mp.workers.write_order cimport WriteOrder


cdef class Answers(DataPath):
    cdef Buf scratch                # a reply being made here
    cdef Buf merged                 # the reply of a split request
    cdef WriteOrder order
    cdef list held                  # SourceConn whose next request waits, oldest first
    cdef bint rerunning
    cdef uint32_t shard_index       # this io worker's number
    cdef uint32_t shard_count
    cdef list shards                # ShardLink by io worker index, None for this one

    cdef int complete(self, Request* request, const char* p, size_t n) except -1
    cdef int fail(self, Request* request, uint16_t code) except -1
    cdef int part_complete(self, Request* part, const char* p, size_t n) except -1
    cdef int answer(self, SourceConn source, const char* p, size_t n) except -1
    cdef int answer_scratch(self, SourceConn source) except -1
    cdef int refuse(self, SourceConn source, uint16_t code) except -1
    cdef void refuse_begin(self) noexcept
    cdef int hold(self, SourceConn source, uint32_t bucket, bint is_order) except -1
    cdef int rerun_held(self) except -1
