from collections.abc import Callable

from dynomite_mp.cluster.route import RouteTable
from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.workers.client_conn import ClientConn
from dynomite_mp.workers.key_holds import KeyHolds
from dynomite_mp.workers.peer_cipher import NodeKey
from dynomite_mp.workers.peer_in_conn import PeerInConn
from dynomite_mp.workers.sessions import Sessions
from dynomite_mp.workers.shard_link import ShardLink

class IoPath(KeyHolds):
    """The data plane of one io worker."""

    def __init__(
        self,
        schedule_turn: Callable[[], object],
        schedule_tick: Callable[[], object],
        slab: SlabWriter,
        sessions: Sessions,
        table: RouteTable,
        *,
        shard_index: int = 0,
        shard_count: int = 1,
        datastore_connections: int = 1,
        gather_bytes: int | None = None,
    ) -> None: ...
    def configure(
        self,
        *,
        hash_name: str,
        hash_tag: bytes,
        timeout_ms: int,
        peer_timeout_ms: int,
        peer_silence_ms: int,
        client_soft_bytes: int,
        client_hard_bytes: int,
        datastore_bytes: int,
        peer_bytes: int,
        process_bytes: int,
        read_level: int,
        write_level: int,
    ) -> None:
        """hash_tag is empty or has two bytes; levels are enums.Consistency."""
    def open_shards(self) -> None: ...
    def set_shard(self, index: int, link: ShardLink) -> None: ...
    def set_gossip_text(self, on_gossip_text: Callable[[str, bytes], object] | None) -> None:
        """on_gossip_text(address of the peer, payload)."""
    def tick(self) -> bool:
        """Deadlines; True: call it again in 10 ms."""
    def remote_reply(self, req_id: int, is_good: bool, reply: bytes) -> None: ...
    @property
    def peer_clients(self) -> int:
        """Connections of other nodes to us, open now."""
    def accept(self, fd: int, address: str) -> ClientConn:
        """Takes over the descriptor."""
    def accept_peer(self, fd: int, address: str, keys: NodeKey | None) -> PeerInConn: ...
    def relieve_pressure(self) -> int:
        """Returns the bytes in buffers; pauses, resumes or closes clients by them."""
    def figures(self) -> dict[str, int]:
        """Gauges measured now, by the names of ipc.counter_table."""
