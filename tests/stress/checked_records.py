"""Payloads that prove themselves: which life of a producer wrote them, in which order, and whether a byte changed."""

import itertools
import random
import struct
import zlib
from collections.abc import Iterator

HEAD = struct.Struct("<IQ")  # life of the producer, sequence within it
CRC = struct.Struct("<I")
OVERHEAD_BYTES = HEAD.size + CRC.size
POOL_STARTS = 4093


class Source:
    """The payloads of one life of a producer; bodies have the given sizes, over and over."""

    def __init__(self, life: int, sizes: list[int], seed: int) -> None:
        self.sizes = sizes
        self._life = life
        self._pool = random.Random(seed).randbytes(max(sizes) + POOL_STARTS)

    def payload(self, sequence: int) -> bytes:
        start = sequence % POOL_STARTS  # differs between neighbours, so old bytes in a ring are not taken for new ones
        size = self.sizes[sequence % len(self.sizes)]
        body = HEAD.pack(self._life, sequence) + self._pool[start : start + size]
        return body + CRC.pack(zlib.crc32(body))

    def __iter__(self) -> Iterator[bytes]:
        return map(self.payload, itertools.count())


def unseal(payload: bytes) -> tuple[int, int] | None:
    """(life, sequence) of a payload, or None if a byte of it changed."""
    if len(payload) < OVERHEAD_BYTES or zlib.crc32(payload[:-4]) != CRC.unpack_from(payload, len(payload) - 4)[0]:
        return None
    life, sequence = HEAD.unpack_from(payload)
    return life, sequence


class Checker:
    """A ring handler that counts what is wrong: each life's sequence starts at 0 and has no gap."""

    def __init__(self) -> None:
        self.records = 0
        self.corrupt = 0
        self.out_of_order = 0
        self.life = -1
        self.next_sequence = 0

    def __call__(self, record_type: int, payload: bytes) -> None:
        self.records += 1
        read = unseal(payload)
        if read is None or record_type != 1:
            self.corrupt += 1
            return
        life, sequence = read
        if life > self.life:
            self.life, self.next_sequence = life, 0
        if life != self.life or sequence != self.next_sequence:
            self.out_of_order += 1
        self.next_sequence = sequence + 1

    @property
    def wrong(self) -> int:
        return self.corrupt + self.out_of_order
