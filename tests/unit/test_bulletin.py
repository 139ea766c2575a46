"""What processes post about the cluster: the board in shared memory, and what stands on it."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from dynomite_mp.enums import Role
from dynomite_mp.ipc import bulletin, layout, wiring
from dynomite_mp.ipc.bulletin import Bulletin, HintRow, LagRow, MemberRow, PeerRow
from dynomite_mp.ipc.counters import SlabWriter, process_record_bytes, read_bulletin
from dynomite_mp.ipc.segment import Fabric, slab_name
from dynomite_mp.ipc.slab import Slab
from dynomite_mp.ipc.wiring import Endpoint

SIZES = {"io_ring_bytes": 4096, "replication_ring_bytes": 8192, "lane_overflow_bytes": 1000}
FULL = Bulletin(
    (MemberRow("dc1", "r1", "10.0.0.1", 8101, 5, is_local=True), MemberRow("dc1", "r2", "::1", 8101, 7, 3, state=4)),
    (PeerRow("::1", 8101, 2, 1, "ours", True, False, 5, 700, 3, "Connection refused"),),
    (LagRow("dc2", 4, 1024, 250, 90, 1, 2),),
    6,
    (HintRow("10.0.0.9:8101", 5, 700, 1000, "the log was damaged", 2),),
)


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[Fabric]:
    made = Fabric.create(slab_name(tmp_path), wiring.expand(2, SIZES), identity={}, boot_id=1)
    yield made
    made.close()


# ---- the board -------------------------------------------------------------------------------------------------------


def test_each_process_has_a_board_of_its_own(fabric: Fabric) -> None:
    longest = b"x" * layout.BULLETIN_BYTES
    values = {endpoint: str(endpoint).encode() for endpoint in fabric.processes} | {Endpoint(Role.IO, 0): longest}
    for endpoint, value in values.items():
        assert fabric.process_slab(endpoint).post(value)
        fabric.process_slab(endpoint).count("client_eof", 3)
    slab = Slab.open(fabric.name)
    assert [slab.bulletin(i) for i in range(slab.process_count)] == [values[e] for e in fabric.processes]
    assert slab.totals()["client_eof"] == 3 * len(fabric.processes)


@pytest.mark.parametrize("size_bytes", [0, 1, 7, 8, 9, 1000])
def test_a_post_replaces_the_one_before_whatever_its_length(fabric: Fabric, size_bytes: int) -> None:
    writer, slab = fabric.process_slab(Endpoint(Role.GOSSIP, 0)), Slab.open(fabric.name)
    place = [process.role for process in slab.processes()].index(Role.GOSSIP)
    assert slab.bulletin(place) == b""
    for value in (b"y" * 500, b"z" * size_bytes, b"y" * 501, b"w" * size_bytes):
        assert writer.post(value)
        assert slab.bulletin(place) == value


def test_a_value_that_is_too_long_leaves_the_last_one() -> None:
    record = bytearray(process_record_bytes())
    writer = SlabWriter(record)
    assert writer.post(b"short")
    assert not writer.post(b"x" * (layout.BULLETIN_BYTES + 1))
    assert read_bulletin(record, board_offset(record)) == b"short"


def test_a_writer_that_died_half_way_leaves_the_last_value() -> None:
    """It fills the side that is not shown; what lies there counts for nothing until the board is turned."""
    record = bytearray(process_record_bytes())
    assert SlabWriter(record).post(b"whole")
    offset = board_offset(record)
    record[offset + 8 : offset + 8 * (1 + layout.BULLETIN_SIDE_WORDS)] = b"\xff" * (8 * layout.BULLETIN_SIDE_WORDS)
    assert read_bulletin(record, offset) == b"whole"
    assert SlabWriter(record).post(b"its successor's")
    assert read_bulletin(record, offset) == b"its successor's"


def board_offset(record: bytearray) -> int:
    """Where the board of a single record lies: its sides end the record, but for the alignment."""
    probe = bytearray(len(record))
    SlabWriter(probe).post(b"find me!")
    side = probe.index(b"find me!") - 8
    return side - 8 * (1 + layout.BULLETIN_SIDE_WORDS)


def test_a_restarted_process_begins_with_an_empty_board(fabric: Fabric) -> None:
    fabric.process_slab(Endpoint(Role.IO, 1)).post(b"of its predecessor")
    fabric.port(Role.IO, 1).attach()
    slab = Slab.open(fabric.name)
    assert [slab.bulletin(i) for i in range(slab.process_count)] == [b""] * slab.process_count


def test_no_reader_sees_parts_of_two_posts(fabric: Fabric) -> None:
    slab = Slab.open(fabric.name)
    pid = os.fork()
    if pid == 0:
        writer = fabric.process_slab(Endpoint(Role.SUPERVISOR, 0))
        for post in range(1, 20_001):
            writer.post(bytes([post % 251]) * (post % 4099))
        os._exit(0)
    seen, ended = set(), False
    while not ended:
        ended = os.waitpid(pid, os.WNOHANG)[0] == pid
        value = slab.bulletin(0)
        assert len(set(value)) <= 1, "parts of two posts"
        seen.add(value)
    assert value == bytes([20_000 % 251]) * (20_000 % 4099)
    assert len(seen) > 1


def test_a_place_that_is_no_board_is_refused() -> None:
    with pytest.raises(ValueError, match="no bulletin fits"):
        read_bulletin(bytearray(64), 0)
    with pytest.raises(ValueError, match="no bulletin fits"):
        read_bulletin(bytearray(process_record_bytes()), 4)


# ---- what stands on it -----------------------------------------------------------------------------------------------


def test_what_is_encoded_is_decoded() -> None:
    assert bulletin.decode(bulletin.encode(FULL)) == FULL
    assert bulletin.decode(b"") == Bulletin() == bulletin.decode(bulletin.encode(Bulletin()))


def test_what_does_not_fit_is_left_out_and_counted() -> None:
    peers = tuple(PeerRow(f"10.0.{i // 256}.{i % 256}", 8101, 1, 1, "ours") for i in range(1000))
    members = tuple(MemberRow("dc", "rack", peer.host, 8101, 1) for peer in peers)
    value = bulletin.encode(Bulletin(members, peers, FULL.datacenters))
    assert layout.BULLETIN_BYTES - 512 < len(value) <= layout.BULLETIN_BYTES
    shown = bulletin.decode(value)
    assert shown.datacenters == FULL.datacenters
    assert shown.peers == peers[: len(shown.peers)] and 100 < len(shown.peers) < 1000
    assert shown.left_out == 2000 - len(shown.peers) - len(shown.members)


def test_a_board_holds_a_cluster_of_a_hundred_nodes() -> None:
    members = tuple(
        MemberRow("datacenter-1", "rack-1", f"192.168.100.{i}", 8101, 2**32 - i, 64, False, 4, "ours", 8102)
        for i in range(100)
    )
    peers = tuple(PeerRow(row.host, 8101, 1, 1, "ours", False, False, 10_000, 2**24, 9, "") for row in members)
    assert bulletin.decode(bulletin.encode(Bulletin(members, peers))).left_out == 0


def test_columns_of_another_version() -> None:
    newer = {"peers": [["h", 1, 2, 1, "ours", False, False, 0, 0, 0, "", "new"]], "new": [[1]], "left_out": 0}
    older = {"peers": [["h", 1, 2]]}
    assert bulletin.decode(msgpack.packb(newer)).peers == (PeerRow("h", 1, 2, 1, "ours"),)
    assert bulletin.decode(msgpack.packb(older)).peers == (PeerRow("h", 1, 2),)


def test_the_node_s_view_adds_up_the_connections_of_its_processes() -> None:
    first = Bulletin(FULL.members, (PeerRow("a", 1, 1, 0, is_resting=True, last_error="refused"), PeerRow("b", 1)))
    second = Bulletin((), (PeerRow("a", 1, 2, 2, "c", True, False, 3, 40, 1, "reset"),), FULL.datacenters, 2)
    view = bulletin.merged([first, second])
    assert view.members == FULL.members and view.datacenters == FULL.datacenters and view.left_out == 2
    assert view.peers == (PeerRow("a", 1, 3, 2, "c", True, True, 3, 40, 1, "refused"), PeerRow("b", 1))


def test_a_long_reason_is_shortened() -> None:
    assert bulletin.shortened("short") == "short"
    assert len(bulletin.shortened("x" * 100)) == bulletin.ERROR_CHARACTERS
