"""Bringing missed writes to the replicas of this datacenter: one lane a replica, each with a log and a sender.

    io[k] --HINT--> WanPath.drain --> log of the replica ~~read~~> HintLane --REQ, stamp, EXTENSION_RESENT--> replica
                                                                   HintLane --DYNO CALL copy [keys]---------> replica
                                       ^----------- ack --------------/

A lane reads its log from the acknowledged position on, a batch at a time, and goes on when the replica has all of the
batch. What is re-sent and what becomes a key copy, cluster.hints says; this node's own datastore is a replica like any
other, reached through this node's own peer port.

What it is not: it does not decide that a write was missed (the io workers do), and it does not copy a key (the replica
does, workers.key_copies).

Invariants: a batch is acknowledged when the replica has said of every record that it has it or a newer one, or that the
copy is in its hands; so records come at least once. A replica that cannot be reached costs one question a second.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from dynomite_mp.cluster.hints import (
    DIRTY_TEXTS,
    Bounds,
    CopiedKeys,
    DirtyReason,
    Pace,
    Replay,
    replay_action,
)
from dynomite_mp.errors import ProtocolError
from dynomite_mp.ipc import messages
from dynomite_mp.ipc.bulletin import HintRow
from dynomite_mp.proto.commands import CONFLICTS
from dynomite_mp.proto.dnode import EXTENSION_NOT_EXECUTED, EXTENSION_ORIGIN, EXTENSION_RESENT, EXTENSION_STAMP
from dynomite_mp.proto.dnode_frames import ExtensionFields, pack_extension
from dynomite_mp.proto.framer import frame_keys
from dynomite_mp.workers.hint_log import HintLog
from dynomite_mp.workers.peer_calls import CallError, CNodeError, PeerCalls

log = logging.getLogger("dynomite_mp.hints")

CONFLICT_OVERWRITE: Final = CONFLICTS.index("overwrite")
REPEATABLE: Final = frozenset(map(CONFLICTS.index, ("overwrite", "commute", "ordered")))
READ_BYTES: Final = 256 * 1024
BATCH_RECORDS: Final = 1000
SETTLE_MS: Final = 100
AWAY_MS: Final = 1000
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.05, 1.0
ANSWER_MS: Final = 10_000
COPY_MS: Final = 30_000
COPY_ATTEMPTS: Final = 100  # of a replica that answers, each a second apart; then a comparison has to mend the key
NODE_PREFIX: Final = "node."
DATACENTER_PREFIX: Final = "dc."

# What a replica says when it has not taken a write, but may later.
NOT_NOW = (
    b"-LOADING", b"-MASTERDOWN", b"-OOM", b"-READONLY", b"-MISCONF", b"-NOREPLICAS", b"-BUSY ", b"-CLUSTERDOWN",
    b"-NOAUTH", b"-TRYAGAIN", b"-ERR Storage: ", b"-ERR Peer: ", b"-ERR Dynomite: ", b"-ERR dynomite-mp: ",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HintRecord:
    """One record of a lane's log, with what it needs to be sent again."""

    kind: int
    stamp: int
    origin: tuple[int, int, int, int]
    conflict_class: int
    request: bytes
    at_ms: int

    @classmethod
    def opened(cls, payload: bytes, at_ms: int) -> "HintRecord":
        fields = messages.decode(messages.HINT, payload)
        kind, _node, *origin, stamp, conflict_class, _token, request = fields
        return cls(kind, stamp, (origin[0], origin[1], origin[2], origin[3]), conflict_class, request, at_ms)

    def action(self) -> Replay:
        return replay_action(self.kind, self.conflict_class in REPEATABLE, self.stamp)

    def keys(self) -> tuple[bytes, ...]:
        """Empty for a command that names none, FLUSHALL for example."""
        try:
            return tuple(frame_keys(self.request).keys)
        except ProtocolError:
            return ()

    def extension(self) -> bytes:
        node, boot, worker, sequence = self.origin
        return pack_extension(
            ExtensionFields(
                fields=EXTENSION_STAMP | EXTENSION_ORIGIN,
                clock=self.stamp,
                flags=EXTENSION_RESENT,
                stamp=self.stamp,
                origin_node=node,
                origin_boot=boot,
                origin_worker=worker,
                sequence=sequence,
                conflict_class=self.conflict_class,
            )
        )


@dataclass(slots=True)
class Batch:
    """What is left of some records: writes to send again, of overwrites of the same keys the newest only, and keys to
    be copied."""

    since_ms: int = 0  # when the oldest was logged
    is_announced: bool = False
    writes: dict[tuple[Any, ...], HintRecord] = field(default_factory=dict)
    copies: dict[bytes, int] = field(default_factory=dict)  # key: when the newest of its records was logged
    unmendable: int = 0
    attempts: int = 0

    def add(self, record: HintRecord) -> None:
        keys = record.keys()
        if not keys:
            self.unmendable += 1
        elif record.action() is Replay.COPY:
            for key in keys:
                self.copies[key] = max(record.at_ms, self.copies.get(key, 0))
        else:
            name = keys if record.conflict_class == CONFLICT_OVERWRITE else (keys, record.origin)
            other = self.writes.get(name)
            if other is None or (other.stamp, other.origin) < (record.stamp, record.origin):
                self.writes[name] = record

    def keep_overwrites(self) -> None:
        """Without what must not come twice."""
        self.copies.clear()
        self.writes = {
            name: record for name, record in self.writes.items() if record.conflict_class == CONFLICT_OVERWRITE
        }

    def is_done(self) -> bool:
        return not self.writes and not self.copies


class HintLane:
    """Brings the records of one log to one replica."""

    def __init__(self, address: str, hints: HintLog, calls: PeerCalls, bounds: Bounds, rate: int) -> None:
        self.address = address
        self.log = hints
        self.sent = 0
        self.copied = 0
        self._calls = calls
        self._bounds = bounds
        self._pace = Pace(rate, now_ms())
        self._copied_keys = CopiedKeys(SETTLE_MS)
        self._wake = asyncio.Event()
        self._trouble = ""
        self.on_empty: Callable[[str], None] = lambda _address: None
        self._task = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        """There is something new in the log."""
        self._wake.set()

    def close(self) -> None:
        self._task.cancel()
        self.log.close()

    def expire(self) -> None:
        """Records past their age are given up."""
        oldest_ms = self.log.oldest_ms()
        if oldest_ms == 0 or not self._bounds.is_too_old(oldest_ms, now_ms()):
            return
        position = self.log.acked
        while True:
            records, _ = self.log.read(position, READ_BYTES)
            old = [end for _, end, at_ms, _ in records if self._bounds.is_too_old(at_ms, now_ms())]
            if not old:
                break
            position = old[-1]
            self.log.ack(position, len(old))
        if self.log.mark_dirty(DirtyReason.OLD, now_ms()):
            log.warning("%s: %s", self.address, DIRTY_TEXTS[DirtyReason.OLD])

    async def _run(self) -> None:
        while True:
            records, position = self.log.read(self.log.acked, READ_BYTES)
            records = records[:BATCH_RECORDS]
            if not records:
                if position > self.log.acked:
                    self.log.ack(position, 0)
                self.on_empty(self.address)
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = Batch(since_ms=records[0][2])
            for _, _, at_ms, payload in records:
                batch.add(HintRecord.opened(payload, at_ms))
            await self._hold_pace(len(records))
            await self._deliver(batch)
            self.log.ack(records[-1][1], len(records))

    async def _hold_pace(self, wanted: int) -> None:
        while wanted := wanted - self._pace.take(wanted, now_ms()):
            await asyncio.sleep(self._pace.wait_ms() / 1000)

    async def _deliver(self, batch: Batch) -> None:
        """Returns when the replica has everything, or a comparison has to see to the rest."""
        if batch.unmendable and self.log.mark_dirty(DirtyReason.UNSENDABLE, now_ms()):
            log.warning("%s missed a write that names no key; a comparison will mend it", self.address)
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                await self._announce(batch)
                await self._send_writes(batch)
                await self._ask_copies(batch)
            except CNodeError:  # it gets again what overwrites, as any other datacenter's C node does, and no more
                batch.keep_overwrites()
                if self.log.mark_dirty(DirtyReason.UNSENDABLE, now_ms()):
                    log.warning("%s is a C node and missed writes that must not be sent twice", self.address)
            except CallError as failure:
                self._say(str(failure))
            if batch.is_done():
                self._trouble = ""
                return
            if batch.attempts > COPY_ATTEMPTS and not batch.writes:
                self.log.mark_dirty(DirtyReason.UNSENDABLE, now_ms())
                log.error("%s cannot copy %d keys; a comparison will mend them", self.address, len(batch.copies))
                return
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    async def _announce(self, batch: Batch) -> None:
        """A replica that was away serves no reads before it has what it missed; it may not know that it was away."""
        if batch.is_announced or now_ms() - batch.since_ms < AWAY_MS:
            return
        with contextlib.suppress(CallError):  # then the writes find out as well
            await self._calls.call(self.address, "resume", timeout_ms=ANSWER_MS, is_hasty=True)
            batch.is_announced = True

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.info("writes for %s wait: %s", self.address, trouble)
            self._trouble = trouble

    async def _send_writes(self, batch: Batch) -> None:
        if not batch.writes:
            return
        keys = list(batch.writes)
        records = [batch.writes[one] for one in keys]
        if any(record.conflict_class != CONFLICT_OVERWRITE for record in records):
            await self._calls.call(self.address, "ping", timeout_ms=ANSWER_MS)  # a C node would not know an id again
        replies = await self._calls.ask_many(
            self.address,
            [record.request for record in records],
            extensions=[record.extension() for record in records],
            timeout_ms=ANSWER_MS,
        )
        for one, record, (reply, extension) in zip(keys, records, replies, strict=True):
            if extension is not None and extension.flags & EXTENSION_NOT_EXECUTED:
                self._say(f"{self.address} could not execute them")
            elif reply.startswith(NOT_NOW):
                self._say(reply[:100].decode(errors="replace").strip())
            else:
                del batch.writes[one]
                self.sent += 1
                if reply.startswith(b"-"):  # it would refuse it again: what the others have is copied
                    batch.copies.update(dict.fromkeys(record.keys(), record.at_ms))

    async def _ask_copies(self, batch: Batch) -> None:
        """Keys whose records are older than a copy that began later need none."""
        for key in [key for key, at_ms in batch.copies.items() if self._copied_keys.covers(key, at_ms)]:
            del batch.copies[key]
        if not batch.copies:
            return
        newest_ms = max(batch.copies.values())
        await asyncio.sleep(max(0, newest_ms + SETTLE_MS - now_ms()) / 1000)
        keys = list(batch.copies)
        began_ms = now_ms()
        batch.attempts += 1
        failed = await self._calls.call(self.address, "copy", keys, (), self._calls.local_address, timeout_ms=COPY_MS)
        left = set(failed or ())
        done = [key for key in keys if key not in left]
        self._copied_keys.began(done, began_ms)
        for key in done:
            del batch.copies[key]
        self.copied += len(done)
        if left:
            self._say(f"{len(left)} keys could not be copied yet")


class HintLanes:
    """All lanes of the process. Logs of earlier lives are taken up when they start."""

    def __init__(self, folder: Path, calls: PeerCalls, bounds: Bounds, rate: int = 0) -> None:
        self._folder = folder
        self._calls = calls
        self._bounds = bounds
        self._rate = rate
        self._lanes: dict[str, HintLane] = {}
        self._queue_logs: dict[str, HintLog] = {}
        self._watchers: dict[tuple[str, int], int] = {}  # (replica, io worker): the number it asked with
        self.tell_empty: Callable[[int, str, int], object] = lambda _worker, _address, _number: None
        self._syncing: asyncio.Future[None] | None = None
        calls.handlers["hints"] = self._on_hints

    def start(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self._folder.glob(NODE_PREFIX + "*")):
            self.lane(unquote(path.name.removeprefix(NODE_PREFIX)))

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()

    def lane(self, address: str) -> HintLane:
        found = self._lanes.get(address)
        if found is None:
            path = self._folder / (NODE_PREFIX + quote(address, safe=""))
            made = HintLog(path, self._bounds.bytes_max)
            found = self._lanes[address] = HintLane(address, made, self._calls, self._bounds, self._rate)
            found.on_empty = self._on_empty
        return found

    def queue_log(self, datacenter: str) -> HintLog:
        """The log of all writes for another datacenter; wan_path sends from it."""
        path = self._folder / (DATACENTER_PREFIX + quote(datacenter, safe=""))
        made = self._queue_logs[datacenter] = HintLog(path, self._bounds.bytes_max)
        return made

    def logs(self) -> dict[str, HintLog]:
        """By the address of the replica, or the name of the datacenter."""
        return {address: lane.log for address, lane in self._lanes.items()} | self._queue_logs

    def log_of(self, node: bytes) -> HintLog:
        return self.lane(node.decode()).log

    def wrote(self, nodes: Iterable[bytes]) -> None:
        """The logs of these nodes have new records."""
        for node in nodes:
            self.lane(node.decode()).wake()

    def watch(self, worker: int, address: str, number: int) -> None:
        """An io worker wants to know when the replica has what it missed; all hints before this are in the log."""
        self._watchers[address, worker] = number
        self._on_empty(address)

    def _on_empty(self, address: str) -> None:
        """It may be; a lane that has given up some records is not before a comparison has mended the replica."""
        lane = self._lanes.get(address)
        if lane is not None and (lane.log.records or lane.log.dirty_reason):
            return
        for name, worker in [one for one in self._watchers if one[0] == address]:
            self.tell_empty(worker, name, self._watchers.pop((name, worker)))

    def overflowed(self, addresses: Iterable[str]) -> None:
        """An io worker had to drop records, and nobody knows whose: any replica may have missed some."""
        for address in addresses:
            self.lane(address)
        for one in (*(lane.log for lane in self._lanes.values()), *self._queue_logs.values()):
            if one.mark_dirty(DirtyReason.OVERFLOW, now_ms()):
                log.error("%s may have missed writes: %s", one.path.name, DIRTY_TEXTS[DirtyReason.OVERFLOW])

    def tick(self) -> None:
        """Once a second."""
        for lane in self._lanes.values():
            lane.expire()
            lane.log.save()
        for address in {name for name, _worker in self._watchers}:
            self._on_empty(address)

    async def sync(self) -> None:
        """All that is written is on the disk."""
        logs = [*(lane.log for lane in self._lanes.values()), *self._queue_logs.values()]
        fds = [fd for one in logs if (fd := one.unsynced_fd()) >= 0]
        if fds:
            await asyncio.to_thread(_sync, fds)

    def rows(self) -> tuple[HintRow, ...]:
        """Every lane and queue, for the bulletin."""
        lanes = [(address, lane.log) for address, lane in sorted(self._lanes.items())]
        queues = [(f"datacenter {name}", one) for name, one in sorted(self._queue_logs.items())]
        return tuple(_row(name, one, now_ms()) for name, one in (*lanes, *queues))

    def pending(self, address: str) -> int:
        lane = self._lanes.get(address)
        return lane.log.records if lane is not None else 0

    async def _on_hints(self, address: str) -> list[Any]:
        """What another node asks of its own writes: how many wait for it here, and whether some were given up."""
        lane = self._lanes.get(address)
        return [0, False] if lane is None else [lane.log.records, bool(lane.log.dirty_reason)]


def _row(name: str, hints: HintLog, now: int) -> HintRow:
    oldest_ms = hints.oldest_ms()
    age_ms = max(0, now - oldest_ms) if oldest_ms else 0
    dirty = DIRTY_TEXTS[DirtyReason(hints.dirty_reason)]
    return HintRow(name, hints.records, hints.pending_bytes, age_ms, dirty, hints.lost)


def _sync(fds: Sequence[int]) -> None:
    for fd in fds:
        os.fdatasync(fd)
        os.close(fd)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
