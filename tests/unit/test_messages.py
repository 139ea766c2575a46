"""The message table and what its rows look like as bytes."""

import msgpack
import pytest

from dynomite_mp.ipc import messages
from dynomite_mp.ipc.messages import MESSAGES, MessageError, decode, encode

EXAMPLES = {
    messages.CONTROL: ("set", ["log_level", 7]),
    messages.COMMAND_RESULT: (3, True, {"state": "NORMAL"}),
    messages.EVENT: ("failed", "no datastore"),
    messages.COMMAND: ("set_consistency", ["read", "DC_ONE"], 9),
    messages.TOPOLOGY: (12, b"\x80"),
    messages.LINK_STATE: ("127.0.0.2:8101", False),
    messages.GOSSIP_TEXT: (b"dc1$rack1$1,1700000000,4,127.0.0.1",),
    messages.REPLICATE: (1, 2**64 - 1, 3, 4, 5, 6, 7, 2**32 - 1, 9, 1, 11, b"*1\r\n"),
    messages.HINT: (1, "127.0.0.2:8101", 2**64 - 1, 3, 4, 5, 6, 1, 2**32 - 1, b"*1\r\n"),
    messages.KEY_COPY: (7, b"key", 1),
    messages.REPLICA_REPLY: (1, 2, 3, b"+OK\r\n"),
    messages.PEER_CALL: (7, "127.0.0.2:40000", b"\x91\xa4ping"),
    messages.LEAD_READY: (True,),
    messages.LEADING: (3, "127.0.0.2:8101", True),
    messages.LEADING_SEEN: (3, False),
    messages.FAR_C_NODES: (True,),
    messages.PEER_ANSWER: (7, b"$2\r\n\x92\x00\r\n"),
    messages.KEY_HELD: (9, [[b"k", None]]),
    messages.KEY_APPLIED: (9, [[b"k", b""]]),
    messages.KEY_HOLD: (9, [b"k", b"l"]),
    messages.KEY_ASK: (9, [b"k", b"l"], 1024),
    messages.KEY_APPLY: (9, [[b"k", None, [b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n"]]]),
    messages.KEY_RELEASE: (9,),
    messages.NODE_EVENT: ("started", 1, 2),
    messages.NODE_RETURN: (2, 1),
    messages.LANE_WATCH: ("10.0.0.2:8101", 3),
    messages.LANE_EMPTY: ("10.0.0.2:8101", 3),
    messages.SHARD_REQUEST: (2**64 - 1, 2**32 - 1, 0, b"*1\r\n$4\r\nPING\r\n"),
    messages.SHARD_REPLY: (0, 0, 2**64 - 1, b""),
    messages.SHARD_WRITE: (1, 2, 3, 4, 2**64 - 1, 6, 7, 8, 9, 10, 3, b"*1\r\n"),
    messages.PING_PROBE: (1, 2, False),
}


def frozen(value: object) -> object:
    return tuple(frozen(v) for v in value) if isinstance(value, list | tuple) else value


def test_there_is_an_example_of_every_row() -> None:
    assert set(EXAMPLES) == set(MESSAGES)


@pytest.mark.parametrize("message_id", EXAMPLES, ids=lambda i: MESSAGES[i].name)
def test_a_message_comes_back(message_id: int) -> None:
    values = EXAMPLES[message_id]
    payload = encode(message_id, *values)
    assert decode(message_id, payload) == frozen(values)
    assert frozen(msgpack.unpackb(payload)) == frozen(values)  # any msgpack reader can


def test_ids_leave_the_spill_bit_and_padding_alone() -> None:
    assert all(0 < row.id < 0x10000 for row in MESSAGES.values())
    assert len(messages.BY_NAME) == len(MESSAGES)


def test_wrong_arity_and_unknown_verbs_are_refused_by_the_sender() -> None:
    with pytest.raises(MessageError, match="2 fields, 1 given"):
        encode(messages.LINK_STATE, "peer")
    with pytest.raises(MessageError, match="unknown verb 'explode'"):
        encode(messages.CONTROL, "explode", None)
    with pytest.raises(KeyError):
        encode(0x7FFF)


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x01", b"\x92\x01", b"\x92\x01\x02\x03"])
def test_a_malformed_payload_is_a_message_error(payload: bytes) -> None:
    with pytest.raises(MessageError):
        decode(messages.LINK_STATE, payload)


def test_an_unknown_id_is_a_message_error() -> None:
    with pytest.raises(MessageError, match="0x7fff"):
        decode(0x7FFF, b"\x90")


def test_describe_has_every_row() -> None:
    assert all(f"{row.name} v{row.version}" in messages.describe() for row in MESSAGES.values())
