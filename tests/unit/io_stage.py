"""A data path on its own: one IoPath, a datastore played by the test, clients as raw sockets; all in one loop.

    async with Stage.open() as stage:
        client = await stage.client()
        client.send("GET", "k")
        request = await stage.store.request()     what reached the datastore, as (protocol, [words])
        stage.store.reply(b"$1\r\nv\r\n")         in the order of the requests
        assert await client.reply() == b"v"
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import hiredis

from dynomite_mp.cluster.route import RouteTable
from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.config import Address
from dynomite_mp.enums import Role
from dynomite_mp.ipc.segment import Fabric
from dynomite_mp.ipc.wiring import expand
from dynomite_mp.workers.base import DatastoreAddress
from dynomite_mp.workers.conn import Listener
from dynomite_mp.workers.datastore_link import DatastoreLink
from dynomite_mp.workers.io_path import IoPath
from dynomite_mp.workers.sessions import Sessions

SIZES = {"io_ring_bytes": 65536, "replication_ring_bytes": 65536, "lane_overflow_bytes": 0}


class PlayedStore:
    """The datastore: handshakes are answered, everything else waits for the test."""

    def __init__(self, path: Path, moved: asyncio.Event) -> None:
        self.path = path
        self._moved = moved
        self.waiting: asyncio.Queue[tuple[int, list[bytes]]] = asyncio.Queue()
        self.owed: list[asyncio.StreamWriter] = []  # writer of each request, in order of arrival
        self.writers: list[asyncio.StreamWriter] = []
        self.hello_reply = b"%1\r\n$7\r\nversion\r\n$5\r\n9.9.9\r\n"
        self.ping_reply = b"+PONG\r\n"
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None] | None] = []

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.gather(*(task for task in self._tasks if task), return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.current_task())
        self.writers.append(writer)
        parser = hiredis.Reader()
        protocol = 2
        while data := await reader.read(65536):
            parser.feed(data)
            while (words := parser.gets()) is not False:
                name = words[0].upper()
                if name == b"HELLO":
                    protocol = 3
                    writer.write(self.hello_reply)
                elif name == b"AUTH":
                    writer.write(b"+OK\r\n")
                elif name == b"PING":
                    writer.write(self.ping_reply)
                else:
                    self.owed.append(writer)
                    self.waiting.put_nowait((protocol, words))
                    self._moved.set()

    async def request(self) -> tuple[int, list[bytes]]:
        return await asyncio.wait_for(self.waiting.get(), 5)

    def reply(self, data: bytes) -> None:
        """The reply to the oldest request that has none."""
        self.owed.pop(0).write(data)

    def drop_connections(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()
        self.owed.clear()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._parser = hiredis.Reader()

    def send(self, *words: str | bytes | int) -> None:
        self.writer.write(hiredis.pack_command(words))

    async def reply(self) -> Any:
        while (value := self._parser.gets()) is False:
            data = await asyncio.wait_for(self.reader.read(65536), 5)
            if not data:
                raise EOFError("closed by the node")
            self._parser.feed(data)
        return value

    async def call(self, *words: str | bytes | int) -> Any:
        self.send(*words)
        return await self.reply()

    async def at_eof(self) -> bool:
        return await asyncio.wait_for(self.reader.read(1), 5) == b""

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Gone at once. After close() the other side still answers, as to one who has only half closed."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Stage:
    """With gather_bytes 0 every request leaves at once, whatever the datastore owes."""

    def __init__(self, directory: Path, connections: int = 1, gather_bytes: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()  # something happened that a condition of until() may have waited for
        self._connections = connections
        self._fabric = Fabric.create(
            f"/dmp-test.{os.getpid()}.{id(self)}", expand(1, SIZES), identity={}, boot_id=1
        )
        self.slab = self._fabric.port(Role.IO).slab
        self.sessions = Sessions(listen="test", worker_index=0, worker_count=1)
        self.path = IoPath(
            lambda: self._loop.call_soon(self._turn),
            lambda: self._loop.call_later(0.01, self._tick),
            self.slab,
            self.sessions,
            RouteTable(Topology.build([Node("dc", "rack", "127.0.0.1", 8101, (0,), is_local=True)])),
            datastore_connections=connections,
            gather_bytes=gather_bytes,
        )
        self.store = PlayedStore(directory / "s", self._moved)
        self.links: list[DatastoreLink] = []
        self._sock = socket.socket()
        self._clients: list[Client] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, directory: Path, *, connections: int = 1, gather_bytes: int = 0, hash_tag: bytes = b"", **budgets: int
    ) -> AsyncIterator[Self]:
        stage = cls(directory, connections, gather_bytes)
        try:
            await stage.start(hash_tag, **budgets)
            yield stage
        finally:
            await stage.stop()

    async def start(self, hash_tag: bytes = b"", **budgets: int) -> None:
        settings = {
            "timeout_ms": 2000,
            "client_soft_bytes": 1 << 20,
            "client_hard_bytes": 64 << 20,
            "datastore_bytes": 16 << 20,
            "process_bytes": 1 << 30,
            "peer_timeout_ms": 2000,
            "peer_silence_ms": 500,
            "peer_bytes": 16 << 20,
            "read_level": 0,
            "write_level": 0,
        }
        self.path.configure(hash_name="murmur", hash_tag=hash_tag, **{**settings, **budgets})
        await self.store.start()
        self._loop.add_reader(self.path.fd, self._turn)
        address = DatastoreAddress(Address("", 0, str(self.store.path)), managed=False)
        for group in (0, 1):
            for index in range(self._connections):
                self.links.append(DatastoreLink(self.path, self._loop, address, group, index, self._on_change))
                self.links[-1].start()
        await self.until(lambda: all(link.is_up or link.is_unsupported for link in self.links))
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen(64)
        self.listen_address = self._sock.getsockname()
        self.listener = Listener(self.path, self._sock, self._accept, lambda: None)

    def _accept(self, fd: int, address: Any) -> None:
        self.path.accept(fd, str(address))

    def _turn(self) -> None:
        self.path.turn()
        self._moved.set()

    def _tick(self) -> None:
        if self.path.tick():
            self._loop.call_later(0.01, self._tick)
        self._moved.set()

    def _on_change(self, link: DatastoreLink) -> None:
        if link.hello:
            self.sessions.note_server(link.hello)

    async def until(self, condition: Any) -> None:
        async def wait() -> None:
            while not condition():
                self._moved.clear()
                await self._moved.wait()

        await asyncio.wait_for(wait(), 5)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection(*self.listen_address))
        self._clients.append(client)
        return client

    def cell(self, name: str) -> int:
        return self.slab.get(name)

    async def stop(self) -> None:
        for link in self.links:
            link.close()
        for client in self._clients:
            client.close()
        self._loop.remove_reader(self.path.fd)
        self.path.close_all()
        await self.store.stop()
        self._fabric.close()
