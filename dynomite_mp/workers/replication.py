"""The replication process: everything between datacenters that may lag.

What it is: the cold side of `wan_path`: it drains the io workers' rings into it, keeps its links, and carries verdicts
back. Without other datacenters it takes topologies and answers probes, and has nothing to send.

What it is not: no io worker waits for it, except for DC_EACH_SAFE_QUORUM.

    io[k] --REPLICATE--> drain_ring --> WanPath --> other datacenters
    io[k] <--REPLICA_REPLY-- on_verdict <--+
    io[k] --HINT--> drain_ring --> WanPath: log of the replica --> HintLanes --> replicas of this datacenter
    io[k] --PEER_CALL--> PeerCalls.answer --PEER_ANSWER--> io[k]     what other nodes' replication processes ask
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from dynomite_mp.cluster.hints import Bounds
from dynomite_mp.cluster.key_sources import Sources
from dynomite_mp.cluster.topology import Topology
from dynomite_mp.config_values import DatastorePersistence
from dynomite_mp.enums import Missing, Role
from dynomite_mp.ipc import messages
from dynomite_mp.ipc.bulletin import Bulletin, encode
from dynomite_mp.ipc.ring import SpscRing
from dynomite_mp.ipc.wiring import Endpoint
from dynomite_mp.workers.base import Worker, WorkerContext
from dynomite_mp.workers.cluster_view import ClusterView, lag_rows, peer_rows
from dynomite_mp.workers.datastore_client import DatastoreClient
from dynomite_mp.workers.hint_lanes import HintLanes, now_ms
from dynomite_mp.workers.key_copies import KeyCopies
from dynomite_mp.workers.known_place import KnownPlace
from dynomite_mp.workers.leadership import Leadership
from dynomite_mp.workers.peer_calls import CallWays, PeerCalls
from dynomite_mp.workers.peer_cipher import node_key, secured_by
from dynomite_mp.workers.peer_mesh import PeerLink, count_peer_change
from dynomite_mp.workers.repairs import Repairs
from dynomite_mp.workers.returning import Returning
from dynomite_mp.workers.stamps import COPY_DISORDERED, COPY_READ, COPY_SKIPPED
from dynomite_mp.workers.topology_source import configured_topology
from dynomite_mp.workers.wan_mesh import WanMesh
from dynomite_mp.workers.wan_path import WanPath
from dynomite_mp.workers.warm_up import KEEPS_NOTHING, NEW, WarmUp

log = logging.getLogger("dynomite_mp.replication")

TICK_S = 0.010
DRAIN_POLL_S = 0.010
ORPHAN_S = 1.5
SYNC_MIN_S = 0.050


class ReplicationWorker(Worker):
    """One process a node."""

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context)
        config = context.config
        self._loop = asyncio.get_running_loop()
        self._path = WanPath(
            lambda: self._loop.call_soon(self._path.turn),
            lambda: self._loop.call_later(TICK_S, self._on_tick),
            context.port.slab,
            self._on_verdict,
            reply_timeout_ms=config.peer_timeout_ms(same_datacenter=False, write=True),
            peer_bytes=config.peer_budget_bytes,
        )
        ways = CallWays(
            config.dyn_listen.host,
            node_key(config),
            secured_by(config.secure_server_option),
            deadline_ms=config.peer_timeout_ms(same_datacenter=False, write=True),
        )
        self._mesh = WanMesh(
            self._path,
            self._loop,
            connections=config.remote_peer_connections,
            bind_host=ways.bind_host,
            key=ways.key,
            is_secured=ways.is_secured,
            on_change=self._on_peer_change,
        )
        self.calls = PeerCalls(self._loop, context.port.slab, ways)
        self._leadership = Leadership(
            self.calls,
            config.io_workers,
            lambda worker, nonce, address, is_leading: self.proxies.io(worker).leading(nonce, address, is_leading),
        )
        self.hints = HintLanes(
            context.data_dir / "hints",
            self.calls,
            Bounds(config.hint_log_bytes_max, config.hint_age_ms_max),
            config.hint_rate,
        )
        self.hints.tell_empty = lambda worker, address, number: self.proxies.io(worker).lane_empty(address, number)
        self._path.set_logs(self.hints.queue_log, self.hints.log_of, self.hints.wrote, config.hint_age_ms_max)
        self._syncs: asyncio.Task[None] | None = None
        self._dropped: dict[Endpoint, int] = {}  # records that io workers gave up, as far as it was told to the lanes
        self._replicas: list[str] = []  # of this datacenter
        self.copies = KeyCopies(
            self.calls, self.proxies.io, config.io_workers, self._sources(configured_topology(config))
        )
        self.copies.owed = self.hints.pending
        self._rack_nodes = 1
        self._far_c: set[str] = set()  # addresses of C nodes of other datacenters, since they were connected last
        self._store = DatastoreClient(context.datastore)
        self._place = KnownPlace(self.calls, has_gossip=config.enable_gossip, most_ms=config.catch_up_max_ms)
        self.returning = self._way_back()
        self.repairs = Repairs(context, self.calls, self.copies, self.hints, self.warm_up.is_whole)
        self._answers: set[asyncio.Task[None]] = set()

    def _way_back(self) -> Returning:
        config, slab = self.config, self.context.port.slab
        returning = Returning(self.calls, self.copies, self._tell_return, config.io_workers, config.catch_up_max_ms)
        self.warm_up = WarmUp(
            self.calls,
            self.copies,
            self._store,
            slab,
            mode=config.warm_up,
            state_file=self.context.data_dir / "warm_up",
            own_rack_nodes=lambda: self._rack_nodes,
        )
        store = self.context.datastore
        if store is not None and store.managed and self.context.boot == 1:  # else only this process is new
            if self.context.node_boot == 1:
                self.warm_up.mark_empty(NEW)
            elif config.datastore_persistence is DatastorePersistence.NONE:
                self.warm_up.mark_empty(KEEPS_NOTHING)
        returning.steps += [self._place.step, self.warm_up.step]
        return returning

    async def start(self) -> None:
        self._loop.add_reader(self._path.fd, self._path.turn)
        self.calls.start()
        self._swap(configured_topology(self.config))
        self._leadership.start()
        self.hints.start()
        self._syncs = self._loop.create_task(self._sync_hints())

    async def _sync_hints(self) -> None:
        """At most hint_sync_ms of hints are lost with the machine."""
        while True:
            await asyncio.sleep(max(SYNC_MIN_S, self.config.hint_sync_ms / 1000))
            await self.hints.sync()

    async def drain(self, deadline_s: float) -> None:
        """What the io workers have handed over is sent and answered, as far as the time allows."""
        end = self._loop.time() + deadline_s
        # Without a supervisor the io workers drain meanwhile; what they still hand over has to reach the logs.
        last = min(end, self._loop.time() + ORPHAN_S) if self.is_orphan else 0.0
        while (self._path.owes() and self._loop.time() < end) or self._loop.time() < last:
            await asyncio.sleep(DRAIN_POLL_S)
        self.returning.close()
        self._store.close()
        self._leadership.close()
        if self._syncs is not None:
            self._syncs.cancel()
        self._mesh.close()
        self.hints.close()
        self.repairs.close()
        self.calls.close()
        self._path.close_all()
        self._path.close_queues()

    def tick(self) -> None:
        self._path.shrink_idle()
        self.calls.path.shrink_idle()
        self.copies.count(self.slab)
        self._watch_overflow()
        self.hints.tick()
        self._path.tick_queues(now_ms())
        if self._far_c:
            self._tell_far_c()
        for name, value in self._path.figures().items():
            self.slab.set_gauge(name, value)
        lags = lag_rows(self._path.lags())
        self.repairs.tick()
        rows = self.repairs.rows()
        self.slab.post(encode(Bulletin((), peer_rows(self._mesh.links), lags, hints=self.hints.rows(), repairs=rows)))

    def _watch_overflow(self) -> None:
        """What an io worker dropped before this process began counts too: it may have been dropped for its absence."""
        for sender, ring in self.port.inbound:
            if sender.role is Role.IO and ring.dropped > self._dropped.get(sender, 0):
                self._dropped[sender] = ring.dropped
                self.hints.overflowed(self._replicas)

    def drain_ring(self, sender: Endpoint, ring: SpscRing) -> int:
        if sender.role is not Role.IO:
            return super().drain_ring(sender, ring)
        return self._path.drain(ring, self.receivers[sender], now_ms())

    def on_replicate(self, _sender: Endpoint, *fields: object) -> None:
        """A record too large for the ring, which came by file."""
        self._path.replicate_payload(messages.encode(messages.REPLICATE, *fields), now_ms())

    def on_hint(self, _sender: Endpoint, *fields: object) -> None:
        """The same of a hint."""
        self._path.hint_payload(messages.encode(messages.HINT, *fields), now_ms())

    def on_key_copy(self, _sender: Endpoint, _token: int, key: bytes, reason: int) -> None:
        if reason == COPY_READ:
            self.repairs.reads.want(key)
            return
        self.slab.count("key_copies_received")
        self.copies.want((key,), is_order=reason in (COPY_DISORDERED, COPY_SKIPPED))

    def on_control_set(self, setting: tuple[str, Any]) -> None:
        super().on_control_set(setting)
        self._mesh.take_order(setting[0], str(setting[1]))
        self.repairs.take_order(setting[0], str(setting[1]))

    def on_node_event(self, sender: Endpoint, what: str, episode: int, missing: int) -> None:
        self.returning.on_event(sender.index, what, episode, Missing(missing))

    def on_lane_watch(self, sender: Endpoint, address: str, number: int) -> None:
        self.hints.watch(sender.index, address, number)

    def _tell_return(self, worker: int, missing: Missing, episode: int) -> None:
        self.proxies.io(worker).node_return(missing, episode)

    def on_key_held(self, sender: Endpoint, copy_id: int, rows: Sequence[tuple[bytes, Any]]) -> None:
        self.copies.on_held(sender.index, copy_id, rows)

    def on_key_applied(self, copy_id: int, rows: Sequence[tuple[bytes, bytes]]) -> None:
        self.copies.on_applied(copy_id, rows)

    def on_peer_call(self, sender: Endpoint, call_id: int, _address: str, payload: bytes) -> None:
        """Another node's replication process asks; its answer goes back the same way."""
        task = self._loop.create_task(self._answer(sender.index, call_id, payload))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    def on_lead_ready(self, sender: Endpoint, is_ready: bool) -> None:
        self._leadership.note_ready(sender.index, is_ready)

    def on_leading_seen(self, nonce: int, is_known: bool) -> None:
        self._leadership.note_seen(nonce, is_known)

    async def _answer(self, worker: int, call_id: int, payload: bytes) -> None:
        self.proxies.io(worker).peer_answer(call_id, await self.calls.answer(payload))

    def _swap(self, topology: Topology) -> None:
        self._mesh.swap(topology)
        self.calls.swap(topology)
        self._leadership.swap(topology)
        racks = topology.local_dc.racks
        self._replicas = [node.address for rack in racks for node in rack.nodes] if len(racks) > 1 else []
        self.copies.sources = self._sources(topology)
        self.repairs.swap(topology)
        self.returning.swap(topology)
        self._place.swap(topology)
        self._rack_nodes = len(topology.local_rack.nodes)

    def _sources(self, topology: Topology) -> Sources:
        return Sources(topology, hash_name=self.config.hash, hash_tag=self.config.hash_tag)

    def on_topology(self, topology_version: int, blob: bytes) -> None:
        self._swap(ClusterView.published(blob).topology)
        if topology_version != self.slab.get("topology_version"):
            self.slab.set_gauge("topology_version", topology_version)
            self.slab.count("topology_swaps")

    def _on_tick(self) -> None:
        if self._path.tick():
            self._loop.call_later(TICK_S, self._on_tick)

    def _on_verdict(self, worker: int, req_id: int, dc_index: int, status: int, reply: bytes) -> None:
        self.proxies.io(worker).replica_reply(req_id, dc_index, status, reply)

    def _on_peer_change(self, link: PeerLink) -> None:
        count_peer_change(self.slab, link, self._mesh.links)
        self.proxies.gossip.link_state(link.node.address, link.is_up)
        if link.is_up:
            self._far_c -= {link.node.address}
            self._far_c |= set() if link.is_ours else {link.node.address}
            self._tell_far_c()

    def _tell_far_c(self) -> None:
        """To all io workers; while there are C nodes now and then again, for those that were restarted."""
        present = {link.node.address for link in self._mesh.links}
        for worker in range(self.config.io_workers):
            self.proxies.io(worker).far_c_nodes(bool(self._far_c & present))
