"""Effects: what the other replicas are sent for a command that runs at one place, the key's lead.

What it is: pure functions from a request and its reply to other requests. LPOP on three replicas would pop what each
has in front; so the lead pops, and the others are told what is to go.

    request and reply at the lead          effect at the other replicas
    SETNX k v           :1                 SET k v                  (:0: nothing)
    SET k v GET PXAT t  $3 old             SET k v PXAT t           (NX, XX, IFEQ: only if it was set)
    GETDEL k            $3 old             DEL k
    GETEX k PXAT t      $3 old             PEXPIREAT k t
    LPOP k 3            *2 a b             LPOP k 2
    SPOP k              $1 a               SREM k a
    ZPOPMIN k           *2 a 1             ZREM k a
    LMOVE a b ..        $1 x               the same
    XADD k * f v        $.. 17-0           XADD k 17-0 f v
    XCLAIM k g c ..     *1 17-0 ..         XCLAIM k g c 0 17-0 FORCE, and what is struck out of the pending ones
    EVAL ..             anything           the same
    SUNIONSTORE d a b   :2                 RESTORE d 0 <bytes> REPLACE ABSTTL, from probes sent behind it:
                                           DUMP d, PTTL d

What it is not: it sends nothing and keeps nothing; relative expiries have been made absolute before (expiry.pyx).

Invariants:
- every row of class lead has a rule (checked at import);
- an error changes nothing, except a script's, which may have written before;
- applied in the order of the lead's replies, effects make an equal replica equal again.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memchr, memset

from dynomite_mp.proto.buffer cimport Buf, ByteBuffer, buf_len, buf_ptr
from dynomite_mp.proto.command_lookup cimport (
    CONFLICT_LEAD, CONFLICT_ORDERED, EFFECT_KEYS, CommandRow, command_lookup, command_row, subcommand_lookup,
)
from dynomite_mp.proto.request_writer cimport put_arg, put_array, put_bulk, put_integer, put_word
from dynomite_mp.proto.resp cimport (
    FRAME_OK, ArgWalk, KeyWalk, ReplyScan, RequestScan, Span, arg_integer, arg_is, has_word, next_reply, next_request,
    nth_arg, reply_scan_reset, request_scan_reset, walk_args, walk_key, walk_keys, walk_next,
)

from dynomite_mp.errors import InternalError
from dynomite_mp.proto.commands import COMMAND_IDS, COMMANDS

cdef enum:
    ROWS = 512
    LF = 10

    # Rule.happened: which replies mean that something has changed
    ANY_REPLY = 0
    ONE = 1                     # :1
    PRESENT = 2                 # not null
    OK = 3                      # +OK
    SET_REPLY = 4               # as SET answers, by its options
    SCRIPT_REPLY = 5            # even an error

    # Rule.form: what the effect looks like
    FORM_NONE = 0
    FORM_SAME = 1
    FORM_NAMED = 2              # .name, the arguments without the options that decide; .extra behind them
    FORM_KEY = 3                # .name and the key
    FORM_FIELDS = 4             # .name, the key and what stands behind FIELDS n
    FORM_EXPIRY = 5             # GETEX, HGETEX: the expiry alone
    FORM_POP = 6                # LPOP or RPOP with the number of elements popped
    FORM_MEMBERS = 7            # .name, the key and the members in the reply
    FORM_ID = 8                 # XADD
    FORM_CLAIM = 9              # XCLAIM, XAUTOCLAIM
    FORM_DUMP = 10              # the keys it writes, from probes

    FIRST_CLAIMED = 5           # where the ids of an XCLAIM begin

cdef struct Rule:
    uint8_t form
    uint8_t happened
    uint8_t step                # of FORM_MEMBERS: leaves of the reply per member
    bint names_key              # of FORM_MEMBERS and FORM_POP: the reply's first leaf is the key
    int64_t first               # of FORM_DUMP: first key written, 0 = the one behind STORE
    int64_t last
    const char* name
    const char* extra

cdef Rule RULE[ROWS]


def _rule(form, happened=PRESENT, name=None, extra=None, step=1, names_key=False, first=0, last=0):
    return form, happened, name, extra, step, names_key, first, last


_RULES = {
    "set": _rule(FORM_NAMED, SET_REPLY, b"SET"),
    "getset": _rule(FORM_NAMED, ANY_REPLY, b"SET"),
    "setnx": _rule(FORM_NAMED, ONE, b"SET"),
    "msetnx": _rule(FORM_NAMED, ONE, b"MSET"),
    "hsetnx": _rule(FORM_NAMED, ONE, b"HSET"),
    "hsetex": _rule(FORM_NAMED, ONE, b"HSETEX"),
    "restore": _rule(FORM_NAMED, OK, b"RESTORE", b"REPLACE"),
    "getdel": _rule(FORM_KEY, PRESENT, b"DEL"),
    "delifeq": _rule(FORM_KEY, ONE, b"DEL"),
    "hgetdel": _rule(FORM_FIELDS, PRESENT, b"HDEL"),
    "getex": _rule(FORM_EXPIRY),
    "hgetex": _rule(FORM_EXPIRY),
    "lpop": _rule(FORM_POP, name=b"LPOP"),
    "rpop": _rule(FORM_POP, name=b"RPOP"),
    "lmpop": _rule(FORM_POP, names_key=True),
    "spop": _rule(FORM_MEMBERS, name=b"SREM"),
    "zpopmin": _rule(FORM_MEMBERS, name=b"ZREM", step=2),
    "zpopmax": _rule(FORM_MEMBERS, name=b"ZREM", step=2),
    "zmpop": _rule(FORM_MEMBERS, name=b"ZREM", step=2, names_key=True),
    "lmove": _rule(FORM_SAME),
    "rpoplpush": _rule(FORM_SAME),
    "smove": _rule(FORM_SAME, ONE),
    "xadd": _rule(FORM_ID),
    "xclaim": _rule(FORM_CLAIM, ANY_REPLY),
    "xautoclaim": _rule(FORM_CLAIM, ANY_REPLY),
    "xreadgroup": _rule(FORM_SAME),
    "xgroup|create": _rule(FORM_SAME, ANY_REPLY),
    "xgroup|setid": _rule(FORM_SAME, ANY_REPLY),
    "eval": _rule(FORM_SAME, SCRIPT_REPLY),
    "evalsha": _rule(FORM_SAME, SCRIPT_REPLY),
    "fcall": _rule(FORM_SAME, SCRIPT_REPLY),
    "bitop": _rule(FORM_DUMP, ANY_REPLY, first=2, last=2),
    "pfmerge": _rule(FORM_DUMP, ANY_REPLY, first=1, last=1),
    "copy": _rule(FORM_DUMP, ONE, first=2, last=2),
    "rename": _rule(FORM_DUMP, OK, first=1, last=2),
    "renamenx": _rule(FORM_DUMP, ONE, first=1, last=2),
    "sort": _rule(FORM_DUMP, ANY_REPLY),
    "georadius": _rule(FORM_DUMP, ANY_REPLY),
    "georadiusbymember": _rule(FORM_DUMP, ANY_REPLY),
    **{name: _rule(FORM_DUMP, ANY_REPLY, first=1, last=1) for name in (
        "sdiffstore", "sinterstore", "sunionstore", "zdiffstore", "zinterstore", "zunionstore", "zrangestore",
        "geosearchstore", "json.arrpop", "json.nummultby", "json.toggle")},
}


def _build():
    cdef Rule* rule
    lead = {row.name for row in COMMANDS if row.refusal is None and (row.conflict == "lead" or row.lead_if)}
    if lead != _RULES.keys():
        raise InternalError(f"effects: no rule of {sorted(lead ^ _RULES.keys())}", "compare proto/command_rows.py")
    for name, (form, happened, word, extra, step, names_key, first, last) in _RULES.items():
        if (form == FORM_DUMP) != (COMMANDS[COMMAND_IDS[name] - 1].replicate == "effect:keys"):
            raise InternalError(f"effects: the rule of {name} is not what proto/command_rows.py says")
        rule = &RULE[COMMAND_IDS[name]]
        rule.form = form
        rule.happened = happened
        rule.step = step
        rule.names_key = names_key
        rule.first = first
        rule.last = last
        if word is not None:
            rule.name = word
        if extra is not None:
            rule.extra = extra


memset(RULE, 0, sizeof(RULE))
_build()


# ---------------------------------------------------------------------------------------------------- classes


cdef bint is_one_of(const char* p, const Span* arg, const char* words) noexcept nogil:
    # Whether the argument is one of words, as they lie in CommandRow.lead_words.
    while words[0]:
        if arg_is(p, arg, words):
            return True
        while words[0]:
            words += 1
        words += 1
    return False


cdef bint decides(const CommandRow* row, const char* p, const RequestScan* s) noexcept nogil:
    # Whether one of the words that make it class lead is among its options.
    cdef ArgWalk w
    cdef Span arg
    walk_args(&w, p, s)
    while walk_next(&w, &arg):
        if w.index <= row.lead_at:
            continue
        if arg_is(p, &arg, b"fields"):
            return False
        if is_one_of(p, &arg, row.lead_words):
            return True
    return False


cdef int conflict_of(const CommandRow* row, const char* p, const RequestScan* s) noexcept nogil:
    if row.lead_words == NULL or (s.argc <= row.lead_at and not row.lead_unless):
        return row.conflict
    return CONFLICT_LEAD if decides(row, p, s) != row.lead_unless else row.conflict


cdef const CommandRow* effect_row(const char* p, const RequestScan* s) noexcept nogil:
    cdef unsigned int id = command_lookup(p + s.args[0].off, s.args[0].len)
    cdef const CommandRow* row = command_row(id)
    if row != NULL and row.is_container and s.argc > 1:
        row = command_row(subcommand_lookup(id, p + s.args[1].off, s.args[1].len))
    return row


cdef int effect_conflict(const char* p, size_t n) noexcept nogil:
    cdef RequestScan s
    cdef const CommandRow* row
    cdef int conflict
    request_scan_reset(&s)
    if next_request(p, n, &s) != FRAME_OK or s.argc == 0:
        return CONFLICT_ORDERED
    row = effect_row(p, &s)
    if row == NULL:
        return CONFLICT_ORDERED
    conflict = conflict_of(row, p, &s)
    return CONFLICT_ORDERED if conflict == CONFLICT_LEAD else conflict


# ---------------------------------------------------------------------------------------------------- replies


cdef bint next_leaf(const char* p, size_t n, size_t* pos, Span* leaf, bint* is_null) noexcept nogil:
    # The next value that is no array, map or set, whatever it lies in; the frame is complete.
    cdef const char* end
    cdef size_t at
    cdef int64_t size
    cdef Span length
    while pos[0] < n:
        at = pos[0]
        end = <const char*>memchr(p + at, LF, n - at)
        if end == NULL:
            return False
        pos[0] = <size_t>(end - p) + 1
        length.off = at + 1
        length.len = pos[0] - at - 3
        is_null[0] = p[at] == c"_" or (length.len == 2 and p[at + 1] == c"-" and p[at + 2] == c"1"
                                       and (p[at] == c"$" or p[at] == c"*"))
        leaf[0] = length
        if is_null[0]:
            return True
        if p[at] == c"*" or p[at] == c"%" or p[at] == c"~":
            continue
        if p[at] == c"$" or p[at] == c"=":
            if not arg_integer(p, &length, &size):
                return False
            leaf.off = pos[0]
            leaf.len = <size_t>size
            pos[0] += <size_t>size + 2
        return True
    return False


cdef int64_t count_leaves(const char* p, size_t n) noexcept nogil:
    # Those that are not null.
    cdef size_t pos = 0
    cdef Span leaf
    cdef bint is_null
    cdef int64_t count = 0
    while next_leaf(p, n, &pos, &leaf, &is_null):
        count += not is_null
    return count


cdef bint says(const char* p, size_t n, const char* line, size_t len) noexcept nogil:
    cdef size_t i
    if n < len:
        return False
    for i in range(len):
        if p[i] != line[i]:
            return False
    return True


cdef bint was_set(const char* p, const RequestScan* s, const char* reply, size_t n, bint is_null) noexcept nogil:
    # SET with NX, XX, GET or a comparison: by its options, what the reply means.
    cdef ArgWalk w
    cdef Span arg, compared, old
    cdef size_t pos = 0
    cdef size_t i
    cdef bint gets = False, absent = False, same = False, differs = False
    cdef bint equal = True
    compared.off = compared.len = 0
    walk_args(&w, p, s)
    while walk_next(&w, &arg):
        if w.index <= 3:
            continue
        gets = gets or arg_is(p, &arg, b"get")
        absent = absent or arg_is(p, &arg, b"nx")
        if arg_is(p, &arg, b"ifeq") or arg_is(p, &arg, b"ifne"):
            same = arg_is(p, &arg, b"ifeq")
            differs = not same
            walk_next(&w, &compared)
    if not gets:
        return says(reply, n, b"+OK", 3)
    if absent:
        return is_null
    if not same and not differs:
        return not is_null or not has_word(p, s, 3, b"xx")
    if is_null:
        return differs
    next_leaf(reply, n, &pos, &old, &is_null)
    equal = old.len == compared.len
    for i in range(old.len if equal else 0):
        equal = equal and reply[old.off + i] == p[compared.off + i]
    return equal == same


cdef bint has_happened(const Rule* rule, const char* p, const RequestScan* s,
                       const char* reply, size_t n) noexcept nogil:
    cdef size_t pos = 0
    cdef Span leaf
    cdef bint is_null = False
    if n == 0:
        return False
    if reply[0] == c"-" or reply[0] == c"!":
        return rule.happened == SCRIPT_REPLY and not says(reply, n, b"-NOSCRIPT", 9)
    if rule.happened == ONE:
        return says(reply, n, b":1\r", 3)
    if rule.happened == OK:
        return says(reply, n, b"+OK", 3)
    if rule.happened == PRESENT:
        return count_leaves(reply, n) > 0
    if rule.happened == SET_REPLY:
        next_leaf(reply, n, &pos, &leaf, &is_null)
        return was_set(p, s, reply, n, is_null)
    return True


# ---------------------------------------------------------------------------------------------------- the forms


cdef int named(const CommandRow* row, const Rule* rule, const char* p, const RequestScan* s, Buf* out) noexcept nogil:
    # .name and the arguments; first counted, then written, without the options that decided.
    cdef ArgWalk w
    cdef Span arg
    cdef int round
    cdef int64_t kept = 1 + (rule.extra != NULL)
    cdef bint in_options
    for round in range(2):
        if round and (put_array(out, kept) < 0 or put_word(out, rule.name) < 0):
            return EFFECT_FAILED
        walk_args(&w, p, s)
        walk_next(&w, &arg)
        in_options = row.lead_words != NULL and not row.lead_unless
        while walk_next(&w, &arg):
            if w.index > row.lead_at and in_options:
                in_options = not arg_is(p, &arg, b"fields")
                if is_one_of(p, &arg, row.lead_words):
                    if arg.len == 4 or arg.len == 5:        # ifeq, ifdeq and their like come with a value
                        walk_next(&w, &arg)
                    continue
            if round == 0:
                kept += 1
            elif put_arg(out, p, &arg) < 0:
                return EFFECT_FAILED
    if rule.extra != NULL and put_word(out, rule.extra) < 0:
        return EFFECT_FAILED
    return EFFECT_WRITTEN


cdef int with_fields(const char* name, const char* p, const RequestScan* s, const Span* at, bint with_count,
                     Buf* out) noexcept nogil:
    # name key [at] [FIELDS n] field ...; `at` NULL for none
    cdef ArgWalk w
    cdef Span key, arg
    cdef int64_t fields = 0
    nth_arg(p, s, 1, &key)
    walk_args(&w, p, s)
    while walk_next(&w, &arg) and not (w.index > 2 and arg_is(p, &arg, b"fields")):
        pass
    fields = s.argc - w.index - 1
    if fields < 1:
        return EFFECT_NOTHING
    if put_array(out, 2 + (at != NULL) + 2 * with_count + fields) < 0 or put_word(out, name) < 0 or put_arg(
            out, p, &key) < 0 or (at != NULL and put_arg(out, p, at) < 0):
        return EFFECT_FAILED
    walk_next(&w, &arg)
    if with_count and (put_word(out, b"FIELDS") < 0 or put_arg(out, p, &arg) < 0):
        return EFFECT_FAILED
    while walk_next(&w, &arg):
        if put_arg(out, p, &arg) < 0:
            return EFFECT_FAILED
    return EFFECT_WRITTEN


cdef int expiry_alone(const CommandRow* row, const char* p, const RequestScan* s, Buf* out) noexcept nogil:
    # GETEX key PXAT t -> PEXPIREAT key t; without an expiry among its options it was a read.
    cdef ArgWalk w
    cdef Span key, arg
    cdef const char* name = NULL
    cdef bint of_fields = row.name[0] == c"h"
    nth_arg(p, s, 1, &key)
    walk_args(&w, p, s)
    while name == NULL and walk_next(&w, &arg):
        if w.index <= 2:
            continue
        if of_fields and arg_is(p, &arg, b"fields"):
            return EFFECT_NOTHING
        if arg_is(p, &arg, b"pxat"):
            name = b"HPEXPIREAT" if of_fields else b"PEXPIREAT"
        elif arg_is(p, &arg, b"exat"):
            name = b"HEXPIREAT" if of_fields else b"EXPIREAT"
        elif arg_is(p, &arg, b"persist"):
            if of_fields:
                return with_fields(b"HPERSIST", p, s, NULL, True, out)
            return EFFECT_FAILED if put_array(out, 2) < 0 or put_word(out, b"PERSIST") < 0 or put_arg(
                out, p, &key) < 0 else EFFECT_WRITTEN
    if name == NULL or not walk_next(&w, &arg):
        return EFFECT_NOTHING
    if of_fields:
        return with_fields(name, p, s, &arg, True, out)
    if put_array(out, 3) < 0 or put_word(out, name) < 0 or put_arg(out, p, &key) < 0 or put_arg(out, p, &arg) < 0:
        return EFFECT_FAILED
    return EFFECT_WRITTEN


cdef int popped(const Rule* rule, const char* p, const RequestScan* s, const char* reply, size_t n,
                Buf* out) noexcept nogil:
    """LPOP and RPOP: as many as were popped, from the key that LMPOP names."""
    cdef int64_t count = count_leaves(reply, n)
    cdef size_t pos = 0
    cdef Span key, keys, side
    cdef bint is_null
    cdef int64_t numkeys
    cdef const char* name = rule.name
    cdef const char* from_ = p
    nth_arg(p, s, 1, &key)
    if rule.names_key:
        nth_arg(p, s, 1, &keys)
        if not arg_integer(p, &keys, &numkeys) or not nth_arg(p, s, 2 + numkeys, &side):
            return EFFECT_NOTHING
        name = b"LPOP" if arg_is(p, &side, b"left") else b"RPOP"
        next_leaf(reply, n, &pos, &key, &is_null)
        from_ = reply
        count -= 1
    if count == 0:
        return EFFECT_NOTHING
    # One element is popped without a count: a C node in another datacenter knows no other form.
    if put_array(out, 2 + (count > 1)) < 0 or put_word(out, name) < 0 or put_arg(out, from_, &key) < 0 or (
            count > 1 and put_integer(out, count) < 0):
        return EFFECT_FAILED
    return EFFECT_WRITTEN


cdef int members(const Rule* rule, const char* p, const RequestScan* s, const char* reply, size_t n,
                 Buf* out) noexcept nogil:
    """SREM and ZREM of what was popped."""
    cdef int64_t leaves = count_leaves(reply, n) - rule.names_key
    cdef int64_t i = 0
    cdef size_t pos = 0
    cdef Span key, leaf
    cdef bint is_null
    cdef const char* from_ = p
    if leaves < rule.step:
        return EFFECT_NOTHING
    nth_arg(p, s, 1, &key)
    if rule.names_key:
        next_leaf(reply, n, &pos, &key, &is_null)
        from_ = reply
    if put_array(out, 2 + leaves // rule.step) < 0 or put_word(out, rule.name) < 0 or put_arg(out, from_, &key) < 0:
        return EFFECT_FAILED
    while next_leaf(reply, n, &pos, &leaf, &is_null):
        if i % rule.step == 0 and put_arg(out, reply, &leaf) < 0:
            return EFFECT_FAILED
        i += 1
    return EFFECT_WRITTEN


cdef int64_t id_at(const char* p, const RequestScan* s) noexcept nogil:
    """Which argument of XADD is the id; 0 if its options end too early."""
    cdef ArgWalk w
    cdef Span arg
    walk_args(&w, p, s)
    walk_next(&w, &arg)
    walk_next(&w, &arg)
    while walk_next(&w, &arg):
        if arg_is(p, &arg, b"maxlen") or arg_is(p, &arg, b"minid"):
            walk_next(&w, &arg)
            if arg.len == 1 and (p[arg.off] == c"~" or p[arg.off] == c"="):
                walk_next(&w, &arg)
        elif arg_is(p, &arg, b"limit"):
            walk_next(&w, &arg)
        elif not (arg_is(p, &arg, b"nomkstream") or arg_is(p, &arg, b"keepref") or arg_is(p, &arg, b"delref")
                  or arg_is(p, &arg, b"acked")):
            return w.index - 1
    return 0


cdef int with_id(const char* p, const RequestScan* s, const char* reply, size_t n, Buf* out) noexcept nogil:
    """XADD with the id that the lead's datastore has given."""
    cdef ArgWalk w
    cdef Span arg, id
    cdef size_t pos = 0
    cdef bint is_null
    cdef int64_t at = id_at(p, s)
    if at == 0 or not next_leaf(reply, n, &pos, &id, &is_null):
        return EFFECT_NOTHING
    if put_array(out, s.argc) < 0:
        return EFFECT_FAILED
    walk_args(&w, p, s)
    while walk_next(&w, &arg):
        if (put_arg(out, reply, &id) if w.index == at + 1 else put_arg(out, p, &arg)) < 0:
            return EFFECT_FAILED
    return EFFECT_WRITTEN


cdef bint looks_like_id(const char* p, const Span* arg) noexcept nogil:
    cdef size_t i
    for i in range(arg.len):
        if not (c"0" <= p[arg.off + i] <= c"9" or p[arg.off + i] == c"-"):
            return False
    return arg.len > 0


cdef bint next_claimed(const char* p, size_t n, size_t* pos, Span* id) noexcept nogil:
    """The first leaf of the next element of an array of ids or of [id, fields]; deleted entries are null."""
    cdef ReplyScan element
    cdef size_t inner
    cdef bint is_null = True
    while is_null:
        if pos[0] >= n:
            return False
        reply_scan_reset(&element)
        if next_reply(p + pos[0], n - pos[0], &element) != FRAME_OK:
            return False
        inner = pos[0]
        pos[0] += element.pos
        if not next_leaf(p, pos[0], &inner, id, &is_null):
            is_null = True                          # an empty element
    return True


cdef size_t array_head(const char* p, size_t n) noexcept nogil:
    cdef const char* end = <const char*>memchr(p, LF, n)
    return n if end == NULL else <size_t>(end - p) + 1


cdef bint entries_of(const char* reply, size_t n, size_t* start, size_t* end) noexcept nogil:
    """Where the entries stand in a reply to XAUTOCLAIM: cursor, entries, deleted ids."""
    cdef ReplyScan part
    reply_scan_reset(&part)
    if next_reply(reply + start[0], n - start[0], &part) != FRAME_OK:
        return False
    start[0] += part.pos
    reply_scan_reset(&part)
    if start[0] >= n or next_reply(reply + start[0], n - start[0], &part) != FRAME_OK:
        return False
    end[0] = start[0] + part.pos
    start[0] += array_head(reply + start[0], end[0] - start[0])
    return True


cdef int claimed(const CommandRow* row, const char* p, const RequestScan* s, const char* reply, size_t n,
                 Buf* out) noexcept nogil:
    """XCLAIM key group consumer 0 id.. options FORCE: what the lead has claimed, however long it was idle here.

    Both commands also strike entries that are no longer in the stream from the pending ones, and so does this XCLAIM
    when it names them. XAUTOCLAIM says which; for what an XCLAIM did not claim see struck_out().
    """
    cdef bint is_auto = row.name[1] == c"a"
    cdef ArgWalk w
    cdef Span arg, id
    cdef int round
    cdef size_t start = array_head(reply, n)
    cdef size_t end = n
    cdef size_t pos
    cdef size_t deleted                             # ids that XAUTOCLAIM says it struck out, from Redis 7 on
    cdef int64_t ids = 0, options = 0
    if is_auto and not entries_of(reply, n, &start, &end):
        return EFFECT_NOTHING
    for round in range(2):
        if round:
            if ids == 0:
                return EFFECT_NOTHING if is_auto else struck_out(p, s, out)
            if put_array(out, 6 + ids + options) < 0 or put_word(out, b"XCLAIM") < 0:
                return EFFECT_FAILED
        walk_args(&w, p, s)
        walk_next(&w, &arg)
        while w.index < 4 and walk_next(&w, &arg):
            if round and put_arg(out, p, &arg) < 0:
                return EFFECT_FAILED
        walk_next(&w, &arg)                         # the least idle time
        if round and put_word(out, b"0") < 0:
            return EFFECT_FAILED
        pos = start
        while next_claimed(reply, end, &pos, &id):
            ids += not round
            if round and put_arg(out, reply, &id) < 0:
                return EFFECT_FAILED
        deleted = end + array_head(reply + end, n - end)
        while next_claimed(reply, n, &deleted, &id):
            ids += not round
            if round and put_arg(out, reply, &id) < 0:
                return EFFECT_FAILED
        while walk_next(&w, &arg):
            if (is_auto and not arg_is(p, &arg, b"justid")) or (
                    not is_auto and options == 0 and round == 0 and looks_like_id(p, &arg)):
                continue
            if round == 0:
                options += 1
            elif not is_auto and s.argc - w.index >= options:
                continue                            # still the ids
            elif put_arg(out, p, &arg) < 0:
                return EFFECT_FAILED
    if put_word(out, b"FORCE") < 0:
        return EFFECT_FAILED
    return EFFECT_WRITTEN if is_auto or ids == s.argc - FIRST_CLAIMED - options else struck_out(p, s, out)


cdef int struck_out(const char* p, const RequestScan* s, Buf* out) noexcept nogil:
    """XCLAIM key group consumer, an idle time that nothing has, id.. JUSTID: claims none of these entries, and strikes
    out those that are no longer in the stream."""
    cdef ArgWalk w
    cdef Span arg
    cdef int round
    cdef int64_t ids = 0
    for round in range(2):
        if round and (put_array(out, FIRST_CLAIMED + ids + 1) < 0 or put_word(out, b"XCLAIM") < 0):
            return EFFECT_FAILED
        walk_args(&w, p, s)
        walk_next(&w, &arg)
        while w.index < FIRST_CLAIMED - 1 and walk_next(&w, &arg):
            if round and put_arg(out, p, &arg) < 0:
                return EFFECT_FAILED
        walk_next(&w, &arg)
        if round and put_word(out, b"9223372036854775807") < 0:
            return EFFECT_FAILED
        while walk_next(&w, &arg) and looks_like_id(p, &arg):
            ids += not round
            if round and put_arg(out, p, &arg) < 0:
                return EFFECT_FAILED
    return EFFECT_FAILED if put_word(out, b"JUSTID") < 0 else EFFECT_WRITTEN


cdef int effect_of(const CommandRow* row, const char* p, RequestScan* s, const char* reply, size_t reply_len,
                   Buf* out) noexcept nogil:
    cdef const Rule* rule = &RULE[row.id]
    cdef Span key
    if rule.form == FORM_NONE or rule.form == FORM_DUMP or not has_happened(rule, p, s, reply, reply_len):
        return EFFECT_NOTHING
    if rule.form == FORM_SAME:
        return EFFECT_SAME
    if rule.form == FORM_NAMED:
        return named(row, rule, p, s, out)
    if rule.form == FORM_KEY:
        if not nth_arg(p, s, 1, &key) or put_array(out, 2) < 0 or put_word(out, rule.name) < 0 or put_arg(
                out, p, &key) < 0:
            return EFFECT_FAILED
        return EFFECT_WRITTEN
    if rule.form == FORM_FIELDS:
        return with_fields(rule.name, p, s, NULL, False, out)
    if rule.form == FORM_EXPIRY:
        return expiry_alone(row, p, s, out)
    if rule.form == FORM_POP:
        return popped(rule, p, s, reply, reply_len, out)
    if rule.form == FORM_MEMBERS:
        return members(rule, p, s, reply, reply_len, out)
    if rule.form == FORM_ID:
        return with_id(p, s, reply, reply_len, out)
    return claimed(row, p, s, reply, reply_len, out)


# ---------------------------------------------------------------------------------------------------- written keys


cdef int written_keys(const CommandRow* row, const char* p, RequestScan* s, Span* keys) noexcept nogil:
    """The keys that a command with FORM_DUMP writes, at most two."""
    cdef const Rule* rule = &RULE[row.id]
    cdef KeyWalk w
    cdef int64_t index
    cdef int64_t at
    cdef int count = 0
    if rule.form != FORM_DUMP:
        return 0
    if rule.first == 0:                             # the last key, if it is not the first as well
        if walk_keys(&w, p, s, row) != 1:
            return 0
        while walk_key(&w, &keys[0], &index):
            count += 1
        return 1 if count > 1 else 0
    for at in range(rule.first, rule.last + 1):
        if not nth_arg(p, s, at, &keys[count]):
            return 0
        count += 1
    return count


cdef int effect_probes(const CommandRow* row, const char* p, RequestScan* s, Buf* out) noexcept nogil:
    cdef Span[2] keys
    cdef int count = written_keys(row, p, s, keys)
    cdef int i
    for i in range(count):
        if (put_array(out, 2) < 0 or put_word(out, b"DUMP") < 0 or put_arg(out, p, &keys[i]) < 0
                or put_array(out, 2) < 0 or put_word(out, b"PTTL") < 0 or put_arg(out, p, &keys[i]) < 0):
            return -1
    return 2 * count


cdef int effect_of_probes(const CommandRow* row, const char* p, RequestScan* s, const char* reply, size_t reply_len,
                          const char* probed, size_t probed_len, int64_t now_ms, Buf* out) noexcept nogil:
    cdef Span[2] keys
    cdef Span dump, ttl
    cdef int count = written_keys(row, p, s, keys)
    cdef int i
    cdef size_t pos = 0
    cdef bint is_absent, is_null
    cdef int64_t ttl_ms
    if not has_happened(&RULE[row.id], p, s, reply, reply_len):
        return EFFECT_NOTHING
    for i in range(count):
        if not next_leaf(probed, probed_len, &pos, &dump, &is_absent) or not next_leaf(
                probed, probed_len, &pos, &ttl, &is_null):
            return EFFECT_FAILED
        if is_absent:
            if put_array(out, 2) < 0 or put_word(out, b"DEL") < 0 or put_arg(out, p, &keys[i]) < 0:
                return EFFECT_FAILED
            continue
        if not arg_integer(probed, &ttl, &ttl_ms) or ttl_ms < 0:
            ttl_ms = 0
        elif ttl_ms >= 0:
            ttl_ms += now_ms
        if (put_array(out, 6) < 0 or put_word(out, b"RESTORE") < 0 or put_arg(out, p, &keys[i]) < 0
                or put_integer(out, ttl_ms) < 0 or put_bulk(out, probed + dump.off, dump.len) < 0
                or put_word(out, b"REPLACE") < 0 or put_word(out, b"ABSTTL") < 0):
            return EFFECT_FAILED
    return EFFECT_WRITTEN if count else EFFECT_NOTHING


# ---- for tests

cdef const CommandRow* framed(bytes request, RequestScan* s) except NULL:
    cdef const CommandRow* row
    memset(s, 0, sizeof(RequestScan))
    if next_request(request, len(request), s) != FRAME_OK or s.argc == 0:
        raise ValueError("not a request")
    row = effect_row(request, s)
    if row == NULL:
        raise ValueError("not a command")
    return row


def conflict(bytes request):
    """Class of a write, its options considered: a word of commands.CONFLICTS."""
    cdef RequestScan s
    cdef const CommandRow* row = framed(request, &s)
    return conflict_of(row, request, &s)


def conflict_of_effect(bytes request):
    return effect_conflict(request, len(request))


def probes(bytes request):
    """The requests that must follow it, joined."""
    cdef RequestScan s
    cdef const CommandRow* row = framed(request, &s)
    cdef ByteBuffer out = ByteBuffer()
    effect_probes(row, request, &s, &out.buf)
    return buf_ptr(&out.buf)[:buf_len(&out.buf)]


def effect(bytes request, bytes reply, bytes probed=b"", int64_t now_ms=0):
    """The requests that the other replicas are sent, joined; empty when nothing has changed."""
    cdef RequestScan s
    cdef const CommandRow* row = framed(request, &s)
    cdef ByteBuffer out = ByteBuffer()
    cdef int made
    if row.effect == EFFECT_KEYS:
        made = effect_of_probes(row, request, &s, reply, len(reply), probed, len(probed), now_ms, &out.buf)
    else:
        made = effect_of(row, request, &s, reply, len(reply), &out.buf)
    if made == EFFECT_FAILED:
        raise MemoryError
    if made == EFFECT_SAME:
        return request
    return buf_ptr(&out.buf)[:buf_len(&out.buf)]
