"""A node's counter slab to read, with the supervisor and all workers played by the test."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dynomite_mp.config import build
from dynomite_mp.enums import ProcessState, Role
from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.ipc.segment import Fabric, Port, slab_name
from dynomite_mp.ipc.slab import Slab
from dynomite_mp.ipc.wiring import Endpoint, expand
from dynomite_mp.workers.node_figures import NodeFigures, NodeIdentity, identity_of, read_node

KIB = 1024
SIZES = dict.fromkeys(("replication_ring_bytes", "lane_overflow_bytes", "io_ring_bytes"), 64 * KIB)
STARTED_AT_S = 1_700_000_000.0
NOW_NS = 5_000_000_000_000
CONFIG = build(
    {
        "listen": "127.0.0.1:8102",
        "dyn_listen": "127.0.0.1:8101",
        "datacenter": "dc-a",
        "rack": "rack-1",
        "tokens": "101134286",
        "servers": ["127.0.0.1:22122:1"],
    },
    pool="shop",
)


class FakeNode:
    """Writers of a slab, and what a reader makes of it."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.slab = Slab.open(fabric.name)
        self.identity: NodeIdentity = identity_of(CONFIG, STARTED_AT_S, {})

    def writer(self, role: Role, index: int = 0) -> SlabWriter:
        return self.fabric.process_slab(Endpoint(role, index))

    def port(self, role: Role, index: int = 0) -> Port:
        return self.fabric.port(role, index)

    def start(self, role: Role, index: int = 0, *, pid: int = 0, state: ProcessState = ProcessState.RUNNING) -> None:
        """Writes what the supervisor and the process write when it runs."""
        writer = self.writer(role, index)
        for word, value in (("pid", pid or os.getpid()), ("state", state), ("boot_count", 1)):
            writer.set_header(word, value)
        writer.heartbeat(NOW_NS)

    def start_all(self, io_workers: int = 2) -> None:
        for role in (Role.SUPERVISOR, Role.GOSSIP, Role.REPLICATION, Role.ADMIN):
            self.start(role)
        for index in range(io_workers):
            self.start(Role.IO, index)
            self.writer(Role.IO, index).set_gauge("server_connections:resp2", 1)
            self.writer(Role.IO, index).set_gauge("server_up", 1)

    def read(self) -> NodeFigures:
        return read_node(self.slab, self.identity)


@contextmanager
def fake_node(data_dir: Path, io_workers: int = 2) -> Iterator[FakeNode]:
    fabric = Fabric.create(slab_name(data_dir), expand(io_workers, SIZES), identity={"dc": "dc-a"}, boot_id=1)
    try:
        yield FakeNode(fabric)
    finally:
        fabric.close()
