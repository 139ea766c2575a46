"""The admin worker on its rings and its socket; the supervisor's end of the rings is played by the test."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
import uvloop

from dynomite_mp.config import Address, Seed
from dynomite_mp.enums import Role
from dynomite_mp.ipc.proxies import Proxies, dispatch
from dynomite_mp.ipc.wiring import Endpoint
from dynomite_mp.workers.admin import AdminWorker, SupervisorLink
from dynomite_mp.workers.base import WorkerContext
from dynomite_mp.workers.rest_routes import CommandRefused
from dynomite_mp.workers.topology_source import configured_topology
from tests.unit.admin_client import one_turn
from tests.unit.admin_node import CONFIG, FakeNode, fake_node

ADMIN = Endpoint(Role.ADMIN, 0)


class Supervisor:
    """Answers every COMMAND as told."""

    def __init__(self, node: FakeNode) -> None:
        self.port = node.port(Role.SUPERVISOR)
        self.proxies = Proxies(self.port)
        self.commands: list[tuple[str, Any]] = []
        self.refusal: str | None = None

    def on_command(self, sender: Endpoint, verb: str, args: Any, request_id: int) -> None:
        self.commands.append((verb, tuple(args)))
        if self.refusal is None:
            self.proxies.admin.control("set", args)
        self.proxies.admin.command_result(request_id, self.refusal is None, self.refusal)

    def turn(self) -> None:
        for sender, ring in self.port.inbound:
            ring.drain(lambda kind, payload, sender=sender: dispatch(self, kind, payload, sender), 100)


class Stage:
    """A worker that is served by hand: `turn` does what its loop would do."""

    def __init__(self, node: FakeNode, tmp_path: Path) -> None:
        self.node = node
        self.supervisor = Supervisor(node)
        (tmp_path / "spill").mkdir()
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.worker = AdminWorker(
            WorkerContext(
                role=Role.ADMIN,
                index=0,
                boot=1,
                config=CONFIG,
                port=node.port(Role.ADMIN),
                sockets=[self.sock],
                lifeline_fd=-1,
                datastore=None,
                data_dir=tmp_path,
                runtime_dir=tmp_path,
                slab_name=node.fabric.name,
                keep_fds=frozenset(),
            )
        )

    async def turns(self) -> None:
        while True:
            self.supervisor.turn()
            for sender, ring in self.worker.port.inbound:
                self.worker.drain_ring(sender, ring)
            await one_turn()

    async def ask(self, path: str) -> bytes:
        reader, writer = await asyncio.open_connection(*self.sock.getsockname())
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        raw = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return raw

    def run(self, talk: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            await self.worker.start()
            turns = asyncio.ensure_future(self.turns())
            try:
                await talk()
            finally:
                turns.cancel()
                await self.worker.drain(0.1)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with fake_node(tmp_path) as node:
        node.start_all()
        yield Stage(node, tmp_path)


def test_serves_on_the_inherited_socket(stage: Stage) -> None:
    async def talk() -> None:
        assert (await stage.ask("/ping")).endswith(b"\r\n\r\nOK\r\n")
        assert b'"rack":"rack-1"' in await stage.ask("/info")

    stage.run(talk)


def test_a_setting_goes_through_the_supervisor_and_comes_back(stage: Stage) -> None:
    async def talk() -> None:
        assert (await stage.ask("/setloglevel/9")).startswith(b"HTTP/1.1 200")
        assert stage.worker.settings.log_level == 9

    stage.run(talk)
    assert stage.supervisor.commands == [("set", ("log_level", 9))]


def test_what_the_supervisor_refuses_does_not_hold(stage: Stage) -> None:
    stage.supervisor.refusal = "no such setting"

    async def talk() -> None:
        reply = await stage.ask("/setloglevel/9")
        assert reply.startswith(b"HTTP/1.1 501")
        assert reply.endswith(b"no such setting\n")
        assert stage.worker.settings.log_level == CONFIG.log_level

    stage.run(talk)


def test_settings_of_others_are_no_trouble(stage: Stage) -> None:
    stage.supervisor.proxies.admin.control("set", ["datastore_state", "running"])

    async def talk() -> None:
        assert (await stage.ask("/ping")).startswith(b"HTTP/1.1 200")

    stage.run(talk)
    assert stage.worker.slab.get("message_errors") == 0


def test_a_full_ring_is_said_at_once(stage: Stage) -> None:
    to_supervisor = stage.worker.port.outbound[Endpoint(Role.SUPERVISOR, 0)]

    async def talk() -> None:
        while to_supervisor.offer(0x70, b"x" * 1000):
            pass
        with pytest.raises(CommandRefused) as refused:
            await stage.worker.link.set("log_level", 9)
        assert refused.value.status == 503

    with asyncio.Runner() as runner:
        runner.run(talk())


def test_a_supervisor_that_does_not_answer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynomite_mp.workers.admin.COMMAND_DEADLINE_S", 0.01)

    async def talk() -> None:
        with pytest.raises(CommandRefused) as refused:
            await stage.worker.link.set("log_level", 9)
        assert refused.value.status == 504
        stage.worker.on_command_result(1, True, None)  # late: nobody waits for it any more

    with asyncio.Runner() as runner:
        runner.run(talk())


def test_results_find_the_command_they_belong_to() -> None:
    class Mute:
        def command(self, verb: str, args: Any, request_id: int) -> bool:
            return True

    async def talk() -> None:
        link = SupervisorLink(Mute())  # type: ignore[arg-type]
        first = asyncio.ensure_future(link.set("a", 1))
        second = asyncio.ensure_future(link.set("b", 2))
        await one_turn()
        link.result(2, True, None)
        await second
        assert not first.done()
        link.result(1, False, None)
        with pytest.raises(CommandRefused, match="a cannot be changed"):
            await first

    with asyncio.Runner() as runner:
        runner.run(talk())


def test_answers_are_counted_in_the_slab(stage: Stage) -> None:
    async def talk() -> None:
        await stage.ask("/ping")
        await stage.ask("/nothing")

    stage.run(talk)
    assert stage.worker.slab.get("http_requests") == 2
    assert stage.worker.slab.get("http_refused") == 0


def test_a_topology_is_taken_over(stage: Stage) -> None:
    config = replace(CONFIG, dyn_seeds=(Seed(Address("127.0.0.2", 8101), "rack-2", "dc-a", (5,), "127.0.0.2"),))
    topology = configured_topology(config, version=7)
    Proxies(stage.node.port(Role.GOSSIP)).admin.topology(7, msgpack.packb(topology.to_plain()))

    async def talk() -> None:
        assert b'dynomite_mp_topology_version{role="admin"} 7.0' in await stage.ask("/metrics")
        described = await stage.ask("/cluster_describe")
        assert b'{"name":"rack-2","servers":[{"name":"127.0.0.2","host":"127.0.0.2","port":8101,"token":5' in described

    stage.run(talk)
    assert stage.worker.slab.get("topology_swaps") == 1


def test_drain_ends_the_listener_and_idle_connections(stage: Stage) -> None:
    async def talk() -> None:
        address = stage.sock.getsockname()
        reader, writer = await asyncio.open_connection(*address)
        await stage.ask("/ping")
        await stage.worker.drain(0.1)
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*address)

    stage.run(talk)


def test_a_tick_before_the_start_does_nothing(stage: Stage) -> None:
    stage.worker.tick()


def test_old_connections_end_with_the_ticks(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynomite_mp.workers.admin_http.CONNECTION_LIFE_S", 0.0)

    async def talk() -> None:
        reader, writer = await asyncio.open_connection(*stage.sock.getsockname())
        writer.write(b"GET ")
        await stage.ask("/ping")
        stage.worker.tick()
        assert await reader.read() == b""
        writer.close()

    stage.run(talk)
