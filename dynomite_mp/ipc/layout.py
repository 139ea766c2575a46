"""Offsets of everything that lies in shared memory: the ring segment, a ring, a record, the counter slab.

Constants only. The compiled modules carry the same numbers as C structs and compare them with these at import, so
the two cannot drift.

The two positions of a ring, said once: the *head* is the producer's position (`producer_pos`, where the next record
goes) and the *tail* is the consumer's (`consumer_pos`, the oldest record not yet handled; the consumer advances it
after it has handled a record). Code uses the long names. Both are 64-bit byte counts that never wrap; the place in
the data area is `pos & (capacity_bytes - 1)`.

    ring segment (anonymous: unlinked once mapped)
    +----------------------+-----------+-----------+----
    | one line a doorbell  | ring 0    | ring 1    | ...
    +----------------------+-----------+-----------+----

    ring                                             record (starts at a multiple of 8)
    +------------------------------------------+     0        4        8
    |   0  producer_pos records failed_offers  |     +--------+--------+-----------------+- - -+
    |      high_water_bytes dropped            |     | length | type   | payload         | pad |
    | 128  consumer_pos handler_errors         |     +--------+--------+-----------------+- - -+
    | 256  magic capacity_bytes                |     length = 8 + payload bytes
    | 384  data: capacity_bytes, a power of 2  |     type 0 = padding up to the physical end
    +------------------------------------------+

Lines are 128 bytes: adjacent cache lines are fetched in pairs, so 64 would still share.
"""

LINE_BYTES = 128

# --- ring ---
RING_MAGIC = 0x31474E52504D4E44  # "DNMPRNG1", little-endian
RING_LAYOUT_VERSION = 1
RING_PRODUCER_OFFSET = 0
RING_CONSUMER_OFFSET = 128
RING_CONSTANT_OFFSET = 256
RING_HEADER_BYTES = 384
RING_CAPACITY_BYTES_MIN = 32
RING_RECORD_SHARE = 8  # the largest payload is capacity / 8: two of them and a padding always fit an empty ring

# --- record ---
RECORD_HEADER_BYTES = 8
RECORD_ALIGN_BYTES = 8
PADDING_TYPE = 0
SPILL_BIT = 0x40000000

# --- ring segment ---
DOORBELL_BYTES = LINE_BYTES

# --- counter slab: u64 words; the magic is written last, so a reader never sees a half-made slab ---
SLAB_MAGIC = 0x31424C53504D4E44  # "DNMPSLB1"
SLAB_LAYOUT_VERSION = 2
SLAB_HEADER_WORDS = (
    "magic",
    "layout_version",
    "total_bytes",
    "boot_id",
    "supervisor_pid",
    "supervisor_start_ticks",
    "created_at_ns",
    "process_count",
    "process_offset",
    "process_stride_bytes",
    "cell_count",
    "command_count",
    "histogram_count",
    "histogram_words",
    "ring_count",
    "ring_offset",
    "ring_row_words",
    "identity_offset",
    "identity_bytes",
    "schema_offset",
    "schema_bytes",
)
SLAB_HEADER_BYTES = 256

# One record a process: 16 words of the supervisor, 16 of the worker, cells, command cells, histograms, the bulletin.
PROCESS_SUPERVISOR_WORDS = ("role", "index", "pid", "state", "boot_count", "started_at_ns", "last_exit")
PROCESS_HEARTBEAT_WORD = 16
PROCESS_HEADER_WORDS = 32
COMMAND_CELLS = 512
HISTOGRAM_BUCKETS = 288
HISTOGRAM_WORDS = 292
HISTOGRAM_SUM = 288
HISTOGRAM_COUNT = 289
HISTOGRAM_MAX = 290

# The bulletin: figures whose number is not fixed, as one value of at most this size that its process replaces whole.
# How often it was posted, then two sides, each its size and its bytes; the last posted is on side `posts & 1`.
BULLETIN_BYTES = 16 * 1024
BULLETIN_SIDE_WORDS = 1 + BULLETIN_BYTES // 8
BULLETIN_WORDS = 1 + 2 * BULLETIN_SIDE_WORDS

# One row a ring, copied from the ring's header by the supervisor once a second.
RING_ROW_FIELDS = (
    "producer_role",
    "producer_index",
    "consumer_role",
    "consumer_index",
    "capacity_bytes",
    "depth_bytes",
    "high_water_bytes",
    "failed_offers",
    "records",
    "dropped",
    "total_bytes",
    "handler_errors",
    "sampled_at_ns",
)
RING_ROW_WORDS = 16


def align(value: int, to: int) -> int:
    """The next multiple of `to`, a power of two."""
    return (value + to - 1) & ~(to - 1)


def histogram_bucket_bounds(bucket: int) -> tuple[int, int]:
    """Lowest value of a bucket and the lowest value of the next one."""
    if bucket < 8:
        return bucket, bucket + 1
    exponent, part = bucket // 8 + 2, bucket % 8
    width = 1 << (exponent - 3)
    low = (8 + part) * width
    return low, low + width
