"""Filling this node's datastore from the other racks: an empty or replaced node, a datastore that was started anew.

A step of the way back (workers.returning): meanwhile this node takes writes and serves no reads.

    why       a warm-up was not finished, or none begun by a node that is new or whose datastore keeps nothing over a
              | restart (a file says so: what clients write meanwhile would hide it)
              | the datastore is not the one of before (run_id)
              | it holds less than half of what the other racks hold of its range | warm_up: force
    first     SCAN of every node of the rack that is the source --> keys of this node's range --> KeyCopies.copy
    then      SCAN of the own datastore --> EXISTS at the source --> KeyCopies.copy of what is not there: it is deleted

A datastore that was started anew is filled whatever it has kept: what its last second or its last snapshot lacks is not
to be told from outside.

What it is not: it moves no value itself (key_copies do, in order with the writes of clients).

Invariants: killed at any point and started again it ends the same; it skips when every source is empty or away.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from dynomite_mp.cluster.topology import Node
from dynomite_mp.enums import WarmUpMode
from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.proto.requests import request
from dynomite_mp.workers.datastore_client import DatastoreClient, DatastoreUnreachable
from dynomite_mp.workers.key_copies import FORCED, CopyError, KeyCopies
from dynomite_mp.workers.key_values import value_of
from dynomite_mp.workers.peer_calls import CallError, PeerCalls
from dynomite_mp.workers.store_reader import info_field

log = logging.getLogger("dynomite_mp.replication")

SCAN_COUNT: Final = 1000
IN_FLIGHT: Final = 8  # SCAN pages whose keys are being copied
ROUNDS: Final = 20
ROUND_PAUSE_S: Final = 1.0
NEW: Final = "this node is new"
KEEPS_NOTHING: Final = "the datastore keeps nothing over a restart of the node"
STORE_WAIT_S: Final = 30.0


class WarmUp:
    """One a replication process. `state_file` exists while a warm-up is not finished."""

    def __init__(
        self,
        calls: PeerCalls,
        copies: KeyCopies,
        store: DatastoreClient,
        slab: SlabWriter,
        *,
        mode: WarmUpMode,
        state_file: Path,
        own_rack_nodes: Callable[[], int],
    ) -> None:
        self._calls = calls
        self._copies = copies
        self._store = store
        self._slab = slab
        self._mode = mode
        self._state_file = state_file
        self._own_rack_nodes = own_rack_nodes
        self._run_id = b""
        self._whole_run_id = b""
        self._is_first = True

    def mark_empty(self, why: str) -> None:
        """The datastore has nothing yet, NEW or KEEPS_NOTHING: it is filled, whatever it gets before that begins."""
        if self._mode is not WarmUpMode.OFF and not self._state_file.exists():
            self._state_file.write_text(why + "\n")

    def is_whole(self, run_id: bytes) -> bool:
        """Whether the datastore that runs under this id has what it is to have, as far as other racks could fill it.
        One that was started since may look empty, and its node still remembers what it had."""
        return self._mode is WarmUpMode.OFF or not self._copies.sources.holders() or run_id == self._whole_run_id

    async def step(self, reason: str) -> None:
        """Fill the datastore if it needs it."""
        if self._mode is WarmUpMode.OFF or not self._copies.sources.holders():
            return
        why = await self._why()
        if why:
            await self._fill(why)
        self._whole_run_id = self._run_id

    async def _fill(self, why: str) -> None:
        source = await self._choose_source()
        if source is None:
            log.info("no warm-up (%s): every source is empty or away", why)
            self._state_file.unlink(missing_ok=True)
            return
        nodes, total = source
        self._state_file.write_text(f"begun: {why}\n")
        log.warning("warm-up from rack %s: %s; about %d keys", nodes[0].rack, why, total)
        self._slab.set_gauge("warm_up_keys", total)
        self._slab.set_gauge("warm_up_copied_keys", 0)
        begun_s = asyncio.get_running_loop().time()
        failed = await self._copy_all(self._keys_of_source(nodes))
        failed += await self._copy_all(self._extra_keys())
        await self._mend(failed)
        self._state_file.unlink(missing_ok=True)
        log.warning("warm-up is done after %.1f s", asyncio.get_running_loop().time() - begun_s)

    # ---- whether, and from where

    async def _why(self) -> str:
        is_first, self._is_first = self._is_first, False
        before = self._run_id
        self._run_id, own = await self._look()
        if self._state_file.exists():
            said = self._state_file.read_text().strip()
            return said if said in (NEW, KEEPS_NOTHING) else "the last one was not finished"
        if is_first and self._mode is WarmUpMode.FORCE:
            return "warm_up: force"
        if before and before != self._run_id:
            return "the datastore was started anew"
        expected = await self._expected()
        if own * 2 < expected:
            return f"the datastore holds {own} of about {expected} keys"
        return ""

    async def _look(self) -> tuple[bytes, int]:
        """run_id and number of keys of the own datastore, which may still be loading."""
        end_s = asyncio.get_running_loop().time() + STORE_WAIT_S
        while True:
            try:
                info = await self._store.call("INFO", "server")
                size = await self._store.call("DBSIZE")
                return info_field(info, b"run_id"), int(size)
            except DatastoreUnreachable:
                if asyncio.get_running_loop().time() > end_s:
                    raise
                await asyncio.sleep(0.1)

    async def _expected(self) -> int:
        """How many keys this node would have if it held what the fullest other rack holds of its range."""
        sizes = await asyncio.gather(*(self._size(nodes) for nodes in self._copies.sources.holders()))
        return max((size for size in sizes if size is not None), default=0) // max(1, self._own_rack_nodes())

    async def _size(self, nodes: Sequence[Node]) -> int | None:
        """Keys of a rack; None when a node of it does not answer."""
        try:
            replies = await asyncio.gather(
                *(self._ask(node.address, request("DBSIZE"), is_hasty=True) for node in nodes)
            )
        except CallError:
            return None
        return sum(int(reply) for reply in replies if isinstance(reply, int))

    async def _ask(self, address: str, payload: bytes, *, is_hasty: bool = False) -> Any:
        replies = await self._calls.ask_many(address, (payload,), extensions=(FORCED,), is_hasty=is_hasty)
        return value_of(replies[0][0])

    async def _choose_source(self) -> tuple[Sequence[Node], int] | None:
        """(nodes of the rack to read from, about how many keys come): the first of the fullest."""
        holders = self._copies.sources.holders()
        sizes = await asyncio.gather(*(self._size(nodes) for nodes in holders))
        best = max((size for size in sizes if size), default=0)
        for nodes, size in zip(holders, sizes, strict=True):
            if size and size == best:
                return nodes, best // max(1, self._own_rack_nodes())
        return None

    # ---- keys

    async def _keys_of_source(self, nodes: Iterable[Node]) -> AsyncIterator[list[bytes]]:
        """Keys of this node's range, page by page."""
        for node in nodes:
            cursor: Any = 0
            while True:
                cursor, keys = await self._scan(node.address, cursor)
                yield [key for key in keys if self._copies.sources.is_own(key)]
                if int(cursor) == 0:
                    break

    async def _scan(self, address: str, cursor: Any) -> tuple[Any, list[bytes]]:
        for _ in range(ROUNDS):
            try:
                reply = await self._ask(address, request("SCAN", cursor, "COUNT", SCAN_COUNT))
            except CallError as problem:
                reply = problem
            if isinstance(reply, list):
                return reply[0], reply[1]
            await asyncio.sleep(ROUND_PAUSE_S)
        raise CallError(f"{address} cannot be scanned: {reply}")

    async def _extra_keys(self) -> AsyncIterator[list[bytes]]:
        """Keys of this node that no source has."""
        cursor: Any = 0
        while True:
            cursor, keys = await self._store.call("SCAN", cursor, "COUNT", SCAN_COUNT)
            yield await self._missing_elsewhere([key for key in keys if self._copies.sources.is_own(key)])
            if int(cursor) == 0:
                return

    async def _missing_elsewhere(self, keys: Sequence[bytes]) -> list[bytes]:
        by_source: dict[str, list[bytes]] = {}
        for key in keys:
            by_source.setdefault(self._copies.sources.of(key)[0], []).append(key)
        missing: list[bytes] = []
        for address, of in by_source.items():
            replies = await self._calls.ask_many(
                address, [request("EXISTS", key) for key in of], extensions=[FORCED] * len(of)
            )
            missing += [key for key, (reply, _) in zip(of, replies, strict=True) if reply != b":1\r\n"]
        return missing

    async def _copy_all(self, pages: AsyncIterator[list[bytes]]) -> list[bytes]:
        """The keys that could not be copied; a few pages at a time are under way."""
        failed: list[bytes] = []
        room = asyncio.Semaphore(IN_FLIGHT)
        tasks: set[asyncio.Task[None]] = set()

        async def copy(keys: list[bytes]) -> None:
            try:
                await self._copies.copy(keys, is_lost=True)
            except CopyError as failure:
                failed.extend(failure.keys)
            finally:
                room.release()
            self._slab.set_gauge("warm_up_copied_keys", self._slab.get("warm_up_copied_keys") + len(keys))

        async for keys in pages:
            await room.acquire()
            task = asyncio.get_running_loop().create_task(copy(keys))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks)
        return failed

    async def _mend(self, failed: list[bytes]) -> None:
        for _ in range(ROUNDS):
            if not failed:
                return
            await asyncio.sleep(ROUND_PAUSE_S)
            try:
                await self._copies.copy(failed, is_lost=True)
                return
            except CopyError as failure:
                failed = list(failure.keys)
        log.error("warm-up: %d keys could not be copied; a comparison has to mend them", len(failed))
