"""The map in the data field between nodes of this program."""

import msgpack
import pytest

from dynomite_mp.proto.dnode import (
    EXTENSION_DATA_SET,
    EXTENSION_EPOCH,
    EXTENSION_LEAD,
    EXTENSION_LOCAL_ONLY,
    EXTENSION_ORIGIN,
    EXTENSION_STAMP,
)
from dynomite_mp.proto.dnode_frames import ExtensionFields, encode_frame, frame_dnode, pack_extension, unpack_extension

READ = ExtensionFields(clock=1 << 63, flags=EXTENSION_LOCAL_ONLY, protocol=3)
WRITE = ExtensionFields(
    fields=EXTENSION_STAMP | EXTENSION_ORIGIN, clock=5, flags=EXTENSION_LEAD, stamp=4, origin_node=(1 << 64) - 1,
    origin_boot=(1 << 32) - 1, origin_worker=3, sequence=1 << 40, conflict_class=127,
)  # fmt: skip
HINT = WRITE._replace(fields=WRITE.fields | EXTENSION_EPOCH | EXTENSION_DATA_SET, epoch=9, data_set=1 << 50)


@pytest.mark.parametrize(("fields", "size"), [(READ, 21), (WRITE, 65), (HINT, 85)])
def test_what_is_packed_comes_back(fields: ExtensionFields, size: int) -> None:
    packed = pack_extension(fields)
    assert len(packed) == size
    assert unpack_extension(packed) == fields


def test_any_msgpack_reader_reads_it() -> None:
    assert msgpack.unpackb(pack_extension(HINT), strict_map_key=False) == {
        0: 1, 1: 5, 2: EXTENSION_LEAD, 3: 2, 4: 4, 5: (1 << 64) - 1, 6: (1 << 32) - 1, 7: 3, 8: 1 << 40, 9: 127, 10: 9,
        11: 1 << 50,
    }  # fmt: skip


def test_groups_that_are_not_named_are_not_written() -> None:
    packed = pack_extension(HINT._replace(fields=EXTENSION_EPOCH))
    assert set(msgpack.unpackb(packed, strict_map_key=False)) == {0, 1, 2, 3, 10}


def test_a_later_version_adds_fields() -> None:
    known = msgpack.unpackb(pack_extension(WRITE), strict_map_key=False)
    for strange in (
        None,
        True,
        -7,
        1.5,
        "text",
        b"bytes",
        [1, [2, {3: 4}]],
        {"a": [b""]},
        "x" * 300,
        list(range(70000)),
    ):
        later = {0: 2, 99: strange, 100: 1, 1000: strange, "name": strange, -1: 0} | known | {0: 2}
        assert unpack_extension(msgpack.packb(later)) == WRITE._replace(version=2)


def test_an_earlier_version_leaves_fields_out() -> None:
    assert unpack_extension(msgpack.packb({0: 1})) == ExtensionFields()
    assert unpack_extension(msgpack.packb({0: 1, 5: 7, 8: 9})) == ExtensionFields(origin_node=7, sequence=9)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"d", b"a", b"\xc1" * 128, b"k" * 128, b"\x80",
        msgpack.packb({1: 5}),                          # no version
        msgpack.packb([0, 1]),
        msgpack.packb({0: 1, 1: "text"}),
        msgpack.packb({0: 1, 1: -1}),
        msgpack.packb({0: 1, 2: 1 << 32}),              # wider than the field
        msgpack.packb({0: 1, 12: b"abc"})[:-1],
        pack_extension(WRITE)[:-1],
        pack_extension(WRITE) + b"\x00",
        b"\x83" + pack_extension(READ)[1:],             # more bytes than entries
        b"\x85" + pack_extension(READ)[1:],             # more entries than bytes
        b"\x82\x00\x01\x0c\xc1",
        b"\x82\x00\x01\x0c\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff\x00\x01",
    ],
)  # fmt: skip
def test_anything_else_is_no_extension(data: bytes) -> None:
    assert unpack_extension(data) is None


def test_it_travels_in_a_frame() -> None:
    stream = encode_frame(9, 3, b"+x y $2014$ ", version=2, data=pack_extension(HINT)) * 2
    frames, used, error = frame_dnode(stream)
    assert (len(frames), used, error) == (2, len(stream), None)
    assert [unpack_extension(frame.data) for frame in frames] == [HINT, HINT]
