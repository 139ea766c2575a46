"""The admin HTTP server over real sockets, a real slab, and a supervisor played by the test."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from dynomite_mp.enums import Consistency, ProcessState, Role
from dynomite_mp.workers import admin_http
from dynomite_mp.workers.live_settings import NOT_IN_THIS_VERSION, LiveSettings
from dynomite_mp.workers.node_source import SlabSource
from dynomite_mp.workers.rest_routes import ROUTES, CommandRefused, RestService
from tests.unit.admin_node import FakeNode, fake_node

TOKEN = "a secret"


@dataclass
class Link:
    """The supervisor: takes over what it is asked, unless told to refuse."""

    settings: LiveSettings
    asked: list[tuple[str, str | int]] = field(default_factory=list)
    refusal: CommandRefused | None = None
    hangs: bool = False

    async def set(self, key: str, value: str | int) -> None:
        self.asked.append((key, value))
        if self.hangs:
            await asyncio.sleep(3600)
        if self.refusal:
            raise self.refusal
        self.settings.put(key, value)


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
        self.link = Link(self.settings)
        self.answered: list[int] = []
        self.source = SlabSource(node.slab, node.identity)
        self.port = 0

    @asynccontextmanager
    async def served(self, limit: int = 100, life_s: float = 100.0) -> AsyncIterator["Admin"]:
        service = RestService(self.source, self.settings, self.link)
        self.http = await admin_http.http_server(service, self.token, self.answered.append)
        self.gate = admin_http.ConnectionGate(self.http, limit, life_s)
        sock = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = sock.getsockname()[:2]
        listener = await asyncio.get_running_loop().create_server(self.gate, sock=sock)
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


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    with fake_node(tmp_path) as node:
        node.start_all()
        for role, index in ((Role.SUPERVISOR, 0), (Role.IO, 0), (Role.IO, 1)):
            node.writer(role, index).heartbeat(Admin(node).source.now_ns())
        yield Admin(node)


def one(admin: Admin, path: str, method: str = "GET", **headers: str) -> Reply:
    """One request to a server of its own."""
    replies: list[Reply] = []

    async def talk() -> None:
        async with admin.served():
            replies.append(await admin.ask(path, method, **headers))

    run(talk)
    return replies[0]


# ---- reading


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ping(admin: Admin, method: str) -> None:
    reply = one(admin, "/ping", method)
    assert (reply.status, reply.body) == (200, "OK\r\n")


@pytest.mark.parametrize("path", ["/info", "/"])
def test_info_is_json(admin: Admin, path: str) -> None:
    admin.node.writer(Role.IO).count("client_read_requests", 5)
    reply = one(admin, path)
    assert reply.headers["Content-Type"].startswith("application/json")
    assert reply.document["shop"]["client_read_requests"] == 5
    assert reply.document["dyn_memory"] > 0


def test_metrics_are_text_for_prometheus(admin: Admin) -> None:
    reply = one(admin, "/metrics")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'dynomite_mp_process_up{role="io[0]"} 1.0\n' in reply.body


def test_help_lists_every_route_path_first(admin: Admin) -> None:
    lines = one(admin, "/help").body.splitlines()
    assert [line.split()[0] for line in lines] == [route.shown for route in ROUTES]
    assert "/setloglevel/<0-11>" in {line.split()[0] for line in lines}
    assert not any("{" in line for line in lines)


def test_head_has_no_body(admin: Admin) -> None:
    reply = one(admin, "/ping", "HEAD")
    assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, "", "4")


def test_live_follows_the_heartbeat_of_the_supervisor(admin: Admin) -> None:
    assert one(admin, "/health/live").status == 200
    admin.node.writer(Role.SUPERVISOR).heartbeat(admin.source.now_ns() - 20_000_000_000)
    reply = one(admin, "/health/live")
    assert reply.status == 503
    assert reply.document["live"] is False
    assert "supervisor" in reply.document["reasons"][0]


def test_ready_follows_io_workers_and_datastore(admin: Admin) -> None:
    assert one(admin, "/health/ready").document == {"ready": True, "reasons": []}
    for index in (0, 1):
        admin.node.writer(Role.IO, index).set_gauge("server_up", 0)
    reply = one(admin, "/health/ready")
    assert reply.status == 503
    assert reply.document["reasons"] == ["io[0] has no datastore", "io[1] has no datastore"]


def test_cluster_describe_has_the_form_of_c(admin: Admin) -> None:
    document = one(admin, "/cluster_describe").document
    (dc,) = document["dcs"]
    (rack,) = dc["racks"]
    (server,) = rack["servers"]
    assert (dc["name"], rack["name"]) == ("dc-a", "rack-1")
    assert list(server)[:4] == ["name", "host", "port", "token"]
    assert (server["name"], server["host"], server["port"], server["token"]) == (
        "127.0.0.1",
        "127.0.0.1",
        8101,
        101134286,
    )
    assert (server["client_port"], server["state"], server["tokens"]) == (8102, "NORMAL", [101134286])


def test_state_and_settings_as_text_of_c(admin: Admin) -> None:
    admin.settings.write_consistency = Consistency.DC_SAFE_QUORUM
    admin.settings.timeout_factor = 3
    assert one(admin, "/state/get_state").body == "State: NORMAL\n"
    consistency = "Read Consistency: DC_ONE\r\nWrite Consistency: DC_SAFE_QUORUM\r\n"
    assert one(admin, "/get_consistency").body == consistency
    assert one(admin, "/get_timeout_factor").body == "Timeout factor: 3\n"


def test_state_before_an_io_worker_runs(admin: Admin) -> None:
    for index in (0, 1):
        admin.node.start(Role.IO, index, state=ProcessState.STARTING)
    assert one(admin, "/state/get_state").body == "State: JOINING\n"


def test_unknown_paths_and_methods_are_errors(admin: Admin) -> None:
    assert one(admin, "/nothing/here").status == 404
    assert one(admin, "/set_consistency/read").status == 404
    reply = one(admin, "/ping", "DELETE")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD, POST")


def test_a_handler_that_fails_says_nothing_of_the_inside(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin.source, "info", lambda: 1 // 0)
    reply = one(admin, "/info")
    assert reply.status == 500
    assert "division" not in reply.body
    assert admin.answered == [500]


# ---- changing


def test_log_level_goes_to_the_supervisor_and_is_what_it_says(admin: Admin) -> None:
    reply = one(admin, "/setloglevel/8")
    assert (reply.status, reply.body) == (200, "OK\r\n")
    assert admin.link.asked == [("log_level", 8)]
    assert one(admin, "/loglevelup", "POST").status == 200
    assert one(admin, "/logleveldown").status == 200
    assert one(admin, "/logleveldown").status == 200
    assert [value for _, value in admin.link.asked] == [8, 9, 8, 7]


def test_log_level_stays_within_its_ends(admin: Admin) -> None:
    admin.settings.log_level = 11
    assert one(admin, "/loglevelup").status == 200
    assert admin.link.asked == []


@pytest.mark.parametrize("level", ["12", "-1", "debug", "%20", "1e3", "٣", "99999999999999999999"])
def test_a_log_level_that_is_none_is_refused(admin: Admin, level: str) -> None:
    assert one(admin, f"/setloglevel/{level}").status == 400
    assert admin.link.asked == []


def test_what_the_supervisor_refuses_is_refused(admin: Admin) -> None:
    admin.link.refusal = CommandRefused(503, "busy")
    reply = one(admin, "/setloglevel/8")
    assert (reply.status, reply.body) == (503, "busy\n")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/set_consistency/read/dc_quorum", "read_consistency"),
        ("/set_consistency/write/DC_EACH_SAFE_QUORUM", "write_consistency"),
        ("/set_timeout_factor/2", "timeout_factor"),
        ("/read_repairs/enable", "read_repairs_enabled"),
        ("/state/standby", "node_state"),
        ("/state/writes_only", "node_state"),
        ("/state/resuming", "node_state"),
        ("/peer/up/127.0.0.2", "peer_up"),
        ("/peer/down/127.0.0.2", "peer_down"),
        ("/peer/reset/all", "peer_reset"),
    ],
)
def test_what_has_no_effect_is_not_said_to_be_done(admin: Admin, path: str, key: str) -> None:
    reply = one(admin, path)
    if key in NOT_IN_THIS_VERSION:
        assert (reply.status, reply.body) == (501, NOT_IN_THIS_VERSION[key] + "\n")
        assert admin.link.asked == []
    else:
        assert reply.status == 200
        assert [asked for asked, _ in admin.link.asked] == [key]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/set_consistency/read/DC_ONE", "OK\r\n"),
        ("/set_timeout_factor/1", "OK\r\n"),
        ("/read_repairs/disable", "Read Repairs: DISABLED\r\n"),
        ("/state/normal", "OK\r\n"),
    ],
)
def test_what_holds_already_is_ok(admin: Admin, path: str, body: str) -> None:
    reply = one(admin, path)
    assert (reply.status, reply.body) == (200, body)
    assert admin.link.asked == []


@pytest.mark.parametrize(
    "path",
    ["/set_consistency/read/dc_two", "/set_consistency/both/dc_one", "/set_timeout_factor/fast", "/state/sleeping",
     "/read_repairs/perhaps", "/peer/sideways/all"],
)  # fmt: skip
def test_words_that_are_none_are_refused(admin: Admin, path: str) -> None:
    assert one(admin, path).status == 400


def test_a_timeout_factor_is_clamped_as_in_c(admin: Admin) -> None:
    admin.settings.timeout_factor = 10
    assert one(admin, "/set_timeout_factor/99").status == 200


def test_histograms_are_forgotten(admin: Admin) -> None:
    admin.node.writer(Role.IO).record("request_latency_read", 5_000_000)
    assert one(admin, "/info").document["latency_max"] == 5000
    assert one(admin, "/historeset").body == "OK\r\n"
    assert one(admin, "/info").document["latency_max"] == 0
    admin.node.writer(Role.IO).record("request_latency_read", 1_000_000)
    assert one(admin, "/info").document["latency_max"] in range(1000, 1125)


def test_metrics_keep_counting_after_histograms_are_forgotten(admin: Admin) -> None:
    admin.node.writer(Role.IO).record("request_latency_read", 5_000_000)
    one(admin, "/historeset")
    assert 'dynomite_mp_request_duration_seconds_count{command_class="read"} 1.0' in one(admin, "/metrics").body


# ---- who may change


def test_a_wrong_token_is_refused_even_on_loopback(admin: Admin) -> None:
    admin.token = TOKEN
    assert one(admin, "/setloglevel/8", Authorization="Bearer nonsense").status == 403
    assert one(admin, "/setloglevel/8", Authorization=f"Bearer {TOKEN}").status == 200
    assert one(admin, "/setloglevel/9").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Forwarded_For": "10.0.0.9"},
        {"Via": "1.1 proxy"},
        {"Origin": "http://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-origin", "Host": "rebound.example:22222"},
    ],
)
def test_pages_and_proxies_need_the_token(admin: Admin, headers: dict[str, str]) -> None:
    admin.token = TOKEN
    reply = one(admin, "/setloglevel/8", **headers)
    assert reply.status == 403
    assert admin.link.asked == []
    assert one(admin, "/setloglevel/8", **headers, Authorization=f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize("path", ["/info", "/metrics", "/ping", "/health/live"])
def test_reading_needs_nothing(admin: Admin, path: str) -> None:
    assert one(admin, path, X_Forwarded_For="10.0.0.9").status == 200


def test_every_route_that_changes_something_is_guarded(admin: Admin) -> None:
    for route in ROUTES:
        if route.mutating:
            path = route.path.replace("{", "").replace("}", "")
            assert one(admin, path, X_Forwarded_For="10.0.0.9").status == 403


@pytest.mark.parametrize(
    ("peername", "local"),
    [
        (("127.0.0.1", 5), True),
        (("127.9.9.9", 5), True),
        (("::1", 5, 0, 0), True),
        (("::ffff:127.0.0.1", 5, 0, 0), True),
        (("10.0.0.1", 5), False),
        (("::ffff:10.0.0.1", 5, 0, 0), False),
        (("fe80::1%eth0", 5, 0, 2), False),
        (("not an address", 5), False),
        ("", False),
        ((), False),
        (None, False),
    ],
)
def test_which_addresses_are_this_machine(peername: object, local: bool) -> None:
    assert admin_http.is_loopback(peername) is local


def test_a_caller_from_elsewhere_is_told_what_to_send() -> None:
    refusal = admin_http.refusal_of_mutation(False, {}, None)
    assert refusal is not None
    assert "admin_token" in refusal
    assert admin_http.refusal_of_mutation(False, {"Authorization": f"Bearer {TOKEN}"}, TOKEN) is None
    assert admin_http.refusal_of_mutation(False, {"Authorization": "Bearer "}, None) is not None
    assert admin_http.refusal_of_mutation(False, {"Authorization": f"Basic {TOKEN}"}, TOKEN) is not None


def test_a_unix_socket_is_local(admin: Admin, tmp_path: Path) -> None:
    async def talk() -> None:
        async with admin.served():
            path = str(tmp_path / "stats")
            listener = await asyncio.get_running_loop().create_unix_server(admin.gate, path)
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /setloglevel/8 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert parse(await reader.read()).status == 200
            writer.close()
            listener.close()

    run(talk)


def test_a_connection_whose_address_is_gone_is_not_local() -> None:
    assert not admin_http.is_local(None)


# ---- slow, idle and too many


def test_idle_clients_do_not_keep_others_waiting(admin: Admin) -> None:
    async def talk() -> None:
        async with admin.served():
            idle = [await asyncio.open_connection(admin.host, admin.port) for _ in range(20)]
            idle[0][1].write(b"GET /ping HT")
            assert (await admin.ask("/ping")).status == 200
            for _, writer in idle:
                writer.close()

    run(talk)


def test_old_connections_are_ended_young_ones_are_not(admin: Admin) -> None:
    async def talk() -> None:
        async with admin.served(life_s=15):
            reader, writer = await asyncio.open_connection(admin.host, admin.port)
            writer.write(b"GET /ping HTTP/1.1\r\nX: ")
            await admin.ask("/ping")  # by now the first is known to the server
            assert admin.gate.sweep(1000.0) == 0
            writer.write(b"slow")
            assert admin.gate.sweep(1014.9) == 0
            assert admin.gate.sweep(1015.1) == 1
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()

    run(talk)


def test_connections_above_the_cap_are_told_so(admin: Admin) -> None:
    async def talk() -> None:
        async with admin.served(limit=3):
            idle = [await asyncio.open_connection(admin.host, admin.port) for _ in range(3)]
            while len(admin.http.connections) < 3:
                await asyncio.sleep(0)
            reply = await admin.ask("/ping")
            assert reply.status == 503
            assert len(reply.body) == int(reply.headers["Content-Length"])
            idle[0][1].close()
            while len(admin.http.connections) > 2:
                await asyncio.sleep(0)
            assert (await admin.ask("/ping")).status == 200

    run(talk)


def test_one_request_a_connection(admin: Admin) -> None:
    async def talk() -> None:
        async with admin.served():
            request = f"GET /ping HTTP/1.1\r\nHost: {admin.host}\r\n\r\n"
            reply = await admin.send(request * 2)
            assert reply.headers["Connection"] == "close"
            assert reply.body == "OK\r\n"

    run(talk)


def test_a_command_that_is_never_answered_ends(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_http, "REQUEST_DEADLINE_S", 0.01)
    admin.link.hangs = True
    assert one(admin, "/setloglevel/8").status == 504


def test_nonsense_is_a_bad_request(admin: Admin) -> None:
    async def talk() -> None:
        async with admin.served():
            assert (await admin.send("NONSENSE\r\n\r\n")).status == 400
            assert (await admin.send(f"GET /{'x' * 20_000} HTTP/1.1\r\nHost: a\r\n\r\n")).status == 400
            assert (await admin.ask("/ping")).status == 200

    run(talk)


def test_answers_are_counted(admin: Admin) -> None:
    one(admin, "/ping")
    one(admin, "/nothing")
    one(admin, "/setloglevel/8", Via="1.1 proxy")
    assert admin.answered == [200, 404, 403]


# ---- the table


def test_every_row_of_the_table_is_answered(admin: Admin) -> None:
    for route in ROUTES:
        for method in route.methods:
            assert one(admin, route.path.replace("{", "").replace("}", ""), method).status != 404


def test_paths_of_the_table_are_unique_and_explained() -> None:
    assert len({route.path for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        words = {part[1:-1] for part in route.path.split("/") if part.startswith("{")}
        assert words == set(route.choices or {})
        assert route.help
