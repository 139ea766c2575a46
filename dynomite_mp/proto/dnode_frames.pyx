"""Python face of peer frames: for the processes off the hot path, for tests, tools and measurements.

    bytes of a connection --> DnodeFramer.feed() --> [DnodeFrame, ...]         encode_frame() --> bytes of a connection

Everything is decided in dnode.pyx; here its results become objects. The end of a payload whose length cannot be trusted
is found by resp.pyx, so plaintext requests and replies of C nodes are RESP here, not memcached.

This is not a place that decrypts (dnode_crypto.py) or knows sockets.

Invariants: a framer gives each byte to at most one frame; after an error it gives back nothing more.
"""

from collections import namedtuple

from libc.stdint cimport int64_t, uint64_t

from dynomite_mp.errors import ProtocolError
from dynomite_mp.proto.buffer cimport buf_append, buf_consume, buf_free, buf_init, buf_len, buf_ptr
from dynomite_mp.proto.dnode cimport (
    DNODE_DATA_LENGTH,
    DNODE_DATA_MOST,
    DNODE_HEADER_MOST,
    DNODE_JUNK,
    DNODE_PAYLOAD_LENGTH,
    DNODE_REQ,
    DNODE_RES,
    DNODE_VERSION_C,
    DNODE_VERSION_OURS,
    EXTENSION_MOST,
    DnodeScan,
    Extension,
    decode_extension,
    dnode_payload_is_exact,
    dnode_scan_reset,
    encode_dnode,
    encode_extension,
    is_one_reply,
    is_one_request,
    next_dnode,
)
from dynomite_mp.proto.resp cimport (
    FRAME_ERROR,
    FRAME_MORE,
    FRAME_OK,
    next_reply,
    next_request,
    reply_scan_reset,
    request_scan_reset,
)

DnodeFrame = namedtuple("DnodeFrame", "id type flags version same_dc data payload skipped")
ExtensionFields = namedtuple(
    "ExtensionFields",
    "fields clock flags protocol stamp origin_node origin_boot origin_worker sequence conflict_class epoch data_set "
    "version run",
    defaults=(0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0),
)
cdef dict ERROR_NAMES = {
    DNODE_JUNK: "no frame header",
    DNODE_DATA_LENGTH: "data field too long",
    DNODE_PAYLOAD_LENGTH: "payload too long",
}


cdef class DnodeFramer:
    """Takes the bytes of one peer connection in pieces and gives back whole frames; stops for good at an error."""

    def __cinit__(self):
        buf_init(&self.buf)
        self.next_frame()
        self.error = None
        self.consumed = 0

    def __dealloc__(self):
        buf_free(&self.buf)

    cdef void next_frame(self) noexcept nogil:
        dnode_scan_reset(&self.scan)
        request_scan_reset(&self.request)
        reply_scan_reset(&self.reply)
        self.has_header = False

    cdef int payload_end(self, size_t* payload_len) noexcept nogil:
        cdef const char* p = buf_ptr(&self.buf) + self.scan.pos
        cdef size_t n = buf_len(&self.buf) - self.scan.pos
        cdef int got
        if dnode_payload_is_exact(&self.scan):
            payload_len[0] = self.scan.payload_len
            return FRAME_OK if n >= self.scan.payload_len else FRAME_MORE
        if self.scan.type == DNODE_RES:
            got = next_reply(p, n, &self.reply)
            payload_len[0] = self.reply.pos
            return got
        got = next_request(p, n, &self.request)
        payload_len[0] = self.request.pos
        return got

    def feed(self, bytes data) -> list:
        cdef int got
        cdef size_t payload_len = 0
        cdef const char* p
        if buf_append(&self.buf, data, len(data)) < 0:
            raise MemoryError
        frames = []
        while self.error is None:
            if not self.has_header:
                got = next_dnode(buf_ptr(&self.buf), buf_len(&self.buf), &self.scan)
                if got == FRAME_ERROR:
                    self.error = ERROR_NAMES[self.scan.error]
                if got != FRAME_OK:
                    break
                self.has_header = True
            got = self.payload_end(&payload_len)
            if got == FRAME_ERROR:
                self.error = "malformed payload"
            if got != FRAME_OK:
                break
            p = buf_ptr(&self.buf)
            frames.append(DnodeFrame(
                self.scan.id, self.scan.type, self.scan.flags, self.scan.version, bool(self.scan.same_dc),
                p[self.scan.data_off:self.scan.data_off + self.scan.data_len],
                p[self.scan.pos:self.scan.pos + payload_len], self.scan.skipped,
            ))
            self.consumed += self.scan.pos + payload_len
            buf_consume(&self.buf, self.scan.pos + payload_len)
            self.next_frame()
        return frames


def frame_dnode(data):
    """All frames of `data`, the bytes they take, and what ends them or None."""
    framer = DnodeFramer()
    frames = framer.feed(data)
    return frames, framer.consumed, framer.error


def encode_frame(uint64_t id, int type, bytes payload, *, int flags=0, int version=DNODE_VERSION_C, bint same_dc=True,
                 bytes data=b"d") -> bytes:
    """One whole frame."""
    cdef char small[DNODE_HEADER_MOST + EXTENSION_MOST]
    cdef size_t data_len = len(data)
    if not 0 < data_len <= <size_t>DNODE_DATA_MOST:
        raise ProtocolError(f"a data field of {data_len} bytes")
    if data_len <= EXTENSION_MOST:
        return small[:encode_dnode(small, id, type, flags, version, same_dc, data, data_len, len(payload))] + payload
    large = bytearray(DNODE_HEADER_MOST + data_len)
    size = encode_dnode(large, id, type, flags, version, same_dc, data, data_len, len(payload))
    return bytes(large[:size]) + payload


def pack_extension(fields) -> bytes:
    """The bytes of an ExtensionFields; its version is the encoder's own."""
    cdef char out[EXTENSION_MOST]
    cdef Extension e
    (e.fields, e.clock, e.flags, e.protocol, e.stamp, e.origin_node, e.origin_boot, e.origin_worker, e.sequence,
     e.conflict_class, e.epoch, e.data_set, e.version, e.run) = fields
    return out[:encode_extension(out, &e)]


def unpack_extension(bytes data):
    """ExtensionFields of a data field, or None for one that holds no extension."""
    cdef Extension e
    if not decode_extension(data, len(data), &e):
        return None
    return ExtensionFields(
        e.fields, e.clock, e.flags, e.protocol, e.stamp, e.origin_node, e.origin_boot, e.origin_worker, e.sequence,
        e.conflict_class, e.epoch, e.data_set, e.version, e.run,
    )


def whole_request(bytes payload) -> bool:
    """Whether these bytes are exactly one request in array form."""
    return is_one_request(payload, len(payload))


def whole_reply(bytes payload) -> bool:
    """Whether these bytes are exactly one reply."""
    return is_one_reply(payload, len(payload))


def time_headers(bytes data, int64_t rounds) -> int:
    """Reads a buffer of frames with exact payload lengths `rounds` times; their number: for the benchmark."""
    cdef const char* p = data
    cdef size_t n = len(data)
    cdef size_t at
    cdef DnodeScan s
    cdef int64_t _r, count = 0
    with nogil:
        for _r in range(rounds):
            at = 0
            while at < n:
                dnode_scan_reset(&s)
                if next_dnode(p + at, n - at, &s) != FRAME_OK:
                    break
                at += s.pos + s.payload_len
                count += 1
    return count


def time_encode(uint64_t id, bytes data, int64_t rounds) -> int:
    """Writes `rounds` headers; the bytes they take: for the benchmark."""
    cdef char out[DNODE_HEADER_MOST + EXTENSION_MOST]
    cdef const char* p = data
    cdef size_t n = len(data)
    cdef size_t total = 0
    cdef int64_t r
    if n > EXTENSION_MOST:
        raise ProtocolError(f"a data field of {n} bytes")
    with nogil:
        for r in range(rounds):
            total += encode_dnode(out, id + r, DNODE_REQ, 0, DNODE_VERSION_OURS, 1, p, n, 22)
    return total


def time_extension(fields, int64_t rounds, bint decode) -> int:
    """Writes an extension `rounds` times, and reads each if told to; the bytes they take: for the benchmark."""
    cdef char out[EXTENSION_MOST]
    cdef Extension e
    cdef Extension back
    cdef size_t n = 0
    cdef size_t total = 0
    cdef int64_t _r
    (e.fields, e.clock, e.flags, e.protocol, e.stamp, e.origin_node, e.origin_boot, e.origin_worker, e.sequence,
     e.conflict_class, e.epoch, e.data_set, e.version, e.run) = fields
    with nogil:
        for _r in range(rounds):
            e.clock += 1
            n = encode_extension(out, &e)
            if decode and not decode_extension(out, n, &back):
                break
            total += n
    return total
