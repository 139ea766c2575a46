"""Lanes that are DIRTY, mended: what a replica or a datacenter missed is not known any more, so its nodes compare.

    lane of a replica        the replica compares what it owns with the other racks of the datacenter
    queue of a datacenter    every node of one of its racks compares what it owns, with all datacenters
    whoever compares         asks all nodes who lacks something: where no stamps are left, that decides

What it is not: it does not say when a lane is DIRTY (hint_log.py), and compares nothing itself (repair_rounds.py).

Invariants: a lane is clean only when all of these comparisons have ended with nothing different and nobody left out,
and nothing more was given up since they began; a lane whose nodes cannot be asked is tried again after AGAIN_S.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.errors import DynomiteError
from dynomite_mp.workers.hint_lanes import HintLanes
from dynomite_mp.workers.key_mending import HOUR_MS, Asker

log = logging.getLogger("dynomite_mp.replication")

AGAIN_S: Final = 5.0
COMPARE_VERB: Final = "compare"
LACKING_VERB: Final = "lacking"


class DirtyLanes:
    """One a replication process. `compare(datacenters)` is this node's own verb."""

    def __init__(
        self, hints: HintLanes, calls: Asker, compare: Callable[[Sequence[str]], Awaitable[list[Any]]]
    ) -> None:
        self._hints = hints
        self._calls = calls
        self._compare = compare
        self._topology: Topology | None = None
        self._task: asyncio.Task[None] | None = None
        self._again_s = 0.0

    def swap(self, topology: Topology) -> None:
        self._topology = topology

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def lacking(self) -> set[str]:
        """Addresses of replicas that may lack writes of which this node kept no record."""
        return who_lacks(self._topology, self._dirty()) if self._topology is not None else set()

    async def on_lacking(self) -> list[str]:
        """The verb."""
        return sorted(self.lacking())

    def _dirty(self) -> list[str]:
        return [name for name, one in self._hints.logs().items() if one.dirty_reason]

    def tick(self) -> None:
        """Once a second."""
        now_s = asyncio.get_running_loop().time()
        dirty = self._dirty()
        if dirty and self._topology is not None and self._task is None and now_s >= self._again_s:
            self._task = asyncio.get_running_loop().create_task(self._mend(self._topology, dirty))

    async def _mend(self, topology: Topology, names: Sequence[str]) -> None:
        try:
            for name in names:
                await self._mend_lane(topology, name)
        finally:
            self._task = None
            self._again_s = asyncio.get_running_loop().time() + AGAIN_S

    async def _mend_lane(self, topology: Topology, name: str) -> None:
        one = self._hints.logs().get(name)
        nodes, datacenters = who_compares(topology, name)
        if one is None or not nodes:
            return
        marks = one.dirty_marks
        try:
            for node in nodes:
                left, text = await self._ask(node, datacenters)
                if left or text:
                    log.warning("%s: still DIRTY: %d keys differ at %s; %s", name, left, node.address, text)
                    return
        except DynomiteError as problem:
            log.info("%s: still DIRTY: %s", name, problem)
            return
        if one.dirty_marks == marks:
            one.clear_dirty()
            log.info("%s: clean again, all that it had missed is mended", name)

    async def _ask(self, node: Node, datacenters: Sequence[str]) -> list[Any]:
        if node.is_local:
            return await self._compare(datacenters)
        answer: list[Any] = await self._calls.call(
            node.address, COMPARE_VERB, list(datacenters), timeout_ms=HOUR_MS
        )
        return answer


def who_compares(topology: Topology, name: str) -> tuple[list[Node], list[str]]:
    """For the lane of a replica's address or a datacenter's name: these nodes, with the replicas in these datacenters;
    nobody for one that has left."""
    datacenter = topology.datacenter(name)
    if datacenter is not None:
        return list(datacenter.racks[0].nodes), []
    here = topology.local_dc
    return [node for rack in here.racks for node in rack.nodes if node.address == name], [here.name]


def who_lacks(topology: Topology, names: Sequence[str]) -> set[str]:
    """The addresses of these replicas, and of all nodes of these datacenters."""
    far = {dc.name: dc for dc in topology.datacenters}
    found = {name for name in names if name not in far}
    return found.union(node.address for name in names if name in far for rack in far[name].racks for node in rack.nodes)
