"""Read repair: keys whose replicas answered a read differently are looked at again, and the stale ones are mended.

    io worker: a quorum read whose replies differ --KEY_COPY--> want(key) --in bundles--> KeyMending

What it is not: it delays no read, and finds nothing by itself.

Invariants: a key waits here once; at most WAITING_MAX keys wait, more are forgotten and found by their next read.
"""

import asyncio
import logging
from collections.abc import Callable
from itertools import islice
from typing import Final

from dynomite_mp.cluster.topology import Topology
from dynomite_mp.errors import DynomiteError
from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.workers.key_mending import KEYS_PER_CALL, Asker, KeyMending, Mend
from dynomite_mp.workers.key_trees import KeyTrees
from dynomite_mp.workers.repair_rounds import datacenter_replicas

log = logging.getLogger("dynomite_mp.replication")

WAITING_MAX: Final = 10_000
SETTLE_S: Final = 0.1


class ReadRepairs:
    """One a replication process."""

    def __init__(
        self, slab: SlabWriter, trees: KeyTrees, calls: Asker, token_of: Callable[[bytes], int], mend: Mend
    ) -> None:
        self._slab = slab
        self._trees = trees
        self._calls = calls
        self._token_of = token_of
        self._mend = mend
        self._topology: Topology | None = None
        self._waiting: dict[bytes, None] = {}
        self._task: asyncio.Task[None] | None = None

    def swap(self, topology: Topology) -> None:
        self._topology = topology

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def want(self, key: bytes) -> None:
        if len(self._waiting) < WAITING_MAX:
            self._waiting[key] = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Bundles, as long as any key waits."""
        try:
            while self._waiting and self._topology is not None:
                keys = list(islice(self._waiting, KEYS_PER_CALL))
                for key in keys:
                    del self._waiting[key]
                await self._mend_some(self._topology, keys)
        finally:
            self._task = None

    async def _mend_some(self, topology: Topology, keys: list[bytes]) -> None:
        local, peers = datacenter_replicas(topology)
        made = KeyMending(local, peers, self._trees, self._calls, self._token_of, self._mend, settle_s=SETTLE_S)
        try:
            await made.run(keys)
        except DynomiteError as problem:
            log.warning("read repair of %d keys: %s", len(keys), problem)
        self._slab.count("read_repair_keys_differing", made.found.keys_differing)
        self._slab.count("read_repair_keys_mended", made.found.keys_mended)
