"""Parts of the acceptance scripts about nodes that have to be filled: keys of every type, a load, and the comparison.

with cluster_of_racks(**conf) as nodes                  three racks of one node
with racks_and_spares(**conf) as (nodes, spares)        the same, and where further nodes come from
fill(node, count)                                       `count` keys of all types, some that will expire
with Watch(writer, readers, count) as watch             writes through one node, reads of known keys through others
differing(one, other)                                   keys that two datastores do not hold alike
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.harness import AddressBlock, Node, Nodes, Resp, wait_for

PAGE = 1000
FAR_MS = 4102444800000
READ_ALL = {
    b"string": ("GET",), b"list": ("LRANGE", 0, -1), b"set": ("SMEMBERS",), b"hash": ("HGETALL",),
    b"zset": ("ZRANGE", 0, -1, "WITHSCORES"), b"stream": ("XRANGE", "-", "+"),
}  # fmt: skip
MAKERS = (
    lambda n: ("SET", f"k{n}", f"v{n}"),
    lambda n: ("RPUSH", f"k{n}", "a", n),
    lambda n: ("SADD", f"k{n}", n, n + 1),
    lambda n: ("HSET", f"k{n}", "f", n),
    lambda n: ("ZADD", f"k{n}", n, "m"),
    lambda n: ("XADD", f"k{n}", f"{n + 1}-1", "f", n),
)
READERS = (
    (("GET",), lambda n: b"v%d" % n),
    (("LRANGE", 0, -1), lambda n: [b"a", b"%d" % n]),
    (("SMEMBERS",), lambda n: sorted((b"%d" % n, b"%d" % (n + 1)))),
    (("HGETALL",), lambda n: [b"f", b"%d" % n]),
    (("ZRANGE", 0, -1, "WITHSCORES"), lambda n: [b"m", b"%d" % n]),
    (("XRANGE", "-", "+"), lambda n: [[b"%d-1" % (n + 1), [b"f", b"%d" % n]]]),
)


@contextlib.contextmanager
def cluster_of_racks(**conf: Any) -> Iterator[list[Node]]:
    with racks_and_spares(**conf) as (made, _spares):
        yield made


@contextlib.contextmanager
def racks_and_spares(**conf: Any) -> Iterator[tuple[list[Node], Nodes]]:
    with AddressBlock.acquire() as block, tempfile.TemporaryDirectory() as directory:
        nodes = Nodes(block, Path(directory))
        try:
            made = nodes.cluster({"dc": {"r1": 1, "r2": 1, "r3": 1}}, **conf)
            for node in made:
                node.start(wait=False)
            for node in made:
                node.wait_ready(60)
            yield made, nodes
        finally:
            nodes.destroy()


def fill(node: Node, count: int) -> None:
    """key number n has the n-th type in turn; every tenth expires, far away."""
    with node.connect(60) as client:
        for first in range(0, count, PAGE):
            page = range(first, min(first + PAGE, count))
            sent = 0
            for n in page:
                client.send(*MAKERS[n % len(MAKERS)](n))
                sent += 1
                if n % 10 == 0:
                    client.send("PEXPIREAT", f"k{n}", FAR_MS + n)
                    sent += 1
            for _ in range(sent):
                reply = client.reply()
                assert not isinstance(reply, Exception), reply


class Watch:
    """Counters and new keys through one node; keys that do not change through others. Away is not wrong."""

    def __init__(self, writer: Node, readers: Sequence[Node], known: int) -> None:
        self.writes = self.reads = self.errors = 0
        self.wrong: list[str] = []
        self._writer, self._known = writer, known
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write),
            *(threading.Thread(target=self._read, args=(reader,)) for reader in readers),
        ]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        with Resp(self._writer.host, timeout_s=30) as client:
            while not self._stop.is_set():
                n = self.writes
                replies = [client.call("INCR", f"counter{n % 50}"), client.call("SET", f"new{n % 500}", n)]
                self.errors += sum(isinstance(reply, Exception) for reply in replies)
                self.writes += 2

    def _read(self, node: Node) -> None:
        client: Resp | None = None
        n = 0
        while not self._stop.is_set():
            n = (n + 7919) % self._known
            (name, *rest), expected = READERS[n % len(READERS)]
            try:
                client = client or Resp(node.host, timeout_s=30)
                seen = client.call(name, f"k{n}", *rest)
            except OSError:
                client = None
                time.sleep(0.01)
                continue
            self.reads += 1
            if isinstance(seen, Exception):
                self.errors += 1
            elif (sorted(seen) if name == "SMEMBERS" else seen) != expected(n):
                self.wrong.append(f"k{n} through {node.host}: {seen!r}")


def values(store: Resp, keys: list[bytes]) -> list[Any]:
    for key in keys:
        store.send("TYPE", key)
    kinds = [store.reply() for _ in keys]
    for key, kind in zip(keys, kinds, strict=True):
        command, *rest = READ_ALL.get(kind, ("GET",))
        store.send(command, key, *rest)
        store.send("PEXPIRETIME", key)
    found = []
    for kind in kinds:
        value, expiry = store.reply(), store.reply()
        found.append((kind, sorted(value) if kind == b"set" else value, expiry))
    return found


def differing(one: Node, other: Node) -> int:
    """How many keys of either the two datastores do not hold alike."""
    count = 0
    with one.store() as here, other.store() as there:
        cursor: Any = 0
        seen = 0
        while True:
            cursor, keys = here.call("SCAN", cursor, "COUNT", PAGE)
            seen += len(set(keys))
            count += sum(a != b for a, b in zip(values(here, keys), values(there, keys), strict=True))
            if int(cursor) == 0:
                break
        return count + abs(int(there.call("DBSIZE")) - int(here.call("DBSIZE")))


def wait_alike(one: Node, other: Node, timeout_s: float = 60.0) -> int:
    """Keys that still differ when the racks have had their time."""
    left = [1]

    def alike() -> bool:
        left[0] = differing(one, other)
        return left[0] == 0

    with contextlib.suppress(AssertionError):
        wait_for(alike, timeout_s, poll_s=0.5)
    return left[0]
