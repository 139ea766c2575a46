"""The gossip process: membership and failure detection, and the one author of topologies.

What it is: the join between `GossipSockets` (the protocol on its sockets), the rings (links and gossip text that io
workers see, topologies for everybody) and the node's identity, which outlives its processes.

What it is not: the protocol is cluster/membership.py. Without `enable_gossip` the seeds are the cluster.

    io, replication --LINK_STATE, GOSSIP_TEXT--> GossipSockets <--UDP--> other nodes
    supervisor      --CONTROL set node_state-->       |
    io, replication, admin <------TOPOLOGY------------+

Invariant: a reader that (re)started is sent the topology again.
"""

import logging
import time
from typing import Any

from dynomite_mp import __version__
from dynomite_mp.cluster.membership_own import Identity
from dynomite_mp.cluster.membership_post import Event
from dynomite_mp.cluster.membership_record import Profile
from dynomite_mp.cluster.seeds import SeedList
from dynomite_mp.config import Config
from dynomite_mp.enums import NodeState, Role
from dynomite_mp.ipc.wiring import Endpoint
from dynomite_mp.workers.base import Worker, WorkerContext
from dynomite_mp.workers.gossip_sockets import GossipSettings, GossipSockets, advertised
from dynomite_mp.workers.seed_sources import environment, source_of

TOPOLOGY_READERS = (Role.IO, Role.REPLICATION, Role.ADMIN)
PROBE_EVERY = 10  # ticks
VERSIONS_PER_BOOT = 1_000_000  # a restarted process publishes higher versions than its predecessor did
LONE_TOKEN = 0

logger = logging.getLogger(__name__)


class GossipWorker(Worker):
    """One process a node."""

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context)
        self.round_trips_ns: dict[Endpoint, int] = {}
        self._ticks = 0
        self._topology = (0, b"")
        self._sockets: GossipSockets | None = None

    async def start(self) -> None:
        config = self.config
        base = SeedList(config.dyn_seeds)
        listen = (config.dyn_listen.host or "127.0.0.1", config.dyn_listen.port)
        advertise = (config.advertise.host, config.advertise.port) if config.advertise else None
        profile = profile_of(config, await advertised(listen, advertise, base))
        settings = GossipSettings(
            Identity(self.context.node_id, self.context.boot_id, profile, NodeState.NORMAL),
            listen,
            key=config.cluster_key.encode() if config.cluster_key else None,
            secure=config.secure_server_option,
            gossips=config.enable_gossip,
            interval_ms=config.gos_interval,
            first_version=self.context.boot * VERSIONS_PER_BOOT,
            base_seeds=base,
        )
        source = source_of(config.dyn_seed_provider.value, config.dyn_seeds, listen[1], environment())
        self._sockets = GossipSockets(settings, source, self._on_topology, self._on_event)
        self.slab.set_gauge("node_state", NodeState.NORMAL)
        await self._sockets.start()

    async def drain(self, deadline_s: float) -> None:
        if self._sockets is not None:
            await self._sockets.close()

    # ---- from the protocol

    def _on_topology(self, version: int, blob: bytes) -> None:
        self._topology = (version, blob)
        self.publish()

    def publish(self) -> None:
        """Send the whole topology to every reader; a full ring keeps the newest."""
        version, blob = self._topology
        if not blob:
            return
        for endpoint, proxy in self.proxies:
            if endpoint.role in TOPOLOGY_READERS:
                proxy.topology(version, blob)
        self.slab.set_gauge("topology_version", version)

    def _on_event(self, event: Event) -> None:
        host, port = event.address
        logger.info("member %s:%d: %s %s", host, port, event.happened.name.lower(), event.detail)

    # ---- from the rings

    def on_link_state(self, _sender: Endpoint, peer: str, up: bool) -> None:
        host, _, port = peer.rpartition(":")
        if self._sockets is not None:
            self._sockets.take_link((host.strip("[]"), int(port)), up)

    def on_gossip_text(self, _sender: Endpoint, text: bytes) -> None:
        if self._sockets is not None:
            self._sockets.take_c_text(text)

    def on_control_set(self, setting: tuple[str, Any]) -> None:
        super().on_control_set(setting)
        key, value = setting
        if key == "worker_started":
            self.publish()
        elif key == "node_state":
            state = NodeState[str(value).upper()]
            self.slab.set_gauge("node_state", state)
            if self._sockets is not None:
                self._sockets.set_state(state)

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


def profile_of(config: Config, address: tuple[str, int]) -> Profile:
    """What this node says of itself."""
    return Profile(
        config.datacenter,
        config.rack,
        config.tokens or (LONE_TOKEN,),
        *address,
        client_port=config.listen.port,
        stats_port=config.stats_listen.port,
        hash=config.hash,
        hash_tag=config.hash_tag,
        version=__version__,
    )
