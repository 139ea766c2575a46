"""A TCP proxy on loopback that misbehaves on demand: for tests of failures, and for tests of the checking tools.

with FaultProxy((host, port)) as proxy:        # runs on a thread of its own
    connect to proxy.address
    proxy.delay_s = 0.05                       # every chunk, both ways
    proxy.stalled = True                       # nothing passes, nothing is closed
    proxy.flip_reply_byte(after_bytes=1000)    # once: one wrong byte in what the client receives
    proxy.drop_reply_bytes(count=5)            # once: bytes that never arrive
    proxy.cut()                                # reset all connections
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

from tests.load.bare_store import free_port, own_address

Address = tuple[str, int]
CHUNK_BYTES = 65536


class FaultProxy:
    """Forwards connections to `target`, with the faults that are set."""

    def __init__(self, target: Address, port: int = 0) -> None:
        self.target = target
        self.address: Address = (own_address(), port or free_port(own_address(), 24000))
        self.delay_s = 0.0
        self.stalled = False
        self.reply_bytes = 0
        self._mutate: Callable[[bytes], bytes] | None = None
        self._mutate_at = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)

    def flip_reply_byte(self, after_bytes: int = 0) -> None:
        """Once, invert one bit of the first reply byte that comes `after_bytes` bytes from now."""
        self._arm(after_bytes, lambda data: bytes([data[0] ^ 1]) + data[1:])

    def drop_reply_bytes(self, count: int, after_bytes: int = 0) -> None:
        """Once, swallow up to `count` reply bytes."""
        self._arm(after_bytes, lambda data: data[count:])

    def replace_replies(self, change: Callable[[bytes], bytes]) -> None:
        """Once, change a whole chunk of replies."""
        self._arm(0, change)

    def _arm(self, after_bytes: int, change: Callable[[bytes], bytes]) -> None:
        self._mutate_at = self.reply_bytes + after_bytes
        self._mutate = change

    def cut(self) -> None:
        """Reset every connection there is now."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer, False), self._pump(far_reader, writer, True))
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, replies: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                while self.stalled:
                    await asyncio.sleep(0.01)
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if replies:
                    data = self._faulty(data)
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()

    def _faulty(self, data: bytes) -> bytes:
        start = self._mutate_at - self.reply_bytes
        self.reply_bytes += len(data)
        if self._mutate is None or start >= len(data):
            return data
        change, self._mutate = self._mutate, None
        start = max(start, 0)
        return data[:start] + change(data[start:])

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, *self.address))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._cut()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        if not self._ready.wait(5):
            raise RuntimeError(f"the fault proxy did not start on {self.address}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
