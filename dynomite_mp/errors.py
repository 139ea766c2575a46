"""Everything that can go wrong, in two parts: exceptions of the program, and error replies that a client sees.

Exceptions say what is wrong (`detail`) and what to do about it (`hint`). Error replies are rows of `WIRE_ERRORS`: the
hot path knows them by `code`, people and tests by `name`. A reply that C Dynomite has too keeps C's text, a reply that
Redis has keeps Redis's; the rest are `-ERR dynomite-mp: <what>; <what to do>`.

Invariants: codes are 1..N without a gap, in the order below, and 0 means "no error"; they live only inside a node and
may change between versions. Texts are one line without CRLF. Texts with `{}` are completed by the code that sends them.

This module is not a place for exit codes (enums.ExitCode) nor for log messages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


class DynomiteError(Exception):
    """Base of all: what is wrong, and what to do about it."""

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail, hint)
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.detail}; {self.hint}" if self.hint else self.detail


class ConfigError(DynomiteError):
    """The configuration cannot be used."""


class ProtocolError(DynomiteError):
    """Bytes that do not follow the protocol they claim to be."""


class TopologyError(DynomiteError):
    """Nodes, racks, datacenters or tokens that do not make a cluster."""


class StoreError(DynomiteError):
    """The datastore is missing, refuses, or is not the one that the data directory belongs to."""


class RingError(DynomiteError):
    """A ring in shared memory is corrupt or is used against its rules."""


class InternalError(DynomiteError):
    """A state that should be impossible: a defect of this program."""


@dataclass(frozen=True, slots=True)
class WireError:
    """One error reply."""

    code: int
    name: str
    text: str
    """The reply line without CRLF; starts with `-`."""
    c_text: str | None = None
    """What C Dynomite says in this case, where it says anything."""
    closes: bool = False
    """The connection is closed after it, because the bytes behind it cannot be understood."""

    @property
    def line(self) -> bytes:
        """The reply as it goes out."""
        return self.text.encode() + b"\r\n"


_STORE_REFUSED = "-ERR Storage: Datastore refused connection"
_PEER_NOT_CONNECTED = "-ERR Peer: Peer Node is not connected"
_PEER_REFUSED = "-ERR Peer: Peer Node refused connection"
_NO_QUORUM = "-ERR Dynomite: Failed to achieve Quorum"
_STATE = "-ERR Dynomite: Dynomite's current state does not allow this request"
_ADMIN_MODE = "-ERR Dynomite: Invalid request in Dynomite's admin mode"
_SCRIPT_SPAN = "-ERR Dynomite: Keys in the script cannot span multiple nodes"
_PAYLOAD = "-ERR Dynomite: MSET/MGET/SCAN payload too large"

# Failures that C Dynomite reports too.
_SHARED_WITH_C: tuple[tuple[str, str], ...] = (
    ("datastore_refused", _STORE_REFUSED),
    ("datastore_timeout", _STORE_REFUSED),
    ("peer_not_connected", _PEER_NOT_CONNECTED),
    ("peer_refused", _PEER_REFUSED),
    ("peer_timeout", _PEER_REFUSED),
    ("peer_down", "-ERR Peer: Peer Node is down"),
    ("no_quorum", _NO_QUORUM),
    ("state_forbids", _STATE),
    ("admin_mode", _ADMIN_MODE),
    ("script_spans_nodes", _SCRIPT_SPAN),
    ("payload_too_large", _PAYLOAD),
    ("part_failed", "-ERR unknown: unknown"),
    ("unknown_error", "-ERR unknown: Unknown Error"),
)

# What a Redis server says, word for word. `{name}` is the command's full name, lower case.
_REDIS: tuple[tuple[str, str], ...] = (
    ("unknown_command", "-ERR unknown command '{name}', with args beginning with: {args}"),
    ("unknown_subcommand", "-ERR unknown subcommand '{name}'. Try {container} HELP."),
    ("wrong_arity", "-ERR wrong number of arguments for '{name}' command"),
    ("syntax_error", "-ERR syntax error"),
    ("not_an_integer", "-ERR value is not an integer or out of range"),
    ("numkeys_negative", "-ERR Number of keys can't be negative"),
    ("numkeys_too_large", "-ERR Number of keys can't be greater than number of args"),
    (
        "unbalanced_streams",
        "-ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
    ),
    ("cluster_disabled", "-ERR This instance has cluster support disabled"),
    ("no_such_database", "-ERR DB index is out of range"),
    ("no_auth", "-NOAUTH Authentication required."),
    ("wrong_password", "-WRONGPASS invalid username-password pair or user is disabled."),
    (
        "no_password_set",
        "-ERR AUTH <password> called without any password configured for the default user. "
        "Are you sure your configuration is correct?",
    ),
    ("no_proto", "-NOPROTO unsupported protocol version"),
    ("protocol_version_not_integer", "-ERR Protocol version is not an integer or out of range"),
    ("hello_syntax", "-ERR Syntax error in HELLO option '{name}'"),
    ("client_name", "-ERR Client names cannot contain spaces, newlines or special characters."),
    ("max_clients", "-ERR max number of clients reached"),
)

# The request cannot be framed; Redis answers these and closes.
_PROTOCOL: tuple[tuple[str, str], ...] = (
    ("protocol_multibulk_length", "-ERR Protocol error: invalid multibulk length"),
    ("protocol_bulk_length", "-ERR Protocol error: invalid bulk length"),
    ("protocol_expected_bulk", "-ERR Protocol error: expected '$', got '{got}'"),
    ("protocol_bulk_end", "-ERR Protocol error: expected CRLF after a bulk string"),
    ("protocol_inline_too_big", "-ERR Protocol error: too big inline request"),
    ("protocol_quotes", "-ERR Protocol error: unbalanced quotes in request"),
    ("cross_protocol", "-ERR dynomite-mp: this looks like HTTP, sent to a Redis port; use the port of stats_listen"),
    (
        "reply_malformed",
        "-ERR dynomite-mp: the datastore's reply is not RESP; check what listens at the address in servers:",
    ),
)

# Commands that are not served, by the reason. Named in the routing column of proto/commands.py.
_REFUSED: tuple[tuple[str, str], ...] = (
    ("blocking_not_built", "blocking commands are not served yet; poll with the form that does not block"),
    ("transactions_not_built", "transactions are not served yet; send the commands without MULTI or use a script"),
    ("pubsub_not_built", "publish and subscribe are not served yet; connect to the datastore itself"),
    ("keyspace_not_built", "commands over the whole key space are not served yet; send them to each datastore"),
    ("scripts_not_built", "stored scripts and functions are not managed yet; use EVAL with the script's text"),
    ("client_admin_not_built", "clients are not listed or ended by command yet; use the admin port"),
    (
        "never_on_shared_connection",
        "the command takes over a connection that many clients share; connect to the datastore itself",
    ),
    ("datastore_administration", "administration of a datastore is not passed on; send it to the datastore itself"),
    ("one_database", "there is one database, number 0; give the keys a prefix instead"),
    ("replicas_by_level", "replicas are waited for by consistency level; use dyno_config:conn_consistency"),
    (
        "sort_by_other_keys",
        "BY and GET of SORT read keys that may be on other nodes; sort without them or in the client",
    ),
    ("memcache_not_spoken", "the command belongs to another protocol; check data_store:"),
)

_OWN: tuple[tuple[str, str], ...] = (
    ("keys_span_nodes", "the keys of this command belong to different nodes; give them one hash tag"),
    ("no_owner", "no node owns this key in this rack; check the tokens with dynomite-mp status"),
    ("outcome_unknown", "outcome unknown; read the key before sending the command again"),
    ("no_lead", "no replica of the key may execute this command at the moment; send it again"),
    ("not_lead", "this node does not lead the key; the coordinator asks another one"),
    ("shard_unreachable", "the worker that serves this key is restarting; send the command again"),
    ("shard_timeout", "the worker that serves this key did not answer in time; outcome unknown, read the key first"),
    ("overloaded", "the node has used up its memory budget; send less at a time or raise process_budget_bytes"),
    ("ring_full", "the worker that serves this key is behind; send the command again later"),
    ("value_too_large", "the value is larger than max_value_bytes; raise it or store less under one key"),
    ("out_of_memory", "the node is out of memory; send less at a time"),
    ("draining", "the node is shutting down; connect to another one"),
    ("bad_level", "not a consistency level; use DC_ONE, DC_QUORUM, DC_SAFE_QUORUM or DC_EACH_SAFE_QUORUM"),
    ("bad_dyno", "not a subcommand of DYNO; DYNO HELP lists them"),
    ("call_lost", "the replication process of this node does not answer; it is restarting, ask again"),
    ("spill_failed", "a large value could not be handed to its worker; check space in runtime_dir"),
    ("not_from_this_side", "the command is not accepted on this port; send it to the client port"),
    ("internal", "internal error, a defect; please report it with the log"),
)


def _build() -> dict[str, WireError]:
    rows: dict[str, WireError] = {}

    def add(name: str, text: str, c_text: str | None = None, *, closes: bool = False) -> None:
        if name in rows:
            raise InternalError(f"wire error {name} is defined twice")
        rows[name] = WireError(len(rows) + 1, name, text, c_text, closes)

    for name, text in _SHARED_WITH_C:
        add(name, text, text)
    for name, text in _REDIS:
        add(name, text)
    for name, text in _PROTOCOL:
        add(name, text, closes=True)
    for name, text in (*_REFUSED, *_OWN):
        add(name, f"-ERR dynomite-mp: {text}")
    return rows


WIRE_ERRORS: Mapping[str, WireError] = MappingProxyType(_build())
"""Every error reply by name."""

WIRE_ERRORS_BY_CODE: tuple[WireError, ...] = tuple(WIRE_ERRORS.values())
"""The same rows; row i has code i + 1."""


def wire_error_of_c_text(line: bytes) -> WireError | None:
    """The row of a reply line that a C node sends for failures of its own, else None (a datastore's error)."""
    text = line.rstrip(b"\r\n").decode("utf-8", "replace")
    return _BY_C_TEXT.get(text)


_BY_C_TEXT: dict[str, WireError] = {}
for _row in WIRE_ERRORS_BY_CODE:
    if _row.c_text is not None:
        _BY_C_TEXT.setdefault(_row.c_text, _row)
