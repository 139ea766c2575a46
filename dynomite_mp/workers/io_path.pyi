from collections.abc import Callable

from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.workers.client_conn import ClientConn
from dynomite_mp.workers.data_path import DataPath
from dynomite_mp.workers.sessions import Sessions
from dynomite_mp.workers.shard_link import ShardLink

class IoPath(DataPath):
    """The data plane of one io worker."""

    def __init__(
        self,
        schedule_turn: Callable[[], object],
        schedule_tick: Callable[[], object],
        slab: SlabWriter,
        sessions: Sessions,
        *,
        shard_index: int = 0,
        shard_count: int = 1,
        datastore_connections: int = 1,
    ) -> None: ...
    def configure(
        self,
        *,
        hash_name: str,
        hash_tag: bytes,
        timeout_ms: int,
        client_soft_bytes: int,
        client_hard_bytes: int,
        datastore_bytes: int,
        process_bytes: int,
    ) -> None:
        """hash_tag is empty or has two bytes."""
    def set_on_demand(self, connect: Callable[[], object] | None) -> None: ...
    def set_shard(self, index: int, link: ShardLink) -> None: ...
    def tick(self) -> bool:
        """Deadlines; True: call it again in 10 ms."""
    def accept(self, fd: int, address: str) -> ClientConn:
        """Takes over the descriptor."""
    def relieve_pressure(self) -> int:
        """Returns the bytes in buffers; pauses, resumes or closes clients by them."""
    def figures(self) -> dict[str, int]:
        """Gauges measured now, by the names of ipc.counter_table."""
    def begin_drain(self) -> None: ...
