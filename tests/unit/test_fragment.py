"""Requests over several groups of keys: what the parts say, and what becomes of their replies."""

import pytest

from dynomite_mp.errors import WIRE_ERRORS, ProtocolError
from dynomite_mp.proto.commands import COMMANDS
from dynomite_mp.proto.fragment import Fragments, split, time_split
from dynomite_mp.proto.framer import frame_replies, frame_requests
from tests.models.fragment_model import array

PART_FAILED = WIRE_ERRORS["part_failed"].line


def mget(*groups: int) -> Fragments:
    return split(array([b"mget", *(b"k%d" % i for i in range(len(groups)))]), groups)


def merged(parts: Fragments, *replies: bytes) -> bytes:
    for part, reply in enumerate(replies):
        parts.answer(part, reply)
    return parts.reply()


# ---- the parts -------------------------------------------------------------------------------------------------------


def test_equal_groups_go_together_in_the_order_they_appear():
    parts = split(array([b"MgEt", b"a", b"b", b"c", b"d"]), [7, 9, 7, 7])
    assert parts.groups == [7, 9]
    assert parts.frames == [array([b"MgEt", b"a", b"c", b"d"]), array([b"MgEt", b"b"])]


def test_values_stay_with_their_keys():
    parts = split(array([b"mset", b"a", b"1", b"b", b"", b"c", b"\r\n"]), [2, 1, 2])
    assert parts.frames == [array([b"mset", b"a", b"1", b"c", b"\r\n"]), array([b"mset", b"b", b""])]


def test_a_repeated_key_stays_repeated():
    assert split(array([b"exists", b"a", b"b", b"a"]), [1, 2, 1]).frames[0] == array([b"exists", b"a", b"a"])


def test_one_group_is_one_part():
    frame = array([b"del", b"a", b"b"])
    assert split(frame, [2**64 - 1] * 2).frames == [frame]


@pytest.mark.parametrize("groups", [range(1000), range(0, 2**64, 2**54), (0, 2**63) * 500], ids=["near", "high", "two"])
def test_groups_are_told_apart_whatever_bits_they_differ_in(groups):
    groups = list(groups)
    assert mget(*groups).groups == list(dict.fromkeys(groups))


def test_many_keys_of_as_many_groups_are_split_and_merged():
    count = 200_000
    parts = mget(*range(count))
    assert parts.parts == count
    for i in range(count):
        done = parts.answer(i, b"*1\r\n:%d\r\n" % i)
    assert done
    assert parts.reply() == b"*%d\r\n" % count + b"".join(b":%d\r\n" % i for i in range(count))


def test_many_keys_of_few_groups_are_split_and_merged():
    count = 200_000
    parts = mget(*(i % 3 for i in range(count)))
    for i, frame in enumerate(parts.frames):
        (request,), _, _ = frame_requests(frame)
        parts.answer(i, b"*%d\r\n" % (len(request.args) - 1) + b"".join(map(b"+%s\r\n".__mod__, request.args[1:])))
    assert parts.reply() == b"*%d\r\n" % count + b"".join(b"+k%d\r\n" % i for i in range(count))


@pytest.mark.parametrize(
    ("args", "groups"),
    [
        ([b"mset", b"a", b"1", b"b"], [1, 2]),
        ([b"mget", b"a", b"b"], [1]),
        ([b"mget", b"a", b"b"], [1, 2, 3]),
        ([b"mget"], []),
        ([b"get", b"a"], [1]),
    ],
    ids=["a key without its value", "too few groups", "too many groups", "no key", "no split"],
)
def test_what_cannot_be_split_is_refused(args, groups):
    with pytest.raises(ValueError, match="split"):
        split(array(args), groups)


def test_an_inline_command_is_refused():
    with pytest.raises(ValueError, match="split"):
        split(b"mget a b\r\n", [1, 2])


@pytest.mark.parametrize("frame", [b"", b"*1\r\n", b"*0\r\n", b"*1\r\n$4\r\nnope\r\n", array([b"mget", b"a"]) + b"*"])
def test_what_is_no_request_is_refused(frame):
    with pytest.raises(ProtocolError):
        split(frame, [1])


def test_the_table_splits_nothing_that_would_be_cut_elsewhere():
    rows = {row.name: (row.split, row.key_spec, row.merge) for row in COMMANDS if row.split != "none"}
    assert set(rows) == {"mget", "mset", "del", "exists", "unlink", "touch"}
    for split_by, keys, merge in rows.values():
        assert keys == {"keys": "1:-1:1", "pairs": "1:-1:2"}[split_by]
        assert merge != "none"


# ---- their replies ---------------------------------------------------------------------------------------------------


def test_elements_come_in_the_order_of_the_keys():
    parts = mget(1, 2, 1, 1)
    assert merged(parts, b"*3\r\n$1\r\na\r\n$-1\r\n$1\r\nd\r\n", b"*1\r\n$1\r\nb\r\n") == (
        b"*4\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n$1\r\nd\r\n"
    )


def test_elements_of_any_kind_are_copied():
    a, b = b"|1\r\n+ttl\r\n:9\r\n$1\r\na\r\n", b"%1\r\n+x\r\n*2\r\n:1\r\n_\r\n"
    c, d, e = b"-ERR one\r\n", b"*-1\r\n", b"#t\r\n"
    assert merged(mget(1, 2, 1, 2, 2), b"*2\r\n" + a + c, b"*3\r\n" + b + d + e) == b"*5\r\n" + a + b + c + d + e


def test_attributes_of_a_part_are_left_out():
    attributes = b"|1\r\n+a\r\n*1\r\n|1\r\n+b\r\n+c\r\n:1\r\n|0\r\n"
    assert merged(mget(1, 2), attributes + b"*1\r\n:1\r\n", b"*1\r\n:2\r\n") == b"*2\r\n:1\r\n:2\r\n"
    parts = split(array([b"del", b"a", b"b"]), [1, 2])
    assert merged(parts, b":1\r\n", attributes + b":1\r\n") == b":2\r\n"


def test_integers_are_added_up():
    parts = split(array([b"unlink", b"a", b"b", b"c"]), [1, 2, 3])
    assert merged(parts, b":1\r\n", b":0\r\n", b":40\r\n") == b":41\r\n"


def test_a_sum_beyond_all_counts_is_a_failed_part():
    parts = split(array([b"del", *(b"%d" % i for i in range(12))]), range(12))
    assert merged(parts, *[b":999999999999999999\r\n"] * 12) == PART_FAILED


def test_ok_needs_every_part():
    frame = array([b"mset", b"a", b"1", b"b", b"2"])
    assert merged(split(frame, [1, 2]), b"+OK\r\n", b"+OK\r\n") == b"+OK\r\n"
    assert merged(split(frame, [1, 2]), b"+OK\r\n", b"+QUEUED\r\n") == PART_FAILED


def test_the_last_part_to_reply_is_said_to_be():
    parts = mget(1, 2, 3)
    assert [parts.answer(i, b"*1\r\n:%d\r\n" % i) for i in (2, 0, 1)] == [False, False, True]
    assert parts.waiting == 0


def test_a_second_reply_of_a_part_changes_nothing():
    parts = mget(1, 2)
    assert not parts.answer(0, b"*1\r\n:1\r\n")
    assert not parts.answer(0, b"*1\r\n:7\r\n")
    assert parts.answer(1, b"*1\r\n:2\r\n")
    assert parts.answer(0, b"-ERR late\r\n")
    assert parts.reply() == b"*2\r\n:1\r\n:2\r\n"


def test_the_reply_goes_behind_what_the_buffer_holds():
    parts = mget(1, 2)
    merged(parts, b"*1\r\n:1\r\n", b"*1\r\n:2\r\n")
    assert parts.reply(b"+sent\r\n+waiting\r\n", 7) == b"+waiting\r\n*2\r\n:1\r\n:2\r\n"
    assert parts.reply(b"x" * 511, 0) == b"x" * 511 + b"*2\r\n:1\r\n:2\r\n"


def test_what_is_kept_is_counted():
    parts = split(array([b"mset", b"a", b"v" * 10_000, b"b", b"w"]), [1, 2])
    before = parts.held_bytes
    assert 10_000 < before < 11_000
    parts.answer(0, b"+OK\r\n")
    assert parts.held_bytes == before + 5


# ---- replies that go wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [b"-ERR no\r\n", b"!8\r\nERR a\r\nb\r\n", b"|1\r\n+a\r\n+b\r\n-ERR no\r\n", b"-\r\n"])
def test_an_error_is_passed_on_as_it_is(error):
    assert merged(mget(1, 2, 3), b"*1\r\n:1\r\n", error, b"-ERR another\r\n") == error


def test_the_first_part_decides_not_the_first_reply():
    parts = mget(1, 2)
    parts.answer(1, b"-ERR b\r\n")
    parts.answer(0, b"-ERR a\r\n")
    assert parts.reply() == b"-ERR a\r\n"


def test_an_error_beats_a_reply_of_another_shape():
    assert merged(mget(1, 2), b"*9\r\n", b"-ERR no\r\n") == b"-ERR no\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        *(b"", b"*", b"*2", b"*2\r", b"*2\n", b"*2\r\n", b"*2\r\n:1\r\n", b"*2\r\n:1\r\n:2", b"*2\r\n:1\r\n$3\r\nab"),
        *(b"*1\r\n:1\r\n", b"*3\r\n:1\r\n:2\r\n:3\r\n", b"*-1\r\n", b"*02\r\n:1\r\n:2\r\n", b"*2\r\n:1\r\n?"),
        *(b"*2\r\n:1\r\n:2\r\n:3\r\n", b"*4294967295\r\n:1\r\n", b"~2\r\n:1\r\n:2\r\n", b"%1\r\n:1\r\n:2\r\n"),
        *(b">2\r\n:1\r\n:2\r\n", b"*2\r\n:1\r\n>1\r\n:2\r\n", b"$2\r\nab\r\n", b":2\r\n", b"|1\r\n", b"|1\r\n:1"),
        *(b"+OK\r\n", b"_\r\n", b"*0\r\n", b"*2\r\n:1\r\n$3\r\nab\r\n"),
        *(b"-ERR", b"-ERR\r", b"-ERR\r\n:1\r\n", b"!9\r\nERR\r\n", b"|0\r\n", b"|-1\r\n*2\r\n:1\r\n:2\r\n", b"|x"),
    ],
)
def test_a_reply_of_another_shape_is_a_failed_part(reply):
    for order in ((0, 1), (1, 0)):
        parts = mget(1, 2, 1)
        for part in order:
            parts.answer(part, (reply, b"*1\r\n:9\r\n")[part])
        answer = parts.reply(b"+before\r\n")
        assert answer == b"+before\r\n" + PART_FAILED
    assert len(frame_replies(answer)[0]) == 2


@pytest.mark.parametrize(
    "reply", [b":", b":\r\n", b":1", b":1\n\n", b":01\r\n", b":1\r\n:1\r\n", b"+1\r\n", b"*1\r\n:1"]
)
def test_a_count_of_another_shape_is_a_failed_part(reply):
    assert merged(split(array([b"del", b"a", b"b"]), [1, 2]), b":1\r\n", reply) == PART_FAILED


def test_a_missing_reply_is_a_failed_part():
    for name in (b"mget", b"del"):
        parts = split(array([name, b"a", b"b"]), [1, 2])
        parts.answer(0, b":1\r\n")
        assert parts.reply() == PART_FAILED


def test_no_other_part_than_those_there_are_can_reply():
    for part in (-1, 2):
        with pytest.raises(IndexError):
            mget(1, 2).answer(part, b"")


def test_the_benchmark_merges_every_round():
    replies = [b"*1\r\n:1\r\n", b"*1\r\n:2\r\n"]
    assert time_split(array([b"mget", b"a", b"b"]), [1, 2], replies, 5) == 5 * len(merged(mget(1, 2), *replies))
