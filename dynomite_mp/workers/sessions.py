"""What a client's connection is beyond its bytes, and the commands that are answered from it.

What it is: protocol, name, library and consistency of a client, and the answers to HELLO, CLIENT, COMMAND, SELECT, AUTH
and their like, so that default clients connect. A session exists from the first such command on; most connections of
a plain benchmark never have one.

What it is not: nothing here reaches a datastore, and nothing here is on the path of a GET.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dynomite_mp.enums import Consistency
from dynomite_mp.errors import WIRE_ERRORS, ProtocolError
from dynomite_mp.proto import commands
from dynomite_mp.proto.framer import frame_keys
from dynomite_mp.proto.replies import Error, Reply, Status, encode_reply

OK: Final = Status("OK")
DYNO_HELP: Final = (
    "DYNO <subcommand>. Subcommands are:",
    "TOPOLOGY",
    "    The nodes of the cluster as JSON, the same as /cluster_describe of the HTTP port.",
    "HELP",
    "    This text.",
)
DATABASES: Final = 16
# The order matters: the level is matched by prefix (reference 3.1).
_LEVELS: Final = (
    (b"dc_one", Consistency.DC_ONE),
    (b"dc_safe_quorum", Consistency.DC_SAFE_QUORUM),
    (b"dc_quorum", Consistency.DC_QUORUM),
    (b"dc_each_safe_quorum", Consistency.DC_EACH_SAFE_QUORUM),
)


@dataclass(slots=True)
class Session:
    """State of one client connection."""

    id: int
    address: str
    read_consistency: Consistency
    write_consistency: Consistency
    protocol: int = 2
    name: bytes = b""
    lib_name: bytes = b""
    lib_ver: bytes = b""
    no_evict: bool = False
    no_touch: bool = False
    is_closing: bool = False
    opened_at: float = field(default_factory=time.monotonic)


Answer = Callable[["Sessions", Session, list[bytes]], Reply]


class Sessions:
    """All sessions of an io worker; `answer` is the one entry."""

    def __init__(
        self,
        *,
        listen: str,
        worker_index: int,
        worker_count: int,
        read_consistency: Consistency = Consistency.DC_ONE,
        write_consistency: Consistency = Consistency.DC_ONE,
        topology: Callable[[], bytes] = lambda: b"{}",
    ) -> None:
        """`topology` makes the document of DYNO TOPOLOGY."""
        self.listen = listen
        self.read_consistency = read_consistency
        self.write_consistency = write_consistency
        self.server_version = "7.0.0"  # of the datastore, once it has told
        self.resp3 = True
        self._topology = topology
        # Ids of different workers never meet.
        self._ids = itertools.count(worker_count + worker_index, worker_count)
        self.open_sessions: dict[int, Session] = {}

    def open(self, address: str) -> Session:
        session = Session(next(self._ids), address, self.read_consistency, self.write_consistency)
        self.open_sessions[session.id] = session
        return session

    def close(self, session: Session) -> None:
        self.open_sessions.pop(session.id, None)

    def note_server(self, hello: bytes) -> None:
        """The datastore's own answer to HELLO: its version is what clients are told."""
        words = hello.split(b"\r\n")
        if b"version" in words:
            self.server_version = words[words.index(b"version") + 2].decode(errors="replace")

    def answer(self, session: Session, local_code: int, args: list[bytes]) -> bytes:
        """The reply of a command that the table says is answered here; `args[0]` is its name."""
        reply = _ANSWERS[local_code](self, session, args)
        return encode_reply(reply, session.protocol)

    # ---- connection

    def ping(self, _session: Session, args: list[bytes]) -> Reply:
        if len(args) > 2:
            return _error("wrong_arity", name="ping")
        return args[1] if len(args) == 2 else Status("PONG")

    def echo(self, _session: Session, args: list[bytes]) -> Reply:
        return args[1]

    def quit(self, session: Session, _args: list[bytes]) -> Reply:
        session.is_closing = True
        return OK

    def reset(self, session: Session, _args: list[bytes]) -> Reply:
        session.protocol = 2
        session.name = b""
        session.no_evict = session.no_touch = False
        session.read_consistency, session.write_consistency = self.read_consistency, self.write_consistency
        return Status("RESET")

    def select(self, _session: Session, args: list[bytes]) -> Reply:
        if not _is_integer(args[1]):
            return _error("not_an_integer")
        database = int(args[1])
        if not 0 <= database < DATABASES:
            return _error("no_such_database")
        if database:
            return _error("one_database")
        return OK

    def auth(self, _session: Session, args: list[bytes]) -> Reply:
        if len(args) > 3:
            return _error("syntax_error")
        if len(args) == 2:
            return _error("no_password_set")
        return self._check_user(args[1])

    def _check_user(self, user: bytes) -> Reply:
        if user != b"default":
            return _error("wrong_password")
        return OK

    def hello(self, session: Session, args: list[bytes]) -> Reply:
        protocol = session.protocol
        name = session.name
        if len(args) > 1:
            if not _is_integer(args[1]):
                return _error("protocol_version_not_integer")
            protocol = int(args[1])
            if protocol not in (2, 3) or (protocol == 3 and not self.resp3):
                return _error("no_proto")
        at = 2
        while at < len(args):
            option = args[at].upper()
            if option == b"AUTH" and at + 2 < len(args):
                verdict = self._check_user(args[at + 1])
                if isinstance(verdict, Error):
                    return verdict
                at += 3
            elif option == b"SETNAME" and at + 1 < len(args):
                if not _is_name(args[at + 1]):
                    return _error("client_name")
                name = args[at + 1]
                at += 2
            else:
                return _error("hello_syntax", name=args[at].decode(errors="replace"))
        session.protocol, session.name = protocol, name
        return {
            "server": "redis",
            "version": self.server_version,
            "proto": session.protocol,
            "id": session.id,
            "mode": "standalone",
            "role": "master",
            "modules": [],
        }

    def no_cluster(self, _session: Session, _args: list[bytes]) -> Reply:
        return _error("cluster_disabled")

    def consistency(self, session: Session, args: list[bytes]) -> Reply:
        word = args[1].lower()
        for name, level in _LEVELS:
            if word.startswith(name):
                session.read_consistency = session.write_consistency = level
                return OK
        return _error("bad_level")

    def dyno(self, _session: Session, args: list[bytes]) -> Reply:
        subcommand = args[1].lower()
        if subcommand == b"topology" and len(args) == 2:
            return self._topology()
        if subcommand == b"help":
            return [Status(line) for line in DYNO_HELP]
        return _error("bad_dyno")

    # ---- client

    def client_id(self, session: Session, _args: list[bytes]) -> Reply:
        return session.id

    def client_setname(self, session: Session, args: list[bytes]) -> Reply:
        if not _is_name(args[2]):
            return _error("client_name")
        session.name = args[2]
        return OK

    def client_getname(self, session: Session, _args: list[bytes]) -> Reply:
        return session.name or None

    def client_setinfo(self, session: Session, args: list[bytes]) -> Reply:
        option = args[2].lower()
        if option not in (b"lib-name", b"lib-ver"):
            return Error(f"ERR Unrecognized option '{args[2].decode(errors='replace')}'")
        if not _is_name(args[3]):
            return Error(f"ERR {option.decode()} cannot contain spaces, newlines or special characters.")
        if option == b"lib-name":
            session.lib_name = args[3]
        else:
            session.lib_ver = args[3]
        return OK

    def client_info(self, session: Session, _args: list[bytes]) -> Reply:
        age = int(time.monotonic() - session.opened_at)
        return (
            f"id={session.id} addr={session.address} laddr={self.listen} name={session.name.decode(errors='replace')} "
            f"age={age} idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 user=default "
            f"lib-name={session.lib_name.decode(errors='replace')} lib-ver={session.lib_ver.decode(errors='replace')} "
            f"resp={session.protocol}\n"
        )

    def client_no_evict(self, session: Session, args: list[bytes]) -> Reply:
        switch = _switch(args[2])
        if switch is None:
            return _error("syntax_error")
        session.no_evict = switch
        return OK

    def client_no_touch(self, session: Session, args: list[bytes]) -> Reply:
        switch = _switch(args[2])
        if switch is None:
            return _error("syntax_error")
        session.no_touch = switch
        return OK

    def client_trackinginfo(self, _session: Session, _args: list[bytes]) -> Reply:
        return {"flags": frozenset({"off"}), "redirect": -1, "prefixes": []}

    def client_getredir(self, _session: Session, _args: list[bytes]) -> Reply:
        return -1

    def client_caching(self, _session: Session, _args: list[bytes]) -> Reply:
        return Error(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode "
            "with OPTIN or OPTOUT mode enabled"
        )

    def client_help(self, _session: Session, _args: list[bytes]) -> Reply:
        return [Status(line) for line in ("CLIENT <subcommand> [<arg> ...]. Subcommands are:", *_names("client"))]

    # ---- command

    def command(self, _session: Session, _args: list[bytes]) -> Reply:
        return [_command_row(row) for row in _top_rows()]

    def command_count(self, _session: Session, _args: list[bytes]) -> Reply:
        return len(_top_rows())

    def command_info(self, _session: Session, args: list[bytes]) -> Reply:
        if len(args) == 2:
            return [_command_row(row) for row in _top_rows()]
        rows = [commands.COMMAND_BY_NAME.get(name.lower().decode(errors="replace")) for name in args[2:]]
        return [_command_row(row) if row is not None else None for row in rows]

    def command_docs(self, _session: Session, args: list[bytes]) -> Reply:
        by_name = {row.name: row for row in _top_rows()}
        wanted = [name.lower().decode(errors="replace") for name in args[2:]] or list(by_name)
        return {
            name: {"summary": f"routing: {by_name[name].routing}", "group": "generic"}
            for name in wanted
            if name in by_name
        }

    def command_list(self, _session: Session, args: list[bytes]) -> Reply:
        if len(args) > 2:
            return _error("syntax_error")
        return [row.name for row in _top_rows()]

    def command_getkeys(self, _session: Session, args: list[bytes]) -> Reply:
        keys = _keys_of(args[2:])
        if keys is None:
            return Error("ERR Invalid command specified")
        return keys or Error("ERR The command has no key arguments")

    def command_getkeysandflags(self, _session: Session, args: list[bytes]) -> Reply:
        keys = _keys_of(args[2:])
        if keys is None:
            return Error("ERR Invalid command specified")
        row = commands.COMMAND_BY_NAME[args[2].lower().decode()]
        access = "RO" if row.access == "read" else "RW"
        return [[key, [Status(access)]] for key in keys] or Error("ERR The command has no key arguments")

    def command_help(self, _session: Session, _args: list[bytes]) -> Reply:
        return [Status(line) for line in ("COMMAND [<subcommand> [<arg> ...]]. Subcommands are:", *_names("command"))]


def _error(row: str, **words: str) -> Error:
    return Error(WIRE_ERRORS[row].text[1:].format(**words))


def _is_integer(word: bytes) -> bool:
    digits = word[1:] if word[:1] == b"-" else word
    return digits.isdigit() and len(digits) <= 18


def _is_name(word: bytes) -> bool:
    """Printable, no spaces: it goes into a line of CLIENT INFO."""
    return all(0x21 <= byte <= 0x7E for byte in word)


def _switch(word: bytes) -> bool | None:
    return {b"on": True, b"off": False}.get(word.lower())


def _top_rows() -> list[commands.Command]:
    return [row for row in commands.COMMANDS if "|" not in row.name]


def _names(container: str) -> list[str]:
    return [row.name.split("|")[1].upper() for row in commands.COMMANDS if row.name.startswith(container + "|")]


def _keys_of(words: list[bytes]) -> list[bytes] | None:
    """The keys of a command given by its arguments; None when there is no such command or the keys are malformed."""
    if not words or words[0].lower().decode(errors="replace") not in commands.COMMAND_BY_NAME:
        return None
    frame = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    try:
        found = frame_keys(frame)
    except ProtocolError:
        return None
    return None if found.error else list(found.keys)


def _command_row(row: commands.Command) -> Reply:
    """name, arity, flags, first key, last key, step, categories, tips, key specifications, subcommands."""
    spec = commands.key_spec(row)
    first, last, step = (spec.first, spec.last, spec.step) if spec.kind == "range" else (0, 0, 0)
    flags: list[Reply] = [Status({"read": "readonly", "write": "write"}[row.access])] if row.access != "none" else []
    return [row.name, row.arity, flags, first, last, step, [], [], [], []]


# Codes of command_lookup.pxd (LOCAL_*), which the table's rows carry.
_ANSWERS: Final[dict[int, Answer]] = {
    1: Sessions.ping,
    2: Sessions.echo,
    3: Sessions.quit,
    4: Sessions.reset,
    5: Sessions.hello,
    6: Sessions.auth,
    7: Sessions.select,
    8: Sessions.no_cluster,
    9: Sessions.no_cluster,
    10: Sessions.no_cluster,
    11: Sessions.consistency,
    12: Sessions.dyno,
    20: Sessions.command,
    21: Sessions.command_count,
    22: Sessions.command_docs,
    23: Sessions.command_getkeys,
    24: Sessions.command_getkeysandflags,
    25: Sessions.command_help,
    26: Sessions.command_info,
    27: Sessions.command_list,
    40: Sessions.client_caching,
    41: Sessions.client_getname,
    42: Sessions.client_getredir,
    43: Sessions.client_help,
    44: Sessions.client_id,
    45: Sessions.client_info,
    46: Sessions.client_no_evict,
    47: Sessions.client_no_touch,
    48: Sessions.client_setinfo,
    49: Sessions.client_setname,
    50: Sessions.client_trackinginfo,
}
