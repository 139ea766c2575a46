from collections.abc import Callable

from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.ipc.doorbell import Doorbell
from dynomite_mp.ipc.ring import SpscRing
from dynomite_mp.ipc.spill import SpillDirectory

class ShardLink:
    """A pair of rings to another io worker; `other_record(type, payload)` gets what is neither request nor reply."""

    def __init__(
        self,
        peer_index: int,
        outbound: SpscRing,
        inbound: SpscRing,
        *,
        doorbell: Doorbell,
        spill: SpillDirectory,
        ring_index: int,
        other_record: Callable[[int, bytes], object],
        boot: int,
        slab: SlabWriter,
    ) -> None: ...
    @property
    def peer_index(self) -> int: ...
