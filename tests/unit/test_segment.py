"""The node's shared memory: real segments in /dev/shm, real eventfds, one real fork."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dynomite_mp.enums import Role
from dynomite_mp.ipc import segment, wiring
from dynomite_mp.ipc.segment import Fabric, SegmentError, slab_name
from dynomite_mp.ipc.slab import SHM_DIRECTORY, Slab, SlabError
from dynomite_mp.ipc.wiring import Endpoint

SIZES = {"io_ring_bytes": 4096, "replication_ring_bytes": 8192, "lane_overflow_bytes": 1000}
IDENTITY = {"dc": "dc1", "rack": "r1", "tokens": ["1", "2"], "version": "0.1.0"}


@pytest.fixture
def name(tmp_path: Path) -> str:
    return slab_name(tmp_path)


@pytest.fixture
def fabric(name: str) -> Iterator[Fabric]:
    made = Fabric.create(name, wiring.expand(2, SIZES), identity=IDENTITY, boot_id=77)
    yield made
    made.close()


def test_only_the_counters_keep_a_name(fabric: Fabric) -> None:
    left = {path.name for path in SHM_DIRECTORY.iterdir() if path.name.startswith(fabric.name[1:])}
    assert left == {fabric.name[1:]}
    assert (SHM_DIRECTORY / fabric.name[1:]).stat().st_mode & 0o777 == 0o600


def test_close_removes_the_name_and_the_bells(name: str) -> None:
    fabric = Fabric.create(name, wiring.expand(1, SIZES), identity=IDENTITY, boot_id=1)
    fds = fabric.fds
    fabric.close()
    fabric.close()
    assert name not in Slab.list_mine()
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_the_name_is_that_of_the_real_path(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert slab_name(tmp_path / "link") == slab_name(tmp_path / "data") != slab_name(tmp_path)
    assert slab_name(tmp_path).startswith(f"/dynomite-mp.{os.getuid()}.")


def test_a_stale_slab_is_replaced(name: str) -> None:
    stale = Fabric.create(name, wiring.expand(1, SIZES), identity=IDENTITY, boot_id=1)
    fresh = Fabric.create(name, wiring.expand(1, SIZES), identity=IDENTITY, boot_id=2)
    assert Slab.open(name).boot_id == 2
    fresh.close()
    stale.close()


def test_too_little_shared_memory_names_the_key_to_change(name: str) -> None:
    rings = wiring.expand(1, SIZES)
    rings = tuple(replace(s, capacity_bytes=1 << 48) if s.row.size == "replication_ring_bytes" else s for s in rings)
    with pytest.raises(SegmentError) as caught:
        Fabric.create(name, rings, identity=IDENTITY, boot_id=1)
    assert "lower replication_ring_bytes (now 1 x 2.68435e+08 MiB)" in caught.value.hint
    assert "--shm-size" in caught.value.hint
    assert name not in Slab.list_mine()
    assert not (SHM_DIRECTORY / f"{name[1:]}.rings").exists()


def test_a_hint_without_a_key_still_names_the_container() -> None:
    fixed = [spec for spec in wiring.expand(1, SIZES) if isinstance(spec.row.size, int)]
    assert segment.size_hint(fixed).startswith("give the container more")


def test_ports_are_two_ends_of_the_same_rings(fabric: Fabric) -> None:
    ports = {endpoint: fabric.port(endpoint.role, endpoint.index) for endpoint in wiring.endpoints(2)}
    for endpoint, port in ports.items():
        assert port.endpoint == endpoint
        for consumer, ring in port.outbound.items():
            assert ring.offer(1, str(endpoint).encode())
            assert (endpoint, ring) in ports[consumer].inbound
            assert port.doorbell_of(consumer).fd == ports[consumer].doorbell.fd
            assert port.specs[consumer].capacity_bytes == ring.capacity_bytes
    for port in ports.values():
        for sender, ring in port.inbound:
            assert ring.peek() == (1, str(sender).encode())
    assert sum(len(port.inbound) for port in ports.values()) == len(fabric.rings)


def test_a_port_knows_the_descriptors_it_needs(fabric: Fabric) -> None:
    port = fabric.port(Role.GOSSIP)
    io = {fabric.port(Role.IO, i).doorbell.fd for i in range(2)}
    assert port.doorbell.fd in port.fds and io < port.fds <= fabric.fds
    assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in fabric.fds)


def test_a_doorbell_watches_the_inbound_rings(fabric: Fabric) -> None:
    gossip, io = fabric.port(Role.GOSSIP), fabric.port(Role.IO, 1)
    assert io.doorbell.prepare_sleep() and io.is_idle()
    gossip.outbound[Endpoint(Role.IO, 1)].offer(1, b"x")
    assert not io.doorbell.prepare_sleep() and not io.is_idle()
    assert fabric.port(Role.IO, 0).is_idle()


def test_attach_resets_gauges_and_rings_all_bells(fabric: Fabric) -> None:
    io, gossip = fabric.port(Role.IO, 0), fabric.port(Role.GOSSIP)
    io.slab.count("client_connections", 5)
    io.slab.count("client_eof", 5)
    assert gossip.doorbell.prepare_sleep()
    fabric.port(Role.IO, 0).attach()
    assert (io.slab.get("client_connections"), io.slab.get("client_eof")) == (0, 5)
    assert os.eventfd_read(gossip.doorbell.fd) == 1


def test_a_forked_child_and_its_successor_share_the_memory(fabric: Fabric) -> None:
    supervisor = Endpoint(Role.SUPERVISOR, 0)
    for life in range(2):
        pid = os.fork()
        if pid == 0:
            port = fabric.port(Role.ADMIN)
            port.slab.count("http_requests")
            sent = port.outbound[supervisor].offer(1, b"life %d" % life)
            port.doorbell_of(supervisor).ring()
            fabric.close()  # not its to close
            os._exit(0 if sent else 1)
        assert os.waitpid(pid, 0)[1] == 0
    inbound = dict(fabric.port(Role.SUPERVISOR).inbound)
    records: list[bytes] = []
    inbound[Endpoint(Role.ADMIN, 0)].drain(lambda _, payload: records.append(payload))
    assert records == [b"life 0", b"life 1"]
    assert Slab.open(fabric.name).totals()["http_requests"] == 2


def test_a_segment_outlives_the_descriptor(fabric: Fabric) -> None:
    """Children close descriptors that are not theirs; a mapping must not own one."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            targets.append(str(link.readlink()))
    assert targets and not [target for target in targets if "dynomite-mp" in target]


def test_no_slab_of_that_name() -> None:
    with pytest.raises(SlabError):
        Slab.open("/dynomite-mp.none.none")


def test_repr(fabric: Fabric) -> None:
    assert repr(fabric) == f"<Fabric {fabric.name}, {len(fabric.rings)} rings, 7 processes>"
