"""One request over several groups of keys: cuts it into a request a group, and stitches their replies together.

    *5 $4 mget $1 a $1 b $1 c $1 d        groups  7 9 7 7
                 |
       build     v                                 execution, elsewhere
    part 0 (group 7)   *4 $4 mget $1 a $1 c $1 d   ------------------>   *3 $1 A $1 C $1 D     accept
    part 1 (group 9)   *2 $4 mget $1 b             ------------------>   *1 $1 B               accept
                                                                                 |
                                                                       merge     v
                                                                         *4 $1 A $1 B $1 C $1 D

What a group is, the caller says: a number a key. Keys, values, elements and the command's name are copied as the bytes
they came in, a run of neighbours at a time; element ends are found by the reply framer, so RESP2, RESP3, nesting and
attributes of elements need no case here. Attributes in front of a part's reply describe that part only and are left
out.

Replies go by the merge column of the command: the elements in the order of the keys, the sum of the integers, or +OK.
An error of any part is the answer: the first part's, whatever came first. It beats a reply of another shape than the
command has (too few elements, cut off, bytes behind it, a push), which becomes the wire error part_failed.

This is not a place that chooses groups, sends, waits or retries; it promises no atomicity between parts. One key lies
in one group, or a part may overtake another that sets the same key.

Invariants: time and memory are linear in the bytes of the request and the replies, whatever the number of groups. The
answer is one whole frame, whatever the replies hold. Each part reply is looked at only as far as it reaches.
"""

cimport cython
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy

from dynomite_mp.errors import WIRE_ERRORS, ProtocolError
from dynomite_mp.proto.buffer cimport (
    Buf,
    buf_append,
    buf_clear,
    buf_consume,
    buf_free,
    buf_init,
    buf_len,
    buf_produce,
    buf_ptr,
    buf_reserve,
    buf_tail,
)
from dynomite_mp.proto.command_lookup cimport (
    MERGE_ARRAY,
    MERGE_OK,
    MERGE_SUM,
    SPLIT_NONE,
    SPLIT_PAIRS,
    CommandRow,
    command_lookup,
    command_row,
)
from dynomite_mp.proto.resp cimport (
    FRAME_ERROR,
    FRAME_MORE,
    FRAME_OK,
    ArgWalk,
    ReplyScan,
    RequestScan,
    Span,
    arg_integer,
    next_reply,
    next_request,
    reply_scan_reset,
    request_scan_reset,
    walk_args,
    walk_next,
)
from dynomite_mp.proto.wire_errors cimport append_error

cdef enum:
    LF = 10
    HEAD_BYTES = 24             # more than "*18446744073709551615\r\n" and the NUL of snprintf

cdef uint16_t E_PART_FAILED = WIRE_ERRORS["part_failed"].code
# Of a sum; arg_integer gives less than 10 ** 18, so one step beyond this still fits.
cdef int64_t FURTHEST_SUM = 8 * 10 ** 18
cdef uint64_t MIX_1 = 0xBF58476D1CE4E5B9
cdef uint64_t MIX_2 = 0x94D049BB133111EB

# Of the table that finds the part of a group.
cdef struct Slot:
    uint64_t group
    uint32_t part               # + 1, 0 = empty


cdef inline size_t scattered(uint64_t group) noexcept nogil:
    # Groups may be counted up, packed from fields or hashes: every bit of them has to reach the low bits.
    group = (group ^ (group >> 30)) * MIX_1
    group = (group ^ (group >> 27)) * MIX_2
    return <size_t>(group ^ (group >> 31))


cdef inline uint32_t part_of(Slot* slots, size_t mask, uint64_t group, int* parts) noexcept nogil:
    # The part of a group; a group that is not there yet becomes the next part.
    cdef size_t at = scattered(group) & mask
    while slots[at].part:
        if slots[at].group == group:
            return slots[at].part - 1
        at = (at + 1) & mask
    parts[0] += 1
    slots[at].group = group
    slots[at].part = <uint32_t>parts[0]
    return slots[at].part - 1


# ---------------------------------------------------------------------------------------------------- part replies


cdef size_t behind_attributes(const char* p, size_t n) noexcept nogil:
    # Where the value of a reply starts; n if its attributes are cut off or broken. The framer counts attributes: shown
    # just their head, it says how many values it waits for, the one behind them among these.
    cdef size_t pos = 0
    cdef size_t head
    cdef const char* end
    cdef ReplyScan s
    cdef int64_t left
    while pos < n and p[pos] == c'|':
        end = <const char*>memchr(p + pos, LF, n - pos)
        if end == NULL:
            return n
        head = <size_t>(end - (p + pos)) + 1
        reply_scan_reset(&s)
        if next_reply(p + pos, head, &s) == FRAME_ERROR:
            return n
        left = s.remaining - 1
        pos += head
        while left > 0:
            reply_scan_reset(&s)
            if next_reply(p + pos, n - pos, &s) != FRAME_OK:
                return n
            pos += s.pos
            left -= 1
    return pos


cdef inline const char* value_of(const Part* part, size_t* n) noexcept nogil:
    # The reply of a part behind its attributes; no bytes if it has not replied.
    n[0] = part.reply_len - part.value_at
    return part.reply + part.value_at


cdef bint is_error(const Part* part) noexcept nogil:
    # One whole error; a piece of one would leave the client waiting for the rest.
    cdef size_t n
    cdef const char* p = value_of(part, &n)
    cdef ReplyScan s
    if n == 0 or (p[0] != c'-' and p[0] != c'!'):
        return False
    reply_scan_reset(&s)
    return next_reply(p, n, &s) == FRAME_OK and s.pos == n


cdef bint open_array(Part* part) noexcept nogil:
    # Sets the cursor at the first element of an array that announces one element a key.
    cdef size_t n, head
    cdef const char* p = value_of(part, &n)
    cdef const char* end
    cdef ReplyScan s
    if n == 0 or p[0] != c'*':
        return False
    end = <const char*>memchr(p, LF, n)
    if end == NULL:
        return False
    head = <size_t>(end - p) + 1
    reply_scan_reset(&s)
    if next_reply(p, head, &s) != FRAME_MORE or s.remaining != <int64_t>part.keys:
        return False
    part.cursor = part.value_at + head
    return True


cdef inline bint step_over(Part* part) noexcept nogil:
    # Moves the cursor behind the next element.
    cdef ReplyScan s
    reply_scan_reset(&s)
    if next_reply(part.reply + part.cursor, part.reply_len - part.cursor, &s) != FRAME_OK or s.is_push:
        return False
    part.cursor += s.pos
    return True


# ---------------------------------------------------------------------------------------------------- the request


@cython.final
cdef class Fragments:
    """A split request and the replies of its parts so far; see `split` for how Python gets one."""

    def __dealloc__(self):
        self.drop()

    cdef void drop(self) noexcept nogil:
        cdef int i
        for i in range(self.parts):
            free(self.part_table[i].reply)
        free(self.part_table)
        free(self.part_of_key)
        free(self.frame_bytes)
        self.part_table = NULL
        self.part_of_key = NULL
        self.frame_bytes = NULL
        self.parts = 0
        self.waiting = 0
        self.held_bytes = 0
        self.keys = 0

    cdef int build(
        self, const char* p, const RequestScan* s, const CommandRow* row, const uint64_t* groups, size_t keys
    ) noexcept nogil:
        cdef int step = 2 if row.split == SPLIT_PAIRS else 1
        self.drop()
        if row.split == SPLIT_NONE or s.is_inline or keys == 0 or s.argc - 1 != <int64_t>keys * step:
            return SPLIT_UNFIT
        self.keys = keys
        self.merge_by = row.merge
        if self.group_keys(groups) < 0 or self.write_frames(p, s, step) < 0:
            self.drop()
            return SPLIT_NO_MEMORY
        self.waiting = self.parts
        return SPLIT_BUILT

    cdef int group_keys(self, const uint64_t* groups) noexcept nogil:
        # Fills part_of_key and makes the table of parts. Half of the slots stay empty, so a search ends; those of few
        # groups lie in few pages, and calloc costs no more than these.
        cdef size_t size = 8
        cdef size_t i
        cdef Slot* slots
        cdef int parts = 0
        while size < self.keys * 2:
            size *= 2
        slots = <Slot*>calloc(size, sizeof(Slot))
        self.part_of_key = <uint32_t*>malloc(self.keys * sizeof(uint32_t))
        if slots == NULL or self.part_of_key == NULL:
            free(slots)
            return -1
        for i in range(self.keys):
            if i and groups[i] == groups[i - 1]:
                self.part_of_key[i] = self.part_of_key[i - 1]
            else:
                self.part_of_key[i] = part_of(slots, size - 1, groups[i], &parts)
        free(slots)
        self.part_table = <Part*>calloc(parts, sizeof(Part))
        if self.part_table == NULL:
            return -1
        self.parts = parts
        for i in range(self.keys):
            self.part_table[self.part_of_key[i]].group = groups[i]
            self.part_table[self.part_of_key[i]].keys += 1
        return 0

    cdef int write_frames(self, const char* p, const RequestScan* s, int step) noexcept nogil:
        # First how long each part gets, then their heads, then runs of neighbours that belong together.
        cdef ArgWalk w, names
        cdef Span arg
        cdef Part* part
        cdef size_t i, head, from_pos, name_at, name_len
        cdef size_t total = 0
        cdef int k, _
        walk_args(&w, p, s)
        name_at = w.pos
        walk_next(&w, &arg)
        name_len = w.pos - name_at
        names = w
        for i in range(self.keys):
            from_pos = w.pos
            for _ in range(step):
                walk_next(&w, &arg)
            self.part_table[self.part_of_key[i]].frame_len += w.pos - from_pos
            total += w.pos - from_pos
        total += <size_t>self.parts * (HEAD_BYTES + name_len)
        self.frame_bytes = <char*>malloc(total)
        if self.frame_bytes == NULL:
            return -1
        self.held_bytes = total + self.keys * sizeof(uint32_t) + <size_t>self.parts * sizeof(Part)
        total = 0
        for k in range(self.parts):
            part = &self.part_table[k]
            part.frame_at = total
            head = snprintf(self.frame_bytes + total, HEAD_BYTES, b"*%zu\r\n", <size_t>part.keys * step + 1)
            part.cursor = total + head
            memcpy(self.frame_bytes + part.cursor, p + name_at, name_len)
            part.cursor += name_len
            total = part.cursor + part.frame_len
            part.frame_len = total - part.frame_at
        w = names
        from_pos = w.pos
        for i in range(self.keys):
            for _ in range(step):
                walk_next(&w, &arg)
            if i + 1 < self.keys and self.part_of_key[i + 1] == self.part_of_key[i]:
                continue
            part = &self.part_table[self.part_of_key[i]]
            memcpy(self.frame_bytes + part.cursor, p + from_pos, w.pos - from_pos)
            part.cursor += w.pos - from_pos
            from_pos = w.pos
        return 0

    cdef void part(self, int i, const char** p, size_t* n) noexcept nogil:
        p[0] = self.frame_bytes + self.part_table[i].frame_at
        n[0] = self.part_table[i].frame_len

    cdef uint64_t group(self, int i) noexcept nogil:
        return self.part_table[i].group

    cdef int accept(self, int i, const char* p, size_t n) noexcept nogil:
        cdef Part* part = &self.part_table[i]
        if part.reply == NULL:
            # An empty reply is a reply, too, if not a good one.
            part.reply = <char*>malloc(n if n else 1)
            if part.reply == NULL:
                return -1
            memcpy(part.reply, p, n)
            part.reply_len = n
            part.value_at = behind_attributes(p, n)
            self.held_bytes += n
            self.waiting -= 1
        return self.waiting == 0

    # ------------------------------------------------------------------------------------------------ the reply

    cdef int merge(self, Buf* out) noexcept nogil:
        cdef int failed = self.first_error()
        cdef size_t room = HEAD_BYTES
        cdef bint merged = False
        cdef int i
        if failed >= 0:
            return buf_append(out, self.part_table[failed].reply, self.part_table[failed].reply_len)
        if self.merge_by == MERGE_ARRAY:
            for i in range(self.parts):
                room += self.part_table[i].reply_len
        if buf_reserve(out, room) < 0:
            return -1
        if self.merge_by == MERGE_ARRAY:
            merged = self.merge_array(out)
        elif self.merge_by == MERGE_SUM:
            merged = self.merge_sum(out)
        elif self.merge_by == MERGE_OK:
            merged = self.merge_ok(out)
        return 0 if merged else append_error(out, E_PART_FAILED)

    cdef int first_error(self) noexcept nogil:
        # The first part that answered an error, -1 for none.
        cdef int i
        for i in range(self.parts):
            if is_error(&self.part_table[i]):
                return i
        return -1

    cdef bint merge_array(self, Buf* out) noexcept nogil:
        # False: some reply has another shape. Bytes written until that is known lie behind the tail, where they are
        # nobody's; merge has made the room.
        cdef char* start = buf_tail(out)
        cdef char* to = start
        cdef Part* part
        cdef size_t i, from_pos
        cdef int k
        for k in range(self.parts):
            if not open_array(&self.part_table[k]):
                return False
        to += snprintf(to, HEAD_BYTES, b"*%zu\r\n", self.keys)
        i = 0
        while i < self.keys:
            part = &self.part_table[self.part_of_key[i]]
            from_pos = part.cursor
            while True:
                if not step_over(part):
                    return False
                i += 1
                if i == self.keys or self.part_of_key[i] != self.part_of_key[i - 1]:
                    break
            memcpy(to, part.reply + from_pos, part.cursor - from_pos)
            to += part.cursor - from_pos
        for k in range(self.parts):
            if self.part_table[k].cursor != self.part_table[k].reply_len:
                return False
        buf_produce(out, to - start)
        return True

    cdef bint merge_sum(self, Buf* out) noexcept nogil:
        cdef const char* p
        cdef size_t n
        cdef Span digits
        cdef int64_t number
        cdef int64_t total = 0
        cdef int i
        for i in range(self.parts):
            p = value_of(&self.part_table[i], &n)
            if n < 4 or p[0] != c':' or memcmp(p + n - 2, b"\r\n", 2) != 0:
                return False
            digits.off = 1
            digits.len = n - 3
            if not arg_integer(p, &digits, &number):
                return False
            total += number
            if total > FURTHEST_SUM or total < -FURTHEST_SUM:
                return False
        buf_produce(out, snprintf(buf_tail(out), HEAD_BYTES, b":%lld\r\n", <long long>total))
        return True

    cdef bint merge_ok(self, Buf* out) noexcept nogil:
        cdef const char* p
        cdef size_t n
        cdef int i
        for i in range(self.parts):
            p = value_of(&self.part_table[i], &n)
            if n != 5 or memcmp(p, b"+OK\r\n", 5) != 0:
                return False
        buf_append(out, b"+OK\r\n", 5)
        return True

    # ------------------------------------------------------------------------------------------------ Python's face

    @property
    def frames(self):
        """The frame of every part."""
        cdef const char* p
        cdef size_t n
        out = []
        for i in range(self.parts):
            self.part(i, &p, &n)
            out.append(p[:n])
        return out

    @property
    def groups(self):
        """The group of every part."""
        return [self.group(i) for i in range(self.parts)]

    def answer(self, int part, bytes reply):
        """Takes the reply of a part; whether all parts have replied now."""
        cdef int got
        if not 0 <= part < self.parts:
            raise IndexError(part)
        got = self.accept(part, reply, len(reply))
        if got < 0:
            raise MemoryError
        return got == 1

    def reply(self, bytes before=b"", size_t consumed=0):
        """The one reply, behind what is left unread in a buffer that held `before`."""
        cdef Buf out
        buf_init(&out)
        try:
            if consumed > <size_t>len(before):
                raise ValueError("more than the buffer holds")
            if buf_append(&out, before, len(before)) < 0:
                raise MemoryError
            buf_consume(&out, consumed)
            if self.merge(&out) < 0:
                raise MemoryError
            return buf_ptr(&out)[:buf_len(&out)]
        finally:
            buf_free(&out)


cdef uint64_t* group_array(list groups) except NULL:
    cdef size_t i
    cdef uint64_t* out = <uint64_t*>malloc((len(groups) + 1) * sizeof(uint64_t))
    if out == NULL:
        raise MemoryError
    try:
        for i in range(<size_t>len(groups)):
            out[i] = groups[i]
    except BaseException:
        free(out)
        raise
    return out


cdef CommandRow* scan_request(bytes frame, RequestScan* s) except NULL:
    cdef const char* p = frame
    cdef CommandRow* row
    request_scan_reset(s)
    if next_request(p, len(frame), s) != FRAME_OK or s.pos != <size_t>len(frame) or s.argc == 0:
        raise ProtocolError("not one whole request")
    row = command_row(command_lookup(p + s.args[0].off, s.args[0].len))
    if row == NULL:
        raise ProtocolError("unknown command")
    return row


def split(bytes frame, groups):
    """The parts of one whole request in array form, given the group of each of its keys.

    ValueError for a request that has no parts: another command, a key without its value, another number of keys.
    """
    cdef RequestScan s
    cdef CommandRow* row = scan_request(frame, &s)
    cdef list numbers = list(groups)
    cdef uint64_t* ids = group_array(numbers)
    cdef Fragments out = Fragments()
    cdef int got = out.build(frame, &s, row, ids, len(numbers))
    free(ids)
    if got == SPLIT_NO_MEMORY:
        raise MemoryError
    if got == SPLIT_UNFIT:
        raise ValueError("not a request that can be split by these groups")
    return out


def time_split(bytes frame, groups, replies, int64_t rounds):
    """Splits a request and merges the replies of its parts `rounds` times; the bytes merged: for the benchmark."""
    cdef RequestScan s
    cdef CommandRow* row = scan_request(frame, &s)
    cdef const char* p = frame
    cdef const char* reply
    cdef size_t n
    cdef list numbers = list(groups)
    cdef Fragments whole
    cdef Buf out
    cdef int64_t merged = 0
    cdef int i
    cdef uint64_t* ids = group_array(numbers)
    buf_init(&out)
    for _ in range(rounds):
        whole = Fragments.__new__(Fragments)
        if whole.build(p, &s, row, ids, len(numbers)) < 0:
            break
        for i in range(whole.parts):
            reply = replies[i]
            n = len(replies[i])
            whole.accept(i, reply, n)
        if whole.merge(&out) < 0:
            break
        merged += buf_len(&out)
        buf_clear(&out)
    free(ids)
    buf_free(&out)
    return merged
