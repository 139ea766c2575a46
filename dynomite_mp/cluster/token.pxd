# Keys to tokens. See token.pyx.
from libc.stdint cimport uint32_t


cdef enum:
    HASH_ONE_AT_A_TIME = 0
    HASH_MD5 = 1
    HASH_CRC16 = 2
    HASH_CRC32 = 3
    HASH_CRC32A = 4
    HASH_FNV1_64 = 5
    HASH_FNV1A_64 = 6
    HASH_FNV1_32 = 7
    HASH_FNV1A_32 = 8
    HASH_HSIEH = 9
    HASH_MURMUR = 10            # the default
    HASH_JENKINS = 11
    HASH_REDIS_SLOT = 12        # slot of Redis Cluster, 0..16383; its own hash tag rule is the caller's


# The token of a key; the hash tag is the caller's (hash_tag_span). An unknown kind gives 0: check it beforehand.
cdef uint32_t token_of(int hash_kind, const char* key, size_t n) noexcept nogil
# The bytes that are hashed: strictly between the first `a` and the first `b` behind it, else the whole key.
# May be empty; an empty tag means the local node for routing. a == 0 and b == 0: no hash tag.
cdef void hash_tag_span(
    const char* key, size_t n, char a, char b, const char** out, size_t* outlen
) noexcept nogil
