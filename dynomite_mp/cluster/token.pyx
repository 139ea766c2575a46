"""Keys to tokens: the hash functions of Dynomite, bit for bit, and the part of a key that is hashed.

    key  --hash_tag_span-->  bytes  --token_of(kind)-->  token, 0 .. 2^32 - 1

Some of these functions have flaws that every cluster's data now depends on: `murmur` seeds itself with the length,
`one_at_a_time` reads bytes as signed, `crc16` never cuts its sum to 16 bits, `fnv1a_64` works in 32 bits.
They are kept as they are; tests/testdata/hash-vectors.json holds the results of the original.

`murmur3` can be named in a configuration of Dynomite but was never computed there, so it is refused here.

This is not the place that says who owns a token: continuum.pyx.

Invariants: a pure function of the bytes, the same on every machine byte order that this runs on (little-endian);
nothing is read outside [key, key + n).
"""

from libc.stdint cimport int8_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from dynomite_mp.errors import TopologyError

HASH_NAMES = (
    "one_at_a_time",
    "md5",
    "crc16",
    "crc32",
    "crc32a",
    "fnv1_64",
    "fnv1a_64",
    "fnv1_32",
    "fnv1a_32",
    "hsieh",
    "murmur",
    "jenkins",
    "redis_slot",
)
"""Names as in `hash:` of a configuration; the place of a name is its HASH_ constant."""

cdef uint32_t CRC16_TABLE[256]
cdef uint32_t CRC32_TABLE[256]
cdef uint32_t MD5_ADD[64]
cdef uint8_t* MD5_SHIFT = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21]


def _build():
    cdef uint32_t i, crc
    for i in range(256):
        crc = i << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
        CRC16_TABLE[i] = crc
        crc = i
        for _ in range(8):
            crc = (crc >> 1) ^ <uint32_t>0xEDB88320 if crc & 1 else crc >> 1
        CRC32_TABLE[i] = crc
    import math
    for i in range(64):
        MD5_ADD[i] = <uint32_t>int(abs(math.sin(i + 1)) * 4294967296)


_build()


cdef inline uint32_t load32(const char* p) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, p, 4)
    return word


cdef inline uint32_t load16(const char* p) noexcept nogil:
    cdef uint16_t word
    memcpy(&word, p, 2)
    return word


cdef inline uint32_t rotate(uint32_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (32 - bits))


cdef uint32_t murmur(const char* key, size_t n) noexcept nogil:
    cdef uint32_t m = 0x5BD1E995
    cdef uint32_t h = (<uint32_t>0xDEADBEEF * <uint32_t>n) ^ <uint32_t>n
    cdef uint32_t k
    while n >= 4:
        k = load32(key) * m
        k ^= k >> 24
        h = (h * m) ^ (k * m)
        key += 4
        n -= 4
    if n:
        if n == 3:
            h ^= <uint32_t><uint8_t>key[2] << 16
        if n >= 2:
            h ^= <uint32_t><uint8_t>key[1] << 8
        h ^= <uint8_t>key[0]
        h *= m
    h ^= h >> 13
    h *= m
    return h ^ (h >> 15)


cdef uint32_t one_at_a_time(const char* key, size_t n) noexcept nogil:
    cdef uint32_t h = 0
    cdef size_t i
    for i in range(n):
        h += <uint32_t><int32_t><int8_t>key[i]
        h += h << 10
        h ^= h >> 6
    h += h << 3
    h ^= h >> 11
    return h + (h << 15)


cdef uint32_t crc16(const char* key, size_t n, uint32_t mask) noexcept nogil:
    cdef uint32_t crc = 0
    cdef size_t i
    for i in range(n):
        crc = ((crc << 8) ^ CRC16_TABLE[((crc >> 8) ^ <uint8_t>key[i]) & 0xFF]) & mask
    return crc


cdef uint32_t crc32(const char* key, size_t n) noexcept nogil:
    cdef uint32_t crc = 0xFFFFFFFF
    cdef size_t i
    for i in range(n):
        crc = (crc >> 8) ^ CRC32_TABLE[(crc ^ <uint8_t>key[i]) & 0xFF]
    return crc ^ <uint32_t>0xFFFFFFFF


cdef uint32_t fnv1_64(const char* key, size_t n) noexcept nogil:
    cdef uint64_t h = 0xCBF29CE484222325
    cdef size_t i
    for i in range(n):
        h *= <uint64_t>0x100000001B3
        h ^= <uint8_t>key[i]
    return <uint32_t>h


cdef uint32_t fnv1a(const char* key, size_t n, uint32_t h, uint32_t prime) noexcept nogil:
    cdef size_t i
    for i in range(n):
        h ^= <uint8_t>key[i]
        h *= prime
    return h


cdef uint32_t fnv1_32(const char* key, size_t n) noexcept nogil:
    cdef uint32_t h = 2166136261
    cdef size_t i
    for i in range(n):
        h *= 16777619
        h ^= <uint8_t>key[i]
    return h


cdef uint32_t hsieh(const char* key, size_t n) noexcept nogil:
    cdef uint32_t h = 0
    cdef uint32_t tail = n & 3
    cdef uint32_t mixed
    if n == 0:
        return 0
    while n >= 4:
        h += load16(key)
        mixed = (load16(key + 2) << 11) ^ h
        h = (h << 16) ^ mixed
        h += h >> 11
        key += 4
        n -= 4
    if tail == 3:
        h += load16(key)
        h ^= h << 16
        h ^= <uint32_t><uint8_t>key[2] << 18
        h += h >> 11
    elif tail == 2:
        h += load16(key)
        h ^= h << 11
        h += h >> 17
    elif tail == 1:
        h += <uint8_t>key[0]
        h ^= h << 10
        h += h >> 1
    h ^= h << 3
    h += h >> 5
    h ^= h << 4
    h += h >> 17
    h ^= h << 25
    return h + (h >> 6)


cdef uint32_t load_tail(const char* p, size_t n) noexcept nogil:
    # Up to four bytes as a little-endian word.
    cdef uint32_t word = 0
    memcpy(&word, p, n if n < 4 else 4)
    return word


cdef uint32_t jenkins(const char* key, size_t n) noexcept nogil:
    cdef uint32_t a = <uint32_t>0xDEADBEEF + <uint32_t>n + 13
    cdef uint32_t b = a
    cdef uint32_t c = a
    if n == 0:
        return 0
    while n > 12:
        a += load32(key)
        b += load32(key + 4)
        c += load32(key + 8)
        a = (a - c) ^ rotate(c, 4)
        c += b
        b = (b - a) ^ rotate(a, 6)
        a += c
        c = (c - b) ^ rotate(b, 8)
        b += a
        a = (a - c) ^ rotate(c, 16)
        c += b
        b = (b - a) ^ rotate(a, 19)
        a += c
        c = (c - b) ^ rotate(b, 4)
        b += a
        key += 12
        n -= 12
    a += load_tail(key, n)
    if n > 4:
        b += load_tail(key + 4, n - 4)
    if n > 8:
        c += load_tail(key + 8, n - 8)
    c = (c ^ b) - rotate(b, 14)
    a = (a ^ c) - rotate(c, 11)
    b = (b ^ a) - rotate(a, 25)
    c = (c ^ b) - rotate(b, 16)
    a = (a ^ c) - rotate(c, 4)
    b = (b ^ a) - rotate(a, 14)
    return (c ^ b) - rotate(b, 24)


cdef void md5_block(uint32_t* state, const char* block) noexcept nogil:
    cdef uint32_t a = state[0], b = state[1], c = state[2], d = state[3]
    cdef uint32_t f, next_b
    cdef int i, g
    for i in range(64):
        if i < 16:
            f = (b & c) | (~b & d)
            g = i
        elif i < 32:
            f = (d & b) | (~d & c)
            g = (5 * i + 1) & 15
        elif i < 48:
            f = b ^ c ^ d
            g = (3 * i + 5) & 15
        else:
            f = c ^ (b | ~d)
            g = (7 * i) & 15
        next_b = b + rotate(a + f + MD5_ADD[i] + load32(block + 4 * g), MD5_SHIFT[(i >> 4) * 4 + (i & 3)])
        a = d
        d = c
        c = b
        b = next_b
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d


cdef uint32_t md5(const char* key, size_t n) noexcept nogil:
    # The first four bytes of the digest.
    cdef uint32_t state[4]
    cdef char last[128]
    cdef size_t left = n
    cdef size_t i, blocks
    cdef uint64_t bits = <uint64_t>n * 8
    state[0] = 0x67452301
    state[1] = 0xEFCDAB89
    state[2] = 0x98BADCFE
    state[3] = 0x10325476
    while left >= 64:
        md5_block(state, key)
        key += 64
        left -= 64
    for i in range(128):
        last[i] = key[i] if i < left else 0
    last[left] = <char>0x80
    blocks = 1 if left < 56 else 2
    memcpy(last + blocks * 64 - 8, &bits, 8)
    for i in range(blocks):
        md5_block(state, last + i * 64)
    return state[0]


cdef uint32_t token_of(int hash_kind, const char* key, size_t n) noexcept nogil:
    if hash_kind == HASH_MURMUR:
        return murmur(key, n)
    if hash_kind == HASH_ONE_AT_A_TIME:
        return one_at_a_time(key, n)
    if hash_kind == HASH_MD5:
        return md5(key, n)
    if hash_kind == HASH_CRC16:
        return crc16(key, n, 0xFFFFFFFF)
    if hash_kind == HASH_CRC32:
        return (crc32(key, n) >> 16) & 0x7FFF
    if hash_kind == HASH_CRC32A:
        return crc32(key, n)
    if hash_kind == HASH_FNV1_64:
        return fnv1_64(key, n)
    if hash_kind == HASH_FNV1A_64:
        return fnv1a(key, n, 0x84222325, 0x1B3)
    if hash_kind == HASH_FNV1_32:
        return fnv1_32(key, n)
    if hash_kind == HASH_FNV1A_32:
        return fnv1a(key, n, 2166136261, 16777619)
    if hash_kind == HASH_HSIEH:
        return hsieh(key, n)
    if hash_kind == HASH_JENKINS:
        return jenkins(key, n)
    if hash_kind == HASH_REDIS_SLOT:
        return crc16(key, n, 0xFFFF) & 0x3FFF
    return 0


cdef void hash_tag_span(
    const char* key, size_t n, char a, char b, const char** out, size_t* outlen
) noexcept nogil:
    cdef const char* first
    cdef const char* second
    out[0] = key
    outlen[0] = n
    if (a == 0 and b == 0) or n == 0:
        return
    first = <const char*>memchr(key, <uint8_t>a, n)
    if first == NULL:
        return
    first += 1
    second = <const char*>memchr(first, <uint8_t>b, n - (first - key))
    if second == NULL:
        return
    out[0] = first
    outlen[0] = second - first


def hash_kind(name):
    """The HASH_ constant of a hash by its name in a configuration; ValueError says what to write instead."""
    if name in HASH_NAMES:
        return HASH_NAMES.index(name)
    if name == "murmur3":
        raise ValueError("hash murmur3 was never implemented by Dynomite either; use murmur, the default")
    raise ValueError(f"unknown hash {name!r}; use one of {', '.join(HASH_NAMES)}")


def hash_key(name, bytes key):
    """The token of the whole key by the hash of this name."""
    cdef int kind = hash_kind(name)
    return token_of(kind, key, len(key))


def tagged(bytes key, hash_tag):
    """The bytes of a key that are hashed. `hash_tag` is None or "" for none, else its two characters, e.g. "{}"."""
    cdef const char* out
    cdef size_t size
    if not hash_tag:
        return key
    pair = hash_tag.encode() if isinstance(hash_tag, str) else hash_tag
    if len(pair) != 2:
        raise ValueError(f'hash_tag has to be two characters such as "{{}}", not {hash_tag!r}')
    hash_tag_span(key, len(key), <char>pair[0], <char>pair[1], &out, &size)
    return out[:size]


def parse_token(text):
    """A token as Dynomite reads it: the decimal number modulo 2^32 up to ten digits, its own value above that.

    Dynomite reads digits in groups of ten from the right and multiplies by 387420489 between them, so nodes with such
    tokens agree only if all of them do the same.
    """
    word = text.strip() if isinstance(text, str) else str(text)
    if word.startswith("-"):
        raise TopologyError(f"token {word} is negative", "give a number from 0 to 4294967295")
    if not (word.isascii() and word.isdigit()):
        raise TopologyError(f"token {word!r} is not a decimal number", "give a number from 0 to 4294967295")
    value = 0
    first = len(word) % 10 or 10
    for start, end in [(0, first), *((i, i + 10) for i in range(first, len(word), 10))]:
        value = (value * 387420489 + int(word[start:end])) % 4294967296
    return value
