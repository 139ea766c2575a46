"""Batches of writes as the tests write and read them: by themselves, from the words of ADR 87."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import hiredis

from dynomite_mp.proto.dnode import (
    DNODE_BATCH,
    DNODE_REQ,
    DNODE_VERSION_BATCHES,
    EXTENSION_ORIGIN,
    EXTENSION_RUN,
    EXTENSION_STAMP,
)
from dynomite_mp.proto.dnode_frames import (
    DnodeFrame,
    ExtensionFields,
    encode_frame,
    pack_extension,
    unpack_extension,
)

STEP = struct.Struct(">IBB")  # stamp and sequence above those of the write before, class


class BatchedWrite(NamedTuple):
    id: int
    stamp: int
    sequence: int
    klass: int
    words: list[bytes]


def written(first_id: int, writes: Sequence[tuple[int, int, int, Sequence[str]]], origin: int = 99) -> bytes:
    """The frame of writes given as (stamp, sequence, class, words)."""
    stamp, sequence, klass, _words = writes[0]
    base = ExtensionFields(
        fields=EXTENSION_STAMP | EXTENSION_ORIGIN, clock=stamp, stamp=stamp, origin_node=origin, origin_boot=1,
        sequence=sequence, conflict_class=klass,
    )  # fmt: skip
    payload = b""
    for next_stamp, next_sequence, klass, words in writes:
        payload += STEP.pack(next_stamp - stamp, next_sequence - sequence, klass) + hiredis.pack_command(tuple(words))
        stamp, sequence = next_stamp, next_sequence
    return encode_frame(
        first_id, DNODE_REQ, payload, flags=DNODE_BATCH, version=DNODE_VERSION_BATCHES, data=pack_extension(base)
    )


def read(frame: DnodeFrame) -> list[BatchedWrite]:
    base = unpack_extension(frame.data)
    assert frame.flags == DNODE_BATCH and base is not None, frame
    stamp, sequence, found, at = base.stamp, base.sequence, [], 0
    while at < len(frame.payload):
        more, next_one, klass = STEP.unpack_from(frame.payload, at)
        stamp, sequence, at = stamp + more, sequence + next_one, at + STEP.size
        end = end_of_request(frame.payload, at)
        reader = hiredis.Reader()
        reader.feed(frame.payload[at:end])
        found.append(BatchedWrite(frame.id + len(found), stamp, sequence, klass, reader.gets()))
        at = end
    assert at == len(frame.payload)
    return found


def end_of_request(data: bytes, at: int) -> int:
    line_end = data.index(b"\r\n", at)
    assert data[at : at + 1] == b"*", data[at:]
    count, at = int(data[at + 1 : line_end]), line_end + 2
    for _ in range(count):
        line_end = data.index(b"\r\n", at)
        at = line_end + 2 + int(data[at + 1 : line_end]) + 2
    return at


def run(count: int) -> bytes:
    """The data field of a reply to so many requests in a row."""
    return pack_extension(ExtensionFields(fields=EXTENSION_RUN, run=count))


def run_of(frame: DnodeFrame) -> int:
    found = unpack_extension(frame.data)
    return found.run if found is not None and found.fields & EXTENSION_RUN else 1
