"""The table of members, its fingerprint, its exchange, and the queue of rumours."""

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynomite_mp.cluster.membership_record import LARGEST_ID, Liveness, Member, News, Profile
from dynomite_mp.cluster.membership_rumours import FULL_ROOM_BYTES, Rumours
from dynomite_mp.cluster.membership_view import MEMBERS_LIMIT, Outcome, View, ranges
from dynomite_mp.enums import NodeState


def profile(place: int = 0, claim: int = 0, host: str = "") -> Profile:
    return Profile("dc", "r", (place,), host or f"10.0.0.{place + 1}", 8101, claim=claim)


def news(node_id=1, boot=1, incarnation=1, liveness=Liveness.ALIVE, *, place=None, claim=0, edition=1, by=0, **more):
    own = None if place is None else profile(place, claim, f"10.0.{node_id}.{place + 1}")
    return News(node_id, boot, incarnation, liveness, NodeState.NORMAL, edition, by=by, profile=own, **more)


def listed(view: View) -> list:
    return sorted((m.node_id, m.rank, m.profile) for m in view.members.values())


def test_newer_news_changes_and_older_does_not():
    view = View(0)
    assert view.apply(news(place=0), 5) is Outcome.ADDED
    assert view.apply(news(place=0), 6) is Outcome.NOTHING
    assert view.apply(news(liveness=Liveness.DOWN), 7) is Outcome.CHANGED
    assert view.apply(news(), 8) is Outcome.NOTHING
    assert view.members[1].changed_ms == 7
    assert view.apply(news(incarnation=2), 9) is Outcome.CHANGED
    assert view.members[1].liveness is Liveness.ALIVE
    assert view.apply(news(boot=2, incarnation=0, edition=0, place=0), 10) is Outcome.CHANGED
    assert view.apply(news(incarnation=99), 11) is Outcome.NOTHING


def test_news_about_an_unseen_profile_cannot_be_used():
    view = View(0)
    assert view.apply(news(), 0) is Outcome.UNKNOWN
    view.apply(news(place=0), 0)
    assert view.apply(news(boot=2), 0) is Outcome.UNKNOWN
    assert view.apply(news(incarnation=3, edition=2), 0) is Outcome.UNKNOWN
    assert view.members[1].rank == (1, 1, Liveness.ALIVE)


def test_the_higher_claim_has_the_place():
    for order in ((1, 2), (2, 1)):
        view = View(0)
        claims = {1: 3, 2: 1}  # node 2 has the higher id, node 1 the higher claim
        for node_id in order:
            view.apply(news(node_id, place=0, claim=claims[node_id]), 0)
        assert list(view.members) == [1]
        assert view.places == {("dc", "r", (0,)): 1}
    assert [(lost.node_id, holder) for lost, holder in view.replaced] == [(2, 1)]


def test_a_node_moves_to_another_place_if_that_is_free_or_claimed_less():
    view = View(0)
    view.apply(news(1, place=0), 0)
    view.apply(news(2, place=1), 0)
    assert view.apply(news(1, incarnation=2, edition=2, place=1), 0) is Outcome.NOTHING
    assert view.apply(news(2, incarnation=2, edition=2, place=2), 0) is Outcome.CHANGED
    assert view.apply(news(1, incarnation=2, edition=2, place=1), 0) is Outcome.CHANGED
    assert view.places == {("dc", "r", (1,)): 1, ("dc", "r", (2,)): 2}


def test_the_fingerprint_is_the_same_for_the_same_view():
    first, second = View(0), View(0)
    items = [news(i, place=i) for i in range(1, 20)] + [news(3, liveness=Liveness.DOWN), news(4, incarnation=2)]
    for item in items:
        first.apply(item, 0)
    for item in [*items[5:19], *items[:5], *items[19:]]:
        second.apply(item, 0)
    assert first.fingerprint == second.fingerprint != 0
    second.apply(news(5, liveness=Liveness.SUSPECT, by=9), 0)
    assert first.fingerprint == second.fingerprint, "a suspicion is a rumour that ends by itself"
    second.apply(news(5, liveness=Liveness.DOWN), 0)
    assert first.fingerprint != second.fingerprint


def test_own_record_counts_while_it_is_announced():
    one, other = View(0), View(0)
    own = Member(news(7), profile(7, host="10.0.7.8"), 0)
    other.apply(news(7, place=7), 0)
    assert one.fingerprint != other.fingerprint
    one.set_own(own)
    assert one.fingerprint == other.fingerprint
    own.incarnation = 2
    one.set_own(own)
    other.apply(news(7, incarnation=2), 0)
    assert one.fingerprint == other.fingerprint
    one.set_own(None)
    other.remove(other.members[7])
    assert one.fingerprint == other.fingerprint == 0


def test_who_left_is_forgotten_in_the_end_and_never_counted():
    view = View(0)
    view.apply(news(place=0), 0)
    view.apply(news(liveness=Liveness.LEFT), 1000)
    assert view.fingerprint == 0
    view.expire(1500, 600)
    assert 1 in view.members
    view.expire(1601, 600)
    assert not view.members and not view.places and view.fingerprint == 0


def test_the_version_grows_with_what_readers_see_and_not_with_the_rest():
    view = View(0, first_version=50)
    versions = []
    for item in (
        news(place=0), news(liveness=Liveness.SUSPECT, by=2), news(incarnation=2),
        news(incarnation=2, liveness=Liveness.DOWN), news(incarnation=3), news(incarnation=4, hints={9: 1}),
        news(incarnation=4, liveness=Liveness.LEFT),
    ):  # fmt: skip
        view.apply(item, 0)
        versions.append(view.version)
    assert versions == [51, 51, 51, 52, 53, 54, 55]


def test_present_follows_every_change():
    view = View(0)
    view.apply(news(1, place=0), 0)
    view.apply(news(2, place=1), 0)
    assert {m.node_id for m in view.present()} == {1, 2}
    view.apply(news(1, liveness=Liveness.SUSPECT, by=2), 0)
    assert {m.node_id for m in view.present()} == {1, 2}
    view.apply(news(1, liveness=Liveness.DOWN), 0)
    assert {m.node_id for m in view.present()} == {2}
    assert [m.node_id for m in view.down()] == [1]
    view.remove(view.members[2])
    assert view.present() == []


def test_the_table_is_bounded():
    view = View(0)
    for node_id in range(1, MEMBERS_LIMIT + 10):
        view.apply(news(node_id, place=node_id), 0)
    assert len(view.members) == MEMBERS_LIMIT


# ---- exchange --------------------------------------------------------------------------------------------------------

ITEMS = st.builds(
    lambda node_id, boot, incarnation, liveness: news(
        node_id, boot, incarnation, liveness, place=node_id, edition=incarnation
    ),
    st.integers(1, 12), st.integers(1, 2), st.integers(0, 2),
    st.sampled_from([Liveness.ALIVE, Liveness.DOWN, Liveness.LEFT]),
)  # fmt: skip


@given(st.lists(ITEMS, max_size=25), st.lists(ITEMS, max_size=25), st.integers(1, 5))
def test_after_an_exchange_both_views_are_equal(first, second, size):
    a, b = View(0), View(0)
    for item in first:
        a.apply(item, 0)
    for item in second:
        b.apply(item, 0)
    for low, high, entries in ranges(a.entries(), size):
        lacking, wanted = b.compare(low, high, entries)
        for item in lacking:
            a.apply(item, 1)
        for item in a.full_news(wanted):
            b.apply(item, 1)
    assert listed(a) == listed(b)
    assert a.fingerprint == b.fingerprint
    assert b.compare(0, LARGEST_ID, a.entries()) == ([], [])


@given(st.permutations([news(i % 4 + 1, i % 3, i, place=i % 4, edition=i) for i in range(12)]))
def test_the_order_of_news_does_not_matter(order):
    view, sorted_view = View(0), View(0)
    for item in order:
        view.apply(item, 0)
    for item in sorted(order, key=lambda n: n.rank):
        sorted_view.apply(item, 0)
    assert listed(view) == listed(sorted_view)
    assert view.fingerprint == sorted_view.fingerprint


def test_a_suspicion_is_not_exchanged():
    view = View(0)
    view.apply(news(place=0), 0)
    view.apply(news(liveness=Liveness.SUSPECT, by=2), 0)
    assert view.entries() == [[1, 1, 1, Liveness.ALIVE]]
    assert view.full_news([1, 5])[0].liveness is Liveness.ALIVE
    assert len(view.full_news([1, 5])) == 1


@pytest.mark.parametrize("count", [0, 1, 3, 4, 10])
def test_ranges_cover_all_ids_without_overlap(count):
    entries = [[i * 100, 1, 1, 0] for i in range(1, count + 1)]
    pieces = ranges(entries, 3)
    assert pieces[0][0] == 0 and pieces[-1][1] == LARGEST_ID
    assert all(before[1] + 1 == after[0] for before, after in itertools.pairwise(pieces))
    assert [entry for piece in pieces for entry in piece[2]] == entries
    assert all(low <= entry[0] <= high for low, high, piece in pieces for entry in piece)


# ---- rumours ---------------------------------------------------------------------------------------------------------


def test_the_least_told_goes_first_and_each_goes_a_number_of_times():
    rumours = Rumours()
    rumours.put(news(1, place=0))
    assert len(rumours.take(1000, 3)) == 1
    rumours.put(news(2, place=1))
    first = rumours.take(100, 3)
    assert first[0] == news(2, place=1).encode()
    told = [len(rumours.take(1000, 3)) for _ in range(3)]
    assert told == [2, 1, 0] or sum(told) == 3
    assert len(rumours) == 0


def test_newer_news_displaces_older_and_accusers_add_up():
    rumours = Rumours()
    rumours.put(news(1, place=0))
    for accuser in (2, 3, 3):
        rumours.put(news(1, liveness=Liveness.SUSPECT, by=accuser))
    assert len(rumours) == 2
    rumours.put(news(1, incarnation=2))
    assert rumours.take(1000, 1) == [news(1, incarnation=2).encode()]
    rumours.put(news(1, liveness=Liveness.SUSPECT, by=2))
    rumours.forget(1)
    assert len(rumours) == 0


def test_what_does_not_fit_waits_and_what_never_fits_goes_alone():
    rumours = Rumours()
    big = News(1, 1, 1, Liveness.ALIVE, NodeState.NORMAL, 1, profile=Profile("d", "r", tuple(range(900)), "h", 1))
    rumours.put(big)
    rumours.put(news(2, place=1))
    assert rumours.take(200, 1) == [news(2, place=1).encode()]
    assert rumours.take(FULL_ROOM_BYTES, 1) == [big.encode()]


def test_text_records_are_rumours_too():
    rumours = Rumours()
    rumours.put_text(("dc", "r", 1), b"old")
    rumours.put_text(("dc", "r", 1), b"new")
    assert rumours.take(1000, 1) == [b"new"]


def test_taking_is_deterministic():
    def run() -> list:
        rumours, rng = Rumours(), Random(3)
        taken = []
        for _ in range(200):
            rumours.put(news(rng.randrange(1, 30), 1, rng.randrange(5), place=0))
            taken.append(rumours.take(300, 4))
        return taken

    assert run() == run()
