"""Keys of every type damaged behind the nodes' back in one rack's datastore: deleted, changed, extra.

    10,000 of 110,000 keys          `dynomite-mp repair` at another rack's node finds and mends all: time and traffic
    200 keys more                   a quorum read of each, with read repair on: time until its replicas are equal

Afterwards every replica of every key is compared by the script itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.accept.cluster_parts import Cluster, many, rest, running_cluster, set_level
from tests.accept.one_node import Findings, options
from tests.e2e.harness import Node, Resp, wait_for

TOPIC = "lost"
TITLE = "8: 10,000 keys damaged in one rack's datastore: comparison mends all; a quorum read mends at once"
BATCH = 500
READ_MENDS_WITHIN_S = 2.0
Words = tuple[bytes, ...]


def value_of(number: int) -> Words:
    """A key of one of six types."""
    key, text = b"key:%d" % number, b"%d" % number
    return (
        (b"SET", key, b"value of " + text),
        (b"RPUSH", key, b"a", text, b"c"),
        (b"HSET", key, b"field", text, b"other", b"2"),
        (b"ZADD", key, b"1.5", b"a", text, b"b"),
        (b"SADD", key, b"one", text, b"three"),
        (b"XADD", key, b"1-1", b"field", text),
    )[number % 6]


def damage_of(number: int) -> list[Words]:
    """Deleted, changed, or another one where there is none."""
    key = b"key:%d" % number
    return (
        [(b"DEL", key)],
        [(b"DEL", key), (b"SET", key, b"damaged")],
        [(b"SET", b"extra:%d" % number, b"nobody wrote this")],
    )[number // 6 % 3]


def damaged_key(number: int) -> bytes:
    return (b"extra:%d" if number // 6 % 3 == 2 else b"key:%d") % number


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    keys, damaged, read = (3000, 300, 30) if short else (100_000, 10_000, 200)
    findings = Findings()
    with running_cluster({"dc1": {"r1": "o", "r2": "o", "r3": "o"}}) as cluster:
        asked, victim = cluster.nodes[0], cluster.nodes[1]
        started = time.monotonic()
        with asked.connect(timeout_s=30) as client:
            run_all(client, (value_of(number) for number in range(keys)))
        cluster.wait_quiet(60)
        print(f"{keys} keys of six types written in {time.monotonic() - started:.1f} s")
        compare(findings, cluster, asked, keys, 0)
        step = keys // damaged
        with victim.store() as store:
            run_all(store, (words for n in range(damaged) for words in damage_of(n * step)))
        compare(findings, cluster, asked, keys, damaged)
        check_reads(findings, cluster, asked, victim, list(range(0, 6 * read, 6)))
    return findings.code


def run_all(connection: Resp, commands: Iterator[Words]) -> None:
    batch: list[Words] = []
    for words in commands:
        batch.append(words)
        if len(batch) == BATCH:
            run_batch(connection, batch)
            batch = []
    run_batch(connection, batch)


def run_batch(connection: Resp, batch: Sequence[Words]) -> None:
    for words, reply in zip(batch, many(connection, batch), strict=True):
        if isinstance(reply, Exception):
            raise RuntimeError(f"{words}: {reply}")


def repair(node: Node) -> dict[str, Any]:
    done = node.command("repair", "--conf", str(node.conf_path), "--json", timeout_s=600)
    if not done.stdout:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout))


def compare(findings: Findings, cluster: Cluster, node: Node, keys: int, damaged: int) -> None:
    """One comparison, and what the script itself sees afterwards."""
    row = repair(node)
    took_s = (row["ended_ms"] - row["started_ms"]) / 1000
    problems = cluster.replica_problems() if damaged else []
    findings.check(
        row["state"] == "done"
        and row["keys_differing"] == row["keys_mended"] == damaged
        and not row["text"]
        and not problems,
        f"{damaged} keys damaged: {row['keys_differing']} found and {row['keys_mended']} mended in {took_s:.1f} s, "
        f"{row['call_bytes'] / 1e6:.2f} MB of comparison for {keys} keys x {row['peers']} replicas; "
        f"{len(problems)} keys differ afterwards {problems[:2]} {row['text']}",
    )


def check_reads(findings: Findings, cluster: Cluster, asked: Node, victim: Node, numbers: Sequence[int]) -> None:
    """Strings damaged at one replica, then read at quorum through another rack's node."""
    set_level(cluster.nodes, "DC_QUORUM")
    for node in cluster.nodes:
        rest(node, "/read_repairs/enable")
    with victim.store() as store:
        for number in numbers:
            store.call("SET", b"key:%d" % number, "damaged")
        started = time.monotonic()
        with asked.connect() as client:
            replies = [client.call("GET", b"key:%d" % number) for number in numbers]
        read_s = time.monotonic() - started
        right = [b"value of %d" % number for number in numbers]
        commands = [(b"GET", b"key:%d" % number) for number in numbers]
        late = ""
        try:
            wait_for(lambda: many(store, commands) == right, 10, "all read keys mended", poll_s=0.02)
        except AssertionError as error:
            late = str(error)[:200]
        mended_s = time.monotonic() - started
    findings.check(
        replies == right and not late and mended_s - read_s <= READ_MENDS_WITHIN_S,
        f"{len(numbers)} damaged keys read at DC_QUORUM: {sum(a == b for a, b in zip(replies, right, strict=True))} "
        f"right replies in {read_s:.2f} s, all mended {mended_s - read_s:.2f} s after the last one {late}",
    )
