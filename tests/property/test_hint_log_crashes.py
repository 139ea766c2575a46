"""Laws of the hint log: a crash anywhere leaves a prefix, a flipped byte gives nothing wrong."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dynomite_mp.workers.hint_log import SEGMENT_HEAD_BYTES, HintLog

ROOM = 1 << 30
Record = tuple[int, int, int, bytes]


def everything(log: HintLog, position: int) -> list[Record]:
    found: list[Record] = []
    while True:
        records, position = log.read(position, 50)
        if not records:
            return found
        found += records


@contextmanager
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="hints"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def filled(path: Path, texts: list[bytes], segment_bytes: int) -> list[Record]:
    log = HintLog(path, ROOM, segment_bytes)
    for number, text in enumerate(texts):
        log.append(text, number)
        log.write()
    records = everything(log, 0)
    assert [text for *_, text in records] == texts
    log.close()
    return records


TEXTS = st.lists(st.binary(max_size=40), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, segment_bytes=st.integers(1, 400), data=st.data())
def test_a_file_cut_at_any_byte_gives_a_prefix(texts: list[bytes], segment_bytes: int, data: st.DataObject) -> None:
    with folder() as path:
        records = filled(path, texts, segment_bytes)
        newest = sorted(path.glob("*.log"))[-1]
        size = data.draw(st.integers(0, newest.stat().st_size))
        newest.write_bytes(newest.read_bytes()[:size])
        log = HintLog(path, ROOM, segment_bytes)
        given_back = everything(log, 0)
        assert given_back == [r for r in records if r[1] <= int(newest.stem) + max(0, size - SEGMENT_HEAD_BYTES)]
        log.append(b"next", 99)
        assert everything(log, 0)[-1][3] == b"next"
        assert len(everything(log, 0)) == len(given_back) + 1


@settings(max_examples=100, deadline=None)
@given(texts=TEXTS, segment_bytes=st.integers(1, 400), bit=st.integers(0, 7), data=st.data())
def test_a_flipped_bit_is_seen(texts: list[bytes], segment_bytes: int, bit: int, data: st.DataObject) -> None:
    with folder() as path:
        records = filled(path, texts, segment_bytes)
        files = sorted(path.glob("*.log"))
        file = data.draw(st.sampled_from(files))
        text = bytearray(file.read_bytes())
        at = data.draw(st.integers(0, len(text) - 1))
        if 20 <= at < SEGMENT_HEAD_BYTES:
            return  # filling of the segment's head
        text[at] ^= 1 << bit
        file.write_bytes(text)
        first, size = int(file.stem), len(text) - SEGMENT_HEAD_BYTES
        inside = [r for r in records if first <= r[0] < first + size]
        damaged_from = first + at - SEGMENT_HEAD_BYTES if at >= SEGMENT_HEAD_BYTES else first
        sound = [r for r in records if r not in inside or r[1] <= damaged_from]
        log = HintLog(path, ROOM, segment_bytes)
        assert everything(log, 0) == sound
        assert log.dirty_reason


class HintLogMachine(RuleBasedStateMachine):
    """Appends, acknowledgements, closes and crashes against a list."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="hints"))
        self.log = HintLog(self.path, ROOM, 120)
        self.records: list[Record] = []  # all ever appended and written
        self.written: list[bytes] = []
        self.saved = self.acked = 0
        self.unwritten = 0

    def teardown(self) -> None:
        self.log.close()
        shutil.rmtree(self.path)

    @rule(text=st.binary(max_size=30), at_ms=st.integers(1, 1000))
    def append(self, text: bytes, at_ms: int) -> None:
        start = self.log.end
        end = self.log.append(text, at_ms)
        self.records.append((start, end, at_ms, text))
        self.unwritten += 1

    @rule()
    def write(self) -> None:
        assert self.log.write()
        self.unwritten = 0

    @precondition(lambda self: self.records)
    @rule(share=st.floats(0, 1))
    def ack(self, share: float) -> None:
        self.write()
        end = self.records[int(share * (len(self.records) - 1))][1]
        passed = [r for r in self.records if self.acked < r[1] <= end]
        self.log.ack(end, len(passed))
        self.acked = max(self.acked, end)

    @rule()
    def save(self) -> None:
        self.log.save()
        self.saved = self.acked

    @rule()
    def close_and_open(self) -> None:
        self.log.close()
        self.unwritten = 0
        self.saved = self.acked
        self.log = HintLog(self.path, ROOM, 120)
        self.records = [r for r in self.records if r[1] > self.acked]
        assert everything(self.log, self.log.acked) == self.records

    @rule()
    def crash(self) -> None:
        """What was written is there; what was acknowledged and not saved may come again."""
        kept = self.records[: len(self.records) - self.unwritten]
        self.unwritten = 0
        self.log = HintLog(self.path, ROOM, 120)
        found = everything(self.log, self.log.acked)
        assert found == kept[len(kept) - len(found) :]
        assert set(found) >= {r for r in kept if r[1] > self.acked}
        assert all(r[1] > self.saved for r in found)
        self.records = found
        self.acked = self.saved = self.log.acked

    @invariant()
    def figures_agree(self) -> None:
        pending = [r for r in self.records if r[1] > self.acked]
        assert self.log.records == len(pending)
        assert not self.log.dirty_reason


HintLogMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestHintLogMachine = HintLogMachine.TestCase
