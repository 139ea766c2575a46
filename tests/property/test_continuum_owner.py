"""The owner of a token against a search that looks at every token."""

from hypothesis import given
from hypothesis import strategies as st

from dynomite_mp.cluster.continuum import Continuum
from tests.models import continuum_model

TOKENS = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**31, 2**32 - 2, 2**32 - 1])


@st.composite
def racks(draw: st.DrawFn) -> list[list[int]]:
    """Token lists of a rack's nodes; no token twice."""
    tokens = draw(st.lists(TOKENS, min_size=1, max_size=40, unique=True))
    nodes = draw(st.integers(1, len(tokens)))
    return [tokens[node::nodes] for node in range(nodes)]


@given(racks(), st.lists(TOKENS, max_size=20))
def test_owner_agrees_with_the_model(rack: list[list[int]], tokens: list[int]) -> None:
    circle = Continuum(rack)
    edges = [token for owned in rack for token in owned]
    near = [(token + step) % 2**32 for token in edges for step in (-1, 0, 1)]
    for token in (*tokens, *near):
        assert circle.owner(token) == continuum_model.owner(rack, token)


@given(racks(), TOKENS)
def test_the_ranges_of_all_nodes_cover_every_token_once(rack: list[list[int]], token: int) -> None:
    circle = Continuum(rack)
    holders = [
        node
        for node in range(len(rack))
        for after, upto in circle.ranges_of(node)
        if continuum_model.in_range(token, after, upto)
    ]
    assert holders == [circle.owner(token)]
