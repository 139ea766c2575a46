"""What a write that is not executed should have answered, read back from the datastore.

What it is: a table. A replica skips a write whose effect it already has, by a copy of the key, or which a newer one has
wiped. Its client is still to get an answer of the kind that it expects, as close to the truth as it can be told:

    INCR, DECR, INCRBY, DECRBY k        GET k as an integer         HINCRBY k f n       HGET k f as an integer
    INCRBYFLOAT k n                     GET k                       HINCRBYFLOAT k f n  HGET k f
    APPEND, SETRANGE k ..               STRLEN k                    ZINCRBY k n m       ZSCORE k m
    LPUSH, RPUSH, LPUSHX, RPUSHX, LINSERT k ..   LLEN k
    SADD, HDEL, ZADD, EXPIRE ..         :0, as when they find done what they are to do

What it is not: nothing here is written, and it does not say whether a write is to be skipped (cluster.write_table).
"""

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memchr, memset

from dynomite_mp.proto.buffer cimport Buf, ByteBuffer, buf_append, buf_len, buf_ptr
from dynomite_mp.proto.command_lookup cimport command_lookup
from dynomite_mp.proto.request_writer cimport put_arg, put_array, put_word
from dynomite_mp.proto.resp cimport FRAME_OK, ArgWalk, RequestScan, Span, next_request, walk_args, walk_next

from dynomite_mp.errors import InternalError
from dynomite_mp.proto.commands import COMMAND_IDS

cdef enum:
    ROWS = 512

cdef struct Form:
    uint8_t kind
    uint8_t second              # argument of the write that is the read's second one, 0: none
    const char* read            # name of the read

cdef Form FORM[ROWS]

# read: (kind, its second argument, writes)
_READS = {
    b"GET": ((STAND_IN_COUNT, 0, "incr decr incrby decrby"), (STAND_IN_READ, 0, "incrbyfloat")),
    b"HGET": ((STAND_IN_COUNT, 2, "hincrby"), (STAND_IN_READ, 2, "hincrbyfloat")),
    b"ZSCORE": ((STAND_IN_READ, 3, "zincrby"),),
    b"STRLEN": ((STAND_IN_READ, 0, "append setrange"),),
    b"LLEN": ((STAND_IN_READ, 0, "lpush rpush lpushx rpushx linsert"),),
}
_NOTHING_CHANGED = (
    "setbit pfadd expire expireat pexpire pexpireat persist hdel hset hsetex lrem sadd srem zadd zrem zremrangebylex"
    " zremrangebyrank zremrangebyscore geoadd xack xdel xtrim"
)

memset(FORM, 0, sizeof(FORM))
_names = list(_READS)           # what FORM points to lives as long as this
for _read in _names:
    for _kind, _second, _writes in _READS[_read]:
        for _write in _writes.split():
            FORM[<int>COMMAND_IDS[_write]] = Form(_kind, _second, <const char*><bytes>_read)
for _write in _NOTHING_CHANGED.split():
    FORM[<int>COMMAND_IDS[_write]].kind = STAND_IN_NONE


cdef uint8_t stand_in(uint16_t command, const char* p, RequestScan* s, Buf* out) noexcept nogil:
    cdef const Form* form = &FORM[command]
    cdef ArgWalk walk
    cdef Span arg, key, second
    cdef int at = 0
    if form.read == NULL:
        return form.kind
    walk_args(&walk, p, s)
    while walk_next(&walk, &arg):
        if at == 1:
            key = arg
        if at == form.second:
            second = arg
        at += 1
    if at < 2 or at <= form.second:
        return STAND_IN_OK
    if (put_array(out, 3 if form.second else 2) < 0 or put_word(out, form.read) < 0 or put_arg(out, p, &key) < 0
            or (form.second and put_arg(out, p, &second) < 0)):
        return STAND_IN_OK
    return form.kind


cdef int stand_in_reply(uint8_t kind, const char* p, size_t n, Buf* out) noexcept nogil:
    cdef const char* digits
    if p[0] == c"-":
        return buf_append(out, b"+OK\r\n", 5)       # it is something else by now
    if p[0] == c"_" or (p[0] == c"$" and n > 1 and p[1] == c"-"):
        return buf_append(out, b":0\r\n", 4) if kind == STAND_IN_COUNT else buf_append(out, b"$1\r\n0\r\n", 7)
    if kind == STAND_IN_READ or p[0] != c"$":
        return buf_append(out, p, n)
    digits = <const char*>memchr(p, c"\n", n)
    if digits == NULL or buf_append(out, b":", 1) < 0:
        return -1
    return buf_append(out, digits + 1, n - <size_t>(digits + 1 - p))


# ---- for tests

def stand_in_of(bytes data):
    """(kind, the read or None) of a whole request in array form."""
    cdef RequestScan s
    cdef ByteBuffer out = ByteBuffer()
    cdef const char* p = data
    cdef uint8_t kind
    memset(&s, 0, sizeof(RequestScan))
    if next_request(p, len(data), &s) != FRAME_OK:
        raise InternalError("no whole request")
    kind = stand_in(<uint16_t>command_lookup(p + s.args[0].off, s.args[0].len), p, &s, &out.buf)
    return kind, buf_ptr(&out.buf)[:buf_len(&out.buf)] if buf_len(&out.buf) else None


def reply_of(int kind, bytes reply):
    """The write's reply from the read's."""
    cdef ByteBuffer out = ByteBuffer()
    if stand_in_reply(<uint8_t>kind, reply, len(reply), &out.buf) < 0:
        raise MemoryError
    return buf_ptr(&out.buf)[:buf_len(&out.buf)]
