"""Asking seed providers and name servers, again and again, without ever stopping the node for their sake.

    SeedPoller --every interval--> source.fetch() --> SeedList --changed?--> on_change()
                                   |  SimpleSource   dyn_seeds
                                   |  FloridaSource  HTTP
                                   |  DnsSource      A, AAAA, SRV, TXT
                                   '  FileSource     a file, read again when it changes
    NameCache.lookup(host) --> an address, or None while it is being looked up

What the answers mean is decided in cluster/seeds.py; here are only sockets, files and time-outs.

Invariants: an unreachable provider or an unresolvable name is logged once and tried again with growing pauses; what was
known stays in force meanwhile. Nothing here blocks the loop; a lookup that the C library does itself runs in a thread.
"""

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

from dynomite_mp.cluster import seeds, seeds_dns
from dynomite_mp.cluster.seeds import SeedError, SeedList
from dynomite_mp.config_values import Seed
from dynomite_mp.log import fields

FETCH_TIMEOUT_S = 5.0
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 30.0
DNS_PORT = 53
DNS_TRY_S = 1.5
NAME_KEPT_S = 30.0
RESOLV_CONF = Path("/etc/resolv.conf")
SEEDS_FILE_VARIABLE = "DYNOMITE_SEEDS_FILE"

logger = logging.getLogger(__name__)


class SeedSource(Protocol):
    """One provider."""

    async def fetch(self) -> SeedList:
        """What it says now; SeedError when it says nothing usable."""


class SimpleSource:
    """The seeds of the configuration."""

    def __init__(self, listed: Sequence[Seed]) -> None:
        self._list = SeedList(tuple(listed))

    async def fetch(self) -> SeedList:
        return self._list


class FileSource:
    """A file that others write."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fetch(self) -> SeedList:
        try:
            with self._path.open("rb") as file:
                data = file.read(seeds.RESPONSE_LIMIT_BYTES + 1)
        except OSError as problem:
            raise SeedError(
                f"cannot read {self._path}: {problem.strerror}", "check the path and its owner"
            ) from problem
        if len(data) > seeds.RESPONSE_LIMIT_BYTES:
            raise SeedError(f"{self._path} is larger than {seeds.RESPONSE_LIMIT_BYTES} bytes", "is it a seed list?")
        return seeds.parse_seeds(data.decode("utf-8", "replace"))


class FloridaSource:
    """A small HTTP server beside the node, as dynomite-manager runs one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._target = seeds.florida_target(environ)

    async def fetch(self) -> SeedList:
        host, port = self._target.address
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                return seeds.parse_florida(await self._ask(host, port))
        except TimeoutError as problem:
            raise SeedError(f"{host}:{port} gave no answer in {FETCH_TIMEOUT_S:.0f} s", "") from problem
        except OSError as problem:
            raise SeedError(f"{host}:{port}: {problem.strerror or problem}", "is the seed server running?") from problem

    async def _ask(self, host: str, port: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(self._target.request)
            response = b""
            while True:
                piece = await reader.read(65536)
                response += piece
                if len(response) > seeds.RESPONSE_LIMIT_BYTES:
                    raise SeedError("the seed server's answer never ends", "")
                body = seeds.http_body(response, at_end=not piece)
                if body is not None:
                    return body
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class DnsSource:
    """Records of one name. Addresses are asked of the C library, which knows /etc/hosts and its own servers."""

    def __init__(
        self, environ: Mapping[str, str], peer_port: int, *, resolv_conf: Path = RESOLV_CONF, port: int = DNS_PORT
    ) -> None:
        self._target = seeds.dns_target(environ)
        self._peer_port = peer_port
        self._resolv_conf = resolv_conf
        self._port = port

    async def fetch(self) -> SeedList:
        found = SeedList()
        for kind in self._target.kinds:
            if kind in ("A", "AAAA"):
                family = socket.AF_INET if kind == "A" else socket.AF_INET6
                hosts = await addresses_of(self._target.name, family)
                found += seeds.seeds_of_addresses(hosts, self._peer_port)
            else:
                answer = await self._look_up(seeds_dns.KINDS[kind])
                found += seeds.seeds_of_texts(answer.texts) + seeds.seeds_of_services(answer.services)
        if not found.seeds and not found.contacts:
            raise SeedError(f"{self._target.name} has no {' or '.join(self._target.kinds)} record with a seed", "")
        return found

    async def _look_up(self, kind: int) -> seeds_dns.Answer:
        """Every server for every form of the name, until one answers."""
        try:
            text = self._resolv_conf.read_text()
        except OSError:
            text = ""
        servers, search, dots = seeds_dns.resolv_conf(text)
        problem = SeedError("no name server answers", "check resolv.conf")
        for name in seeds_dns.full_names(self._target.name, search, dots):
            for server in servers[:3]:
                try:
                    answer = await ask_name_server(server, self._port, name, kind)
                except SeedError as error:
                    problem = error
                    continue
                if answer.texts or answer.services:
                    return answer
                problem = SeedError(f"{name} has no such record", "")
                break
        raise problem


async def ask_name_server(server: str, port: int, name: str, kind: int) -> seeds_dns.Answer:
    """One question by UDP, and by TCP when the answer is too large for that."""
    number = random.SystemRandom().randrange(65536)
    query = seeds_dns.question(name, kind, number)
    try:
        async with asyncio.timeout(DNS_TRY_S):
            answer = seeds_dns.parse_answer(await _ask_by_datagram(server, port, query), number, kind)
        if answer.truncated:
            async with asyncio.timeout(DNS_TRY_S):
                answer = seeds_dns.parse_answer(await _ask_by_stream(server, port, query), number, kind)
    except TimeoutError as problem:
        raise SeedError(f"name server {server} gave no answer", "") from problem
    except (OSError, EOFError) as problem:
        raise SeedError(f"name server {server}: {problem}", "") from problem
    return answer


async def _ask_by_datagram(server: str, port: int, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    class Answers(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, address: object) -> None:
            if data[:2] == query[:2] and not answer.done():
                answer.set_result(data)

        def error_received(self, error: Exception) -> None:
            if not answer.done():
                answer.set_exception(error)

    transport, _ = await loop.create_datagram_endpoint(Answers, remote_addr=(server, port))
    try:
        transport.sendto(query)
        return await answer
    finally:
        transport.close()


async def _ask_by_stream(server: str, port: int, query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server, port)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        length = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(length)
    finally:
        writer.close()


async def addresses_of(host: str, family: int = socket.AF_UNSPEC) -> list[str]:
    """What the C library makes of a name; SeedError when nothing."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S):
            found = await loop.getaddrinfo(host, None, family=family, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, UnicodeError) as problem:
        raise SeedError(f"{host} cannot be resolved: {problem}", "") from problem
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def source_of(provider: str, listed: Sequence[Seed], peer_port: int, environ: Mapping[str, str]) -> SeedSource:
    """The source that a seed provider's name stands for."""
    if provider == "florida_provider":
        return FloridaSource(environ)
    if provider == "dns_provider":
        return DnsSource(environ, peer_port)
    if provider == "file_provider":
        path = environ.get(SEEDS_FILE_VARIABLE)
        if not path:
            raise SeedError("file_provider needs a file", f"set {SEEDS_FILE_VARIABLE}")
        return FileSource(Path(path))
    return SimpleSource(listed)


class SeedPoller:
    """Asks a source at intervals and tells what changed. `base` is always part of what is known."""

    def __init__(
        self, source: SeedSource, interval_s: float, on_change: Callable[[SeedList], None], base: SeedList | None = None
    ) -> None:
        self._source = source
        self._interval_s = interval_s
        self._on_change = on_change
        self._base = base or SeedList()
        self._known: SeedList | None = None
        self._failing = ""
        self._pause_s = FIRST_RETRY_S
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(await self.poll())

    async def poll(self) -> float:
        """Ask once; how long to wait until the next time."""
        try:
            found = await self._source.fetch()
        except SeedError as problem:
            if str(problem) != self._failing:
                logger.warning("seed provider: %s; what is known stays in force", problem)
                self._failing = str(problem)
            pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, LAST_RETRY_S)
            return min(pause_s, self._interval_s)
        if self._failing:
            logger.info("seed provider answers again")
            self._failing = ""
        self._pause_s = FIRST_RETRY_S
        if found != self._known:
            self._known = found
            for part in found.problems:
                logger.warning("seed provider: %s", part)
            self._on_change(self._base + found)
        return self._interval_s


class NameCache:
    """Addresses of host names, looked up in the background and kept for a while."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}  # address, when it gets old
        self._retry_s: dict[str, tuple[float, float]] = {}  # when again, pause after that
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def lookup(self, host: str) -> str | None:
        """The address, be it old; None while there is none yet. Never waits."""
        known = self._known.get(host)
        if known is not None and known[1] == float("inf"):
            return known[0]
        if known is None and is_address(host):
            self._known[host] = (host, float("inf"))
            return host
        now_s = asyncio.get_running_loop().time()
        if (
            (known is None or now_s >= known[1])
            and host not in self._tasks
            and now_s >= self._retry_s.get(host, (0,))[0]
        ):
            self._tasks[host] = asyncio.get_running_loop().create_task(self._resolve(host))
        return known[0] if known is not None else None

    async def _resolve(self, host: str) -> None:
        try:
            found = await addresses_of(host)
        except SeedError as problem:
            pause_s = self._retry_s.get(host, (0, FIRST_RETRY_S))[1]
            if host not in self._retry_s:
                logger.warning("%s; trying on", problem, extra=fields(host=host))
            self._retry_s[host] = (asyncio.get_running_loop().time() + pause_s, min(pause_s * 2, LAST_RETRY_S))
        else:
            self._retry_s.pop(host, None)
            # IPv4 first: a name with both is usually bound to 0.0.0.0, not to ::.
            found.sort(key=lambda address: ":" in address)
            self._known[host] = (found[0], asyncio.get_running_loop().time() + NAME_KEPT_S)
        finally:
            del self._tasks[host]

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def environment() -> Mapping[str, str]:
    """What seed providers are configured by, beside the file."""
    return {name: value for name, value in os.environ.items() if name.startswith("DYNOMITE_")}
