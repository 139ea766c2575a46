"""Any map that msgpack writes is read as the model reads it; any bytes at all are survived."""

from typing import Any

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from dynomite_mp.proto.dnode_frames import ExtensionFields, pack_extension, unpack_extension
from tests.models import dnode_model

U64 = st.integers(0, (1 << 64) - 1)
U32 = st.integers(0, (1 << 32) - 1)
SMALL = st.integers(0, 127)
FIELDS = st.builds(
    ExtensionFields, fields=st.integers(0, 31), clock=U64, flags=U32, protocol=SMALL, stamp=U64, origin_node=U64,
    origin_boot=U32, origin_worker=U32, sequence=U64, conflict_class=SMALL, epoch=U64, data_set=U64, run=U32,
)  # fmt: skip
NUMBERS = SMALL | U32 | U64 | st.integers(-300, -1)
SCALARS = NUMBERS | st.none() | st.booleans() | st.floats() | st.text(max_size=40) | st.binary(max_size=300)
VALUES = st.recursive(
    SCALARS | st.builds(msgpack.ExtType, SMALL, st.binary(max_size=20)),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(SMALL | st.text(max_size=3), inner, max_size=20),
    max_leaves=12,
)
ENTRIES = st.tuples(st.integers(0, 12), NUMBERS | NUMBERS | NUMBERS | SCALARS) | st.tuples(
    st.integers(13, 1 << 40) | st.integers(-300, -1) | st.text(max_size=40) | st.booleans(), VALUES
)
GROUPS = ((1, ("stamp",)), (2, dnode_model.KEYS[5:10]), (4, ("epoch",)), (8, ("data_set",)), (16, ("run",)))


def as_dict(fields: ExtensionFields | None) -> dict[str, Any] | None:
    return None if fields is None else fields._asdict()


def pack_map(entries: list[tuple[Any, Any]]) -> bytes:
    packer = msgpack.Packer()
    return packer.pack_map_header(len(entries)) + b"".join(
        msgpack.packb(key) + msgpack.packb(value) for key, value in entries
    )


@given(FIELDS)
def test_what_is_packed_comes_back(fields: ExtensionFields) -> None:
    named = {"clock", "flags", "protocol", "fields", "version"}
    named.update(name for bit, names in GROUPS if fields.fields & bit for name in names)
    packed = pack_extension(fields)
    assert as_dict(unpack_extension(packed)) == {
        name: value if name in named else 0 for name, value in fields._asdict().items()
    }
    assert as_dict(unpack_extension(packed)) == dnode_model.extension(packed)


@settings(max_examples=400)
@given(st.lists(ENTRIES, max_size=24), st.booleans())
def test_any_map_as_the_model_reads_it(entries: list[tuple[Any, Any]], has_version: bool) -> None:
    packed = pack_map([(0, 1), *entries] if has_version else entries)
    assert as_dict(unpack_extension(packed)) == dnode_model.extension(packed)


@settings(max_examples=400)
@given(FIELDS, st.data())
def test_what_is_written_may_be_reordered_and_extended(fields: ExtensionFields, data: st.DataObject) -> None:
    packed = pack_extension(fields)
    entries = list(msgpack.unpackb(packed, strict_map_key=False).items())
    mixed = data.draw(st.permutations(entries))
    assert unpack_extension(pack_map(mixed)) == unpack_extension(packed)
    place = data.draw(st.integers(0, len(entries)))
    longer = [*entries[:place], (data.draw(st.integers(13, 999)), data.draw(VALUES)), *entries[place:]]
    assert unpack_extension(pack_map(longer)) == unpack_extension(packed)


@settings(max_examples=400)
@given(FIELDS, st.data())
def test_damaged_bytes_are_survived(fields: ExtensionFields, data: st.DataObject) -> None:
    packed = bytearray(pack_extension(fields))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(packed[: data.draw(st.integers(0, len(packed)))])
    for damaged in (bytes(packed), cut):
        got = unpack_extension(damaged)
        assert got is None or damaged[0] & 0xF0 == 0x80 or damaged[0] in (0xDE, 0xDF)
