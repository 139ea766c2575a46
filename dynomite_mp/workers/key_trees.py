"""Trees over the keys of this node's datastore: for a comparison of its own, and, as verbs, for those of other nodes.

    another node --call digest(tree, ranges)-------> one SCAN of all keys: a HashTree    <-- root, number of keys
                 --call digest_nodes(tree, ...)----> its nodes, level by level
                 --call keys_of_bucket(tree, ...)--> one more SCAN: keys, digests and expiries in the leaves that differ
                 --call key_states(keys)-----------> the same of single keys, now, with the stamps of their last writes

What it is not: it compares nothing (comparison.py).

Invariants: the datastore is read at most at the asked rate; one that is still to be filled from other racks is not
read; a tree that nobody asks for is forgotten, and so are all but the last TREES_MAX.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dynomite_mp.cluster.key_sources import Known
from dynomite_mp.cluster.repair import HashTree, KeyState, TokenRanges, leaf_of
from dynomite_mp.errors import StoreError
from dynomite_mp.workers.base import DatastoreAddress
from dynomite_mp.workers.store_reader import Pace, StoreReader

BATCH: Final = 200
PAGE_ROWS: Final = 1000
TREES_MAX: Final = 16

Row = list[Any]  # key, digest, expires_ms; of key_states: the fields of KeyState
KnownOf = Callable[[Sequence[bytes]], Awaitable[Mapping[bytes, Known]]]


async def nothing_known(keys: Sequence[bytes]) -> Mapping[bytes, Known]:
    """Where no io worker can be asked."""
    return dict.fromkeys(keys, Known())


@dataclass(slots=True)
class KnownTree:
    """A tree that another node has asked for."""

    ranges: TokenRanges
    tree: HashTree
    rate: int
    rows: list[Row] = field(default_factory=list)


def state_of(held: KeyState, known: Known) -> KeyState:
    """A value together with what is known of its writes. Who has skipped an overwrite remembers it all the same
    (ADR 101), so that counts for nothing there."""
    if known.is_lacking:
        return KeyState(held.digest, held.expires_ms, known.stamp, 0, {}, 0)
    writes = dict.fromkeys(map(tuple, known.all_ids), 0)
    writes |= zip(map(tuple, known.others_in_order), known.other_stamps, strict=False)
    writes |= zip(map(tuple, known.in_order), known.stamps, strict=False)
    return KeyState(held.digest, held.expires_ms, known.stamp, known.overwrite[0], writes, known.horizon)


def row_of(state: KeyState) -> Row:
    writes = [[list(write), stamp] for write, stamp in (state.writes or {}).items()]
    return [state.digest, state.expires_ms, state.stamp, state.overwritten, writes, state.horizon]


def state_of_row(row: Row) -> KeyState:
    """Older nodes tell no more than the stamp."""
    digest, expires_ms, stamp, *more = row
    if len(more) < 3:
        return KeyState(digest, expires_ms, stamp)
    return KeyState(digest, expires_ms, stamp, more[0], {tuple(write): when for write, when in more[1]}, more[2])


class KeyTrees:
    """`address` is None where there is no datastore to read."""

    def __init__(
        self,
        address: DatastoreAddress | None,
        token_of: Callable[[bytes], int],
        known_of: KnownOf = nothing_known,
        is_whole: Callable[[bytes], bool] = lambda _run_id: True,
    ) -> None:
        self._address = address
        self._token_of = token_of
        self._known_of = known_of
        self._is_whole = is_whole
        self._known: dict[str, KnownTree] = {}
        self.keys_read = 0

    def verbs(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        """For the table of a PeerCalls."""
        return {
            "digest": self.digest,
            "digest_nodes": self.digest_nodes,
            "keys_of_bucket": self.keys_of_bucket,
            "key_states": self.key_states,
            "forget_tree": self.forget,
        }

    # ---- reading the datastore

    @contextlib.asynccontextmanager
    async def _store(self) -> AsyncIterator[StoreReader]:
        """One that has all that it is to have: an empty one would be taken for one in which all keys were deleted."""
        if self._address is None:
            raise StoreError("this node has no datastore to read")
        async with StoreReader(self._address) as store:
            if not self._is_whole(await store.run_id()):
                raise StoreError("the datastore of this node is still being filled")
            yield store

    async def grow(self, wanted: Mapping[str, TokenRanges], rate: int) -> dict[str, HashTree]:
        """One tree for each set of ranges, of one SCAN."""
        trees = {name: HashTree() for name in wanted}

        def takes(token: int) -> bool:
            return any(token in ranges for ranges in wanted.values())

        def take(key: bytes, token: int, state: KeyState) -> None:
            for name, ranges in wanted.items():
                if token in ranges:
                    trees[name].add(token, key, state)

        await self._scan(takes, take, rate)
        return trees

    async def in_leaves(
        self, wanted: Mapping[str, tuple[TokenRanges, frozenset[int]]], rate: int
    ) -> dict[str, dict[bytes, KeyState]]:
        """The keys of some leaves of each set of ranges, of one SCAN."""
        found: dict[str, dict[bytes, KeyState]] = {name: {} for name in wanted}

        def takes(token: int) -> bool:
            leaf = leaf_of(token)
            return any(leaf in leaves and token in ranges for ranges, leaves in wanted.values())

        def take(key: bytes, token: int, state: KeyState) -> None:
            for name, (ranges, leaves) in wanted.items():
                if leaf_of(token) in leaves and token in ranges:
                    found[name][key] = state

        await self._scan(takes, take, rate)
        return found

    async def _scan(
        self, takes: Callable[[int], bool], take: Callable[[bytes, int, KeyState], None], rate: int
    ) -> None:
        """Every key whose token is taken, once or, if the datastore resizes its table, twice."""
        pace = Pace(rate)
        async with self._store() as store:
            cursor = 0
            while True:
                cursor, names = await store.scan(cursor)
                tokens = {key: token for key in names if takes(token := self._token_of(key))}
                keys = list(tokens)
                for start in range(0, len(keys), BATCH):
                    batch = keys[start : start + BATCH]
                    for key, state in (await store.states(batch)).items():
                        take(key, tokens[key], state)
                    self.keys_read += len(batch)
                    await pace.spent(len(batch))
                if cursor == 0:
                    return
                await asyncio.sleep(0)

    async def states(self, keys: Sequence[bytes]) -> dict[bytes, KeyState]:
        """What this node holds of these keys now; absent keys too. What is known of them is asked for first: a write
        between the two leaves an older stamp at a newer value, which at worst is mended with what it already has."""
        known = await self._known_of(keys)
        found: dict[bytes, KeyState] = {}
        async with self._store() as store:
            for start in range(0, len(keys), BATCH):
                found |= await store.states(keys[start : start + BATCH])
        return {key: state_of(found.get(key, KeyState()), known[key]) for key in keys}

    # ---- verbs

    async def digest(self, tree: str, pairs: Iterable[Sequence[int]], rate: int) -> Row:
        ranges = TokenRanges.plain(pairs)
        grown = (await self.grow({tree: ranges}, rate))[tree]
        self._known.pop(tree, None)
        self._known[tree] = KnownTree(ranges, grown, rate)
        while len(self._known) > TREES_MAX:
            self._known.pop(next(iter(self._known)))
        return [grown.root, grown.keys]

    async def digest_nodes(self, tree: str, level: int, places: Sequence[int]) -> list[int]:
        return self._tree(tree).tree.children(level, places)

    async def keys_of_bucket(self, tree: str, leaves: Sequence[int], start: int) -> list[Row]:
        """A page of the keys in these leaves, from row `start`; with 0 they are read anew. The last page is short."""
        known = self._tree(tree)
        if start == 0:
            held = await self.in_leaves({tree: (known.ranges, frozenset(leaves))}, known.rate)
            known.rows = [[key, state.digest, state.expires_ms] for key, state in held[tree].items()]
        return known.rows[start : start + PAGE_ROWS]

    async def key_states(self, keys: Sequence[bytes]) -> list[Row]:
        held = await self.states(keys)
        return [row_of(held[key]) for key in keys]

    async def forget(self, tree: str) -> None:
        self._known.pop(tree, None)

    def _tree(self, name: str) -> KnownTree:
        known = self._known.get(name)
        if known is None:
            raise StoreError(f"no tree {name}", "the node was restarted, or has made others since; compare again")
        return known
