"""The queue of a datacenter: what is under way, what comes again, how far the log is acknowledged."""

from pathlib import Path

import pytest

from dynomite_mp.workers import hint_log
from dynomite_mp.workers.hint_log import HintLog
from dynomite_mp.workers.wan_queue import WanQueue
from tests.unit.test_hint_log import FullDisk


@pytest.fixture
def queue(tmp_path: Path) -> WanQueue:
    return WanQueue("dc2", HintLog(tmp_path, 1 << 20))


def append(queue: WanQueue, *texts: bytes) -> None:
    for text in texts:
        queue.log.append(text, 1)


def test_records_are_read_once_each_in_order(queue: WanQueue) -> None:
    append(queue, b"a", b"b")
    assert [queue.test_next()[3] for _ in range(2)] == [b"a", b"b"]  # type: ignore[index]
    assert queue.test_next() is None
    append(queue, b"c")
    assert queue.test_next()[3] == b"c"  # type: ignore[index]
    assert queue.next_start == queue.log.end


def test_the_log_is_acknowledged_up_to_the_first_that_is_not(queue: WanQueue) -> None:
    append(queue, b"a", b"b", b"c")
    ends = [queue.test_next()[1] for _ in range(3)]  # type: ignore[index]
    queue.test_done(1)
    queue.test_settle()
    assert (queue.log.acked, queue.log.records) == (0, 3)
    queue.test_done(0)
    queue.test_settle()
    assert (queue.log.acked, queue.log.records) == (ends[1], 1)
    queue.test_done(2)
    queue.test_settle()
    assert (queue.log.acked, queue.log.records, queue.head) == (ends[2], 0, 3)


def test_what_was_sent_from_memory_is_not_read(queue: WanQueue) -> None:
    append(queue, b"a")
    queue.test_sent(0, queue.log.end)
    append(queue, b"b")
    assert queue.test_next()[3] == b"b"  # type: ignore[index]


def test_missed_entries_are_kept_once_and_not_when_done(queue: WanQueue) -> None:
    append(queue, b"a", b"b")
    queue.test_next()
    queue.test_next()
    queue.test_missed(1)
    queue.test_missed(1)
    queue.test_missed(7)
    assert queue.lost_entries == [1]
    queue.test_done(0)
    queue.test_missed(0)
    assert queue.lost_entries == [1]


def test_a_successor_begins_with_what_was_not_acknowledged(tmp_path: Path) -> None:
    first = WanQueue("dc2", HintLog(tmp_path, 1 << 20))
    append(first, b"a", b"b", b"c")
    for _ in range(3):
        first.test_next()
    first.test_done(0)
    first.test_settle()
    first.log.close()
    second = WanQueue("dc2", HintLog(tmp_path, 1 << 20))
    assert second.test_next()[3] == b"b"  # type: ignore[index]
    assert second.resent_before == second.log.end


def test_damage_is_passed_over(tmp_path: Path) -> None:
    log = HintLog(tmp_path, 1 << 20, 10)
    for text in (b"a" * 50, b"b" * 50, b"c" * 50):
        log.append(text, 1)
        log.write()
    log.close()
    damaged = sorted(tmp_path.glob("*.log"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"X")
    queue = WanQueue("dc2", HintLog(tmp_path, 1 << 20))
    given = [found[3][:1] for found in iter(queue.test_next, None)]
    assert given == [b"a", b"c"]
    for index in range(2):
        queue.test_done(index)
    queue.test_settle()
    assert queue.log.records == 0 and queue.log.dirty_reason


def test_what_the_log_does_not_take_waits_in_memory(queue: WanQueue) -> None:
    first, second = queue.test_keep(b"a"), queue.test_keep(b"b")
    queue.test_missed(second)
    queue.test_missed(second)
    assert queue.test_take_lost() == [(second, b"b")]
    queue.test_missed(second)
    queue.test_done(first)
    queue.test_missed(first)
    assert queue.test_take_lost() == [(second, b"b")]
    queue.test_done(second)
    assert queue.test_take_lost() == []
    assert queue.test_keep(b"x" * (15 << 20)) and not queue.test_keep(b"x" * (2 << 20)), "there is an end to it"


def test_what_the_disk_refuses_is_sent_again_from_memory(queue: WanQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    append(queue, b"kept")
    queue.test_next()
    queue.test_write()
    entries = []
    for text in (b"under way", b"answered"):
        start = queue.next_start
        append(queue, text)
        entries.append(queue.test_sent(start, queue.log.end))
    append(queue, b"not sent")
    monkeypatch.setattr(hint_log, "os", FullDisk(0))
    queue.test_write()
    queue.test_done(entries[1])
    queue.test_missed(entries[0])
    assert sorted(payload or b"" for _index, payload in queue.test_take_lost()) == [b"not sent", b"under way"]
    assert queue.log.dirty_reason, "a process that ends has lost them"
