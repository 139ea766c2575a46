"""Spill files: the way of a value that is larger than a ring's largest record.

Not the rings; not the decision to spill (Outbox in proxies.py). A value above 1/8 of its ring would stall everything
behind it, and chains of records would need a half-received state at every consumer. So the value goes to a file in the
runtime directory and a small record (type | SPILL_BIT, msgpack [name, size_bytes]) goes over the ring.

A file is named <ring>-<producer_pos>: unique as long as its record is unhandled, because the position moves on.

    producer                                     consumer
    write file                                   read file; gone? the record was handled before: skip
    publish record, or unlink when full          handle the message
                                                 unlink, then advance

Killed after the file and before the record: the successor sweeps files from its producer_pos on. Killed between
unlink and advance: the record comes again, its file is gone, it is skipped. So no file is lost or left.

All files together stay within the limit: a producer adds up the directory when its own writes since it last did come
to 1/16 of the limit, or when the limit seems reached. With several producers the excess is at most 1/16 for each.
"""

import os
from pathlib import Path
from typing import Final

import msgpack  # type: ignore[import-untyped]

RESCAN_SHARE: Final = 16


class SpillDirectory:
    """The spill files of one node, as one process sees them."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self._known_bytes = 0  # at the last scan, plus what this process wrote since
        self._written_bytes = 0  # by this process since the last scan
        self._scanned = False

    def prepare(self) -> None:
        """Make the directory and empty it; once, by the supervisor, before the first fork: positions start at 0."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in os.scandir(self.path):
            Path(entry).unlink(missing_ok=True)

    def used_bytes(self) -> int:
        """Size of all spill files of the node."""
        used_bytes = 0
        for entry in os.scandir(self.path):
            try:
                used_bytes += entry.stat().st_size
            except FileNotFoundError:  # its consumer was quicker
                continue
        return used_bytes

    def has_room(self, size_bytes: int) -> bool:
        """Whether a value may be written now."""
        rescan_bytes = self.limit_bytes // RESCAN_SHARE
        seems_full = self._known_bytes + size_bytes > self.limit_bytes
        if not self._scanned or seems_full or self._written_bytes + size_bytes > rescan_bytes:
            self._known_bytes = self.used_bytes()
            self._written_bytes = 0
            self._scanned = True
        return self._known_bytes + size_bytes <= self.limit_bytes

    def write(self, ring_index: int, producer_pos: int, payload: bytes) -> bytes | None:
        """Put a value into a file; the record's payload, or None when the limit or the disk is full."""
        if not self.has_room(len(payload)):
            return None
        name = f"{ring_index}-{producer_pos}"
        path = self.path / name
        try:
            with open(path, "wb", opener=_open_private) as file:
                file.write(payload)
        except OSError:
            path.unlink(missing_ok=True)
            return None
        self._known_bytes += len(payload)
        self._written_bytes += len(payload)
        packed: bytes = msgpack.packb((name, len(payload)))
        return packed

    def read(self, record: bytes) -> bytes | None:
        """The value that a spill record names; None if it was handled already. SpillError for a damaged file."""
        name, size_bytes = _reference(record)
        try:
            payload = (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        if len(payload) != size_bytes:
            raise SpillError(f"spill file {name} has {len(payload)} bytes, its record says {size_bytes}")
        return payload

    def remove(self, record: bytes) -> None:
        """The value was handled, or its record was not published."""
        (self.path / _reference(record)[0]).unlink(missing_ok=True)

    def sweep(self, ring_index: int, producer_pos: int) -> int:
        """A (re)started producer: remove files whose record was never published; how many there were."""
        swept = 0
        for entry in os.scandir(self.path):
            ring, _, position = entry.name.partition("-")
            if ring == str(ring_index) and int(position) >= producer_pos:
                Path(entry).unlink(missing_ok=True)
                swept += 1
        return swept


class SpillError(Exception):
    """A spill record or file that its producer did not write like this."""


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _reference(record: bytes) -> tuple[str, int]:
    try:
        name, size_bytes = msgpack.unpackb(record, use_list=False)
    except (ValueError, TypeError, msgpack.UnpackException) as problem:
        raise SpillError(f"not a spill record: {problem}") from problem
    if not (isinstance(name, str) and isinstance(size_bytes, int) and name.replace("-", "").isdigit()):
        raise SpillError("not a spill record")
    return name, size_bytes
