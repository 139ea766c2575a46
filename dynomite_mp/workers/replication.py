"""The replication process: everything between datacenters that may lag.

In this version there is one datacenter: the process takes topologies and answers probes, and has nothing to send.
"""

from dynomite_mp.ipc.wiring import Endpoint
from dynomite_mp.workers.base import Worker


class ReplicationWorker(Worker):
    """Takes over each topology."""

    def on_topology(self, topology_version: int, blob: bytes) -> None:
        if topology_version != self.slab.get("topology_version"):
            self.slab.set_gauge("topology_version", topology_version)
            self.slab.count("topology_swaps")

    def on_replicate(self, sender: Endpoint, *fields: object) -> None:
        """No io worker has another datacenter to send to yet; counted, so that one that does shows up."""
        self.slab.count("remote_peer_dropped_requests")
