"""The hot messages as bytes: heads of constant width that are valid msgpack, nothing measured or moved.

A hint's head alone has a part of any length, the name of the node that missed the write, behind one byte of length.

Not the table (messages.py). A head is an array marker, then each integer in its widest form (0xcf u64, 0xce u32), then
a bin32 marker; the value bytes follow. Width costs a few bytes and buys an encoder without branches and a decoder that
only compares markers. A decoder accepts what its encoder writes and nothing else; any msgpack reader accepts both.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

cdef enum:
    FIXARRAY = 0x90
    UINT32 = 0xce
    UINT64 = 0xcf
    BIN32 = 0xc6
    STR8 = 0xd9


cdef frozenset HOT_MESSAGES = frozenset(
    (MESSAGE_SHARD_REQUEST, MESSAGE_SHARD_REPLY, MESSAGE_SHARD_WRITE, MESSAGE_REPLICA_REPLY, MESSAGE_REPLICATE,
     MESSAGE_HINT))


cdef inline char* put_u32(char* at, unsigned char marker, uint32_t value) noexcept nogil:
    cdef unsigned char* out = <unsigned char*>at
    out[0] = marker
    out[1] = <unsigned char>(value >> 24)
    out[2] = <unsigned char>(value >> 16)
    out[3] = <unsigned char>(value >> 8)
    out[4] = <unsigned char>value
    return at + 5


cdef inline char* put_u64(char* at, uint64_t value) noexcept nogil:
    put_u32(at + 4, 0, <uint32_t>value)
    put_u32(at, UINT64, <uint32_t>(value >> 32))
    return at + 9


cdef inline uint32_t get_u32(const char* at) noexcept nogil:
    cdef const unsigned char* p = <const unsigned char*>at
    return (<uint32_t>p[1] << 24) | (<uint32_t>p[2] << 16) | (<uint32_t>p[3] << 8) | p[4]


cdef inline uint64_t get_u64(const char* at) noexcept nogil:
    return (<uint64_t>get_u32(at) << 32) | get_u32(at + 4)


cdef int shape_is(const char* p, size_t n, const char* shape, int fields, size_t head) noexcept nogil:
    """Whether the markers are those of `shape` (8 = u64, 4 = u32, b = bin32) and the bin ends with the payload."""
    if n < head or <unsigned char>p[0] != FIXARRAY + fields:
        return 0
    return markers_are(p, n, 1, shape, fields, head)


cdef int markers_are(const char* p, size_t n, size_t at, const char* shape, int fields, size_t head) noexcept nogil:
    """The same from `at` on, for a payload of at least `head` bytes."""
    cdef int i
    cdef unsigned char marker
    for i in range(fields):
        marker = <unsigned char>p[at]
        if shape[i] == c'8':
            if marker != UINT64:
                return 0
            at += 9
        elif shape[i] == c'4':
            if marker != UINT32:
                return 0
            at += 5
        else:
            return marker == BIN32 and n - head == get_u32(p + at)
    return 0


cdef size_t encode_shard_request_head(
        char* out, uint64_t req_id, uint32_t flags, uint64_t deadline_ms, uint32_t bin_len) noexcept nogil:
    cdef char* at = out + 1
    out[0] = <char>(FIXARRAY + 4)
    at = put_u64(at, req_id)
    at = put_u32(at, UINT32, flags)
    at = put_u64(at, deadline_ms)
    put_u32(at, BIN32, bin_len)
    return SHARD_REQUEST_HEAD_BYTES


cdef int decode_shard_request(const char* p, size_t n, ShardRequest* out) noexcept nogil:
    if not shape_is(p, n, b"848b", 4, SHARD_REQUEST_HEAD_BYTES):
        return 0
    out.req_id = get_u64(p + 1)
    out.flags = get_u32(p + 10)
    out.deadline_ms = get_u64(p + 15)
    out.request_len = get_u32(p + 24)
    out.request = p + SHARD_REQUEST_HEAD_BYTES
    return 1


cdef size_t encode_shard_reply_head(
        char* out, uint64_t req_id, uint32_t status, uint64_t stamp, uint32_t bin_len) noexcept nogil:
    cdef char* at = out + 1
    out[0] = <char>(FIXARRAY + 4)
    at = put_u64(at, req_id)
    at = put_u32(at, UINT32, status)
    at = put_u64(at, stamp)
    put_u32(at, BIN32, bin_len)
    return SHARD_REPLY_HEAD_BYTES


cdef int decode_shard_reply(const char* p, size_t n, ShardReply* out) noexcept nogil:
    if not shape_is(p, n, b"848b", 4, SHARD_REPLY_HEAD_BYTES):
        return 0
    out.req_id = get_u64(p + 1)
    out.status = get_u32(p + 10)
    out.stamp = get_u64(p + 15)
    out.reply_len = get_u32(p + 24)
    out.reply = p + SHARD_REPLY_HEAD_BYTES
    return 1


cdef size_t encode_shard_write_head(char* out, const ShardWrite* message) noexcept nogil:
    cdef char* at = out + 1
    out[0] = <char>(FIXARRAY + 12)
    at = put_u64(at, message.req_id)
    at = put_u32(at, UINT32, message.flags)
    at = put_u64(at, message.deadline_ms)
    at = put_u64(at, message.clock)
    at = put_u64(at, message.stamp)
    at = put_u64(at, message.origin_node)
    at = put_u32(at, UINT32, message.origin_boot)
    at = put_u32(at, UINT32, message.origin_worker)
    at = put_u64(at, message.sequence)
    at = put_u32(at, UINT32, message.marks)
    at = put_u32(at, UINT32, message.conflict_class)
    put_u32(at, BIN32, message.request_len)
    return SHARD_WRITE_HEAD_BYTES


cdef int decode_shard_write(const char* p, size_t n, ShardWrite* out) noexcept nogil:
    if not shape_is(p, n, b"84888844844b", 12, SHARD_WRITE_HEAD_BYTES):
        return 0
    out.req_id = get_u64(p + 1)
    out.flags = get_u32(p + 10)
    out.deadline_ms = get_u64(p + 15)
    out.clock = get_u64(p + 24)
    out.stamp = get_u64(p + 33)
    out.origin_node = get_u64(p + 42)
    out.origin_boot = get_u32(p + 51)
    out.origin_worker = get_u32(p + 56)
    out.sequence = get_u64(p + 61)
    out.marks = get_u32(p + 70)
    out.conflict_class = get_u32(p + 75)
    out.request_len = get_u32(p + 80)
    out.request = p + SHARD_WRITE_HEAD_BYTES
    return 1


cdef size_t encode_replica_reply_head(
        char* out, uint64_t req_id, uint32_t dc_index, uint32_t status, uint32_t bin_len) noexcept nogil:
    cdef char* at = out + 1
    out[0] = <char>(FIXARRAY + 4)
    at = put_u64(at, req_id)
    at = put_u32(at, UINT32, dc_index)
    at = put_u32(at, UINT32, status)
    put_u32(at, BIN32, bin_len)
    return REPLICA_REPLY_HEAD_BYTES


cdef int decode_replica_reply(const char* p, size_t n, ReplicaReply* out) noexcept nogil:
    if not shape_is(p, n, b"844b", 4, REPLICA_REPLY_HEAD_BYTES):
        return 0
    out.req_id = get_u64(p + 1)
    out.dc_index = get_u32(p + 10)
    out.status = get_u32(p + 15)
    out.reply_len = get_u32(p + 20)
    out.reply = p + REPLICA_REPLY_HEAD_BYTES
    return 1


cdef size_t encode_replicate_head(char* out, const Replicate* message) noexcept nogil:
    cdef char* at = out + 1
    out[0] = <char>(FIXARRAY + 12)
    at = put_u64(at, message.req_id)
    at = put_u64(at, message.origin_node)
    at = put_u32(at, UINT32, message.origin_boot)
    at = put_u32(at, UINT32, message.origin_worker)
    at = put_u64(at, message.sequence)
    at = put_u64(at, message.stamp)
    at = put_u32(at, UINT32, message.conflict_class)
    at = put_u32(at, UINT32, message.token)
    at = put_u64(at, message.dc_mask)
    at = put_u32(at, UINT32, message.need_ack)
    at = put_u64(at, message.deadline_ms)
    put_u32(at, BIN32, message.request_len)
    return REPLICATE_HEAD_BYTES


cdef int decode_replicate(const char* p, size_t n, Replicate* out) noexcept nogil:
    if not shape_is(p, n, b"88448844848b", 12, REPLICATE_HEAD_BYTES):
        return 0
    out.req_id = get_u64(p + 1)
    out.origin_node = get_u64(p + 10)
    out.origin_boot = get_u32(p + 19)
    out.origin_worker = get_u32(p + 24)
    out.sequence = get_u64(p + 29)
    out.stamp = get_u64(p + 38)
    out.conflict_class = get_u32(p + 47)
    out.token = get_u32(p + 52)
    out.dc_mask = get_u64(p + 57)
    out.need_ack = get_u32(p + 66)
    out.deadline_ms = get_u64(p + 71)
    out.request_len = get_u32(p + 80)
    out.request = p + REPLICATE_HEAD_BYTES
    return 1


cdef size_t encode_hint_head(char* out, const Hint* message) noexcept nogil:
    cdef char* at = out + 1
    out[0] = <char>(FIXARRAY + 10)
    at = put_u32(at, UINT32, message.kind)
    at[0] = <char>STR8
    at[1] = <char>message.node_len
    memcpy(at + 2, message.node, message.node_len)
    at += 2 + message.node_len
    at = put_u64(at, message.origin_node)
    at = put_u32(at, UINT32, message.origin_boot)
    at = put_u32(at, UINT32, message.origin_worker)
    at = put_u64(at, message.sequence)
    at = put_u64(at, message.stamp)
    at = put_u32(at, UINT32, message.conflict_class)
    at = put_u32(at, UINT32, message.token)
    put_u32(at, BIN32, message.request_len)
    return HINT_FIXED_HEAD_BYTES + message.node_len


cdef int decode_hint(const char* p, size_t n, Hint* out) noexcept nogil:
    cdef size_t head
    if (n < HINT_FIXED_HEAD_BYTES or <unsigned char>p[0] != FIXARRAY + 10 or <unsigned char>p[1] != UINT32
            or <unsigned char>p[6] != STR8):
        return 0
    out.node_len = <unsigned char>p[7]
    head = HINT_FIXED_HEAD_BYTES + out.node_len
    if n < head or not markers_are(p, n, 8 + out.node_len, b"8448844b", 8, head):
        return 0
    out.kind = get_u32(p + 1)
    out.node = p + 8
    out.request = p + head
    p = out.node + out.node_len
    out.origin_node = get_u64(p)
    out.origin_boot = get_u32(p + 9)
    out.origin_worker = get_u32(p + 14)
    out.sequence = get_u64(p + 19)
    out.stamp = get_u64(p + 28)
    out.conflict_class = get_u32(p + 37)
    out.token = get_u32(p + 42)
    out.request_len = get_u32(p + 47)
    return 1


cdef size_t hint_head_of(char* head, tuple values, uint32_t value_len) except 0:
    """The head of a hint with these fields."""
    cdef Hint hint
    cdef bytes node
    hint.kind = values[0]
    node = values[1].encode()
    if len(node) > HINT_NODE_BYTES_MAX:
        raise OverflowError(f"a node's name of {len(node)} bytes")
    hint.node = node
    hint.node_len = <uint32_t>len(node)
    (hint.origin_node, hint.origin_boot, hint.origin_worker, hint.sequence, hint.stamp, hint.conflict_class,
     hint.token) = values[2:9]
    hint.request_len = value_len
    return encode_hint_head(head, &hint)


def encode_hot(int message_id, tuple values) -> bytes:
    """Payload of a hot message as the hot path writes it; the last value is the bytes."""
    cdef char head[HINT_HEAD_BYTES_MAX]
    cdef size_t head_len
    cdef Replicate replicate
    cdef ShardWrite shard
    cdef bytes value
    cdef uint32_t value_len
    if message_id not in HOT_MESSAGES:
        raise KeyError(message_id)
    value = values[len(values) - 1]
    value_len = len(value)
    if message_id == MESSAGE_SHARD_REQUEST:
        head_len = encode_shard_request_head(head, values[0], values[1], values[2], value_len)
    elif message_id == MESSAGE_SHARD_REPLY:
        head_len = encode_shard_reply_head(head, values[0], values[1], values[2], value_len)
    elif message_id == MESSAGE_REPLICA_REPLY:
        head_len = encode_replica_reply_head(head, values[0], values[1], values[2], value_len)
    elif message_id == MESSAGE_SHARD_WRITE:
        (shard.req_id, shard.flags, shard.deadline_ms, shard.clock, shard.stamp, shard.origin_node, shard.origin_boot,
         shard.origin_worker, shard.sequence, shard.marks, shard.conflict_class, _) = values
        shard.request_len = value_len
        head_len = encode_shard_write_head(head, &shard)
    elif message_id == MESSAGE_HINT:
        head_len = hint_head_of(head, values, value_len)
    else:
        (replicate.req_id, replicate.origin_node, replicate.origin_boot, replicate.origin_worker, replicate.sequence,
         replicate.stamp, replicate.conflict_class, replicate.token, replicate.dc_mask, replicate.need_ack,
         replicate.deadline_ms, _) = values
        replicate.request_len = value_len
        head_len = encode_replicate_head(head, &replicate)
    payload = PyBytes_FromStringAndSize(NULL, head_len + value_len)
    memcpy(PyBytes_AS_STRING(payload), head, head_len)
    memcpy(PyBytes_AS_STRING(payload) + head_len, PyBytes_AS_STRING(value), value_len)
    return payload


def decode_hot(int message_id, bytes payload) -> tuple | None:
    """Fields of a hot message, or None for a payload that its encoder would not have written."""
    cdef const char* p = PyBytes_AS_STRING(payload)
    cdef size_t n = len(payload)
    cdef ShardRequest request
    cdef ShardReply reply
    cdef ReplicaReply replica
    cdef Replicate write
    cdef ShardWrite shard
    cdef Hint hint
    if message_id == MESSAGE_SHARD_REQUEST:
        if not decode_shard_request(p, n, &request):
            return None
        return (request.req_id, request.flags, request.deadline_ms, request.request[:request.request_len])
    if message_id == MESSAGE_SHARD_REPLY:
        if not decode_shard_reply(p, n, &reply):
            return None
        return (reply.req_id, reply.status, reply.stamp, reply.reply[:reply.reply_len])
    if message_id == MESSAGE_SHARD_WRITE:
        if not decode_shard_write(p, n, &shard):
            return None
        return (shard.req_id, shard.flags, shard.deadline_ms, shard.clock, shard.stamp, shard.origin_node,
                shard.origin_boot, shard.origin_worker, shard.sequence, shard.marks, shard.conflict_class,
                shard.request[:shard.request_len])
    if message_id == MESSAGE_REPLICA_REPLY:
        if not decode_replica_reply(p, n, &replica):
            return None
        return (replica.req_id, replica.dc_index, replica.status, replica.reply[:replica.reply_len])
    if message_id == MESSAGE_REPLICATE:
        if not decode_replicate(p, n, &write):
            return None
        return (write.req_id, write.origin_node, write.origin_boot, write.origin_worker, write.sequence, write.stamp,
                write.conflict_class, write.token, write.dc_mask, write.need_ack, write.deadline_ms,
                write.request[:write.request_len])
    if message_id == MESSAGE_HINT:
        if not decode_hint(p, n, &hint):
            return None
        try:
            node = hint.node[:hint.node_len].decode()
        except UnicodeDecodeError:
            return None
        return (hint.kind, node, hint.origin_node, hint.origin_boot, hint.origin_worker, hint.sequence, hint.stamp,
                hint.conflict_class, hint.token, hint.request[:hint.request_len])
    raise KeyError(message_id)
