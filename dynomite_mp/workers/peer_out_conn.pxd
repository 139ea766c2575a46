# The face of peer_out_conn.pyx: a connection to another node, for our requests.
from libc.stdint cimport uint32_t, uint64_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.dnode cimport DnodeScan
from dynomite_mp.proto.resp cimport ReplyScan
from dynomite_mp.workers.request cimport Slot
from dynomite_mp.workers.target_conn cimport TargetConn


cdef class LaterReply:
    cdef Slot slot
    cdef bytes data


cdef class PeerOutConn(TargetConn):
    cdef public int node            # its place in the route table, -1: not part of the topology any more
    cdef readonly int index
    cdef public bint is_ours        # a node of this program: answered our first frame with version 2
    cdef bint is_behind             # it has missed writes of this node (writes): reads of it go elsewhere
    cdef public bint is_leading     # it says that it leads: cluster.lead goes by that
    cdef readonly bint same_dc
    cdef readonly int version_seen  # of the last frame
    cdef DnodeScan head
    cdef bint has_head              # the header of the frame at the head of inbuf is read
    cdef ReplyScan scan
    cdef uint32_t reply_marks       # EXTENSION_* of the last reply
    cdef uint64_t reply_stamp       # and its stamp, of one that says stale
    cdef object cipher              # dnode_crypto.LinkCipher, None on a plain link
    cdef bint key_sent
    cdef Buf wire                   # encrypted bytes on their way; outbuf keeps the plain ones
    cdef dict later                 # id: LaterReply, in the order in which they were asked

    cdef Slot* enqueue_frame(self, char* head, int type, const char* data, size_t data_len,
                             const char* p, size_t n) noexcept
    cdef Slot* enqueue_secret(self, int type, const char* data, size_t data_len, const char* p, size_t n)
    cdef int read_extension(self) except -1
    cdef int match(self, const char* p, size_t n) except -1
    cdef int keep_later(self, Slot* slot, uint64_t id) except -1
    cdef int match_later(self, uint64_t id, const char* p, size_t n) except -1
    cdef int give_up_later(self, uint64_t asked_before_ns) except -1
