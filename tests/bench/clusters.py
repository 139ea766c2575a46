"""Contenders that are clusters: the same layout of nodes of ours or of C Dynomite, each with a datastore of its own.

    Layout("3 racks DC_ONE", racks=(1, 1, 1), level="DC_ONE")

Every node has a loopback address of its own and a bare datastore behind TCP. The load goes to the first node, the
coordinator; CPU is read of it and of all nodes together. What a node copies to others after it has answered belongs to
the request as well, so a measurement ends only when nothing runs any more (`settle`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.accept.cluster_parts import Cluster
from tests.bench.peers import OTHER_TREE, PeerMissingError, environ_of_tree, first_line, node_command, other_tree
from tests.e2e.c_node import STORE_PORT, CNode, c_binary
from tests.e2e.harness import CLIENT_PORT, AddressBlock, Node, Nodes, seed_line
from tests.load import process_tree
from tests.load.bare_store import BareStore

TOKENS = 2**32
QUIET_S = 0.05
QUIET_CPU_SHARE = 0.1  # of one core, all nodes together: what they use when idle
SETTLE_S = 5.0


@dataclass(frozen=True)
class Layout:
    """Racks of one datacenter with their numbers of nodes, and the consistency of reads and writes."""

    name: str
    racks: tuple[int, ...]
    level: str


class NodeWithStore(Node):
    """A node of ours in front of a bare datastore, as C nodes have one."""

    datastore: BareStore | None = None

    def start(self, *arguments: str, wait: bool = True, timeout_s: float = 20.0) -> Any:
        self.datastore = BareStore(self.host, STORE_PORT)
        self.conf["servers"] = [f"{self.host}:{STORE_PORT}:1"]
        return super().start(*arguments, wait=wait, timeout_s=timeout_s)

    def destroy(self) -> None:
        super().destroy()
        if self.datastore is not None:
            self.datastore.__exit__(None, None, None)


class ClusterPeer:
    """A running cluster."""

    def __init__(self, name: str, version: str, layout: Layout, factory: Callable[..., Node], directory: Path) -> None:
        self.name = name
        self.version = version
        self._open = contextlib.ExitStack()
        try:
            block = self._open.enter_context(AddressBlock.acquire())
            nodes = Nodes(block, directory / name)
            self._open.callback(nodes.destroy)
            self._nodes = [
                nodes.make(factory=factory, datacenter="dc1", rack=f"rack{rack}", tokens=str(TOKENS // count * place),
                           read_consistency=layout.level, write_consistency=layout.level)
                for rack, count in enumerate(layout.racks, 1)
                for place in range(count)
            ]  # fmt: skip
            for node in self._nodes:
                node.conf["dyn_seeds"] = [seed_line(other) for other in self._nodes if other is not node]
            Cluster(self._nodes).start()
        except BaseException:
            self.stop()
            raise
        self.host, self.port = self._nodes[0].host, CLIENT_PORT
        self._trees = [process_tree.tree(node.pid) for node in self._nodes]

    def pids(self) -> list[int]:
        return [pid for tree in self._trees for pid in tree]

    def coordinator_pids(self) -> list[int]:
        return self._trees[0]

    def store_pids(self) -> list[int]:
        stores = [getattr(node, "datastore", None) for node in self._nodes]
        return [store.pid for store in stores if store is not None]

    def settle(self) -> None:
        """Until the nodes are idle: copies may be on their way when the last answer has come."""
        deadline = time.monotonic() + SETTLE_S
        before = process_tree.cpu_ns(self.pids())
        while time.monotonic() < deadline:
            time.sleep(QUIET_S)
            now = process_tree.cpu_ns(self.pids())
            if now - before < QUIET_S * QUIET_CPU_SHARE * 1e9:
                return
            before = now

    def stop(self) -> None:
        self._open.close()


def node_of_tree(tree: Path) -> Callable[..., Node]:
    """A factory of nodes that run the package of another checkout."""

    class NodeOfTree(NodeWithStore):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, environ=environ_of_tree(tree), **keywords)

    return NodeOfTree


def start_ours(directory: Path, layout: Layout) -> ClusterPeer:
    """Nodes of this tree."""
    return ClusterPeer("dynomite-mp", first_line([*node_command(), "version"]), layout, NodeWithStore, directory)


def start_dynomite_c(directory: Path, layout: Layout) -> ClusterPeer:
    """Nodes of the original."""
    binary = c_binary()
    if binary is None:
        raise PeerMissingError("DYNOMITE_BIN names no C Dynomite binary")
    return ClusterPeer("dynomite-c", first_line([binary, "-V"]), layout, CNode, directory)


def start_other_tree(directory: Path, layout: Layout) -> ClusterPeer:
    """Nodes of another checkout of this project."""
    tree = other_tree()
    return ClusterPeer(OTHER_TREE, str(tree), layout, node_of_tree(tree), directory)


STARTERS: dict[str, Callable[[Path, Layout], ClusterPeer]] = {
    "dynomite-mp": start_ours,
    OTHER_TREE: start_other_tree,
    "dynomite-c": start_dynomite_c,
}
