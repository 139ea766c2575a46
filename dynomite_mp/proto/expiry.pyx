"""Relative expiries made absolute: EX, PX, SETEX, EXPIRE and their like say "in ten seconds", but from when?

What it is: rewriting of one request. Its replicas get it at different moments, a missed one perhaps an hour later; so
the coordinator says once when the key ends.

    SET k v EX 10           ->  SET k v PXAT 1764192010000          also GETEX, HSETEX, HGETEX
    SETEX k 10 v            ->  SET k v PXAT 1764192010000          also PSETEX
    EXPIRE k 10 NX          ->  PEXPIREAT k 1764192010000 NX        also PEXPIRE; HEXPIRE, HPEXPIRE: HPEXPIREAT
    RESTORE k 10000 bytes   ->  RESTORE k 1764192010000 bytes ABSTTL

What it is not: no clock, the caller passes the time; and no judge: what a datastore would refuse (EX 0, EX ten, a time
beyond its range) stays as it is, so that the client gets the datastore's own words.

Invariant: the rewritten request has the reply of the original.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from dynomite_mp.proto.buffer cimport Buf, ByteBuffer, buf_len, buf_ptr
from dynomite_mp.proto.command_lookup cimport CommandRow, command_lookup, command_row
from dynomite_mp.proto.request_writer cimport put_arg, put_array, put_integer, put_word
from dynomite_mp.proto.resp cimport (
    FRAME_OK, ArgWalk, RequestScan, Span, arg_integer, arg_is, has_word, next_request, walk_args, walk_next,
)

from dynomite_mp.errors import InternalError
from dynomite_mp.proto.commands import COMMAND_IDS, COMMANDS

cdef enum:
    ROWS = 512

    # How a command says when the key ends
    FORM_NONE = 0
    FORM_OPTION = 1             # EX n or PX n among its options
    FORM_SET = 2                # argument 2, and the rest is a SET
    FORM_AT = 3                 # argument 2, and another command takes it absolute
    FORM_TTL = 4                # argument 2, and the option ABSTTL; 0 is no expiry

cdef struct Form:
    uint8_t kind
    bint may_be_past            # a time that has passed deletes the key; else the datastore refuses it
    int64_t unit_ms             # of argument 2
    int64_t options_at          # of FORM_OPTION: first argument that may be one
    const char* name            # of FORM_AT: the other command

cdef Form FORM[ROWS]
cdef int64_t FURTHEST = 0x7FFFFFFFFFFFFFFF

# command: (form, unit_ms, first option, other command, may be past)
_FORMS = {
    "set": (FORM_OPTION, 0, 3, None, False),
    "getex": (FORM_OPTION, 0, 2, None, False),
    "hsetex": (FORM_OPTION, 0, 2, None, False),
    "hgetex": (FORM_OPTION, 0, 2, None, False),
    "setex": (FORM_SET, 1000, 0, None, False),
    "psetex": (FORM_SET, 1, 0, None, False),
    "expire": (FORM_AT, 1000, 0, b"PEXPIREAT", True),
    "pexpire": (FORM_AT, 1, 0, b"PEXPIREAT", True),
    "hexpire": (FORM_AT, 1000, 0, b"HPEXPIREAT", False),
    "hpexpire": (FORM_AT, 1, 0, b"HPEXPIREAT", False),
    "restore": (FORM_TTL, 1, 0, None, False),
}


def _build():
    cdef Form* form
    named = {row.name for row in COMMANDS if row.replicate == "effect:expire_at"}
    if named != _FORMS.keys():
        raise InternalError(f"expiries: no form of {sorted(named ^ _FORMS.keys())}", "compare proto/command_rows.py")
    for name, (kind, unit_ms, options_at, other, may_be_past) in _FORMS.items():
        form = &FORM[COMMAND_IDS[name]]
        form.kind = kind
        form.unit_ms = unit_ms
        form.options_at = options_at
        form.may_be_past = may_be_past
        if other is not None:
            form.name = <const char*>other


memset(FORM, 0, sizeof(FORM))
_build()


cdef bint moment(const char* p, const Span* arg, int64_t unit_ms, bint may_be_past, int64_t now_ms,
                 int64_t* at_ms) noexcept nogil:
    # now + arg in ms; False if the datastore would refuse it.
    cdef int64_t value
    if not arg_integer(p, arg, &value) or (value <= 0 and not may_be_past):
        return False
    if value > (FURTHEST - now_ms) // unit_ms or value < -(FURTHEST // unit_ms):
        return False
    at_ms[0] = now_ms + value * unit_ms
    return True


cdef int copy_rest(Buf* out, const char* p, ArgWalk* w) noexcept nogil:
    cdef Span arg
    while walk_next(w, &arg):
        if put_arg(out, p, &arg) < 0:
            return -1
    return 0


cdef int option_form(const Form* form, const char* p, const RequestScan* s, int64_t now_ms, Buf* out) noexcept nogil:
    # The first EX or PX; what stands behind it is none of the options' business.
    cdef ArgWalk w
    cdef Span arg
    cdef int64_t at = 0, at_ms = 0
    cdef int64_t unit_ms
    walk_args(&w, p, s)
    while at == 0:
        if not walk_next(&w, &arg):
            return EXPIRY_AS_IS
        if w.index <= form.options_at:
            continue
        if arg_is(p, &arg, b"fields"):
            return EXPIRY_AS_IS
        if arg_is(p, &arg, b"ifeq") or arg_is(p, &arg, b"ifne"):
            walk_next(&w, &arg)
        elif arg_is(p, &arg, b"ex") or arg_is(p, &arg, b"px"):
            at = w.index
            unit_ms = 1000 if arg_is(p, &arg, b"ex") else 1
            if not walk_next(&w, &arg) or not moment(p, &arg, unit_ms, False, now_ms, &at_ms):
                return EXPIRY_AS_IS
    if put_array(out, s.argc) < 0:
        return EXPIRY_NO_MEMORY
    walk_args(&w, p, s)
    while w.index < at - 1:
        walk_next(&w, &arg)
        if put_arg(out, p, &arg) < 0:
            return EXPIRY_NO_MEMORY
    walk_next(&w, &arg)
    walk_next(&w, &arg)
    if put_word(out, b"PXAT") < 0 or put_integer(out, at_ms) < 0 or copy_rest(out, p, &w) < 0:
        return EXPIRY_NO_MEMORY
    return EXPIRY_ABSOLUTE


cdef int second_argument_form(const Form* form, const char* p, const RequestScan* s, int64_t now_ms,
                              Buf* out) noexcept nogil:
    cdef ArgWalk w
    cdef Span name, key, arg
    cdef int64_t at_ms = 0
    walk_args(&w, p, s)
    if not walk_next(&w, &name) or not walk_next(&w, &key) or not walk_next(&w, &arg):
        return EXPIRY_AS_IS
    if not moment(p, &arg, form.unit_ms, form.may_be_past, now_ms, &at_ms):
        return EXPIRY_AS_IS
    if form.kind == FORM_SET:
        if (put_array(out, s.argc + 1) < 0 or put_word(out, b"SET") < 0 or put_arg(out, p, &key) < 0
                or copy_rest(out, p, &w) < 0 or put_word(out, b"PXAT") < 0 or put_integer(out, at_ms) < 0):
            return EXPIRY_NO_MEMORY
        return EXPIRY_ABSOLUTE
    if put_array(out, s.argc + (form.kind == FORM_TTL)) < 0:
        return EXPIRY_NO_MEMORY
    if (put_word(out, form.name) if form.kind == FORM_AT else put_arg(out, p, &name)) < 0:
        return EXPIRY_NO_MEMORY
    if put_arg(out, p, &key) < 0 or put_integer(out, at_ms) < 0 or copy_rest(out, p, &w) < 0:
        return EXPIRY_NO_MEMORY
    if form.kind == FORM_TTL and put_word(out, b"ABSTTL") < 0:
        return EXPIRY_NO_MEMORY
    return EXPIRY_ABSOLUTE


cdef int absolute_expiry(
        const CommandRow* row, const char* p, const RequestScan* s, int64_t now_ms, Buf* out) noexcept nogil:
    cdef const Form* form = &FORM[row.id]
    if form.kind == FORM_NONE:
        return EXPIRY_AS_IS
    if form.kind == FORM_OPTION:
        if s.argc < form.options_at + 2:
            return EXPIRY_AS_IS
        return option_form(form, p, s, now_ms, out)
    if form.kind == FORM_TTL and has_word(p, s, 4, b"absttl"):
        return EXPIRY_AS_IS
    return second_argument_form(form, p, s, now_ms, out)


# ---- for tests

def absolute(bytes request, int64_t now_ms):
    """The request with its expiry made absolute; the same bytes when there is nothing to make."""
    cdef RequestScan scan
    cdef ByteBuffer out = ByteBuffer()
    cdef CommandRow* row
    memset(&scan, 0, sizeof(RequestScan))
    if next_request(request, len(request), &scan) != FRAME_OK:
        raise ValueError("not a request")
    row = command_row(command_lookup(<const char*>request + scan.args[0].off, scan.args[0].len))
    if row == NULL:
        raise ValueError("not a command")
    if absolute_expiry(row, request, &scan, now_ms, &out.buf) != EXPIRY_ABSOLUTE:
        return request
    return buf_ptr(&out.buf)[:buf_len(&out.buf)]
