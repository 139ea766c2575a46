"""Replicas damaged behind the nodes' back: the comparison finds and mends every such key."""

import json

from tests.accept.cluster_parts import figures, many, rest, running_cluster
from tests.e2e.harness import Node, Resp, wait_for

KEYS = 300


def filled(client: Resp) -> None:
    """Values of every type; all the same at all replicas."""
    commands: list[tuple[str | int, ...]] = []
    for n in range(KEYS):
        commands += [
            ("SET", f"string{n}", n),
            ("RPUSH", f"list{n}", n, 2, 3),
            ("HSET", f"hash{n}", "field", n, "other", 2),
            ("ZADD", f"zset{n}", 1.5, "a", n, "b"),
            ("SADD", f"set{n}", 1, "two", n),
            ("XADD", f"stream{n}", "1-1", "field", n),
            ("PEXPIREAT", f"list{n}", 4_000_000_000_000),
        ]
    for words in commands:
        client.send(*words)
    for words in commands:
        reply = client.reply()
        assert not isinstance(reply, Exception), (words, reply)


def damaged(store: Resp) -> int:
    """Deleted, changed, extra, and with another expiry; how many."""
    commands: list[tuple[str | int, ...]] = []
    for n in range(10):
        commands += [
            ("DEL", f"string{n}"),
            ("SET", f"string{n + 10}", "changed"),
            ("SET", f"extra{n}", n),
            ("RPUSH", f"list{n}", "more"),
            ("PEXPIREAT", f"list{n + 10}", 4_000_000_100_000),
            ("HSET", f"hash{n}", "field", "changed"),
            ("ZADD", f"zset{n}", 1.6, "a"),
            ("SREM", f"set{n}", "two"),
            ("XADD", f"stream{n}", "1-2", "field", n),
        ]
    for words in commands:
        reply = store.call(*words)
        assert not isinstance(reply, Exception), (words, reply)
    return len(commands)


def compared(node: Node) -> dict[str, object]:
    done = node.command("repair", "--conf", str(node.conf_path), "--json")
    assert done.stdout, done.stderr
    row = json.loads(done.stdout)
    assert (done.returncode == 0) == (row["keys_mended"] == row["keys_differing"] and row["state"] == "done")
    return dict(row)


def test_comparison_finds_and_mends_what_was_damaged() -> None:
    with running_cluster({"dc1": {"r1": "o", "r2": "o", "r3": "o"}}) as cluster:
        with cluster.nodes[0].connect() as client:
            filled(client)
        cluster.wait_quiet()
        row = compared(cluster.nodes[0])
        assert (row["keys_differing"], row["keys_compared"], row["peers_done"]) == (0, 2 * 6 * KEYS, 2), row
        with cluster.nodes[2].store() as store:
            count = damaged(store)
        row = compared(cluster.nodes[0])
        assert (row["keys_differing"], row["keys_mended"]) == (count, count), row
        assert cluster.replica_problems() == []


def test_a_quorum_read_mends_the_replica_that_differs() -> None:
    """Only with read repair; and the answer is that of the majority all the same."""
    levels = {"read_consistency": "DC_QUORUM", "write_consistency": "DC_QUORUM"}
    with running_cluster({"dc1": {"r1": "o", "r2": "o", "r3": "o"}}, **levels) as cluster:
        asked, victim = cluster.nodes[0], cluster.nodes[1]
        reads = [(b"GET", b"key%d" % n) for n in range(20)]
        with asked.connect() as client, victim.store() as store:
            for _, key in reads:
                assert client.call("SET", key, "right") == b"OK"
            cluster.wait_quiet()
            for _, key in reads:
                store.call("SET", key, "wrong")
            assert many(client, reads) == [b"right"] * len(reads)
            assert figures(asked)["read_repairs"] == 0
            rest(asked, "/read_repairs/enable")
            wait_for(lambda: many(client, reads) == [b"right"] * len(reads) and figures(asked)["read_repairs"], 5)
            wait_for(lambda: many(store, reads) == [b"right"] * len(reads), 10, "all replicas mended")
        wait_for(lambda: figures(asked)["read_repair_keys_mended"] == len(reads), 5, "the count of mended keys")
