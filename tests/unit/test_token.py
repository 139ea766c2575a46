"""Tokens as the original computed them, hash tags, and how tokens are written."""

import json
from pathlib import Path

import pytest

from dynomite_mp.cluster.token import HASH_NAMES, hash_key, hash_kind, parse_token, tagged
from dynomite_mp.errors import TopologyError

RECORDED = json.loads((Path(__file__).parent.parent / "testdata" / "hash-vectors.json").read_text())


@pytest.mark.parametrize("name", RECORDED["names"])
def test_every_recorded_key_has_the_recorded_token(name: str) -> None:
    column = RECORDED["names"].index(name) + 1
    wrong = [row[0] for row in RECORDED["rows"] if hash_key(name, bytes.fromhex(row[0])) != row[column]]
    assert wrong == []


def test_every_hash_has_its_place() -> None:
    assert [hash_kind(name) for name in HASH_NAMES] == list(range(len(HASH_NAMES)))
    assert set(RECORDED["names"]) | {"redis_slot"} == set(HASH_NAMES)


def test_the_empty_key() -> None:
    assert hash_key("murmur", b"") == 0
    assert hash_key("hsieh", b"") == 0
    assert hash_key("jenkins", b"") == 0


@pytest.mark.parametrize(("key", "slot"), [(b"123456789", 12739), (b"foo", 12182), (b"", 0)])
def test_slots_are_those_of_redis_cluster(key: bytes, slot: int) -> None:
    assert hash_key("redis_slot", key) == slot


def test_murmur3_is_refused_with_what_to_write_instead() -> None:
    with pytest.raises(ValueError, match="use murmur, the default"):
        hash_key("murmur3", b"a")
    with pytest.raises(ValueError, match="use one of one_at_a_time, md5"):
        hash_kind("sha1")


@pytest.mark.parametrize(
    ("key", "hash_tag", "part"),
    [
        (b"{user1}:ids", "{}", b"user1"),
        (b"a{b}{c}", "{}", b"b"),
        (b"a}b{c}", "{}", b"c"),
        (b"a{}b", "{}", b""),
        (b"a{b", "{}", b"a{b"),
        (b"a}b{", "{}", b"a}b{"),
        (b"plain", "{}", b"plain"),
        (b"x$y$z", "$$", b"y"),
        (b"x$y", "$$", b"x$y"),
        (b"{user1}:ids", None, b"{user1}:ids"),
        (b"{user1}:ids", "", b"{user1}:ids"),
        (b"", "{}", b""),
    ],
)
def test_the_tagged_part_of_a_key(key: bytes, hash_tag: str | None, part: bytes) -> None:
    assert tagged(key, hash_tag) == part


@pytest.mark.parametrize("hash_tag", ["{", "{}}", "é}"])
def test_a_hash_tag_is_two_bytes(hash_tag: str) -> None:
    with pytest.raises(ValueError, match="two characters"):
        tagged(b"a", hash_tag)


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("0", 0),
        ("1383429731", 1383429731),
        (" 42 ", 42),
        ("0042", 42),
        ("4294967295", 4294967295),
        ("4294967296", 0),
        ("9999999999", 9999999999 % 2**32),
        ("12345678901", 2733099390),
        (12345678, 12345678),
    ],
)
def test_tokens_are_read_as_dynomite_reads_them(text: str | int, token: int) -> None:
    assert parse_token(text) == token


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "1 2", "\u0661"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TopologyError):
        parse_token(text)
