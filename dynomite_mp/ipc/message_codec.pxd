"""Header of the hot messages' codec: fixed-width msgpack heads, value bytes raw behind them.

An encoder writes the head only; the payload is head + bytes, so c_offer2(type, head, n, bytes, bin_len) copies the
value once. A decoder answers 1 and fills the struct, or 0 for anything that its encoder would not have written; its
pointers lie inside the payload and live as long as it (until c_advance).
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t


cdef enum:                        # message ids, as in messages.py
    MESSAGE_REPLICATE = 0x50
    MESSAGE_HINT = 0x51
    MESSAGE_KEY_COPY = 0x52       # not hot: messages.encode
    MESSAGE_REPLICA_REPLY = 0x58
    MESSAGE_SHARD_REQUEST = 0x60
    MESSAGE_SHARD_REPLY = 0x61
    MESSAGE_SHARD_WRITE = 0x62

cdef enum:
    SHARD_REQUEST_HEAD_BYTES = 29
    SHARD_REPLY_HEAD_BYTES = 29
    SHARD_WRITE_HEAD_BYTES = 85
    REPLICA_REPLY_HEAD_BYTES = 25
    REPLICATE_HEAD_BYTES = 85
    HEAD_BYTES_MAX = 96
    HINT_FIXED_HEAD_BYTES = 60    # of a hint without its node
    HINT_NODE_BYTES_MAX = 255
    HINT_HEAD_BYTES_MAX = 320


cdef struct ShardRequest:
    uint64_t req_id
    uint32_t flags
    uint64_t deadline_ms
    const char* request
    uint32_t request_len

cdef struct ShardReply:
    uint64_t req_id
    uint32_t status               # EXTENSION_* of proto.dnode
    uint64_t stamp
    const char* reply
    uint32_t reply_len

cdef struct ReplicaReply:
    uint64_t req_id
    uint32_t dc_index
    uint32_t status
    const char* reply
    uint32_t reply_len

cdef struct Replicate:
    uint64_t req_id
    uint64_t origin_node
    uint32_t origin_boot
    uint32_t origin_worker
    uint64_t sequence
    uint64_t stamp
    uint32_t conflict_class
    uint32_t token
    uint64_t dc_mask
    uint32_t need_ack
    uint64_t deadline_ms
    const char* request
    uint32_t request_len

cdef struct ShardWrite:           # a request that a peer's frame said more of
    uint64_t req_id
    uint32_t flags
    uint64_t deadline_ms
    uint64_t clock
    uint64_t stamp
    uint64_t origin_node
    uint32_t origin_boot
    uint32_t origin_worker
    uint64_t sequence
    uint32_t marks                # EXTENSION_* of proto.dnode
    uint32_t conflict_class
    const char* request
    uint32_t request_len

cdef struct Hint:
    uint32_t kind
    const char* node
    uint32_t node_len             # at most HINT_NODE_BYTES_MAX
    uint64_t origin_node
    uint32_t origin_boot
    uint32_t origin_worker
    uint64_t sequence
    uint64_t stamp
    uint32_t conflict_class
    uint32_t token
    const char* request
    uint32_t request_len


cdef size_t encode_shard_request_head(
    char* out, uint64_t req_id, uint32_t flags, uint64_t deadline_ms, uint32_t bin_len) noexcept nogil
cdef int decode_shard_request(const char* p, size_t n, ShardRequest* out) noexcept nogil

cdef size_t encode_shard_reply_head(
    char* out, uint64_t req_id, uint32_t status, uint64_t stamp, uint32_t bin_len) noexcept nogil
cdef size_t encode_shard_write_head(char* out, const ShardWrite* message) noexcept nogil
cdef int decode_shard_write(const char* p, size_t n, ShardWrite* out) noexcept nogil
cdef int decode_shard_reply(const char* p, size_t n, ShardReply* out) noexcept nogil

cdef size_t encode_replica_reply_head(
    char* out, uint64_t req_id, uint32_t dc_index, uint32_t status, uint32_t bin_len) noexcept nogil
cdef int decode_replica_reply(const char* p, size_t n, ReplicaReply* out) noexcept nogil

# request and request_len of the struct give the bin's length; the bytes are appended by the caller
cdef size_t encode_replicate_head(char* out, const Replicate* message) noexcept nogil
cdef int decode_replicate(const char* p, size_t n, Replicate* out) noexcept nogil
# `out` has room for HINT_HEAD_BYTES_MAX; the node's name is part of the head
cdef size_t encode_hint_head(char* out, const Hint* message) noexcept nogil
cdef int decode_hint(const char* p, size_t n, Hint* out) noexcept nogil
