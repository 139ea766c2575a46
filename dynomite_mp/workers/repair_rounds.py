"""When this node compares its keys, with whom, and what is known of it: one comparison at a time.

    REST /repair/start, `dynomite-mp repair`    "asked for"   every replica in every datacenter
    anti_entropy_interval_ms                    "round"       racks after our own, so that a pair is compared once
    a node whose lane to this one is DIRTY      "dirty"       every replica in the datacenters that it names

What it is not: the comparison itself (comparison.py), nor the state of lanes (dirty_lanes.py).

Invariant: an order that comes while a comparison runs is dropped; only the verb `compare` waits for its turn.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dynomite_mp.cluster.continuum import continuum_of
from dynomite_mp.cluster.repair import TokenRanges
from dynomite_mp.cluster.topology import Node, Rack, Topology
from dynomite_mp.errors import DynomiteError
from dynomite_mp.ipc.bulletin import RepairRow
from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.workers.comparison import Comparison
from dynomite_mp.workers.key_mending import Asker, Found, Mend, Peer
from dynomite_mp.workers.key_trees import KeyTrees

log = logging.getLogger("dynomite_mp.replication")

ASKED: Final = "asked for"
ROUND: Final = "round"
DIRTY: Final = "dirty"
REPAIR_SETTING: Final = "repair"
STOP: Final = "stop"
TEXT_CHARACTERS: Final = 200
Outcome = tuple[str, Found, str]  # done or failed, what was found, what failed


class RepairError(DynomiteError):
    """A comparison that did not come to its end."""


@dataclass(frozen=True, slots=True)
class RepairSettings:
    interval_ms: int
    """0: no rounds."""
    rate: int
    """Keys read a second; 0: no limit."""


class RepairRounds:
    """One a replication process."""

    def __init__(
        self,
        settings: RepairSettings,
        slab: SlabWriter,
        trees: KeyTrees,
        calls: Asker,
        token_of: Callable[[bytes], int],
        mend: Mend,
    ) -> None:
        self._settings = settings
        self._slab = slab
        self._trees = trees
        self._calls = calls
        self._token_of = token_of
        self._mend = mend
        self._topology: Topology | None = None
        self._task: asyncio.Task[Outcome] | None = None
        self._comparison: Comparison | None = None
        self._next_round_ms = 0
        self._row: RepairRow | None = None
        self._read_before = 0
        self.lacking: Callable[[], Collection[str]] = frozenset  # addresses of replicas

    def swap(self, topology: Topology) -> None:
        self._topology = topology

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def take_order(self, key: str, value: str) -> None:
        """A setting; the name of a run that is asked for, or `stop`."""
        if key != REPAIR_SETTING:
            return
        if value == STOP:
            self.close()
        else:
            self._begin(value, ASKED)

    def tick(self) -> None:
        """Once a second."""
        now_ms = time.monotonic_ns() // 1_000_000
        if self._settings.interval_ms:
            if self._next_round_ms and now_ms >= self._next_round_ms:
                self._begin(f"round-{now_ms}", ROUND)
            if now_ms >= self._next_round_ms:
                self._next_round_ms = now_ms + self._settings.interval_ms

    async def compare(self, datacenters: Sequence[str]) -> list[Any]:
        """The verb: with all replicas in these datacenters. [keys left different, why some replicas were left out]."""
        while self._task is not None:
            await asyncio.wait((self._task,))
        task = self._begin(f"dirty-{time.monotonic_ns() // 1_000_000}", DIRTY, datacenters)
        if task is None:
            raise RepairError("this node does not know the cluster yet")
        state, found, text = await asyncio.shield(task)
        if state != "done":
            raise RepairError(text)
        return [found.keys_left, text]

    def rows(self) -> tuple[RepairRow, ...]:
        """For the bulletin: the comparison under way, else the last one."""
        row = self._row
        if row is None:
            return ()
        if self._comparison is not None:
            row = filled(row, self._comparison.found)
            row = replace(row, keys_read=self._trees.keys_read - self._read_before)
        return (row,)

    # ---- one run

    def _begin(self, run: str, why: str, datacenters: Sequence[str] = ()) -> asyncio.Task[Outcome] | None:
        """None while another one runs."""
        if self._task is not None or self._topology is None:
            return None
        local, peers = replicas(self._topology)
        compared = [
            peer.address
            for peer in peers
            if (why != ROUND or peer.place > local.place) and (not datacenters or peer.place[0] in datacenters)
        ]
        self._row = RepairRow(run, why, started_ms=time.time_ns() // 1_000_000)
        self._read_before = self._trees.keys_read
        self._comparison = Comparison(
            f"{local.address}/{run}", local, peers, self._trees, self._calls, self._token_of,
            compared=compared, lacking=self.lacking(), rate=self._settings.rate, mend=self._mend,
        )  # fmt: skip
        self._slab.count("repair_runs")
        self._task = asyncio.get_running_loop().create_task(self._run(self._comparison, self._row))
        return self._task

    async def _run(self, comparison: Comparison, row: RepairRow) -> Outcome:
        state, text = "failed", "stopped"
        try:
            await comparison.run()
            state, text = "done", left_out_text(comparison.found)
        except DynomiteError as problem:
            text = str(problem)
            log.warning("comparison (%s): %s", row.why, problem)
        except Exception as problem:
            text = f"{type(problem).__name__}: {problem}"
            log.exception("comparison (%s) failed", row.why)
        finally:
            self._end(comparison.found, row, state, text)
        return state, comparison.found, text

    def _end(self, found: Found, row: RepairRow, state: str, text: str) -> None:
        read = self._trees.keys_read - self._read_before
        ended_ms = time.time_ns() // 1_000_000
        self._row = replace(
            filled(row, found), state=state, ended_ms=ended_ms, keys_read=read, text=text[:TEXT_CHARACTERS]
        )
        self._task = None
        self._comparison = None
        self._slab.count("repair_keys_compared", found.keys_compared)
        self._slab.count("repair_keys_differing", found.keys_differing)
        self._slab.count("repair_keys_mended", found.keys_mended)
        self._slab.count("repair_call_bytes", found.call_bytes)
        if state == "done":
            self._slab.set_gauge("divergent_keys", found.keys_left)
        log.info(
            "comparison (%s) %s: %d keys compared with %d replicas in %.1f s, %d differed, %d mended, %d bytes%s",
            row.why, state, found.keys_compared, found.peers, (ended_ms - row.started_ms) / 1000,
            found.keys_differing, found.keys_mended, found.call_bytes, f"; {text}" if text else "",
        )  # fmt: skip


def filled(row: RepairRow, found: Found) -> RepairRow:
    return replace(
        row, peers=found.peers, peers_done=found.peers_done, keys_compared=found.keys_compared,
        keys_differing=found.keys_differing, keys_mended=found.keys_mended, call_bytes=found.call_bytes,
    )  # fmt: skip


def left_out_text(found: Found) -> str:
    return "; ".join(f"{address} left out: {why}" for address, why in found.left_out.items())


# ---- who holds what --------------------------------------------------------------------------------------------------


def replicas(topology: Topology) -> tuple[Peer, list[Peer]]:
    """This node, and every other node that owns some of its tokens in another rack of any datacenter."""
    own_rack = topology.local_rack
    own = ranges_of(own_rack, topology.local)
    peers: list[Peer] = []
    for datacenter in topology.datacenters:
        for rack in datacenter.racks:
            if rack is not own_rack:
                for node in rack.nodes:
                    shared = own & ranges_of(rack, node)
                    if shared:
                        peers.append(Peer(node.address, (datacenter.name, rack.name), shared))
    return Peer(topology.local.address, (topology.local.dc, own_rack.name), own), peers


def datacenter_replicas(topology: Topology) -> tuple[Peer, list[Peer]]:
    """This node, and all other nodes of its datacenter, each with everything that it owns."""
    found = {
        node.address: Peer(node.address, (rack.dc, rack.name), ranges_of(rack, node))
        for rack in topology.local_dc.racks
        for node in rack.nodes
    }
    return found.pop(topology.local.address), list(found.values())


def ranges_of(rack: Rack, node: Node) -> TokenRanges:
    return TokenRanges.owned(continuum_of(rack), rack.nodes.index(node))
