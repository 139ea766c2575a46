"""Single keys that may differ between replicas: what each has of them now, who is stale, and the mending.

    suspects --`key_states` at every replica, twice--> divergent keys and their stale replicas (cluster.repair.judge)
             --`copy` at the stale replicas, then `key_states`--> mended

What it is not: it does not find the suspects: a comparison of trees does, or a read whose replicas answered
differently. It copies no value itself: a stale replica fetches the key from the others, with all the care that a key
under writes needs (key copies).

Invariants: a key is only called divergent if two looks, some time apart, saw the same difference, or it never stood
still; a peer that cannot be asked is left out, named in `left_out`, and the others go on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgpack  # type: ignore[import-untyped]

from dynomite_mp.cluster.repair import Judgement, KeyState, TokenRanges, judgement
from dynomite_mp.errors import DynomiteError
from dynomite_mp.workers.key_trees import KeyTrees, state_of_row

log = logging.getLogger("dynomite_mp.replication")

OWN: Final = ""
"""What `mend` gets for this node, which is not asked over the network."""
HOUR_MS: Final = 3_600_000
LOOKS_MAX: Final = 4
KEYS_PER_CALL: Final = 200

Mend = Callable[[str, Sequence[bytes], Sequence[str], bool], Awaitable[None]]
"""mend(address, keys, sources, loses_nothing): copy these keys to a replica, from others; `loses_nothing`: not from one
that lacks a recent write which the replica has."""


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


class KeyMending:
    """Of one comparison, or of one bundle of reads. The replicas of a key are those whose ranges have its token;
    `lacking` are those that are known to lack writes."""

    def __init__(
        self,
        local: Peer,
        peers: Sequence[Peer],
        trees: KeyTrees,
        calls: Asker,
        token_of: Callable[[bytes], int],
        mend: Mend | None,
        *,
        settle_s: float,
        lacking: Collection[str] = (),
    ) -> None:
        self.peers = {peer.address: peer for peer in peers}
        self._local = local
        self._replicas = sorted([local, *peers], key=lambda peer: peer.place)
        self._trees = trees
        self._calls = calls
        self._token_of = token_of
        self._mend = mend
        self._settle_s = settle_s
        self.lacking = set(lacking)
        self.found = Found()

    async def run(self, suspects: Sequence[bytes]) -> None:
        """Looks, and mends what is divergent; `found` has the outcome."""
        divergent = await self._divergent(suspects)
        self.found.keys_suspected += len(suspects)
        self.found.keys_differing += len(divergent)
        if self._mend is not None and divergent:
            await self._mend_all(divergent)

    async def _divergent(self, suspects: Sequence[bytes]) -> dict[bytes, Judgement]:
        """Keys that differ for good, and which of their replicas are stale."""
        divergent: dict[bytes, Judgement] = {}
        before: dict[bytes, dict[str, KeyState]] = {}
        for look in range(LOOKS_MAX):
            if look:
                await asyncio.sleep(self._settle_s)
            now = await self._states(suspects)
            open_keys = []
            for key in suspects:
                is_last = look == LOOKS_MAX - 1
                is_still = now[key] == before.get(key)
                found = judgement(now[key], self.lacking, is_restless=is_last and not is_still)
                if found.stale and (is_still or is_last):
                    divergent[key] = found
                elif found.stale:
                    open_keys.append(key)
            before, suspects = now, open_keys
            if not suspects:
                break
        return divergent

    async def _states(self, keys: Sequence[bytes]) -> dict[bytes, dict[str, KeyState]]:
        """Of every key at each of its replicas that can be asked, in the order of the judgement."""
        found: dict[bytes, dict[str, KeyState]] = {key: {} for key in keys}
        for replica in self._replicas:
            if replica is not self._local and replica.address not in self.peers:
                continue
            held = [key for key in keys if self._token_of(key) in replica.ranges]
            for part in parts(held, KEYS_PER_CALL):
                for key, state in (await self._states_at(replica, part)).items():
                    found[key][replica.address] = state
        return found

    async def _states_at(self, replica: Peer, keys: Sequence[bytes]) -> dict[bytes, KeyState]:
        if replica is self._local:
            return await self._trees.states(keys)
        rows = await self.attempt(replica.address, self.call(replica.address, "key_states", list(keys)))
        return {key: state_of_row(row) for key, row in zip(keys, rows, strict=True)} if rows is not None else {}

    async def _mend_all(self, divergent: Mapping[bytes, Judgement]) -> None:
        """Key copies at the stale replicas, one group for each; then one more look."""
        assert self._mend is not None
        groups: dict[tuple[str, tuple[str, ...], bool], list[bytes]] = {}
        for key, found in divergent.items():
            token = self._token_of(key)
            fresh = tuple(
                replica.address
                for replica in self._replicas
                if replica.address not in found.stale and token in replica.ranges
            )
            for address in found.stale:
                groups.setdefault((address, fresh, address not in found.gives_up), []).append(key)
        await asyncio.gather(*(self._mend_at(*group, keys) for group, keys in groups.items()))
        for key, states in (await self._states(list(divergent))).items():
            left = judgement(states, self.lacking, is_restless=divergent[key].is_restless)
            self.found.keys_mended += not left.stale

    async def _mend_at(
        self, address: str, fresh: Sequence[str], loses_nothing: bool, keys: Sequence[bytes]
    ) -> None:
        assert self._mend is not None
        stale = OWN if address == self._local.address else address
        for part in parts(keys, KEYS_PER_CALL):
            await self.attempt(address, self._mend(stale, part, fresh, loses_nothing), forever=False)

    # ---- asking

    async def call(self, address: str, verb: str, *args: Any) -> Any:
        answer = await self._calls.call(address, verb, *args, timeout_ms=HOUR_MS)
        self.found.call_bytes += len(msgpack.packb((verb, args))) + len(msgpack.packb(answer))
        return answer

    async def attempt(self, address: str, asked: Awaitable[Any], *, forever: bool = True) -> Any:
        """None for a peer that fails; it is asked no more, but for a copy, which may fail by itself."""
        try:
            return await asked
        except DynomiteError as problem:
            self.found.left_out[address] = str(problem)
            log.warning("comparison with %s: %s", address, problem)
            if forever:
                self.peers.pop(address, None)
            return None


def parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
