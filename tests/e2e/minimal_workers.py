"""Workers that do just enough to see the supervisor at work: PING, a crash on demand, a hang on demand.

PING -> +PONG          PID -> :pid            BOOT -> :number of this start
CRASH -> exit code 9   HANG -> the loop stops answering          STOP -> SIGSTOP to itself
SLEEP ms -> +OK after that time, so that a drain has something to wait for
"""

import asyncio
import contextlib
import os
import signal
import time
from typing import Any

from dynomite_mp.errors import DynomiteError
from dynomite_mp.workers.base import Worker, WorkerContext

BOOT_FAILURE = "MINIMAL_BOOT_FAILURE"  # environment: "io", "admin", or "io:crash"


class MinimalIo(Worker):
    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context)
        self.settings: dict[str, Any] = {}
        self.busy = 0

    async def start(self) -> None:
        fail_to_boot_on_demand("io")
        self.servers = [await asyncio.start_server(self.serve, sock=sock) for sock in self.context.sockets]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2].decode())
                self.busy += 1
                try:
                    writer.write(await self.answer(words))
                finally:
                    self.busy -= 1
                await writer.drain()
        writer.close()

    async def answer(self, words: list[str]) -> bytes:
        match words:
            case ["PING"]:
                return b"+PONG\r\n"
            case ["PID"]:
                return b":%d\r\n" % os.getpid()
            case ["BOOT"]:
                return b":%d\r\n" % self.context.boot
            case ["SETTING", key]:
                return b"+%s\r\n" % str(self.settings.get(key)).encode()
            case ["SLEEP", ms]:
                await asyncio.sleep(int(ms) / 1000)
                return b"+OK\r\n"
            case ["CRASH"]:
                os._exit(9)
            case ["HANG"]:
                while True:
                    time.sleep(1)
            case ["STOP"]:
                os.kill(os.getpid(), signal.SIGSTOP)
                return b"+OK\r\n"
        return b"-ERR unknown command\r\n"

    def on_control_set(self, setting: tuple[str, Any]) -> None:
        super().on_control_set(setting)
        self.settings[setting[0]] = setting[1]

    def on_topology(self, topology_version: int, blob: bytes) -> None:
        self.slab.set_gauge("topology_version", topology_version)

    async def drain(self, deadline_s: float) -> None:
        for server in self.servers:
            server.close()
        end = time.monotonic() + deadline_s
        while self.busy and time.monotonic() < end:
            await asyncio.sleep(0.005)


class MinimalAdmin(Worker):
    async def start(self) -> None:
        fail_to_boot_on_demand("admin")

    def on_topology(self, topology_version: int, blob: bytes) -> None:
        self.slab.set_gauge("topology_version", topology_version)


def fail_to_boot_on_demand(role: str) -> None:
    wish = os.environ.get(BOOT_FAILURE, "")
    if wish == role:
        raise DynomiteError("no luck today", "try tomorrow")
    if wish == f"{role}:crash":
        os._exit(9)
