"""Sending and receiving messages: one proxy class per receiver, and the only place where full policies are carried out.

Not which messages and rings exist (messages.py, wiring.py). A sender calls `proxies.gossip.link_state(...)`, gossip
defines `on_link_state(...)`: the same stem on both sides, so a search finds the pair.

    sender                                              receiver
    Proxies -> <Role>Proxy.<name>()                     Receiver(handler, sender)
            -> Outbox.send() -> ring, doorbell  ~~~~>   ring.drain(receiver) -> dispatch() -> handler.on_<name>()
                    \\-> waits here (bounded), flush()

The hot path offers to the ring itself (c_offer2) and comes here only when that said full or too large, or while
`outbox.waiting` says that earlier messages still wait.
"""

import logging
from collections import deque
from collections.abc import Iterator
from typing import Any

from dynomite_mp.enums import Role
from dynomite_mp.ipc import layout, messages
from dynomite_mp.ipc.doorbell import Doorbell
from dynomite_mp.ipc.ring import SpscRing
from dynomite_mp.ipc.segment import Port
from dynomite_mp.ipc.spill import SpillDirectory
from dynomite_mp.ipc.wiring import Endpoint, FullPolicy, RingSpec

log = logging.getLogger(__name__)

_WAITING_POLICIES = frozenset({FullPolicy.KEEP_NEWEST, FullPolicy.QUEUE, FullPolicy.OVERFLOW})


class Outbox:
    """The sending end of one ring: publishes, spills, waits or gives up as the ring's row says."""

    def __init__(
        self, spec: RingSpec, ring: SpscRing, doorbell: Doorbell, port: Port, spill: SpillDirectory | None
    ) -> None:
        self.spec = spec
        self.ring = ring
        self.dirty = False  # OVERFLOW only: something was lost; whoever mends the lane sets it back
        self.waiting_bytes = 0
        self._doorbell = doorbell
        self._slab = port.slab
        self._spill = spill
        self._queue: deque[tuple[int, bytes]] = deque()
        if spill is not None:
            spill.sweep(spec.index, ring.producer_pos)

    @property
    def waiting(self) -> int:
        """Messages that wait here for room; later ones must queue behind them."""
        return len(self._queue)

    def send(self, message_id: int, payload: bytes) -> bool:
        """True: published, or waiting here in order. False: given up; what that means is the ring's full policy."""
        if message_id not in self.spec.row.message_ids:
            raise ValueError(f"{messages.MESSAGES[message_id].name} does not travel on {self.spec.name}")
        if self._queue:
            self.flush()
        if not self._queue and self._publish(message_id, payload):
            return True
        return self._wait(message_id, payload)

    def flush(self) -> bool:
        """Publish what waits, as far as there is room; True while something still waits."""
        while self._queue:
            message_id, payload = self._queue[0]
            if not self._publish(message_id, payload):
                break
            self._queue.popleft()
            self._count_waiting(-len(payload))
        return bool(self._queue)

    def _publish(self, message_id: int, payload: bytes) -> bool:
        if len(payload) > self.ring.max_record_bytes:
            published = self._publish_spilled(message_id, payload)
        else:
            published = self.ring.offer(message_id, payload)
        if published:
            self._slab.count("messages_sent")
            self._doorbell.ring()
        return published

    def _publish_spilled(self, message_id: int, payload: bytes) -> bool:
        if self._spill is None or not self.ring.has_room(self.ring.max_record_bytes):
            return False
        record = self._spill.write(self.spec.index, self.ring.producer_pos, payload)
        if record is None:
            self._slab.count("spill_refused")
            return False
        if not self.ring.offer(message_id | layout.SPILL_BIT, record):
            self._spill.remove(record)
            return False
        self._slab.count("spill_files")
        self._slab.count("spill_file_bytes", len(payload))
        return True

    def _wait(self, message_id: int, payload: bytes) -> bool:
        policy = self.spec.policy
        if policy not in _WAITING_POLICIES:
            if policy is FullPolicy.DROP:
                self._drop()
            return False
        if not self._can_ever_go(payload):
            self._drop()
            return False
        if policy is FullPolicy.KEEP_NEWEST:
            for older in [entry for entry in self._queue if entry[0] == message_id]:
                self._queue.remove(older)
                self._count_waiting(-len(older[1]))
                self._drop()
        elif self.waiting_bytes + len(payload) > self.spec.bound_bytes:
            self._drop()
            return False
        self._queue.append((message_id, payload))
        self._count_waiting(len(payload))
        return True

    def _can_ever_go(self, payload: bytes) -> bool:
        """A message that fits neither a record nor an empty spill directory would block all behind it for good."""
        if len(payload) <= self.ring.max_record_bytes:
            return True
        return self._spill is not None and len(payload) <= self._spill.limit_bytes

    def _drop(self) -> None:
        self.ring.count_drop()
        self._slab.count("messages_dropped")
        if self.spec.policy is FullPolicy.OVERFLOW:
            self.dirty = True

    def _count_waiting(self, change_bytes: int) -> None:
        self.waiting_bytes += change_bytes
        if change_bytes >= 0:
            self._slab.count("message_queue_bytes", change_bytes)
        else:
            self._slab.uncount("message_queue_bytes", -change_bytes)

    def __repr__(self) -> str:
        return f"<Outbox {self.spec.name}, {self.waiting} waiting, {self.ring!r}>"


class Proxy:
    """What every process understands."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox

    def _send(self, message_id: int, *values: Any) -> bool:
        return self.outbox.send(message_id, messages.encode(message_id, *values))

    def ping_probe(self, nonce: int, sent_ns: int, is_answer: bool = False) -> bool:
        return self._send(messages.PING_PROBE, nonce, sent_ns, is_answer)


class SupervisorProxy(Proxy):
    def event(self, what: str, detail: Any = None) -> bool:
        return self._send(messages.EVENT, what, detail)

    def command(self, verb: str, args: Any = None, request_id: int = 0) -> bool:
        return self._send(messages.COMMAND, verb, args, request_id)


class WorkerProxy(Proxy):
    """What every worker understands."""

    def control(self, verb: str, arg: Any = None) -> bool:
        return self._send(messages.CONTROL, verb, arg)

    def topology(self, topology_version: int, blob: bytes) -> bool:
        return self._send(messages.TOPOLOGY, topology_version, blob)


class GossipProxy(WorkerProxy):
    def link_state(self, peer: str, up: bool) -> bool:
        return self._send(messages.LINK_STATE, peer, up)

    def gossip_text(self, text: bytes) -> bool:
        return self._send(messages.GOSSIP_TEXT, text)


class AdminProxy(WorkerProxy):
    def command_result(self, request_id: int, ok: bool, detail: Any = None) -> bool:
        return self._send(messages.COMMAND_RESULT, request_id, ok, detail)


class ReplicationProxy(WorkerProxy):
    def replicate(
        self,
        *,
        req_id: int,
        origin_node: int,
        origin_boot: int,
        origin_worker: int,
        sequence: int,
        stamp: int,
        conflict_class: int,
        token: int,
        dc_mask: int,
        need_ack: int,
        deadline_ms: int,
        request: bytes,
    ) -> bool:
        origin = (origin_node, origin_boot, origin_worker, sequence, stamp)
        fate = (conflict_class, token, dc_mask, need_ack, deadline_ms)
        return self._send(messages.REPLICATE, req_id, *origin, *fate, request)

    def key_held(self, copy_id: int, rows: list[Any]) -> bool:
        return self._send(messages.KEY_HELD, copy_id, rows)

    def key_applied(self, copy_id: int, rows: list[Any]) -> bool:
        return self._send(messages.KEY_APPLIED, copy_id, rows)

    def hint(
        self,
        *,
        kind: int,
        node: str,
        origin_node: int,
        origin_boot: int,
        origin_worker: int,
        sequence: int,
        stamp: int,
        conflict_class: int,
        token: int,
        request: bytes,
    ) -> bool:
        origin = (origin_node, origin_boot, origin_worker, sequence, stamp)
        return self._send(messages.HINT, kind, node, *origin, conflict_class, token, request)

    def key_copy(self, token: int, key: bytes, reason: int) -> bool:
        return self._send(messages.KEY_COPY, token, key, reason)

    def node_event(self, what: str, episode: int, missing: int) -> bool:
        return self._send(messages.NODE_EVENT, what, episode, missing)

    def lane_watch(self, address: str, number: int) -> bool:
        return self._send(messages.LANE_WATCH, address, number)

    def lead_ready(self, is_ready: bool) -> bool:
        return self._send(messages.LEAD_READY, is_ready)

    def leading_seen(self, nonce: int, is_known: bool) -> bool:
        return self._send(messages.LEADING_SEEN, nonce, is_known)

    def peer_call(self, call_id: int, address: str, payload: bytes) -> bool:
        return self._send(messages.PEER_CALL, call_id, address, payload)


class IoProxy(WorkerProxy):
    def replica_reply(self, req_id: int, dc_index: int, status: int, reply: bytes) -> bool:
        return self._send(messages.REPLICA_REPLY, req_id, dc_index, status, reply)

    def key_hold(self, copy_id: int, keys: list[bytes]) -> bool:
        return self._send(messages.KEY_HOLD, copy_id, keys)

    def key_ask(self, copy_id: int, keys: list[bytes], most: int) -> bool:
        return self._send(messages.KEY_ASK, copy_id, keys, most)

    def key_apply(self, copy_id: int, rows: list[Any]) -> bool:
        return self._send(messages.KEY_APPLY, copy_id, rows)

    def key_release(self, copy_id: int) -> bool:
        return self._send(messages.KEY_RELEASE, copy_id)

    def node_return(self, missing: int, episode: int) -> bool:
        return self._send(messages.NODE_RETURN, missing, episode)

    def lane_empty(self, address: str, number: int) -> bool:
        return self._send(messages.LANE_EMPTY, address, number)

    def peer_answer(self, call_id: int, reply: bytes) -> bool:
        return self._send(messages.PEER_ANSWER, call_id, reply)

    def far_c_nodes(self, are_there: bool) -> bool:
        return self._send(messages.FAR_C_NODES, are_there)

    def leading(self, nonce: int, address: str, is_leading: bool) -> bool:
        return self._send(messages.LEADING, nonce, address, is_leading)

    def shard_request(self, req_id: int, flags: int, deadline_ms: int, request: bytes) -> bool:
        return self._send(messages.SHARD_REQUEST, req_id, flags, deadline_ms, request)

    def shard_reply(self, req_id: int, status: int, stamp: int, reply: bytes) -> bool:
        return self._send(messages.SHARD_REPLY, req_id, status, stamp, reply)

    def shard_write(self, req_id: int, flags: int, deadline_ms: int, *rest: Any) -> bool:
        return self._send(messages.SHARD_WRITE, req_id, flags, deadline_ms, *rest)


class Proxies:
    """Every process that this one may send to."""

    def __init__(self, port: Port, spill: SpillDirectory | None = None) -> None:
        self.port = port
        self.outboxes = {
            endpoint: Outbox(port.specs[endpoint], ring, port.doorbells[endpoint], port, spill)
            for endpoint, ring in port.outbound.items()
        }
        self._by_endpoint: dict[Endpoint, Any] = {
            endpoint: PROXY_CLASSES[endpoint.role](outbox) for endpoint, outbox in self.outboxes.items()
        }

    def __iter__(self) -> Iterator[tuple[Endpoint, Any]]:
        return iter(self._by_endpoint.items())

    def __contains__(self, endpoint: Endpoint) -> bool:
        return endpoint in self._by_endpoint

    def to(self, endpoint: Endpoint) -> Any:
        """The proxy of any receiver; KeyError if the wiring table has no such ring."""
        return self._by_endpoint[endpoint]

    def worker(self, role: Role, index: int = 0) -> WorkerProxy:
        """The proxy of a worker, for what all workers understand."""
        proxy = self._by_endpoint[Endpoint(role, index)]
        assert isinstance(proxy, WorkerProxy)
        return proxy

    @property
    def supervisor(self) -> SupervisorProxy:
        proxy = self._by_endpoint[Endpoint(Role.SUPERVISOR, 0)]
        assert isinstance(proxy, SupervisorProxy)
        return proxy

    @property
    def gossip(self) -> GossipProxy:
        proxy = self._by_endpoint[Endpoint(Role.GOSSIP, 0)]
        assert isinstance(proxy, GossipProxy)
        return proxy

    @property
    def replication(self) -> ReplicationProxy:
        proxy = self._by_endpoint[Endpoint(Role.REPLICATION, 0)]
        assert isinstance(proxy, ReplicationProxy)
        return proxy

    @property
    def admin(self) -> AdminProxy:
        proxy = self._by_endpoint[Endpoint(Role.ADMIN, 0)]
        assert isinstance(proxy, AdminProxy)
        return proxy

    def io(self, index: int) -> IoProxy:
        proxy = self._by_endpoint[Endpoint(Role.IO, index)]
        assert isinstance(proxy, IoProxy)
        return proxy

    def flush(self) -> bool:
        """Retry what waits, True if some still does. On a short timer: nobody rings when a ring gets room."""
        waiting = False
        for outbox in self.outboxes.values():
            if outbox.waiting:
                waiting = outbox.flush() or waiting
        return waiting


PROXY_CLASSES: dict[Role, type[Proxy]] = {
    Role.SUPERVISOR: SupervisorProxy,
    Role.GOSSIP: GossipProxy,
    Role.REPLICATION: ReplicationProxy,
    Role.ADMIN: AdminProxy,
    Role.IO: IoProxy,
}


def dispatch(handler: object, message_id: int, payload: bytes, sender: Endpoint | None = None) -> None:
    """Call handler.on_<name>(*fields); the handler's own exceptions pass, MessageError for what nobody handles.

    A row with verbs goes to on_<name>_<verb>(*other_fields) where the handler has it, else to on_<name>(verb, ...).
    Rows `with_sender` get the sender first.
    """
    fields = messages.decode(message_id, payload)
    row = messages.MESSAGES[message_id]
    method = None
    arguments = fields
    if row.verbs and isinstance(fields[0], str):
        method = getattr(handler, f"on_{row.name}_{fields[0]}", None)
        arguments = fields if method is None else fields[1:]
    if method is None:
        method = getattr(handler, f"on_{row.name}", None)
    if method is None:
        raise messages.MessageError(f"{type(handler).__name__} has no on_{row.name}{fields[:1] if row.verbs else ''}")
    if row.with_sender:
        method(sender, *arguments)
    else:
        method(*arguments)


class Receiver:
    """The handler to give to ring.drain() of one inbound ring: reads spill files, dispatches, survives bad messages."""

    def __init__(self, handler: object, sender: Endpoint, port: Port, spill: SpillDirectory | None = None) -> None:
        self.handler = handler
        self.sender = sender
        self._slab = port.slab
        self._spill = spill
        self._reported: set[int] = set()

    def __call__(self, record_type: int, payload: bytes) -> None:
        message_id = record_type & ~layout.SPILL_BIT
        self._slab.count("messages_received")
        try:
            if record_type & layout.SPILL_BIT:
                self._dispatch_spilled(message_id, payload)
            else:
                dispatch(self.handler, message_id, payload, self.sender)
        except Exception:
            self._slab.count("message_errors")
            if message_id not in self._reported:  # once a type: a ring can bring thousands a second
                self._reported.add(message_id)
                log.exception("message %#x from %s skipped; later ones are only counted", message_id, self.sender)

    def _dispatch_spilled(self, message_id: int, record: bytes) -> None:
        if self._spill is None:
            raise messages.MessageError("a spilled message, but this process has no spill directory")
        payload = self._spill.read(record)
        if payload is None:
            return
        try:
            dispatch(self.handler, message_id, payload, self.sender)
        finally:
            self._spill.remove(record)


def receivers(
    handler: object, port: Port, spill: SpillDirectory | None = None
) -> list[tuple[Endpoint, SpscRing, Receiver]]:
    """A Receiver for every inbound ring of a port."""
    return [(sender, ring, Receiver(handler, sender, port, spill)) for sender, ring in port.inbound]
