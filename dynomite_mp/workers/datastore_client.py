"""The replication process's own connection to this node's datastore: a few questions, never a client's request.

What it is: hiredis on an asyncio stream, made again when it was lost. Everything that orders writes with those of
clients goes through the io workers instead (key_holds).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis

from dynomite_mp.errors import DynomiteError
from dynomite_mp.proto.requests import request
from dynomite_mp.workers.base import DatastoreAddress

READ_BYTES = 65536
ANSWER_S = 10.0


class DatastoreUnreachable(DynomiteError):
    """The datastore does not answer now."""


class DatastoreClient:
    """Questions one after the other; a pipeline is one question."""

    def __init__(self, address: DatastoreAddress | None) -> None:
        self._address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._turn = asyncio.Lock()

    async def call(self, *words: str | bytes | int) -> Any:
        """One reply; an error of the datastore is raised."""
        reply = (await self.pipeline([words]))[0]
        if isinstance(reply, hiredis.ReplyError):
            raise DatastoreUnreachable(f"{words[0]!r}: {reply}")
        return reply

    async def pipeline(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """The replies in order, errors among them as values."""
        async with self._turn:
            try:
                async with asyncio.timeout(ANSWER_S):
                    if self._writer is None:
                        await self._connect()
                    return await self._exchange(commands)
            except (OSError, TimeoutError, EOFError, hiredis.ProtocolError) as problem:
                self.close()
                raise DatastoreUnreachable(f"the datastore does not answer: {problem or 'too slow'}") from None

    async def _connect(self) -> None:
        if self._address is None:
            raise DatastoreUnreachable("no datastore is known")
        where = self._address.address
        if where.path:
            self._reader, self._writer = await asyncio.open_unix_connection(where.path)
        else:
            self._reader, self._writer = await asyncio.open_connection(where.host, where.port)
        if self._address.password:
            user = (self._address.user,) if self._address.user else ()
            await self._exchange([("AUTH", *user, self._address.password)])

    async def _exchange(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        assert self._writer is not None and self._reader is not None
        self._writer.write(b"".join([request(*words) for words in commands]))
        parser = hiredis.Reader()
        replies: list[Any] = []
        while len(replies) < len(commands):
            data = await self._reader.read(READ_BYTES)
            if not data:
                raise EOFError("closed by the datastore")
            parser.feed(data)
            while (reply := parser.gets()) is not False:
                replies.append(reply)
        return replies

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
