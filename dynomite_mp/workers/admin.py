"""The admin process: serves HTTP on the inherited socket and hands the operator's orders to the supervisor.

Not here: paths and what they do (`rest_routes`), HTTP (`admin_http`), figures (`node_source`). It serves no client of
the datastore and nothing in the data path waits for it; it may die at any time.

    HTTP ---> admin_http ---> rest_routes ---> node_source ---> counter slab, /proc
                                   |
                                   +---> SupervisorLink --COMMAND--> supervisor --CONTROL set--> all workers
                                              ^                                                     |
                                              +------------------- COMMAND_RESULT, CONTROL set -----+
"""

import asyncio
import itertools
import os
import socket
from typing import Any, Final

from dynomite_mp.ipc.proxies import SupervisorProxy
from dynomite_mp.ipc.slab import Slab
from dynomite_mp.workers import admin_http
from dynomite_mp.workers.admin_http import HttpServer
from dynomite_mp.workers.base import Worker, WorkerContext
from dynomite_mp.workers.cluster_view import ClusterView
from dynomite_mp.workers.live_settings import LiveSettings
from dynomite_mp.workers.node_figures import identity_of
from dynomite_mp.workers.node_source import SlabSource
from dynomite_mp.workers.rest_routes import CommandRefused, RestService

COMMAND_DEADLINE_S: Final = 5.0
REFUSALS: Final = frozenset({403, 503})


class SupervisorLink:
    """Sends COMMANDs and pairs them with their results."""

    def __init__(self, supervisor: SupervisorProxy) -> None:
        self._supervisor = supervisor
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[bool, Any]]] = {}

    async def set(self, key: str, value: str | int) -> None:
        request_id = next(self._ids)
        waiting = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        try:
            if not self._supervisor.command("set", [key, value], request_id):
                raise CommandRefused(503, "the supervisor has too many orders waiting; try again")
            async with asyncio.timeout(COMMAND_DEADLINE_S):
                done, detail = await waiting
        except TimeoutError:
            raise CommandRefused(504, f"the supervisor did not answer within {COMMAND_DEADLINE_S:.0f} s") from None
        finally:
            del self._waiting[request_id]
        if not done:
            raise CommandRefused(501, str(detail) if detail else f"{key} cannot be changed while the node runs")

    def result(self, request_id: int, done: bool, detail: Any) -> None:
        """An answer that nobody waits for is of a request given up, or of a predecessor of this process."""
        waiting = self._waiting.get(request_id)
        if waiting is not None and not waiting.done():
            waiting.set_result((done, detail))


class AdminWorker(Worker):
    """The admin role."""

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context)
        self.settings = LiveSettings.of(context.config)
        self.link = SupervisorLink(self.proxies.supervisor)
        self._listeners: list[asyncio.Server] = []
        self._http: HttpServer | None = None
        self._source: SlabSource | None = None

    async def start(self) -> None:
        slab = Slab.open(self.context.slab_name)
        identity = identity_of(self.config, slab.created_at_ns / 1e9, os.environ)
        self._source = SlabSource(slab, identity, ClusterView.configured(self.config))
        service = RestService(self._source, self.settings, self.link)
        self._http = HttpServer(
            service,
            self.config.admin_token,
            self._count_answer,
            admin_http.MAX_CONNECTIONS,
            admin_http.CONNECTION_LIFE_S,
        )
        loop = asyncio.get_running_loop()
        for sock in self.context.sockets:
            serve = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
            self._listeners.append(await serve(self._http, sock=sock))

    async def drain(self, deadline_s: float) -> None:
        for listener in self._listeners:
            listener.close()
        if self._http is not None:
            await self._http.shutdown(deadline_s)

    def tick(self) -> None:
        if self._source is not None and self._http is not None:
            self._source.tick()
            self._http.sweep(asyncio.get_running_loop().time())

    def _count_answer(self, status: int) -> None:
        self.slab.count("http_requests")
        if status in REFUSALS:
            self.slab.count("http_refused")

    # -- messages

    def on_control_set(self, setting: tuple[str, Any]) -> None:
        super().on_control_set(setting)
        key, value = setting
        self.settings.put(key, value)

    def on_command_result(self, request_id: int, ok: bool, detail: Any) -> None:
        self.link.result(request_id, ok, detail)

    def on_topology(self, topology_version: int, blob: bytes) -> None:
        """Gossip knows of another cluster than the configuration does."""
        if self._source is not None:
            self._source.view = ClusterView.published(blob)
        self.slab.set_gauge("topology_version", topology_version)
        self.slab.count("topology_swaps")
