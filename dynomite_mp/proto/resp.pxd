# Framing of RESP2 and RESP3, requests and replies: where a frame ends, where its arguments lie. See resp.pyx.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from dynomite_mp.proto.buffer cimport Buf
from dynomite_mp.proto.command_lookup cimport CommandRow


cdef enum:
    FRAME_MORE = 0              # every byte was looked at once; call again when more have come
    FRAME_OK = 1                # pos is the length of the frame
    FRAME_ERROR = -1            # error_code says why; nothing behind this point can be framed

    SCAN_ARGS = 8               # as many arguments have their place remembered


cdef struct Span:
    size_t off                  # from the first byte of the frame
    size_t len


# One request being framed. Starts as zeros (request_scan_reset, or memset); the frame starts at p[0] of every call.
# On FRAME_OK with argc == 0 (an empty line, "*0", "*-1") there is nothing to answer: skip pos bytes.
# An inline command (is_inline) has to pass through inline_to_array; its args still carry quotes.
cdef struct RequestScan:
    size_t pos                  # bytes consumed; on FRAME_OK the length of the frame
    int64_t argc                # arguments announced
    int64_t argi                # arguments complete
    int64_t bulk_left           # bytes of the current bulk string still to come, its CRLF included
    uint64_t number             # a length being read; after "expected '$'" the byte found instead
    uint16_t error_code         # code of a row of errors.WIRE_ERRORS
    uint8_t is_inline
    uint8_t phase
    uint8_t digits              # of `number`, so far
    uint8_t negative
    Span args[8]                # args[0] is the command name; argc may be smaller or larger


# One reply being framed; same life as RequestScan.
cdef struct ReplyScan:
    size_t pos
    int64_t remaining           # values still to complete
    int64_t bulk_left
    uint64_t number
    uint16_t error_code
    uint8_t kind                # first byte of the value behind any attributes
    uint8_t is_push             # out of band: answers no request
    uint8_t is_error
    uint8_t has_attribute       # attributes lie in front of the value, inside the frame
    uint8_t phase
    uint8_t current             # type byte of the value being read
    uint8_t digits
    uint8_t negative


# A walk over all arguments of a complete frame (array form).
cdef struct ArgWalk:
    const char* p
    size_t pos
    int64_t argc
    int64_t index               # of the argument that walk_next gives next


# A walk over all keys of a complete frame: a regular range, and at most one key beside it.
cdef struct KeyWalk:
    ArgWalk args
    int64_t next                # index of the next key of the range
    int64_t last                # last index that may hold one
    int64_t step
    int64_t extra               # index of the key beside the range, 0 = none


cdef inline void request_scan_reset(RequestScan* s) noexcept nogil:
    # args need no clearing: argi says how many of them hold something.
    s.pos = 0
    s.argc = 0
    s.argi = 0
    s.bulk_left = 0
    s.number = 0
    s.error_code = 0
    s.is_inline = 0
    s.phase = 0
    s.digits = 0
    s.negative = 0


cdef inline void reply_scan_reset(ReplyScan* s) noexcept nogil:
    s.pos = 0
    s.remaining = 0
    s.bulk_left = 0
    s.number = 0
    s.error_code = 0
    s.kind = 0
    s.is_push = 0
    s.is_error = 0
    s.has_attribute = 0
    s.phase = 0
    s.current = 0
    s.digits = 0
    s.negative = 0


cdef int next_request(const char* p, size_t n, RequestScan* s) noexcept nogil
cdef int next_reply(const char* p, size_t n, ReplyScan* s) noexcept nogil

# Appends a complete inline command as an array of bulk strings; bytes appended, 0 when memory is short.
cdef size_t inline_to_array(const char* p, const RequestScan* s, Buf* out) noexcept nogil

# First key of a complete frame: 1 found, 0 the command has no key here, -1 malformed (s.error_code is the answer).
cdef int request_key(const char* p, RequestScan* s, const CommandRow* row, Span* key) noexcept nogil
# Wire error code if the arguments ask for something that the row alone does not refuse (XREAD .. BLOCK, SORT .. BY or
# GET of other keys, COPY .. DB other than 0), else 0. Worth a call only if row.options is not 0.
cdef uint16_t request_refusal(const char* p, const RequestScan* s, const CommandRow* row) noexcept nogil

# Argument `index` (the command's name is 0) of a complete frame; False: there is none.
cdef bint nth_arg(const char* p, const RequestScan* s, int64_t index, Span* arg) noexcept nogil
cdef void walk_args(ArgWalk* w, const char* p, const RequestScan* s) noexcept nogil
cdef bint walk_next(ArgWalk* w, Span* arg) noexcept nogil
# 1 the walk has keys, 0 none, -1 malformed (s.error_code); then walk_key gives each key in the order of the frame.
cdef int walk_keys(KeyWalk* w, const char* p, RequestScan* s, const CommandRow* row) noexcept nogil
cdef bint walk_key(KeyWalk* w, Span* key, int64_t* index) noexcept nogil

# Case-insensitive comparison of an argument with a lower-case word.
cdef bint arg_is(const char* p, const Span* arg, const char* word) noexcept nogil
# The same for any argument behind the one with index `first`.
cdef bint has_word(const char* p, const RequestScan* s, int64_t first, const char* word) noexcept nogil
# An argument as a decimal integer, by Redis's strict rule; 1 and *value, or 0.
cdef bint arg_integer(const char* p, const Span* arg, int64_t* value) noexcept nogil

cdef void set_max_bulk(int64_t size_bytes) noexcept nogil
