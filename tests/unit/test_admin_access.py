"""Who may change anything over HTTP, and that no client of the admin port is in the way of another."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynomite_mp.workers import admin_http
from dynomite_mp.workers.rest_routes import ROUTES
from tests.unit.admin_client import Admin, healthy_admin, one, one_turn, parse, run

TOKEN = "a secret"


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    with healthy_admin(tmp_path) as made:
        yield made


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


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "same-origin", "Host": "127.0.0.1:22222"},
        {"Sec_Fetch_Site": "same-origin", "Host": "[::1]:22222"},
        {"Sec_Fetch_Site": "none", "Host": "localhost:22222"},
        {"Origin": "http://localhost:22222", "Host": "localhost:22222"},
    ],
)
def test_pages_of_the_node_itself_need_no_token(admin: Admin, headers: dict[str, str]) -> None:
    assert one(admin, "/setloglevel/8", **headers).status == 200


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
    assert admin_http.refusal_of_mutation(False, {"authorization": f"Bearer {TOKEN}"}, TOKEN) is None
    assert admin_http.refusal_of_mutation(False, {"authorization": "Bearer "}, None) is not None
    assert admin_http.refusal_of_mutation(False, {"authorization": f"Basic {TOKEN}"}, TOKEN) is not None


def test_a_unix_socket_is_local(admin: Admin, tmp_path: Path) -> None:
    async def talk() -> None:
        async with admin.served():
            path = str(tmp_path / "stats")
            listener = await asyncio.get_running_loop().create_unix_server(admin.http, path)
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
            (since_s,) = admin.http.connections.values()
            writer.write(b"slow")
            assert admin.http.sweep(since_s + 14.9) == 0
            assert admin.http.sweep(since_s + 15.1) == 1
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()

    run(talk)


def test_the_oldest_of_too_many_connections_makes_room(admin: Admin) -> None:
    async def talk() -> None:
        async with admin.served(limit=3):
            idle = [await asyncio.open_connection(admin.host, admin.port) for _ in range(3)]
            while len(admin.http.connections) < 3:
                await one_turn()
            assert (await admin.ask("/ping")).status == 200
            first, second, third = (reader for reader, _ in idle)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await first.readexactly(1)
            assert not second.at_eof()
            assert not third.at_eof()
            for _, writer in idle:
                writer.close()

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
            assert (await admin.send(f"GET /{'x' * 20_000}")).status == 431
            assert (await admin.ask("/ping")).status == 200

    run(talk)


def test_a_body_is_skipped_unless_it_is_too_long(admin: Admin) -> None:
    async def talk() -> None:
        async with admin.served():
            head = "POST /ping HTTP/1.1\r\nHost: a\r\n"
            assert (await admin.send(f"{head}Content-Length: 5\r\n\r\n12345")).status == 200
            assert (await admin.send(f"{head}Content-Length: 70000\r\n\r\n" + "x" * 70_000)).status == 413
            expecting = await admin.send(f"{head}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n12")
            assert expecting.status == 100
            assert "200 OK" in expecting.body

    run(talk)


def test_a_client_that_has_sent_all_still_reads_its_answer(admin: Admin) -> None:
    async def talk() -> None:
        async with admin.served():
            reader, writer = await asyncio.open_connection(admin.host, admin.port)
            writer.write(b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n")
            writer.write_eof()
            assert parse(await reader.read()).status == 200
            writer.close()
            reader, writer = await asyncio.open_connection(admin.host, admin.port)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()

    run(talk)


def test_a_head_has_no_body_and_a_query_changes_nothing(admin: Admin) -> None:
    reply = one(admin, "/info?pretty", "HEAD")
    assert (reply.status, reply.body) == (200, "")
    assert int(reply.headers["Content-Length"]) > 0
    reply = one(admin, "/metrics", "POST")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
    assert one(admin, "/peer/down/no%2Fsuch").body.startswith("no peer is called no/such;")


def test_answers_are_counted(admin: Admin) -> None:
    one(admin, "/ping")
    one(admin, "/nothing")
    one(admin, "/setloglevel/8", Via="1.1 proxy")
    assert admin.answered == [200, 404, 403]
