"""Everything of a replication process that compares and mends replicas, put together; no behaviour of its own."""

from collections.abc import Callable, Sequence
from typing import Final

from dynomite_mp.cluster.token import hash_key, tagged
from dynomite_mp.cluster.topology import Topology
from dynomite_mp.ipc.bulletin import RepairRow
from dynomite_mp.workers.base import WorkerContext
from dynomite_mp.workers.dirty_lanes import COMPARE_VERB, LACKING_VERB, DirtyLanes
from dynomite_mp.workers.hint_lanes import HintLanes
from dynomite_mp.workers.key_copies import KeyCopies
from dynomite_mp.workers.key_mending import OWN
from dynomite_mp.workers.key_trees import KeyTrees
from dynomite_mp.workers.peer_calls import PeerCalls
from dynomite_mp.workers.read_repairs import ReadRepairs
from dynomite_mp.workers.repair_rounds import RepairRounds, RepairSettings

COPY_VERB: Final = "copy"
MEND_MS: Final = 600_000


class Repairs:
    """Comparisons on request and in rounds, and read repair; their verbs join the table of `calls`. `is_whole` says by
    its run_id whether the datastore may be compared."""

    def __init__(
        self,
        context: WorkerContext,
        calls: PeerCalls,
        copies: KeyCopies,
        hints: HintLanes,
        is_whole: Callable[[bytes], bool],
    ) -> None:
        config = context.config
        tag = config.hash_tag or None

        def token_of(key: bytes) -> int:
            hashed = tagged(key, tag)
            return hash_key(config.hash, hashed) if hashed else 0

        self._calls = calls
        self._copies = copies
        slab = context.port.slab
        trees = KeyTrees(context.datastore, token_of, copies.known, is_whole)
        calls.handlers.update(trees.verbs())
        settings = RepairSettings(config.anti_entropy_interval_ms, config.repair_rate)
        self.rounds = RepairRounds(settings, slab, trees, calls, token_of, self._mend)
        self.reads = ReadRepairs(slab, trees, calls, token_of, self._mend)
        self.dirty = DirtyLanes(hints, calls, self.rounds.compare)
        self.rounds.lacking = self.dirty.lacking
        calls.handlers[COMPARE_VERB] = self.rounds.compare
        calls.handlers[LACKING_VERB] = self.dirty.on_lacking

    async def _mend(self, address: str, keys: Sequence[bytes], sources: Sequence[str], loses_nothing: bool) -> None:
        if address == OWN:
            await self._copies.on_call(keys, sources, "", loses_nothing)
        else:
            args = list(keys), list(sources), "", loses_nothing
            await self._calls.call(address, COPY_VERB, *args[: 4 if loses_nothing else 2], timeout_ms=MEND_MS)

    def swap(self, topology: Topology) -> None:
        self.rounds.swap(topology)
        self.dirty.swap(topology)
        self.reads.swap(topology)

    def take_order(self, key: str, value: str) -> None:
        self.rounds.take_order(key, value)

    def tick(self) -> None:
        self.rounds.tick()
        self.dirty.tick()

    def rows(self) -> tuple[RepairRow, ...]:
        return self.rounds.rows()

    def close(self) -> None:
        self.rounds.close()
        self.dirty.close()
        self.reads.close()
