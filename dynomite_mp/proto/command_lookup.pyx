"""Finds the row of a command by the bytes of its name, and its subcommand's, without a Python object.

The rows are those of commands.py, laid out as C structs when the module is imported. A name of at most 16 bytes, which
all but a handful are, is two machine words; the hash multiplies them, the comparison is of words.

    "GeT"  ->  two words  ->  | 0x20 in every byte  ->  hash  ->  slot  ->  words | the row's letter mask == the row's?

Setting bit 5 lowers a letter, but it also makes other bytes equal ('[' and '{'); so it is good enough to hash with, and
the comparison sets it only where the row's name has a letter.

This is not a place that knows what a command means, and not the parser: the caller has the name already.

Invariants: rows and slots are written during import only; at most half of the slots are used, so a probe ends.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from dynomite_mp.errors import WIRE_ERRORS, InternalError
from dynomite_mp.proto import commands as table

cdef enum:
    SLOTS = 2048
    SLOT_MASK = 2047
    ROWS = 512
    LONGEST_NAME = 32

cdef uint64_t EVERY_LETTER = 0x2020202020202020
cdef uint64_t MIX_1 = 0x9E3779B97F4A7C15
cdef uint64_t MIX_2 = 0xC2B2AE3D27D4EB4F

cdef struct Slot:
    uint64_t low                # words of the name, lower case
    uint64_t high
    uint64_t low_mask           # 0x20 where the name has a letter
    uint64_t high_mask
    uint16_t id                 # 0 = empty
    uint16_t container
    uint16_t length
    const char* name

cdef Slot SLOT[SLOTS]
cdef CommandRow ROW[ROWS]
cdef uint32_t COUNT = 0
_NAMES = []                     # keeps the bytes alive that the rows point to


cdef inline void _words(const char* p, size_t n, uint64_t* low, uint64_t* high) noexcept nogil:
    # The two words of a name: equal names have equal words, and below 17 bytes the words and n say everything.
    cdef uint32_t a, b
    if n >= 8:
        memcpy(low, p, 8)
        memcpy(high, p + n - 8, 8)
    elif n >= 4:
        memcpy(&a, p, 4)
        memcpy(&b, p + n - 4, 4)
        low[0] = a | (<uint64_t>b << 32)
        high[0] = 0
    else:
        low[0] = 0
        high[0] = 0
        if n:
            low[0] = (<uint8_t>p[0] | (<uint64_t><uint8_t>p[n >> 1] << 8) | (<uint64_t><uint8_t>p[n - 1] << 16))


cdef inline uint32_t _hash(uint64_t low, uint64_t high, size_t n, uint32_t container) noexcept nogil:
    cdef uint64_t mixed = (low | EVERY_LETTER) * MIX_1
    mixed ^= ((high | EVERY_LETTER) + n + (<uint64_t>container << 8)) * MIX_2
    return <uint32_t>(mixed >> 45) & SLOT_MASK


cdef bint _same_middle(const char* p, const char* name, size_t n) noexcept nogil:
    # Bytes 8 to n - 8 of a name above 16 bytes; the words hold the rest.
    cdef size_t i
    cdef uint8_t c
    for i in range(8, n - 8):
        c = <uint8_t>p[i]
        if c >= 65 and c <= 90:
            c += 32
        if c != <uint8_t>name[i]:
            return False
    return True


cdef inline uint32_t _find(uint32_t container, const char* p, size_t n) noexcept nogil:
    cdef uint64_t low, high
    cdef uint32_t at
    cdef Slot* slot
    if n > LONGEST_NAME:
        return 0
    _words(p, n, &low, &high)
    at = _hash(low, high, n, container)
    while True:
        slot = &SLOT[at]
        if slot.id == 0:
            return 0
        if (
            slot.length == n
            and slot.container == container
            and (low | slot.low_mask) == slot.low
            and (high | slot.high_mask) == slot.high
            and (n <= 16 or _same_middle(p, slot.name, n))
        ):
            return slot.id
        at = (at + 1) & SLOT_MASK


cdef uint32_t command_lookup(const char* name, size_t n) noexcept nogil:
    return _find(0, name, n)


cdef uint32_t subcommand_lookup(uint32_t container, const char* name, size_t n) noexcept nogil:
    if container == 0:
        return 0
    return _find(container, name, n)


cdef CommandRow* command_row(uint32_t id) noexcept nogil:
    if id == 0 or id > COUNT:
        return NULL
    return &ROW[id - 1]


cdef uint32_t command_count() noexcept nogil:
    return COUNT


# The answers that the io worker gives itself, by the row's name.
_LOCAL = {
    "ping": LOCAL_PING,
    "echo": LOCAL_ECHO,
    "quit": LOCAL_QUIT,
    "reset": LOCAL_RESET,
    "hello": LOCAL_HELLO,
    "auth": LOCAL_AUTH,
    "select": LOCAL_SELECT,
    "dyno_config:conn_consistency": LOCAL_CONSISTENCY,
    "dyno": LOCAL_DYNO,
    "command": LOCAL_COMMAND,
    "command|count": LOCAL_COMMAND_COUNT,
    "command|docs": LOCAL_COMMAND_DOCS,
    "command|getkeys": LOCAL_COMMAND_GETKEYS,
    "command|getkeysandflags": LOCAL_COMMAND_GETKEYSANDFLAGS,
    "command|help": LOCAL_COMMAND_HELP,
    "command|info": LOCAL_COMMAND_INFO,
    "command|list": LOCAL_COMMAND_LIST,
    "client|getname": LOCAL_CLIENT_GETNAME,
    "client|help": LOCAL_CLIENT_HELP,
    "client|id": LOCAL_CLIENT_ID,
    "client|info": LOCAL_CLIENT_INFO,
    "client|no-evict": LOCAL_CLIENT_NO_EVICT,
    "client|no-touch": LOCAL_CLIENT_NO_TOUCH,
    "client|setinfo": LOCAL_CLIENT_SETINFO,
    "client|setname": LOCAL_CLIENT_SETNAME,
    "client|capa": LOCAL_CLIENT_CAPA,
}
_ROUTING = {
    "refused": ROUTING_REFUSED,
    "normal": ROUTING_NORMAL,
    "local_node": ROUTING_LOCAL_NODE,
    "rack_owner": ROUTING_RACK_OWNER,
    "all_nodes": ROUTING_ALL_NODES,
    "answered": ROUTING_ANSWERED,
}
_KEYS = {
    "none": KEYS_NONE,
    "range": KEYS_RANGE,
    "numkeys": KEYS_NUMKEYS,
    "streams": KEYS_STREAMS,
    "sort": KEYS_SORT,
    "georadius": KEYS_GEORADIUS,
}


cdef uint8_t _options(row, spec):
    if spec.kind == "streams":
        return OPTIONS_BLOCK
    if spec.kind == "sort":
        return OPTIONS_PATTERNS
    return OPTIONS_DATABASE if row.name == "copy" else OPTIONS_FREE


cdef _fill(CommandRow* out, uint32_t id, row):
    spec = table.key_spec(row)
    name = row.name.encode()
    _NAMES.append(name)
    out.name = name
    out.name_len = len(name)
    out.id = id
    out.arity = row.arity
    out.first_key = spec.first
    out.last_key = spec.last
    out.key_step = spec.step
    out.key_kind = _KEYS[spec.kind]
    out.refuse_code = WIRE_ERRORS[row.refusal].code if row.refusal else 0
    out.routing = _ROUTING[row.routing.partition(":")[0]]
    if out.routing == ROUTING_ANSWERED:
        out.local_code = _LOCAL[row.name]
    out.container = table.COMMAND_IDS[row.container] if row.container else 0
    # The words of these columns stand in commands.py in the order of the enums.
    out.access = table.ACCESSES.index(row.access)
    out.conflict = table.CONFLICTS.index(row.conflict)
    out.klass = table.CLASSES.index(table.command_class(row))
    out.session = table.SESSIONS.index(row.session)
    out.split = table.SPLITS.index(row.split)
    out.merge = table.MERGES.index(row.merge)
    out.resend = table.RESENDS.index(row.resend)
    out.options = _options(row, spec)
    out.is_unordered = row.resp3_shape in ("set", "set_opt")
    out.is_container = row.name in table.CONTAINERS
    out.effect = table.EFFECTS.index(row.replicate)
    if row.lead_if is not None:
        words = b"".join(word.encode() + b"\0" for word in row.lead_if.words) + b"\0"
        _NAMES.append(words)
        out.lead_words = words
        out.lead_at = row.lead_if.first
        out.lead_unless = row.lead_if.is_unless


cdef _enter(uint32_t id, uint32_t container, bytes word):
    # Puts a name into the hash.
    cdef Slot entry
    cdef uint32_t at
    mask = bytes(0x20 if 97 <= c <= 122 else 0 for c in word)
    if len(word) > LONGEST_NAME:
        raise InternalError(f"command table: the name {word!r} is longer than {LONGEST_NAME} bytes")
    _NAMES.append(word)
    entry.id = id
    entry.container = container
    entry.length = len(word)
    entry.name = word
    _words(word, len(word), &entry.low, &entry.high)
    _words(mask, len(word), &entry.low_mask, &entry.high_mask)
    at = _hash(entry.low, entry.high, entry.length, container)
    while SLOT[at].id:
        at = (at + 1) & SLOT_MASK
    SLOT[at] = entry


def _build():
    global COUNT
    if len(table.COMMANDS) > ROWS:
        raise InternalError(f"command table: {len(table.COMMANDS)} rows, room for {ROWS}")
    for place, row in enumerate(table.COMMANDS):
        _fill(&ROW[place], place + 1, row)
        _enter(place + 1, ROW[place].container, row.name.rpartition("|")[2].encode())
    COUNT = len(table.COMMANDS)


_build()


def lookup(name):
    """Id of a command, 0 if there is none; bytes in any case."""
    cdef bytes word = name
    return command_lookup(word, len(word))


def lookup_subcommand(container, name):
    """Id of a subcommand of the container with this id, 0 if there is none."""
    cdef bytes word = name
    return subcommand_lookup(container, word, len(word))


def row_fields(id):
    """The C row of an id as a dict, None if there is none."""
    cdef CommandRow* row = command_row(id)
    if row == NULL:
        return None
    return {
        "name": (<bytes>row.name[:row.name_len]).decode(),
        "id": row.id,
        "arity": row.arity,
        "first_key": row.first_key,
        "last_key": row.last_key,
        "key_step": row.key_step,
        "refuse_code": row.refuse_code,
        "local_code": row.local_code,
        "container": row.container,
        "key_kind": row.key_kind,
        "access": row.access,
        "routing": row.routing,
        "conflict": row.conflict,
        "klass": row.klass,
        "session": row.session,
        "split": row.split,
        "merge": row.merge,
        "resend": row.resend,
        "options": row.options,
        "is_unordered": bool(row.is_unordered),
        "is_container": bool(row.is_container),
        "effect": row.effect,
        "lead_at": row.lead_at,
        "lead_unless": bool(row.lead_unless),
    }


def longest_probe():
    """Slots that the worst placed name needs: a measure of the hash for its test."""
    cdef uint32_t at, home
    worst = 0
    for at in range(<uint32_t>SLOTS):
        if SLOT[at].id:
            home = _hash(SLOT[at].low, SLOT[at].high, SLOT[at].length, SLOT[at].container)
            worst = max(worst, ((at - home) & SLOT_MASK) + 1)
    return worst


def time_lookup(names, rounds):
    """Finds all names `rounds` times and returns how often one was found: for the benchmark, which keeps the time."""
    cdef Py_ssize_t i, count = len(names)
    cdef int64_t _, found = 0, times = rounds
    cdef const char** words = <const char**>calloc(count, sizeof(const char*))
    cdef size_t* sizes = <size_t*>calloc(count, sizeof(size_t))
    if words == NULL or sizes == NULL:
        raise MemoryError
    for i in range(count):
        words[i] = names[i]
        sizes[i] = len(names[i])
    with nogil:
        for _ in range(times):
            for i in range(count):
                found += command_lookup(words[i], sizes[i]) != 0
    free(words)
    free(sizes)
    return found
