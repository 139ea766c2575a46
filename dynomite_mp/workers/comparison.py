"""One comparison: this node's keys against those of the owners of the same tokens in other racks, and what differs is
mended.

    own SCAN, and `digest` at every peer at once          a tree for each pair
    Descent, `digest_nodes`                               the leaves that differ, 16 children a step
    own SCAN, and `keys_of_bucket`                        the keys in them that differ: suspects
    `key_states` at every replica, twice                  what differs still: divergent keys; judge() says where
    `copy` at the stale replicas, then `key_states`       mended

What it is not: it does not choose when to compare, nor with whom (repair_rounds.py); it copies no value itself: a stale
replica fetches the key from the others, with all the care that a key under writes needs (key copies).

Invariants: a key is only called divergent if two looks, SETTLE_S apart, saw the same difference, or it never stood
still; a peer that cannot be compared leaves the comparison, named in `left_out`, and the others go on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgpack  # type: ignore[import-untyped]

from dynomite_mp.cluster.repair import Descent, HashTree, KeyState, TokenRanges, differing_keys, judge
from dynomite_mp.errors import DynomiteError
from dynomite_mp.workers.key_trees import PAGE_ROWS, KeyTrees

log = logging.getLogger("dynomite_mp.replication")

OWN: Final = ""
"""What `mend` gets for this node, which is not asked over the network."""
HOUR_MS: Final = 3_600_000
SETTLE_S: Final = 0.5
LOOKS_MAX: Final = 4
PLACES_PER_CALL: Final = 256
SUSPECTS_PER_CALL: Final = 200
ROWS_PER_PASS: Final = 200_000
"""Keys of differing leaves that are held in memory at a time; more take further SCANs."""


class Asker(Protocol):
    """How another node is asked; peer_calls.PeerCalls."""

    async def call(self, address: str, verb: str, *args: Any, timeout_ms: int = ...) -> Any: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """A replica of some of our keys."""

    address: str
    place: tuple[str, str]
    """Datacenter and rack: the order of the judgement, the same at every node."""
    ranges: TokenRanges


@dataclass(slots=True)
class Found:
    """What a comparison has come to so far."""

    peers: int = 0
    peers_done: int = 0
    keys_compared: int = 0
    keys_suspected: int = 0
    keys_differing: int = 0
    keys_mended: int = 0
    call_bytes: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def keys_left(self) -> int:
        return self.keys_differing - self.keys_mended


class Comparison:
    """Made for one run. Trees are made with the `compared` peers only; all of them say what they have of a key that
    differs. `mend(address, keys, sources)` copies keys to a stale replica."""

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
        rate: int,
        mend: Callable[[str, Sequence[bytes], Sequence[str]], Awaitable[None]] | None,
    ) -> None:
        self._name = name
        self._local = local
        self._peers = {peer.address: peer for peer in peers}
        self._compared = list(self._peers if compared is None else compared)
        self._replicas = sorted([local, *peers], key=lambda peer: peer.place)
        self._trees = trees
        self._calls = calls
        self._token_of = token_of
        self._rate = rate
        self._mend = mend
        self.found = Found(peers=len(self._compared))

    async def run(self) -> Found:
        leaves = await self._differing_leaves()
        for part in self._passes(leaves):
            suspects = await self._suspects(part)
            self.found.keys_suspected += len(suspects)
            divergent = await self._divergent(suspects)
            self.found.keys_differing += len(divergent)
            if self._mend is not None and divergent:
                await self._mend_all(divergent)
        for address in self._compared_peers():
            await self._leave_out_if_failed(address, self._call(address, "forget_tree", self._name))
        self.found.peers_done = len(self._compared_peers())
        return self.found

    def _compared_peers(self) -> dict[str, Peer]:
        """Without those left out."""
        return {address: self._peers[address] for address in self._compared if address in self._peers}

    # ---- trees

    async def _differing_leaves(self) -> dict[str, list[int]]:
        """By peer. Our own keys are read while the peers read theirs."""
        growing = asyncio.ensure_future(
            self._trees.grow({address: peer.ranges for address, peer in self._compared_peers().items()}, self._rate)
        )
        roots = {
            address: asyncio.ensure_future(
                self._call(address, "digest", self._name, [list(pair) for pair in peer.ranges.pairs], self._rate)
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
            answer = await self._leave_out_if_failed(address, asked)
            if answer is not None:
                self.found.keys_compared += max(grown[address].keys, answer[1])
                leaves = await self._leave_out_if_failed(address, self._descend(address, grown[address], answer[0]))
                if leaves:
                    found[address] = leaves
        return found

    async def _descend(self, address: str, tree: HashTree, root: int) -> list[int]:
        descent = Descent(tree, root)
        while not descent.is_done:
            theirs: list[int] = []
            for places in _parts(descent.places, PLACES_PER_CALL):
                theirs += await self._call(address, "digest_nodes", self._name, descent.level, places)
            descent.take(theirs)
        return descent.leaves

    def _passes(self, leaves: Mapping[str, list[int]]) -> Iterator[dict[str, list[int]]]:
        """The differing leaves in so many parts that the keys of one fit in memory."""
        union = sorted({leaf for part in leaves.values() for leaf in part})
        if not union:
            return
        keys_per_leaf = max(1.0, self.found.keys_compared / 65536)
        size = max(1, int(ROWS_PER_PASS / keys_per_leaf / max(1, len(leaves))))
        for some in _parts(union, size):
            chosen = set(some)
            part = {address: [leaf for leaf in own if leaf in chosen] for address, own in leaves.items()}
            yield {address: own for address, own in part.items() if own}

    async def _suspects(self, leaves: Mapping[str, list[int]]) -> list[bytes]:
        """Keys that looked different when they were read, not at the same time."""
        theirs = {
            address: asyncio.ensure_future(self._rows(address, own)) for address, own in leaves.items()
        }
        wanted = {address: (self._peers[address].ranges, frozenset(own)) for address, own in leaves.items()}
        try:
            ours = await self._trees.in_leaves(wanted, self._rate)
        except DynomiteError:
            for asked in theirs.values():
                asked.cancel()
            raise
        suspects: set[bytes] = set()
        for address, asked in theirs.items():
            held = await self._leave_out_if_failed(address, asked)
            if held is not None:
                suspects |= set(differing_keys(ours[address], held))
        return sorted(suspects)

    async def _rows(self, address: str, leaves: list[int]) -> dict[bytes, KeyState]:
        held: dict[bytes, KeyState] = {}
        start = 0
        while True:
            asked = leaves if start == 0 else []
            rows = await self._call(address, "keys_of_bucket", self._name, asked, start)
            held |= {key: KeyState(digest, expires_ms) for key, digest, expires_ms in rows}
            if len(rows) < PAGE_ROWS:
                return held
            start += len(rows)

    # ---- keys

    async def _divergent(self, suspects: Sequence[bytes]) -> dict[bytes, tuple[str, ...]]:
        """Keys that differ for good, with the addresses of their stale replicas."""
        divergent: dict[bytes, tuple[str, ...]] = {}
        before: dict[bytes, dict[str, KeyState]] = {}
        for look in range(LOOKS_MAX):
            if look:
                await asyncio.sleep(SETTLE_S)
            now = await self._states(suspects)
            open_keys = []
            for key in suspects:
                stale = judge(now[key])
                if stale and (now[key] == before.get(key) or look == LOOKS_MAX - 1):
                    divergent[key] = stale
                elif stale:
                    open_keys.append(key)
            before, suspects = now, open_keys
            if not suspects:
                break
        return divergent

    async def _states(self, keys: Sequence[bytes]) -> dict[bytes, dict[str, KeyState]]:
        """Of every key at each of its replicas that can be asked, in the order of the judgement."""
        found: dict[bytes, dict[str, KeyState]] = {key: {} for key in keys}
        for replica in self._replicas:
            if replica is not self._local and replica.address not in self._peers:
                continue
            held = [key for key in keys if replica is self._local or self._token_of(key) in replica.ranges]
            for part in _parts(held, SUSPECTS_PER_CALL):
                for key, state in (await self._states_at(replica, part)).items():
                    found[key][replica.address] = state
        return found

    async def _states_at(self, replica: Peer, keys: Sequence[bytes]) -> dict[bytes, KeyState]:
        if replica is self._local:
            return await self._trees.states(keys)
        rows = await self._leave_out_if_failed(
            replica.address, self._call(replica.address, "key_states", list(keys))
        )
        return {key: KeyState(*row) for key, row in zip(keys, rows, strict=True)} if rows is not None else {}

    async def _mend_all(self, divergent: Mapping[bytes, tuple[str, ...]]) -> None:
        """Key copies at the stale replicas, one group for each; then one more look."""
        assert self._mend is not None
        groups: dict[tuple[str, tuple[str, ...]], list[bytes]] = {}
        for key, worse in divergent.items():
            token = self._token_of(key)
            fresh = tuple(
                replica.address
                for replica in self._replicas
                if replica.address not in worse and (replica is self._local or token in replica.ranges)
            )
            for address in worse:
                groups.setdefault((address, fresh), []).append(key)
        for (address, fresh), keys in groups.items():
            stale = OWN if address == self._local.address else address
            for part in _parts(keys, SUSPECTS_PER_CALL):
                await self._leave_out_if_failed(address, self._mend(stale, part, fresh), forever=False)
        now = await self._states(list(divergent))
        self.found.keys_mended += sum(not judge(states) for states in now.values())

    # ---- asking

    async def _call(self, address: str, verb: str, *args: Any) -> Any:
        answer = await self._calls.call(address, verb, *args, timeout_ms=HOUR_MS)
        self.found.call_bytes += len(msgpack.packb((verb, args))) + len(msgpack.packb(answer))
        return answer

    async def _leave_out_if_failed(self, address: str, asked: Awaitable[Any], *, forever: bool = True) -> Any:
        """None for a peer that fails; it is asked no more, but for a copy, which may fail by itself."""
        try:
            return await asked
        except DynomiteError as problem:
            self.found.left_out[address] = str(problem)
            log.warning("comparison with %s: %s", address, problem)
            if forever:
                self._peers.pop(address, None)
            return None


def _parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
