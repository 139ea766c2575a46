"""The gossip process: membership and failure detection, and the one author of topologies.

In this version the members are those of the configuration: the process publishes one topology that never changes, to
every reader when it starts and again when a reader was restarted.

    supervisor  --CONTROL set worker_started-->  publish()  --TOPOLOGY-->  io, replication, admin
    every PROBE_EVERY ticks                      PING_PROBE  <-->  the same
"""

import logging
import time
from typing import Any

import msgpack  # type: ignore[import-untyped]

from dynomite_mp.enums import NodeState, Role
from dynomite_mp.ipc.wiring import Endpoint
from dynomite_mp.workers.base import Worker
from dynomite_mp.workers.topology_source import configured_topology

TOPOLOGY_READERS = (Role.IO, Role.REPLICATION, Role.ADMIN)
PROBE_EVERY = 10  # ticks

logger = logging.getLogger(__name__)


class GossipWorker(Worker):
    """Publishes the topology and keeps what the io workers report about links."""

    async def start(self) -> None:
        self.links: dict[str, bool] = {}
        self.round_trips_ns: dict[Endpoint, int] = {}
        self._ticks = 0
        self.topology = configured_topology(self.config, version=self.context.boot)
        self.slab.set_gauge("node_state", NodeState.NORMAL)
        self.publish()

    def publish(self) -> None:
        """Send the whole topology to every reader; a full ring keeps the newest."""
        blob = msgpack.packb(self.topology.to_plain())
        for endpoint, proxy in self.proxies:
            if endpoint.role in TOPOLOGY_READERS:
                proxy.topology(self.topology.version, blob)
        self.slab.set_gauge("topology_version", self.topology.version)
        logger.debug("published topology %d", self.topology.version)

    def on_control_set(self, setting: tuple[str, Any]) -> None:
        """A process that (re)started has not seen what its predecessor was told."""
        super().on_control_set(setting)
        if setting[0] == "worker_started":
            self.publish()
        elif setting[0] == "node_state":
            self.slab.set_gauge("node_state", NodeState[str(setting[1]).upper()])

    def tick(self) -> None:
        """Now and then ask every reader whether it handles its ring; the answers are for the debug log."""
        self._ticks += 1
        if self._ticks % PROBE_EVERY == 0:
            for endpoint, proxy in self.proxies:
                if endpoint.role in TOPOLOGY_READERS:
                    proxy.ping_probe(self._ticks, time.monotonic_ns())

    def on_ping_probe(self, sender: Endpoint, nonce: int, sent_ns: int, is_answer: bool) -> None:
        if is_answer:
            self.round_trips_ns[sender] = time.monotonic_ns() - sent_ns
            logger.debug("%s answered in %d us", sender, self.round_trips_ns[sender] // 1000)
        else:
            super().on_ping_probe(sender, nonce, sent_ns, is_answer)

    def on_link_state(self, sender: Endpoint, peer: str, up: bool) -> None:
        self.links[peer] = up
