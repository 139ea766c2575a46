"""When two replicas' replies are equal: the digest that cluster.quorum compares.

Commands whose reply lists its elements in no particular order (CommandRow.is_unordered) are compared as sets. A
HyperLogLog is compared without the count that PFCOUNT leaves in it at the replica that was asked.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcmp

from dynomite_mp.cluster.quorum cimport reply_digest
from dynomite_mp.proto.command_lookup cimport CommandRow
from dynomite_mp.proto.resp cimport FRAME_OK, ReplyScan, next_reply, reply_scan_reset


cdef enum:
    COUNT_AT = 8                    # of a HyperLogLog: magic, encoding, three unused bytes, then the count
    COUNT_END = 16


cdef size_t hyperloglog_at(const char* p, size_t n) noexcept nogil:
    """Where the value of a bulk reply begins if it is a HyperLogLog, else 0."""
    cdef size_t at = 1
    while at < n and p[at] != c"\n":
        at += 1
    at += 1
    return at if at + COUNT_END < n and memcmp(p + at, b"HYLL", 4) == 0 else 0


cdef uint64_t digest_of(const CommandRow* row, const char* p, size_t n) noexcept nogil:
    """Digest of a reply to a command."""
    cdef ReplyScan scan
    cdef uint64_t digest = 0
    cdef size_t at = 0
    if n and p[0] == c"$":
        at = hyperloglog_at(p, n)
        return reply_digest(p, n) if at == 0 else (
            reply_digest(p, at + COUNT_AT) + reply_digest(p + at + COUNT_END, n - at - COUNT_END))
    if not row.is_unordered or n < 4 or (p[0] != c"*" and p[0] != c"~"):
        return reply_digest(p, n)
    while at < n and p[at] != c"\n":
        at += 1
    at += 1
    while at < n:
        reply_scan_reset(&scan)
        if next_reply(p + at, n - at, &scan) != FRAME_OK:
            return reply_digest(p, n)
        digest += reply_digest(p + at, scan.pos)
        at += scan.pos
    return digest
