"""What a connection must receive, byte for byte, checked as it arrives: no reply is parsed and none is stored.

Values are made from key and version: 32 bytes of BLAKE2 over both, over and over, cut to the wanted size. So an
expected value of 5 MB costs no memory, and a byte of another key, another version or another place is seen at once.
"""

from __future__ import annotations

import hashlib
from collections import deque

_BLOCK_COPIES = 2048
BLOCK_BYTES = 32 * _BLOCK_COPIES


def pattern(key: bytes, version: int) -> bytes:
    """The 32 bytes that the value of `key` at `version` repeats."""
    return hashlib.blake2b(b"%s %d" % (key, version), digest_size=32).digest()


def value(key: bytes, version: int, size: int) -> bytes:
    """The whole value; for small ones."""
    return (pattern(key, version) * (size // 32 + 1))[:size]


class ValuePieces:
    """A value in pieces of at most BLOCK_BYTES, from any offset."""

    def __init__(self, key: bytes, version: int, size: int) -> None:
        self.size = size
        self.block = pattern(key, version) * (_BLOCK_COPIES + 1)

    def piece(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`."""
        start = offset % 32
        return self.block[start : start + min(size, BLOCK_BYTES, self.size - offset)]


class Expected:
    """One reply that is due."""

    __slots__ = ("about", "exact", "key", "size", "version")

    def __init__(self, about: str, exact: bytes, key: bytes = b"", version: int = 0, size: int = 0) -> None:
        self.about = about  # the command, for the message about a wrong reply
        self.exact = exact  # the whole reply, or the head of a bulk whose body is the value, or the begin of a line
        self.key = key
        self.version = version
        self.size = size  # -1: a line that begins with `exact`; 0: exactly `exact`; else: `exact`, value, CRLF


class WrongReplyError(Exception):
    """Bytes came that were not due."""


class ReplyChecker:
    """Eats the bytes of one connection and holds them against the replies that are due, in order."""

    def __init__(self) -> None:
        self.due: deque[Expected] = deque()
        self.checked = 0
        self.checked_bytes = 0
        self._offset = 0  # bytes of the first due reply that came already
        self._pieces: ValuePieces | None = None
        self._line = bytearray()

    def feed(self, data: bytes) -> None:
        """Check the next bytes; raises WrongReplyError."""
        view = memoryview(data)
        self.checked_bytes += len(data)
        while view:
            if not self.due:
                raise WrongReplyError(f"{len(view)} bytes came though no reply was due: {bytes(view[:60])!r}")
            first = self.due[0]
            if first.size == 0 and self._offset == 0:
                took = self._small_replies(view)
                if took:
                    view = view[took:]
                    continue
            took, done = self._line_reply(first, view) if first.size < 0 else self._known_reply(first, view)
            view = view[took:]
            if done:
                self.due.popleft()
                self.checked += 1
                self._offset = 0
                self._pieces = None

    def _small_replies(self, view: memoryview) -> int:
        """Check as many whole known replies as `view` may hold at once; 0 leaves it to the slow way."""
        parts, total = [], 0
        for reply in self.due:
            total += len(reply.exact)
            if reply.size != 0 or total > len(view):
                break
            parts.append(reply.exact)
        known = b"".join(parts)
        if len(parts) < 2 or view[: len(known)] != known:
            return 0
        for _ in parts:
            self.due.popleft()
        self.checked += len(parts)
        return len(known)

    def _line_reply(self, first: Expected, view: memoryview) -> tuple[int, bool]:
        chunk = bytes(view[:4096])
        end = chunk.find(b"\n")
        took = len(chunk) if end < 0 else end + 1
        self._line += chunk[:took]
        if end < 0:
            if len(self._line) > 4096:
                self._wrong(first, bytes(self._line[:60]), first.exact)
            return took, False
        if not self._line.startswith(first.exact) or not self._line.endswith(b"\r\n"):
            self._wrong(first, bytes(self._line[:80]), first.exact)
        self._line.clear()
        return took, True

    def _known_reply(self, first: Expected, view: memoryview) -> tuple[int, bool]:
        head = len(first.exact)
        total = head + (first.size + 2 if first.size else 0)
        if self._offset < head:
            wanted = first.exact[self._offset : self._offset + len(view)]
        elif self._offset < head + first.size:
            if self._pieces is None:
                self._pieces = ValuePieces(first.key, first.version, first.size)
            wanted = self._pieces.piece(self._offset - head, len(view))
        else:
            wanted = b"\r\n"[self._offset - head - first.size :][: len(view)]
        if view[: len(wanted)] != wanted:
            self._wrong(first, bytes(view[: len(wanted) + 200]), wanted)
        self._offset += len(wanted)
        return len(wanted), self._offset == total

    def _wrong(self, first: Expected, got: bytes, wanted: bytes) -> None:
        place = next((n for n, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), 0)
        raise WrongReplyError(
            f"reply {self.checked + 1}, to {first.about}, byte {self._offset + place}: "
            f"wanted {wanted[place : place + 60]!r}, got {got[place : place + 120]!r}"
        )
