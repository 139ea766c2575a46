"""Identity and time of writes, and what a replica decides by them before its datastore sees one.

What it is: the part of the plan engine that gives a write its id and stamp at the coordinator, takes those of others
from their frames, and asks the table of recent writes (cluster.write_table) whether this node's datastore may have it.

    client's write    --stamp--> id, stamp --describe_write--> Extension of the copies' frames, REPLICATE, HINT
    peer's write      --adopt--> the same id and stamp; a C node's gets ones of this node
    own datastore     <--note-- APPLY | skip: a success without the datastore | KEY_COPY: to be copied from elsewhere

What it is not: it sends nothing; nothing is stamped while every key has one replica only.

Invariants: two deliveries of one write have one id; a coordinator's clock is above every stamp that it has seen.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from dynomite_mp.cluster.clock cimport HybridClock
from dynomite_mp.cluster.route cimport PLAN_LOCAL
from dynomite_mp.cluster.token cimport hash_tag_span, token_of
from dynomite_mp.cluster.write_table cimport (
    FAMILY_MIXED, NOTE_APPLY, NOTE_APPLY_AND_COPY, NOTE_DUPLICATE, NOTE_SKIP_AND_COPY, WRITE_COMMUTE,
    WRITE_ORDERED, WRITE_OVERWRITE, WriteTable, key_hash,
)
from dynomite_mp.proto.command_lookup cimport (
    CONFLICT_LEAD, KEYS_NONE, CommandRow, command_lookup, command_row,
)
from dynomite_mp.proto.dnode cimport (
    EXTENSION_LATER, EXTENSION_ORIGIN, EXTENSION_RESENT, EXTENSION_RUN, EXTENSION_STALE, EXTENSION_STAMP, Extension,
    encode_extension,
)
from dynomite_mp.proto.peek cimport peek_key
from dynomite_mp.proto.resp cimport FRAME_OK, KeyWalk, RequestScan, Span, next_request, walk_key, walk_keys
from dynomite_mp.workers.answers cimport Answers
from dynomite_mp.workers.conn cimport Conn
from dynomite_mp.workers.request cimport Request
from dynomite_mp.workers.source_conn cimport SourceConn
from dynomite_mp.workers.target_conn cimport TargetConn

cdef enum:
    FAMILIES = 512
    RECENTS = 262144                # 50 s of 5,000 writes a second; memory that is touched only as it is used
    BEHIND = 131072                 # 2 ms: a coordinator this far behind is told the time with the reply

# Commands of one family commute with each other, whatever their order
cdef uint8_t FAMILY[FAMILIES]
memset(FAMILY, 0, sizeof(FAMILY))
for _number, _names in enumerate(
        ("incr decr incrby decrby incrbyfloat", "pfadd", "sadd", "srem", "hincrby hincrbyfloat", "zincrby"), 1):
    for _name in _names.encode().split():
        FAMILY[command_lookup(<const char*>_name, len(_name))] = <uint8_t>_number


cdef inline uint64_t unix_ns() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_REALTIME, &ts)
    return <uint64_t>ts.tv_sec * 1000000000 + <uint64_t>ts.tv_nsec


cdef str address_of(Conn conn):
    """Of the node at the other end, as far as it is known."""
    if isinstance(conn, SourceConn):
        return str((<SourceConn>conn).address)
    return (<TargetConn>conn).owner.node.address if conn is not None else ""


cdef class Stamps(Answers):
    def set_identity(self, node_id, boot_id, worker_id, *, skew_max_ms, shift_ms=0, on_skew=None):
        self.node_id, self.boot_id, self.worker_id = node_id, boot_id, worker_id
        self.on_skew = on_skew
        if self.recent is None:
            self.clock = HybridClock(skew_max_ms, shift_ms)
            self.recent = WriteTable(self.clock.now(unix_ns()), recents=RECENTS)
        else:
            self.clock.configure(skew_max_ms, shift_ms)
        self.is_stamping = self.table.racks > 1 or self.table.has_remote

    cdef uint64_t turn_unix_ns(self) noexcept:
        """The machine's time, read once a turn."""
        if self.unix_turn != self.turns or self.unix_now_ns == 0:
            self.unix_turn = self.turns
            self.unix_now_ns = unix_ns()
        return self.unix_now_ns

    cdef bint token(self, const char* key, size_t n, uint32_t* token) noexcept:
        """Token of a key by hash function and hash tag; False: the tag is empty."""
        cdef const char* part = key
        cdef size_t part_len = n
        if self.has_tag:
            hash_tag_span(key, n, self.tag_open, self.tag_close, &part, &part_len)
        token[0] = token_of(self.hash_kind, part, part_len)
        return part_len > 0 or n == 0

    # ---- id and stamp

    cdef void stamp(self, Request* request) noexcept:
        """A write of this coordinator. The time is read after all that has been received so far, and not once a turn,
        which may be longer than a client's next step."""
        if self.stamp_receives != self.receives or self.stamp_turn != self.turns or not self.in_turn:
            self.stamp_receives, self.stamp_turn = self.receives, self.turns
            self.stamp_unix_ns = unix_ns()
        self.sequence += 1
        request.stamp = self.clock.now(self.stamp_unix_ns)
        request.id.origin_node = self.node_id
        request.id.origin_boot = self.boot_id
        request.id.origin_worker = self.worker_id
        request.id.sequence = self.sequence

    cdef bint was_slow(self, Request* request, uint64_t newer) noexcept:
        """Whether an overwrite got a stamp of a clock that had not heard yet how late it is: `newer`, which made
        another rack call it stale, would not even have been made by now."""
        return (request.conflict == WRITE_OVERWRITE
                and newer > request.stamp + ((self.now_ns - request.started_ns) << 10) // 15625)

    cdef void stamp_effect(self, Request* effect, Request* request, int conflict) noexcept:
        """An effect has the stamp of the request that made it; the first one its id too."""
        if request.stamp == 0:
            return
        effect.stamp = request.stamp
        effect.id = request.id
        effect.conflict = <uint8_t>conflict
        self.sequence += 1
        request.id.sequence = self.sequence

    cdef int adopt_extension(self, Request* request, const Extension* extension) except -1:
        """What a peer's frame says of its request."""
        request.marks = <uint8_t>extension.flags
        if not self.is_stamping:
            return 0
        if extension.fields & (EXTENSION_STAMP | EXTENSION_ORIGIN) == EXTENSION_STAMP | EXTENSION_ORIGIN:
            request.stamp = extension.stamp
            request.id.origin_node = extension.origin_node
            request.id.origin_boot = extension.origin_boot
            request.id.origin_worker = extension.origin_worker
            request.id.sequence = extension.sequence
            request.conflict = <uint8_t>extension.conflict_class
            request.is_foreign = True
            self.adopt(request, extension.clock)
        return 0

    cdef int adopt(self, Request* request, uint64_t clock) except -1:
        """A write that another node has stamped: follow its clock; too far ahead, it gets a stamp of ours."""
        cdef uint64_t now_ns
        if clock < request.stamp:
            clock = request.stamp
        self.follow(<Conn>request.client if request.client != NULL else None, clock)
        now_ns = self.turn_unix_ns()
        if request.stamp > self.clock.limit(now_ns):
            request.stamp = self.clock.now(now_ns)
        request.is_behind = clock + BEHIND < self.clock.reading(now_ns)
        return 0

    cdef int follow(self, Conn conn, uint64_t clock) except -1:
        """Another node's clock was seen. A faster one has shown another time when this process began."""
        cdef int64_t ahead = self.clock.ahead
        cdef bint is_believed
        if clock <= self.clock.last:
            return 0
        if clock > self.clock.reading(self.turn_unix_ns()):
            self.unix_now_ns = unix_ns()            # it may have been told since this turn began: that is no lead
        is_believed = self.clock.follow(clock, self.turn_unix_ns())
        self.recent.first_floor += <uint64_t>(self.clock.ahead - ahead)
        if is_believed:
            return 0
        self.slab.add(self.cells.clock_skews, 1)
        if self.on_skew is not None:
            self.on_skew(address_of(conn))
        return 0

    cdef int heard_clock(self, Conn conn, uint64_t clock) except -1:
        return self.follow(conn, clock) if self.is_stamping else 0

    cdef size_t describe_write(self, Request* request, const char** data) noexcept:
        """The extension of a stamped write's frames; made once, for all its copies."""
        cdef Extension extension
        data[0] = self.outgoing
        if (self.outgoing_stamp == request.stamp and self.outgoing_sequence == request.id.sequence
                and self.outgoing_group == request.group):
            return self.outgoing_len
        memset(&extension, 0, sizeof(Extension))
        extension.fields = EXTENSION_STAMP | EXTENSION_ORIGIN
        extension.clock = self.clock.last
        extension.flags = request.marks & EXTENSION_RESENT
        extension.protocol = 2 + request.group
        extension.stamp = request.stamp
        extension.origin_node = request.id.origin_node
        extension.origin_boot = request.id.origin_boot
        extension.origin_worker = request.id.origin_worker
        extension.sequence = request.id.sequence
        extension.conflict_class = request.conflict
        self.outgoing_len = encode_extension(self.outgoing, &extension)
        self.outgoing_stamp = request.stamp
        self.outgoing_sequence = request.id.sequence
        self.outgoing_group = request.group
        return self.outgoing_len

    cdef size_t describe_reply(self, Request* request, char* data) noexcept:
        cdef Extension extension
        if not self.is_stamping and not request.reply_marks & EXTENSION_LATER:
            data[0] = c"d"
            return 1
        memset(&extension, 0, sizeof(Extension))
        if self.is_stamping:
            extension.clock = self.clock.reading(self.turn_unix_ns())
        extension.flags = request.reply_marks
        extension.protocol = 2 + request.group
        if request.reply_marks & EXTENSION_STALE:
            extension.fields = EXTENSION_STAMP
            extension.stamp = request.stamp
        return encode_extension(data, &extension)

    cdef size_t describe_run(self, uint64_t run, char* data) noexcept:
        cdef Extension extension
        memset(&extension, 0, sizeof(Extension))
        if self.is_stamping:
            extension.clock = self.clock.reading(self.turn_unix_ns())
        extension.protocol = 2
        if run > 1:
            extension.fields = EXTENSION_RUN
            extension.run = <uint32_t>run
        return encode_extension(data, &extension)

    # ---- a write before this node's datastore

    cdef void foresee(self, const char* p, size_t n) noexcept:
        """What the table knows of its key is on its way from memory while the one at hand is handled."""
        cdef Span key
        if self.is_stamping and peek_key(p, n, &key):
            self.recent.fetch(key_hash(p + key.off, key.len))

    cdef int note(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1:
        """What is to be done with a stamped write, NOTE_*."""
        cdef int klass = request.conflict
        cdef int verdict
        cdef int family = FAMILY[row.id] if klass == WRITE_COMMUTE and row.id < FAMILIES else FAMILY_MIXED
        cdef bint is_resent = (request.marks & EXTENSION_RESENT) != 0
        if row.key_kind == KEYS_NONE:
            return NOTE_APPLY
        if klass == CONFLICT_LEAD or klass == 0:
            klass = WRITE_ORDERED
        if klass != WRITE_OVERWRITE:
            verdict = self.recent.seen(&request.id, is_resent)
            if verdict != NOTE_APPLY:
                if verdict == NOTE_SKIP_AND_COPY:
                    self.copy_keys(request, p, n, COPY_FORGOTTEN)
                return verdict
            is_resent = False                       # its id is new for certain, however old the write
        if request.is_wide or request.key_hash == 0:
            return self.note_keys(request, row, klass, family, is_resent, p, n)
        verdict = self.recent.note(request.key_hash, klass, family, &request.id, request.stamp, is_resent)
        if verdict == NOTE_APPLY_AND_COPY:
            self.copy_keys(request, p, n, COPY_DISORDERED)
        elif verdict == NOTE_SKIP_AND_COPY and (request.is_foreign or request.is_late):
            self.copy_keys(request, p, n, COPY_FORGOTTEN if is_resent else COPY_SKIPPED)
        return verdict

    cdef int admission(self, Request* request, const CommandRow* row, const char* p, size_t n) except -1:
        """NOTE_APPLY, or why the datastore is not to have a write. One of this coordinator gets a newer stamp."""
        cdef int verdict = self.note(request, row, p, n)
        if verdict <= NOTE_APPLY_AND_COPY:
            return NOTE_APPLY
        if request.is_foreign or request.is_late or verdict == NOTE_DUPLICATE:
            if verdict != NOTE_DUPLICATE and request.mode == PLAN_LOCAL:
                request.reply_marks |= EXTENSION_STALE
                request.stamp = self.recent.newest  # for the reply; no other rack gets this request from here
            return verdict
        self.clock.pass_over(self.recent.newest)
        self.stamp(request)
        self.slab.add(self.cells.restamped_writes, 1)
        self.note(request, row, p, n)
        return NOTE_APPLY

    cdef int note_keys(self, Request* request, const CommandRow* row, int klass, int family, bint is_resent,
                       const char* p, size_t n) except -1:
        """A write of several keys is applied when it is news to any of them; keys that then have it too old are
        copied."""
        cdef RequestScan scan
        cdef KeyWalk walk
        cdef Span key
        cdef int64_t index
        cdef int verdict = NOTE_APPLY
        cdef int applied = 0
        cdef list old = []
        cdef uint32_t token = 0
        memset(&scan, 0, sizeof(RequestScan))
        if next_request(p, n, &scan) != FRAME_OK or walk_keys(&walk, p, &scan, row) < 0:
            return NOTE_APPLY
        while walk_key(&walk, &key, &index):
            verdict = self.recent.note(key_hash(p + key.off, key.len), klass, family, &request.id, request.stamp,
                                       is_resent)
            applied += verdict == NOTE_APPLY or verdict == NOTE_APPLY_AND_COPY
            if verdict != NOTE_APPLY:
                old.append((key.off, key.len))
        if not applied and old:
            if (request.is_foreign or request.is_late) and verdict == NOTE_SKIP_AND_COPY:
                self.copy_keys(request, p, n, COPY_SKIPPED)
            return verdict
        for off, size in old:
            self.token(p + <size_t>off, size, &token)
            self.remote.key_copy(token, p[<size_t>off:<size_t>off + <size_t>size], COPY_WIDE)
        return NOTE_APPLY

    cdef int copy_keys(self, Request* request, const char* p, size_t n, int reason) except -1:
        """This node's copy of the keys of a request has to be mended."""
        cdef RequestScan scan
        cdef KeyWalk walk
        cdef Span key
        cdef int64_t index
        cdef uint32_t token = 0
        memset(&scan, 0, sizeof(RequestScan))
        if self.remote is None or next_request(p, n, &scan) != FRAME_OK:
            return 0
        if walk_keys(&walk, p, &scan, command_row(request.command)) < 0:
            return 0
        while walk_key(&walk, &key, &index):
            self.token(p + key.off, key.len, &token)
            self.remote.key_copy(token, p[key.off:key.off + key.len], reason)
        if not self.in_turn:
            self.want_turn()
        return 0

    def clock_ahead_ms(self):
        return self.clock.ahead_ms if self.clock is not None else 0
