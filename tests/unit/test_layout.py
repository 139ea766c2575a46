"""The offsets in layout.py: what lies where, and that the compiled structs agree."""

from dynomite_mp.ipc import layout, ring
from dynomite_mp.ipc.counters import bucket_of


def test_compiled_structs_agree() -> None:
    ring.check_layout()


def test_positions_lie_on_lines_of_their_own() -> None:
    offsets = (layout.RING_PRODUCER_OFFSET, layout.RING_CONSUMER_OFFSET, layout.RING_CONSTANT_OFFSET)
    assert [offset % layout.LINE_BYTES for offset in offsets] == [0, 0, 0]
    assert len({offset // layout.LINE_BYTES for offset in offsets}) == 3
    assert layout.RING_HEADER_BYTES % layout.LINE_BYTES == 0


def test_magics_are_readable_text() -> None:
    assert layout.RING_MAGIC.to_bytes(8, "little") == b"DNMPRNG1"
    assert layout.SLAB_MAGIC.to_bytes(8, "little") == b"DNMPSLB1"


def test_slab_header_fits() -> None:
    assert len(layout.SLAB_HEADER_WORDS) * 8 <= layout.SLAB_HEADER_BYTES
    assert len(layout.RING_ROW_FIELDS) <= layout.RING_ROW_WORDS
    assert len(layout.PROCESS_SUPERVISOR_WORDS) <= layout.PROCESS_HEARTBEAT_WORD


def test_buckets_follow_each_other_and_hold_their_values() -> None:
    for bucket in range(layout.HISTOGRAM_BUCKETS - 1):
        low, high = layout.histogram_bucket_bounds(bucket)
        assert layout.histogram_bucket_bounds(bucket + 1)[0] == high
        assert bucket_of(low) == bucket_of(high - 1) == bucket
        assert high - low <= max(1, low // 8)


def test_the_last_bucket_takes_everything_above() -> None:
    last = layout.HISTOGRAM_BUCKETS - 1
    assert bucket_of(layout.histogram_bucket_bounds(last)[0]) == last
    assert bucket_of(2**64 - 1) == last
