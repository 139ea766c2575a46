"""Owners at the edges, and the worked examples of the reference."""

import pytest

from dynomite_mp.cluster.continuum import Continuum, continuum_of
from dynomite_mp.cluster.token import hash_key
from dynomite_mp.cluster.topology import Node, Rack
from dynomite_mp.errors import TopologyError


@pytest.mark.parametrize(
    ("token", "node"), [(0, 0), (100, 0), (101, 1), (200, 1), (201, 2), (300, 2), (301, 0), (4294967295, 0)]
)
def test_a_token_belongs_to_the_next_one_at_or_above_it(token: int, node: int) -> None:
    assert Continuum([[100], [200], [300]]).owner(token) == node


def test_one_node_owns_everything() -> None:
    circle = Continuum([[7]])
    assert {circle.owner(token) for token in (0, 7, 8, 4294967295)} == {0}
    assert circle.ranges_of(0) == [(7, 7)]


def test_a_node_may_have_several_tokens() -> None:
    circle = Continuum([[100, 300], [200]])
    assert [circle.owner(token) for token in (50, 150, 250, 350)] == [0, 1, 0, 0]
    assert circle.ranges_of(0) == [(300, 100), (200, 300)]
    assert circle.entries() == [(100, 0), (200, 1), (300, 0)]
    assert (len(circle), circle.count, circle.nodes) == (3, 3, 2)


@pytest.mark.parametrize(
    ("tokens", "owners"),
    [
        (
            [0, 1073741824, 2147483648, 3221225472],
            {"a": 2147483648, "foo": 0, "bar": 1073741824, "user:1000": 3221225472, "key3": 0},
        ),
        ([12345678, 1383429731], {"a": 1383429731, "foo": 12345678, "key2": 12345678, "KEY_VALUE_0": 1383429731}),
    ],
)
def test_owners_of_known_keys(tokens: list[int], owners: dict[str, int]) -> None:
    circle = Continuum([[token] for token in tokens])
    for key, token in owners.items():
        assert tokens[circle.owner(hash_key("murmur", key.encode()))] == token, key


def test_a_token_of_two_nodes_is_refused() -> None:
    with pytest.raises(TopologyError, match="belongs to two nodes"):
        Continuum([[1, 5], [5]])
    assert len(Continuum([[5, 5]])) == 1


@pytest.mark.parametrize("token", [-1, 2**32])
def test_tokens_are_words(token: int) -> None:
    with pytest.raises(TopologyError):
        Continuum([[token]])
    with pytest.raises(ValueError, match="not in 0"):
        Continuum([[1]]).owner(token)


def test_a_rack_without_tokens_has_no_owner() -> None:
    with pytest.raises(TopologyError, match="no token"):
        Continuum([]).owner(1)


def test_the_circle_of_a_rack_names_places_in_its_nodes() -> None:
    nodes = tuple(Node("dc", "r", f"h{i}", 8101, (token,)) for i, token in enumerate((300, 100, 200)))
    circle = continuum_of(Rack("dc", "r", nodes))
    assert [nodes[circle.owner(token)].host for token in (1, 101, 201, 301)] == ["h1", "h2", "h0", "h1"]
