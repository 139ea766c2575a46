from collections.abc import Callable, Iterable, Sequence

from dynomite_mp.cluster.topology import Node, Rack
from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.ipc.ring import SpscRing
from dynomite_mp.workers.data_path import DataPath
from dynomite_mp.workers.hint_log import HintLog
from dynomite_mp.workers.peer_out_conn import PeerOutConn

class RemoteRack:
    def __init__(self, rack: Rack) -> None: ...
    @property
    def nodes(self) -> tuple[Node, ...]: ...

class RemoteDatacenter:
    """`racks` in the order in which they are tried."""

    def __init__(self, name: str, index: int, racks: Sequence[Rack]) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def sent(self) -> int: ...
    @property
    def failed_over(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    def rack_list(self) -> list[RemoteRack]: ...
    def lag(self, now_ms: int) -> tuple[int, int, int]:
        """Writes not acknowledged, their bytes, age of the oldest in ms."""

class WanPath(DataPath):
    """The data plane of the replication process."""

    def __init__(
        self,
        schedule_turn: Callable[[], object],
        schedule_tick: Callable[[], object],
        slab: SlabWriter,
        on_verdict: Callable[[int, int, int, int, bytes], object],
        *,
        reply_timeout_ms: int,
        peer_bytes: int,
    ) -> None:
        """on_verdict(worker, req_id, dc_index, status, reply)."""
    def set_datacenters(
        self, datacenters: list[RemoteDatacenter], conns: Iterable[tuple[RemoteRack, int, PeerOutConn]]
    ) -> None:
        """`conns` are (rack, place in it, connection) to keep."""
    def set_logs(
        self,
        open_queue_log: Callable[[str], HintLog],
        open_hint_log: Callable[[bytes], HintLog],
        on_hinted: Callable[[set[bytes]], object],
        age_ms_max: int,
    ) -> None: ...
    def tick_queues(self, now_ms: int) -> None: ...
    def close_queues(self) -> None: ...
    def drain(self, ring: SpscRing, other_record: Callable[[int, bytes], object], now_ms: int) -> int:
        """How many records there were; other_record(type, payload) gets the cold ones."""
    def hint_payload(self, payload: bytes, now_ms: int) -> None: ...
    def replicate_payload(self, payload: bytes, now_ms: int) -> None: ...
    def tick(self) -> bool:
        """Deadlines; True: call it again in 10 ms."""
    def owes(self) -> bool: ...
    def figures(self) -> dict[str, int]:
        """Gauges by the name of their cell; feeds histograms, so call it once a second."""
    def lags(self) -> dict[str, tuple[int, int, int, int, int, int]]:
        """{datacenter: (writes not acknowledged, their bytes, ms since the oldest, sent, failed over, dropped)}."""
