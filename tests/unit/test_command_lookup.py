"""The C rows and the hash that finds them."""

import pytest

from dynomite_mp.errors import WIRE_ERRORS
from dynomite_mp.proto.command_lookup import longest_probe, lookup, lookup_subcommand, row_fields
from dynomite_mp.proto.commands import CLASSES, COMMAND_IDS, COMMANDS, ROUTINGS, command_class, key_spec


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_a_command_is_found_in_any_case(row) -> None:  # type: ignore[no-untyped-def]
    name = row.name.rpartition("|")[2]
    for word in (name, name.upper(), name.title(), name.swapcase()):
        if row.container is None:
            assert lookup(word.encode()) == COMMAND_IDS[row.name]
        else:
            assert lookup_subcommand(COMMAND_IDS[row.container], word.encode()) == COMMAND_IDS[row.name]


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_the_c_row_says_what_the_table_says(row) -> None:  # type: ignore[no-untyped-def]
    fields = row_fields(COMMAND_IDS[row.name])
    assert fields is not None
    spec = key_spec(row)
    assert fields["name"] == row.name
    assert fields["arity"] == row.arity
    assert (fields["first_key"], fields["last_key"], fields["key_step"]) == (spec.first, spec.last, spec.step)
    assert ROUTINGS[fields["routing"]] == row.routing.partition(":")[0]
    assert CLASSES[fields["klass"]] == command_class(row)
    assert fields["refuse_code"] == (WIRE_ERRORS[row.refusal].code if row.refusal else 0)
    assert (fields["local_code"] != 0) == (row.routing == "answered")


def test_local_codes_differ() -> None:
    rows = [row_fields(COMMAND_IDS[row.name]) for row in COMMANDS if row.routing == "answered"]
    codes = [row["local_code"] for row in rows if row is not None]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    "name",
    [
        *(b"", b"g", b"ge", b"gett", b"get\x00", b"get ", b"x" * 33, b"g\x05t", b"GE\x14", b"\xe7et", b"config|get"),
        *(b"dyno_config:conn_consistencx", b"dyno_config:xonn_consistency", b"dyno\x7fconfig:conn_consistency"),
        *(b"json\x0eget", b"zrevrangebyscor\x05"),
    ],
)
def test_what_is_no_command_is_not_found(name: bytes) -> None:
    assert lookup(name) == 0


def test_a_name_with_one_byte_changed_is_not_found() -> None:
    names = {row.name for row in COMMANDS}
    for name in names:
        for place in range(len(name)):
            for change in (1, 8, 64, 128):
                word = bytearray(name.encode())
                word[place] ^= change
                assert lookup(bytes(word)) == 0 or bytes(word).lower().decode() in names, bytes(word)


def test_subcommands_belong_to_their_container() -> None:
    assert lookup(b"encoding") == 0
    assert lookup_subcommand(lookup(b"config"), b"encoding") == 0
    assert lookup_subcommand(lookup(b"object"), b"encoding") == COMMAND_IDS["object|encoding"]
    assert lookup_subcommand(0, b"get") == 0
    assert lookup_subcommand(60000, b"get") == 0


def test_ids_outside_the_table_have_no_row() -> None:
    assert row_fields(0) is None
    assert row_fields(len(COMMANDS) + 1) is None


def test_no_name_lies_far_from_its_place() -> None:
    assert longest_probe() <= 6


@pytest.mark.parametrize("name", ["smembers", "spop", "sunion"])
def test_members_of_sets_come_in_any_order(name: str) -> None:
    assert row_fields(COMMAND_IDS[name])["is_unordered"]
