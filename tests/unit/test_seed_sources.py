"""Seed providers and name servers, asked for real on loopback."""

import asyncio
import socket
import struct

import pytest

from dynomite_mp.cluster import seeds_dns
from dynomite_mp.cluster.seeds import SeedError, SeedList, parse_seeds
from dynomite_mp.workers import seed_sources
from dynomite_mp.workers.seed_sources import (
    DnsSource,
    FileSource,
    FloridaSource,
    NameCache,
    SeedPoller,
    SimpleSource,
    source_of,
)

TEXT = "10.0.0.1:8101:rack1:dc1:0|10.0.0.2:8101:rack2:dc1:5"
SEEDS = parse_seeds(TEXT).seeds


async def serve(answer: bytes, *, close: bool = True) -> tuple[asyncio.Server, dict[str, str], list[bytes]]:
    """An HTTP server that says one thing, and the environment that leads to it."""
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        if not close:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    return server, {"DYNOMITE_FLORIDA_PORT": str(port)}, asked


@pytest.mark.asyncio
async def test_florida_answers_and_closes_or_names_the_length():
    for head, close in (("", True), (f"Content-Length: {len(TEXT)}\r\n", False)):
        server, environ, asked = await serve(f"HTTP/1.0 200 OK\r\n{head}\r\n{TEXT}".encode(), close=close)
        async with server:
            assert (await FloridaSource(environ).fetch()).seeds == SEEDS
        assert asked[0].startswith(b"GET /REST/v1/admin/get_seeds HTTP/1.0\r\n")


@pytest.mark.asyncio
async def test_florida_that_fails_is_an_error_of_its_own(monkeypatch):
    monkeypatch.setattr(seed_sources, "FETCH_TIMEOUT_S", 0.2)
    for answer, close in ((b"HTTP/1.0 500 x\r\n\r\n", True), (b"", True), (b"HTTP/1.0 200 OK\r\n\r\nx", False)):
        server, environ, _ = await serve(answer, close=close)
        async with server:
            with pytest.raises(SeedError):
                await FloridaSource(environ).fetch()
    with pytest.raises(SeedError):  # nobody there any more
        await FloridaSource(environ).fetch()


@pytest.mark.asyncio
async def test_a_florida_answer_without_end_is_cut(monkeypatch):
    monkeypatch.setattr(seed_sources.seeds, "RESPONSE_LIMIT_BYTES", 1000)
    server, environ, _ = await serve(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 5000, close=False)
    async with server:
        with pytest.raises(SeedError, match="never ends"):
            await FloridaSource(environ).fetch()


@pytest.mark.asyncio
async def test_a_file_is_read_again(tmp_path):
    path = tmp_path / "seeds"
    source = source_of("file_provider", (), 8101, {"DYNOMITE_SEEDS_FILE": str(path)})
    assert isinstance(source, FileSource)
    with pytest.raises(SeedError, match="cannot read"):
        await source.fetch()
    path.write_text(TEXT.replace("|", "\n"))
    assert (await source.fetch()).seeds == SEEDS
    path.write_text("")
    assert (await source.fetch()).seeds == ()
    path.write_bytes(b"x" * 2_000_000)
    with pytest.raises(SeedError, match="larger"):
        await source.fetch()


def test_providers_by_name():
    assert isinstance(source_of("simple_provider", SEEDS, 8101, {}), SimpleSource)
    assert isinstance(source_of("florida_provider", SEEDS, 8101, {}), FloridaSource)
    assert isinstance(source_of("dns_provider", SEEDS, 8101, {}), DnsSource)
    with pytest.raises(SeedError, match="DYNOMITE_SEEDS_FILE"):
        source_of("file_provider", SEEDS, 8101, {})


# ---- DNS -------------------------------------------------------------------------------------------------------------


def texts(*strings: bytes) -> bytes:
    return b"".join(bytes((len(string),)) + string for string in strings)


class NameServer:
    """Answers by name; by UDP with nothing but the truncated flag where answers are said to be large."""

    def __init__(self, records: dict[str, list[bytes]], *, large: bool = False) -> None:
        self.records = records
        self.large = large
        self.asked: list[str] = []

    async def __aenter__(self) -> "NameServer":
        loop = asyncio.get_running_loop()
        self.server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        own = self

        class Datagrams(asyncio.DatagramProtocol):
            def connection_made(self, transport) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, address) -> None:
                self.transport.sendto(own.answer(data, truncated=own.large), address)

        self.transport, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", self.port))
        return self

    async def __aexit__(self, *error: object) -> None:
        self.transport.close()
        self.server.close()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        answer = self.answer(data)
        writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    def answer(self, query: bytes, *, truncated: bool = False) -> bytes:
        name, at = seeds_dns._name(query, 12)
        kind = int.from_bytes(query[at : at + 2], "big")
        self.asked.append(name)
        records = [] if truncated else self.records.get(name, [])
        flags = 0x8380 if truncated else 0x8180 if name in self.records else 0x8183
        answer = query[:2] + struct.pack(">5H", flags, 1, len(records), 0, 0) + query[12 : at + 4]
        return answer + b"".join(b"\xc0\x0c" + struct.pack(">2HIH", kind, 1, 9, len(r)) + r for r in records)


def dns_source(tmp_path, server: NameServer, name: str, kind: str) -> DnsSource:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.1\nsearch a.example b.example\noptions ndots:2\n")
    environ = {"DYNOMITE_DNS_NAME": name, "DYNOMITE_DNS_TYPE": kind}
    return DnsSource(environ, 8101, resolv_conf=conf, port=server.port)


@pytest.mark.asyncio
@pytest.mark.parametrize("large", [False, True])
async def test_txt_records_also_when_they_are_too_large_for_a_datagram(tmp_path, large):
    parts = [part.encode() for part in TEXT.split("|")]
    async with NameServer({"seeds.b.example": [texts(parts[0]), texts(parts[1])]}, large=large) as server:
        found = await dns_source(tmp_path, server, "seeds", "TXT").fetch()
        assert found.seeds == SEEDS
        assert list(dict.fromkeys(server.asked)) == ["seeds.a.example", "seeds.b.example"]


@pytest.mark.asyncio
async def test_srv_records(tmp_path):
    host = b"\x06node-1\x07example\x00"
    async with NameServer({"s.a.example": [struct.pack(">3H", 1, 0, 8105) + host]}) as server:
        found = await dns_source(tmp_path, server, "s", "SRV").fetch()
    assert found == SeedList(contacts=(("node-1.example", 8105),))


@pytest.mark.asyncio
async def test_a_name_without_records_and_a_silent_server_are_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(seed_sources, "DNS_TRY_S", 0.1)
    async with NameServer({}) as server:
        source = dns_source(tmp_path, server, "nothing", "TXT")
        with pytest.raises(SeedError, match="no such record"):
            await source.fetch()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server.port = silent.getsockname()[1]
        with pytest.raises(SeedError, match="no answer"):
            await dns_source(tmp_path, server, "x", "TXT").fetch()


@pytest.mark.asyncio
async def test_addresses_come_from_the_c_library():
    source = DnsSource({"DYNOMITE_DNS_NAME": "localhost", "DYNOMITE_DNS_TYPE": "A"}, 8105)
    assert ("127.0.0.1", 8105) in (await source.fetch()).contacts
    with pytest.raises(SeedError, match="cannot be resolved"):
        await DnsSource({"DYNOMITE_DNS_NAME": "no-such-host.invalid", "DYNOMITE_DNS_TYPE": "A"}, 1).fetch()


# ---- polling and names -----------------------------------------------------------------------------------------------


class Scripted:
    """A source that says one thing after the other."""

    def __init__(self, *says: SeedList | SeedError) -> None:
        self.says = list(says)

    async def fetch(self) -> SeedList:
        said = self.says.pop(0)
        if isinstance(said, SeedError):
            raise said
        return said


@pytest.mark.asyncio
async def test_a_failing_provider_is_asked_again_with_growing_pauses_and_said_once(caplog):
    told: list[SeedList] = []
    bad = SeedError("no answer", "")
    source = Scripted(bad, bad, bad, SeedList(SEEDS), SeedList(SEEDS), bad, SeedList(SEEDS[:1]))
    base = parse_seeds("10.0.0.9:8101:rack9:dc1:9")
    poller = SeedPoller(source, 30.0, told.append, base)
    pauses = [await poller.poll() for _ in range(len(source.says))]
    assert pauses == [1.0, 2.0, 4.0, 30.0, 30.0, 1.0, 30.0]
    assert [len(found.seeds) for found in told] == [3, 2], (
        "told when it changes, the configured seeds always among them"
    )
    assert [record.message for record in caplog.records].count(
        "seed provider: no answer; what is known stays in force"
    ) == 2


@pytest.mark.asyncio
async def test_polling_goes_on_in_the_background():
    told: asyncio.Queue[SeedList] = asyncio.Queue()
    poller = SeedPoller(Scripted(SeedList(SEEDS), SeedList(SEEDS[:1]), *[SeedList()] * 99), 0.01, told.put_nowait)
    poller.start()
    assert [len((await told.get()).seeds) for _ in range(3)] == [2, 1, 0]
    await poller.stop()


@pytest.mark.asyncio
async def test_names_are_looked_up_in_the_background(monkeypatch):
    answers: list[list[str] | SeedError] = [SeedError("x cannot be resolved", ""), ["fd00::1", "10.0.0.5"]]
    asked = asyncio.Queue()

    async def addresses_of(host: str, family: int = 0) -> list[str]:
        asked.put_nowait(host)
        said = answers.pop(0)
        if isinstance(said, SeedError):
            raise said
        return said

    monkeypatch.setattr(seed_sources, "addresses_of", addresses_of)
    monkeypatch.setattr(seed_sources, "FIRST_RETRY_S", 0.0)
    names = NameCache()
    assert names.lookup("10.0.0.1") == "10.0.0.1"
    assert names.lookup("fd00::7") == "fd00::7"
    assert asked.empty(), "addresses need no name server"
    assert names.lookup("node") is None
    assert names.lookup("node") is None
    await asked.get()
    await asyncio.gather(*names._tasks.values())
    assert names.lookup("node") is None, "failed, and asked again"
    await asked.get()
    await asyncio.gather(*names._tasks.values())
    assert names.lookup("node") == "10.0.0.5", "IPv4 first"
    await names.close()
    assert asked.empty()
