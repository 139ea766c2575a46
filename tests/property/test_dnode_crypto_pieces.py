"""Encrypted payloads come back however the sender cut them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dynomite_mp.errors import ProtocolError
from dynomite_mp.proto.dnode_crypto import PeerCipher
from dynomite_mp.proto.dnode_frames import whole_request

KEYS = st.binary(min_size=32, max_size=32)
SIZES = st.sampled_from([512, 528, 1024, 16384])
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).map(str.encode)


def request(args: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


@settings(max_examples=100, deadline=None)
@given(KEYS, SIZES, st.binary(max_size=3000))
def test_what_is_sealed_comes_back(key: bytes, mbuf_size_bytes: int, plain: bytes) -> None:
    sealed = PeerCipher(key, mbuf_size_bytes).seal(plain)
    opened = PeerCipher(key, mbuf_size_bytes).open(sealed)
    assert opened == plain


@settings(max_examples=150, deadline=None)
@given(KEYS, st.lists(TEXT, min_size=1, max_size=60), st.data())
def test_text_cut_anywhere(key: bytes, args: list[bytes], data: st.DataObject) -> None:
    plain = request(args)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(plain)), max_size=5)))
    cipher = PeerCipher(key, 512)
    sealed = b"".join(cipher.seal(plain[a:b]) for a, b in zip([0, *cuts], [*cuts, len(plain)], strict=True))
    assert cipher.open(sealed, whole_request) == plain


@settings(max_examples=150, deadline=None)
@given(KEYS, st.binary(max_size=600) | st.lists(st.sampled_from(range(1, 17)), max_size=600).map(bytes), st.data())
def test_any_value_cut_anywhere_comes_back_or_is_refused(key: bytes, value: bytes, data: st.DataObject) -> None:
    plain = request([b"SET", b"key", value])
    place = data.draw(st.integers(1, len(plain) - 1))
    cipher = PeerCipher(key, 512)
    try:
        assert cipher.open(cipher.seal(plain[:place]) + cipher.seal(plain[place:]), whole_request) == plain
    except ProtocolError:
        assert len(value) > 1


@settings(max_examples=100, deadline=None)
@given(KEYS, st.integers(1, 64).map(lambda blocks: blocks * 16), st.randoms(use_true_random=False))
def test_random_bytes_open_to_a_message_or_to_nothing(key: bytes, size_bytes: int, random: object) -> None:
    sealed = random.randbytes(size_bytes)  # type: ignore[attr-defined]
    try:
        plain = PeerCipher(key, 512).open(sealed, whole_request)
    except ProtocolError:
        return
    assert whole_request(plain)
