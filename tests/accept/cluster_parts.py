"""What the scripts about clusters share: starting one, who owns a key, what every replica holds. Not a script itself.

    with running_cluster({"dc1": {"r1": "oo", "r2": "oc"}}) as cluster:      o: a node of ours, c: one of C Dynomite
        cluster.owners(b"key")                                               one node per rack of every datacenter
        cluster.replica_problems()                                           nothing, when all replicas are equal

Owners come from the slow models, not from the code under test: murmur by tests.models.token_model, the circle of tokens
by tests.models.continuum_model.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dynomite_mp.enums import Role
from dynomite_mp.ipc.slab import Slab
from tests.e2e.c_node import CNode
from tests.e2e.harness import CLIENT_PORT, STATS_PORT, AddressBlock, Node, Nodes, Resp, seed_line, wait_for
from tests.load.replies import uncounted
from tests.models import continuum_model, token_model

Layout = Mapping[str, Mapping[str, str]]
Address = tuple[str, int]
TOKENS = 2**32
LEVELS = ("DC_ONE", "DC_QUORUM", "DC_SAFE_QUORUM", "DC_EACH_SAFE_QUORUM")
QUEUES = (
    "peer_in_queue", "peer_out_queue", "dnode_client_in_queue", "remote_peer_in_queue", "remote_peer_out_queue",
    "in_queue", "out_queue",
)  # fmt: skip
TTL_TOLERANCE_MS = 1500
READ_WHOLE: dict[bytes, tuple[bytes, ...]] = {
    b"string": (b"GET",),
    b"list": (b"LRANGE", b"0", b"-1"),
    b"set": (b"SMEMBERS",),
    b"zset": (b"ZRANGE", b"0", b"-1", b"WITHSCORES"),
    b"hash": (b"HGETALL",),
    b"stream": (b"XRANGE", b"-", b"+"),
}


def is_normal(node: Node) -> bool:
    """Whether it has all that it missed, and serves reads."""
    return bool(node.status()["node_state"] == "NORMAL")


class Cluster:
    """Running nodes, and what is known of them without asking them."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = list(nodes)
        self.ours = [node for node in nodes if not isinstance(node, CNode)]
        self.of_c = [node for node in nodes if isinstance(node, CNode)]
        self.racks: dict[tuple[str, str], list[Node]] = {}
        for node in nodes:
            self.racks.setdefault(rack_of(node), []).append(node)

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """All at once, then all connected and NORMAL: a node alone would be ready, but not its cluster."""
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()
        self.wait_connected()
        for node in self.nodes:
            if not isinstance(node, CNode):
                wait_for(partial(is_normal, node), 30, f"{node} to be NORMAL")

    def wait_connected(self, timeout_s: float = 20.0, among: Iterable[Node] | None = None) -> None:
        """Until every node has its connections to every other one of `among`."""
        group = list(self.nodes if among is None else among)
        for node in group:
            others = {other.host for other in group if other is not node}
            if isinstance(node, CNode):
                node.wait_connected(others, timeout_s)
            else:
                self._wait_peers(node, group, timeout_s)

    def _wait_peers(self, node: Node, group: Sequence[Node], timeout_s: float) -> None:
        """Every io worker connects to the nodes of its datacenter, the replication process to all others."""
        near = setting(node, "local_peer_connections", 1) * setting(node, "io_workers", 1)
        far = setting(node, "remote_peer_connections", 1)
        here = node.conf["datacenter"]
        wanted = sum(near if other.conf["datacenter"] == here else far for other in group if other is not node)
        wait_for(lambda: figures(node)["peer_connections"] >= wanted, timeout_s, f"{wanted} peers of {node}")

    # -- who owns what -----------------------------------------------------------------------------------------------

    def owners(self, key: bytes, datacenter: str | None = None) -> list[Node]:
        """The node of every rack that must hold the key, by the models."""
        token = token_model.murmur(key)
        found = []
        for (its_datacenter, _), nodes in self.racks.items():
            if datacenter in (None, its_datacenter):
                place = continuum_model.owner([[int(str(node.conf["tokens"]))] for node in nodes], token)
                assert place is not None
                found.append(nodes[place])
        return found

    def key_of(self, node: Node, prefix: str = "key") -> bytes:
        """A key that this node owns in its rack."""
        return next(key for key in _keys(prefix) if node in self.owners(key))

    # -- what is in them ---------------------------------------------------------------------------------------------

    def wait_quiet(self, timeout_s: float = 30.0) -> float:
        """Until no node of ours has anything queued for another, twice in a row; how long it took."""
        started = time.monotonic()
        for _ in range(2):  # gauges are written once a second
            turns = {node: figures(node)["heartbeats"] for node in self.ours}
            wait_for(
                lambda turns=turns: all(
                    figures(node)["heartbeats"] > turn and not queued(node) for node, turn in turns.items()
                ),
                timeout_s, "empty queues", poll_s=0.1,
            )  # fmt: skip
        return time.monotonic() - started

    def replica_problems(self, only_prefix: bytes = b"") -> list[str]:
        """Every key that is not equal on all of its owners, or is on a node that does not own it."""
        held = {node.host: contents(node, only_prefix) for node in self.nodes}
        problems = []
        for key in sorted({key for content in held.values() for key in content}):
            owners = {node.host for node in self.owners(key)}
            holders = {host for host, content in held.items() if key in content}
            if holders != owners:
                problems.append(f"{key!r} is on {sorted(holders)}, its owners are {sorted(owners)}")
                continue
            first, *others = (held[host][key] for host in sorted(holders))
            if not all(same_value(first, other) for other in others):
                values = {host: short(held[host][key]) for host in sorted(holders)}
                problems.append(f"{key!r} differs: {values}")
        return problems

    def keys_held(self, only_prefix: bytes = b"") -> int:
        """Copies of keys in all datastores together."""
        return sum(len(contents(node, only_prefix)) for node in self.nodes)


def rack_of(node: Node) -> tuple[str, str]:
    return str(node.conf["datacenter"]), str(node.conf["rack"])


def target(node: Node) -> Address:
    return node.host, CLIENT_PORT


def targets(nodes: Iterable[Node]) -> list[Address]:
    return [target(node) for node in nodes]


def setting(node: Node, key: str, default: int) -> int:
    """A number of its configuration."""
    return int(str(node.conf.get(key, default)))


def _keys(prefix: str) -> Iterator[bytes]:
    number = 0
    while True:
        yield b"%s:%d" % (prefix.encode(), number)
        number += 1


def figures(node: Node) -> dict[str, int]:
    """Its counters, all processes together, and when the last of those that have queues wrote its gauges."""
    slab = Slab.open(node.slab_name)
    heartbeats = [process.heartbeat_ns for process in slab.processes() if process.role in (Role.IO, Role.REPLICATION)]
    return {**slab.totals(), "heartbeats": min(heartbeats, default=0)}


def queued(node: Node) -> int:
    now = figures(node)
    return sum(now.get(name, 0) for name in QUEUES)


# ---- what a datastore holds ------------------------------------------------------------------------------------------


def contents(node: Node, only_prefix: bytes = b"") -> dict[bytes, tuple[Any, int]]:
    """Every key of a node's own datastore: its value in a form that compares, and when it expires (-1: never)."""
    with node.store() as store:
        keys = [key for key in raw(store, b"KEYS", b"*") if key.startswith(only_prefix)]
        kinds = many(store, [(b"TYPE", key) for key in keys])
        kept = [(key, kind) for key, kind in zip(keys, kinds, strict=True) if kind in READ_WHOLE]
        values = many(store, [(READ_WHOLE[kind][0], key, *READ_WHOLE[kind][1:]) for key, kind in kept])
        expiries = many(store, [(b"PEXPIRETIME", key) for key, _ in kept])
    return {
        key: ((kind, canonical(kind, value, b":hll:" in key)), expiry)
        for (key, kind), value, expiry in zip(kept, values, expiries, strict=True)
    }


def raw(store: Resp, *words: bytes) -> Any:
    return many(store, [words])[0]


def many(store: Resp, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
    """A pipeline; statuses as bytes."""
    replies: list[Any] = []
    for start in range(0, len(commands), 200):
        part = commands[start : start + 200]
        for words in part:
            store.send(*words)
        replies.extend(store.reply() for _ in part)
    return [reply.encode() if isinstance(reply, str) else reply for reply in replies]


def canonical(kind: bytes, value: Any, was_hyperloglog: bool = False) -> Any:
    """A form that compares; `was_hyperloglog`: it may have been one, before a SETBIT took the mark from its head."""
    if kind == b"string":
        return value[:8] + value[16:] if was_hyperloglog and len(value) > 16 else uncounted(value)
    if kind == b"set":
        return tuple(sorted(value))
    if kind == b"hash":
        return tuple(sorted(zip(value[::2], value[1::2], strict=True)))
    return repr(value) if isinstance(value, list) else value


def same_value(left: tuple[Any, int], right: tuple[Any, int]) -> bool:
    if left[0] != right[0]:
        return False
    if min(left[1], right[1]) < 0:
        return left[1] == right[1]
    return abs(left[1] - right[1]) <= TTL_TOLERANCE_MS


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 120 else text[:100] + f"...({len(text)})"


# ---- settings at run time --------------------------------------------------------------------------------------------


def rest(node: Node, path: str) -> str:
    """GET of a REST path; its body."""
    connection = http.client.HTTPConnection(node.host, STATS_PORT, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode(errors="replace")
    finally:
        connection.close()


def set_level(nodes: Iterable[Node], level: str) -> None:
    """Read and write consistency of connections made from now on."""
    for node in nodes:
        for access in ("read", "write"):
            rest(node, f"/set_consistency/{access}/{level.lower()}")
        if not isinstance(node, CNode):
            wait_for(lambda node=node: has_level(node, level), 5, f"{level} at {node}")


def has_level(node: Node, level: str) -> bool:
    return rest(node, "/get_consistency").upper().split().count(level) == 2


# ---- starting --------------------------------------------------------------------------------------------------------


def make_nodes(nodes: Nodes, layout: Layout, **conf: Any) -> list[Node]:
    """Nodes of both kinds that know each other as seeds; none runs yet."""
    made: list[Node] = []
    for datacenter, racks in layout.items():
        for rack, kinds in racks.items():
            for place, kind in enumerate(kinds):
                token = TOKENS // len(kinds) * place
                factory = {"o": Node, "c": CNode}[kind]
                made.append(
                    nodes.make(factory=factory, datacenter=datacenter, rack=rack, tokens=str(token), **conf)
                )  # fmt: skip
    for node in made:
        node.conf["dyn_seeds"] = [seed_line(other) for other in made if other is not node]
    return made


def keep_logs(nodes: Nodes) -> None:
    """Their logs by host, where DYNOMITE_MP_KEEP_LOGS says: rare failures are read afterwards."""
    kept = os.environ.get("DYNOMITE_MP_KEEP_LOGS")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        for node in nodes.made:
            if node.log_path.exists():
                shutil.copy(node.log_path, Path(kept) / f"{node.host}.log")


@contextlib.contextmanager
def running_cluster(
    layout: Layout, *, prepare: Callable[[list[Node]], None] | None = None, **conf: Any
) -> Iterator[Cluster]:
    """A started cluster whose nodes are connected; everything is gone afterwards. `prepare` sees them before."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dmp-accept-")))
        block = stack.enter_context(AddressBlock.acquire())
        nodes = Nodes(block, directory)
        stack.callback(keep_logs, nodes)
        stack.callback(nodes.destroy)
        conf.setdefault("datastore_persistence", "none")
        made = make_nodes(nodes, layout, **conf)
        if prepare is not None:
            prepare(made)
        cluster = Cluster(made)
        cluster.start()
        yield cluster
