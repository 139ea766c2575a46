from collections.abc import Sequence

WRITE_OVERWRITE: int
WRITE_COMMUTE: int
WRITE_ORDERED: int
FAMILY_NONE: int
FAMILY_MIXED: int
NOTE_APPLY: int
NOTE_APPLY_AND_COPY: int
NOTE_STALE: int
NOTE_DUPLICATE: int
NOTE_SKIP_AND_COPY: int
ENTRY_DISORDERED: int
ENTRY_LACKING: int

_Id = tuple[int, int, int, int]

class WriteTable:
    """`buckets` and `recents` are powers of two; stamps up to `floor` count as forgotten from the start."""

    def __init__(self, floor: int, *, buckets: int = 8192, recents: int = 65536) -> None: ...
    @property
    def newest(self) -> int: ...
    def note_key(
        self, key: bytes, klass: int, id: _Id, stamp: int, *, family: int = 1, is_resent: bool = False
    ) -> int:
        """NOTE_*; the id is (origin node, boot, worker, sequence)."""
    def seen_id(self, id: _Id, is_resent: bool = False) -> int:
        """NOTE_APPLY: not before; NOTE_DUPLICATE; NOTE_SKIP_AND_COPY: nobody knows. Marks it as seen."""
    def entry(
        self, key: bytes, most: int = 64, since: int = 0, others_most: int = 256
    ) -> tuple[int, int, int, list[_Id], int, int, list[_Id], list[int], int, list[int]] | None:
        """(stamp, origin node, flags + family * 256, recent ids not older than a stamp nor than the last overwrite,
        stamp and origin of that overwrite, other ids, stamps of the recent ones, horizon: up to this stamp there may
        have been more, stamps of the others)."""
    def put(
        self,
        key: bytes,
        stamp: int,
        origin: int,
        flags: int,
        ids: Sequence[_Id],
        over_stamp: int,
        over_origin: int,
        others: Sequence[_Id] = (),
        stamps: Sequence[int] = (),
        horizon: int = 0,
        other_stamps: Sequence[int] = (),
    ) -> None:
        """The key has been copied: what entry() said of it where it came from."""
    def raise_floor(self, stamp: int) -> None:
        """Everything up to the stamp may have been forgotten."""

def hash_of(key: bytes) -> int: ...
