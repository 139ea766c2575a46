"""Lanes of missed writes, with a replica that is a table of answers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from dynomite_mp.cluster.hints import Bounds, DirtyReason
from dynomite_mp.ipc import messages
from dynomite_mp.proto.dnode import EXTENSION_NOT_EXECUTED, EXTENSION_RESENT
from dynomite_mp.proto.dnode_frames import ExtensionFields, unpack_extension
from dynomite_mp.proto.requests import request
from dynomite_mp.workers import hint_lanes
from dynomite_mp.workers.hint_lanes import HintLane, HintLanes, now_ms
from dynomite_mp.workers.peer_calls import CallError, CNodeError, PeerCalls

NODE = "127.0.0.2:8101"
OVERWRITE, COMMUTE = 1, 2
GIB = 1 << 30


def hint(*words: bytes, kind: int = 0, stamp: int = 0, conflict_class: int = OVERWRITE, sequence: int = 1) -> bytes:
    return messages.encode(messages.HINT, kind, NODE, 9, 3, 0, sequence, stamp, conflict_class, 77, request(*words))


class FakeReplica:
    """What PeerCalls would say; `down` and the refusals are the test's to change."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}
        self.down = False
        self.refuses: dict[bytes, tuple[bytes, int]] = {}  # first key: (reply, extension flags)
        self.cannot_copy: set[bytes] = set()
        self.is_c = False
        self.writes: list[tuple[bytes, ExtensionFields | None]] = []
        self.copies: list[list[bytes]] = []
        self.asked = asyncio.Event()

    async def ask_many(
        self, address: str, payloads: Sequence[bytes], *, extensions: Sequence[bytes], timeout_ms: int
    ) -> list[tuple[bytes, ExtensionFields | None]]:
        assert address == NODE
        self.asked.set()
        if self.down:
            raise CallError("down")
        replies: list[tuple[bytes, ExtensionFields | None]] = []
        for payload, extension in zip(payloads, extensions, strict=True):
            key = payload.split(b"\r\n")[4]
            reply, flags = self.refuses.get(key, (b"+OK\r\n", 0))
            if reply == b"+OK\r\n" and not flags:
                self.writes.append((payload, unpack_extension(extension)))
            replies.append((reply, ExtensionFields(flags=flags)))
        return replies

    local_address = "10.0.0.1:8101"

    async def call(self, address: str, verb: str, *args: Any, timeout_ms: int) -> Any:
        assert (address, verb) in ((NODE, "copy"), (NODE, "ping"))
        if self.is_c:
            raise CNodeError("a C node")
        self.asked.set()
        if self.down:
            raise CallError("down")
        if verb == "ping":
            return []
        self.copies.append(sorted(args[0]))
        return [key for key in args[0] if key in self.cannot_copy]


Body = Callable[[FakeReplica, HintLanes, HintLane], Awaitable[None]]


def with_lane(path: Path, body: Body, bounds: Bounds | None = None) -> None:
    async def main() -> None:
        replica = FakeReplica()
        lanes = HintLanes(path, cast(PeerCalls, replica), bounds or Bounds(GIB))
        lanes.start()
        try:
            async with asyncio.timeout(20):
                await body(replica, lanes, lanes.lane(NODE))
        finally:
            lanes.close()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hint_lanes, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(hint_lanes, "BACKOFF_MAX_S", 0.002)
    monkeypatch.setattr(hint_lanes, "SETTLE_MS", 1)


def add(lane: HintLane, *payloads: bytes) -> None:
    for payload in payloads:
        assert lane.log.append(payload, now_ms())
    lane.log.write()
    lane.wake()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_stamped_overwrites_are_sent_again_with_their_stamp(tmp_path: Path) -> None:
    async def body(replica: FakeReplica, _lanes: HintLanes, lane: HintLane) -> None:
        add(lane, hint(b"SET", b"a", b"1", stamp=500, sequence=7))
        await until(lambda: lane.log.records == 0)
        [(payload, extension)] = replica.writes
        assert payload == request(b"SET", b"a", b"1")
        assert extension is not None
        assert (extension.stamp, extension.sequence, extension.origin_node) == (500, 7, 9)
        assert extension.flags == EXTENSION_RESENT
        assert replica.copies == []

    with_lane(tmp_path, body)


def test_of_several_overwrites_of_one_key_the_newest_is_sent(tmp_path: Path) -> None:
    async def body(replica: FakeReplica, _lanes: HintLanes, lane: HintLane) -> None:
        replica.down = True
        add(lane, *(hint(b"SET", b"a", b"%d" % i, stamp=i) for i in (1, 3, 2)), hint(b"DEL", b"b", stamp=9))
        replica.down = False
        await until(lambda: lane.log.records == 0)
        assert [payload for payload, _ in replica.writes] == [request(b"SET", b"a", b"3"), request(b"DEL", b"b")]

    with_lane(tmp_path, body)


def test_each_increment_is_sent_again_with_its_id(tmp_path: Path) -> None:
    """The replica knows which of them it has; a copy would lose those that only it has."""

    async def body(replica: FakeReplica, _lanes: HintLanes, lane: HintLane) -> None:
        increments = [hint(b"INCR", b"n", conflict_class=COMMUTE, stamp=1, sequence=i, kind=i % 2) for i in (1, 2, 3)]
        add(lane, *increments)
        await until(lambda: lane.log.records == 0)
        assert [payload for payload, _ in replica.writes] == [request(b"INCR", b"n")] * 3
        assert [extension.sequence for _, extension in replica.writes if extension is not None] == [1, 2, 3]
        assert replica.copies == []

    with_lane(tmp_path, body)


def test_everything_else_becomes_a_copy_of_its_keys_once(tmp_path: Path) -> None:
    async def body(replica: FakeReplica, _lanes: HintLanes, lane: HintLane) -> None:
        add(
            lane,
            hint(b"INCR", b"n", conflict_class=COMMUTE, kind=2, stamp=1),
            hint(b"INCR", b"n", conflict_class=COMMUTE, kind=2, stamp=2),
            hint(b"SET", b"unstamped", b"1"),
            hint(b"SET", b"refused", b"1", kind=2, stamp=3),
            hint(b"MSET", b"k1", b"1", b"k2", b"2"),
        )
        await until(lambda: lane.log.records == 0)
        assert replica.writes == []
        assert replica.copies == [[b"k1", b"k2", b"n", b"refused", b"unstamped"]]

    with_lane(tmp_path, body)


def test_nothing_is_acknowledged_before_the_replica_has_it(tmp_path: Path) -> None:
    async def body(replica: FakeReplica, lanes: HintLanes, lane: HintLane) -> None:
        replica.down = True
        replica.cannot_copy = {b"n"}
        add(lane, hint(b"SET", b"a", b"1", stamp=5), hint(b"INCR", b"n", conflict_class=COMMUTE))
        await replica.asked.wait()
        assert await lanes._on_hints(NODE) == [2, False]
        replica.down = False
        await until(lambda: len(replica.copies) > 3)
        assert len(replica.writes) == 1  # what it has is not sent again
        assert await lanes._on_hints(NODE) == [2, False]
        replica.cannot_copy = set()
        await until(lambda: lane.log.records == 0)
        assert await lanes._on_hints(NODE) == [0, False]

    with_lane(tmp_path, body)


@pytest.mark.parametrize(
    ("reply", "flags"),
    [(b"-LOADING wait\r\n", 0), (b"-OOM no\r\n", 0), (b"+OK\r\n", EXTENSION_NOT_EXECUTED),
     (b"-ERR Storage: Datastore refused connection\r\n", 0)],
)  # fmt: skip
def test_a_refusal_that_may_pass_is_tried_again(tmp_path: Path, reply: bytes, flags: int) -> None:
    async def body(replica: FakeReplica, _lanes: HintLanes, lane: HintLane) -> None:
        replica.refuses = {b"a": (reply, flags)}
        add(lane, hint(b"SET", b"a", b"1", stamp=5), hint(b"SET", b"b", b"1", stamp=6))
        await until(lambda: len(replica.writes) == 1)
        replica.asked.clear()
        await replica.asked.wait()
        assert lane.log.records == 2
        replica.refuses = {}
        await until(lambda: lane.log.records == 0)
        assert len(replica.writes) == 2

    with_lane(tmp_path, body)


def test_a_refusal_that_stays_becomes_a_copy(tmp_path: Path) -> None:
    async def body(replica: FakeReplica, _lanes: HintLanes, lane: HintLane) -> None:
        replica.refuses = {b"a": (b"-BUSYKEY it exists\r\n", 0)}
        add(lane, hint(b"RESTORE", b"a", b"0", b"x", stamp=5))
        await until(lambda: lane.log.records == 0)
        assert replica.copies == [[b"a"]]

    with_lane(tmp_path, body)


def test_a_restart_takes_up_the_logs_it_finds(tmp_path: Path) -> None:
    async def first(replica: FakeReplica, lanes: HintLanes, lane: HintLane) -> None:
        replica.down = True
        add(lane, *(hint(b"SET", b"k%d" % i, b"1", stamp=i + 1) for i in range(50)))
        await replica.asked.wait()
        assert lanes.pending(NODE) == 50

    async def second(replica: FakeReplica, lanes: HintLanes, lane: HintLane) -> None:
        await until(lambda: lane.log.records == 0)
        assert len(replica.writes) == 50
        assert [row.name for row in lanes.rows()] == [NODE]

    async def third(replica: FakeReplica, lanes: HintLanes, lane: HintLane) -> None:
        add(lane, hint(b"SET", b"last", b"1", stamp=99))
        await until(lambda: lane.log.records == 0)
        assert len(replica.writes) == 1

    with_lane(tmp_path, first)
    with_lane(tmp_path, second)
    with_lane(tmp_path, third)


def test_records_past_their_age_make_the_lane_dirty(tmp_path: Path) -> None:
    async def body(replica: FakeReplica, lanes: HintLanes, lane: HintLane) -> None:
        replica.down = True
        lane.log.append(hint(b"SET", b"old", b"1", stamp=1), now_ms() - 5000)
        lane.log.append(hint(b"SET", b"new", b"1", stamp=2), now_ms())
        lanes.tick()
        assert lane.log.records == 1
        assert lane.log.dirty_reason == DirtyReason.OLD
        assert await lanes._on_hints(NODE) == [1, True]
        [row] = lanes.rows()
        assert (row.records, row.dirty) == (1, "records waited longer than hint_age_ms_max")

    with_lane(tmp_path, body, Bounds(GIB, 4000))


def test_a_write_that_names_no_key_makes_the_lane_dirty(tmp_path: Path) -> None:
    async def body(replica: FakeReplica, _lanes: HintLanes, lane: HintLane) -> None:
        add(lane, hint(b"FLUSHALL"))
        await until(lambda: lane.log.records == 0)
        assert lane.log.dirty_reason == DirtyReason.UNSENDABLE
        assert replica.writes == [] and replica.copies == []

    with_lane(tmp_path, body)


def test_a_rate_slows_a_lane_and_loses_nothing(tmp_path: Path) -> None:
    async def body(replica: FakeReplica, lanes: HintLanes, lane: HintLane) -> None:
        lane._pace = hint_lanes.Pace(1000, now_ms())
        add(lane, *(hint(b"SET", b"k%d" % i, b"1", stamp=i + 1) for i in range(150)))
        await lanes.sync()
        await until(lambda: lane.log.records == 0)
        assert len(replica.writes) == 150

    with_lane(tmp_path, body)


def test_an_overflow_makes_every_lane_and_queue_dirty(tmp_path: Path) -> None:
    async def body(replica: FakeReplica, lanes: HintLanes, lane: HintLane) -> None:
        queue = lanes.queue_log("dc2")
        lanes.overflowed([NODE, "127.0.0.3:8101"])
        assert [row.name for row in lanes.rows()] == [NODE, "127.0.0.3:8101", "datacenter dc2"]
        assert all(row.dirty == "the ring to the replication process overflowed" for row in lanes.rows())
        queue.close()

    with_lane(tmp_path, body)


def test_a_c_node_gets_the_overwrites_and_holds_nothing_up(tmp_path: Path) -> None:
    async def body(replica: FakeReplica, _lanes: HintLanes, lane: HintLane) -> None:
        replica.is_c = True
        add(lane, hint(b"INCR", b"n", conflict_class=COMMUTE, stamp=1), hint(b"SET", b"a", b"1", stamp=2))
        await until(lambda: lane.log.records == 0)
        assert len(replica.writes) == 1
        assert lane.log.dirty_reason == DirtyReason.UNSENDABLE

    with_lane(tmp_path, body)
