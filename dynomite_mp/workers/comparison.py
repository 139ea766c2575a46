"""One comparison: this node's keys against those of the owners of the same tokens in other racks, and what differs is
mended.

    own SCAN, and `digest` at every peer at once          a tree for each pair
    Descent, `digest_nodes`                               the leaves that differ, 16 children a step
    own SCAN, and `keys_of_bucket`                        the keys in them that differ: suspects
    `lacking` at every peer                               who is known to have missed writes
    KeyMending                                            of the suspects those that differ for good are mended

What it is not: it does not choose when to compare, nor with whom (repair_rounds.py).

Invariant: a peer that cannot be compared leaves the comparison, and the others go on.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from dynomite_mp.cluster.repair import LEAVES, Descent, HashTree, KeyState, differing_keys
from dynomite_mp.errors import DynomiteError
from dynomite_mp.workers.key_mending import Asker, Found, KeyMending, Mend, Peer, parts
from dynomite_mp.workers.key_trees import PAGE_ROWS, KeyTrees
from dynomite_mp.workers.peer_calls import UnknownVerbError

SETTLE_S: Final = 0.5
"""Between two looks at a key: a write on its way has arrived by then."""
PLACES_PER_CALL: Final = 256
ROWS_PER_PASS: Final = 200_000
"""Keys of differing leaves that are held in memory at a time; more take further SCANs."""


class Comparison:
    """Made for one run. Trees are made with the `compared` peers only; all of them say what they have of a key that
    differs. `lacking`: what this node itself knows of replicas that have missed writes."""

    def __init__(
        self,
        name: str,
        local: Peer,
        peers: Sequence[Peer],
        trees: KeyTrees,
        calls: Asker,
        token_of: Callable[[bytes], int],
        *,
        compared: Iterable[str] | None = None,
        lacking: Collection[str] = (),
        rate: int,
        mend: Mend | None,
    ) -> None:
        self._name = name
        self._trees = trees
        self._rate = rate
        self._keys = KeyMending(local, peers, trees, calls, token_of, mend, settle_s=SETTLE_S, lacking=lacking)
        self._compared = [peer.address for peer in peers] if compared is None else list(compared)
        self.found = self._keys.found
        self.found.peers = len(self._compared)

    async def run(self) -> Found:
        leaves = await self._differing_leaves()
        for part in self._passes(leaves):
            suspects = await self._suspects(part)
            if suspects:  # asked now, not before: a replica may have come back meanwhile, with its own view of it
                await asyncio.gather(*(self._ask_lacking(address) for address in list(self._keys.peers)))
            await self._keys.run(suspects)
        for address in self._compared_peers():
            await self._keys.attempt(address, self._keys.call(address, "forget_tree", self._name))
        self.found.peers_done = len(self._compared_peers())
        return self.found

    async def _ask_lacking(self, address: str) -> None:
        """A replica that cannot be asked this is not judged either, but for one that does not know the question."""
        answer = await self._keys.attempt(address, self._lacking_at(address))
        self._keys.lacking.update(answer or ())

    async def _lacking_at(self, address: str) -> list[str]:
        with contextlib.suppress(UnknownVerbError):
            return list(await self._keys.call(address, "lacking"))
        return []

    def _compared_peers(self) -> dict[str, Peer]:
        """Without those left out."""
        return {address: self._keys.peers[address] for address in self._compared if address in self._keys.peers}

    # ---- trees

    async def _differing_leaves(self) -> dict[str, list[int]]:
        """By peer. Our own keys are read while the peers read theirs."""
        growing = asyncio.ensure_future(
            self._trees.grow({address: peer.ranges for address, peer in self._compared_peers().items()}, self._rate)
        )
        roots = {
            address: asyncio.ensure_future(
                self._keys.call(address, "digest", self._name, [list(pair) for pair in peer.ranges.pairs], self._rate)
            )
            for address, peer in self._compared_peers().items()
        }
        try:
            grown = await growing
        except DynomiteError:
            for asked in roots.values():
                asked.cancel()
            raise
        found: dict[str, list[int]] = {}
        for address, asked in roots.items():
            answer = await self._keys.attempt(address, asked)
            if answer is not None:
                self.found.keys_compared += max(grown[address].keys, answer[1])
                leaves = await self._keys.attempt(address, self._descend(address, grown[address], answer[0]))
                if leaves:
                    found[address] = leaves
        return found

    async def _descend(self, address: str, tree: HashTree, root: int) -> list[int]:
        descent = Descent(tree, root)
        while not descent.is_done:
            theirs: list[int] = []
            for places in parts(descent.places, PLACES_PER_CALL):
                theirs += await self._keys.call(address, "digest_nodes", self._name, descent.level, places)
            descent.take(theirs)
        return descent.leaves

    def _passes(self, leaves: Mapping[str, list[int]]) -> Iterator[dict[str, list[int]]]:
        """The differing leaves in so many parts that the keys of one fit in memory."""
        union = sorted({leaf for part in leaves.values() for leaf in part})
        if not union:
            return
        keys_per_leaf = max(1.0, self.found.keys_compared / LEAVES)
        size = max(1, int(ROWS_PER_PASS / keys_per_leaf / max(1, len(leaves))))
        for some in parts(union, size):
            chosen = set(some)
            part = {address: [leaf for leaf in own if leaf in chosen] for address, own in leaves.items()}
            yield {address: own for address, own in part.items() if own}

    async def _suspects(self, leaves: Mapping[str, list[int]]) -> list[bytes]:
        """Keys that looked different when they were read, not at the same time."""
        theirs = {address: asyncio.ensure_future(self._rows(address, own)) for address, own in leaves.items()}
        wanted = {address: (self._keys.peers[address].ranges, frozenset(own)) for address, own in leaves.items()}
        try:
            ours = await self._trees.in_leaves(wanted, self._rate)
        except DynomiteError:
            for asked in theirs.values():
                asked.cancel()
            raise
        suspects: set[bytes] = set()
        for address, asked in theirs.items():
            held = await self._keys.attempt(address, asked)
            if held is not None:
                suspects |= set(differing_keys(ours[address], held))
        return sorted(suspects)

    async def _rows(self, address: str, leaves: list[int]) -> dict[bytes, KeyState]:
        held: dict[bytes, KeyState] = {}
        start = 0
        while True:
            asked = leaves if start == 0 else []
            rows = await self._keys.call(address, "keys_of_bucket", self._name, asked, start)
            held |= {key: KeyState(digest, expires_ms) for key, digest, expires_ms in rows}
            if len(rows) < PAGE_ROWS:
                return held
            start += len(rows)
