"""The order of leads: the same everywhere, even, and hardly moved by a rack that comes or goes."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dynomite_mp.cluster.lead import LeadOrder

TOKENS = st.integers(0, 2**32 - 1)
NAMES = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=9, unique=True)


def named(names: list[str], token: int) -> list[str]:
    return [names[rack] for rack in LeadOrder(names).order(token)]


@given(NAMES, TOKENS)
def test_every_rack_has_one_place(names: list[str], token: int) -> None:
    assert sorted(named(names, token)) == sorted(names)


@given(NAMES, TOKENS, st.randoms())
def test_places_in_the_topology_do_not_matter(names: list[str], token: int, chance) -> None:
    shuffled = list(names)
    chance.shuffle(shuffled)
    assert named(names, token) == named(shuffled, token)


@given(NAMES, TOKENS, st.data())
def test_a_rack_that_goes_leaves_the_order_of_the_others(names: list[str], token: int, data) -> None:
    gone = data.draw(st.sampled_from(names))
    rest = [name for name in names if name != gone]
    assert named(rest, token) == [name for name in named(names, token) if name != gone]


def test_leads_are_spread_evenly() -> None:
    order = LeadOrder(["rack1", "rack2", "rack3"])
    tokens = [n * 7919 * 65537 % 2**32 for n in range(30_000)]
    for found in (Counter(order.order(t)[0] for t in tokens), Counter(order.order(t)[1] for t in tokens)):
        assert all(9_500 < found[rack] < 10_500 for rack in range(3))
    neighbours = Counter(order.order(token)[0] for token in range(3_000))
    assert all(900 < neighbours[rack] < 1_100 for rack in range(3))


def test_racks_beyond_the_most_never_lead() -> None:
    assert max(LeadOrder([f"r{n}" for n in range(99)]).order(5)) == 63
