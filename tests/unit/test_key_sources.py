"""Where keys are copied from, and whose copy is taken."""

from dynomite_mp.cluster.key_sources import DISORDERED, KEEP, LACKING, Known, Sources, all_disordered, choose, is_first
from dynomite_mp.cluster.topology import Node, Topology


def node(dc: str, rack: str, host: str, token: int = 0, *, is_local: bool = False) -> Node:
    return Node(dc, rack, host, 8101, (token,), is_local=is_local)


def sources(*nodes: Node) -> Sources:
    return Sources(Topology.build(nodes), hash_name="murmur", hash_tag=b"{}")


def test_owners_in_the_other_racks_by_name() -> None:
    found = sources(
        node("dc1", "r2", "me", is_local=True), node("dc1", "r3", "c"), node("dc1", "r1", "a"), node("dc2", "r1", "far")
    )
    assert found.of(b"k") == ["a:8101", "c:8101"]
    assert found.is_own(b"k")


def test_a_lone_rack_asks_another_datacenter() -> None:
    found = sources(node("dc1", "r1", "me", is_local=True), node("dc2", "r1", "far"), node("dc2", "r2", "farther"))
    assert found.of(b"k") == ["far:8101", "farther:8101"]


def test_each_key_at_its_owner_and_hash_tags_count() -> None:
    half = 2**31
    found = sources(
        node("dc", "r1", "me", is_local=True), node("dc", "r1", "mate", half),
        node("dc", "r2", "low"), node("dc", "r2", "high", half),
    )  # fmt: skip
    keys = [b"k%d" % i for i in range(100)]
    for key in keys:
        assert found.of(key) == (["low:8101"] if found.is_own(key) else ["high:8101"])
    assert 20 < sum(map(found.is_own, keys)) < 80
    assert {tuple(found.of(b"{tag}%d" % i)) for i in range(50)} == {tuple(found.of(b"{tag}"))}


def test_the_newest_stamp_then_order_then_place() -> None:
    old, new = Known(1), Known(2)
    assert choose(Known(), [("a", old), ("b", new)], is_last=False) == "b"
    assert choose(Known(), [("a", Known(2, flags=DISORDERED)), ("b", new)], is_last=False) == "b"
    assert choose(Known(), [("a", new), ("b", new)], is_last=False) == "a"
    assert choose(Known(), [], is_last=True) is None


def test_a_source_must_hold_what_this_node_has() -> None:
    mine = Known(5, ids=frozenset({1, 2}))
    assert choose(mine, [("a", Known(9, ids=frozenset({1})))], is_last=False) is None
    assert choose(mine, [("a", Known(9, ids=frozenset({1}))), ("b", Known(8, ids=frozenset({1, 2, 3})))],
                  is_last=False) == "b"  # fmt: skip
    assert choose(mine, [("a", Known(9, ids=frozenset({1})))], is_last=True) == "a"
    assert choose(mine, [("a", Known(4, ids=frozenset({1})))], is_last=True) == KEEP


def test_what_is_newer_here_stays_though_it_is_not_recent() -> None:
    """A write that came late has an old stamp: it is not among the recent ones that a source has to hold."""
    mine, older = Known(9), Known(4)
    assert choose(mine, [("a", older)], is_last=False) is None
    assert choose(mine, [("a", older)], is_last=True) == KEEP
    assert choose(mine, [("a", older), ("b", Known(9))], is_last=False) == "b"
    assert choose(mine, [("a", older)], is_last=False, is_lost=True) == "a"


def test_a_comparison_does_not_put_older_writes_in_the_place_of_newer_ones() -> None:
    """What was written here when the values were compared, or could not be told then, is known now."""
    mine = Known(8, 1)
    older = Known(7, 1)
    assert choose(mine, [("a", older)], is_last=False, is_judged=True) is None
    assert choose(mine, [("a", older)], is_last=True, is_judged=True) == KEEP
    assert choose(mine, [("a", Known())], is_last=True, is_judged=True) == KEEP
    assert choose(mine, [("a", Known(8, 0))], is_last=False, is_judged=True) == "a"  # decided by the values
    assert choose(mine, [("a", Known(8, 1, flags=LACKING))], is_last=False, is_judged=True) == "a"
    assert choose(Known(), [("a", Known())], is_last=False, is_judged=True) == "a"
    assert choose(mine, [("a", older)], is_last=False, is_lost=True, is_judged=True) == "a"


def test_what_an_overwrite_has_wiped_counts_as_held() -> None:
    mine = Known(5, ids=frozenset({1, 2}))
    assert choose(mine, [("a", Known(5, ids=frozenset({2}), other_ids=frozenset({1})))], is_last=False) == "a"
    mine = Known(5, ids=frozenset({2}), other_ids=frozenset({1}))
    assert choose(mine, [("a", Known(5, ids=frozenset({2})))], is_last=False) == "a"


def test_out_of_order_a_copy_that_is_out_of_order_too_is_waited_out() -> None:
    """Somebody has the order, and will have all of the writes."""
    ids = frozenset({1, 2})
    mine = Known(5, flags=DISORDERED, ids=ids)
    offers = [("b", Known(5, flags=DISORDERED, ids=ids)), ("c", Known(5, ids=frozenset({1})))]
    assert choose(mine, offers, is_last=False, earlier=[]) is None
    assert choose(mine, offers, is_last=True, earlier=[]) == "b"
    assert choose(mine, [offers[0], ("c", Known(5, ids=ids))], is_last=False, earlier=[]) == "c"


def test_what_is_no_answer_knows_nothing() -> None:
    assert Known.of_plain(None) == Known.of_plain([1]) == Known()
    known = Known.of_plain([3, 4, 1, [[1, 2], b"x"], [2, 4], [b"y"], [3, 2]])
    assert known.is_busy and Known.of_plain(known.plain()) == known


def test_when_nobody_has_the_writes_in_order_all_take_the_first_ones() -> None:
    """The first one, by datacenter and rack, keeps its own, if it lacks nothing."""
    ids = frozenset({1, 2})
    mine = Known(5, flags=DISORDERED, ids=ids)
    same = Known(5, flags=DISORDERED, ids=ids)
    assert choose(mine, [("b", same)], is_last=False, earlier=[]) == KEEP
    assert choose(mine, [("a", same)], is_last=False, earlier=["a"]) == "a"
    assert choose(mine, [("b", Known(5, ids=ids))], is_last=False, earlier=[]) == "b"
    assert choose(mine, [("b", Known(5, flags=DISORDERED, ids=ids | {3}))], is_last=False, earlier=[]) == "b"
    later = [("b", Known(6, flags=DISORDERED, ids=ids))]
    assert choose(mine, later, is_last=True, earlier=[]) == "b"
    assert choose(mine, later, is_last=False, earlier=[]) is None
    assert choose(mine, [("b", same), ("c", Known(4))], is_last=False, earlier=[]) is None
    assert choose(Known(), [("b", Known())], is_last=False, earlier=[]) == "b"


def test_other_datacenters_are_asked_when_nobody_here_has_the_order() -> None:
    disordered = Known(5, flags=DISORDERED)
    assert all_disordered(disordered, [("b", disordered), ("c", Known(4))])
    assert not all_disordered(disordered, [("b", Known(5))])
    assert not all_disordered(Known(), [("b", Known())])


def test_who_has_skipped_an_overwrite_is_no_source_of_it() -> None:
    """The id is among his, so that what the overwrite wipes is stale; its effect is not in his value."""
    ids = frozenset({1, 2})
    lacking = Known(5, flags=DISORDERED | LACKING, ids=ids)
    whole = Known(5, flags=DISORDERED, ids=ids)
    assert choose(lacking, [("a", lacking), ("c", whole)], is_last=False, earlier=["a"]) == "c"
    assert choose(whole, [("a", lacking)], is_last=False, earlier=["a"]) == KEEP
    assert choose(whole, [("a", lacking)], is_last=True, earlier=["a"]) == KEEP
    assert choose(whole, [("a", lacking)], is_last=True) == KEEP
    assert choose(Known(4), [("a", lacking)], is_last=False, earlier=[]) is None
    assert choose(Known(4), [("a", lacking)], is_last=True, earlier=[]) == KEEP
    assert choose(Known(5), [("a", lacking)], is_last=False, is_lost=True) == "a"
    assert choose(lacking, [("a", lacking)], is_last=False, earlier=["a"]) == "a"
    assert choose(lacking, [("b", lacking)], is_last=False, earlier=[]) == KEEP
    assert not is_first(lacking, [("b", whole)], [])


def test_of_equal_sources_the_one_that_remembers_for_longest_is_taken() -> None:
    """The first was started a moment ago: its value has writes that it does not know."""
    started, running = Known(9, 1, horizon=8), Known(9, 1, horizon=2)
    assert choose(Known(), [("a", started), ("b", running)], is_last=False) == "b"
    assert choose(Known(), [("a", running), ("b", running)], is_last=False) == "a"
    assert choose(Known(), [("a", started), ("b", Known(8, 1))], is_last=False) == "a", "the newest comes first"
