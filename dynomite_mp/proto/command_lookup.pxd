# The command table as C rows, and the hash that finds them. The rows are built from commands.py when the module is
# imported and never change afterwards; pointers to them stay valid for the life of the process.
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t


cdef enum:
    # CommandRow.access
    ACCESS_NONE = 0
    ACCESS_READ = 1
    ACCESS_WRITE = 2

    # CommandRow.routing
    ROUTING_REFUSED = 0         # answer the wire error refuse_code
    ROUTING_NORMAL = 1          # hashed; replicas by consistency level
    ROUTING_LOCAL_NODE = 2      # this node's datastore, not hashed
    ROUTING_RACK_OWNER = 3      # hashed; only the owner in this rack
    ROUTING_ALL_NODES = 4       # every node
    ROUTING_ANSWERED = 5        # answered here, by local_code; no datastore is asked

    # CommandRow.conflict
    CONFLICT_NONE = 0
    CONFLICT_OVERWRITE = 1
    CONFLICT_COMMUTE = 2
    CONFLICT_ORDERED = 3
    CONFLICT_LEAD = 4

    # CommandRow.klass: access and conflict in one; also the label of the latency histograms
    CLASS_NONE = 0
    CLASS_READ = 1
    CLASS_OVERWRITE = 2
    CLASS_COMMUTE = 3
    CLASS_ORDERED = 4
    CLASS_LEAD = 5
    CLASS_COUNT = 6

    # CommandRow.session
    SESSION_NONE = 0
    SESSION_LEASE = 1           # needs a datastore connection of its own while it runs
    SESSION_QUEUE = 2           # is queued at the coordinator until EXEC
    SESSION_PIN = 3             # changes the state of the client's connection

    # CommandRow.split
    SPLIT_NONE = 0
    SPLIT_KEYS = 1              # command key [key ...]
    SPLIT_PAIRS = 2             # command key value [key value ...]

    # CommandRow.merge
    MERGE_NONE = 0
    MERGE_ARRAY = 1             # the parts' elements in the order of the request's keys
    MERGE_SUM = 2               # the sum of the parts' integers
    MERGE_OK = 3                # +OK when every part said so

    # CommandRow.resend
    RESEND_NEVER = 0
    RESEND_BEFORE_SEND = 1      # only while no byte of it has left
    RESEND_ALWAYS = 2

    # CommandRow.key_kind
    KEYS_NONE = 0
    KEYS_RANGE = 1              # first_key, last_key (negative: from the end), key_step
    KEYS_NUMKEYS = 2            # argument first_key holds the count, keys follow it; last_key: one more key, 0 = none
    KEYS_STREAMS = 3            # behind the word STREAMS, the first half of what follows
    KEYS_SORT = 4               # argument 1, and behind the last STORE
    KEYS_GEORADIUS = 5          # argument 1, and behind the last STORE or STOREDIST

    # CommandRow.effect: what the other replicas are sent (column replicate)
    EFFECT_NONE = 0
    EFFECT_AS_IS = 1            # the request itself
    EFFECT_EXPIRE_AT = 2        # the request with its expiry made absolute (proto.expiry)
    EFFECT_SET = 3              # what follows are functions of proto.effects
    EFFECT_DELETE = 4
    EFFECT_POP = 5
    EFFECT_MEMBERS = 6
    EFFECT_ELEMENT = 7
    EFFECT_ID = 8
    EFFECT_CLAIM = 9
    EFFECT_GROUP = 10
    EFFECT_KEYS = 11

    # CommandRow.options: what request_refusal (resp.pxd) has to look for
    OPTIONS_FREE = 0
    OPTIONS_BLOCK = 1           # BLOCK of XREAD and XREADGROUP
    OPTIONS_PATTERNS = 2        # BY and GET of SORT
    OPTIONS_DATABASE = 3        # DB of COPY

    # CommandRow.local_code of ROUTING_ANSWERED rows
    LOCAL_NONE = 0
    LOCAL_PING = 1
    LOCAL_ECHO = 2
    LOCAL_QUIT = 3
    LOCAL_RESET = 4
    LOCAL_HELLO = 5
    LOCAL_AUTH = 6
    LOCAL_SELECT = 7
    LOCAL_CONSISTENCY = 11      # dyno_config:conn_consistency
    LOCAL_DYNO = 12             # dyno
    LOCAL_COMMAND = 20
    LOCAL_COMMAND_COUNT = 21
    LOCAL_COMMAND_DOCS = 22
    LOCAL_COMMAND_GETKEYS = 23
    LOCAL_COMMAND_GETKEYSANDFLAGS = 24
    LOCAL_COMMAND_HELP = 25
    LOCAL_COMMAND_INFO = 26
    LOCAL_COMMAND_LIST = 27
    LOCAL_CLIENT_GETNAME = 41
    LOCAL_CLIENT_HELP = 43
    LOCAL_CLIENT_ID = 44
    LOCAL_CLIENT_INFO = 45
    LOCAL_CLIENT_NO_EVICT = 46
    LOCAL_CLIENT_NO_TOUCH = 47
    LOCAL_CLIENT_SETINFO = 48
    LOCAL_CLIENT_SETNAME = 49
    LOCAL_CLIENT_CAPA = 50


cdef struct CommandRow:
    const char* name            # lower case, "object|encoding" for a subcommand
    uint16_t name_len
    uint16_t id                 # place in the table + 1; 0 = unknown command
    int16_t arity               # with the command name; negative: at least that many
    int16_t first_key
    int16_t last_key
    int16_t key_step
    uint16_t refuse_code        # code of a row of errors.WIRE_ERRORS; 0 unless ROUTING_REFUSED
    uint16_t local_code         # LOCAL_*; 0 unless ROUTING_ANSWERED
    uint16_t container          # id of the container of a subcommand, else 0
    uint8_t key_kind
    uint8_t access
    uint8_t routing
    uint8_t conflict
    uint8_t klass
    uint8_t session
    uint8_t split
    uint8_t merge
    uint8_t resend
    uint8_t options             # OPTIONS_*; not 0: ask request_refusal
    uint8_t is_unordered        # equal replies may list their elements in any order: members of sets
    uint8_t effect              # EFFECT_*
    uint8_t lead_at             # first argument that may be one of lead_words
    uint8_t lead_unless         # it is the lack of the word that makes it so
    const char* lead_words      # with one of these the class is CONFLICT_LEAD: words of lower case, each ended by a
    #                             NUL, one more at the end; NULL: the class does not depend on options
    uint8_t is_container        # the second argument names a subcommand: subcommand_lookup


# Id of a command by its name in any case; 0 = unknown. Containers ("config") are found, subcommands are not.
cdef uint32_t command_lookup(const char* name, size_t n) noexcept nogil
# Id of a subcommand of a container by its own name ("get" of the id of "config"); 0 = unknown.
cdef uint32_t subcommand_lookup(uint32_t container, const char* name, size_t n) noexcept nogil
# Row of an id; NULL for 0 and for an id that the table does not have.
cdef CommandRow* command_row(uint32_t id) noexcept nogil
cdef uint32_t command_count() noexcept nogil


cdef inline bint arity_fits(const CommandRow* row, int64_t argc) noexcept nogil:
    if row.arity >= 0:
        return argc == row.arity
    return argc >= -row.arity
