"""Where the keys of a request lie, and which arguments are refused."""

import pytest

from dynomite_mp.errors import ProtocolError
from dynomite_mp.proto.framer import frame_keys


def frame(text: str) -> bytes:
    args = [word.encode() for word in text.split()]
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("GET a", "a"),
        ("PING", ""),
        ("MGET a b c d e f g h i j", "a b c d e f g h i j"),
        ("MSET a 1 b 2 c 3", "a b c"),
        ("DEL a", "a"),
        ("RENAME a b", "a b"),
        ("OBJECT ENCODING a", "a"),
        ("MEMORY USAGE a", "a"),
        ("XGROUP CREATE a g $", "a"),
        ("BITOP AND d a b", "d a b"),
        ("JSON.MGET a b $.x", "a b"),
        ("JSON.MSET a $ 1 b $ 2", "a b"),
        ("EVAL return 0", ""),
        ("EVAL return 2 a b c", "a b"),
        ("FCALL f 1 a", "a"),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "d a b"),
        ("ZUNION 2 a b", "a b"),
        ("LMPOP 3 a b c LEFT", "a b c"),
        ("SINTERCARD 1 a LIMIT 3", "a"),
        ("XREAD STREAMS a b 0 0", "a b"),
        ("XREAD COUNT 2 STREAMS streams 0", "streams"),
        ("XREADGROUP GROUP streams count COUNT 1 NOACK STREAMS a b c 1 2 3", "a b c"),
        ("SORT a", "a"),
        ("SORT a LIMIT 0 5 DESC STORE d", "a d"),
        ("SORT a BY store STORE d STORE e", "a e"),
        ("SORT a GET STORE", "a"),
        ("SORT_RO a ALPHA STORE d", "a"),
        ("GEORADIUS a 1 2 3 km", "a"),
        ("GEORADIUS a 1 2 3 km STORE d", "a d"),
        ("GEORADIUS a 1 2 3 km COUNT 3 STOREDIST d", "a d"),
        ("GEORADIUSBYMEMBER a store 3 km STORE d", "a d"),
        ("GEORADIUSBYMEMBER a m 3 km STORE", "a"),
        ("GEOSEARCHSTORE d a FROMMEMBER m BYRADIUS 1 km", "d a"),
        ("COPY a b", "a b"),
        ("PFCOUNT a b", "a b"),
        ("CONFIG GET x", ""),
        ("SCAN 0", ""),
        ("GET", ""),
    ],
)
def test_keys(text: str, keys: str) -> None:
    found = frame_keys(frame(text))
    assert found.error is None
    assert found.keys == [key.encode() for key in keys.split()]
    words = text.split()
    assert [words[place] for place in found.places] == keys.split()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("EVAL return x", "not_an_integer"),
        ("EVAL return 01 a", "not_an_integer"),
        ("EVAL return 9999999999999999999 a", "not_an_integer"),
        ("EVAL return -1 a", "numkeys_negative"),
        ("EVAL return 2 a", "numkeys_too_large"),
        ("ZUNIONSTORE d 3 a b", "numkeys_too_large"),
        ("XREAD STREAMS a b 0", "unbalanced_streams"),
        ("XREAD COUNT 1 STREAMS", "syntax_error"),
        ("XREAD FOO 1 STREAMS a 0", "syntax_error"),
        ("XREAD COUNT 1 BLOCK 1", "syntax_error"),
    ],
)
def test_malformed_keys(text: str, error: str) -> None:
    found = frame_keys(frame(text))
    assert (found.error, found.keys) == (error, [])


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("XREAD BLOCK 0 STREAMS a 0", "blocking_not_built"),
        ("XREADGROUP GROUP g c COUNT 1 block 5 STREAMS a >", "blocking_not_built"),
        ("XREADGROUP GROUP block c STREAMS a >", None),
        ("XREAD STREAMS block 0", None),
        ("SORT a BY w_*", "sort_by_other_keys"),
        ("SORT a BY nosort", None),
        ("SORT a GET #", None),
        ("SORT a GET # GET o_*", "sort_by_other_keys"),
        ("SORT a LIMIT 0 by STORE get", None),
        ("SORT_RO a GET o_*->f", "sort_by_other_keys"),
        ("COPY a b DB 0 REPLACE", None),
        ("COPY a b DB 1", "one_database"),
        ("COPY a db", None),
        ("COPY db b REPLACE", None),
    ],
)
def test_refused_arguments(text: str, refusal: str | None) -> None:
    assert frame_keys(frame(text)).refusal == refusal


@pytest.mark.parametrize(
    "data", [b"", b"*0\r\n", b"PING\r\n", b"*1\r\n$3\r\nGE", frame("nosuch a"), frame("config nosuch")]
)
def test_only_one_whole_known_request_has_keys(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        frame_keys(data)
