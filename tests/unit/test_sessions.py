"""Commands that the io worker answers from what it knows of the cluster and of the connection."""

import json
from pathlib import Path

import pytest

from dynomite_mp.enums import Consistency, NodeState, Role
from dynomite_mp.errors import WIRE_ERRORS
from dynomite_mp.ipc.bulletin import Bulletin, PeerRow, encode
from dynomite_mp.workers.cluster_view import ClusterView
from dynomite_mp.workers.sessions import Sessions
from dynomite_mp.workers.topology_answer import TopologyAnswer
from tests.unit.admin_client import healthy_admin, one
from tests.unit.admin_node import CONFIG
from tests.unit.test_admin_cluster import PUBLISHED

CONSISTENCY, DYNO, RESET = 11, 12, 4


def sessions(topology: bytes = b'{"dcs":[]}') -> Sessions:
    return Sessions(listen="here", worker_index=0, worker_count=1, topology=lambda: topology)


def dyno(*words: bytes, protocol: int = 2) -> bytes:
    made = sessions()
    session = made.open("client")
    session.protocol = protocol
    return made.answer(session, DYNO, [b"DYNO", *words])


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("word", [b"TOPOLOGY", b"topology"])
def test_dyno_topology_is_a_bulk_string(word: bytes, protocol: int) -> None:
    assert dyno(word, protocol=protocol) == b'$10\r\n{"dcs":[]}\r\n'


def test_dyno_help_names_every_subcommand() -> None:
    lines = dyno(b"Help").decode().splitlines()
    assert lines[0] == "*5" and "+TOPOLOGY" in lines and "+HELP" in lines


@pytest.mark.parametrize("words", [(b"TOPOLOGIES",), (b"TOPOLOGY", b"all"), (b"",)])
def test_what_dyno_does_not_know_is_an_error(words: tuple[bytes, ...]) -> None:
    assert dyno(*words) == WIRE_ERRORS["bad_dyno"].line


def test_the_topology_is_what_http_says(tmp_path: Path) -> None:
    with healthy_admin(tmp_path) as admin:
        admin.source.view = PUBLISHED
        answer = TopologyAnswer(admin.node.fabric.name, CONFIG, ClusterView.configured(CONFIG))
        assert json.loads(answer())["dcs"][0]["name"] == "dc-a"
        answer.take(PUBLISHED)
        assert json.loads(answer()) == one(admin, "/cluster_describe").document


def test_the_topology_is_made_anew_once_a_second(tmp_path: Path) -> None:
    with healthy_admin(tmp_path) as admin:
        answer = TopologyAnswer(admin.node.fabric.name, CONFIG, PUBLISHED)
        before = answer()
        admin.node.writer(Role.GOSSIP).set_gauge("node_state", NodeState.STANDBY)
        admin.node.writer(Role.IO).post(encode(Bulletin((), (PeerRow("10.1.0.1", 8101, 1, 1),))))
        assert answer() is before
        answer.forget()
        servers = [s for dc in json.loads(answer())["dcs"] for rack in dc["racks"] for s in rack["servers"]]
        assert [server["state"] for server in servers] == ["STANDBY", "RESUMING", "NORMAL"]


# ---- consistency -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "level"),
    [
        (b"DC_ONE", Consistency.DC_ONE),
        (b"dc_quorum", Consistency.DC_QUORUM),
        (b"Dc_Safe_Quorum", Consistency.DC_SAFE_QUORUM),
        (b"dc_each_safe_quorum", Consistency.DC_EACH_SAFE_QUORUM),
        (b"dc_quorum_and_more", Consistency.DC_QUORUM),
    ],
)
def test_a_connection_sets_its_own_level(word: bytes, level: Consistency) -> None:
    made = sessions()
    session, other = made.open("one"), made.open("other")
    assert made.answer(session, CONSISTENCY, [b"dyno_config:conn_consistency", word]) == b"+OK\r\n"
    assert (session.read_consistency, session.write_consistency) == (level, level)
    assert other.read_consistency is Consistency.DC_ONE


def test_a_level_that_is_none_changes_nothing() -> None:
    made = sessions()
    session = made.open("one")
    assert made.answer(session, CONSISTENCY, [b"", b"quorum"]) == WIRE_ERRORS["bad_level"].line
    assert session.read_consistency is Consistency.DC_ONE


def test_a_new_level_of_the_node_is_that_of_new_connections_and_of_reset_ones() -> None:
    made = sessions()
    old = made.open("old")
    made.read_consistency = Consistency.DC_QUORUM
    assert made.open("new").read_consistency is Consistency.DC_QUORUM
    assert old.read_consistency is Consistency.DC_ONE
    made.answer(old, RESET, [b"RESET"])
    assert old.read_consistency is Consistency.DC_QUORUM
