"""Encryption of peer frames as C Dynomite does it: one AES key per connection, sent once under the cluster's RSA key.

    first frame of a connection       *128 <RSA-OAEP of 32 random bytes>  *N <ciphertext>
    all others, and every answer      *1 d                                *N <ciphertext>

The cipher is AES-128-CBC; the first 16 of the 32 bytes are its key and its initial vector, for every piece anew. A
payload is encrypted in pieces, each padded on its own, and no length of a piece goes over the wire: the pieces of a C
node are its buffers. A C node reads what is cut every `mbuf_size - 64` bytes; what it writes may have other pieces
where a message began inside a buffer, and `open` finds them by their padding and by the payload being one message; it
refuses what can be read in two ways.

This is what C Dynomite has, not what protects a network: it proves no origin, repeats its vectors and shares one RSA
key. Nothing here draws random bytes for keys (the caller brings them), reads files, or knows connections.

Invariants: `open` gives back what `seal` took; it raises ProtocolError or gives back bytes that end in sound padding
and satisfy the check, whatever comes in. The `cryptography` package is imported when a key is first used.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from heapq import heappop, heappush
from itertools import count, islice, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from dynomite_mp.errors import ConfigError, ProtocolError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.padding import OAEP
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CBC

SESSION_KEY_BYTES = 32
C_MODULUS_BYTES = 128  # a C node has room for no other
BLOCK_BYTES = 16
LEAST_MBUF_BYTES = 512
MBUF_HEADROOM_BYTES = 64  # what a C node leaves free of a buffer that it encrypts
MOST_ATTEMPTS = 100  # ways of cutting a payload that are tried in each order, before it counts as broken
MOST_ATTEMPTED_BYTES = 16 << 20  # fewer, so that a large one does not keep the process for seconds
MOST_STEPS = 1000  # choices of an end on the way to them
MOST_ENDS = 4096  # places where a piece may end, beyond which a payload is not searched

Check = Callable[[bytes], bool]
Choice = tuple[int, int]  # an end, and 1 if it is an odd one


def _missing(error: ImportError) -> ConfigError:
    return ConfigError(
        f"encrypted peer traffic needs the cryptography package ({error})", "pip install 'dynomite-mp[crypto]'"
    )


class ClusterKey:
    """The RSA key that all nodes of a cluster share; wraps the key of a connection."""

    def __init__(self, private_key: RSAPrivateKey) -> None:
        self._key = private_key

    @classmethod
    def from_pem(cls, pem: bytes) -> ClusterKey:
        """The key of `pem_key_file`: RSA, PEM, no passphrase."""
        try:
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key
        except ImportError as error:
            raise _missing(error) from error
        hint = "pem_key_file has to name the RSA private key in PEM form, without a passphrase, that all nodes share"
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"the RSA key cannot be read: {error}", hint) from error
        if not isinstance(key, RSAPrivateKey):
            raise ConfigError("the key of the peers is not an RSA key", hint)
        return cls(key)

    @property
    def modulus_bytes(self) -> int:
        """Length of a wrapped key."""
        return (self._key.key_size + 7) // 8

    @property
    def fits_c_nodes(self) -> bool:
        """Whether a C node can be spoken to with this key; a longer one would overrun its memory."""
        return self.modulus_bytes == C_MODULUS_BYTES

    def wrap(self, session_key: bytes) -> bytes:
        """The data field that brings the key of a connection; differs each time."""
        _check_session_key(session_key)
        return self._key.public_key().encrypt(session_key, _oaep())

    def unwrap(self, data: bytes) -> bytes:
        """The key of a connection from the data field of its first encrypted frame."""
        try:
            session_key = self._key.decrypt(data, _oaep())
        except ValueError as error:
            raise ProtocolError("the key of a peer connection cannot be unwrapped", _KEYS_DIFFER) from error
        if len(session_key) != SESSION_KEY_BYTES:
            raise ProtocolError(f"the key of a peer connection has {len(session_key)} bytes", _KEYS_DIFFER)
        return session_key


_KEYS_DIFFER = "give all nodes the same pem_key_file"


def _oaep() -> OAEP:
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.hashes import SHA1

    return OAEP(MGF1(SHA1()), SHA1(), None)


def _check_session_key(session_key: bytes) -> None:
    if len(session_key) != SESSION_KEY_BYTES:
        raise ProtocolError(f"a key of {len(session_key)} bytes, where {SESSION_KEY_BYTES} are needed")


class PeerCipher:
    """Seals and opens the payloads of one connection, both directions."""

    def __init__(self, session_key: bytes, mbuf_size_bytes: int) -> None:
        """`session_key`: 32 random bytes; `mbuf_size_bytes`: of the configuration, the same on all nodes."""
        _check_session_key(session_key)
        if mbuf_size_bytes < LEAST_MBUF_BYTES or mbuf_size_bytes % BLOCK_BYTES:
            raise ConfigError(f"mbuf_size {mbuf_size_bytes} cannot be encrypted", "use a multiple of 16 from 512 on")
        self._key = session_key[:BLOCK_BYTES]
        self._plain_bytes = mbuf_size_bytes - MBUF_HEADROOM_BYTES
        self._sealed_bytes = self._plain_bytes + BLOCK_BYTES
        self._cipher: Cipher[CBC] | None = None

    def seal(self, plain: bytes) -> bytes:
        """The payload as it goes out; its length is the payload length of the frame."""
        cipher = self._ready_cipher()
        out = []
        for start in range(0, len(plain), self._plain_bytes) or (0,):
            piece = plain[start : start + self._plain_bytes]
            padding = BLOCK_BYTES - len(piece) % BLOCK_BYTES
            encryptor = cipher.encryptor()
            out.append(encryptor.update(piece + bytes((padding,)) * padding))
        return b"".join(out)

    def open(self, sealed: bytes, is_whole: Check | None = None) -> bytes:
        """The plaintext of a payload; `is_whole` says of a candidate whether it is one whole message.

        Without a check the pieces are those that a C node would take, and their padding has to be sound.
        """
        if not sealed or len(sealed) % BLOCK_BYTES:
            raise ProtocolError(f"an encrypted payload of {len(sealed)} bytes is not whole cipher blocks")
        pieces = _Pieces(sealed, self._key, self._ready_cipher())
        step = self._sealed_bytes // BLOCK_BYTES
        ends = [*range(step, pieces.blocks, step), pieces.blocks]
        if all(pieces.is_piece(start, end) for start, end in pairwise((0, *ends))):
            plain = pieces.join(ends)
            if is_whole is None or is_whole(plain):
                return plain
        found = _search(pieces, step, is_whole) if is_whole is not None else None
        if found is None:
            raise ProtocolError("an encrypted payload does not decrypt to a message", "compare mbuf_size of both nodes")
        return found

    def _ready_cipher(self) -> Cipher[CBC]:
        if self._cipher is None:
            try:
                from cryptography.hazmat.primitives.ciphers import Cipher
                from cryptography.hazmat.primitives.ciphers.algorithms import AES
                from cryptography.hazmat.primitives.ciphers.modes import CBC
            except ImportError as error:
                raise _missing(error) from error
            self._cipher = Cipher(AES(self._key), CBC(self._key))
        return self._cipher


def _search(pieces: _Pieces, step: int, is_whole: Check) -> bytes | None:
    """The message, if one way of cutting gives one, and no other way that is as plain does.

    A value may hold what looks like padding, and then a wrong cut can have the right length. Guessing would store a
    broken value.
    """
    attempts = min(MOST_ATTEMPTS, 1 + MOST_ATTEMPTED_BYTES // (pieces.blocks * BLOCK_BYTES))
    for choose in (partial(pieces.surest_first, step), pieces.shortest_first):
        message: bytes | None = None
        found_oddity = -1
        for oddity, ends in islice(pieces.ways(choose), attempts):
            if 0 <= found_oddity < oddity:
                break
            plain = pieces.join(ends)
            if is_whole(plain):
                if found_oddity >= 0:
                    return None
                message, found_oddity = plain, oddity
        if message is not None:
            return message
    return None


class _Step(NamedTuple):
    oddity_before: int
    start: int
    nth: int
    end: int
    way: tuple[int, ...]


class _Pieces:
    """A payload decrypted once, as if it were one piece, and the ways to cut it.

    Cutting it elsewhere changes one block only: the first of a piece, which is combined with the initial vector instead
    of with the block before it. Places are block numbers; an end is the number of the block behind a piece.
    """

    def __init__(self, sealed: bytes, vector: bytes, cipher: Cipher[CBC]) -> None:
        self._sealed = sealed
        self._vector = int.from_bytes(vector)
        self._joined = cipher.decryptor().update(sealed)
        self.blocks = len(sealed) // BLOCK_BYTES
        self._choices: dict[int, list[Choice]] = {}

    def first_block(self, start: int) -> bytes:
        """Plaintext of block `start` if a piece starts there."""
        at = start * BLOCK_BYTES
        block = self._joined[at : at + BLOCK_BYTES]
        if start == 0:
            return block
        before = int.from_bytes(self._sealed[at - BLOCK_BYTES : at])
        return (int.from_bytes(block) ^ before ^ self._vector).to_bytes(BLOCK_BYTES)

    def last_block(self, start: int, end: int) -> bytes:
        """Plaintext of the last block of a piece."""
        if end - start == 1:
            return self.first_block(start)
        return self._joined[(end - 1) * BLOCK_BYTES : end * BLOCK_BYTES]

    def is_piece(self, start: int, end: int) -> bool:
        """Whether the padding of this piece is sound."""
        return _padding(self.last_block(start, end)) > 0

    @cached_property
    def far_ends(self) -> list[int]:
        """Where a piece of two blocks or more may end, ascending; one block in 256 of random bytes is among them."""
        last_bytes = self._joined[BLOCK_BYTES - 1 :: BLOCK_BYTES]
        candidates = (found.end() for found in re.finditer(rb"[\x01-\x10]", last_bytes))
        ends = (end for end in candidates if end > 1 and self.is_piece(end - 2, end))
        return list(islice(ends, MOST_ENDS + 1))

    def surest_first(self, most: int, start: int, nth: int) -> Choice | None:
        """Number `nth` of the ends of a piece that starts at `start`, for a writer whose full buffer has `most` blocks.

        Full buffers and the end of the payload are plain, any other end is odd; there, a long padding does not come
        about by chance.
        """
        choices = self._choices.get(start)
        if choices is None:
            low, high = bisect_left(self.far_ends, start + 2), bisect_right(self.far_ends, start + most)
            ends = [start + 1] if self.is_piece(start, start + 1) else []
            ends += self.far_ends[low:high]
            ends.sort(key=lambda end: (_padding(self.last_block(start, end)), end), reverse=True)
            choices = [(end, int(end not in (start + most, self.blocks))) for end in ends]
            choices.sort(key=itemgetter(1))
            self._choices[start] = choices
        return choices[nth] if nth < len(choices) else None

    def shortest_first(self, start: int, nth: int) -> Choice | None:
        """As surest_first, for a writer of whom nothing is known: passing over what looks like padding is odd."""
        alone = self.is_piece(start, start + 1)
        if alone and nth == 0:
            return start + 1, 0
        place = bisect_left(self.far_ends, start + 2) + nth - alone
        return (self.far_ends[place], int(nth > 0)) if place < len(self.far_ends) else None

    def ways(self, choose: Callable[[int, int], Choice | None]) -> Iterator[tuple[int, list[int]]]:
        """Oddity and ends of the ways to cut, those of the least oddity first, and of these the first choices first."""
        if len(self.far_ends) > MOST_ENDS:
            return
        order = count()
        waiting: list[tuple[int, int, int, _Step]] = []

        def push(oddity: int, group: int, start: int, nth: int, way: tuple[int, ...]) -> None:
            # What follows without a new oddity is of the same group: one way is finished before the next begins.
            choice = choose(start, nth)
            if choice is not None:
                end, odd = choice
                turn = next(order)
                heappush(waiting, (oddity + odd, turn if odd else group, turn, _Step(oddity, start, nth, end, way)))

        push(0, 0, 0, 0, ())
        for _ in range(MOST_STEPS):
            if not waiting:
                return
            oddity, group, _, step = heappop(waiting)
            push(step.oddity_before, group, step.start, step.nth + 1, step.way)
            way = (*step.way, step.end)
            if step.end == self.blocks:
                yield oddity, list(way)
            else:
                push(oddity, group, step.end, 0, way)

    def join(self, ends: Sequence[int]) -> bytes:
        """The plaintext without the paddings."""
        out = []
        for start, end in pairwise((0, *ends)):
            size = _padding(self.last_block(start, end))
            piece = self.first_block(start) + self._joined[(start + 1) * BLOCK_BYTES : end * BLOCK_BYTES]
            out.append(piece[:-size])
        return b"".join(out)


def _padding(block: bytes) -> int:
    """Length of the padding that a block ends in; 0 if it is not sound."""
    size = block[-1]
    return size if 0 < size <= BLOCK_BYTES and block.endswith(bytes((size,)) * size) else 0
