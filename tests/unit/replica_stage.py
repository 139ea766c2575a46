"""The data path with two other racks, whose nodes the test plays, and the ring to the replication process.

async with ReplicaStage.open(tmp_path) as stage:
    client = await stage.client()
    client.send("SET", "k", "v")
    await stage.store.request()
    frame = await stage.peers[0].request()      rack r2's copy
    stage.peers[0].reply(frame, b"+OK\\r\\n")
    stage.records()                             what the replication process was told, as (name, fields)
"""

import asyncio
import socket
from pathlib import Path
from typing import Any

import hiredis

from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.enums import Role
from dynomite_mp.ipc import messages
from dynomite_mp.ipc.proxies import Proxies
from dynomite_mp.ipc.wiring import Endpoint
from dynomite_mp.proto.dnode import DNODE_REQ, DNODE_RES, DNODE_VERSION_OURS
from dynomite_mp.proto.dnode_frames import DnodeFrame, DnodeFramer, encode_frame
from dynomite_mp.workers.peer_mesh import PeerLink, PeerMesh
from dynomite_mp.workers.remote_lane import RemoteLane
from tests.unit.io_stage import Stage

REPLICATION = Endpoint(Role.REPLICATION, 0)
NODE_ID, BOOT_ID = 4711, 3


class PlayedPeer:
    """Another node of ours: the first question is answered, everything else waits for the test."""

    def __init__(self, moved: asyncio.Event, version: int = DNODE_VERSION_OURS) -> None:
        self._moved = moved
        self.version = version
        self.waiting: asyncio.Queue[DnodeFrame] = asyncio.Queue()
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None] | None] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self, *, small_buffers: bool = False) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        if small_buffers:
            self._server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Gone, as a killed process is: its connections are reset."""
        assert self._server is not None
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.gather(*(task for task in self._tasks if task), return_exceptions=True)
        self.writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.current_task())
        self.writers.append(writer)
        framer = DnodeFramer()
        while data := await reader.read(65536):
            for frame in framer.feed(data):
                if frame.payload.upper().endswith(b"$4\r\nPING\r\n"):
                    self.reply(frame, b"+PONG\r\n")
                else:
                    self.waiting.put_nowait(frame)
                    self._moved.set()

    async def request(self) -> DnodeFrame:
        return await asyncio.wait_for(self.waiting.get(), 5)

    def reply(self, frame: DnodeFrame, payload: bytes, data: bytes = b"d") -> None:
        self.writers[-1].write(encode_frame(frame.id, DNODE_RES, payload, version=self.version, data=data))


class AskingPeer:
    """A node that sends requests to this one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int) -> None:
        self._reader = reader
        self.writer = writer
        self.version = version
        self._framer = DnodeFramer()
        self._frames: list[DnodeFrame] = []
        self._sent = 0

    def send(self, payload: bytes, data: bytes = b"d", kind: int = DNODE_REQ) -> None:
        self._sent += 1
        self.writer.write(encode_frame(self._sent, kind, payload, version=self.version, data=data))

    async def at_eof(self) -> bool:
        return await self._reader.read(1) == b""

    def has_reply(self) -> bool:
        return bool(self._frames) or bool(self._reader._buffer)  # type: ignore[attr-defined]

    async def reply(self) -> DnodeFrame:
        while not self._frames:
            self._frames += self._framer.feed(await asyncio.wait_for(self._reader.read(65536), 5))
        return self._frames.pop(0)


class ReplicaStage(Stage):
    """Racks r1 (this node), r2 and r3 of one datacenter, a node each."""

    def __init__(self, directory: Path, connections: int = 1, gather_bytes: int = 0) -> None:
        super().__init__(directory, connections, gather_bytes)
        self.peers = [PlayedPeer(self._moved), PlayedPeer(self._moved)]
        self.port = self._fabric.port(Role.IO)
        self.proxies = Proxies(self.port)
        self._askers: list[AskingPeer] = []
        self.mesh = PeerMesh(
            self.path, self._loop, connections=1, bind_host="", key=None,
            is_secured=lambda _here, _there: False, on_change=self._on_peer_change,
        )  # fmt: skip

    async def start(self, hash_tag: bytes = b"", **budgets: int) -> None:
        await super().start(hash_tag, **budgets)
        for peer in self.peers:
            await peer.start()
        self.path.set_remote(self.new_lane())
        self.skews: list[str] = []
        self.path.set_identity(NODE_ID, BOOT_ID, 0, skew_max_ms=5000, on_skew=self.skews.append)
        self.mesh.swap(self.topology())
        await self.until(self.mesh.all_up)

    def new_lane(self, write_wait_ms: int = 1000) -> RemoteLane:
        return RemoteLane(
            self.port.outbound[REPLICATION], self.port.doorbell_of(REPLICATION), self.proxies.to(REPLICATION).outbox,
            self.slab, worker_index=0, boot=1, read_wait_ms=1000, write_wait_ms=write_wait_ms,
        )  # fmt: skip

    def topology(self, *, with_neighbour: bool = False) -> Topology:
        """`with_neighbour`: the first peer is in this node's rack and owns nearly all of it."""
        if with_neighbour:
            return Topology.build(
                [
                    Node("dc", "r1", "127.0.0.1", 8101, (2**32 - 1,), is_local=True),
                    Node("dc", "r1", "127.0.0.1", self.peers[0].port, (2**32 - 2,)),
                    Node("dc", "r2", "127.0.0.1", self.peers[1].port, (0,)),
                ],
                version=2,
            )
        nodes = [Node("dc", "r1", "127.0.0.1", 8101, (0,), is_local=True)]
        nodes += [Node("dc", f"r{i}", "127.0.0.1", peer.port, (0,)) for i, peer in enumerate(self.peers, 2)]
        return Topology.build(nodes)

    def _on_peer_change(self, _link: PeerLink) -> None:
        self._moved.set()

    async def asking_peer(self, version: int = DNODE_VERSION_OURS) -> AskingPeer:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.path.accept_peer(ours.detach(), "peer", None)
        peer = AskingPeer(*await asyncio.open_connection(sock=theirs), version)
        self._askers.append(peer)
        return peer

    def records(self) -> list[tuple[str, tuple[Any, ...]]]:
        """What has been handed to the replication process since the last call."""
        found: list[tuple[str, tuple[Any, ...]]] = []
        for sender, ring in self._fabric.port(Role.REPLICATION).inbound:
            if sender.role is Role.IO:
                ring.drain(lambda kind, data: found.append((messages.MESSAGES[kind].name, messages.decode(kind, data))))
        return found

    async def record(self) -> tuple[str, tuple[Any, ...]]:
        """The next one, which is the only one."""
        found: list[tuple[str, tuple[Any, ...]]] = []
        await self.until(lambda: found.extend(self.records()) or found)
        assert len(found) == 1, found
        return found[0]

    async def stop(self) -> None:
        self.mesh.close()
        for asker in self._askers:
            asker.writer.close()
        await super().stop()
        for peer in self.peers:
            await peer.stop()


def words(frame: DnodeFrame) -> list[bytes]:
    """The request in a frame."""
    reader = hiredis.Reader()
    reader.feed(frame.payload)
    found: list[bytes] = reader.gets()
    return found
