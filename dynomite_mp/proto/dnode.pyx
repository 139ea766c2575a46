"""Frames between nodes: finds the header in a stream of bytes, writes one, packs the extension of our own nodes.

     p[0]     skipped                                  data_off        pos
      | junk ..  |   $2014$ 17 3 0 2 1 *21 |  extension | *22\\r\\n      | *2 $3 GET $3 foo
      +----------+------------------------+------------+--------------+------------------
                  magic id type flags     data length   payload       payload, not read here
                        version same_dc                 length

The text in front of the payload is C Dynomite's, byte for byte. There are no lengths to rely on in front of it, so a
stream that was cut in the wrong place is searched for the next magic, as a C node does; on a connection to one of our
nodes the caller takes `skipped` for what it is, a broken stream. A C node may write a wrong payload length on a
plaintext request or reply, and the end of the payload is then where resp.pyx says.

The extension is a msgpack map in the data field, which C nodes fill with one letter: small integers are its keys,
unsigned integers its values. What this version writes has a fixed width per field, so any msgpack reader reads it and
the writer has next to nothing to decide. The reader takes any map, passes over keys that it does not know, and so
versions can be mixed in one cluster. docs/adr/0020-peer-frames.md has the table of fields.

This is not a place for sockets, for encryption (dnode_crypto.py), for matching answers to requests, nor for gossip
text. The Python face is dnode_frames.pyx.

Invariants: pos <= n and never goes back; cutting the input anywhere changes no result; nothing is allocated.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from dynomite_mp.proto.resp cimport (
    FRAME_ERROR,
    FRAME_MORE,
    FRAME_OK,
    ReplyScan,
    RequestScan,
    next_reply,
    next_request,
    reply_scan_reset,
    request_scan_reset,
)

cdef enum:
    CR = 13
    LF = 10
    SPACE = 32
    STAR = 42
    DOLLAR = 36
    MAGIC_BYTES = 7             # "$2014$ "
    OPENING_BYTES = 10          # three blanks in front of it
    MOST_DIGITS = 20            # of a 64-bit number
    MOST_SMALL = 255

    # DnodeScan.phase
    SEEKING = 0                 # `digits` bytes of the magic are matched
    IN_ID = 1
    IN_TYPE = 2
    IN_FLAGS = 3
    IN_VERSION = 4
    IN_SAME_DC = 5
    AT_DATA_STAR = 6
    IN_DATA_LENGTH = 7
    IN_DATA = 8
    AT_PAYLOAD_BLANK = 9
    AT_PAYLOAD_STAR = 10
    IN_PAYLOAD_LENGTH = 11
    AT_LF = 12

    # keys of the extension's map, as in docs/adr/0020
    KEY_VERSION = 0
    KEY_CLOCK = 1
    KEY_FLAGS = 2
    KEY_PROTOCOL = 3
    KEY_STAMP = 4
    KEY_ORIGIN_NODE = 5
    KEY_ORIGIN_BOOT = 6
    KEY_ORIGIN_WORKER = 7
    KEY_SEQUENCE = 8
    KEY_CONFLICT_CLASS = 9
    KEY_EPOCH = 10
    KEY_DATA_SET = 11
    KEY_RUN = 12
    KEYS = 13

    EXTENSION_VERSION = 1
    ORIGIN_KEYS = (1 << KEY_ORIGIN_NODE | 1 << KEY_ORIGIN_BOOT | 1 << KEY_ORIGIN_WORKER | 1 << KEY_SEQUENCE
                   | 1 << KEY_CONFLICT_CLASS)

    FIXMAP = 0x80
    MAP16 = 0xde
    MAP32 = 0xdf
    UINT8 = 0xcc
    UINT16 = 0xcd
    UINT32 = 0xce
    UINT64 = 0xcf

cdef const char* OPENING = b"   $2014$ "
cdef const char* MAGIC = b"$2014$ "
cdef const char* PAIRS = (
    b"0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
    b"5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899")
cdef enum:
    FOUR_ZEROS = 0x2030203020302030         # "0 0 0 0 "
    FOUR_SIXES = 0x0006000600060006         # carries a digit above 9 into the next four bits
    FOUR_ABOVE_DIGITS = 0xfff0fff0fff0fff0
cdef uint64_t MOST_PAYLOAD = <uint64_t>1 << 40
cdef uint64_t MOST_U64 = <uint64_t>-1
cdef uint64_t MOST_U32 = <uint32_t>-1


# ---------------------------------------------------------------------------------------------------- header, reading


cdef int give_up(DnodeScan* s, uint8_t error) noexcept nogil:
    s.error = error
    return FRAME_ERROR


cdef int seek_magic(const char* p, size_t n, DnodeScan* s) noexcept nogil:
    """Goes behind the next magic and says what was skipped; its '$' lies within DNODE_JUNK_MOST bytes or nowhere."""
    cdef size_t at = s.pos
    cdef size_t matched = s.digits
    cdef size_t start
    cdef const char* found
    while at < n:
        if matched == 0:
            if at > <size_t>DNODE_JUNK_MOST:
                break
            found = <const char*>memchr(p + at, DOLLAR, n - at)
            if found == NULL:
                at = n
                break
            at = found - p
            if at > <size_t>DNODE_JUNK_MOST:
                break
            at += 1
            matched = 1
        elif p[at] == MAGIC[matched]:
            at += 1
            matched += 1
            if matched == MAGIC_BYTES:
                start = at - MAGIC_BYTES
                while start > 0 and p[start - 1] == SPACE and at - start < OPENING_BYTES:
                    start -= 1
                s.skipped = start
                s.pos = at
                s.digits = 0
                s.number = 0
                s.phase = IN_ID
                return FRAME_OK
        elif matched == MAGIC_BYTES - 1:
            # Its last '$' may be the first of the magic: look at this byte again as the second.
            matched = 1
            if at - 1 > <size_t>DNODE_JUNK_MOST:
                break
            if p[at] != MAGIC[1]:
                matched = 0
        else:
            matched = 0             # this byte is looked at again: it may be a '$'
    s.pos = at
    s.digits = <uint8_t>matched
    if matched == 0 and at > <size_t>DNODE_JUNK_MOST or matched == 1 and at - 1 > <size_t>DNODE_JUNK_MOST:
        return give_up(s, DNODE_JUNK)
    return FRAME_MORE


cdef inline int read_number(const char* p, size_t n, DnodeScan* s, char end, uint64_t most) noexcept nogil:
    """A number and the byte behind it: FRAME_OK with s.number; FRAME_MORE; FRAME_ERROR with s.pos at what is wrong."""
    cdef size_t at = s.pos
    cdef uint64_t number = s.number
    cdef uint8_t digits = s.digits
    cdef uint8_t c
    while at < n:
        c = <uint8_t>(p[at] - c'0')
        if c > 9:
            s.pos = at
            if p[at] != end or digits == 0 or number > most:
                return FRAME_ERROR
            s.pos = at + 1
            s.number = number
            s.digits = 0
            return FRAME_OK
        if digits >= MOST_DIGITS - 1 and (digits == MOST_DIGITS or number > (MOST_U64 - c) // 10):
            s.pos = at
            return FRAME_ERROR
        number = number * 10 + c
        digits += 1
        at += 1
    s.pos = at
    s.number = number
    s.digits = digits
    return FRAME_MORE


cdef inline int read_byte(const char* p, size_t n, DnodeScan* s, char wanted) noexcept nogil:
    if s.pos == n:
        return FRAME_MORE
    if p[s.pos] != wanted:
        return FRAME_ERROR
    s.pos += 1
    return FRAME_OK


cdef inline int read_fields(const char* p, size_t n, DnodeScan* s) noexcept nogil:
    """From behind the magic to the data length; phases in their order, each left only when it is complete."""
    cdef int got
    cdef uint64_t x
    if s.phase == IN_ID:
        got = read_number(p, n, s, SPACE, MOST_U64)
        if got != FRAME_OK:
            return got
        s.id = s.number
        s.number = 0
        s.phase = IN_TYPE
        if n - s.pos >= 8:
            # Nearly always four one-digit numbers, "3 0 1 1 ", which fit a register. On a big-endian machine they are
            # never recognised and read below.
            memcpy(&x, p + s.pos, 8)
            x ^= FOUR_ZEROS
            if (x | (x + FOUR_SIXES)) & FOUR_ABOVE_DIGITS == 0:
                s.type = x & 15
                s.flags = x >> 16 & 15
                s.version = x >> 32 & 15
                s.same_dc = x >> 48 != 0
                s.pos += 8
                s.phase = AT_DATA_STAR
                return FRAME_OK
    if s.phase == IN_TYPE:
        got = read_number(p, n, s, SPACE, MOST_SMALL)
        if got != FRAME_OK:
            return got
        s.type = <uint8_t>s.number
        s.number = 0
        s.phase = IN_FLAGS
    if s.phase == IN_FLAGS:
        got = read_number(p, n, s, SPACE, MOST_SMALL)
        if got != FRAME_OK:
            return got
        s.flags = s.number & 15         # as many as a C node looks at
        s.number = 0
        s.phase = IN_VERSION
    if s.phase == IN_VERSION:
        got = read_number(p, n, s, SPACE, MOST_SMALL)
        if got != FRAME_OK:
            return got
        s.version = <uint8_t>s.number
        s.number = 0
        s.phase = IN_SAME_DC
    if s.phase == IN_SAME_DC:
        got = read_number(p, n, s, SPACE, MOST_SMALL)
        if got != FRAME_OK:
            return got
        s.same_dc = s.number != 0
        s.number = 0
        s.phase = AT_DATA_STAR
    return FRAME_OK


cdef inline int read_lengths(const char* p, size_t n, DnodeScan* s) noexcept nogil:
    """From the data length to the payload; as read_fields."""
    cdef int got
    if s.phase == AT_DATA_STAR:
        got = read_byte(p, n, s, STAR)
        if got != FRAME_OK:
            return got
        s.phase = IN_DATA_LENGTH
    if s.phase == IN_DATA_LENGTH:
        got = read_number(p, n, s, SPACE, MOST_U64)
        if got != FRAME_OK:
            return got
        if s.number > <uint64_t>DNODE_DATA_MOST:
            return give_up(s, DNODE_DATA_LENGTH)
        s.data_off = s.pos
        s.data_len = <size_t>s.number
        s.number = 0
        s.phase = IN_DATA
    if s.phase == IN_DATA:
        if n - s.pos < s.data_len:
            return FRAME_MORE
        s.pos += s.data_len
        s.phase = AT_PAYLOAD_BLANK
    if s.phase == AT_PAYLOAD_BLANK:
        got = read_byte(p, n, s, SPACE)
        if got != FRAME_OK:
            return got
        s.phase = AT_PAYLOAD_STAR
    if s.phase == AT_PAYLOAD_STAR:
        got = read_byte(p, n, s, STAR)
        if got != FRAME_OK:
            return got
        s.phase = IN_PAYLOAD_LENGTH
    if s.phase == IN_PAYLOAD_LENGTH:
        got = read_number(p, n, s, CR, MOST_U64)
        if got != FRAME_OK:
            return got
        if s.number > MOST_PAYLOAD:
            return give_up(s, DNODE_PAYLOAD_LENGTH)
        s.payload_len = <size_t>s.number
        s.phase = AT_LF
    return read_byte(p, n, s, LF)


cdef int next_dnode(const char* p, size_t n, DnodeScan* s) noexcept nogil:
    cdef int got
    if s.error:
        return FRAME_ERROR
    if s.pos == 0 and n >= OPENING_BYTES and memcmp(p, OPENING, OPENING_BYTES) == 0:
        s.pos = OPENING_BYTES
        s.skipped = 0
        s.phase = IN_ID
        s.digits = 0
    while True:
        if s.phase == SEEKING:
            got = seek_magic(p, n, s)
            if got != FRAME_OK:
                return got
        got = read_fields(p, n, s)
        if got == FRAME_OK:
            got = read_lengths(p, n, s)
        if got != FRAME_ERROR or s.error:
            return got
        # Not a header after all; the next one may begin at the byte that does not fit.
        s.phase = SEEKING
        s.digits = 0


# ---------------------------------------------------------------------------------------------------- header, writing


cdef inline char* put_number(char* at, uint64_t value) noexcept nogil:
    cdef uint64_t rest = value
    cdef int digits = 1
    cdef int i
    if value < 10:
        at[0] = <char>(c'0' + value)
        return at + 1
    while rest >= 10000:
        rest //= 10000
        digits += 4
    digits += 3 if rest >= 1000 else 2 if rest >= 100 else 1 if rest >= 10 else 0
    i = digits
    while i >= 2:
        i -= 2
        memcpy(at + i, PAIRS + 2 * (value % 100), 2)
        value //= 100
    if i:
        at[0] = <char>(c'0' + value)
    return at + digits


cdef inline char* put_field(char* at, uint64_t value) noexcept nogil:
    at = put_number(at, value)
    at[0] = SPACE
    return at + 1


cdef size_t encode_dnode(
        char* out, uint64_t id, int type, int flags, int version, int same_dc,
        const char* data, size_t data_len, size_t payload_len) noexcept nogil:
    cdef char* at = out + OPENING_BYTES
    memcpy(out, OPENING, OPENING_BYTES)
    at = put_field(at, id)
    at = put_field(at, <uint8_t>type)
    at = put_field(at, <uint8_t>flags)
    at = put_field(at, <uint8_t>version)
    at[0] = c'1' if same_dc else c'0'
    at[1] = SPACE
    at[2] = STAR
    at = put_field(at + 3, data_len)
    if data_len == 1:
        at[0] = data[0]
    else:
        memcpy(at, data, data_len)
    at += data_len
    at[0] = SPACE
    at[1] = STAR
    at = put_number(at + 2, payload_len)
    at[0] = CR
    at[1] = LF
    return at + 2 - out


cdef void put_batch_length(char* end, size_t payload_len) noexcept nogil:
    cdef char* at = end - 2
    cdef int _i
    for _i in range(BATCH_DIGITS):
        at -= 1
        at[0] = <char>(c'0' + payload_len % 10)
        payload_len //= 10


# ---------------------------------------------------------------------------------------------------- extension


cdef inline char* put_small(char* at, int key, uint32_t value) noexcept nogil:
    at[0] = <char>key
    at[1] = <char>(value & 0x7f)
    return at + 2


cdef inline char* put_u32(char* at, int key, uint32_t value) noexcept nogil:
    cdef unsigned char* out = <unsigned char*>at
    out[0] = <unsigned char>key
    out[1] = UINT32
    out[2] = <unsigned char>(value >> 24)
    out[3] = <unsigned char>(value >> 16)
    out[4] = <unsigned char>(value >> 8)
    out[5] = <unsigned char>value
    return at + 6


cdef inline char* put_u64(char* at, int key, uint64_t value) noexcept nogil:
    cdef unsigned char* out = <unsigned char*>at
    out[0] = <unsigned char>key
    out[1] = UINT64
    out[2] = <unsigned char>(value >> 56)
    out[3] = <unsigned char>(value >> 48)
    out[4] = <unsigned char>(value >> 40)
    out[5] = <unsigned char>(value >> 32)
    out[6] = <unsigned char>(value >> 24)
    out[7] = <unsigned char>(value >> 16)
    out[8] = <unsigned char>(value >> 8)
    out[9] = <unsigned char>value
    return at + 10


cdef size_t encode_extension(char* out, const Extension* e) noexcept nogil:
    cdef char* at = out + 1
    cdef int fields = 4
    at = put_small(at, KEY_VERSION, EXTENSION_VERSION)
    at = put_u64(at, KEY_CLOCK, e.clock)
    at = put_u32(at, KEY_FLAGS, e.flags)
    at = put_small(at, KEY_PROTOCOL, e.protocol)
    if e.fields & EXTENSION_STAMP:
        at = put_u64(at, KEY_STAMP, e.stamp)
        fields += 1
    if e.fields & EXTENSION_ORIGIN:
        at = put_u64(at, KEY_ORIGIN_NODE, e.origin_node)
        at = put_u32(at, KEY_ORIGIN_BOOT, e.origin_boot)
        at = put_u32(at, KEY_ORIGIN_WORKER, e.origin_worker)
        at = put_u64(at, KEY_SEQUENCE, e.sequence)
        at = put_small(at, KEY_CONFLICT_CLASS, e.conflict_class)
        fields += 5
    if e.fields & EXTENSION_EPOCH:
        at = put_u64(at, KEY_EPOCH, e.epoch)
        fields += 1
    if e.fields & EXTENSION_DATA_SET:
        at = put_u64(at, KEY_DATA_SET, e.data_set)
        fields += 1
    if e.fields & EXTENSION_RUN:
        at = put_u32(at, KEY_RUN, e.run)
        fields += 1
    out[0] = <char>(FIXMAP + fields)
    return at - out


cdef inline uint64_t get_u32(const unsigned char* p) noexcept nogil:
    return <uint64_t>p[0] << 24 | <uint64_t>p[1] << 16 | <uint64_t>p[2] << 8 | p[3]


cdef inline uint64_t get_u64(const unsigned char* p) noexcept nogil:
    return get_u32(p) << 32 | get_u32(p + 4)


cdef inline uint64_t big_endian(const unsigned char* p, int width) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    if width == 8:
        return get_u64(p)
    for i in range(width):
        value = value << 8 | p[i]
    return value


cdef inline int int_width(unsigned char marker) noexcept nogil:
    """Bytes behind the marker of an unsigned integer; -1 for anything else."""
    if marker == UINT64:
        return 8
    if marker == UINT32:
        return 4
    if marker < FIXMAP:
        return 0
    if marker == UINT8:
        return 1
    return 2 if marker == UINT16 else -1


cdef size_t skip_value(const unsigned char* p, size_t n, size_t at) noexcept nogil:
    """Where the msgpack value at `at` ends; 0 if it does not. Nesting is a counter of values still to pass."""
    cdef uint64_t left = 1
    cdef uint64_t size
    cdef unsigned char marker
    cdef int width
    while left:
        if left > n - at:
            return 0                # every value takes a byte at least
        marker = p[at]
        at += 1
        left -= 1
        size = 0                    # bytes behind the marker and its length
        if marker < 0x80 or marker >= 0xe0 or marker == 0xc0 or marker == 0xc2 or marker == 0xc3:
            continue                # small integer, nil, bool
        if marker < 0x90:
            left += 2 * (marker & 15)
        elif marker < 0xa0:
            left += marker & 15
        elif marker < 0xc0:
            size = marker & 31
        elif marker == 0xc1:
            return 0
        elif marker >= 0xca and marker <= 0xd3:     # float, integer
            size = 4 if marker == 0xca else 8 if marker == 0xcb else 1 << (marker & 3)
        elif marker >= 0xd4 and marker <= 0xd8:     # extension type of fixed size
            size = 1 + (1 << (marker - 0xd4))
        else:
            # bin c4-c6, ext c7-c9, str d9-db: width 1, 2, 4; array dc-dd, map de-df: width 2, 4
            if marker <= 0xc6:
                width = 1 << (marker - 0xc4)
            elif marker <= 0xc9:
                width = 1 << (marker - 0xc7)
            elif marker <= 0xdb:
                width = 1 << (marker - 0xd9)
            else:
                width = 4 if marker & 1 else 2
            if n - at < <size_t>width:
                return 0
            size = big_endian(p + at, width)
            at += width
            if marker >= 0xdc:
                left += size * (2 if marker >= MAP16 else 1)
                size = 0
            elif marker >= 0xc7 and marker <= 0xc9:
                size += 1
        if n - at < size:
            return 0
        at += size
    return at


cdef inline bint keep_field(Extension* e, int key, uint64_t value) noexcept nogil:
    if key == KEY_CLOCK:
        e.clock = value
    elif key == KEY_STAMP:
        e.stamp = value
    elif key == KEY_ORIGIN_NODE:
        e.origin_node = value
    elif key == KEY_SEQUENCE:
        e.sequence = value
    elif key == KEY_EPOCH:
        e.epoch = value
    elif key == KEY_DATA_SET:
        e.data_set = value
    else:
        if value > MOST_U32:
            return False
        if key == KEY_VERSION:
            e.version = <uint32_t>value
        elif key == KEY_FLAGS:
            e.flags = <uint32_t>value
        elif key == KEY_PROTOCOL:
            e.protocol = <uint32_t>value
        elif key == KEY_ORIGIN_BOOT:
            e.origin_boot = <uint32_t>value
        elif key == KEY_ORIGIN_WORKER:
            e.origin_worker = <uint32_t>value
        elif key == KEY_RUN:
            e.run = <uint32_t>value
        else:
            e.conflict_class = <uint32_t>value
    return True


cdef inline size_t read_fixed(
        const unsigned char* u, size_t n, uint64_t* left, Extension* e, uint32_t* seen) noexcept nogil:
    """Takes the fields that lie as encode_extension writes them, all others stay in `left`; where those begin."""
    cdef size_t at = 1
    if not (n >= 21 and left[0] >= 4 and u[1] == KEY_VERSION and u[2] < FIXMAP and u[3] == KEY_CLOCK and u[4] == UINT64
            and u[13] == KEY_FLAGS and u[14] == UINT32 and u[19] == KEY_PROTOCOL and u[20] < FIXMAP):
        return at
    e.version = u[2]
    e.clock = get_u64(u + 5)
    e.flags = <uint32_t>get_u32(u + 15)
    e.protocol = u[20]
    seen[0] = 1 << KEY_VERSION | 1 << KEY_CLOCK | 1 << KEY_FLAGS | 1 << KEY_PROTOCOL
    at = 21
    left[0] -= 4
    if n >= at + 10 and left[0] >= 1 and u[at] == KEY_STAMP and u[at + 1] == UINT64:
        e.stamp = get_u64(u + at + 2)
        seen[0] |= 1 << KEY_STAMP
        at += 10
        left[0] -= 1
    u += at
    if (n >= at + 34 and left[0] >= 5 and u[0] == KEY_ORIGIN_NODE and u[1] == UINT64
            and u[10] == KEY_ORIGIN_BOOT and u[11] == UINT32 and u[16] == KEY_ORIGIN_WORKER and u[17] == UINT32
            and u[22] == KEY_SEQUENCE and u[23] == UINT64 and u[32] == KEY_CONFLICT_CLASS and u[33] < FIXMAP):
        e.origin_node = get_u64(u + 2)
        e.origin_boot = <uint32_t>get_u32(u + 12)
        e.origin_worker = <uint32_t>get_u32(u + 18)
        e.sequence = get_u64(u + 24)
        e.conflict_class = u[33]
        seen[0] |= ORIGIN_KEYS
        at += 34
        left[0] -= 5
    return at


cdef int read_map(
        const unsigned char* u, size_t n, size_t at, uint64_t left, Extension* e, uint32_t* seen) noexcept nogil:
    """`left` entries in any order, unknown ones passed over; whether they end with the data field."""
    cdef int key, width
    while left:
        left -= 1
        if at + 2 > n:
            return 0
        key = u[at]
        if key >= KEYS:
            at = skip_value(u, n, at)
            if at:
                at = skip_value(u, n, at)
            if at == 0:
                return 0
            continue
        width = int_width(u[at + 1])
        if width < 0 or n - at - 2 < <size_t>width:
            return 0
        if not keep_field(e, key, big_endian(u + at + 2, width) if width else u[at + 1]):
            return 0
        at += 2 + width
        seen[0] |= <uint32_t>1 << key
    return at == n


cdef int decode_extension(const char* p, size_t n, Extension* e) noexcept nogil:
    cdef const unsigned char* u = <const unsigned char*>p
    cdef size_t at = 1
    cdef uint64_t entries
    cdef uint32_t seen = 0
    cdef int width
    memset(e, 0, sizeof(Extension))
    e.protocol = 2
    if n == 0:
        return 0
    if u[0] >> 4 == FIXMAP >> 4:
        entries = u[0] & 15
        at = read_fixed(u, n, &entries, e, &seen)
    elif (u[0] == MAP16 or u[0] == MAP32) and n >= 5:
        width = 2 if u[0] == MAP16 else 4
        entries = big_endian(u + 1, width)
        at += width
    else:
        return 0
    if not read_map(u, n, at, entries, e, &seen) or not seen & 1 << KEY_VERSION:
        return 0
    if seen & 1 << KEY_STAMP:
        e.fields |= EXTENSION_STAMP
    if seen & ORIGIN_KEYS == ORIGIN_KEYS:
        e.fields |= EXTENSION_ORIGIN
    if seen & 1 << KEY_EPOCH:
        e.fields |= EXTENSION_EPOCH
    if seen & 1 << KEY_DATA_SET:
        e.fields |= EXTENSION_DATA_SET
    if seen & 1 << KEY_RUN:
        e.fields |= EXTENSION_RUN
    return 1


# ---------------------------------------------------------------------------------------------------- payload


cdef bint is_one_request(const char* p, size_t n) noexcept nogil:
    cdef RequestScan s
    if n == 0 or p[0] != STAR:
        return False                # an inline command could be anything that ends a line
    request_scan_reset(&s)
    return next_request(p, n, &s) == FRAME_OK and s.pos == n and s.argc > 0


cdef bint is_one_reply(const char* p, size_t n) noexcept nogil:
    cdef ReplyScan s
    reply_scan_reset(&s)
    return next_reply(p, n, &s) == FRAME_OK and s.pos == n
