"""Sending and receiving: every full policy, every proxy, every way a message can be bad."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynomite_mp.enums import Role
from dynomite_mp.ipc import messages, wiring
from dynomite_mp.ipc.proxies import PROXY_CLASSES, Outbox, Proxies, Receiver, dispatch, receivers
from dynomite_mp.ipc.segment import Fabric, slab_name
from dynomite_mp.ipc.spill import SpillDirectory
from dynomite_mp.ipc.wiring import WIRING, Endpoint, FullPolicy

SIZES = {"io_ring_bytes": 4096, "replication_ring_bytes": 4096, "lane_overflow_bytes": 2000}
SUPERVISOR, GOSSIP, REPLICATION, ADMIN = (Endpoint(role, 0) for role in list(Role)[:4])
IO0, IO1 = Endpoint(Role.IO, 0), Endpoint(Role.IO, 1)


class Recorder:
    """A handler that takes every message."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        # Only the plain methods exist, none for single verbs.
        if name.removeprefix("on_") not in messages.BY_NAME:
            raise AttributeError(name)
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[Fabric]:
    made = Fabric.create(slab_name(tmp_path), wiring.expand(2, SIZES), identity={}, boot_id=1)
    yield made
    made.close()


@pytest.fixture
def spill(tmp_path: Path) -> SpillDirectory:
    made = SpillDirectory(tmp_path / "spill", 20_000)
    made.prepare()
    return made


def drain(fabric: Fabric, endpoint: Endpoint, handler: object, spill: SpillDirectory | None = None) -> int:
    port = fabric.port(endpoint.role, endpoint.index)
    return sum(ring.drain(receiver) for _, ring, receiver in receivers(handler, port, spill))


def proxies_of(fabric: Fabric, endpoint: Endpoint, spill: SpillDirectory | None = None) -> Proxies:
    return Proxies(fabric.port(endpoint.role, endpoint.index), spill)


def test_every_message_of_every_row_has_a_method_at_its_receivers_proxy() -> None:
    for row in WIRING:
        for message_id in row.message_ids:
            assert hasattr(PROXY_CLASSES[row.consumer], messages.MESSAGES[message_id].name)


def test_messages_arrive_with_their_fields(fabric: Fabric) -> None:
    io, admin, gossip = (proxies_of(fabric, e) for e in (IO0, ADMIN, GOSSIP))
    supervisor, replication = proxies_of(fabric, SUPERVISOR), proxies_of(fabric, REPLICATION)
    assert io.gossip.link_state("127.0.0.2:8101", True)
    assert io.supervisor.event("ready", None)
    assert admin.supervisor.command("set_state", ["standby"], 5)
    assert supervisor.admin.command_result(5, True, None)
    assert supervisor.worker(Role.IO, 1).control("drain", 10_000)
    assert gossip.io(1).topology(3, b"blob")
    assert gossip.replication.ping_probe(7, 8)
    assert replication.io(1).replica_reply(1, 2, 3, b"+OK\r\n")
    assert io.io(1).shard_request(1, 2, 3, b"GET")
    assert io.io(1).shard_reply(4, 5, 6, b"x")
    fate = {"conflict_class": 2, "token": 9, "dc_mask": 3, "need_ack": 0, "deadline_ms": 99}
    origin = {"origin_node": 1, "origin_boot": 2, "origin_worker": 3, "sequence": 4, "stamp": 5}
    assert io.replication.replicate(req_id=6, **origin, **fate, request=b"SET")
    seen = {}
    for endpoint in fabric.processes[:-1]:
        recorder = Recorder()
        drain(fabric, endpoint, recorder)
        seen[endpoint] = recorder.calls
    assert seen[GOSSIP] == [("on_link_state", IO0, "127.0.0.2:8101", True)]
    assert seen[SUPERVISOR] == [
        ("on_command", ADMIN, "set_state", ("standby",), 5),
        ("on_event", IO0, "ready", None),
    ]
    assert seen[ADMIN] == [("on_command_result", 5, True, None)]
    assert seen[REPLICATION] == [
        ("on_ping_probe", GOSSIP, 7, 8, False),
        ("on_replicate", IO0, 6, 1, 2, 3, 4, 5, 2, 9, 3, 0, 99, b"SET"),
    ]
    assert seen[IO1] == [
        ("on_control", "drain", 10_000),
        ("on_topology", 3, b"blob"),
        ("on_replica_reply", 1, 2, 3, b"+OK\r\n"),
        ("on_shard_request", IO0, 1, 2, 3, b"GET"),
        ("on_shard_reply", IO0, 4, 5, 6, b"x"),
    ]


def test_a_verb_may_have_a_method_of_its_own() -> None:
    class Handler:
        calls: list[Any] = []

        def on_control_drain(self, arg: Any) -> None:
            self.calls.append(("drain", arg))

        def on_control(self, verb: str, arg: Any) -> None:
            self.calls.append((verb, arg))

        def on_event_ready(self, sender: Endpoint, detail: Any) -> None:
            self.calls.append((sender, detail))

    handler = Handler()
    dispatch(handler, messages.CONTROL, messages.encode(messages.CONTROL, "drain", 1))
    dispatch(handler, messages.CONTROL, messages.encode(messages.CONTROL, "reload", None))
    dispatch(handler, messages.EVENT, messages.encode(messages.EVENT, "ready", "x"), IO1)
    assert handler.calls == [("drain", 1), ("reload", None), (IO1, "x")]
    with pytest.raises(messages.MessageError, match="Handler has no on_event"):
        dispatch(handler, messages.EVENT, messages.encode(messages.EVENT, "failed", "x"), IO1)


def test_a_message_goes_only_where_the_wiring_says(fabric: Fabric) -> None:
    io = proxies_of(fabric, IO0)
    with pytest.raises(ValueError, match="does not travel"):
        io.to(GOSSIP).control("drain")
    with pytest.raises(KeyError):
        io.to(ADMIN)
    assert GOSSIP in io and ADMIN not in io
    assert {endpoint for endpoint, _ in io} == {SUPERVISOR, GOSSIP, REPLICATION, IO1}


def test_sending_rings_a_sleeping_receiver(fabric: Fabric) -> None:
    bell = fabric.port(Role.GOSSIP).doorbell
    assert bell.prepare_sleep()
    proxies_of(fabric, IO0).gossip.link_state("p", True)
    assert not bell.prepare_sleep()


def fill(outbox: Outbox) -> int:
    """Fill the ring itself, so that the policy decides about the next message."""
    filled = 0
    for payload in (b"\xc0" * outbox.ring.max_record_bytes, b""):
        while outbox.ring.offer(0x70, payload):
            filled += 1
    return filled


def test_refuse_stale_and_exit_say_false(fabric: Fabric) -> None:
    for sender, receiver, policy in (
        (ADMIN, SUPERVISOR, FullPolicy.REFUSE),
        (SUPERVISOR, IO0, FullPolicy.STALE),
        (IO0, SUPERVISOR, FullPolicy.EXIT),
    ):
        proxy = proxies_of(fabric, sender).to(receiver)
        assert proxy.outbox.spec.policy is policy
        fill(proxy.outbox)
        assert proxy.ping_probe(1, 2) is False
        assert (proxy.outbox.waiting, proxy.outbox.ring.dropped) == (0, 0)
        assert proxy.outbox.ring.failed_offers >= 1


def test_drop_counts(fabric: Fabric) -> None:
    io = proxies_of(fabric, IO0)
    fill(io.gossip.outbox)
    assert io.gossip.link_state("p", True) is False
    assert (io.gossip.outbox.waiting, io.gossip.outbox.ring.dropped) == (0, 1)
    assert io.port.slab.get("messages_dropped") == 1


def test_keep_newest_replaces_only_its_own_kind(fabric: Fabric) -> None:
    gossip = proxies_of(fabric, GOSSIP)
    outbox = gossip.io(0).outbox
    filled = fill(outbox)
    for version in range(5):
        assert gossip.io(0).topology(version, b"")
    assert gossip.io(0).ping_probe(1, 2)
    assert outbox.waiting == 2 and gossip.flush() is True
    recorder = Recorder()
    ring = fabric.port(Role.IO, 0).inbound[1][1]
    assert ring.drain(lambda *_: None, filled) == filled
    assert gossip.flush() is False
    drain(fabric, IO0, recorder)
    assert recorder.calls == [("on_topology", 4, b""), ("on_ping_probe", GOSSIP, 1, 2, False)]
    assert gossip.port.slab.get("message_queue_bytes") == 0


def test_queue_keeps_order_up_to_its_bound(fabric: Fabric) -> None:
    replication = proxies_of(fabric, REPLICATION)
    outbox = replication.io(0).outbox
    fill(outbox)
    big = b"x" * 100_000
    accepted = 0
    while replication.io(0).replica_reply(accepted, 0, 0, big):
        accepted += 1
    assert accepted == outbox.spec.bound_bytes // (len(big) + 25)
    assert replication.port.slab.get("message_queue_bytes") == outbox.waiting_bytes == accepted * (len(big) + 25)
    assert outbox.ring.dropped == 1 and not outbox.dirty
    seen: list[int] = []

    class Handler:
        def on_replica_reply(self, req_id: int, *_: Any) -> None:
            seen.append(req_id)

        def on_ping_probe(self, *_: Any) -> None:
            return

    sent_later = False
    while outbox.waiting or not fabric.port(Role.IO, 0).is_idle():
        drain(fabric, IO0, Handler())
        if not sent_later:
            sent_later = True
            assert replication.io(0).replica_reply(accepted, 0, 0, b"")  # must not overtake
        replication.flush()
    assert seen == list(range(accepted + 1))


def test_overflow_past_its_bound_is_dirty(fabric: Fabric) -> None:
    io = proxies_of(fabric, IO0)
    outbox = io.replication.outbox
    fill(outbox)
    for _ in range(4):
        assert outbox.send(messages.REPLICATE, b"x" * 500)
    assert not outbox.dirty
    assert outbox.send(messages.REPLICATE, b"x") is False
    assert outbox.dirty and outbox.ring.dropped == 1
    assert repr(outbox).startswith("<Outbox io[0] > replication[0], 4 waiting, <SpscRing ")


def test_a_large_value_goes_through_a_spill_file(fabric: Fabric, spill: SpillDirectory) -> None:
    io = proxies_of(fabric, IO0, spill)
    value = b"v" * 5000
    assert io.io(1).shard_request(1, 0, 0, value)
    assert io.io(1).shard_request(2, 0, 0, b"small")
    assert len(list(spill.path.iterdir())) == 1
    recorder = Recorder()
    drain(fabric, IO1, recorder, spill)
    assert [call[2:] for call in recorder.calls] == [(1, 0, 0, value), (2, 0, 0, b"small")]
    assert list(spill.path.iterdir()) == []
    assert (io.port.slab.get("spill_files"), io.port.slab.get("spill_file_bytes")) == (1, 5029)


def test_a_spilled_message_that_comes_again_is_skipped(fabric: Fabric, spill: SpillDirectory) -> None:
    io = proxies_of(fabric, IO0, spill)
    io.io(1).shard_request(1, 0, 0, b"v" * 5000)
    record = dict(fabric.port(Role.IO, 1).inbound)[IO0].peek()
    assert record is not None
    recorder = Recorder()
    receiver = Receiver(recorder, IO0, fabric.port(Role.IO, 1), spill)
    receiver(*record)  # handled, file gone, and killed before the advance
    receiver(*record)
    assert len(recorder.calls) == 1
    assert fabric.port(Role.IO, 1).slab.get("message_errors") == 0


def test_no_room_for_spill_files_is_full(fabric: Fabric, spill: SpillDirectory) -> None:
    io = proxies_of(fabric, IO0, spill)
    for i in range(4):
        assert io.io(1).shard_request(i, 0, 0, b"v" * 6000)
    assert io.io(1).outbox.waiting == 1  # the fourth waits for room
    assert io.port.slab.get("spill_refused") >= 1
    assert io.io(1).shard_request(9, 0, 0, b"v" * 20_001) is False  # would never fit
    recorder = Recorder()
    drain(fabric, IO1, recorder, spill)
    assert io.flush() is False
    drain(fabric, IO1, recorder, spill)
    assert [call[2] for call in recorder.calls] == [0, 1, 2, 3]


def test_a_spill_file_is_not_written_for_a_full_ring(fabric: Fabric, spill: SpillDirectory) -> None:
    io = proxies_of(fabric, IO0, spill)
    fill(io.io(1).outbox)
    assert io.io(1).shard_request(1, 0, 0, b"v" * 6000)
    assert list(spill.path.iterdir()) == []


def test_without_a_spill_directory_a_large_value_is_given_up(fabric: Fabric) -> None:
    io = proxies_of(fabric, IO0)
    assert io.io(1).shard_request(1, 0, 0, b"v" * 5000) is False
    assert io.io(1).outbox.ring.dropped == 1


def test_a_successor_sweeps_the_spill_files_of_its_rings(fabric: Fabric, spill: SpillDirectory) -> None:
    io = proxies_of(fabric, IO0, spill)
    io.io(1).shard_request(1, 0, 0, b"v" * 5000)
    spill.write(io.io(1).outbox.spec.index, io.io(1).outbox.ring.producer_pos, b"never published")
    proxies_of(fabric, IO0, spill)
    assert len(list(spill.path.iterdir())) == 1


def test_bad_messages_are_counted_logged_once_and_skipped(fabric: Fabric, caplog: pytest.LogCaptureFixture) -> None:
    class Handler:
        seen = 0

        def on_link_state(self, sender: Endpoint, peer: str, up: bool) -> None:
            if peer == "bad":
                raise RuntimeError("handler failed")
            self.seen += 1

    handler = Handler()
    io = proxies_of(fabric, IO0)
    for peer in ("bad", "good", "bad", "good"):
        io.gossip.link_state(peer, True)
    io.gossip.ping_probe(1, 2)  # no method for it
    io.gossip.outbox.ring.offer(messages.LINK_STATE, b"\xc1")
    io.gossip.outbox.ring.offer(0x7777, b"\x90")
    io.gossip.outbox.ring.offer(messages.LINK_STATE | 0x40000000, b"\x90")  # spilled, but no directory
    with caplog.at_level(logging.ERROR):
        assert drain(fabric, GOSSIP, handler) == 8
    assert handler.seen == 2
    slab = fabric.port(Role.GOSSIP).slab
    assert (slab.get("messages_received"), slab.get("message_errors")) == (8, 6)
    assert len(caplog.records) == 3  # link_state, ping_probe, 0x7777
    assert fabric.port(Role.GOSSIP).is_idle()
