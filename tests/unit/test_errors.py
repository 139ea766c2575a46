"""Exceptions, the table of wire errors, and the replies made from it."""

from typing import Any

import pytest

from dynomite_mp.errors import (
    WIRE_ERRORS,
    WIRE_ERRORS_BY_CODE,
    ConfigError,
    DynomiteError,
    InternalError,
    ProtocolError,
    RingError,
    StoreError,
    TopologyError,
    wire_error_of_c_text,
)
from dynomite_mp.proto.wire_errors import complaint, error_line


def frame(*args: bytes) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


@pytest.mark.parametrize("kind", [ConfigError, ProtocolError, TopologyError, StoreError, RingError, InternalError])
def test_an_error_says_what_and_what_to_do(kind: type[DynomiteError]) -> None:
    error = kind("port 70000 is too large", "give one below 65536")
    assert isinstance(error, DynomiteError)
    assert (error.detail, error.hint) == ("port 70000 is too large", "give one below 65536")
    assert str(error) == "port 70000 is too large; give one below 65536"
    assert str(kind("just this")) == "just this"


def test_codes_have_no_gap_and_start_at_one() -> None:
    assert [row.code for row in WIRE_ERRORS_BY_CODE] == list(range(1, len(WIRE_ERRORS) + 1))
    assert all(WIRE_ERRORS[row.name] is row for row in WIRE_ERRORS_BY_CODE)


@pytest.mark.parametrize("row", WIRE_ERRORS_BY_CODE, ids=lambda row: row.name)
def test_every_text_is_one_line_that_resp_calls_an_error(row) -> None:  # type: ignore[no-untyped-def]
    assert row.text.startswith("-")
    assert not set("\r\n") & set(row.text)
    assert error_line(row.code) == row.line
    if row.text.startswith("-ERR dynomite-mp: "):
        what, _, remedy = row.text.removeprefix("-ERR dynomite-mp: ").partition("; ")
        assert what, row.text
        assert remedy or row.name in ("outcome_unknown",), row.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("datastore_refused", b"-ERR Storage: Datastore refused connection"),
        ("datastore_timeout", b"-ERR Storage: Datastore refused connection"),
        ("peer_not_connected", b"-ERR Peer: Peer Node is not connected"),
        ("peer_refused", b"-ERR Peer: Peer Node refused connection"),
        ("no_quorum", b"-ERR Dynomite: Failed to achieve Quorum"),
        ("state_forbids", b"-ERR Dynomite: Dynomite's current state does not allow this request"),
        ("script_spans_nodes", b"-ERR Dynomite: Keys in the script cannot span multiple nodes"),
    ],
)
def test_what_c_says_is_said_as_c_says_it(name: str, text: bytes) -> None:
    assert WIRE_ERRORS[name].line == text + b"\r\n"
    found = wire_error_of_c_text(text + b"\r\n")
    assert found is not None
    assert found.text == text.decode()


def test_a_datastores_own_error_is_not_taken_for_a_nodes() -> None:
    assert wire_error_of_c_text(b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n") is None
    assert wire_error_of_c_text(b"-ERR unknown command 'x'\r\n") is None


def test_protocol_errors_close_and_refusals_do_not() -> None:
    assert WIRE_ERRORS["protocol_bulk_length"].closes
    assert WIRE_ERRORS["cross_protocol"].closes
    assert not WIRE_ERRORS["blocking_not_built"].closes
    assert not WIRE_ERRORS["unknown_command"].closes


def test_an_unknown_code_still_gives_an_error_line() -> None:
    assert error_line(0) == error_line(60000) == b"-ERR unknown: Unknown Error\r\n"


@pytest.mark.parametrize(
    ("kind", "args", "reply"),
    [
        (
            "unknown_command",
            [b"f", b"bar", b"baz"],
            b"-ERR unknown command 'f', with args beginning with: 'bar' 'baz' \r\n",
        ),
        ("unknown_command", [b"foo"], b"-ERR unknown command 'foo', with args beginning with: \r\n"),
        ("unknown_command", [b"f\r\n-x", b"\n"], b"-ERR unknown command 'f  -x', with args beginning with: ' ' \r\n"),
        (
            "unknown_command",
            [b"f", b"key\0of eight", b"x" * 300],
            b"-ERR unknown command 'f', with args beginning with: 'key' '" + b"x" * 122 + b"' \r\n",
        ),
        ("unknown_subcommand", [b"config", b"Foo"], b"-ERR unknown subcommand 'Foo'. Try CONFIG HELP.\r\n"),
        ("wrong_arity", [b"GET"], b"-ERR wrong number of arguments for 'get' command\r\n"),
    ],
)
def test_complaints_are_worded_as_redis_words_them(kind: Any, args: list[bytes], reply: bytes) -> None:
    assert complaint(kind, frame(*args)) == reply


def test_a_complaint_quotes_no_more_than_128_bytes_of_each() -> None:
    # Recorded from redis-server 7.0.15.
    args = [b"x" * 300, b"a" * 60, b"b" * 60, b"c" * 60]
    quoted = b"'" + b"a" * 60 + b"' '" + b"b" * 60 + b"' '" + b"c" * 2 + b"' "
    assert complaint("unknown_command", frame(*args)) == (
        b"-ERR unknown command '" + b"x" * 128 + b"', with args beginning with: " + quoted + b"\r\n"
    )
