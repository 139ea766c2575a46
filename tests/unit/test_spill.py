"""Spill files, with real files in a temporary directory."""

from pathlib import Path

import msgpack
import pytest

from dynomite_mp.ipc.spill import SpillDirectory, SpillError


@pytest.fixture
def spill(tmp_path: Path) -> SpillDirectory:
    made = SpillDirectory(tmp_path / "spill", 1000)
    made.prepare()
    return made


def files(spill: SpillDirectory) -> list[str]:
    return sorted(path.name for path in spill.path.iterdir())


def test_a_value_comes_back_and_its_file_goes(spill: SpillDirectory) -> None:
    record = spill.write(3, 4096, b"value" * 20)
    assert record is not None
    assert msgpack.unpackb(record) == ["3-4096", 100]
    assert (spill.path / "3-4096").stat().st_mode & 0o777 == 0o600
    assert spill.read(record) == b"value" * 20
    spill.remove(record)
    assert files(spill) == []
    assert spill.read(record) is None  # seen again after its consumer died: handled before
    spill.remove(record)


def test_prepare_empties_the_directory(spill: SpillDirectory) -> None:
    spill.write(1, 0, b"old")
    SpillDirectory(spill.path, 10).prepare()
    assert files(spill) == []


def test_the_total_is_capped_and_room_comes_back(spill: SpillDirectory) -> None:
    records = [spill.write(1, i * 64, b"x" * 400) for i in range(3)]
    assert records[0] and records[1] and records[2] is None
    assert spill.used_bytes() == 800
    SpillDirectory(spill.path, 1000).remove(records[0])  # by the consumer, elsewhere
    assert spill.write(1, 192, b"x" * 400)
    assert spill.write(1, 256, b"x" * 1001) is None


def test_files_of_other_processes_count(spill: SpillDirectory) -> None:
    other = SpillDirectory(spill.path, 1000)
    assert spill.write(1, 0, b"x" * 10)
    for i in range(30):
        other.write(2, i, b"x" * 30)
    written = 0
    while spill.write(1, written + 1, b"x" * 10):
        written += 1
    assert spill.used_bytes() <= 1000 + 2 * 1000 // 16


def test_a_full_disk_is_no_exception(tmp_path: Path) -> None:
    spill = SpillDirectory(tmp_path, 1000)
    (tmp_path / "1-0").symlink_to("/dev/full")
    assert spill.write(1, 0, b"x" * 100) is None
    assert files(spill) == []


def test_a_successor_sweeps_what_was_never_published(spill: SpillDirectory) -> None:
    for ring, position in ((1, 64), (1, 128), (1, 192), (11, 128), (2, 128)):
        spill.write(ring, position, b"x")
    assert spill.sweep(1, 128) == 2
    assert files(spill) == ["1-64", "11-128", "2-128"]


def test_a_damaged_file_is_found(spill: SpillDirectory) -> None:
    record = spill.write(1, 0, b"12345")
    assert record is not None
    (spill.path / "1-0").write_bytes(b"1234")
    with pytest.raises(SpillError, match="has 4 bytes"):
        spill.read(record)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xc1",
        msgpack.packb("text"),
        msgpack.packb(["../../etc/passwd", 3]),
        msgpack.packb(["/etc/passwd", 3]),
        msgpack.packb([".", 3]),
        msgpack.packb(["1-0", "3"]),
        msgpack.packb(["1-0"]),
        msgpack.packb([5, 3]),
    ],
)
def test_what_is_no_spill_record_is_refused(spill: SpillDirectory, record: bytes) -> None:
    with pytest.raises(SpillError):
        spill.read(record)
