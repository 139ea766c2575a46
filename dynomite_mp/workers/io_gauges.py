"""Figures of an io worker that are measured rather than counted, and the counters of its cold side.

Not the counters of the data path: those are moved in place (io_cells).
"""

import time

from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.workers.data_path import GROUP_RESP2, GROUP_RESP3
from dynomite_mp.workers.datastore_link import DatastoreLink
from dynomite_mp.workers.io_path import IoPath

GROUP_NAMES = {GROUP_RESP2: "resp2", GROUP_RESP3: "resp3"}


class IoGauges:
    """Figures that are measured rather than counted, written once a second, and the counters of the cold side."""

    def __init__(self, path: IoPath, slab: SlabWriter) -> None:
        self._path = path
        self._slab = slab

    def count(self, name: str) -> None:
        self._slab.count(name)

    def link_changed(self, link: DatastoreLink) -> None:
        group = GROUP_NAMES[link.group]
        if link.is_up:
            self.count(f"server_connections_total:{group}")
            if link.times_up > 1:
                self.count(f"server_reconnects:{group}")
        elif not link.is_unsupported:
            self.count(f"server_err:{group}" if link.lost_by_error else f"server_eof:{group}")
            self._slab.set_gauge("server_ejected_at", int(time.time() * 1000))

    def refresh(self, links: list[DatastoreLink]) -> None:
        for name, value in self._path.figures().items():
            self._slab.set_gauge(name, value)
        for group, name in GROUP_NAMES.items():
            up = sum(link.is_up for link in links if link.group == group)
            self._slab.set_gauge(f"server_connections:{name}", up)
        self._slab.set_gauge("server_up", int(any(link.is_up for link in links)))
