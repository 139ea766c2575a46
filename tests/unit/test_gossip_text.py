"""The gossip text of C nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynomite_mp.cluster.gossip_text import TextRecord, parse, parse_record, write
from dynomite_mp.enums import NodeState

EXAMPLE = "dc1$rack1$101134286,1700000000,4,10.0.0.1|dc1$rack2$2147483648,1700000010,8,10.0.0.2"
RECORDS = [
    TextRecord("dc1", "rack1", 101134286, 1700000000, NodeState.NORMAL, "10.0.0.1"),
    TextRecord("dc1", "rack2", 2147483648, 1700000010, NodeState.DOWN, "10.0.0.2"),
]


def test_the_text_of_c_is_understood_and_spoken():
    assert parse(EXAMPLE) == (RECORDS, 0)
    assert parse(EXAMPLE.encode()) == (RECORDS, 0)
    assert write(RECORDS) == EXAMPLE


@pytest.mark.parametrize(
    "text",
    [
        "", "dc$r$1,2,4", "dc$r,1,2,h", "dc$r$1$2,1,4,h", "dc$r$x,1,4,h", "dc$r$-1,1,4,h", "dc$r$1,x,4,h",
        "dc$r$1,1,x,h", "dc$r$1,1,4,", "$r$1,1,4,h", "dc$$1,1,4,h", "dc$r$1,1,4,h h", "dc$r$1,1,4,0.0.0.0",
        "dc$r$1,1,4,::", "dc$r$1,99999999999999,4,h", "dc$r$" + "1" * 40 + ",1,4,h", "dc$r$1,1,4,h,5", "dc$r$1,-1,4,h",
    ],
)  # fmt: skip
def test_what_is_no_record_is_none(text):
    assert parse_record(text) is None


def test_bad_parts_are_counted_and_the_rest_is_kept():
    assert parse("junk|" + EXAMPLE + "||dc$r$1,1,4,0.0.0.0|") == (RECORDS, 2)


def test_an_unknown_state_is_unknown():
    record = parse_record("dc$r$1,1,99,h")
    assert record is not None and record.state is NodeState.UNKNOWN


def test_long_tokens_fold_as_in_c():
    record = parse_record("dc$r$12345678901,1,4,h")
    assert record is not None and record.token == 2733099390


def test_an_ipv6_address_is_an_address():
    record = parse_record("dc$r$1,1,4,fe80::1")
    assert record is not None and record.address == "fe80::1"


@pytest.mark.parametrize(
    "wrong",
    [{"dc": "a$b"}, {"rack": "a,b"}, {"address": "a|b"}, {"address": "0.0.0.0"}, {"dc": ""}, {"address": "a b"}],
    ids=str,
)
def test_what_c_would_misread_is_not_written(wrong):
    values = {"dc": "d", "rack": "r", "token": 1, "timestamp_s": 1, "state": NodeState.NORMAL, "address": "h", **wrong}
    assert write([TextRecord(**values), RECORDS[0]]) == str(RECORDS[0])


NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "Pd", "Pc"]), min_size=1, max_size=8)


@given(st.lists(st.builds(TextRecord, NAMES, NAMES, st.integers(0, 2**32 - 1), st.integers(0, 2**33),
                          st.sampled_from(NodeState), NAMES), max_size=20))  # fmt: skip
def test_what_is_written_is_read(records):
    assert parse(write(records)) == (records, 0)


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data):
    records, _ = parse(data)
    assert parse(write(records))[0] == records


def test_a_huge_text_is_cut():
    records, _ = parse(EXAMPLE + ("|" + EXAMPLE) * 20_000)
    assert 0 < len(records) <= 8192
