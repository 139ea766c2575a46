"""The command table against a real server's, and its rules of routing."""

import json
from pathlib import Path

import pytest

from dynomite_mp.errors import WIRE_ERRORS
from dynomite_mp.proto.commands import COMMAND_BY_NAME, COMMAND_IDS, COMMANDS, CONTAINERS, command_class, key_spec

RECORDED = json.loads((Path(__file__).parent.parent / "testdata" / "redis7-commands.json").read_text())
REDIS = {row[0]: dict(zip(RECORDED["columns"], row, strict=True)) for row in RECORDED["rows"]}

# Later servers take fewer or more arguments here; the datastore judges.
WIDER_ARITY = {"zrank": -3, "zrevrank": -3, "command|getkeys": -3, "command|getkeysandflags": -3}
# Redis does not say what a script does; here it may write.
SCRIPTS = {"eval", "evalsha", "fcall"}


def test_every_command_of_redis_has_a_row() -> None:
    assert REDIS.keys() - COMMAND_BY_NAME.keys() == set()


@pytest.mark.parametrize("name", REDIS)
def test_row_agrees_with_redis(name: str) -> None:
    theirs, ours = REDIS[name], COMMAND_BY_NAME[name]
    assert ours.arity == WIDER_ARITY.get(name, theirs["arity"])
    assert ours.access == ("write" if name in SCRIPTS else theirs["access"])
    spec = key_spec(ours)
    if spec.kind in ("range", "sort", "georadius"):
        assert (spec.first, spec.last, spec.step) == (theirs["first"], theirs["last"], theirs["step"])
    elif spec.kind == "numkeys":
        assert [spec.first] == theirs["keynum"]
        assert spec.last == theirs["first"]
    else:
        assert (theirs["first"], theirs["keynum"]) == (0, [])
        assert (spec.kind == "streams") == (name in ("xread", "xreadgroup"))


def test_ids_are_places_in_the_table() -> None:
    assert [COMMAND_IDS[row.name] for row in COMMANDS] == list(range(1, len(COMMANDS) + 1))


def test_containers_are_refused_unless_they_are_commands_too() -> None:
    for name in CONTAINERS - {"command"}:
        assert COMMAND_BY_NAME[name].refusal == "unknown_subcommand"
    assert COMMAND_BY_NAME["command"].routing == "answered"


@pytest.mark.parametrize(
    ("reason", "names"),
    [
        ("blocking_not_built", "blpop brpop blmove brpoplpush blmpop bzpopmin bzpopmax bzmpop"),
        ("transactions_not_built", "multi exec discard watch unwatch"),
        ("pubsub_not_built", "publish subscribe psubscribe ssubscribe spublish pubsub|channels"),
        ("keyspace_not_built", "flushall flushdb randomkey"),
        ("scripts_not_built", "script|debug script|show function|load"),
        ("never_on_shared_connection", "monitor sync psync client|reply client|tracking"),
        ("client_admin_not_built", "client|kill client|pause"),
        ("replicas_by_level", "wait waitaof"),
        ("one_database", "move swapdb"),
        ("datastore_administration", "shutdown debug replicaof slaveof migrate config|set acl|list latency|latest"),
        ("cluster_disabled", "cluster|info cluster|slots readonly asking"),
    ],
)
def test_families_that_are_refused(reason: str, names: str) -> None:
    for name in names.split():
        row = COMMAND_BY_NAME[name]
        assert (row.refusal, row.resend, row.replicate) == (reason, "never", "none"), name


@pytest.mark.parametrize(
    ("routing", "names"),
    [
        ("rack_owner", "hgetall hkeys hvals hscan sscan zscan srandmember ttl pttl"),
        ("rack_owner", "object|encoding memory|usage xpending"),
        ("local_node", "info config|get scan keys dbsize time lastsave"),
        ("answered", "ping echo hello select auth quit command client|setinfo client|setname client|id dyno"),
        ("normal", "get set mget mset eval evalsha fcall sort xread rename bitop"),
    ],
)
def test_routing_of_served_commands(routing: str, names: str) -> None:
    for name in names.split():
        assert COMMAND_BY_NAME[name].routing == routing, name


@pytest.mark.parametrize(
    ("name", "klass"),
    [
        *(("get", "read"), ("set", "overwrite"), ("incr", "commute"), ("lpush", "ordered"), ("lpop", "lead")),
        *(("eval", "lead"), ("setnx", "lead"), ("ping", "none"), ("xadd", "lead"), ("eval_ro", "read")),
    ],
)
def test_class_of_a_command(name: str, klass: str) -> None:
    assert command_class(COMMAND_BY_NAME[name]) == klass


def test_commands_that_may_be_split_say_how_the_parts_are_joined() -> None:
    found = {row.name: (row.split, row.merge) for row in COMMANDS if row.split != "none"}
    keys = ("keys", "sum")
    assert found == {
        "mget": ("keys", "array"), "mset": ("pairs", "ok"), "del": keys, "exists": keys, "unlink": keys, "touch": keys,
    }  # fmt: skip


def test_only_what_can_run_twice_is_sent_twice() -> None:
    for row in COMMANDS:
        if row.resend == "always":
            assert command_class(row) in ("read", "overwrite", "none"), row.name


def test_every_reason_to_refuse_is_told_to_the_client() -> None:
    for row in COMMANDS:
        if row.refusal is not None:
            assert WIRE_ERRORS[row.refusal].text.startswith("-")
