"""Comparison of replicas against a model that looks at every key."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dynomite_mp.cluster.continuum import Continuum
from dynomite_mp.cluster.repair import (
    ABSENT,
    LEVELS,
    SETTLED_STAMPS,
    TTL_TOLERANCE_MS,
    Descent,
    HashTree,
    KeyState,
    TokenRanges,
    differing_keys,
    judge,
    judgement,
    leaf_of,
    value_digest,
)
from dynomite_mp.cluster.token import hash_key
from tests.models import continuum_model

TOKENS = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**31, 2**32 - 2, 2**32 - 1])
STATES = st.builds(KeyState, st.integers(1, 3), st.sampled_from([-1, 5000, 5400, 90_000]), st.integers(0, 2))
MAYBE = st.just(KeyState()) | st.builds(KeyState, st.just(ABSENT), st.just(-1), st.integers(0, 2)) | STATES
CONTENTS = st.dictionaries(st.binary(min_size=1, max_size=4), STATES, max_size=30)
PARTS = st.lists(st.binary(max_size=3), max_size=6)


def tree_of(contents: dict[bytes, KeyState], backwards: bool = False) -> HashTree:
    tree = HashTree()
    for key in sorted(contents, reverse=backwards):
        tree.add(token(key), key, contents[key])
    return tree


def token(key: bytes) -> int:
    return hash_key("murmur", key)


def differing_leaves(ours: HashTree, theirs: HashTree) -> list[int]:
    descent = Descent(ours, theirs.root)
    while not descent.is_done:
        descent.take(theirs.children(descent.level, descent.places))
    return descent.leaves


@given(CONTENTS, CONTENTS)
def test_a_descent_finds_every_differing_leaf_and_no_other(
    ours: dict[bytes, KeyState], theirs: dict[bytes, KeyState]
) -> None:
    """Expiries are rounded in the tree, so a key may be in a differing leaf without differing; never the reverse."""
    left, right = tree_of(ours), tree_of(theirs, backwards=True)
    found = differing_leaves(left, right)
    assert found == [n for n in range(len(left.level(LEVELS))) if left.level(LEVELS)[n] != right.level(LEVELS)[n]]
    rounded = {
        leaf_of(token(key))
        for key in ours.keys() | theirs.keys()
        if exactly(ours.get(key)) != exactly(theirs.get(key))
    }
    assert set(found) <= rounded


def exactly(state: KeyState | None) -> tuple[int, int]:
    return (ABSENT, -1) if state is None else (state.digest, state.expires_ms)


@given(CONTENTS, st.dictionaries(st.binary(min_size=1, max_size=4), st.none() | st.integers(4, 9), max_size=8))
def test_damaged_keys_lie_in_the_leaves_found(contents: dict[bytes, KeyState], damage: dict[bytes, int | None]) -> None:
    """Deleted, changed, or extra: with the expiries as they were, exactly these keys are named."""
    damaged = dict(contents)
    for key, digest in damage.items():
        damaged.pop(key, None)
        if digest is not None:
            damaged[key] = KeyState(digest, contents.get(key, KeyState()).expires_ms)
    changed = {key for key in damage if exactly(contents.get(key)) != exactly(damaged.get(key))}
    leaves = differing_leaves(tree_of(contents), tree_of(damaged))
    assert {leaf_of(token(key)) for key in changed} == set(leaves)
    ours = {key: state for key, state in contents.items() if leaf_of(token(key)) in leaves}
    theirs = {key: state for key, state in damaged.items() if leaf_of(token(key)) in leaves}
    assert differing_keys(ours, theirs) == sorted(changed)


@given(st.lists(MAYBE, min_size=2, max_size=5))
def test_the_newest_stamp_wins_then_the_majority_then_what_exists(states: list[KeyState]) -> None:
    replicas = {f"rack{place}": state for place, state in enumerate(states)}
    stale = judge(replicas)
    held = [state for name, state in replicas.items() if name not in stale]
    assert held, "the winner is never stale"
    newest = max(state.stamp for state in states)
    winners = [state for state in held if state.stamp == newest]
    assert winners
    if len({state.expires_ms for state in states}) == 1:  # then what is equal is a partition
        votes = Counter(state.digest for state in states if state.stamp == newest)
        digest = winners[0].digest
        assert votes[digest] == max(votes.values())
        rivals = [other for other, count in votes.items() if count == votes[digest]]
        assert digest != ABSENT or rivals == [ABSENT]
        assert {state.digest for state in held} == {digest}


@given(st.lists(MAYBE, min_size=2, max_size=5), st.sets(st.integers(0, 4)))
def test_where_a_stamp_is_known_it_does_not_count_who_lacks_writes(states: list[KeyState], places: set[int]) -> None:
    replicas = {f"rack{place}": state for place, state in enumerate(states)}
    lacking = {f"rack{place}" for place in places}
    if any(state.stamp for state in states):
        assert judge(replicas, lacking) == judge(replicas)


@given(st.lists(MAYBE, min_size=2, max_size=5), st.sets(st.integers(0, 4)))
def test_without_stamps_who_lacks_writes_has_no_vote(states: list[KeyState], places: set[int]) -> None:
    replicas = {f"rack{place}": replace(state, stamp=0) for place, state in enumerate(states)}
    lacking = {name for place in places if (name := f"rack{place}") in replicas}
    stale = judge(replicas, lacking)
    others = {name: state for name, state in replicas.items() if name not in lacking}
    if others:
        assert [name for name in stale if name in others] == list(judge(others))
    else:
        assert all(replicas[name].digest == ABSENT for name in replicas if name not in stale) is all(
            state.digest == ABSENT for state in replicas.values()
        )


def test_what_only_one_has_without_a_stamp_is_kept_or_deleted_by_who_lacks_writes() -> None:
    """A node that was cut off took a write and was started anew; or it missed a DEL."""
    replicas = {"r1": KeyState(), "r2": KeyState(), "r3": KeyState(7)}
    assert judge(replicas, {"r1", "r2"}) == ("r1", "r2")
    assert judge(replicas, {"r3"}) == ("r3",)
    assert judge(replicas, {"r1", "r2", "r3"}) == ("r1", "r2")
    assert judge(replicas | {"r2": KeyState(stamp=5)}, {"r1", "r2", "r3"}) == ("r3",)
    assert judge(replicas | {"r3": KeyState(7, stamp=5)}) == ("r1", "r2")


def known(digest: int, over: int, *writes: int, horizon: int = 0, stamp: int | None = None) -> KeyState:
    """Of a replica that remembers these writes, whose ids are their stamps."""
    newest = max((over, *writes)) if stamp is None else stamp
    return KeyState(digest, -1, newest, over, {one: one for one in writes}, horizon)


def test_who_lacks_the_fewest_writes_wins_whatever_came_later_and_how_many_agree() -> None:
    """An increment that reached one datacenter only, and others behind it that reached both."""
    whole, partial = known(7, 0, 2, 5), known(6, 0, 5)
    replicas = {"r1": partial, "r2": partial, "r3": partial, "r4": whole, "r5": whole}
    assert judge(replicas) == judge(replicas, {"r4", "r5"}) == ("r1", "r2", "r3")
    later = known(6, 0, 5, 9)
    assert judge(replicas | {"r1": later, "r4": known(8, 0, 2, 5, 9)}) == ("r1", "r2", "r3", "r5")
    assert judge({"r1": known(1, 4, 4, 5), "r2": known(2, 0, 1, 2, 3, 5)}) == ("r2",), "an overwrite has wiped those"
    assert judge({"r1": known(1, 0, 1, 2, 9), "r2": known(2, 4, 4)}) == ("r1",), "and is worth more than they are"


def test_what_not_everybody_can_remember_does_not_count() -> None:
    long_ago = known(1, 0, 1, 2, 5, 6)
    assert judge({"r1": long_ago, "r2": known(2, 0, 3, 5, 6), "r3": known(2, 0, 3, 5, 6)}) == ("r2", "r3")
    starts_later = known(2, 0, 5, 6, horizon=4)
    assert judge({"r1": long_ago, "r2": starts_later, "r3": starts_later}) == ("r1",), "most of them agree"
    assert judge({"r1": long_ago, "r2": starts_later, "r3": known(2, 0, 5, 6)}) == ("r2", "r3"), "what one lacks"
    nothing_told = KeyState(3, stamp=7)
    assert judge({"r1": long_ago, "r2": nothing_told, "r3": known(2, 0, 5)}) == ("r1", "r3"), "an older node"


def test_a_datastore_that_has_lost_the_key_proves_nothing_by_what_it_remembers() -> None:
    lost_it = known(ABSENT, 0, 2, 5)
    assert judge({"r1": lost_it, "r2": known(6, 0, 5), "r3": lost_it}) == ("r1", "r3")
    assert judge({"r1": known(ABSENT, 5, 5), "r2": known(6, 0, 4)}) == ("r2",), "a DEL"


def test_of_a_restless_key_those_writes_count_that_had_time_to_arrive() -> None:
    now = 10 * SETTLED_STAMPS
    ahead = known(9, 0, 5, now)
    behind = known(7, 0, 4, 5, now - SETTLED_STAMPS // 2)
    lacks_one = judgement({"r1": ahead, "r2": behind}, is_restless=True)
    assert (lacks_one.stale, lacks_one.gives_up) == (("r1",), frozenset()), "which lacks 4 for good"
    assert not judgement({"r1": known(9, 0, 4, 5, now), "r2": behind}, is_restless=True).stale
    set_on_its_way = known(1, now, now)
    assert not judgement({"r1": set_on_its_way, "r2": known(2, 0, 4, 5, now)}, is_restless=True).stale


def test_what_a_stale_replica_alone_has_is_given_up() -> None:
    sides = {"r1": known(1, 0, 1, 3), "r2": known(2, 0, 2, 3), "r3": known(3, 0, 1, 2, 5)}
    found = judgement(sides)
    assert (found.stale, found.gives_up) == (("r1", "r2"), {"r1", "r2"}), "which had 3"
    assert not judgement(sides | {"r3": known(3, 0, 1, 2, 3, 5)}).gives_up
    assert judgement({"r1": KeyState(1, stamp=1), "r2": KeyState(2, stamp=2)}).gives_up == {"r1"}, "nobody knows"


@given(st.lists(st.frozensets(st.integers(1, 6)), min_size=2, max_size=6))
def test_who_has_every_write_is_never_stale_and_the_others_are(held: list[frozenset[int]]) -> None:
    """A value is told by the writes in it."""
    replicas = {f"rack{place}": known(1 + hash(writes) % 2**60, 0, *writes) for place, writes in enumerate(held)}
    everything = frozenset().union(*held)
    stale = judge(replicas)
    if everything and everything in held:
        assert stale == tuple(name for name, writes in zip(replicas, held, strict=True) if writes != everything)
    winner = next(writes for name, writes in zip(replicas, held, strict=True) if name not in stale)
    assert len(winner) == max(map(len, held))


@given(st.lists(MAYBE, min_size=1, max_size=5))
def test_a_mended_key_is_judged_equal_everywhere(states: list[KeyState]) -> None:
    replicas = {f"rack{place}": state for place, state in enumerate(states)}
    stale = judge(replicas)
    newest = max(state.stamp for name, state in replicas.items() if name not in stale)
    winner = next(state for name, state in replicas.items() if name not in stale and state.stamp == newest)
    mended = {name: winner if name in stale else state for name, state in replicas.items()}
    assert set(judge(mended)) <= {name for name in mended if name not in stale}  # a copy itself is never stale
    assert all(abs(state.expires_ms - winner.expires_ms) <= 2 * TTL_TOLERANCE_MS for state in mended.values())


@given(st.data())
def test_shared_ranges_hold_what_both_nodes_own(data: st.DataObject) -> None:
    tokens = st.lists(TOKENS, min_size=1, max_size=6, unique=True)
    racks = [[[token] for token in data.draw(tokens)] for _ in range(2)]
    places = [data.draw(st.integers(0, len(rack) - 1)) for rack in racks]
    circles = [Continuum(rack) for rack in racks]
    shared = TokenRanges.owned(circles[0], places[0]) & TokenRanges.owned(circles[1], places[1])
    edges = [edge for rack in racks for (edge,) in rack]
    for edge in edges:
        for place in (edge - 1, edge, edge + 1):
            asked = place % 2**32
            owners = [continuum_model.owner(rack, asked) for rack in racks]
            assert (asked in shared) == (owners == places)
    assert TokenRanges.plain([list(pair) for pair in shared.pairs]) == shared


@given(PARTS, PARTS)
def test_lists_have_one_digest_exactly_when_they_are_equal(left: list[bytes], right: list[bytes]) -> None:
    assert (value_digest(b"list", left) == value_digest(b"list", right)) == (left == right)


@given(st.dictionaries(st.binary(max_size=3), st.binary(max_size=3), max_size=6), st.randoms())
def test_the_order_of_sets_and_hashes_does_not_count(fields: dict[bytes, bytes], rng: object) -> None:
    pairs = list(fields.items())
    rng.shuffle(pairs)  # type: ignore[attr-defined]
    shuffled = [part for pair in pairs for part in pair]
    plain = [part for pair in fields.items() for part in pair]
    assert value_digest(b"hash", shuffled) == value_digest(b"hash", plain)
    assert value_digest(b"set", [key for key, _ in pairs]) == value_digest(b"set", list(fields))
    if fields:
        assert value_digest(b"hash", [*plain[:-1], b"other"]) != value_digest(b"hash", plain)


def test_values_are_told_apart_by_type_and_by_what_clients_see_of_them() -> None:
    assert len({value_digest(kind, []) for kind in (b"list", b"set", b"hash", b"zset", b"stream")}) == 5
    assert value_digest(b"zset", [b"a", b"1", b"b", b"-0"]) == value_digest(b"zset", [b"b", b"0", b"a", b"1.0"])
    assert value_digest(b"zset", [b"a", b"1"]) != value_digest(b"zset", [b"a", b"2"])
    assert value_digest(b"stream", [[b"1-0", [b"f", b"v"]]]) != value_digest(b"stream", [[b"1-1", [b"f", b"v"]]])
    counted, uncounted = (b"HYLL\1\0\0\0" + count + b"registers" for count in (b"\5" + bytes(7), bytes(7) + b"\x80"))
    assert value_digest(b"string", counted) == value_digest(b"string", uncounted)
    assert value_digest(b"string", counted) != value_digest(b"string", counted + b"x")
    assert value_digest(b"module-type", b"dump" + bytes(10)) == value_digest(b"module-type", b"dump" + b"1" * 10)
