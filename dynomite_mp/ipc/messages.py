"""The message table: every record that may travel on a ring, and how it becomes bytes.

Not the rings (ring.pyx), not who may send what where (wiring.py), not how to send (proxies.py).

A record's type is the message id; its payload is a msgpack array of the row's fields, in order. So any tool can decode
any record without this module. Hot rows are emitted by the C encoders of message_codec.pyx with fixed-width heads; the
value bytes follow raw as the array's last element, one `bin`.

Ids are append-only, grouped by direction with gaps, and never reused. Both ends of a ring are forked from one
supervisor, so a row's version matters only to tools that read a dump.

The receiver of a message defines `on_<name>(*fields)`; a row with verbs is first looked up as
`on_<name>_<verb>(*other_fields)`, then as `on_<name>(verb, *other_fields)`. Rows with `with_sender` get the sender's
Endpoint before the fields. See dispatch() in proxies.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from dynomite_mp.ipc import message_codec


@dataclass(frozen=True, slots=True)
class Message:
    """One row: what travels, in which direction, with which fields."""

    id: int
    name: str
    direction: str
    fields: tuple[str, ...]
    version: int
    doc: str
    hot: bool = False
    with_sender: bool = False
    verbs: tuple[str, ...] = ()


CONTROL: Final = 0x10
COMMAND_RESULT: Final = 0x11
EVENT: Final = 0x20
COMMAND: Final = 0x30
TOPOLOGY: Final = 0x40
LINK_STATE: Final = 0x48
GOSSIP_TEXT: Final = 0x49
REPLICATE: Final = 0x50
HINT: Final = 0x51
KEY_COPY: Final = 0x52
PEER_CALL: Final = 0x53
KEY_HELD: Final = 0x54
KEY_APPLIED: Final = 0x55
LEAD_READY: Final = 0x56
LEADING_SEEN: Final = 0x57
REPLICA_REPLY: Final = 0x58
PEER_ANSWER: Final = 0x59
KEY_HOLD: Final = 0x5A
KEY_APPLY: Final = 0x5B
KEY_RELEASE: Final = 0x5C
LEADING: Final = 0x5D
NODE_RETURN: Final = 0x5E
NODE_EVENT: Final = 0x5F
SHARD_REQUEST: Final = 0x60
SHARD_REPLY: Final = 0x61
SHARD_WRITE: Final = 0x62
LANE_WATCH: Final = 0x65
LANE_EMPTY: Final = 0x66
FAR_C_NODES: Final = 0x67
KEY_ASK: Final = 0x68
PING_PROBE: Final = 0x70

_ROWS = (
    Message(
        CONTROL,
        "control",
        "supervisor > worker",
        ("verb", "arg"),
        1,
        "what a worker is told: drain (arg: deadline_ms), reload, reopen_logs, set (arg: [key, value])",
        verbs=("drain", "reload", "reopen_logs", "set"),
    ),
    Message(
        COMMAND_RESULT,
        "command_result",
        "supervisor > admin",
        ("request_id", "ok", "detail"),
        1,
        "the outcome of a COMMAND whose request_id was not 0",
    ),
    Message(
        EVENT,
        "event",
        "worker > supervisor",
        ("what", "detail"),
        1,
        "what a worker reports: ready, drained, failed (detail: text), set_request (detail: [key, value]), "
        "stop_listening, start_listening",
        with_sender=True,
        verbs=("ready", "drained", "failed", "set_request", "stop_listening", "start_listening"),
    ),
    Message(
        COMMAND,
        "command",
        "admin > supervisor",
        ("verb", "args", "request_id"),
        1,
        "an operator's order; the supervisor is the only author of changes; answered when request_id is not 0",
        with_sender=True,
    ),
    Message(
        TOPOLOGY,
        "topology",
        "gossip > io, replication, admin",
        ("topology_version", "blob"),
        1,
        "a whole immutable topology, never a delta; blob is msgpack of the snapshot",
    ),
    Message(
        LINK_STATE,
        "link_state",
        "io, replication > gossip",
        ("peer", "up"),
        1,
        "advice: a link to a peer came up or went down",
        with_sender=True,
    ),
    Message(
        GOSSIP_TEXT,
        "gossip_text",
        "io > gossip",
        ("text",),
        1,
        "gossip of a C node, which came in on the peer port",
        with_sender=True,
    ),
    Message(
        REPLICATE,
        "replicate",
        "io > replication",
        (
            "req_id",
            "origin_node",
            "origin_boot",
            "origin_worker",
            "sequence",
            "stamp",
            "conflict_class",
            "token",
            "dc_mask",
            "need_ack",
            "deadline_ms",
            "request",
        ),
        1,
        "one write for other datacenters, whatever their number; request is the client's original bytes",
        hot=True,
        with_sender=True,
    ),
    Message(
        HINT,
        "hint",
        "io > replication",
        (
            "kind",
            "node",
            "origin_node",
            "origin_boot",
            "origin_worker",
            "sequence",
            "stamp",
            "conflict_class",
            "token",
            "request",
        ),
        1,
        "a write that a replica of this datacenter missed (kind 0), may have missed (1) or refused (2); "
        "node is its peer address as host:port",
        hot=True,
        with_sender=True,
    ),
    Message(
        KEY_COPY,
        "key_copy",
        "io > replication",
        ("token", "key", "reason"),
        1,
        "this node's own copy of a key has to be mended from another replica",
        with_sender=True,
    ),
    Message(
        REPLICA_REPLY,
        "replica_reply",
        "replication > io",
        ("req_id", "dc_index", "status", "reply"),
        1,
        "what a remote datacenter answered, for DC_EACH_SAFE_QUORUM and reads failed over",
        hot=True,
    ),
    Message(
        PEER_CALL,
        "peer_call",
        "io > replication",
        ("call_id", "address", "payload"),
        1,
        "what another node's replication process asks this one's; payload is msgpack: verb, then its arguments",
        with_sender=True,
    ),
    Message(
        PEER_ANSWER,
        "peer_answer",
        "replication > io",
        ("call_id", "reply"),
        1,
        "the answer to a PEER_CALL as RESP; one that nobody waits for any more is dropped",
    ),
    Message(
        LEAD_READY,
        "lead_ready",
        "io > replication",
        ("is_ready",),
        1,
        "whether this worker can execute commands that run at one place; at every change and once a second",
        with_sender=True,
    ),
    Message(
        LEADING,
        "leading",
        "replication > io",
        ("nonce", "address", "is_leading"),
        1,
        "a node of another rack, or this one, leads its share of the keys from now on, or no longer",
    ),
    Message(
        FAR_C_NODES,
        "far_c_nodes",
        "replication > io",
        ("are_there",),
        1,
        "whether other datacenters have nodes of C Dynomite, which take the commands of C's own table only",
    ),
    Message(
        LEADING_SEEN,
        "leading_seen",
        "io > replication",
        ("nonce", "is_known"),
        1,
        "the worker goes by that LEADING, and what it had begun before is finished",
    ),
    Message(
        KEY_HELD,
        "key_held",
        "io > replication",
        ("copy_id", "rows"),
        1,
        "the keys of a KEY_HOLD that are held here, or those of a KEY_ASK; a row is [key, what is known of its writes]",
        with_sender=True,
    ),
    Message(
        KEY_APPLIED,
        "key_applied",
        "io > replication",
        ("copy_id", "rows"),
        1,
        "keys that are as their copies were; a row is [key, the datastore's error or nothing]",
    ),
    Message(
        KEY_HOLD,
        "key_hold",
        "replication > io",
        ("copy_id", "keys"),
        1,
        "writes of these keys wait from now on; every io worker takes those of its shard",
    ),
    Message(
        KEY_ASK,
        "key_ask",
        "replication > io",
        ("copy_id", "keys", "most"),
        1,
        "what is known of these keys, of so many writes each, is told (KEY_HELD) and nothing waits; every io worker "
        "tells those of its shard",
    ),
    Message(
        KEY_APPLY,
        "key_apply",
        "replication > io",
        ("copy_id", "rows"),
        1,
        "the copies; a row is [key, what the source's write table knows of it, commands for the datastore]",
    ),
    Message(
        KEY_RELEASE,
        "key_release",
        "replication > io",
        ("copy_id",),
        1,
        "what this copy still holds goes on without a copy",
    ),
    Message(
        NODE_EVENT,
        "node_event",
        "io > replication",
        ("what", "episode", "missing"),
        1,
        "why this node may lack something; the io worker serves no reads until it is told. episode: which of its",
        with_sender=True,
    ),
    Message(
        NODE_RETURN,
        "node_return",
        "replication > io",
        ("missing", "episode"),
        1,
        "enums.Missing; that nothing is, is only meant for an io worker that has not had another episode since",
    ),
    Message(
        LANE_WATCH,
        "lane_watch",
        "io > replication",
        ("address", "number"),
        1,
        "this many writes that a replica missed were handed over: say when it has them",
        with_sender=True,
    ),
    Message(
        LANE_EMPTY,
        "lane_empty",
        "replication > io",
        ("address", "number"),
        1,
        "the replica has all writes that it was known to have missed when LANE_WATCH came",
    ),
    Message(
        SHARD_REQUEST,
        "shard_request",
        "io > io",
        ("req_id", "flags", "deadline_ms", "request"),
        1,
        "a request for a key whose shard another io worker owns; request is the client's original bytes",
        hot=True,
        with_sender=True,
    ),
    Message(
        SHARD_REPLY,
        "shard_reply",
        "io > io",
        ("req_id", "status", "stamp", "reply"),
        2,
        "the answer to a SHARD_REQUEST or SHARD_WRITE; an unknown req_id belongs to a predecessor and is dropped; "
        "status and stamp are for the extension of a peer's reply",
        hot=True,
        with_sender=True,
    ),
    Message(
        SHARD_WRITE,
        "shard_write",
        "io > io",
        (
            "req_id",
            "flags",
            "deadline_ms",
            "clock",
            "stamp",
            "origin_node",
            "origin_boot",
            "origin_worker",
            "sequence",
            "marks",
            "conflict_class",
            "request",
        ),
        1,
        "a SHARD_REQUEST of a peer, with what the extension of its frame said",
        hot=True,
        with_sender=True,
    ),
    Message(
        PING_PROBE,
        "ping_probe",
        "any > any",
        ("nonce", "sent_ns", "is_answer"),
        1,
        "is the other process handling its ring; the receiver of a question sends the same nonce and time back",
        with_sender=True,
    ),
)

MESSAGES: Final[Mapping[int, Message]] = MappingProxyType({row.id: row for row in _ROWS})
BY_NAME: Final[Mapping[str, Message]] = MappingProxyType({row.name: row for row in _ROWS})


class MessageError(Exception):
    """A payload that is not what the message table says."""


def encode(message_id: int, *values: Any) -> bytes:
    """The payload of a message; hot rows come out exactly as the C encoders emit them."""
    row = MESSAGES[message_id]
    if len(values) != len(row.fields):
        raise MessageError(f"{row.name} has {len(row.fields)} fields, {len(values)} given")
    if row.verbs and values[0] not in row.verbs:
        raise MessageError(f"{row.name}: unknown verb {values[0]!r}")
    if row.hot:
        return message_codec.encode_hot(message_id, values)
    packed: bytes = msgpack.packb(values, use_bin_type=True)
    return packed


def decode(message_id: int, payload: bytes) -> tuple[Any, ...]:
    """The fields of a payload, checked against the row's arity only; MessageError for anything else."""
    row = MESSAGES.get(message_id)
    if row is None:
        raise MessageError(f"unknown message id {message_id:#x}")
    try:
        fields = msgpack.unpackb(payload, raw=False, use_list=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as problem:  # TypeError: a map as the key of a map
        raise MessageError(f"{row.name}: not msgpack: {problem}") from problem
    if not isinstance(fields, tuple) or len(fields) != len(row.fields):
        raise MessageError(f"{row.name}: not an array of {len(row.fields)} fields")
    return fields


def describe() -> str:
    """The table as text, for `--describe` and the docs."""
    lines = []
    for row in MESSAGES.values():
        lines.append(f"{row.id:#04x} {row.name} v{row.version} ({row.direction}): {', '.join(row.fields)}")
        lines.append(f"     {row.doc}")
    return "\n".join(lines)
