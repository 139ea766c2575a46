from collections.abc import Callable

from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.workers.conn import PollSet
from dynomite_mp.workers.sessions import Sessions

GROUP_RESP2: int
GROUP_RESP3: int
GROUPS: int
ORDER_BUCKETS: int
PAUSE_BUDGET: int
PAUSE_HELD: int
PAUSE_PRESSURE: int
TAKEN: int
HOLD: int
REFUSED: int

class DataPath(PollSet):
    """What connections share; `schedule_tick()` asks for tick() in 10 ms."""

    def __init__(
        self,
        schedule_turn: Callable[[], object],
        schedule_tick: Callable[[], object],
        slab: SlabWriter,
        sessions: Sessions | None,
    ) -> None: ...
    @property
    def slab(self) -> SlabWriter: ...
    @property
    def clients(self) -> int:
        """Open now."""
