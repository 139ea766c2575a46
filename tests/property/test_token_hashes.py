"""Every hash against its slow twin, and the hash tag."""

from hypothesis import given
from hypothesis import strategies as st

from dynomite_mp.cluster.token import HASH_NAMES, hash_key, parse_token, tagged
from tests.models import token_model

KEYS = st.binary(max_size=200) | st.binary(min_size=50, max_size=70)


@given(KEYS)
def test_every_hash_agrees_with_its_model(key: bytes) -> None:
    for name in HASH_NAMES:
        assert hash_key(name, key) == token_model.HASHES[name](key), name


@given(st.lists(st.sampled_from([b"{", b"}", b"a", b"", b"{}", b"key"]), max_size=10).map(b"".join))
def test_the_tag_is_what_lies_between_the_first_pair(key: bytes) -> None:
    for pair in ("{}", "}{", "aa", "ab"):
        assert tagged(key, pair) == token_model.tagged(key, pair.encode())
    assert tagged(key, None) == key


@given(st.integers(0, 10**10 - 1))
def test_a_token_of_ten_digits_is_the_number_cut_to_a_word(number: int) -> None:
    assert parse_token(str(number)) == number % 2**32
