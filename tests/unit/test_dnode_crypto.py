"""Encryption of peer frames: known bytes, pieces of unusual size, what is refused."""

import subprocess
import sys
from itertools import accumulate, pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dynomite_mp.errors import ConfigError, ProtocolError
from dynomite_mp.proto.dnode_crypto import ClusterKey, PeerCipher
from dynomite_mp.proto.dnode_frames import whole_reply, whole_request
from tests.unit.dnode_recordings import MBUF_SIZE_BYTES, cluster_key

KEY = bytes(range(32))
GET = b"*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n"
PIECE = MBUF_SIZE_BYTES - 64


def cipher(mbuf_size_bytes: int = MBUF_SIZE_BYTES) -> PeerCipher:
    return PeerCipher(KEY, mbuf_size_bytes)


def set_request(value: bytes) -> bytes:
    return b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$%d\r\n%s\r\n" % (len(value), value)


def cut(plain: bytes, sizes: tuple[int, ...]) -> list[bytes]:
    places = [0, *accumulate(sizes), len(plain)]
    return [plain[start:end] for start, end in pairwise(places)]


def sealed_in(plain: bytes, *sizes: int) -> bytes:
    """Sealed in pieces of these sizes, the rest in pieces as C's."""
    return b"".join(cipher().seal(part) for part in cut(plain, sizes))


@pytest.mark.parametrize(
    ("plain", "sealed"),
    [
        (GET, "4e030b9119fe748a4e7bbb07aa493ca8b9cf950574b744c062949e4e3e5d9b0c"),
        (b"+OK\r\n", "c0c1151660cc8e2223a0497ca41dc189"),
    ],
)
def test_known_bytes(plain: bytes, sealed: str) -> None:
    assert cipher().seal(plain).hex() == sealed
    assert cipher().open(bytes.fromhex(sealed)) == plain


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 5])
def test_what_is_sealed_comes_back(size: int) -> None:
    plain = bytes(i % 251 for i in range(size))
    sealed = cipher().seal(plain)
    pieces = max(1, -(-size // PIECE))
    assert len(sealed) == sum(16 * (len(plain[i * PIECE : (i + 1) * PIECE]) // 16 + 1) for i in range(pieces))
    assert cipher().open(sealed) == plain


# What a C node writes whose message began inside a buffer, whatever the value holds.
@pytest.mark.parametrize(
    ("fill", "sizes"),
    [
        *((b"x", sizes) for sizes in ((1,), (700,), (16304,), (PIECE, 700), (PIECE - 40, PIECE - 8))),
        *((bytes(range(256)), sizes) for sizes in ((1,), (700,), (16304,), (PIECE, 700), (PIECE - 40, PIECE - 8))),
        *((b"\x01", sizes) for sizes in ((1,), (700,), (16310,))),
    ],
)
def test_short_pieces_are_found(fill: bytes, sizes: tuple[int, ...]) -> None:
    plain = set_request(fill * (40000 // len(fill)))
    assert cipher().open(sealed_in(plain, *sizes), whole_request) == plain


# What no C node writes, in text.
@pytest.mark.parametrize(
    ("value_bytes", "sizes"),
    [
        (40000, (PIECE, 5, PIECE)),
        (40000, (16, 16, 16)),  # a whole block of padding each
        (300, (3, 3, 3, 3)),  # pieces of one block
        (300, (0, 100, 0)),  # empty pieces
        (70000, (40000, 20000)),  # larger buffers
    ],
)
def test_pieces_of_any_size_are_found(value_bytes: int, sizes: tuple[int, ...]) -> None:
    plain = set_request(b"x" * value_bytes)
    sealed = b"".join(PeerCipher(KEY, 512000).seal(part) for part in cut(plain, sizes))
    assert cipher().open(sealed, whole_request) == plain


def test_what_can_be_read_in_two_ways_is_refused() -> None:
    plain = set_request((b"\x01" * 15 + b"\x02") * 30 + b"\x10" * 320)
    opened = 0
    for first in range(1, len(plain), 3):
        try:
            assert cipher().open(sealed_in(plain, first), whole_request) == plain
            opened += 1
        except ProtocolError:
            pass
    assert len(plain) / 6 < opened < len(plain) // 3


def test_another_buffer_size_is_found() -> None:
    plain = set_request(b"v" * 3000)
    assert cipher(16384).open(cipher(512).seal(plain), whole_request) == plain
    assert cipher(512).open(cipher(16384).seal(plain), whole_request) == plain


def test_without_a_check_only_the_pieces_of_a_c_node_are_taken() -> None:
    plain = set_request(b"v" * 40000)
    with pytest.raises(ProtocolError):
        cipher().open(sealed_in(plain, 700))


@pytest.mark.parametrize("sealed", [b"", b"x", b"x" * 17])
def test_not_whole_blocks(sealed: bytes) -> None:
    with pytest.raises(ProtocolError, match="whole cipher blocks"):
        cipher().open(sealed)


def test_another_key_does_not_open() -> None:
    for plain in (GET, set_request(bytes(range(256)) * 400)):
        with pytest.raises(ProtocolError):
            PeerCipher(KEY[::-1], MBUF_SIZE_BYTES).open(cipher().seal(plain), whole_request)


def test_a_reply_is_no_request() -> None:
    sealed = cipher().seal(b"-ERR no\r\n")
    assert cipher().open(sealed, whole_reply) == b"-ERR no\r\n"
    with pytest.raises(ProtocolError):
        cipher().open(sealed, lambda plain: plain.startswith(b"*"))


@pytest.mark.parametrize("mbuf_size_bytes", [0, 496, 1000])
def test_buffers_that_c_does_not_have(mbuf_size_bytes: int) -> None:
    with pytest.raises(ConfigError):
        PeerCipher(KEY, mbuf_size_bytes)


def test_wrapped_keys() -> None:
    key = cluster_key()
    assert key.fits_c_nodes
    wrapped = key.wrap(KEY)
    assert len(wrapped) == key.modulus_bytes == 128
    assert wrapped != key.wrap(KEY)
    assert key.unwrap(wrapped) == KEY


@pytest.mark.parametrize("data", [b"", b"d", bytes(128), b"\xff" * 128, b"k" * 129])
def test_what_is_no_wrapped_key(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        cluster_key().unwrap(data)


@pytest.mark.parametrize("session_key", [b"", KEY[:16], KEY + b"x"])
def test_keys_of_another_length(session_key: bytes) -> None:
    with pytest.raises(ProtocolError):
        cluster_key().wrap(session_key)
    with pytest.raises(ProtocolError):
        PeerCipher(session_key, MBUF_SIZE_BYTES)


def test_pem() -> None:
    pem = cluster_key()._key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert ClusterKey.from_pem(pem).unwrap(cluster_key().wrap(KEY)) == KEY


def test_pem_of_something_else() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for wrong in (b"", b"not a key", pem):
        with pytest.raises(ConfigError, match="key"):
            ClusterKey.from_pem(wrong)


def test_cryptography_is_imported_when_it_is_used() -> None:
    code = (
        "import sys; from dynomite_mp.proto import dnode_crypto, dnode_frames;"
        "cipher = dnode_crypto.PeerCipher(bytes(32), 16384);"
        "assert not any(name.startswith('cryptography') for name in sys.modules);"
        "sys.modules['cryptography.hazmat.primitives.ciphers'] = None;"
        "cipher.seal(b'x')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigError: encrypted peer traffic needs the cryptography package" in done.stderr
