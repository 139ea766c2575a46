# Frames between nodes: a text header around a request or a reply, as C Dynomite writes it, and the extension that
# nodes of this program put into its data field. See dnode.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cpdef enum:                     # DnodeScan.type
    DNODE_UNKNOWN = 0
    DNODE_DEBUG = 1
    DNODE_PARSE_ERROR = 2
    DNODE_REQ = 3               # execute at your datastore and answer
    DNODE_REQ_FORWARD = 4       # copy to the owners in all racks of your datacenter and answer
    DNODE_RES = 5               # the answer; id is the request's
    DNODE_CRYPTO_HANDSHAKE = 6  # a C node drops it
    DNODE_GOSSIP_SYN = 7        # gossip text, no answer
    DNODE_GOSSIP_SYN_REPLY = 8  # a C node drops it; types above this one stall a C node's connection: never send them
    DNODE_GOSSIP_ACK = 9
    DNODE_GOSSIP_DIGEST_SYN = 10
    DNODE_GOSSIP_DIGEST_ACK = 11
    DNODE_GOSSIP_DIGEST_ACK2 = 12
    DNODE_GOSSIP_SHUTDOWN = 13

cpdef enum:                     # DnodeScan.flags
    DNODE_ENCRYPTED = 1
    DNODE_COMPRESSED = 2        # no node sets it
    DNODE_BATCH = 4             # request: several stamped writes share this header (docs/adr/0087)

cpdef enum:                     # DnodeScan.version
    DNODE_VERSION_C = 1         # C Dynomite, and whatever is written to it
    DNODE_VERSION_OURS = 2      # payload_len is exact, data may be an extension
    DNODE_VERSION_BATCHES = 3   # the same, and it reads batches of writes and runs of replies; what this version writes

cdef enum:
    DNODE_HEADER_MOST = 128     # bytes of a header beside its data
    DNODE_DATA_MOST = 16 * 1024     # longest data field that is accepted
    DNODE_JUNK_MOST = 64 * 1024     # bytes skipped in search of a header before the connection is given up
    EXTENSION_MOST = 96         # bytes that encode_extension writes at most
    EXTENSION_RUN_MOST = 65536  # replies in a run at most
    BATCH_STEP = 6              # bytes in front of each write of a batch
    BATCH_DIGITS = 7            # of a batch's payload length, which is told when the batch is whole

cpdef enum:                     # DnodeScan.error on FRAME_ERROR
    DNODE_FINE = 0
    DNODE_JUNK = 1              # no header within DNODE_JUNK_MOST bytes
    DNODE_DATA_LENGTH = 2       # data field longer than DNODE_DATA_MOST
    DNODE_PAYLOAD_LENGTH = 3    # a payload that no node can hold


# One header being read. Starts as zeros (dnode_scan_reset, or memset); the frame starts at p[0] of every call. The
# payload is not part of it: on FRAME_OK it starts at p[pos], and may not have come yet.
cdef struct DnodeScan:
    size_t pos                  # bytes consumed; on FRAME_OK offset of the payload, junk and header included
    size_t skipped              # bytes in front of the header that belong to no frame: 0 on a sound connection
    uint64_t id
    size_t data_off             # the data field, from p[0]
    size_t data_len
    # As written. Exact from our nodes (version >= DNODE_VERSION_OURS), for encrypted payloads and for gossip text.
    # May be wrong on a plaintext request or reply of a C node: there resp.next_request and next_reply find the end.
    size_t payload_len
    uint64_t number             # a number being read
    uint8_t type                # DNODE_REQ ...; values that have no name are possible
    uint8_t flags               # DNODE_ENCRYPTED ...
    uint8_t version
    uint8_t same_dc             # 0 or 1
    uint8_t error               # DNODE_JUNK ...
    uint8_t phase
    uint8_t digits              # of `number`, so far


cdef inline void dnode_scan_reset(DnodeScan* s) noexcept nogil:
    # The other fields hold nothing until FRAME_OK, when all of them have been written.
    s.pos = 0
    s.skipped = 0
    s.number = 0
    s.error = 0
    s.phase = 0
    s.digits = 0


# FRAME_MORE, FRAME_OK or FRAME_ERROR of resp.pxd.
cdef int next_dnode(const char* p, size_t n, DnodeScan* s) noexcept nogil

# Whether payload_len can be trusted; if not, the payload of this plaintext request or reply has to be framed.
cdef inline bint dnode_payload_is_exact(const DnodeScan* s) noexcept nogil:
    return s.version >= DNODE_VERSION_OURS or s.flags & DNODE_ENCRYPTED or s.type < DNODE_REQ or s.type > DNODE_RES

# Writes a header, to be followed by payload_len bytes; `out` has room for DNODE_HEADER_MOST + data_len. Bytes written.
# data is "d" (1 byte, never 0) to a C node, or an extension to one of ours.
cdef size_t encode_dnode(
    char* out, uint64_t id, int type, int flags, int version, int same_dc,
    const char* data, size_t data_len, size_t payload_len) noexcept nogil


# ---- the extension: what our nodes tell each other about a request or a reply, in the data field

cpdef enum:                     # Extension.flags
    EXTENSION_LOCAL_ONLY = 1    # request: answer from your own datastore, no fail-over, no fan-out
    EXTENSION_LEAD = 2          # request: you are the key's lead; execute, then replicate the effect
    EXTENSION_RESENT = 4        # request: sent before, perhaps executed
    EXTENSION_NOT_EXECUTED = 8  # reply: the request never reached the datastore; it counts as missed
    EXTENSION_STALE = 16        # reply: skipped, a newer write is there; stamp is that write's, if known
    EXTENSION_CATCHING_UP = 32  # reply to a write: counted from a value that may lack earlier writes
    EXTENSION_FORCE_READ = 64   # request: read although you are catching up; reply: I lack little, you may ask so
    EXTENSION_LATER = 128       # request: the reply may leave its order; reply: the place of one that comes by itself

    EXTENSION_LEVEL_SHIFT = 16  # request with EXTENSION_LEAD: two bits, the consistency that the client asks for
    EXTENSION_LEVEL_MASK = 3

cpdef enum:                     # Extension.fields; a group is present as a whole or not at all
    EXTENSION_STAMP = 1         # stamp
    EXTENSION_ORIGIN = 2        # origin_node, origin_boot, origin_worker, sequence, conflict_class
    EXTENSION_EPOCH = 4         # epoch
    EXTENSION_DATA_SET = 8      # data_set
    EXTENSION_RUN = 16          # run


cdef struct Extension:
    uint32_t fields             # which groups hold something
    uint32_t version            # of the map; decided by the encoder, told by the decoder
    uint64_t clock              # the sender's hybrid logical clock
    uint32_t flags              # EXTENSION_LOCAL_ONLY ...; bits without a name are ignored
    uint32_t protocol           # 2 or 3: the RESP version of the client, or of the reply
    uint64_t stamp              # of the write
    uint64_t origin_node        # of the write: (node, boot, worker) and its sequence number there
    uint32_t origin_boot
    uint32_t origin_worker
    uint64_t sequence
    uint32_t conflict_class     # CLASS_* of the command table
    uint64_t epoch              # of the connection
    uint64_t data_set           # id of the data set that the write is meant for
    uint32_t run                # of a reply: how many requests in a row it answers, its id is that of the last


# Writes the extension, at most EXTENSION_MOST bytes. Bytes written.
cdef size_t encode_extension(char* out, const Extension* e) noexcept nogil
# 1 and *e, or 0 for a data field that holds no whole extension ("d", a wrapped key, anything else). Fields that are
# not known are passed over; fields that are missing are 0, protocol 2.
cdef int decode_extension(const char* p, size_t n, Extension* e) noexcept nogil


# ---- the steps of a batch: what distinguishes a write from the one before it, or the first from the extension

cdef inline void put_step(char* out, uint32_t stamp, uint8_t sequence, uint8_t conflict_class) noexcept nogil:
    cdef unsigned char* to = <unsigned char*>out
    to[0] = <unsigned char>(stamp >> 24)
    to[1] = <unsigned char>(stamp >> 16)
    to[2] = <unsigned char>(stamp >> 8)
    to[3] = <unsigned char>stamp
    to[4] = sequence
    to[5] = conflict_class


cdef inline void take_step(const char* p, Extension* e) noexcept nogil:
    cdef const unsigned char* step = <const unsigned char*>p
    e.stamp += <uint64_t>step[0] << 24 | <uint64_t>step[1] << 16 | <uint64_t>step[2] << 8 | step[3]
    e.sequence += step[4]
    e.conflict_class = step[5]


# The payload length of a frame, told afterwards; `end` is behind its header, which was written for BATCH_DIGITS digits.
cdef void put_batch_length(char* end, size_t payload_len) noexcept nogil


# For whoever decrypted a payload: whether these bytes are exactly one request (in array form), exactly one reply.
cdef bint is_one_request(const char* p, size_t n) noexcept nogil
cdef bint is_one_reply(const char* p, size_t n) noexcept nogil
