"""The law of splitting: parts executed in any order and merged == the whole executed; and for replies that no datastore
should send, fragment.pyx == the model, and the answer is one whole frame."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dynomite_mp.proto.fragment import Fragments, split
from dynomite_mp.proto.framer import frame_replies, frame_requests
from tests.models import fragment_model as model

ARRAYS = (b"mget", b"MGET", b"mGeT")
SUMS = (b"del", b"EXISTS", b"Unlink", b"touch")
NAMES = st.sampled_from([*ARRAYS, *SUMS, b"mset", b"MSET"])
KEYS = st.sampled_from([b"", b"a", b"b", b"c", b"{t}1", b"\r\n", b"$1\r\n", b"k" * 120]) | st.binary(max_size=12)
VALUES = st.binary(max_size=30) | st.sampled_from([b"", b"*2\r\n", b"\r\n" * 20, b"v" * 300])
GROUPS = st.integers(0, 3) | st.sampled_from([0, 2**64 - 1, 2**63, 1 << 32]) | st.integers(0, 2**64 - 1)


def args_of(name: bytes, keys: list[bytes], values: list[bytes]) -> list[bytes]:
    if name.lower() != b"mset":
        return [name, *keys]
    return [name, *(word for pair in zip(keys, values, strict=True) for word in pair)]


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """Arguments, and the keys among them."""
    keys = draw(st.lists(KEYS, min_size=1, max_size=25))
    values = draw(st.lists(VALUES, min_size=len(keys), max_size=len(keys)))
    return args_of(draw(NAMES), keys, values), keys


@settings(max_examples=300)
@given(requests(), st.data())
def test_parts_are_what_the_model_says(request: tuple[list[bytes], list[bytes]], data: st.DataObject) -> None:
    args, keys = request
    groups = data.draw(st.lists(GROUPS, min_size=len(keys), max_size=len(keys)))
    parts = model.split(args, groups)
    found = split(model.array(args), groups)
    assert found.groups == list(parts)
    assert found.frames == [model.array(part) for part in parts.values()]
    assert (found.parts, found.waiting) == (len(parts), len(parts))


@settings(max_examples=400)
@given(
    requests(),
    st.dictionaries(KEYS, VALUES),
    st.frozensets(KEYS, max_size=1),
    st.sampled_from([2, 3]),
    st.randoms(use_true_random=False),
    st.integers(1, 12),
)
def test_parts_executed_and_merged_are_the_whole_executed(request, stored, broken, protocol, random, most_groups):
    args, keys = request
    group_of = {key: random.randrange(most_groups) for key in keys}
    found = split(model.array(args), [group_of[key] for key in keys])
    whole = model.DictStore(stored, broken, protocol)
    answer = whole.execute(args)
    cut = model.DictStore(stored, broken, protocol)
    order = random.sample(range(found.parts), found.parts)
    for place, part in enumerate(order):
        (frame,), _, _ = frame_requests(found.frames[part])
        assert found.answer(part, cut.execute(frame.args)) == (place == len(order) - 1)
    assert found.reply() == answer
    # A part that fails undoes no other.
    if not broken.intersection(keys):
        assert cut.values == whole.values


def line(kind: bytes) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=12).map(lambda b: kind + b.replace(b"\r\n", b"") + b"\r\n")


def bulk(kind: bytes) -> st.SearchStrategy[bytes]:
    return VALUES.map(lambda b: kind + b"%d\r\n%s\r\n" % (len(b), b))


def aggregate(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    def built(kind: bytes, parts: list[bytes], value: bytes) -> bytes:
        pairs = kind in b"%|"
        count = len(parts) // 2 if pairs else len(parts)
        return kind + b"%d\r\n" % count + b"".join(parts[: count * 2 if pairs else count]) + value * (kind == b"|")

    return st.builds(built, st.sampled_from([b"*", b"%", b"~", b"|", b">"]), st.lists(inner, max_size=4), inner)


def in_band(element: bytes) -> bool:
    (frame,), _, _ = frame_replies(element)
    return not frame.is_push


INTEGERS = st.integers(-(10**15), 10**15).map(lambda i: b":%d\r\n" % i)
SCALARS = st.one_of(
    INTEGERS, *map(line, (b"+", b"-", b"_", b"#", b",")), *map(bulk, (b"$", b"=", b"!")), st.sampled_from([b"$-1\r\n"])
)
ELEMENTS = st.recursive(SCALARS, aggregate, max_leaves=6)
ATTRIBUTES = st.lists(ELEMENTS, max_size=4).map(lambda e: b"|%d\r\n" % (len(e) // 2) + b"".join(e[: len(e) // 2 * 2]))
STRAY = st.sampled_from(
    [
        *(b"", b"*", b"*-1\r\n", b"*0\r\n", b"*1", b"*1\r", b"*1\n", b"*1\r\n", b"*4294967295\r\n", b"|1\r\n"),
        *(b":\r\n", b":1", b":1\r", b":01\r\n", b":+1\r\n", b":1\r\n:1\r\n", b":1\rx2\r\n", b"+OK\r\n", b"+OKAY\r\n"),
        *(b"-", b"-ERR", b"-ERR x\r\n", b"-ERR x\r\n-", b"!3\r\nERR\r\n", b"!4\r\nERR\r\n", b"|0\r\n-ERR y\r\n"),
        *(b"|0\r\n+OK\r\n", b"|1\r\n+a\r\n+OK\r\n", b">1\r\n+OK\r\n", b"_\r\n", b"|0\r\n:5\r\n", b"|-1\r\n:1\r\n"),
    ]
)


@st.composite
def part_replies(draw: st.DrawFn, name: bytes, count: int) -> bytes:
    """Mostly what a datastore may say, often damaged."""
    if name in ARRAYS:
        length = draw(st.just(count) | st.integers(0, 5))
        items = draw(st.lists(ELEMENTS, min_size=count, max_size=count))
        good = b"*%d\r\n" % length + b"".join(items)
    else:
        good = draw(INTEGERS) if name in SUMS else b"+OK\r\n"
    good = draw(st.just(b"") | ATTRIBUTES) + good
    cut = draw(st.integers(0, len(good)))
    cases = [good, good, good, good[:cut], good + draw(ELEMENTS), good[:cut] + b"x" + good[cut + 1 :], draw(ELEMENTS)]
    return draw(st.sampled_from(cases) | STRAY)


@settings(max_examples=300)
@given(NAMES, st.lists(st.integers(0, 3), min_size=1, max_size=8), st.data())
def test_any_replies_merge_as_the_model_says(name: bytes, groups: list[int], data: st.DataObject) -> None:
    keys = [b"k%d" % i for i in range(len(groups))]
    found = split(model.array(args_of(name, keys, keys)), groups)
    replies = [data.draw(part_replies(name, groups.count(group))) for group in dict.fromkeys(groups)]
    for part, reply in enumerate(replies):
        found.answer(part, reply)
    merged = found.reply()
    assert merged == model.merge(name, groups, replies)
    frames, consumed, error = frame_replies(merged)
    assert (len(frames), consumed, error) == (1, len(merged), None)


@given(st.lists(st.tuples(st.integers(0, 3), ELEMENTS.filter(in_band)), min_size=1, max_size=8))
def test_elements_come_out_as_the_bytes_they_came_in(pairs: list[tuple[int, bytes]]) -> None:
    groups, elements = [group for group, _ in pairs], [element for _, element in pairs]
    found: Fragments = split(model.array([b"mget", *(b"k%d" % i for i in range(len(groups)))]), groups)
    for part, group in enumerate(found.groups):
        own = [element for element, of in zip(elements, groups, strict=True) if of == group]
        found.answer(part, b"*%d\r\n" % len(own) + b"".join(own))
    assert found.reply() == b"*%d\r\n" % len(groups) + b"".join(elements)
