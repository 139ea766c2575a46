"""Copies of single keys from the nodes that hold the same: one primitive for hints, warm-up, repair and comparison.

Run by the node whose key is to be mended:

    copy([keys]) --KEY_HOLD--> io workers: new writes to these keys wait
                 <-KEY_HELD--- which are held, and which recent writes the write table here knows
                 --DYNO KEY--> the owners in the other racks: stamp, recent writes            choose(): the newest
                 --DYNO KEY, PEXPIRETIME, DUMP, DYNO KEY--> the chosen one                    valid if nothing moved
                 --KEY_APPLY-> io workers: RESTORE or DEL, then what was held
                 <-KEY_APPLIED

A source has to contain every recent write that this node has of the key; if it does not yet, it is asked again a
little later. A key that cannot be copied now is tried again for a few seconds; then CopyError says which.

What it is not: it does not know why a copy is wanted, and keeps no list on disk: who wants a copy keeps the reason
until `copy` has returned.

Invariants: a key is in one copy at a time; at most BATCHES batches of BATCH keys are under way; a hold is released
whatever happens.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dynomite_mp.cluster.key_sources import KEEP, Known, Sources, all_disordered, choose, is_contained, is_first
from dynomite_mp.cluster.repair import WRITES_MOST
from dynomite_mp.errors import DynomiteError
from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.proto.dnode import EXTENSION_FORCE_READ, EXTENSION_LOCAL_ONLY
from dynomite_mp.proto.dnode_frames import ExtensionFields, pack_extension
from dynomite_mp.proto.requests import request
from dynomite_mp.workers.key_values import KeyValue, bulk_of, commands_for, known_of
from dynomite_mp.workers.peer_calls import CallError, PeerCalls

log = logging.getLogger("dynomite_mp.replication")

BATCH: Final = 64
ASK_BATCH: Final = 16  # of keys with WRITES_MOST writes each, which io workers gather between requests
BATCHES: Final = 4
QUEUE_MAX: Final = 1_000_000
APPLY_BYTES: Final = 65536  # of one KEY_APPLY; a larger value goes alone
TRY_S: Final = 4.0  # a key that cannot be copied is tried again for so long
ASK_MS: Final = 1000  # half of what a hold lasts
VALUES_MS: Final = 2000
RETRY_S: Final = 0.02
ARRIVE_S: Final = 0.3  # for writes that this node has to reach the others, those of another datacenter too
LOOK_AGAIN_S: Final = (0.5, 1, 2, 4, 8, 16)  # at a key of which nobody could say yet in which order it was written
FORCED: Final = pack_extension(ExtensionFields(flags=EXTENSION_FORCE_READ))
AS_IT_IS: Final = pack_extension(ExtensionFields(flags=EXTENSION_LOCAL_ONLY))  # even if writes of the key wait there
AT_LAST: Final = pack_extension(ExtensionFields(flags=EXTENSION_LOCAL_ONLY | EXTENSION_FORCE_READ))
HELD_S: Final = 1.0
ASKED_S: Final = 5.0
APPLIED_S: Final = 5.0


class CopyError(DynomiteError):
    """Keys that could not be copied; `keys` are they."""

    def __init__(self, keys: Sequence[bytes], why: str) -> None:
        super().__init__(f"{len(keys)} keys could not be copied: {why}")
        self.keys = keys


class UnknownError(DynomiteError):
    """What this node knows of keys could not be found out."""


@dataclass(slots=True)
class _Batch:
    """One copy under way: what the io workers have said."""

    waiting: int  # io workers that have not answered KEY_HOLD or KEY_ASK
    held: dict[bytes, Known] = field(default_factory=dict)
    holder: dict[bytes, int] = field(default_factory=dict)  # io worker of a held key
    results: dict[bytes, bytes] = field(default_factory=dict)
    applied_wanted: int = 0
    all_held: asyncio.Event = field(default_factory=asyncio.Event)
    all_applied: asyncio.Event = field(default_factory=asyncio.Event)


class KeyCopies:
    """One a replication process. `io(index)` is the proxy of an io worker."""

    def __init__(self, calls: PeerCalls, io: Callable[[int], Any], io_workers: int, sources: Sources) -> None:
        self._calls = calls
        self._io = io
        self._io_workers = io_workers
        self.sources = sources
        self._ids = itertools.count(1)
        self._batches: dict[int, _Batch] = {}
        self._room = asyncio.Semaphore(BATCHES)
        self._under_way: dict[bytes, asyncio.Future[str]] = {}
        self._next: dict[bytes, asyncio.Future[str]] = {}  # wanted, not yet begun
        self._by_order: tuple[set[bytes], set[bytes]] = (set(), set())  # of _next and _under_way: for no other reason
        self._unsure: dict[bytes, int] = {}  # keys to be looked at again, and how often they were
        self._told: dict[bytes, tuple[Any, ...]] = {}  # of these: in which state the others were told to copy them
        self.owed: Callable[[str], int] = lambda _address: 0  # writes that this node holds for another
        self._called: set[bytes] = set()  # wanted by another node
        self._given: dict[bytes, Sequence[str]] = {}  # sources of keys, where whoever wants the copy knows them
        self._first: dict[bytes, str] = {}
        self._lost: set[bytes] = set()  # keys whose value may be gone, whatever the write table knows of them
        self._whole: set[bytes] = set()  # keys that are not copied from one that lacks a recent write of this node
        self._pump: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.copied = 0
        self.failed = 0
        self._counted: dict[str, int] = {}
        calls.handlers["copy"] = self.on_call
        calls.handlers["look"] = self._on_look

    @property
    def pending(self) -> int:
        """Keys that are being copied or are to be."""
        return len(self._next) + len(self._under_way)

    def count(self, slab: SlabWriter) -> None:
        """Figures, once a second."""
        slab.set_gauge("key_copies_pending", self.pending)
        for name, total in (("key_copies", self.copied), ("key_copies_failed", self.failed)):
            slab.count(name, total - self._counted.get(name, 0))
            self._counted[name] = total

    async def on_call(
        self, keys: Sequence[bytes], sources: Sequence[str] = (), first: str = "", loses_nothing: bool = False
    ) -> list[bytes]:
        """Another node asks this one to copy keys of its own; answered when that is done, with those that failed.

        Of sources that know nothing of a key, or the same, `first` is taken, if it is one: who has seen that a write is
        missing here has it himself, others may have missed it too. `loses_nothing`: rather not at all than from one
        that lacks a recent write of this node.
        """
        self._called.update(keys)
        if loses_nothing:
            self._whole.update(keys)
        try:
            if first:
                self._first.update(dict.fromkeys(keys, first))
            await self.copy(keys, sources)
        except CopyError as failure:
            return list(failure.keys)
        finally:
            self._called.difference_update(keys)
            self._whole.difference_update(keys)
        return []

    async def copy(self, keys: Iterable[bytes], sources: Sequence[str] = (), *, is_lost: bool = False) -> None:
        """Make keys of this node as they are elsewhere, of `sources` if any are given; a copy that began before does
        not count. `is_lost`: the datastore has lost them. CopyError."""
        wanted = list(keys)
        if is_lost:
            self._lost.update(wanted)
        futures = {key: self._want(key) for key in wanted}
        if sources:
            self._given.update(dict.fromkeys(wanted, sources))
        if futures:
            await asyncio.wait(futures.values())
        failed = {key: future.result() for key, future in futures.items() if future.result()}
        if failed:
            raise CopyError(list(failed), next(iter(failed.values())))

    def want(self, keys: Iterable[bytes], *, is_order: bool = False) -> None:
        """The same without waiting; what fails is counted. `is_order`: only because the writes came in another order
        than their stamps', so no copy is needed when a later overwrite, or another copy, has mended that."""
        for key in keys:
            self._want(key, is_order=is_order)

    def _want(self, key: bytes, *, is_order: bool = False) -> asyncio.Future[str]:
        if key not in self._next and len(self._next) >= QUEUE_MAX:
            raise CopyError([key], "too many copies are wanted")
        if not is_order:
            self._by_order[0].discard(key)
        elif key not in self._next:
            self._by_order[0].add(key)
        future = self._next.setdefault(key, asyncio.get_running_loop().create_future())
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._run())
        return future

    async def known(self, keys: Sequence[bytes]) -> dict[bytes, Known]:
        """What the write tables of this node know of each of these keys; nothing of them waits. UnknownError, if that
        cannot be told now: it is not the same as to know nothing."""
        found: dict[bytes, Known] = {}
        for start in range(0, len(keys), ASK_BATCH):
            asked = list(keys[start : start + ASK_BATCH])
            copy_id = next(self._ids)
            batch = self._batches[copy_id] = _Batch(self._io_workers)
            try:
                for index in range(self._io_workers):
                    self._io(index).key_ask(copy_id, asked, WRITES_MOST)
                async with asyncio.timeout(ASKED_S):
                    await batch.all_held.wait()
            except TimeoutError:
                raise UnknownError(f"an io worker does not say what it knows of {len(asked)} keys") from None
            finally:
                del self._batches[copy_id]
            if len(batch.held) < len(set(asked)):
                raise UnknownError("the io workers do not say of some keys what they know")
            found |= batch.held
        return found

    # ---- batches

    async def _run(self) -> None:
        """Batches of what is wanted, as long as anything is."""
        while self._next:
            await self._room.acquire()
            batch = {key: self._next[key] for key in itertools.islice(self._next, BATCH) if key not in self._under_way}
            if not batch:  # all of these are under way: they come again when that is over
                self._room.release()
                await asyncio.sleep(RETRY_S)
                continue
            for key in batch:
                del self._next[key]
            self._under_way.update(batch)
            self._by_order[1].update(self._by_order[0].intersection(batch))
            self._by_order[0].difference_update(batch)
            task = asyncio.get_running_loop().create_task(self._copy_batch(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy_batch(self, batch: dict[bytes, asyncio.Future[str]]) -> None:
        left = list(batch)
        why = "nobody has them"
        try:
            end_s = asyncio.get_running_loop().time() + TRY_S
            while (time_s := asyncio.get_running_loop().time()) < end_s:
                try:
                    left, why = await self._attempt(left, is_last=time_s > end_s - TRY_S / 2)
                except (CallError, TimeoutError) as problem:
                    why = str(problem) or "an io worker does not answer"
                if not left:
                    break
                await asyncio.sleep(RETRY_S)
        finally:
            self._room.release()
            for key, future in batch.items():
                self._under_way.pop(key, None)
                self._by_order[1].discard(key)
                if key not in self._next:
                    self._given.pop(key, None)
                    self._lost.discard(key)
                    self._first.pop(key, None)
                if not future.done():
                    future.set_result(why if key in left else "")
            self.failed += len(left)
            self.copied += len(batch) - len(left)

    async def _attempt(self, keys: list[bytes], *, is_last: bool) -> tuple[list[bytes], str]:
        """(keys that have to be tried again, why)."""
        copy_id = next(self._ids)
        batch = self._batches[copy_id] = _Batch(self._io_workers)
        try:
            for index in range(self._io_workers):
                self._io(index).key_hold(copy_id, keys)
            async with asyncio.timeout(HELD_S):
                await batch.all_held.wait()
            values, why = await self._fetch_held(batch, is_last=is_last)
            if values:
                await self._apply(copy_id, batch, values)
            done = {key for key, error in batch.results.items() if not error}
            errors = [error for error in batch.results.values() if error]
            why = errors[0].decode(errors="replace").strip() if errors else why
            return [key for key in keys if key not in done], why
        finally:
            del self._batches[copy_id]
            for index in range(self._io_workers):
                self._io(index).key_release(copy_id)

    async def _fetch_held(self, batch: _Batch, *, is_last: bool) -> tuple[dict[bytes, KeyValue], str]:
        """The values to take over, of those keys whose source is whole; and why of the others not. Of a key that may
        lose nothing the last writes are waited for while it is held: at other times the next are on their way."""
        end_s = asyncio.get_running_loop().time() + ARRIVE_S
        values: dict[bytes, KeyValue] = {}
        while True:
            left = [key for key in batch.held if key not in values and key not in batch.results]
            found, why = await self._fetch(batch, left, is_last=is_last)
            values |= found
            waits = any(key in self._whole and key not in values and key not in batch.results for key in left)
            if not waits or asyncio.get_running_loop().time() >= end_s:
                return values, why
            await asyncio.sleep(RETRY_S)

    async def _fetch(
        self, batch: _Batch, keys: Sequence[bytes], *, is_last: bool
    ) -> tuple[dict[bytes, KeyValue], str]:
        settled = [key for key in keys if key in self._by_order[1] and not batch.held[key].is_disordered]
        batch.results.update(dict.fromkeys(settled, b""))
        held = {key: batch.held[key] for key in keys if key not in batch.results}
        offers = await self._ask_all(held, self.sources.of, is_last=is_last)
        offers.update(await self._ask_far(held, offers))
        earlier = self.sources.earlier()
        wanted: dict[str, list[bytes]] = {}
        followers: dict[str, list[bytes]] = {}
        why = "no source answers"
        for key, mine in held.items():
            address = choose(
                mine,
                offers.get(key, []),
                is_last=is_last,
                earlier=earlier,
                is_lost=key in self._lost,
                is_judged=key in self._given,
                is_whole=key in self._whole,
            )
            if address is not None or is_last:
                self._note_doubt(key, mine, dict(offers.get(key, [])).get(address or ""))
            if address == KEEP:
                batch.results[key] = b""
                if is_first(mine, offers[key], earlier) and self._told.get(key) != mine.state:
                    for follower, _theirs in offers[key]:
                        followers.setdefault(follower, []).append(key)
            elif address is None:
                why = "its sources lack recent writes" if offers.get(key) else why
            else:
                wanted.setdefault(address, []).append(key)
        await self._lead_on(followers, held)
        values: dict[bytes, KeyValue] = {}
        found = await asyncio.gather(
            *(self._values(address, keys, is_last) for address, keys in wanted.items()), return_exceptions=True
        )
        for outcome in found:
            if isinstance(outcome, CallError):
                why = str(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                values.update(
                    (key, value)
                    for key, value in outcome.items()
                    if (is_last and key not in self._whole) or is_contained(held[key], value.known)
                )
        return values, why

    async def _lead_on(self, followers: Mapping[str, list[bytes]], held: Mapping[bytes, Known]) -> None:
        """The order of these keys here is the one that holds: others may have looked before this node had it."""

        async def tell(address: str, keys: list[bytes]) -> list[bytes]:
            try:
                await self._calls.call(address, "look", keys, timeout_ms=ASK_MS, is_hasty=True)
            except CallError as failure:
                log.debug("%s is told later: %s", address, failure)
                return keys
            return []

        left = await asyncio.gather(*(tell(*item) for item in followers.items()))
        everything = {key for keys in followers.values() for key in keys}
        self._told.update((key, held[key].state) for key in everything.difference(*left) if key in self._unsure)

    async def _on_look(self, keys: Sequence[bytes]) -> bool:
        for key in keys:
            self._unsure.pop(key, None)
            self._look_again(key)
        return True

    def _note_doubt(self, key: bytes, mine: Known, theirs: Known | None) -> None:
        """Whose writes are on their way, of another datacenter perhaps, is not known: time will tell."""
        if theirs is not None and not theirs.is_disordered and is_contained(mine, theirs):
            self._forget_doubt(key)
        elif mine.is_disordered:
            times = self._unsure.get(key, 0)
            if times < len(LOOK_AGAIN_S):
                self._unsure[key] = times + 1
                asyncio.get_running_loop().call_later(LOOK_AGAIN_S[times], self._look_again, key)
            else:
                self._forget_doubt(key)

    def _forget_doubt(self, key: bytes) -> None:
        self._unsure.pop(key, None)
        self._told.pop(key, None)

    def _look_again(self, key: bytes) -> None:
        with contextlib.suppress(CopyError):  # counted as failed where it is refused
            self._want(key, is_order=True)

    async def _ask_far(
        self, held: Mapping[bytes, Known], offers: Mapping[bytes, list[tuple[str, Known]]]
    ) -> dict[bytes, list[tuple[str, Known]]]:
        """The offers of keys that no rack of this datacenter wrote in order, those of the others among them: writes
        of two datacenters that crossed reach all racks of one in the same wrong order."""
        keys = [
            key for key, mine in held.items() if key not in self._given and all_disordered(mine, offers.get(key, []))
        ]
        far = await self._ask_all(keys, self.sources.far) if keys else {}
        merged: dict[bytes, list[tuple[str, Known]]] = {}
        for key, more in far.items():
            found = dict([*offers.get(key, []), *more])
            merged[key] = [(address, found[address]) for address in self.sources.ordered(found)]
        return merged

    async def _ask_all(
        self, keys: Iterable[bytes], sources: Callable[[bytes], list[str]], *, is_last: bool = False
    ) -> dict[bytes, list[tuple[str, Known]]]:
        """What each possible source knows of each key, in the order of preference."""
        by_source: dict[str, list[bytes]] = {}
        order: dict[bytes, list[str]] = {}
        for key in keys:
            # Who has still to get writes from this node has none of them, however new its last one is. Only two that
            # fill each other's gaps (a copy that another node asks for) may have to take them in the end.
            everyone = sources(key)
            whole = everyone if is_last and key in self._called else [one for one in everyone if not self.owed(one)]
            order[key] = list(self._given.get(key) or whole)
            first = self._first.get(key)
            if first in order[key]:
                order[key] = [first, *(address for address in order[key] if address != first)]
            for address in order[key]:
                by_source.setdefault(address, []).append(key)

        async def ask(address: str, of: list[bytes]) -> dict[tuple[str, bytes], Known]:
            replies = await self._calls.ask_many(
                address, [request(b"DYNO", b"KEY", key) for key in of], timeout_ms=ASK_MS, is_hasty=True
            )
            return {(address, key): known_of(reply) for key, (reply, _) in zip(of, replies, strict=True)}

        found: dict[tuple[str, bytes], Known] = {}
        for outcome in await asyncio.gather(*(ask(*item) for item in by_source.items()), return_exceptions=True):
            if isinstance(outcome, dict):
                found.update(outcome)
            elif not isinstance(outcome, CallError):
                raise outcome
        return {
            key: [(address, found[address, key]) for address in addresses if (address, key) in found]
            for key, addresses in order.items()
        }

    async def _values(self, address: str, keys: Sequence[bytes], is_last: bool) -> dict[bytes, KeyValue]:
        """Whole values: those that did not move while they were read. In the end also of a node that is catching up:
        two that fill each other's gaps would wait for each other."""
        payloads: list[bytes] = []
        for key in keys:
            question = request(b"DYNO", b"KEY", key)
            payloads += [question, request(b"PEXPIRETIME", key), request(b"DUMP", key), question]
        extensions = [AT_LAST if is_last else AS_IT_IS] * len(payloads)
        replies = [
            reply
            for reply, _ in await self._calls.ask_many(address, payloads, extensions=extensions, timeout_ms=VALUES_MS)
        ]
        values: dict[bytes, KeyValue] = {}
        for place, key in enumerate(keys):
            before, expiry, dump, after = replies[4 * place : 4 * place + 4]
            known = known_of(before)
            stood_still = known.state == known_of(after).state and not known.is_busy
            if stood_still and expiry[:1] == b":" and dump[:1] in (b"$", b"_"):
                values[key] = KeyValue(known, int(expiry[1:-2]), bulk_of(dump))
        return values

    # ---- to the io workers and back

    async def _apply(self, copy_id: int, batch: _Batch, values: dict[bytes, KeyValue]) -> None:
        batch.applied_wanted = len(values) + len(batch.results)
        rows: dict[int, list[Any]] = {}
        size = 0
        for key, value in values.items():
            rows.setdefault(batch.holder[key], []).append((key, value.known.plain(), commands_for(key, value)))
            size += len(value.dump or b"") + len(key) + 64
            if size >= APPLY_BYTES:
                self._send_apply(copy_id, rows)
                rows, size = {}, 0
        self._send_apply(copy_id, rows)
        async with asyncio.timeout(APPLIED_S):
            await batch.all_applied.wait()

    def _send_apply(self, copy_id: int, rows: dict[int, list[Any]]) -> None:
        for index, of_worker in rows.items():
            self._io(index).key_apply(copy_id, of_worker)

    def on_held(self, worker: int, copy_id: int, rows: Iterable[tuple[bytes, Any]]) -> None:
        batch = self._batches.get(copy_id)
        if batch is None:
            return
        for key, plain in rows:
            batch.held[key] = Known.of_plain(plain)
            batch.holder[key] = worker
        batch.waiting -= 1
        if batch.waiting == 0:
            batch.all_held.set()

    def on_applied(self, copy_id: int, rows: Iterable[tuple[bytes, bytes]]) -> None:
        batch = self._batches.get(copy_id)
        if batch is None:
            return
        batch.results.update(rows)
        if len(batch.results) >= batch.applied_wanted:
            batch.all_applied.set()
