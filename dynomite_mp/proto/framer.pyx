"""A Python face of resp.pyx: streams of bytes in pieces go in, whole requests and replies as objects come out.

    RequestFramer().feed(b"*1\\r\\n$4\\r\\nPI")  ->  []
                  .feed(b"NG\\r\\n")              ->  [RequestFrame([b"PING"], raw, False)]

Tests, the fuzzer, the benchmark and cold answers (COMMAND GETKEYS) use it. The data plane does not: it makes no object
for a frame. What two parts of resp.pyx say about one frame is compared on the way, so everything that feeds a framer
checks that, too.

Invariant: a framer that met an error gives nothing more.
"""

from collections import namedtuple

from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from dynomite_mp.errors import WIRE_ERRORS_BY_CODE, InternalError, ProtocolError
from dynomite_mp.proto.buffer cimport Buf, buf_append, buf_consume, buf_free, buf_init, buf_len, buf_ptr
from dynomite_mp.proto.command_lookup cimport CommandRow, command_lookup, command_row, subcommand_lookup
from dynomite_mp.proto.resp cimport (
    FRAME_ERROR,
    FRAME_MORE,
    FRAME_OK,
    SCAN_ARGS,
    ArgWalk,
    KeyWalk,
    ReplyScan,
    RequestScan,
    Span,
    inline_to_array,
    next_reply,
    next_request,
    reply_scan_reset,
    request_key,
    request_refusal,
    request_scan_reset,
    walk_args,
    walk_key,
    walk_keys,
    walk_next,
)

RequestFrame = namedtuple("RequestFrame", "args raw is_inline")
ReplyFrame = namedtuple("ReplyFrame", "kind is_push is_error has_attribute raw")
FrameKeys = namedtuple("FrameKeys", "keys places error refusal")


cdef inline bytes cut(const char* p, const Span* at):
    return p[at.off:at.off + at.len]


cdef list array_args(const char* p, const RequestScan* s):
    # All arguments of a complete array; the places that the scan remembers have to agree with the walk.
    cdef ArgWalk w
    cdef Span arg
    out = []
    walk_args(&w, p, s)
    while walk_next(&w, &arg):
        if len(out) < SCAN_ARGS and (s.args[len(out)].off != arg.off or s.args[len(out)].len != arg.len):
            raise InternalError(f"argument {len(out)} lies in two places")
        out.append(cut(p, &arg))
    return out


cdef list inline_args(const char* p, const RequestScan* s):
    cdef Buf out
    cdef RequestScan again
    buf_init(&out)
    request_scan_reset(&again)
    try:
        if inline_to_array(p, s, &out) == 0:
            raise MemoryError
        if next_request(buf_ptr(&out), buf_len(&out), &again) != FRAME_OK or again.pos != buf_len(&out):
            raise InternalError("an inline command became a broken array")
        return array_args(buf_ptr(&out), &again)
    finally:
        buf_free(&out)


cdef class RequestFramer:
    """Takes a stream of request bytes in pieces and gives back whole requests; stops for good at the first error."""

    def __cinit__(self):
        buf_init(&self.buf)
        request_scan_reset(&self.scan)

    def __dealloc__(self):
        buf_free(&self.buf)

    def feed(self, bytes data):
        """The requests that this piece completes; `error` is the name of a wire error afterwards, or None."""
        cdef const char* p
        cdef int got
        out = []
        if buf_append(&self.buf, data, len(data)) < 0:
            raise MemoryError
        while self.error is None:
            p = buf_ptr(&self.buf)
            got = next_request(p, buf_len(&self.buf), &self.scan)
            if got == FRAME_MORE:
                break
            if got == FRAME_ERROR:
                self.error = WIRE_ERRORS_BY_CODE[self.scan.error_code - 1].name
                break
            if self.scan.argc == 0:
                args = []
            else:
                args = inline_args(p, &self.scan) if self.scan.is_inline else array_args(p, &self.scan)
            out.append(RequestFrame(args, p[:self.scan.pos], bool(self.scan.is_inline)))
            self.consumed += self.scan.pos
            buf_consume(&self.buf, self.scan.pos)
            request_scan_reset(&self.scan)
        return out


cdef class ReplyFramer:
    """Takes a stream of reply bytes in pieces and gives back whole replies; stops for good at the first error."""

    def __cinit__(self):
        buf_init(&self.buf)
        reply_scan_reset(&self.scan)

    def __dealloc__(self):
        buf_free(&self.buf)

    def feed(self, bytes data):
        """The replies that this piece completes; `error` is the name of a wire error afterwards, or None."""
        cdef int got
        out = []
        if buf_append(&self.buf, data, len(data)) < 0:
            raise MemoryError
        while self.error is None:
            got = next_reply(buf_ptr(&self.buf), buf_len(&self.buf), &self.scan)
            if got == FRAME_MORE:
                break
            if got == FRAME_ERROR:
                self.error = WIRE_ERRORS_BY_CODE[self.scan.error_code - 1].name
                break
            out.append(ReplyFrame(
                chr(self.scan.kind), bool(self.scan.is_push), bool(self.scan.is_error), bool(self.scan.has_attribute),
                buf_ptr(&self.buf)[:self.scan.pos],
            ))
            self.consumed += self.scan.pos
            buf_consume(&self.buf, self.scan.pos)
            reply_scan_reset(&self.scan)
        return out


def frame_requests(data):
    """All requests of `data`, the bytes they take, and the name of the wire error that ends them or None."""
    framer = RequestFramer()
    frames = framer.feed(data)
    return frames, framer.consumed, framer.error


def frame_replies(data):
    """All replies of `data`, the bytes they take, and the name of the wire error that ends them or None."""
    framer = ReplyFramer()
    frames = framer.feed(data)
    return frames, framer.consumed, framer.error


def frame_keys(bytes frame):
    """The keys of one whole request in array form, by the command table; ProtocolError for anything else.

    `error` names the wire error of malformed arguments, `refusal` the one of arguments that are not served.
    """
    cdef const char* p = frame
    cdef RequestScan s
    cdef CommandRow* row
    cdef KeyWalk w
    cdef Span key
    cdef int64_t index
    cdef uint32_t id
    cdef int got, first
    cdef uint16_t code
    request_scan_reset(&s)
    if next_request(p, len(frame), &s) != FRAME_OK or s.pos != <size_t>len(frame) or s.is_inline or s.argc == 0:
        raise ProtocolError("not one whole request in array form")
    row = command_row(command_lookup(p + s.args[0].off, s.args[0].len))
    if row != NULL and row.is_container and s.argc > 1:
        id = subcommand_lookup(row.id, p + s.args[1].off, s.args[1].len)
        row = command_row(id)
    if row == NULL:
        raise ProtocolError("unknown command")
    keys = []
    places = []
    got = walk_keys(&w, p, &s, row)
    error = WIRE_ERRORS_BY_CODE[s.error_code - 1].name if got < 0 else None
    while got > 0 and walk_key(&w, &key, &index):
        keys.append(cut(p, &key))
        places.append(index)
    first = request_key(p, &s, row, &key)
    if first != got or (first > 0 and (not keys or cut(p, &key) != keys[0])):
        raise InternalError("the first key is found in two places")
    code = request_refusal(p, &s, row) if row.options else 0
    return FrameKeys(keys, places, error, WIRE_ERRORS_BY_CODE[code - 1].name if code else None)


def frame_blind(bytes data, cuts, bint replies):
    """Frames the first request (in array form) or reply of `data`, handed over up to each cut in turn, each time in
    memory of just that size in which the bytes that the scan has passed are overwritten, all but the last. A scan that
    looks back is found out, and with the address sanitizer one that looks ahead.

    Returns the outcome, and the length unless that is an error.
    """
    cdef const char* p = data
    cdef char* copy
    cdef RequestScan request
    cdef ReplyScan reply
    cdef size_t done = 0
    cdef size_t upto
    cdef int got = FRAME_MORE
    request_scan_reset(&request)
    reply_scan_reset(&reply)
    for upto in (*cuts, len(data)):
        copy = <char*>malloc(upto)
        if copy == NULL and upto:
            raise MemoryError
        memcpy(copy, p, upto)
        if done > 1:
            memset(copy, 0xFF, done - 1)
        if replies:
            got = next_reply(copy, upto, &reply)
            done = reply.pos
        else:
            got = next_request(copy, upto, &request)
            done = request.pos
        free(copy)
        if got != FRAME_MORE:
            break
    return got, 0 if got == FRAME_ERROR else done


def time_requests(bytes data, int64_t rounds):
    """Frames a buffer of whole requests `rounds` times and returns their number: for the benchmark."""
    cdef const char* p = data
    cdef size_t n = len(data)
    cdef size_t at
    cdef RequestScan s
    cdef int64_t _, count = 0
    with nogil:
        for _ in range(rounds):
            at = 0
            while at < n:
                request_scan_reset(&s)
                if next_request(p + at, n - at, &s) != FRAME_OK:
                    break
                at += s.pos
                count += 1
    return count


def time_replies(bytes data, int64_t rounds):
    """Frames a buffer of whole replies `rounds` times and returns their number: for the benchmark."""
    cdef const char* p = data
    cdef size_t n = len(data)
    cdef size_t at
    cdef ReplyScan s
    cdef int64_t _, count = 0
    with nogil:
        for _ in range(rounds):
            at = 0
            while at < n:
                reply_scan_reset(&s)
                if next_reply(p + at, n - at, &s) != FRAME_OK:
                    break
                at += s.pos
                count += 1
    return count
