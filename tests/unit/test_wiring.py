"""The wiring table: every ring, expanded for a number of io workers."""

from collections import Counter

import pytest

from dynomite_mp.enums import Role
from dynomite_mp.ipc import messages, wiring
from dynomite_mp.ipc.wiring import Endpoint, FullPolicy

SIZES = {"io_ring_bytes": 5000, "replication_ring_bytes": 1 << 20, "lane_overflow_bytes": 12345}


def test_one_io_worker_has_no_shard_ring() -> None:
    specs = wiring.expand(1, SIZES)
    assert len(specs) == len(wiring.WIRING) - 1
    assert not [s for s in specs if s.producer.role is s.consumer.role]


@pytest.mark.parametrize("io_workers", [1, 2, 3, 8])
def test_each_pair_has_at_most_one_ring_in_a_direction(io_workers: int) -> None:
    specs = wiring.expand(io_workers, SIZES)
    pairs = Counter((s.producer, s.consumer) for s in specs)
    assert set(pairs.values()) == {1}
    assert [s.index for s in specs] == list(range(len(specs)))
    assert sum(1 for s in specs if s.row.producer is s.row.consumer) == io_workers * (io_workers - 1)
    ends = {end for pair in pairs for end in pair}
    assert ends == set(wiring.endpoints(io_workers))


def test_every_worker_and_the_supervisor_hear_each_other() -> None:
    pairs = {(row.producer, row.consumer) for row in wiring.WIRING}
    for role in (Role.GOSSIP, Role.REPLICATION, Role.ADMIN, Role.IO):
        assert (Role.SUPERVISOR, role) in pairs and (role, Role.SUPERVISOR) in pairs


def test_sizes_are_powers_of_two_at_least_as_asked() -> None:
    for spec in wiring.expand(2, SIZES):
        asked = SIZES[spec.row.size] if isinstance(spec.row.size, str) else spec.row.size
        assert spec.capacity_bytes.bit_count() == 1
        assert asked <= spec.capacity_bytes < 2 * asked
    tiny = wiring.expand(2, dict.fromkeys(SIZES, 1))
    assert min(spec.capacity_bytes for spec in tiny) == 32


def test_bounds_come_from_the_config() -> None:
    lane = next(s for s in wiring.expand(1, SIZES) if s.policy is FullPolicy.OVERFLOW)
    assert (lane.capacity_bytes, lane.bound_bytes) == (1 << 20, 12345)
    assert (lane.producer, lane.consumer) == (Endpoint(Role.IO, 0), Endpoint(Role.REPLICATION, 0))
    assert wiring.size_keys() == set(SIZES)
    with pytest.raises(KeyError):
        wiring.expand(1, {})


def test_a_policy_that_waits_without_end_has_a_bound() -> None:
    for row in wiring.WIRING:
        assert bool(row.bound) == (row.policy in (FullPolicy.QUEUE, FullPolicy.OVERFLOW))


def test_every_message_travels_somewhere_and_exists() -> None:
    carried = {i for row in wiring.WIRING for i in row.message_ids}
    assert carried == set(messages.MESSAGES)


def test_the_datastore_has_a_record_but_no_ring() -> None:
    assert set(wiring.slab_processes(3)) - set(wiring.endpoints(3)) == {Endpoint(Role.DATASTORE, 0)}


def test_text() -> None:
    assert str(Endpoint(Role.IO, 2)) == "io[2]"
    assert wiring.expand(1, SIZES)[0].name == "supervisor[0] > gossip[0]"
    text = wiring.describe()
    assert "io > replication: replicate, " in text and "; replication_ring_bytes" in text
    assert text.count("full:") == len(wiring.WIRING)
