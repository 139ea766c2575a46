"""Reads whole values from this node's own datastore, in pipelines, to compare them: a connection beside the data path.

    async with StoreReader(address) as store:
        cursor, keys = await store.scan(0)
        states = await store.states(keys)          # digest and expiry of each; absent keys are left out

What it is not: it writes nothing, knows no tokens, and decides nothing (cluster/repair.py).

Invariants: no reply is larger than CHUNK elements, but for strings; a value that changes its type between two commands
is left out, as it is being written and will be looked at again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import hiredis

from dynomite_mp.cluster.repair import NEVER_MS, KeyState, value_digest
from dynomite_mp.errors import StoreError
from dynomite_mp.proto.requests import request
from dynomite_mp.workers.base import DatastoreAddress

CHUNK: Final = 5000
SCAN_COUNT: Final = 500
RECEIVE_BYTES: Final = 256 * 1024
TIMEOUT_S: Final = 10.0
GONE_MS: Final = -2

Words = tuple[bytes, ...]


class Pace:
    """Holds a reader to so many keys a second; 0: as fast as it can."""

    def __init__(self, keys_per_s: int) -> None:
        self._keys_per_s = keys_per_s
        self._due_s = 0.0

    async def spent(self, keys: int) -> None:
        if not self._keys_per_s or not keys:
            return
        now_s = asyncio.get_running_loop().time()
        self._due_s = max(self._due_s, now_s - 0.1) + keys / self._keys_per_s
        if self._due_s > now_s:
            await asyncio.sleep(self._due_s - now_s)


def info_field(info: bytes, name: bytes) -> bytes:
    """A line of INFO."""
    for line in info.split(b"\r\n"):
        if line.startswith(name + b":"):
            return line[len(name) + 1 :]
    return b""


class StoreReader:
    """One connection; one task at a time uses it."""

    def __init__(self, address: DatastoreAddress) -> None:
        self._address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._parser = hiredis.Reader()

    async def __aenter__(self) -> Self:
        where = self._address.address
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if where.path:
                    streams = await asyncio.open_unix_connection(where.path)
                else:
                    streams = await asyncio.open_connection(where.host, where.port)
        except (OSError, TimeoutError) as error:
            raise StoreError(f"datastore at {where}: {error or 'no connection in time'}") from error
        self._reader, self._writer = streams
        if self._address.password:
            user, password = self._address.user, self._address.password
            (reply,) = await self.ask([("AUTH", *((user, password) if user else (password,)))])
            if isinstance(reply, Exception):
                raise StoreError(f"datastore at {where}: {reply}", "see datastore_user and datastore_password")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    async def ask(self, commands: Sequence[Sequence[bytes | str | int]]) -> list[Any]:
        """A pipeline; error replies are values of the list. StoreError when the connection is lost."""
        if not commands:
            return []
        assert self._writer is not None
        assert self._reader is not None
        self._writer.write(b"".join([request(*words) for words in commands]))
        replies: list[Any] = []
        try:
            async with asyncio.timeout(TIMEOUT_S + len(commands) / 100):
                while len(replies) < len(commands):
                    reply = self._parser.gets()
                    if reply is not False:
                        replies.append(reply)
                        continue
                    data = await self._reader.read(RECEIVE_BYTES)
                    if not data:
                        raise StoreError(f"datastore at {self._address.address}: closed the connection")
                    self._parser.feed(data)
        except (OSError, TimeoutError) as error:
            raise StoreError(f"datastore at {self._address.address}: {error or 'no reply in time'}") from error
        return replies

    async def run_id(self) -> bytes:
        """Of the process behind this connection."""
        (reply,) = await self.ask([("INFO", "server")])
        if isinstance(reply, Exception):
            raise StoreError(f"datastore at {self._address.address}: {reply}")
        return info_field(_bytes(reply), b"run_id")

    async def scan(self, cursor: int) -> tuple[int, list[bytes]]:
        """The next part of all keys; from 0 until the cursor is 0 again. A key may come twice."""
        (reply,) = await self.ask([("SCAN", cursor, "COUNT", SCAN_COUNT)])
        if isinstance(reply, Exception):
            raise StoreError(f"datastore at {self._address.address}: {reply}")
        return int(reply[0]), list(reply[1])

    async def states(self, keys: Sequence[bytes]) -> dict[bytes, KeyState]:
        """Keys that do not exist are left out."""
        asked = [words for key in keys for words in ((b"TYPE", key), (b"PEXPIRETIME", key))]
        replies = await self.ask(asked)
        if any(isinstance(reply, Exception) for reply in replies[1::2]):
            replies[1::2] = await self._expiries_of_old_stores(keys)
        found: dict[bytes, KeyState] = {}
        plain: list[tuple[bytes, bytes, int]] = []
        for key, kind, expires_ms in zip(keys, replies[::2], replies[1::2], strict=True):
            if expires_ms != GONE_MS and not isinstance(kind, Exception):
                plain.append((key, _bytes(kind), int(expires_ms)))
        for (key, kind, expires_ms), value in zip(plain, await self._values(plain), strict=True):
            if value is not None:
                found[key] = KeyState(value_digest(kind, value), expires_ms)
        return found

    async def _expiries_of_old_stores(self, keys: Sequence[bytes]) -> list[int]:
        """Redis before 7 tells what is left only."""
        now_ms = time.time_ns() // 1_000_000
        left = await self.ask([(b"PTTL", key) for key in keys])
        if failed := next((reply for reply in left if isinstance(reply, Exception)), None):
            raise StoreError(f"datastore at {self._address.address}: {failed}")
        return [now_ms + ms if ms > NEVER_MS else ms for ms in left]

    async def _values(self, wanted: Sequence[tuple[bytes, bytes, int]]) -> list[Any]:
        """Values read whole; None where there is none any more."""
        sized = [place for place, (_, kind, _) in enumerate(wanted) if kind in SIZES]
        sizes = await self.ask([(SIZES[wanted[place][1]], wanted[place][0]) for place in sized])
        large = {
            place: size for place, size in zip(sized, sizes, strict=True) if isinstance(size, int) and size > CHUNK
        }
        small = [place for place in range(len(wanted)) if place not in large]
        replies = await self.ask([_whole(wanted[place][1], wanted[place][0]) for place in small])
        values: dict[int, Any] = dict(zip(small, replies, strict=True))
        for place, size in large.items():
            key, kind, _ = wanted[place]
            values[place] = await IN_PARTS[kind](self, key, size)
        return [None if isinstance(values[place], Exception) else values[place] for place in range(len(wanted))]

    # ---- large values

    async def _list(self, key: bytes, size: int) -> list[bytes] | None:
        return await self._windows(size, lambda at: (b"LRANGE", key, b"%d" % at, b"%d" % (at + CHUNK - 1)))

    async def _zset(self, key: bytes, size: int) -> list[bytes] | None:
        return await self._windows(
            size, lambda at: (b"ZRANGE", key, b"%d" % at, b"%d" % (at + CHUNK - 1), b"WITHSCORES")
        )

    async def _windows(self, size: int, words: Callable[[int], Words]) -> list[bytes] | None:
        found: list[bytes] = []
        for start in range(0, size, CHUNK):
            (part,) = await self.ask([words(start)])
            if isinstance(part, Exception):
                return None
            found += part
        return found

    async def _set(self, key: bytes, size: int) -> list[bytes] | None:
        found = await self._scanned(b"SSCAN", key)
        return None if found is None else list(dict.fromkeys(found))

    async def _hash(self, key: bytes, size: int) -> list[bytes] | None:
        found = await self._scanned(b"HSCAN", key)
        if found is None:
            return None
        fields = dict(zip(found[::2], found[1::2], strict=True))
        return [part for pair in fields.items() for part in pair]

    async def _scanned(self, command: bytes, key: bytes) -> list[bytes] | None:
        found: list[bytes] = []
        cursor = b"0"
        while True:
            (reply,) = await self.ask([(command, key, cursor, b"COUNT", b"%d" % CHUNK)])
            if isinstance(reply, Exception):
                return None
            cursor, part = reply
            found += part
            if cursor == b"0":
                return found

    async def _stream(self, key: bytes, size: int) -> list[Any] | None:
        found: list[Any] = []
        first = b"-"
        while True:
            (part,) = await self.ask([(b"XRANGE", key, first, b"+", b"COUNT", b"%d" % CHUNK)])
            if isinstance(part, Exception):
                return None
            found += part
            if len(part) < CHUNK:
                return found
            first = b"(" + part[-1][0]


SIZES: Final[dict[bytes, bytes]] = {
    b"list": b"LLEN",
    b"set": b"SCARD",
    b"zset": b"ZCARD",
    b"hash": b"HLEN",
    b"stream": b"XLEN",
}
IN_PARTS: Final[dict[bytes, Callable[[StoreReader, bytes, int], Awaitable[Any]]]] = {
    b"list": StoreReader._list,
    b"set": StoreReader._set,
    b"zset": StoreReader._zset,
    b"hash": StoreReader._hash,
    b"stream": StoreReader._stream,
}
READ_WHOLE: Final[dict[bytes, tuple[bytes, ...]]] = {
    b"string": (b"GET",),
    b"list": (b"LRANGE", b"0", b"-1"),
    b"set": (b"SMEMBERS",),
    b"zset": (b"ZRANGE", b"0", b"-1", b"WITHSCORES"),
    b"hash": (b"HGETALL",),
    b"stream": (b"XRANGE", b"-", b"+"),
}


def _whole(kind: bytes, key: bytes) -> Words:
    command, *rest = READ_WHOLE.get(kind, (b"DUMP",))
    return (command, key, *rest)


def _bytes(reply: bytes | str) -> bytes:
    """A status reply may come as text."""
    return reply.encode() if isinstance(reply, str) else reply
