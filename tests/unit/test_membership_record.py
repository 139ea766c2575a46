"""Records of members: validity, order, bytes."""

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynomite_mp.cluster.membership_record import (
    BadNews,
    Liveness,
    Member,
    News,
    Profile,
    decode,
    is_wildcard,
    tokens_text,
)
from dynomite_mp.enums import NodeState
from dynomite_mp.errors import TopologyError

PROFILE = Profile("dc1", "r1", (7, 3, 7), "10.0.0.1", 8101, 8102, 22222, "murmur", b"{}", "1.0", 2)
NEWS = News(5, 2, 9, Liveness.ALIVE, NodeState.NORMAL, 4, {8: 100}, 0, PROFILE)


def packed(news: News) -> list:
    return msgpack.unpackb(news.encode(), strict_map_key=False)


def test_tokens_are_sorted_and_distinct():
    assert PROFILE.tokens == (3, 7)


def test_news_survives_the_wire():
    assert decode(packed(NEWS)) == NEWS
    bare = News(2**64 - 1, 1, 0, Liveness.SUSPECT, NodeState.JOINING, 0, {}, 3)
    assert decode(packed(bare)) == bare


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "*", "::0", "0:0:0:0:0:0:0:0"])
def test_a_wildcard_is_no_identity(host):
    assert is_wildcard(host)
    with pytest.raises(TopologyError, match="advertise"):
        Profile("dc", "r", (0,), host, 8101)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1", "node-1.example.com", "10.0.0.0"])
def test_others_are(host):
    assert not is_wildcard(host)
    assert Profile("dc", "r", (0,), host, 8101).address == (host, 8101)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dc": ""}, {"dc": "a$b"}, {"rack": "a,b"}, {"rack": "a\nb"}, {"host": "a b"}, {"host": "a|b"}, {"port": 0},
        {"port": 65536}, {"client_port": -1}, {"tokens": ()}, {"tokens": (2**32,)}, {"tokens": (-1,)},
        {"dc": "d" * 256}, {"host": "h" * 256},
    ],
    ids=str,
)  # fmt: skip
def test_a_profile_that_nobody_could_use_is_refused(wrong):
    values = {"dc": "dc", "rack": "r", "tokens": (0,), "host": "h", "port": 1, **wrong}
    with pytest.raises(TopologyError):
        Profile(**values)


def test_a_token_beyond_32_bits_is_not_folded_or_saturated():
    plain = packed(NEWS)
    plain[8][2] = b"\0" * 5
    with pytest.raises(BadNews):
        decode(plain)


def test_boot_counts_more_than_incarnation_and_that_more_than_liveness():
    order = [(1, 0, Liveness.ALIVE), (1, 0, Liveness.SUSPECT), (1, 0, Liveness.DOWN), (1, 0, Liveness.LEFT),
             (1, 1, Liveness.ALIVE), (2, 0, Liveness.ALIVE)]  # fmt: skip
    ranks = [News(1, *rank, NodeState.NORMAL, 0).rank for rank in order]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)


def test_a_member_that_is_gone_shows_down():
    member = Member(NEWS, PROFILE, 0)
    assert member.shown_state is NodeState.NORMAL
    member.liveness = Liveness.SUSPECT
    assert member.is_present
    member.liveness = Liveness.DOWN
    assert member.shown_state is NodeState.DOWN


def test_fields_of_later_versions_are_ignored():
    plain = packed(NEWS)
    plain[8].append("new")
    plain.append({"new": 1})
    assert decode(plain) == NEWS


REPLACEMENTS = [None, -1, 2**60, 1.5, "x", b"x", [], {}, {1: "x"}, {"x": 1}, True, [1] * 20]


@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("value", REPLACEMENTS, ids=str)
def test_a_wrong_field_is_bad_news_or_harmless(place, value):
    plain = packed(NEWS)
    plain[place] = value
    if (place, value) in ((6, {}), (8, None)) or (place == 7 and value == 2**60) or (place == 0 and value == 2**60):
        assert isinstance(decode(plain), News)
    else:
        with pytest.raises(BadNews):
            decode(plain)


@pytest.mark.parametrize("place", range(11))
@pytest.mark.parametrize("value", REPLACEMENTS, ids=str)
def test_a_wrong_profile_field_never_makes_an_unusable_profile(place, value):
    plain = packed(NEWS)
    plain[8][place] = value
    try:
        profile = decode(plain).profile
    except BadNews:
        return
    assert profile is not None
    Profile.from_plain(profile.to_plain())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=9),
                    lambda inner: st.lists(inner, max_size=12), max_leaves=30))  # fmt: skip
def test_anything_is_news_or_bad_news(plain):
    with contextlib.suppress(BadNews):
        decode(plain)


def test_tokens_in_a_log_line_are_few():
    assert tokens_text((1, 2)) == "1,2"
    assert tokens_text(tuple(range(9))) == "0,1,2,3,... (9)"
