"""The io worker's part of the way back (workers.returning): what this node may lack, and reads go elsewhere meanwhile.

    it started, its datastore was away --begin--> no reads here --NODE_EVENT---> replication process
    or silent, or it stood still                  told <---------NODE_RETURN---- what is missing yet

Invariant: an end that was meant for the time before the last `begin` ends nothing.
"""

import logging
from collections.abc import Callable

from dynomite_mp.enums import Missing
from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.ipc.proxies import ReplicationProxy
from dynomite_mp.workers.io_path import IoPath

log = logging.getLogger("dynomite_mp.io")


class WayBack:
    """One an io worker; `on_end` is called when nothing is missing."""

    def __init__(
        self, path: IoPath, slab: SlabWriter, replication: ReplicationProxy, on_end: Callable[[], object]
    ) -> None:
        self._path = path
        self._slab = slab
        self._replication = replication
        self._on_end = on_end
        self._episode = 0  # how many times this node may have missed writes, in the life of this process
        self.racks = 1
        self.missing = Missing.NOTHING

    def begin(self, what: str, missing: Missing) -> None:
        """No reads until the replication process says that nothing is missing."""
        if self.racks < 2:
            return
        self._episode += 1
        self._set(max(missing, self.missing))
        self._replication.node_event(what, self._episode, missing)

    def on_stall(self) -> None:
        log.warning("this process stood still for longer than peer_silence_ms; catching up")
        self.begin("the process stood still", Missing.WRITES)

    def on_store_back(self) -> None:
        self.begin("the datastore was silent", Missing.WRITES)

    def told(self, missing: Missing, episode: int) -> None:
        if missing or episode >= self._episode:
            self._set(missing)

    def _set(self, missing: Missing) -> None:
        self.missing = missing
        self._path.set_catching_up(missing)
        self._slab.set_gauge("catching_up", bool(missing))
        if not missing:
            self._on_end()
