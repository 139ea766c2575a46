"""The io worker: listens for clients, keeps the datastore connected, and gives the data path its turns.

What it is: the cold side of `io_path`. It owns the uvloop callbacks (epoll set, 10 ms timer), accepts clients, makes
and remakes datastore connections, applies settings and drains.

What it is not: no byte of a request passes through this file.

    uvloop --readable(epoll set)--> IoPath.turn          doorbell --> drain_ring --> IoPath.turn (rings of other shards)
           --10 ms while in flight-> IoPath.tick         1 s      --> tick: gauges, idle buffers
"""

import asyncio
import logging
import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dynomite_mp.cluster.route import RouteTable
from dynomite_mp.cluster.topology import Topology
from dynomite_mp.config import Config
from dynomite_mp.enums import Consistency, Missing, NodeState, Role
from dynomite_mp.errors import WIRE_ERRORS
from dynomite_mp.ipc import proxies
from dynomite_mp.ipc.bulletin import Bulletin, encode
from dynomite_mp.ipc.ring import SpscRing
from dynomite_mp.ipc.spill import SpillDirectory
from dynomite_mp.ipc.wiring import Endpoint
from dynomite_mp.proto.resp import set_max_bulk_bytes
from dynomite_mp.workers.base import Worker, WorkerContext
from dynomite_mp.workers.cluster_view import ClusterView, peer_rows
from dynomite_mp.workers.conn import Listener
from dynomite_mp.workers.data_path import GROUP_RESP2, GROUP_RESP3
from dynomite_mp.workers.datastore_link import DatastoreLink
from dynomite_mp.workers.io_gauges import IoGauges
from dynomite_mp.workers.io_path import IoPath
from dynomite_mp.workers.io_timer import IoTimer
from dynomite_mp.workers.peer_cipher import node_key, secured_by
from dynomite_mp.workers.peer_mesh import PeerLink, PeerMesh, count_peer_change
from dynomite_mp.workers.remote_lane import RemoteLane
from dynomite_mp.workers.sessions import Sessions
from dynomite_mp.workers.shard_link import ShardLink
from dynomite_mp.workers.topology_answer import TopologyAnswer
from dynomite_mp.workers.way_back import WayBack

log = logging.getLogger("dynomite_mp.io")

POLL_S = 0.010
IDLE_MS = 200  # and less than what others take for silence: a longer pause means that this process stood still
ACCEPT_PAUSE_S = 0.1
SKEW_REPORT_S = 60.0
CALL_ID_BITS = 40  # ids of calls do not repeat after a restart of this process
COPIES_S = 1.0  # for the other racks to take the copies of what was answered
PART_S = 0.2  # for clients to be between two requests
FIRST_CATCH_UP_S = 1.0  # clients are accepted once nothing is known to be missing, or after this long
FIRST_DATASTORE_S = 2.0  # clients are accepted once the datastore answers, or after this long
LIVE_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "timeout": int,
    "client_connections": int,
    "client_soft_budget_bytes": int,
    "client_hard_limit_bytes": int,
    "datastore_budget_bytes": int,
    "process_budget_bytes": int,
    "max_value_bytes": int,
    "read_consistency": lambda value: Consistency[value.upper()],
    "write_consistency": lambda value: Consistency[value.upper()],
    "read_repairs_enabled": lambda value: bool(int(value)),
}


class IoWorker(Worker):
    """One data plane process."""

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context)
        config = context.config
        self._loop = asyncio.get_running_loop()
        self._timeout_factor = 1
        self._view = ClusterView.configured(config)
        self._topology_answer = TopologyAnswer(context.slab_name, config, self._view)
        self._sessions = Sessions(
            listen=str(config.listen), worker_index=context.index, worker_count=config.io_workers,
            topology=self._topology_answer,
        )  # fmt: skip
        topology = self._view.topology
        self._path = IoPath(
            self._schedule_turn,
            lambda: self._timer.start_ticking(),
            context.port.slab,
            self._sessions,
            RouteTable(topology),
            shard_index=context.index,
            shard_count=config.io_workers,
            datastore_connections=config.datastore_connections,
        )
        self._timer = IoTimer(self._path, self._relieve_pressure, min(IDLE_MS, config.peer_silence_ms // 2))
        self._spill = SpillDirectory(context.runtime_dir / "spill", config.spill_limit_bytes)
        self._configure(config)
        self._listeners: list[Listener] = []
        self._said_ready = False
        self._links: list[DatastoreLink] = []
        self._first_up = asyncio.Event()
        self._gauges = IoGauges(self._path, context.port.slab)
        self._key = node_key(config)
        self._mesh = PeerMesh(
            self._path,
            self._loop,
            connections=config.local_peer_connections,
            bind_host=config.dyn_listen.host,
            key=self._key,
            is_secured=secured_by(config.secure_server_option),
            on_change=self._on_peer_change,
        )
        self._skews: dict[str, float] = {}
        self._set_identity()
        self._mesh.swap(topology)
        self._is_serving = False
        self._accepts_clients = self._is_draining = False
        self._way_back = WayBack(self._path, context.port.slab, self.proxies.replication, self._open_clients)
        self._way_back.racks = len(topology.local_dc.racks)
        self._path.set_on_stall(self._way_back.on_stall, config.peer_silence_ms)
        self._path.set_on_store_back(self._way_back.on_store_back)
        self._path.set_on_behind(self.proxies.replication.lane_watch)
        self._applied: dict[int, list[tuple[bytes, bytes]]] = {}
        self._path.set_on_applied(self._on_applied)
        self._path.set_on_call(self._on_call, context.boot << CALL_ID_BITS)
        self._path.set_gossip_text(lambda _address, text: self.proxies.gossip.gossip_text(text))
        for sender, ring in context.port.inbound:
            if sender.role is Role.IO:
                self._path.set_shard(sender.index, self._shard_link(sender, ring))
        if has_replicas(topology):
            self._open_remote_lane()

    def _set_identity(self) -> None:
        """Who stamps writes here."""
        context, config = self.context, self.config
        self._path.set_identity(
            context.node_id,
            context.boot_id,
            context.index,
            skew_max_ms=config.max_clock_skew_ms,
            shift_ms=config.debug_clock_offset_ms,
            on_skew=self._on_skew,
        )

    def _on_skew(self, address: str) -> None:
        """A node's clock is too far ahead: said once a minute for each."""
        now_s = self._loop.time()
        if now_s - self._skews.get(address, -math.inf) >= SKEW_REPORT_S:
            self._skews[address] = now_s
            log.error(
                "the clock of %s is more than max_clock_skew_ms (%d) ahead of this node's; set the clocks",
                address or "another node",
                self.config.max_clock_skew_ms,
            )

    def _open_remote_lane(self) -> None:
        """To the replication process; only with other racks or datacenters."""
        replication = Endpoint(Role.REPLICATION, 0)
        port, config = self.context.port, self.config
        self._path.set_remote(
            RemoteLane(
                port.outbound[replication],
                port.doorbell_of(replication),
                self.proxies.to(replication).outbox,
                port.slab,
                worker_index=self.context.index,
                boot=self.context.boot,
                read_wait_ms=config.peer_timeout_ms(same_datacenter=False, write=False),
                write_wait_ms=config.peer_timeout_ms(same_datacenter=False, write=True),
            )
        )

    def _configure(self, config: Config) -> None:
        self._sessions.read_consistency = config.read_consistency
        self._sessions.write_consistency = config.write_consistency
        self._client_limit = _share(config.client_connections, self.context.index, config.io_workers)
        set_max_bulk_bytes(config.max_value_bytes)
        self._path.set_remote_reads(config.read_other_datacenters)
        self._path.set_read_repairs(config.read_repairs_enabled)
        self._path.configure(
            hash_name=config.hash,
            hash_tag=config.hash_tag,
            timeout_ms=config.timeout * self._timeout_factor,
            peer_timeout_ms=config.peer_timeout_ms(same_datacenter=True, write=True) * self._timeout_factor,
            peer_silence_ms=config.peer_silence_ms,
            client_soft_bytes=config.client_soft_budget_bytes,
            client_hard_bytes=config.client_hard_limit_bytes,
            datastore_bytes=config.datastore_budget_bytes,
            peer_bytes=config.peer_budget_bytes,
            process_bytes=config.process_budget_bytes,
            read_level=config.read_consistency,
            write_level=config.write_consistency,
        )

    def _shard_link(self, sender: Endpoint, inbound: SpscRing) -> ShardLink:
        port = self.context.port
        outbound, spec = port.outbound[sender], port.specs[sender]
        self._spill.sweep(spec.index, outbound.producer_pos)
        return ShardLink(
            sender.index,
            outbound,
            inbound,
            doorbell=port.doorbell_of(sender),
            spill=self._spill,
            ring_index=spec.index,
            other_record=proxies.Receiver(self, sender, port, self._spill),
            boot=self.context.boot,
            slab=port.slab,
        )

    # ---- life

    async def start(self) -> None:
        self._loop.add_reader(self._path.fd, self._path.turn)
        if self.config.preconnect:
            self._connect_datastore()
            try:
                await asyncio.wait_for(self._first_up.wait(), FIRST_DATASTORE_S)
            except TimeoutError:
                log.warning("the datastore does not answer yet; clients get an error until it does")
        else:
            self._path.set_on_demand(self._connect_datastore)
        self._path.open_shards()
        self._is_serving = True
        why = "the node has started" if self.context.boot == 1 else "an io worker has started"
        self._way_back.begin(why, Missing.EVERYTHING)
        # The sockets are that of `listen` and that of `dyn_listen`, in this order; see _open_clients.
        peers = self.context.sockets[1]
        self._listeners.append(Listener(self._path, peers, self._on_accept_peer, self._on_exhausted))
        if self._way_back.missing:  # soon over, mostly; and the other racks are hardly connected yet
            self._loop.call_later(FIRST_CATCH_UP_S, self._open_clients)
        else:
            self._open_clients()
        self._timer.start()
        if self.config.io_workers == 1:  # else each request of another shard's would wake it twice
            self._path.linger(self.context.port.doorbell.fd)

    def _open_clients(self) -> None:
        """Clients are accepted from now on; those that came before have waited in the socket's queue."""
        if not self._accepts_clients and not self._is_draining:
            self._accepts_clients = True
            clients = self.context.sockets[0]
            self._listeners.append(Listener(self._path, clients, self._on_accept, self._on_exhausted))

    async def drain(self, deadline_s: float) -> None:
        """Stop accepting, let go of clients between two requests, answer what has come, close."""
        self._is_draining = True
        for listener in self._listeners:
            listener.close()
        end = self._loop.time() + deadline_s
        self._path.part()
        await self._until_no_clients(min(end, self._loop.time() + PART_S))
        self._path.begin_drain()
        await self._until_no_clients(end)
        await self._mesh.settle(min(end, self._loop.time() + COPIES_S))
        self._mesh.close()
        for link in self._links:
            link.close()
        self._path.close_all()

    async def _until_no_clients(self, end: float) -> None:
        while self._path.clients and self._loop.time() < end:
            await asyncio.sleep(POLL_S)

    def tick(self) -> None:
        self._gauges.refresh(self._links)
        self._path.shrink_idle()
        self._topology_answer.forget()
        self._path.ask_again()
        # Who is in the cluster is the same for all io workers; the first one says it.
        members = self._view.members() if self.context.index == 0 else ()
        self.slab.post(encode(Bulletin(members, peer_rows(self._mesh.links))))
        self._tell_ready(again=True)
        self.proxies.flush()

    # ---- settings that change while the worker runs

    def on_control_set(self, setting: tuple[str, Any]) -> None:
        super().on_control_set(setting)
        key, value = setting
        if key == "timeout_factor":
            self._timeout_factor = int(value)
        elif key == "node_state":
            self._path.set_node_state(NodeState[str(value).upper()])
        elif key in LIVE_SETTINGS:
            self.config = replace(self.config, **{key: LIVE_SETTINGS[key](value)})
        else:
            self._mesh.take_order(key, str(value))
            return
        self._configure(self.config)

    def on_topology(self, topology_version: int, blob: bytes) -> None:
        """Who is where, whole; the data path and its links change over in one step."""
        self._view = ClusterView.published(blob)
        self._topology_answer.take(self._view)
        topology = self._view.topology
        self._way_back.racks = len(topology.local_dc.racks)
        self._mesh.swap(topology)
        if has_replicas(topology) and not self._path.has_remote_lane():
            self._open_remote_lane()
        self.slab.set_gauge("topology_version", topology_version)
        self.slab.count("topology_swaps")

    def on_replica_reply(self, req_id: int, _dc_index: int, status: int, reply: bytes) -> None:
        """The verdict of another datacenter on a request at DC_EACH_SAFE_QUORUM."""
        self._path.remote_reply(req_id, status == 0, reply)

    def _on_call(self, call_id: int, address: str, payload: bytes) -> bool:
        """Another node's replication process asks this one's."""
        return self.proxies.replication.peer_call(call_id, address, payload)

    # ---- the way back of a node that may have missed writes: see way_back

    def on_node_return(self, missing: int, episode: int) -> None:
        self._way_back.told(Missing(missing), episode)

    def on_lane_empty(self, address: str, number: int) -> None:
        """A replica of this datacenter has what it missed of this worker's writes."""
        self._path.lane_empty(address.encode(), number)

    # ---- copies of keys: see key_holds

    def on_key_hold(self, copy_id: int, keys: list[bytes]) -> None:
        held = self._path.hold_keys(copy_id, keys)
        self.proxies.replication.key_held(copy_id, [(key, self._path.key_known(key)) for key in held])

    def on_key_ask(self, copy_id: int, keys: list[bytes], most: int) -> None:
        self.proxies.replication.key_held(copy_id, self._path.keys_known(keys, most))

    def on_key_apply(self, copy_id: int, rows: list[tuple[bytes, Any, list[bytes]]]) -> None:
        for key, known, commands in rows:
            if not self._path.apply_key(copy_id, key, known, commands):
                self._on_applied(copy_id, key, b"-ERR the hold of this key had ended\r\n")

    def on_key_release(self, copy_id: int) -> None:
        self._path.release_keys(copy_id)

    def _on_applied(self, copy_id: int, key: bytes, error: bytes) -> None:
        if not self._applied:
            self._loop.call_soon(self._tell_applied)
        self._applied.setdefault(copy_id, []).append((key, error))

    def _tell_applied(self) -> None:
        applied, self._applied = self._applied, {}
        for copy_id, rows in applied.items():
            self.proxies.replication.key_applied(copy_id, rows)

    def on_peer_answer(self, call_id: int, reply: bytes) -> None:
        self._path.answer_call(call_id, reply)

    def on_far_c_nodes(self, are_there: bool) -> None:
        self._path.set_far_c_nodes(are_there)

    def on_leading(self, nonce: int, address: str, is_leading: bool) -> None:
        """A node of another rack, or this one, leads from now on, or no longer."""
        is_known = self._path.set_leading(address.encode(), is_leading)
        self._confirm_leading(nonce, is_known, self._path.next_lead_epoch())

    def _confirm_leading(self, nonce: int, is_known: bool, epoch: int) -> None:
        """What was begun before is finished first."""
        if self._path.leads_of(epoch):
            self._loop.call_later(POLL_S, self._confirm_leading, nonce, is_known, epoch)
        else:
            self.proxies.replication.leading_seen(nonce, is_known)

    def _tell_ready(self, *, again: bool) -> None:
        is_ready = self._path.can_lead()
        if again or is_ready != self._said_ready:
            self._said_ready = is_ready
            self.proxies.replication.lead_ready(is_ready)

    def _on_peer_change(self, link: PeerLink) -> None:
        count_peer_change(self.slab, link, self._mesh.links)
        self.proxies.gossip.link_state(link.node.address, link.is_up)

    # ---- turns and timers of the data path

    def _schedule_turn(self) -> None:
        self._loop.call_soon(self._path.turn)

    def _relieve_pressure(self) -> None:
        self._path.relieve_pressure()
        self._path.beat()
        self._path.expire_calls()
        self._tell_ready(again=False)
        self._path.expire_holds()

    def drain_ring(self, sender: Endpoint, ring: SpscRing) -> int:
        if sender.role is not Role.IO:
            return super().drain_ring(sender, ring)
        if ring.depth_bytes:
            self._path.turn()  # serves the shard rings
        return 0

    # ---- clients

    def _on_accept(self, fd: int, address: Any) -> None:
        if self._path.clients >= self._client_limit:
            _refuse(fd)
            return
        self._path.accept(fd, _text(address) or str(self.config.listen))
        self._gauges.count("client_connections_total")

    def _on_accept_peer(self, fd: int, address: Any) -> None:
        self._path.accept_peer(fd, _text(address), self._key)
        self._gauges.count("dnode_client_connections_total")

    def _on_exhausted(self) -> None:
        """No file descriptor left: the listener rests, the clients that are there are served."""
        self._gauges.count("accept_pauses")
        for listener in self._listeners:
            self._loop.call_later(ACCEPT_PAUSE_S, listener.restart)

    # ---- datastore

    def _connect_datastore(self) -> None:
        if self._links:
            return
        address = self.context.datastore
        if address is None:
            log.error("no datastore is known; every key command is refused")
            return
        for group in (GROUP_RESP2, GROUP_RESP3):
            for index in range(self.config.datastore_connections):
                link = DatastoreLink(
                    self._path,
                    self._loop,
                    address,
                    group,
                    index,
                    self._on_link_change,
                    self.config.server_retry_timeout,
                )
                self._links.append(link)
                link.start()

    def _on_link_change(self, link: DatastoreLink) -> None:
        self._path.set_on_demand(None)
        self._gauges.link_changed(link)
        self._gauges.refresh(self._links)
        resp3 = [other for other in self._links if other.group == GROUP_RESP3]
        self._sessions.resp3 = not any(other.is_unsupported for other in resp3)
        if link.hello:
            self._sessions.note_server(link.hello)
        if link.is_up and (self._is_serving or link.times_up > 1):
            self._way_back.begin("the datastore was away", Missing.EVERYTHING)
        if link.is_up and all(o.is_up or o.is_unsupported for o in self._links):
            self._first_up.set()


def has_replicas(topology: Topology) -> bool:
    """Whether any key is kept by more than one node."""
    return len(topology.datacenters) > 1 or len(topology.local_dc.racks) > 1


def _share(limit: int, index: int, workers: int) -> float:
    """This worker's part of a limit on the whole node; 0 means none."""
    return limit // workers + (index < limit % workers) if limit else math.inf


def _text(address: Any) -> str:
    """host:port of a peer name; a unix socket has none."""
    if not isinstance(address, tuple):
        return ""
    return f"{address[0]}:{address[1]}" if ":" not in address[0] else f"[{address[0]}]:{address[1]}"


def _refuse(fd: int) -> None:
    """One client too many: say so and close."""
    try:
        os.write(fd, WIRE_ERRORS["max_clients"].line)
    except OSError as failure:
        log.debug("refused client had gone: %s", failure)
    finally:
        os.close(fd)
