"""The slow, clear twin of cluster/token.pyx: every hash of Dynomite in plain arithmetic."""

import hashlib
import zlib
from collections.abc import Callable

WORD = 2**32


def signed(byte: int) -> int:
    """A byte as C reads a signed char."""
    return byte - 256 if byte > 127 else byte


def little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def one_at_a_time(key: bytes) -> int:
    h = 0
    for byte in key:
        h = (h + signed(byte)) % WORD
        h = (h + (h << 10)) % WORD
        h ^= h >> 6
    h = (h + (h << 3)) % WORD
    h ^= h >> 11
    return (h + (h << 15)) % WORD


def md5(key: bytes) -> int:
    return little(hashlib.md5(key, usedforsecurity=False).digest()[:4])


def crc16_step(crc: int, byte: int) -> int:
    """One byte of CRC-16/CCITT; the sum above 16 bits stays, as in the original."""
    table = ((crc >> 8) ^ byte) % 256 << 8
    for _ in range(8):
        table = (table << 1) ^ 0x1021 if table & 0x8000 else table << 1
        table &= 0xFFFF
    return (crc << 8) % WORD ^ table


def crc16(key: bytes) -> int:
    crc = 0
    for byte in key:
        crc = crc16_step(crc, byte)
    return crc


def redis_slot(key: bytes) -> int:
    crc = 0
    for byte in key:
        crc = crc16_step(crc, byte) % 65536
    return crc % 16384


def crc32(key: bytes) -> int:
    return zlib.crc32(key) >> 16 & 0x7FFF


def fnv1_64(key: bytes) -> int:
    h = 0xCBF29CE484222325
    for byte in key:
        h = h * 0x100000001B3 % 2**64 ^ byte
    return h % WORD


def fnv1a(key: bytes, h: int, prime: int) -> int:
    for byte in key:
        h = (h ^ byte) * prime % WORD
    return h


def fnv1_32(key: bytes) -> int:
    h = 2166136261
    for byte in key:
        h = h * 16777619 % WORD ^ byte
    return h


def hsieh(key: bytes) -> int:
    if not key:
        return 0
    h = 0
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        h = (h + little(key[at : at + 2])) % WORD
        h = (h << 16) % WORD ^ (little(key[at + 2 : at + 4]) << 11 ^ h) % WORD
        h = (h + (h >> 11)) % WORD
    tail = key[whole:]
    if len(tail) == 3:
        h = (h + little(tail[:2])) % WORD
        h ^= (h << 16) % WORD ^ tail[2] << 18
        h = (h + (h >> 11)) % WORD
    elif len(tail) == 2:
        h = (h + little(tail)) % WORD
        h ^= (h << 11) % WORD
        h = (h + (h >> 17)) % WORD
    elif len(tail) == 1:
        h = (h + tail[0]) % WORD
        h ^= (h << 10) % WORD
        h = (h + (h >> 1)) % WORD
    h ^= (h << 3) % WORD
    h = (h + (h >> 5)) % WORD
    h ^= (h << 4) % WORD
    h = (h + (h >> 17)) % WORD
    h ^= (h << 25) % WORD
    return (h + (h >> 6)) % WORD


def murmur(key: bytes) -> int:
    m = 0x5BD1E995
    h = 0xDEADBEEF * len(key) % WORD ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = little(key[at : at + 4]) * m % WORD
        k = (k ^ k >> 24) * m % WORD
        h = h * m % WORD ^ k
    if key[whole:]:
        h = (h ^ little(key[whole:])) * m % WORD
    h = (h ^ h >> 13) * m % WORD
    return h ^ h >> 15


def rotate(x: int, bits: int) -> int:
    return (x << bits | x >> (32 - bits)) % WORD


def jenkins(key: bytes) -> int:
    if not key:
        return 0
    a = b = c = (0xDEADBEEF + len(key) + 13) % WORD
    while len(key) > 12:
        a, b, c = ((v + little(key[i : i + 4])) % WORD for v, i in ((a, 0), (b, 4), (c, 8)))
        a, c = (a - c) % WORD ^ rotate(c, 4), (c + b) % WORD
        b, a = (b - a) % WORD ^ rotate(a, 6), (a + c) % WORD
        c, b = (c - b) % WORD ^ rotate(b, 8), (b + a) % WORD
        a, c = (a - c) % WORD ^ rotate(c, 16), (c + b) % WORD
        b, a = (b - a) % WORD ^ rotate(a, 19), (a + c) % WORD
        c, b = (c - b) % WORD ^ rotate(b, 4), (b + a) % WORD
        key = key[12:]
    a, b, c = ((v + little(key[i : i + 4])) % WORD for v, i in ((a, 0), (b, 4), (c, 8)))
    c = ((c ^ b) - rotate(b, 14)) % WORD
    a = ((a ^ c) - rotate(c, 11)) % WORD
    b = ((b ^ a) - rotate(a, 25)) % WORD
    c = ((c ^ b) - rotate(b, 16)) % WORD
    a = ((a ^ c) - rotate(c, 4)) % WORD
    b = ((b ^ a) - rotate(a, 14)) % WORD
    return ((c ^ b) - rotate(b, 24)) % WORD


HASHES: dict[str, Callable[[bytes], int]] = {
    "one_at_a_time": one_at_a_time,
    "md5": md5,
    "crc16": crc16,
    "crc32": crc32,
    "crc32a": zlib.crc32,
    "fnv1_64": fnv1_64,
    "fnv1a_64": lambda key: fnv1a(key, 0x84222325, 0x1B3),
    "fnv1_32": fnv1_32,
    "fnv1a_32": lambda key: fnv1a(key, 2166136261, 16777619),
    "hsieh": hsieh,
    "murmur": murmur,
    "jenkins": jenkins,
    "redis_slot": redis_slot,
}


def tagged(key: bytes, pair: bytes) -> bytes:
    """The bytes strictly between the first pair[0] and the first pair[1] behind it, else the whole key."""
    _, opened, rest = key.partition(pair[:1])
    tag, closed, _ = rest.partition(pair[1:])
    return tag if opened and closed else key
