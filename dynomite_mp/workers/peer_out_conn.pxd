# The face of peer_out_conn.pyx: a connection to another node, for our requests.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dynomite_mp.cluster.write_table cimport WriteId
from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.dnode cimport DnodeScan
from dynomite_mp.proto.resp cimport ReplyScan
from dynomite_mp.workers.request cimport Request, Slot
from dynomite_mp.workers.target_conn cimport TargetConn


cdef class LaterReply:
    cdef Slot slot
    cdef bytes data


cdef class PeerOutConn(TargetConn):
    cdef public int node            # its place in the route table, -1: not part of the topology any more
    cdef readonly int index
    cdef public bint is_ours        # a node of this program: answered our first frame with version 2
    cdef public bint takes_batches  # it reads several writes behind one header; our nodes of before do not
    cdef bint is_behind             # it has missed writes of this node (writes): reads of it go elsewhere
    cdef public bint is_leading     # it says that it leads: cluster.lead goes by that
    cdef readonly bint same_dc
    cdef readonly int version_seen  # of the last frame
    cdef DnodeScan head
    cdef bint has_head              # the header of the frame at the head of inbuf is read
    cdef ReplyScan scan
    cdef uint32_t reply_marks       # EXTENSION_* of the last reply
    cdef uint64_t reply_stamp       # and its stamp, of one that says stale
    cdef uint64_t reply_run         # how many requests in a row it answers
    cdef size_t batch_bytes         # of the batch that further writes may join: from its header to the tail; 0: none
    cdef size_t batch_head_len
    cdef WriteId batch_id           # of its last write
    cdef uint64_t batch_stamp
    cdef uint8_t batch_group        # what its writes have in common besides
    cdef uint8_t batch_marks
    cdef object cipher              # dnode_crypto.LinkCipher, None on a plain link
    cdef bint key_sent
    cdef Buf wire                   # encrypted bytes on their way; outbuf keeps the plain ones
    cdef dict later                 # id: LaterReply, in the order in which they were asked

    cdef Slot* enqueue_frame(self, char* head, int type, const char* data, size_t data_len,
                             const char* p, size_t n) noexcept
    cdef Slot* enqueue_write(self, Request* request, const char* p, size_t n) noexcept
    cdef Slot* enqueue_step(self, Request* request, char* head, size_t head_len, uint64_t stamp, uint64_t sequence,
                            const char* p, size_t n) noexcept
    cdef bint may_join(self, Request* request, size_t n) noexcept
    cdef void seal(self) noexcept
    cdef Slot* enqueue_secret(self, int type, const char* data, size_t data_len, const char* p, size_t n)
    cdef int read_extension(self) except -1
    cdef int match(self, const char* p, size_t n) except -1
    cdef int match_one(self, uint64_t id, const char* p, size_t n) except -1
    cdef int keep_later(self, Slot* slot, uint64_t id) except -1
    cdef int match_later(self, uint64_t id, const char* p, size_t n) except -1
    cdef int give_up_later(self, uint64_t asked_before_ns) except -1
