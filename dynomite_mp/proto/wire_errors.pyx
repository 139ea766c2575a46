"""Error replies as bytes: the rows of errors.WIRE_ERRORS for code that has no Python object at hand, and the replies
that name what the client sent.

    append_error(out, code)  ->  "-ERR dynomite-mp: ...; ...\\r\\n" behind what `out` holds

What a client sent goes into a reply only after CR and LF are made blanks, cut at 128 bytes as Redis does.

Invariant: whatever the arguments hold, exactly one line is appended, or nothing and -1.
"""

from libc.stdint cimport uint8_t, uint16_t

from dynomite_mp.errors import WIRE_ERRORS, WIRE_ERRORS_BY_CODE, ProtocolError
from dynomite_mp.proto.buffer cimport (
    Buf,
    buf_append,
    buf_free,
    buf_init,
    buf_len,
    buf_produce,
    buf_ptr,
    buf_reserve,
    buf_tail,
)
from dynomite_mp.proto.command_lookup cimport CommandRow, command_lookup, command_row
from dynomite_mp.proto.resp cimport (
    FRAME_OK,
    ArgWalk,
    RequestScan,
    Span,
    next_request,
    request_scan_reset,
    walk_args,
    walk_next,
)

cdef enum:
    MOST_ROWS = 256
    QUOTED_BYTES = 128

cdef const char* TEXT[MOST_ROWS]
cdef uint16_t TEXT_LEN[MOST_ROWS]
cdef uint8_t CLOSES[MOST_ROWS]
cdef uint16_t ROWS = 0
_TEXTS = [row.text.encode() for row in WIRE_ERRORS_BY_CODE]

# The texts of Redis that are completed, cut at what completes them.
_COMMAND = WIRE_ERRORS["unknown_command"].text.encode().replace(b"{args}", b"").split(b"{name}")
_SUBCOMMAND = WIRE_ERRORS["unknown_subcommand"].text.encode().replace(b"{container}", b"{name}").split(b"{name}")
_ARITY = WIRE_ERRORS["wrong_arity"].text.encode().split(b"{name}")
_EXPECTED = WIRE_ERRORS["protocol_expected_bulk"].text.encode().split(b"{got}")
cdef const char* COMMAND_HEAD = _COMMAND[0]
cdef const char* COMMAND_TAIL = _COMMAND[1]
cdef const char* SUBCOMMAND_HEAD = _SUBCOMMAND[0]
cdef const char* SUBCOMMAND_MIDDLE = _SUBCOMMAND[1]
cdef const char* SUBCOMMAND_TAIL = _SUBCOMMAND[2]
cdef const char* ARITY_HEAD = _ARITY[0]
cdef const char* ARITY_TAIL = _ARITY[1]
cdef const char* EXPECTED_HEAD = _EXPECTED[0]
cdef const char* EXPECTED_TAIL = _EXPECTED[1]
cdef uint16_t E_EXPECTED_BULK = WIRE_ERRORS["protocol_expected_bulk"].code


def _build():
    global ROWS
    for place, row in enumerate(WIRE_ERRORS_BY_CODE):
        TEXT[place + 1] = <const char*>_TEXTS[place]
        TEXT_LEN[place + 1] = len(_TEXTS[place])
        CLOSES[place + 1] = row.closes
    ROWS = len(WIRE_ERRORS_BY_CODE)


_build()


cdef const char* error_text(uint16_t code, size_t* n) noexcept nogil:
    if code == 0 or code > ROWS:
        n[0] = 0
        return b""
    n[0] = TEXT_LEN[code]
    return TEXT[code]


cdef bint error_closes(uint16_t code) noexcept nogil:
    return 0 < code <= ROWS and CLOSES[code]


cdef int append_error(Buf* out, uint16_t code) noexcept nogil:
    cdef size_t n
    cdef const char* text = error_text(code, &n)
    if n == 0:
        text = b"-ERR unknown: Unknown Error"
        n = 27
    if buf_reserve(out, n + 2) < 0:
        return -1
    buf_append(out, text, n)
    return buf_append(out, b"\r\n", 2)


cdef void append_text(Buf* out, const char* text) noexcept nogil:
    # Room is reserved by the caller.
    cdef size_t n = 0
    while text[n]:
        n += 1
    buf_append(out, text, n)


cdef size_t append_quoted(Buf* out, const char* p, size_t n, bint upper) noexcept nogil:
    # What a client sent, made harmless and, as Redis does, up to a null; room is reserved by the caller. Its length.
    cdef char* to = buf_tail(out)
    cdef size_t i
    cdef char c
    if n > QUOTED_BYTES:
        n = QUOTED_BYTES
    for i in range(n):
        c = p[i]
        if c == 0:
            n = i
            break
        if c == 13 or c == 10:
            c = c' '
        elif upper and c >= c'a' and c <= c'z':
            c -= 32
        to[i] = c
    buf_produce(out, n)
    return n


cdef int append_unknown_command(Buf* out, const char* p, const RequestScan* s) noexcept nogil:
    cdef ArgWalk w
    cdef Span arg
    cdef size_t quoted = 0
    # Head and tail, the name, and arguments until 128 bytes of them are quoted: the last may be 128 more.
    if buf_reserve(out, 1024) < 0:
        return -1
    walk_args(&w, p, s)
    walk_next(&w, &arg)
    append_text(out, COMMAND_HEAD)
    append_quoted(out, p + arg.off, arg.len, False)
    append_text(out, COMMAND_TAIL)
    while quoted < QUOTED_BYTES and walk_next(&w, &arg):
        if arg.len > QUOTED_BYTES - quoted:
            arg.len = QUOTED_BYTES - quoted
        append_text(out, b"'")
        quoted += append_quoted(out, p + arg.off, arg.len, False) + 3
        append_text(out, b"' ")
    append_text(out, b"\r\n")
    return 0


cdef int append_unknown_subcommand(
    Buf* out, const CommandRow* container, const char* p, const RequestScan* s
) noexcept nogil:
    if buf_reserve(out, 512) < 0:
        return -1
    append_text(out, SUBCOMMAND_HEAD)
    if s.argc > 1:
        append_quoted(out, p + s.args[1].off, s.args[1].len, False)
    append_text(out, SUBCOMMAND_MIDDLE)
    append_quoted(out, container.name, container.name_len, True)
    append_text(out, SUBCOMMAND_TAIL)
    append_text(out, b"\r\n")
    return 0


cdef int append_wrong_arity(Buf* out, const CommandRow* row) noexcept nogil:
    if buf_reserve(out, 512) < 0:
        return -1
    append_text(out, ARITY_HEAD)
    append_quoted(out, row.name, row.name_len, False)
    append_text(out, ARITY_TAIL)
    append_text(out, b"\r\n")
    return 0


cdef int append_protocol_error(Buf* out, uint16_t code, const RequestScan* s) noexcept nogil:
    cdef char found
    if code != E_EXPECTED_BULK:
        return append_error(out, code)
    if buf_reserve(out, 512) < 0:
        return -1
    found = <char>s.number
    append_text(out, EXPECTED_HEAD)
    append_quoted(out, &found, 1, False)
    append_text(out, EXPECTED_TAIL)
    append_text(out, b"\r\n")
    return 0


def error_line(code):
    """The reply line of a code, CRLF included."""
    cdef Buf out
    buf_init(&out)
    try:
        if append_error(&out, code) < 0:
            raise MemoryError
        return buf_ptr(&out)[:buf_len(&out)]
    finally:
        buf_free(&out)


def complaint(kind, bytes frame):
    """The reply to a whole request in array form: kind is unknown_command, unknown_subcommand or wrong_arity."""
    cdef Buf out
    cdef RequestScan s
    cdef const char* p = frame
    cdef CommandRow* row
    request_scan_reset(&s)
    if next_request(p, len(frame), &s) != FRAME_OK or s.is_inline or s.argc == 0:
        raise ProtocolError("not one whole request in array form")
    row = command_row(command_lookup(p + s.args[0].off, s.args[0].len))
    if row == NULL and kind != "unknown_command":
        raise ProtocolError("unknown command")
    buf_init(&out)
    try:
        if kind == "unknown_command":
            append_unknown_command(&out, p, &s)
        elif kind == "unknown_subcommand":
            append_unknown_subcommand(&out, row, p, &s)
        else:
            append_wrong_arity(&out, row)
        return buf_ptr(&out)[:buf_len(&out)]
    finally:
        buf_free(&out)
