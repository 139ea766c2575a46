"""Clients of all kinds, and a dual run of random commands against the node and a bare datastore."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Sequence

import redis
import redis.asyncio

from tests.accept.one_node import Findings, options, running_node, target
from tests.bench import redis_benchmark
from tests.e2e.harness import Node
from tests.load.bare_store import BareStore
from tests.load.command_rows import DEFAULT_GROUPS
from tests.load.dual_run import dual_run

TOPIC = "node"
TITLE = "2: default clients work; dual run of random commands gives equal replies, also with io_workers: 2"


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    findings = Findings()
    for io_workers in (1, 2):
        with running_node(io_workers=io_workers) as node, BareStore() as bare:
            print(f"io_workers: {io_workers}")
            redis_py(node, findings)
            asyncio.run(redis_py_asyncio(node, findings))
            command_line_clients(node, findings, short)
            for seed in (1,) if short else (1, 2, 3):
                outcome = dual_run(
                    [target(node)],
                    (bare.host, bare.port),
                    count=500 if short else 5000,
                    seed=seed,
                    groups=DEFAULT_GROUPS,
                )
                for difference in outcome.differences[:10]:
                    print(difference)
                findings.check(not outcome.differences, f"dual run, seed {seed}: {outcome.line()}")
    return findings.code


def redis_py(node: Node, findings: Findings) -> None:
    """The default client, as people write it."""
    with redis.Redis(*target(node)) as client:
        client.set("accept:sync", "value", ex=100)
        pipe = client.pipeline(transaction=False)
        replies = pipe.get("accept:sync").incr("accept:count").ttl("accept:sync").execute()
        client.hset("accept:hash", mapping={"a": "1", "b": "2"})
        protocol = client.connection_pool.connection_kwargs.get("protocol")
        good = (
            replies[0] == b"value"
            and replies[2] in (99, 100)
            and client.hgetall("accept:hash") == {b"a": b"1", b"b": b"2"}
        )
        findings.check(good, f"redis-py {redis.__version__} sync, protocol {protocol or 'its default'}")


async def redis_py_asyncio(node: Node, findings: Findings) -> None:
    async with redis.asyncio.Redis(host=node.host, port=target(node)[1]) as client:
        await client.set("accept:async", "value")
        many = await asyncio.gather(*(client.get("accept:async") for _ in range(50)))
        findings.check(many == [b"value"] * 50, f"redis-py {redis.__version__} asyncio, 50 at a time")


def command_line_clients(node: Node, findings: Findings, short: bool) -> None:
    host, port = target(node)
    if shutil.which("redis-cli"):
        for flag in ("-2", "-3"):
            command = ["redis-cli", flag, "-h", host, "-p", str(port)]
            done = subprocess.run(
                command, input="SET accept:cli 7\nINCR accept:cli\nTYPE accept:cli\n", capture_output=True, text=True,
                timeout=30, check=False,
            )  # fmt: skip
            findings.check(done.stdout.split() == ["OK", "8", "string"], f"redis-cli {flag}: {done.stdout.split()}")
    for pipeline in (1, 16):
        load = redis_benchmark.Load(f"-P {pipeline}", "SET", 50, pipeline, 0, 0)
        figures = redis_benchmark.run(host, port, load, 5_000 if short else 100_000)
        findings.check(
            figures.requests_per_s > 0, f"redis-benchmark -P {pipeline}: {figures.requests_per_s:.0f} requests/s"
        )
