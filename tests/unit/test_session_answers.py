"""What default clients ask for when they connect: HELLO, CLIENT, COMMAND, SELECT, AUTH; the texts are Redis's own."""

import hiredis
import pytest

from dynomite_mp.workers.sessions import Session, Sessions

PING, ECHO, QUIT, RESET, HELLO, AUTH, SELECT, CLUSTER = 1, 2, 3, 4, 5, 6, 7, 8
COMMAND, COUNT, DOCS, GETKEYS, GETKEYS_FLAGS, COMMAND_HELP, INFO, LIST = range(20, 28)
CACHING, GETNAME, GETREDIR, CLIENT_HELP, ID, CLIENT_INFO, NO_EVICT, NO_TOUCH, SETINFO, SETNAME, TRACKING = range(40, 51)


class Client:
    """One connection and its session."""

    def __init__(self, sessions: Sessions | None = None) -> None:
        self.sessions = sessions or Sessions(listen="127.0.0.1:8102", worker_index=1, worker_count=2)
        self.session: Session = self.sessions.open("10.0.0.7:5555")

    def ask(self, code: int, *words: bytes) -> object:
        """The reply as hiredis reads it; an error as its text."""
        reader = hiredis.Reader()
        reader.feed(self.sessions.answer(self.session, code, list(words)))
        reply = reader.gets()
        assert reader.gets() is False
        return str(reply) if isinstance(reply, hiredis.ReplyError) else reply


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.parametrize(
    ("code", "line", "reply"),
    [
        (PING, b"PING", b"PONG"),
        (PING, b"PING hi", b"hi"),
        (PING, b"PING a b", "ERR wrong number of arguments for 'ping' command"),
        (ECHO, b"ECHO word", b"word"),
        (SELECT, b"SELECT 0", b"OK"),
        (SELECT, b"SELECT x", "ERR value is not an integer or out of range"),
        (SELECT, b"SELECT 16", "ERR DB index is out of range"),
        (SELECT, b"SELECT -1", "ERR DB index is out of range"),
        (AUTH, b"AUTH default any", b"OK"),
        (AUTH, b"AUTH a b c", "ERR syntax error"),
        (HELLO, b"HELLO x", "ERR Protocol version is not an integer or out of range"),
        (HELLO, b"HELLO 4", "NOPROTO unsupported protocol version"),
        (GETREDIR, b"CLIENT GETREDIR", -1),
        (NO_EVICT, b"CLIENT NO-EVICT maybe", "ERR syntax error"),
        (NO_TOUCH, b"CLIENT NO-TOUCH maybe", "ERR syntax error"),
        (SETINFO, b"CLIENT SETINFO colour red", "ERR Unrecognized option 'colour'"),
        (LIST, b"COMMAND LIST FILTERBY", "ERR syntax error"),
        (GETKEYS, b"COMMAND GETKEYS MSET a 1 b 2", [b"a", b"b"]),
        (GETKEYS, b"COMMAND GETKEYS NOSUCH a", "ERR Invalid command specified"),
        (GETKEYS, b"COMMAND GETKEYS PING", "ERR The command has no key arguments"),
        (GETKEYS_FLAGS, b"COMMAND GETKEYSANDFLAGS GET a", [[b"a", [b"RO"]]]),
        (GETKEYS_FLAGS, b"COMMAND GETKEYSANDFLAGS SET a 1", [[b"a", [b"RW"]]]),
        (GETKEYS_FLAGS, b"COMMAND GETKEYSANDFLAGS NOSUCH a", "ERR Invalid command specified"),
    ],
)
def test_words_and_their_answer(client: Client, code: int, line: bytes, reply: object) -> None:
    assert client.ask(code, *line.split()) == reply


def test_other_databases_and_users_are_refused(client: Client) -> None:
    assert str(client.ask(SELECT, b"SELECT", b"1")).startswith("ERR")
    assert str(client.ask(AUTH, b"AUTH", b"secret")).startswith("ERR")
    assert str(client.ask(AUTH, b"AUTH", b"somebody", b"x")).startswith("WRONGPASS")
    assert str(client.ask(CLUSTER, b"CLUSTER", b"INFO")).startswith("ERR")


def test_hello_changes_protocol_and_name_together_or_not_at_all(client: Client) -> None:
    wrong = str(client.ask(HELLO, b"HELLO", b"3", b"AUTH", b"somebody", b"x", b"SETNAME", b"n"))
    assert wrong.startswith("WRONGPASS") and (client.session.protocol, client.session.name) == (2, b"")
    assert str(client.ask(HELLO, b"HELLO", b"3", b"SETNAME", b"a b")).startswith("ERR Client names")
    assert str(client.ask(HELLO, b"HELLO", b"3", b"WHAT")).startswith("ERR Syntax error in HELLO")
    assert client.session.protocol == 2
    reply = client.ask(HELLO, b"HELLO", b"3", b"AUTH", b"default", b"x", b"SETNAME", b"n")
    assert isinstance(reply, dict) and reply[b"proto"] == 3 and reply[b"id"] == client.session.id
    assert (client.session.protocol, client.session.name) == (3, b"n")


def test_hello_tells_the_version_of_the_datastore_and_refuses_what_it_lacks(client: Client) -> None:
    client.sessions.note_server(b"*4\r\n$7\r\nversion\r\n$5\r\n6.2.1\r\n$5\r\nproto\r\n:2\r\n")
    reply = client.ask(HELLO, b"HELLO")
    assert isinstance(reply, list) and reply[reply.index(b"version") + 1] == b"6.2.1"
    client.sessions.resp3 = False
    assert str(client.ask(HELLO, b"HELLO", b"3")).startswith("NOPROTO")


def test_what_a_client_says_of_itself_is_in_its_info_until_it_resets(client: Client) -> None:
    assert client.ask(GETNAME, b"CLIENT", b"GETNAME") is None
    for code, words in (
        (SETNAME, (b"SETNAME", b"me")),
        (SETINFO, (b"SETINFO", b"LIB-NAME", b"lib")),
        (SETINFO, (b"SETINFO", b"lib-ver", b"1.2")),
        (NO_EVICT, (b"NO-EVICT", b"ON")),
        (NO_TOUCH, (b"NO-TOUCH", b"on")),
    ):
        assert client.ask(code, b"CLIENT", *words) == b"OK"
    assert str(client.ask(SETNAME, b"CLIENT", b"SETNAME", b"a\nb")).startswith("ERR Client names")
    assert "cannot contain spaces" in str(client.ask(SETINFO, b"CLIENT", b"SETINFO", b"lib-ver", b"1 2"))
    assert client.ask(GETNAME, b"CLIENT", b"GETNAME") == b"me"
    line = client.ask(CLIENT_INFO, b"CLIENT", b"INFO")
    assert isinstance(line, bytes)
    assert {b"addr=10.0.0.7:5555", b"name=me", b"lib-name=lib", b"lib-ver=1.2", b"resp=2"} <= set(line.split())
    assert client.session.no_evict and client.session.no_touch
    assert client.ask(RESET, b"RESET") == b"RESET"
    assert client.ask(GETNAME, b"CLIENT", b"GETNAME") is None
    assert not client.session.no_evict and not client.session.no_touch


def test_ids_of_two_workers_never_meet() -> None:
    workers = [Sessions(listen="here", worker_index=index, worker_count=2) for index in range(2)]
    ids = [Client(worker).ask(ID, b"CLIENT", b"ID") for worker in workers for _ in range(50)]
    assert len(set(ids)) == 100


def test_quit_closes_and_a_closed_session_is_forgotten(client: Client) -> None:
    assert client.ask(QUIT, b"QUIT") == b"OK" and client.session.is_closing
    client.sessions.close(client.session)
    assert client.sessions.open_sessions == {}


def test_tracking_is_off(client: Client) -> None:
    client.session.protocol = 3
    tracking = client.ask(TRACKING, b"CLIENT", b"TRACKINGINFO")
    assert isinstance(tracking, dict) and list(tracking[b"flags"]) == [b"off"] and tracking[b"redirect"] == -1
    assert str(client.ask(CACHING, b"CLIENT", b"CACHING", b"YES")).startswith("ERR CLIENT CACHING can be called only")


def test_command_describes_every_command_once(client: Client) -> None:
    rows, names = client.ask(COMMAND, b"COMMAND"), client.ask(LIST, b"COMMAND", b"LIST")
    assert isinstance(rows, list) and isinstance(names, list)
    assert [row[0] for row in rows] == names == sorted(set(names), key=names.index)
    assert client.ask(COUNT, b"COMMAND", b"COUNT") == len(names)
    assert client.ask(INFO, b"COMMAND", b"INFO") == rows
    get, nothing = client.ask(INFO, b"COMMAND", b"INFO", b"GET", b"nosuch")  # type: ignore[misc]
    assert get[:6] == [b"get", 2, [b"readonly"], 1, 1, 1] and nothing is None
    docs = client.ask(DOCS, b"COMMAND", b"DOCS", b"get", b"nosuch")
    assert isinstance(docs, list) and docs[0] == b"get" and len(docs) == 2
    assert len(client.ask(DOCS, b"COMMAND", b"DOCS")) == 2 * len(names)  # type: ignore[arg-type]


@pytest.mark.parametrize(("code", "name"), [(CLIENT_HELP, b"SETNAME"), (COMMAND_HELP, b"GETKEYS")])
def test_help_names_the_subcommands(client: Client, code: int, name: bytes) -> None:
    lines = client.ask(code, b"X", b"HELP")
    assert isinstance(lines, list) and name in lines
