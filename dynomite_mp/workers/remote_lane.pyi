from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.ipc.doorbell import Doorbell
from dynomite_mp.ipc.proxies import Outbox
from dynomite_mp.ipc.ring import SpscRing

class RemoteLane:
    """The ring to the replication process, and the requests that wait for other datacenters."""

    def __init__(
        self,
        ring: SpscRing,
        doorbell: Doorbell,
        outbox: Outbox,
        slab: SlabWriter,
        *,
        worker_index: int,
        boot: int,
        read_wait_ms: int,
        write_wait_ms: int,
    ) -> None: ...
