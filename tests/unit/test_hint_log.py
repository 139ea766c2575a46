"""The log of missed writes: what comes back, what is seen to be damaged, what a full disk does."""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynomite_mp.cluster.hints import DirtyReason
from dynomite_mp.workers import hint_log
from dynomite_mp.workers.hint_log import RECORD_HEAD_BYTES, SEGMENT_HEAD_BYTES, HintLog

ROOM = 1 << 30


def payloads(log: HintLog, position: int | None = None) -> list[bytes]:
    """Everything from a position on, by small reads."""
    found: list[bytes] = []
    at = log.acked if position is None else position
    while True:
        records, at = log.read(at, 64)
        if not records:
            return found
        found += [payload for _, _, _, payload in records]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[HintLog]:
    made = HintLog(tmp_path / "lane", ROOM, 256)
    yield made
    made.close()


def filled(path: Path, count: int, segment_bytes: int = 256) -> HintLog:
    log = HintLog(path, ROOM, segment_bytes)
    for number in range(count):
        log.append(b"record %d" % number, 1000 + number)
        log.write()
    return log


def test_records_come_back_in_order_with_their_times(log: HintLog) -> None:
    ends = [log.append(bytes([65 + i]) * i, 100 + i) for i in range(5)]
    records, end = log.read(0)
    assert [(payload, at_ms) for _, _, at_ms, payload in records] == [(bytes([65 + i]) * i, 100 + i) for i in range(5)]
    assert [stop for _, stop, _, _ in records] == ends
    assert end == log.end == ends[-1]
    assert log.read(end) == ([], end)
    assert (log.records, log.pending_bytes, log.oldest_ms()) == (5, log.end, 100)


def test_a_record_larger_than_a_read_comes_whole(log: HintLog) -> None:
    log.append(b"x" * 100_000, 1)
    log.append(b"y", 2)
    assert payloads(log) == [b"x" * 100_000, b"y"]


def test_acknowledged_segments_are_deleted(tmp_path: Path) -> None:
    log = filled(tmp_path, 100)
    before = len(list(tmp_path.glob("*.log")))
    records, position = log.read(0, 2000)
    log.ack(position, len(records))
    assert 0 < len(list(tmp_path.glob("*.log"))) < before
    assert log.records == 100 - len(records)
    log.ack(log.end, log.records)
    assert len(list(tmp_path.glob("*.log"))) <= 1
    assert (log.pending_bytes, log.records, log.oldest_ms()) == (0, 0, 0)


def test_acknowledged_records_never_come_again_after_a_close(tmp_path: Path) -> None:
    log = filled(tmp_path, 50)
    _, end, _, _ = log.read(0)[0][1]
    log.ack(end, 2)
    log.close()
    again = HintLog(tmp_path, ROOM, 256)
    assert payloads(again) == [b"record %d" % i for i in range(2, 50)]
    assert again.records == 48
    again.ack(again.end, 48)
    again.close()
    empty = HintLog(tmp_path, ROOM)
    assert payloads(empty) == [] and empty.records == 0 and not empty.dirty_reason


def test_after_a_crash_acknowledged_records_come_again_and_none_is_missing(tmp_path: Path) -> None:
    log = filled(tmp_path, 10, segment_bytes=1 << 20)
    log.save()
    log.ack(log.read(0, 200)[1], 3)  # not saved: the process is killed now
    again = HintLog(tmp_path, ROOM)
    assert payloads(again) == [b"record %d" % i for i in range(10)]
    again.append(b"later", 1)
    assert payloads(again)[-1] == b"later"


def test_what_is_not_written_is_lost_with_the_process_and_nothing_else(tmp_path: Path) -> None:
    log = filled(tmp_path, 3)
    log.append(b"in the buffer", 1)
    assert payloads(HintLog(tmp_path, ROOM)) == [b"record %d" % i for i in range(3)]


@pytest.mark.parametrize("cut", [1, 5, RECORD_HEAD_BYTES, RECORD_HEAD_BYTES + 3])
def test_a_torn_end_is_cut_off(tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path, 3, segment_bytes=1 << 20)
    [path] = tmp_path.glob("*.log")
    os.truncate(path, path.stat().st_size - cut)
    log = HintLog(tmp_path, ROOM)
    assert payloads(log) == [b"record 0", b"record 1"]
    assert "not finished" in caplog.text
    assert not log.dirty_reason
    log.append(b"next", 1)
    assert payloads(log) == [b"record 0", b"record 1", b"next"]
    assert payloads(HintLog(tmp_path, ROOM)) == [b"record 0", b"record 1", b"next"]


def test_a_flipped_byte_ends_its_segment_and_makes_the_lane_dirty(tmp_path: Path) -> None:
    filled(tmp_path, 30, segment_bytes=100)
    paths = sorted(tmp_path.glob("*.log"))
    broken = bytearray(paths[1].read_bytes())
    broken[SEGMENT_HEAD_BYTES + RECORD_HEAD_BYTES + 2] ^= 1
    paths[1].write_bytes(broken)
    in_it = [r for r in range(30) if b"record %d" % r in bytes(paths[1].read_bytes())]
    log = HintLog(tmp_path, ROOM, 100)
    given = payloads(log)
    lost = {b"record %d" % i for i in range(30)} - set(given)
    assert given == sorted(given, key=lambda p: int(p.split()[1]))
    assert lost and lost <= {b"record %d" % i for i in range(min(in_it) - 1, max(in_it) + 1)}
    assert log.dirty_reason == DirtyReason.DAMAGED


def test_damage_in_the_newest_segment_does_not_swallow_what_is_appended_later(tmp_path: Path) -> None:
    filled(tmp_path, 3, segment_bytes=1 << 20)
    [path] = tmp_path.glob("*.log")
    broken = bytearray(path.read_bytes())
    broken[SEGMENT_HEAD_BYTES + 1] ^= 0x40
    path.write_bytes(broken)
    log = HintLog(tmp_path, ROOM)
    assert log.dirty_reason == DirtyReason.DAMAGED  # before anybody reads it
    log.append(b"later", 1)
    assert payloads(log) == [b"later"]
    assert log.dirty_reason == DirtyReason.DAMAGED


def test_a_segment_of_another_name_is_not_taken_for_this_one(tmp_path: Path) -> None:
    filled(tmp_path, 3, segment_bytes=1 << 20)
    [path] = tmp_path.glob("*.log")
    path.rename(tmp_path / f"{500:020d}.log")
    log = HintLog(tmp_path, ROOM)
    assert payloads(log) == []
    assert log.dirty_reason == DirtyReason.DAMAGED


def test_a_damaged_position_means_that_records_come_again(tmp_path: Path) -> None:
    log = filled(tmp_path, 3, segment_bytes=1 << 20)
    log.ack(log.end, 3)
    log.close()
    (tmp_path / "state").write_bytes(b"garbage")
    assert payloads(HintLog(tmp_path, ROOM)) == [b"record 0", b"record 1", b"record 2"]


def test_past_the_bound_nothing_is_kept_and_the_lane_is_dirty(tmp_path: Path) -> None:
    log = HintLog(tmp_path, 100)
    assert log.append(b"x" * 50, 7)
    assert log.append(b"y" * 50, 8) == 0
    assert (log.lost, log.dirty_reason, log.dirty_since_ms) == (1, DirtyReason.FULL, 8)
    log.close()
    again = HintLog(tmp_path, 100)
    assert again.dirty_reason == DirtyReason.FULL
    assert payloads(again) == [b"x" * 50]
    again.clear_dirty()
    assert HintLog(tmp_path, 100).dirty_reason == 0


def test_room_comes_back_with_acknowledgements(tmp_path: Path) -> None:
    log = HintLog(tmp_path, 100)
    end = log.append(b"x" * 50, 7)
    log.ack(end, 1)
    assert log.append(b"y" * 50, 8)
    assert payloads(log) == [b"y" * 50]


class FullDisk:
    """os, where pwrite finds no room once so many bytes were written."""

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        if self.room_bytes <= 0:
            raise OSError(28, "No space left on device")
        part = data[: self.room_bytes]
        self.room_bytes -= len(part)
        return os.pwrite(fd, part, offset)


@pytest.mark.parametrize("room_bytes", [0, 10, 40, 64])
def test_a_full_disk_raises_nothing_and_is_said(
    tmp_path: Path, room_bytes: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = HintLog(tmp_path, ROOM)
    log.append(b"kept", 1000)
    assert log.write()
    monkeypatch.setattr(hint_log, "os", FullDisk(room_bytes))
    for _ in range(3):
        log.append(b"lost" * 10, 1001)
    assert log.write() is False
    assert (log.lost, log.dirty_reason) == (3, DirtyReason.DISK)
    assert "No space left on device" in caplog.text
    log.clear_dirty()  # a comparison has ended meanwhile
    marks = log.dirty_marks
    assert log.append(b"refused at once", 1002) == 0  # for a while nothing is tried
    assert (log.lost, log.dirty_reason) == (4, DirtyReason.DISK) and log.dirty_marks > marks
    monkeypatch.undo()
    assert log.append(b"again", 5000)
    assert payloads(log) == [b"kept", b"again"]
    log.close()
    assert payloads(HintLog(tmp_path, ROOM)) == [b"kept", b"again"]


def test_the_checksum_is_that_of_zlib(tmp_path: Path) -> None:
    log = HintLog(tmp_path, ROOM)
    for size in (0, 1, 7, 8, 9, 100):
        log.append(bytes(range(size)), 1)
    log.write()
    [path] = tmp_path.glob("*.log")
    text = path.read_bytes()[SEGMENT_HEAD_BYTES:]
    at = 0
    for size in (0, 1, 7, 8, 9, 100):
        assert int.from_bytes(text[at + 16 : at + 20], "little") == zlib.crc32(bytes(range(size)))
        at += RECORD_HEAD_BYTES + size


def test_a_descriptor_to_sync_is_handed_out_once(log: HintLog) -> None:
    assert log.unsynced_fd() == -1
    log.append(b"x", 1)
    log.write()
    fd = log.unsynced_fd()
    os.fdatasync(fd)
    os.close(fd)
    assert log.unsynced_fd() == -1
