"""The admin HTTP server: what each route answers, and that changes go through the supervisor."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dynomite_mp.config_values import read_seed
from dynomite_mp.enums import Consistency, ProcessState, Role
from dynomite_mp.ipc.bulletin import Bulletin, RepairRow, encode
from dynomite_mp.workers.cluster_view import ClusterView
from dynomite_mp.workers.rest_routes import ROUTES, CommandRefused, describe
from tests.unit.admin_client import Admin, healthy_admin, one
from tests.unit.admin_node import CONFIG


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    with healthy_admin(tmp_path) as made:
        yield made


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


def test_the_forms_of_dynomite_manager(admin: Admin) -> None:
    (item,) = one(admin, "/REST/v1/admin/cluster_describe").document
    assert item["token"] == "101134286" and item["port"] == "8102"
    reply = one(admin, "/REST/v1/admin/get_seeds")
    assert (reply.status, reply.body) == (200, "127.0.0.1:8101:rack-1:dc-a:101134286")


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
    ],
)
def test_a_verb_becomes_one_order(admin: Admin, path: str, key: str) -> None:
    assert one(admin, path).status == 200
    assert [asked for asked, _ in admin.link.asked] == [key]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/set_consistency/read/DC_ONE", "OK\r\n"),
        ("/set_timeout_factor/1", "OK\r\n"),
        ("/read_repairs/disable", "Read Repairs: DISABLED\r\n"),
    ],
)
def test_what_holds_already_is_ok(admin: Admin, path: str, body: str) -> None:
    reply = one(admin, path)
    assert (reply.status, reply.body) == (200, body)
    assert admin.link.asked == []


@pytest.mark.parametrize(
    "path",
    ["/set_consistency/read/dc_two", "/set_consistency/both/dc_one", "/set_timeout_factor/fast", "/state/sleeping",
     "/read_repairs/perhaps", "/peer/sideways/all", "/repair/perhaps"],
)  # fmt: skip
def test_words_that_are_none_are_refused(admin: Admin, path: str) -> None:
    assert one(admin, path).status == 400


@pytest.mark.parametrize("state", ["standby", "writes_only", "resuming", "NORMAL"])
def test_a_state_is_set_and_then_shown(admin: Admin, state: str) -> None:
    reply = one(admin, f"/state/{state}")
    assert (reply.status, reply.body) == (200, "OK\r\n")
    assert admin.link.asked == [("node_state", state.lower())]
    assert one(admin, "/state/get_state").body == f"State: {state.upper()}\n"


def test_a_state_that_is_refused_is_not_waited_for(admin: Admin) -> None:
    admin.link.refusal = CommandRefused(503, "busy")
    assert one(admin, "/state/standby").status == 503


@pytest.fixture
def peers(admin: Admin) -> Admin:
    """Two peers on one host, one on another."""
    seeds = ("127.0.0.2:8101:rack-2:dc-a:5", "127.0.0.2:9101:rack-3:dc-a:5", "127.0.0.3:8101:rack-9:dc-b:7")
    admin.source.view = ClusterView.configured(replace(CONFIG, dyn_seeds=tuple(map(read_seed, seeds))))
    return admin


A, B, C = "127.0.0.2:8101", "127.0.0.2:9101", "127.0.0.3:8101"


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/peer/down/127.0.0.3", [(f"peer/{C}", "down")]),
        ("/peer/up/127.0.0.2:9101", [(f"peer/{B}", "up")]),
        ("/peer/down/127.0.0.2", [(f"peer/{A}", "down"), (f"peer/{B}", "down")]),
        ("/peer/down/all", [(f"peer/{A}", "down"), (f"peer/{B}", "down"), (f"peer/{C}", "down")]),
        ("/peer/reset/127.0.0.3", [(f"peer/{C}", "up"), ("peer_reset", C)]),
    ],
)
def test_an_order_about_peers_goes_out_by_address(peers: Admin, path: str, asked: list[tuple[str, str]]) -> None:
    reply = one(peers, path)
    assert (reply.status, reply.body) == (200, "OK\r\n")
    assert peers.link.asked == asked


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.4", "127.0.0.2:1", "ALL"])
def test_a_peer_that_there_is_not(peers: Admin, name: str) -> None:
    reply = one(peers, f"/peer/down/{name}")
    assert reply.status == 404
    assert "known are 127.0.0.2, 127.0.0.2, 127.0.0.3" in reply.body
    assert peers.link.asked == []


def test_a_node_that_is_alone_has_no_peers(admin: Admin) -> None:
    assert one(admin, "/peer/reset/all").status == 200
    assert "alone" in one(admin, "/peer/reset/127.0.0.2").body


def test_an_order_that_is_refused_is_not_ok(peers: Admin) -> None:
    peers.link.refusal = CommandRefused(503, "busy")
    assert one(peers, "/peer/down/all").status == 503
    assert len(peers.link.asked) == 1


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


def test_the_table_as_text_says_what_is_guarded() -> None:
    lines = describe().splitlines()
    assert "GET|POST /ping: OK while the admin process answers" in lines
    assert "GET|POST /loglevelup: log one level more (loopback or admin_token)" in lines
    assert len(lines) == len(ROUTES)


# ---- comparing


def test_a_comparison_is_started_shown_and_not_started_twice(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one(admin, "/repair").document == {}
    run = f"{admin.source.now_ns():x}"
    monkeypatch.setattr(admin.source, "now_ns", lambda: int(run, 16))
    row = RepairRow(run, "asked for", peers=2, keys_differing=3)
    admin.node.writer(Role.REPLICATION).post(encode(Bulletin(repairs=(RepairRow("before", state="done"),))))
    asked = []

    async def take(key: str, value: str | int) -> None:
        asked.append((key, value))
        admin.node.writer(Role.REPLICATION).post(encode(Bulletin(repairs=(row,))))

    monkeypatch.setattr(admin.link, "set", take)
    assert one(admin, "/repair/start", "POST").document == {"run": run}
    assert asked == [("repair", run)]
    shown = one(admin, "/repair").document
    assert (shown["run"], shown["state"], shown["peers"], shown["keys_differing"]) == (run, "running", 2, 3)
    assert one(admin, "/repair/start").status == 409
    assert one(admin, "/repair/stop").status == 200
    assert asked[1:] == [("repair", "stop")]
