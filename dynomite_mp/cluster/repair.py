"""How replicas are compared and which of them is stale: digests of values, a hash tree over tokens, a judgement a key.

    key, value --value_digest--> 64 bits --HashTree.add--> leaf of its token, summed up to one root
    two trees --Descent--> the leaves that differ --> the keys of these leaves --judge--> the stale replicas

What it is not: it reads no datastore and asks no node (workers/comparison.py), and it mends nothing (key copies).

A digest is canonical: it is made of what a client sees, not of how a datastore keeps it. The order of sets and hashes
does not count, nor the count that a HyperLogLog keeps of itself. When a key expires is no part of it: expiries are
compared with a tolerance, and go into the tree rounded, so that two replicas which differ by less may share a leaf that
differs, but the keys in it are then found equal.

Invariants: equal contents have equal trees, whatever the order in which they were added; a tree of other contents has a
different leaf for each differing key, but for one chance in 2^64; of a key that stood still, a replica that holds what
the winner holds is never stale.
"""

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dynomite_mp.cluster.continuum import Continuum

ABSENT: Final = 0
"""The digest of a key that does not exist; no value has it."""
NEVER_MS: Final = -1
TTL_TOLERANCE_MS: Final = 1500
FANOUT_BITS: Final = 4
FANOUT: Final = 1 << FANOUT_BITS
LEVELS: Final = 4
"""Levels below the root: 16, 256, 4,096 and 65,536 nodes."""
LEAVES: Final = FANOUT**LEVELS
WRITES_MOST: Final = 1024
"""Writes of a key that a replica tells of."""
SETTLED_STAMPS: Final = 1000 << 16
"""Of a key that is written all the time, writes so much older than its newest have arrived at every replica: 1 s."""
_TOKEN_BITS: Final = 32
_LEAF_SHIFT: Final = _TOKEN_BITS - LEVELS * FANOUT_BITS
_MASK: Final = 2**64 - 1
_HLL_HEAD: Final = b"HYLL"
_HLL_COUNT: Final = slice(8, 16)
_DUMP_TAIL_BYTES: Final = 10  # the version of the format and a checksum


# ---- digests of values -----------------------------------------------------------------------------------------------


def value_digest(kind: bytes, value: Any) -> int:
    """Of a value as its datastore shows it: `kind` is what TYPE says, `value` what reading it whole gave.

    string: bytes. list, set: elements. hash: field, value, field, ... zset: member, score, ... stream: [id, fields].
    Of any other kind: what DUMP gave.
    """
    if kind == b"string":
        return _digest(kind, (_without_count(value),))
    if kind == b"set":
        return _digest(kind, sorted(value))
    if kind == b"hash":
        pairs = sorted(zip(value[::2], value[1::2], strict=True))
        return _digest(kind, (part for pair in pairs for part in pair))
    if kind == b"zset":
        scored = sorted(zip(value[::2], value[1::2], strict=True))
        return _digest(kind, (part for member, score in scored for part in (member, _score(score))))
    if kind == b"stream":
        return _digest(kind, (part for entry_id, fields in value for part in (entry_id, b"%d" % len(fields), *fields)))
    if kind == b"list":
        return _digest(kind, value)
    return _digest(kind, (value[:-_DUMP_TAIL_BYTES],))


def _digest(kind: bytes, parts: Iterable[bytes]) -> int:
    """Each part with its length, so that no two values give the same bytes. Never ABSENT."""
    state = hashlib.blake2b(kind, digest_size=8)
    for part in parts:
        state.update(b"%d:" % len(part))
        state.update(part)
    return int.from_bytes(state.digest(), "little") or 1


def _without_count(value: bytes) -> bytes:
    """A HyperLogLog keeps its last count in itself, where it was asked for it."""
    if not value.startswith(_HLL_HEAD) or len(value) <= _HLL_COUNT.stop:
        return value
    return value[: _HLL_COUNT.start] + value[_HLL_COUNT.stop :]


def _score(text: bytes) -> bytes:
    """Datastores print a number in more than one way; 0.0 is added because -0 equals 0."""
    return repr(float(text) + 0.0).encode()


# ---- token ranges ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenRanges:
    """A set of tokens: pairs (first, last), both included, sorted, not overlapping, never wrapping around zero."""

    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def owned(cls, circle: Continuum, place: int) -> "TokenRanges":
        """What a rack's node owns."""
        pairs: list[tuple[int, int]] = []
        for after, upto in circle.ranges_of(place):
            if after < upto:
                pairs.append((after + 1, upto))
            else:
                pairs.append((0, upto))
                if after < 2**_TOKEN_BITS - 1:
                    pairs.append((after + 1, 2**_TOKEN_BITS - 1))
        return cls(tuple(sorted(pairs)))

    @classmethod
    def plain(cls, pairs: Iterable[Sequence[int]]) -> "TokenRanges":
        """The inverse of `pairs` as lists in a message."""
        return cls(tuple(sorted((int(first), int(last)) for first, last in pairs)))

    def __and__(self, other: "TokenRanges") -> "TokenRanges":
        found = [
            (max(first, low), min(last, high))
            for first, last in self.pairs
            for low, high in other.pairs
            if max(first, low) <= min(last, high)
        ]
        return TokenRanges(tuple(sorted(found)))

    def __contains__(self, token: int) -> bool:
        at = bisect_right(self.pairs, (token, 2**_TOKEN_BITS)) - 1
        return at >= 0 and token <= self.pairs[at][1]

    def __bool__(self) -> bool:
        return bool(self.pairs)


# ---- the tree --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyState:
    """What one replica has of a key."""

    digest: int = ABSENT
    expires_ms: int = NEVER_MS
    stamp: int = 0
    """Of its last write, 0 where that is not known any more."""
    overwritten: int = 0
    """Stamp of its last overwrite, 0 where that is not known."""
    writes: Mapping[Any, int] | None = None
    """Ids and stamps of the writes since then that are remembered, 0 where only the id is; None of a node that does not
    tell."""
    horizon: int = 0
    """Up to this stamp there may have been more of them than it tells."""

    def equals(self, other: "KeyState") -> bool:
        """Whether a client sees the same, now and as time goes on."""
        if self.digest != other.digest:
            return False
        if self.expires_ms < 0 or other.expires_ms < 0:
            return (self.expires_ms < 0) == (other.expires_ms < 0)
        return abs(self.expires_ms - other.expires_ms) <= TTL_TOLERANCE_MS


class HashTree:
    """Sums of key digests by token: a leaf for each of 65,536 equal parts of the circle, 16 children a node above."""

    def __init__(self) -> None:
        self._leaves = [0] * LEAVES
        self._levels: list[list[int]] = []
        self.keys = 0

    def add(self, token: int, key: bytes, state: KeyState) -> None:
        expiry = state.expires_ms // TTL_TOLERANCE_MS if state.expires_ms >= 0 else NEVER_MS
        packed = struct.pack("<Qq", state.digest, expiry)
        entry = hashlib.blake2b(key, digest_size=8, key=packed).digest()
        at = leaf_of(token)
        self._leaves[at] = (self._leaves[at] + int.from_bytes(entry, "little")) & _MASK
        self._levels.clear()
        self.keys += 1

    def level(self, number: int) -> list[int]:
        """The nodes of a level: 0 is the root alone, LEVELS the leaves."""
        if not self._levels:
            self._levels = [self._leaves]
            while len(self._levels[0]) > 1:
                self._levels.insert(0, list(_parents(self._levels[0])))
        return self._levels[number]

    @property
    def root(self) -> int:
        return self.level(0)[0]

    def children(self, level: int, places: Sequence[int]) -> list[int]:
        """The nodes below those of a level, in their order; of [root] with LEVELS == 0 nothing."""
        below = self.level(level + 1)
        return [node for place in places for node in below[place * FANOUT : (place + 1) * FANOUT]]


def leaf_of(token: int) -> int:
    return token >> _LEAF_SHIFT


def _parents(nodes: Sequence[int]) -> Iterator[int]:
    for start in range(0, len(nodes), FANOUT):
        packed = struct.pack(f"<{FANOUT}Q", *nodes[start : start + FANOUT])
        yield int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little")


class Descent:
    """The way from the root of our tree to the leaves that differ from those of another, level by level.

    while not descent.is_done:
        descent.take(other.children(descent.level, descent.places))
    """

    def __init__(self, tree: HashTree, other_root: int) -> None:
        self._tree = tree
        self.level = 0
        self.places: list[int] = [] if tree.root == other_root else [0]

    @property
    def is_done(self) -> bool:
        return not self.places or self.level == LEVELS

    @property
    def leaves(self) -> list[int]:
        """The differing leaves, once it is done."""
        return self.places if self.level == LEVELS else []

    def take(self, theirs: Sequence[int]) -> None:
        """The other tree's children of `places`."""
        ours = self._tree.children(self.level, self.places)
        if len(theirs) != len(ours):
            raise ValueError(f"{len(theirs)} nodes of a tree where {len(ours)} were asked for")
        numbers = [place * FANOUT + child for place in self.places for child in range(FANOUT)]
        self.places = [number for number, own, other in zip(numbers, ours, theirs, strict=True) if own != other]
        self.level += 1


# ---- the judgement ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of the replicas of a key."""

    stale: tuple[str, ...] = ()
    gives_up: frozenset[str] = frozenset()
    """Of the stale ones those with writes that the others lack: these will be lost."""
    is_restless: bool = False


def judge(replicas: Mapping[str, KeyState], lacking: Container[str] = ()) -> tuple[str, ...]:
    """The stale replicas of a key that stood still, none when all are equal. Replicas are named, in the order of their
    racks.

    Where the writes since the last overwrite are remembered, the replica with the newest overwrite wins, of several the
    one that lacks the fewest writes of the others. Then, or where they are not remembered, the newest stamp wins. Where
    that leaves several, or none has a stamp, most of them win; then one that has the key before one that has not, as
    nothing here may lose data; then the first.

    Where no stamp is left, those that are known to lack writes (`lacking`) have no vote. If that is said of all, each
    may have what the others lack: one that has the key comes first, and then most of them.
    """
    if not replicas:
        return ()
    newest = max(state.stamp for state in replicas.values())
    ranks = _ranks(replicas)
    best = max(ranks.values())
    candidates = {name: state for name, state in replicas.items() if ranks[name] == best}
    voters = [state for name, state in candidates.items() if newest or name not in lacking]
    if voters:
        winner = max(voters, key=lambda state: (_agreeing(state, voters), state.digest != ABSENT))
    else:
        voters = list(candidates.values())
        winner = max(voters, key=lambda state: (state.digest != ABSENT, _agreeing(state, voters)))
    return tuple(name for name, state in replicas.items() if not state.equals(winner))


def judge_restless(replicas: Mapping[str, KeyState]) -> tuple[str, ...] | None:
    """The same of a key that is written all the time, by the writes that had time to arrive: values read one after the
    other differ in any case. None where they are not remembered."""
    if not _is_told(replicas):
        return None
    union = _union(replicas, max(state.stamp for state in replicas.values()) - SETTLED_STAMPS)
    missing = {name: _missing(state, union) for name, state in replicas.items()}
    fewest = min(missing.values())
    best = max((name for name in replicas if missing[name] == fewest), key=lambda name: replicas[name].overwritten)
    return tuple(name for name in replicas if missing[name] > 0 and name != best)


def judgement(
    replicas: Mapping[str, KeyState], lacking: Container[str] = (), *, is_restless: bool = False
) -> Judgement:
    """Which replicas are to copy the key from the others."""
    stale = judge_restless(replicas) if is_restless else None
    if stale is None:
        stale = judge(replicas, lacking)
    newest = max((state.stamp for state in replicas.values()), default=0)
    union = _union(replicas, newest - SETTLED_STAMPS if is_restless else newest)
    fresh = [state for name, state in replicas.items() if name not in stale]
    lost = {write for state in fresh for write, stamp in union.items() if _lacks(state, write, stamp)}
    return Judgement(
        stale,
        frozenset(name for name in stale if not _is_told(replicas) or lost & (replicas[name].writes or {}).keys()),
        is_restless,
    )


def _is_told(replicas: Mapping[str, KeyState]) -> bool:
    """Whether those that remember the key tell its writes."""
    return any(state.stamp for state in replicas.values()) and not any(
        state.stamp and state.writes is None for state in replicas.values()
    )


def _union(replicas: Mapping[str, KeyState], settled: int) -> dict[Any, int]:
    """The writes that somebody is known to have and somebody to lack, those with newer stamps not among them."""
    found = {write: stamp for state in replicas.values() for write, stamp in (state.writes or {}).items()}
    return {
        write: stamp
        for write, stamp in found.items()
        if 0 < stamp <= settled and any(_lacks(state, write, stamp) for state in replicas.values())
    }


def _ranks(replicas: Mapping[str, KeyState]) -> dict[str, tuple[int, int, int, int]]:
    """What is known of each to speak for it."""
    if not _is_told(replicas):
        return {name: (0, 0, 0, state.stamp) for name, state in replicas.items()}
    union = _union(replicas, max(state.stamp for state in replicas.values()))
    return {
        name: (state.overwritten, -_missing(state, union), len(union.keys() & (state.writes or {}).keys()), state.stamp)
        for name, state in replicas.items()
    }


def _missing(state: KeyState, union: Mapping[Any, int]) -> int:
    """How many of these writes a replica does not have."""
    return sum(_lacks(state, write, stamp) for write, stamp in union.items())


def _lacks(state: KeyState, write: Any, stamp: int) -> bool:
    """Whether it is known that a replica does not have a write. One without the key proves nothing by the writes that
    it remembers, but for an overwrite: its datastore may have lost them."""
    if stamp <= state.overwritten:
        return False
    return state.digest == ABSENT or (stamp > state.horizon and write not in (state.writes or {}))


def _agreeing(state: KeyState, others: Iterable[KeyState]) -> int:
    return sum(state.equals(other) for other in others)


def differing_keys(ours: Mapping[bytes, KeyState], theirs: Mapping[bytes, KeyState]) -> list[bytes]:
    """Keys of which two replicas show a client something different; a key that one lacks is absent there."""
    absent = KeyState()
    return sorted(
        key for key in ours.keys() | theirs.keys() if not ours.get(key, absent).equals(theirs.get(key, absent))
    )
