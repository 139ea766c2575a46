"""Frames RESP: says where a request or a reply ends and where its arguments lie, and nothing about what they mean.

Both directions, RESP2 and RESP3, inline commands too. A scan holds all there is to know about a frame of which some
bytes have come; it starts where it stopped, looks at no byte twice, skips the bytes of bulk strings unseen, allocates
nothing and cannot recurse: nesting is a counter.

    p[0]                       pos                n
     |  *3 $3 SET $5 key:1 $9  |  val (incomplete)|
     +-------------------------+------------------+      FRAME_MORE; the next call brings the same bytes and more
            [0]     [1]

The caller keeps the frame's bytes from its first byte on (they may move between calls; offsets are relative), forwards
them as they are, and needs objects nowhere.

This is not a parser into objects (hiredis is; framer.pyx has a Python face for tests), not a place that knows
connections or time, and it frames a bulk string of any announced length without reserving room for it.

Invariants: pos <= n. Cutting the input anywhere changes no result. Whatever is accepted here a Redis server frames the
same way, byte for byte, so nothing can hide in a frame; where Redis is laxer (it does not look at the CRLF behind a
bulk string) the request is refused here.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memchr

from dynomite_mp.errors import WIRE_ERRORS
from dynomite_mp.proto.buffer cimport Buf, buf_append, buf_len, buf_produce, buf_reserve, buf_tail
from dynomite_mp.proto.command_lookup cimport (
    ACCESS_WRITE,
    KEYS_NONE,
    KEYS_NUMKEYS,
    KEYS_RANGE,
    KEYS_SORT,
    KEYS_STREAMS,
    OPTIONS_BLOCK,
    OPTIONS_DATABASE,
    OPTIONS_PATTERNS,
    CommandRow,
)

cdef enum:
    CR = 13
    LF = 10
    MOST_ARGS = 1024 * 1024
    LONGEST_INLINE = 64 * 1024
    MOST_DIGITS = 18            # a longer number is out of every range, and 18 digits fit int64
    SHORT_LINE = 32             # bytes of a line looked at one by one before memchr is worth its call

    # RequestScan.phase
    AT_START = 0
    AT_COUNT = 1                # in the number behind '*'
    AT_BULK = 2                 # before a '$'
    AT_SIZE = 3                 # in the number behind '$'
    AT_BYTES = 4                # before the bytes of a bulk string
    AT_INLINE = 5

    # ReplyScan.phase
    IN_NOTHING = 0
    IN_TYPE = 1                 # before a type byte
    IN_LINE = 2
    IN_NUMBER = 3
    IN_BYTES = 4

    # digits of a length being read
    DIGIT_ZERO = 0x40           # the number is a lone 0
    DIGIT_CR = 0x80             # the CR was seen, the LF is missing

cdef enum:
    NUMBER_MORE = 0
    NUMBER_OK = 1
    NUMBER_BAD = -1

cdef int64_t MAX_BULK = 512 * 1024 * 1024
cdef int64_t MAX_REPLY_BULK = 1 << 40
cdef int64_t MOST_VALUES = 1 << 60
cdef int64_t MOST_COUNT = (1 << 32) - 1

cdef uint16_t E_MULTIBULK = WIRE_ERRORS["protocol_multibulk_length"].code
cdef uint16_t E_BULK = WIRE_ERRORS["protocol_bulk_length"].code
cdef uint16_t E_EXPECTED_BULK = WIRE_ERRORS["protocol_expected_bulk"].code
cdef uint16_t E_BULK_END = WIRE_ERRORS["protocol_bulk_end"].code
cdef uint16_t E_INLINE = WIRE_ERRORS["protocol_inline_too_big"].code
cdef uint16_t E_QUOTES = WIRE_ERRORS["protocol_quotes"].code
cdef uint16_t E_REPLY = WIRE_ERRORS["reply_malformed"].code
cdef uint16_t E_SYNTAX = WIRE_ERRORS["syntax_error"].code
cdef uint16_t E_INTEGER = WIRE_ERRORS["not_an_integer"].code
cdef uint16_t E_NUMKEYS_NEGATIVE = WIRE_ERRORS["numkeys_negative"].code
cdef uint16_t E_NUMKEYS_LARGE = WIRE_ERRORS["numkeys_too_large"].code
cdef uint16_t E_STREAMS = WIRE_ERRORS["unbalanced_streams"].code
cdef uint16_t E_BLOCKING = WIRE_ERRORS["blocking_not_built"].code
cdef uint16_t E_PATTERNS = WIRE_ERRORS["sort_by_other_keys"].code
cdef uint16_t E_DATABASE = WIRE_ERRORS["one_database"].code


cdef void set_max_bulk(int64_t size_bytes) noexcept nogil:
    global MAX_BULK
    MAX_BULK = size_bytes


# ---------------------------------------------------------------------------------------------------- lengths


cdef inline int read_number(
    const char* p, size_t n, size_t* at, uint64_t* number, uint8_t* digits, uint8_t* negative
) noexcept nogil:
    # A decimal number and its CRLF, by Redis's strict rule: no plus, no leading zero, no "-0". Resumable; at, number,
    # digits and negative say how far it got.
    cdef size_t pos = at[0]
    cdef uint64_t value = number[0]
    cdef uint8_t seen = digits[0]
    cdef uint8_t digit
    while pos < n:
        digit = <uint8_t>(p[pos]) - 48
        pos += 1
        if digit <= 9:
            if seen >= MOST_DIGITS:     # also: behind a lone zero, behind the CR
                return NUMBER_BAD
            if digit == 0 and seen == 0:
                if negative[0]:
                    return NUMBER_BAD
                seen = DIGIT_ZERO
                continue
            value = value * 10 + digit
            seen += 1
        elif seen & DIGIT_CR:
            if digit != <uint8_t>(LF - 48):
                return NUMBER_BAD
            at[0] = pos
            number[0] = value
            return NUMBER_OK
        elif digit == <uint8_t>(CR - 48):
            if seen == 0:
                return NUMBER_BAD
            seen |= DIGIT_CR
        elif digit == <uint8_t>(45 - 48) and seen == 0 and not negative[0]:
            negative[0] = 1
        else:
            return NUMBER_BAD
    at[0] = pos
    number[0] = value
    digits[0] = seen
    return NUMBER_MORE


cdef inline int64_t short_number(const char* p, size_t n, size_t* at) noexcept nogil:
    # A number of one or two digits whose CRLF has come, which most lengths are; -1 and no step for anything else.
    cdef size_t pos = at[0]
    cdef uint8_t a, b
    if n - pos < 4:
        return -1
    a = <uint8_t>(p[pos]) - 48
    if a > 9:
        return -1
    if p[pos + 1] == CR:
        if p[pos + 2] != LF:
            return -1
        at[0] = pos + 3
        return a
    b = <uint8_t>(p[pos + 1]) - 48
    if b > 9 or a == 0 or p[pos + 2] != CR or p[pos + 3] != LF:
        return -1
    at[0] = pos + 4
    return a * 10 + b


# ---------------------------------------------------------------------------------------------------- requests


cdef inline int refuse(RequestScan* s, uint16_t code) noexcept nogil:
    s.error_code = code
    return FRAME_ERROR


cdef inline int open_request(const char* p, size_t n, RequestScan* s) noexcept nogil:
    # The head of a frame. FRAME_OK: argc is known, which may be 0. An inline command only gets its phase.
    cdef size_t pos = s.pos
    cdef int got
    if s.phase == AT_START:
        if n == 0:
            return FRAME_MORE
        if p[0] != c'*':
            s.phase = AT_INLINE
            s.is_inline = 1
            return FRAME_MORE
        pos = 1
        s.argc = short_number(p, n, &pos)
        if s.argc > 0:
            s.pos = pos
            s.phase = AT_BULK
            return FRAME_OK
        pos = 1
        s.phase = AT_COUNT
    got = read_number(p, n, &pos, &s.number, &s.digits, &s.negative)
    s.pos = pos
    if got == NUMBER_MORE:
        return FRAME_MORE
    if got == NUMBER_BAD or (s.number > MOST_ARGS and not s.negative):
        return refuse(s, E_MULTIBULK)
    s.argc = 0 if s.negative else <int64_t>s.number
    s.phase = AT_BULK
    return FRAME_OK


cdef int next_request(const char* p, size_t n, RequestScan* s) noexcept nogil:
    cdef size_t pos
    cdef int64_t size
    cdef int got
    if s.phase < AT_BULK:
        got = open_request(p, n, s)
        if got != FRAME_OK and s.phase != AT_INLINE:
            return got
    if s.phase == AT_INLINE:
        return next_inline(p, n, s)
    pos = s.pos
    while s.argi < s.argc:
        if s.phase == AT_BULK:
            if pos >= n:
                break
            if p[pos] != c'$':
                s.number = <uint8_t>p[pos]
                return refuse(s, E_EXPECTED_BULK)
            pos += 1
            s.number = 0
            s.digits = 0
            s.phase = AT_SIZE
        if s.phase == AT_SIZE:
            size = short_number(p, n, &pos) if s.digits == 0 and not s.negative else -1
            if size < 0:
                got = read_number(p, n, &pos, &s.number, &s.digits, &s.negative)
                if got == NUMBER_MORE:
                    break
                if got == NUMBER_BAD or s.negative:
                    return refuse(s, E_BULK)
                size = <int64_t>s.number
            if size > MAX_BULK:
                return refuse(s, E_BULK)
            s.bulk_left = size + 2
            s.phase = AT_BYTES
        size = s.bulk_left
        if <int64_t>(n - pos) < size:
            break
        if p[pos + size - 2] != CR or p[pos + size - 1] != LF:
            return refuse(s, E_BULK_END)
        if s.argi < SCAN_ARGS:
            s.args[s.argi].off = pos
            s.args[s.argi].len = size - 2
        pos += size
        s.argi += 1
        s.phase = AT_BULK
    s.pos = pos
    return FRAME_OK if s.argi == s.argc else FRAME_MORE


cdef int next_inline(const char* p, size_t n, RequestScan* s) noexcept nogil:
    # One line of words, ended by LF with or without CR. pos counts the bytes already searched for the LF.
    cdef size_t limit = n if n < LONGEST_INLINE + 1 else LONGEST_INLINE + 1
    cdef const char* found = NULL
    if s.pos < limit:
        found = <const char*>memchr(p + s.pos, LF, limit - s.pos)
    if found == NULL:
        if n > LONGEST_INLINE:
            return refuse(s, E_INLINE)
        s.pos = n
        return FRAME_MORE
    s.pos = found - p + 1
    return split_line(p, s)


cdef inline bint is_blank(char c) noexcept nogil:
    # Between words; the two that do not end a word are Redis's, too.
    return c == c' ' or (c >= 9 and c <= 13)


cdef inline bint ends_word(char c) noexcept nogil:
    return c == c' ' or c == 9 or c == LF or c == CR


cdef inline int hex_digit(char c) noexcept nogil:
    if c >= c'0' and c <= c'9':
        return c - c'0'
    c |= 32
    return c - c'a' + 10 if c >= c'a' and c <= c'f' else -1


cdef char unescape(const char* p, size_t* at, size_t end) noexcept nogil:
    # The byte that an escape in double quotes stands for; p[*at] is the backslash, and a byte follows it.
    cdef size_t i = at[0] + 1
    cdef char c = p[i]
    if c == c'x' and i + 2 < end and hex_digit(p[i + 1]) >= 0 and hex_digit(p[i + 2]) >= 0:
        at[0] = i + 3
        return <char>(hex_digit(p[i + 1]) * 16 + hex_digit(p[i + 2]))
    at[0] = i + 1
    if c == c'n':
        return 10
    if c == c'r':
        return 13
    if c == c't':
        return 9
    if c == c'b':
        return 8
    if c == c'a':
        return 7
    return c


cdef int next_word(const char* p, size_t* at, size_t end, char* out, size_t* size) noexcept nogil:
    # One word of an inline command, which starts at p[*at]; its value goes to out unless that is NULL (it is never
    # longer than the word). 1, or 0 for quotes that are not closed or are followed by something else than a blank.
    cdef size_t i = at[0]
    cdef char quote = 0
    cdef char c
    size[0] = 0
    while True:
        if i >= end:
            at[0] = i
            return quote == 0
        c = p[i]
        if quote == 0:
            if ends_word(c):
                at[0] = i
                return 1
            i += 1
            if c == c'"' or c == c"'":
                quote = c
                continue
        elif quote == c'"' and c == c'\\' and i + 1 < end:
            c = unescape(p, &i, end)
        elif quote == c"'" and c == c'\\' and i + 1 < end and p[i + 1] == c"'":
            c = c"'"
            i += 2
        elif c == quote:
            i += 1
            if i < end and not is_blank(p[i]):
                return 0
            at[0] = i
            return 1
        else:
            i += 1
        if out != NULL:
            out[size[0]] = c
        size[0] += 1


cdef size_t line_end(const char* p, const RequestScan* s) noexcept nogil:
    # Length of a complete inline line without its end.
    cdef size_t end = s.pos - 1
    if end and p[end - 1] == CR:
        end -= 1
    return end


cdef int split_line(const char* p, RequestScan* s) noexcept nogil:
    # Counts the words of a complete line and notes where the first ones lie, quotes included.
    cdef size_t end = line_end(p, s)
    cdef size_t i = 0
    cdef size_t start, size
    s.argc = 0
    while True:
        while i < end and is_blank(p[i]):
            i += 1
        if i >= end:
            break
        start = i
        if not next_word(p, &i, end, NULL, &size):
            return refuse(s, E_QUOTES)
        if s.argc < SCAN_ARGS:
            s.args[s.argc].off = start
            s.args[s.argc].len = i - start
        s.argc += 1
    s.argi = s.argc
    return FRAME_OK


cdef size_t inline_to_array(const char* p, const RequestScan* s, Buf* out) noexcept nogil:
    cdef size_t end = line_end(p, s)
    cdef size_t i = 0
    cdef size_t before = buf_len(out)
    cdef size_t size, at
    cdef int64_t _
    # Every word costs at most its length and a "$nnnnn\r\n\r\n".
    if buf_reserve(out, end + 24 + <size_t>s.argc * 16) < 0:
        return 0
    buf_produce(out, snprintf(buf_tail(out), 24, b"*%lld\r\n", <long long>s.argc))
    for _ in range(s.argc):
        while i < end and is_blank(p[i]):
            i += 1
        at = i
        next_word(p, &at, end, NULL, &size)
        buf_produce(out, snprintf(buf_tail(out), 24, b"$%zu\r\n", size))
        next_word(p, &i, end, buf_tail(out), &size)
        buf_produce(out, size)
        buf_append(out, b"\r\n", 2)
    return buf_len(out) - before


# ---------------------------------------------------------------------------------------------------- replies


cdef inline int malformed(ReplyScan* s) noexcept nogil:
    s.error_code = E_REPLY
    return FRAME_ERROR


cdef inline bint line_end_at(const char* p, size_t n, size_t* at) noexcept nogil:
    # Moves *at behind the next CRLF at or behind it (the byte before it belongs to the frame), or to n.
    cdef size_t pos = at[0]
    cdef size_t near = pos + SHORT_LINE
    cdef const char* found
    if near > n:
        near = n
    while True:
        while pos < near:
            if p[pos] == LF and p[pos - 1] == CR:
                at[0] = pos + 1
                return True
            pos += 1
        if pos == n:
            at[0] = n
            return False
        found = <const char*>memchr(p + pos, LF, n - pos)
        if found == NULL:
            at[0] = n
            return False
        pos = found - p
        near = pos + 1


cdef int open_value(ReplyScan* s, uint8_t c) noexcept nogil:
    # Notes the type byte of the next value; the phase that reads it, or FRAME_ERROR.
    if s.kind == 0 and s.remaining == 1:
        if c == c'|':
            s.has_attribute = 1
        else:
            s.kind = c
            s.is_push = c == c'>'
            s.is_error = c == c'-' or c == c'!'
    s.current = c
    if c == c'+' or c == c':' or c == c'-' or c == c'_' or c == c'#' or c == c',' or c == c'(':
        return IN_LINE
    if c == c'$' or c == c'*' or c == c'%' or c == c'~' or c == c'|' or c == c'>' or c == c'=' or c == c'!':
        return IN_NUMBER
    return FRAME_ERROR


cdef int close_number(ReplyScan* s, int64_t number) noexcept nogil:
    # The length of a value is known: the next phase, or FRAME_ERROR.
    if s.negative:
        if number != 1 or (s.current != c'$' and s.current != c'*'):
            return FRAME_ERROR
        s.remaining -= 1
        return IN_TYPE
    if s.current == c'$' or s.current == c'=' or s.current == c'!':
        if number > MAX_REPLY_BULK:
            return FRAME_ERROR
        s.bulk_left = number + 2
        return IN_BYTES
    if number > MOST_COUNT or s.remaining > MOST_VALUES:
        return FRAME_ERROR
    if s.current == c'%' or s.current == c'|':
        number *= 2
    s.remaining += number
    if s.current != c'|':
        s.remaining -= 1
    return IN_TYPE


cdef int next_reply(const char* p, size_t n, ReplyScan* s) noexcept nogil:
    cdef size_t pos = s.pos
    cdef int phase = s.phase
    cdef int got
    cdef int64_t left
    if phase == IN_NOTHING:
        s.remaining = 1
        phase = IN_TYPE
    while s.remaining:
        if phase == IN_TYPE:
            if pos >= n:
                break
            phase = open_value(s, <uint8_t>p[pos])
            if phase < 0:
                return malformed(s)
            pos += 1
            s.number = 0
            s.digits = 0
            s.negative = 0
        if phase == IN_LINE:
            if not line_end_at(p, n, &pos):
                break
            s.remaining -= 1
            phase = IN_TYPE
            continue
        if phase == IN_NUMBER:
            left = short_number(p, n, &pos) if s.digits == 0 else -1
            if left < 0:
                got = read_number(p, n, &pos, &s.number, &s.digits, &s.negative)
                if got == NUMBER_MORE:
                    break
                if got == NUMBER_BAD:
                    return malformed(s)
                left = <int64_t>s.number
            phase = close_number(s, left)
            if phase < 0:
                return malformed(s)
            if phase == IN_TYPE:
                continue
        left = s.bulk_left
        if <int64_t>(n - pos) < left:
            break
        if p[pos + left - 2] != CR or p[pos + left - 1] != LF:
            return malformed(s)
        pos += left
        s.remaining -= 1
        phase = IN_TYPE
    s.pos = pos
    s.phase = phase
    return FRAME_MORE if s.remaining else FRAME_OK


# ---------------------------------------------------------------------------------------------------- arguments, keys


cdef void walk_args(ArgWalk* w, const char* p, const RequestScan* s) noexcept nogil:
    w.p = p
    w.pos = 0
    w.argc = s.argc
    w.index = 0
    while p[w.pos] != LF:
        w.pos += 1
    w.pos += 1


cdef bint walk_next(ArgWalk* w, Span* arg) noexcept nogil:
    # The frame is complete and was accepted, so it is not checked again.
    cdef size_t pos = w.pos + 1
    cdef size_t size = 0
    if w.index >= w.argc:
        return False
    while w.p[pos] != CR:
        size = size * 10 + <size_t>(w.p[pos] - 48)
        pos += 1
    arg.off = pos + 2
    arg.len = size
    w.pos = pos + 2 + size + 2
    w.index += 1
    return True


cdef bint nth_arg(const char* p, const RequestScan* s, int64_t index, Span* arg) noexcept nogil:
    cdef ArgWalk w
    if index < 0 or index >= s.argc:
        return False
    if index < SCAN_ARGS and not s.is_inline:
        arg[0] = s.args[index]
        return True
    walk_args(&w, p, s)
    while walk_next(&w, arg):
        if w.index > index:
            return True
    return False


cdef bint arg_is(const char* p, const Span* arg, const char* word) noexcept nogil:
    cdef size_t i = 0
    cdef char c
    while i < arg.len:
        c = p[arg.off + i]
        if c >= c'A' and c <= c'Z':
            c += 32
        if word[i] == 0 or c != word[i]:
            return False
        i += 1
    return word[i] == 0


cdef bint has_word(const char* p, const RequestScan* s, int64_t first, const char* word) noexcept nogil:
    cdef ArgWalk w
    cdef Span arg
    walk_args(&w, p, s)
    while walk_next(&w, &arg):
        if w.index > first and arg_is(p, &arg, word):
            return True
    return False


cdef bint arg_integer(const char* p, const Span* arg, int64_t* value) noexcept nogil:
    cdef size_t i = arg.off
    cdef size_t end = arg.off + arg.len
    cdef bint negative = 0
    cdef int64_t v = 0
    if arg.len and p[i] == c'-':
        negative = 1
        i += 1
    if i == end or end - i > MOST_DIGITS or (p[i] == c'0' and (negative or end - i > 1)):
        return False
    while i < end:
        if p[i] < c'0' or p[i] > c'9':
            return False
        v = v * 10 + (p[i] - c'0')
        i += 1
    value[0] = -v if negative else v
    return True


cdef int refuse_keys(RequestScan* s, uint16_t code) noexcept nogil:
    s.error_code = code
    return -1


cdef int find_counted_keys(const char* p, RequestScan* s, const CommandRow* row, KeyWalk* w) noexcept nogil:
    # KEYS_NUMKEYS. No keys at all is a matter for the command (a script may have none).
    cdef Span arg
    cdef int64_t count
    w.extra = row.last_key
    w.next = row.first_key + 1
    w.step = 1
    if not nth_arg(p, s, row.first_key, &arg):
        return refuse_keys(s, E_SYNTAX)
    if not arg_integer(p, &arg, &count):
        return refuse_keys(s, E_INTEGER)
    if count < 0:
        return refuse_keys(s, E_NUMKEYS_NEGATIVE)
    if count > s.argc - w.next:
        return refuse_keys(s, E_NUMKEYS_LARGE)
    w.last = w.next + count - 1
    return 1 if count or w.extra else 0


cdef int64_t streams_at(const char* p, const RequestScan* s, bint* blocks) noexcept nogil:
    # Index of the argument behind STREAMS, reading the options before it as Redis does; -1 for a syntax error.
    cdef ArgWalk w
    cdef Span arg
    cdef int skip = 1           # the command's own name
    blocks[0] = 0
    walk_args(&w, p, s)
    while walk_next(&w, &arg):
        if skip:
            skip -= 1
        elif arg_is(p, &arg, b"streams"):
            return w.index
        elif arg_is(p, &arg, b"block"):
            blocks[0] = 1
            skip = 1
        elif arg_is(p, &arg, b"count"):
            skip = 1
        elif arg_is(p, &arg, b"group"):
            skip = 2
        elif not arg_is(p, &arg, b"noack"):
            return -1
    return -1


cdef int find_stream_keys(const char* p, RequestScan* s, KeyWalk* w) noexcept nogil:
    cdef bint blocks
    cdef int64_t first = streams_at(p, s, &blocks)
    if first < 0 or first == s.argc:
        return refuse_keys(s, E_SYNTAX)
    if (s.argc - first) % 2:
        return refuse_keys(s, E_STREAMS)
    w.next = first
    w.last = first + (s.argc - first) // 2 - 1
    w.step = 1
    return 1


cdef int64_t stored_at(const char* p, const RequestScan* s, const CommandRow* row) noexcept nogil:
    # Index of the key that SORT or GEORADIUS stores to, 0 for none; the last of several counts, as in Redis.
    cdef ArgWalk w
    cdef Span arg
    cdef int64_t found = 0
    cdef int skip = 2
    cdef bint sort = row.key_kind == KEYS_SORT
    if not sort:
        # Behind key, longitude, latitude (or member), radius and unit.
        skip = 5 if row.arity == -5 else 6
    walk_args(&w, p, s)
    while walk_next(&w, &arg):
        if skip:
            skip -= 1
        elif sort and (arg_is(p, &arg, b"by") or arg_is(p, &arg, b"get")):
            skip = 1
        elif sort and arg_is(p, &arg, b"limit"):
            skip = 2
        elif arg_is(p, &arg, b"store") or (not sort and arg_is(p, &arg, b"storedist")):
            if w.index == s.argc:
                return 0
            found = w.index
            skip = 1
    return found


cdef int find_keys(const char* p, RequestScan* s, const CommandRow* row, KeyWalk* w) noexcept nogil:
    w.extra = 0
    if row.key_kind == KEYS_NONE:
        return 0
    if row.key_kind == KEYS_NUMKEYS:
        return find_counted_keys(p, s, row, w)
    if row.key_kind == KEYS_STREAMS:
        return find_stream_keys(p, s, w)
    w.next = row.first_key
    w.last = row.last_key if row.last_key >= 0 else s.argc + row.last_key
    w.step = row.key_step
    if w.next >= s.argc:
        return 0
    if w.last >= s.argc:
        w.last = s.argc - 1
    if row.key_kind != KEYS_RANGE and row.access == ACCESS_WRITE:
        w.extra = stored_at(p, s, row)
    return 1 if w.last >= w.next else 0


cdef int walk_keys(KeyWalk* w, const char* p, RequestScan* s, const CommandRow* row) noexcept nogil:
    cdef int found = find_keys(p, s, row, w)
    if found == 1:
        walk_args(&w.args, p, s)
    return found


cdef bint walk_key(KeyWalk* w, Span* key, int64_t* index) noexcept nogil:
    cdef int64_t target = 0
    if w.next <= w.last:
        target = w.next
    if w.extra and (target == 0 or w.extra < target):
        target = w.extra
        w.extra = 0
    elif target:
        w.next += w.step
    else:
        return False
    while walk_next(&w.args, key):
        if w.args.index > target:
            index[0] = target
            return True
    return False


cdef int request_key(const char* p, RequestScan* s, const CommandRow* row, Span* key) noexcept nogil:
    cdef KeyWalk w
    cdef int64_t index
    cdef int found
    if row.key_kind == KEYS_RANGE and row.last_key >= -1 and row.first_key < s.argc and row.first_key < SCAN_ARGS:
        key[0] = s.args[row.first_key]
        return 1
    found = walk_keys(&w, p, s, row)
    if found == 1 and not walk_key(&w, key, &index):
        return 0
    return found


cdef uint16_t request_refusal(const char* p, const RequestScan* s, const CommandRow* row) noexcept nogil:
    cdef ArgWalk w
    cdef Span arg
    cdef bint blocks
    cdef int skip = 2           # the command's name and its first key
    if row.options == OPTIONS_BLOCK:
        streams_at(p, s, &blocks)
        return E_BLOCKING if blocks else 0
    walk_args(&w, p, s)
    while walk_next(&w, &arg):
        if skip:
            skip -= 1
        elif row.options == OPTIONS_DATABASE:
            if arg_is(p, &arg, b"db") and walk_next(&w, &arg) and not arg_is(p, &arg, b"0"):
                return E_DATABASE
        elif row.options != OPTIONS_PATTERNS:
            return 0
        elif arg_is(p, &arg, b"limit"):
            skip = 2
        elif arg_is(p, &arg, b"store"):
            skip = 1
        elif arg_is(p, &arg, b"get"):
            # GET # is the element itself.
            if walk_next(&w, &arg) and not arg_is(p, &arg, b"#"):
                return E_PATTERNS
        elif arg_is(p, &arg, b"by"):
            # Without an asterisk it only says that nothing is sorted.
            if walk_next(&w, &arg) and memchr(p + arg.off, c'*', arg.len) != NULL:
                return E_PATTERNS
    return 0


def set_max_bulk_bytes(int64_t size_bytes):
    """Largest bulk string that a request may announce; 512 MiB unless told."""
    set_max_bulk(size_bytes)
