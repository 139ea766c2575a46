"""The admin HTTP server over real sockets and a real slab, and a client that sees every byte."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from dynomite_mp.enums import NodeState, Role
from dynomite_mp.workers import admin_http
from dynomite_mp.workers.cluster_view import ClusterView
from dynomite_mp.workers.live_settings import LiveSettings
from dynomite_mp.workers.node_source import SlabSource
from dynomite_mp.workers.rest_routes import CommandRefused, RestService
from tests.unit.admin_node import CONFIG, FakeNode, fake_node


@dataclass
class Link:
    """The supervisor, and gossip that hears of a state: takes over what it is asked, unless told to refuse."""

    settings: LiveSettings
    node: FakeNode
    asked: list[tuple[str, str | int]] = field(default_factory=list)
    refusal: CommandRefused | None = None
    hangs: bool = False

    async def set(self, key: str, value: str | int) -> None:
        self.asked.append((key, value))
        if self.hangs:
            await asyncio.Event().wait()
        if self.refusal:
            raise self.refusal
        self.settings.put(key, value)
        if key == "node_state":
            self.node.writer(Role.GOSSIP).set_gauge("node_state", NodeState[str(value).upper()])


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def document(self) -> dict:
        return json.loads(self.body)


class Admin:
    """A served application and a client for it."""

    def __init__(self, node: FakeNode, token: str | None = None) -> None:
        self.node = node
        self.token = token
        self.settings = LiveSettings()
        self.link = Link(self.settings, node)
        self.answered: list[int] = []
        self.source = SlabSource(node.slab, node.identity, ClusterView.configured(CONFIG))
        self.port = 0

    @asynccontextmanager
    async def served(self, limit: int = 100, life_s: float = 100.0) -> AsyncIterator["Admin"]:
        service = RestService(self.source, self.settings, self.link)
        self.http = admin_http.HttpServer(service, self.token, self.answered.append, limit, life_s)
        sock = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = sock.getsockname()[:2]
        listener = await asyncio.get_running_loop().create_server(self.http, sock=sock)
        try:
            yield self
        finally:
            listener.close()
            await self.http.shutdown(0.1)

    async def send(self, head: str) -> Reply:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(head.encode())
        raw = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return parse(raw)

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Reply:
        given = {"Host": f"{self.host}:{self.port}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return await self.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n")


def parse(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Reply(int(status.split()[1]), headers, body.decode())


def run(talk: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await talk()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@contextmanager
def healthy_admin(data_dir: Path) -> Iterator[Admin]:
    """An admin of a node on which everything runs."""
    with fake_node(data_dir) as node:
        node.start_all()
        admin = Admin(node)
        for role, index in ((Role.SUPERVISOR, 0), (Role.IO, 0), (Role.IO, 1)):
            node.writer(role, index).heartbeat(admin.source.now_ns())
        yield admin


async def one_turn() -> None:
    """Lets everything that is ready on the loop happen."""
    turned = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turned.set_result, None)
    await turned


def one(admin: Admin, path: str, method: str = "GET", **headers: str) -> Reply:
    """One request to a server of its own."""
    replies: list[Reply] = []

    async def talk() -> None:
        async with admin.served():
            replies.append(await admin.ask(path, method, **headers))

    run(talk)
    return replies[0]
