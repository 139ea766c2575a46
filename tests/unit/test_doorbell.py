"""The doorbell, and the sleep protocol on a model that walks every interleaving."""

import os
from collections.abc import Iterator

import pytest

from dynomite_mp.ipc.doorbell import Doorbell
from dynomite_mp.ipc.ring import SpscRing, footprint_bytes
from tests.models.ring_model import Protocol, explore


@pytest.fixture
def bell() -> Iterator[Doorbell]:
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    yield Doorbell(bytearray(128), 0, fd)
    os.close(fd)


def rung(bell: Doorbell) -> int:
    try:
        return os.eventfd_read(bell.fd)
    except BlockingIOError:
        return 0


def small_ring() -> SpscRing:
    return SpscRing(bytearray(footprint_bytes(128)), 0, 128, create=True)


def test_a_consumer_that_is_awake_is_not_rung(bell: Doorbell) -> None:
    bell.ring()
    assert rung(bell) == 0


def test_a_sleeping_consumer_is_rung(bell: Doorbell) -> None:
    assert bell.prepare_sleep() is True
    assert bell.is_sleeping
    bell.ring()
    bell.ring()
    assert rung(bell) == 2


def test_waking_lowers_the_flag_and_empties_the_bell(bell: Doorbell) -> None:
    bell.prepare_sleep()
    bell.ring()
    bell.awake()
    assert not bell.is_sleeping
    assert rung(bell) == 0
    bell.awake()  # nothing to read: does not block


def test_no_sleep_while_a_watched_ring_holds_a_record(bell: Doorbell) -> None:
    rings = [small_ring(), small_ring()]
    for ring in rings:
        bell.watch(ring)
    assert bell.prepare_sleep() is True
    bell.awake()
    rings[1].offer(1, b"x")
    assert bell.prepare_sleep() is False
    assert not bell.is_sleeping
    rings[1].peek()
    assert bell.prepare_sleep() is False  # seen is not handled
    rings[1].advance()
    assert bell.prepare_sleep() is True


def test_a_second_doorbell_over_the_same_flag_rings_for_the_first() -> None:
    memory = bytearray(256)
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    consumer, producer = Doorbell(memory, 128, fd), Doorbell(memory, 128, fd)
    consumer.prepare_sleep()
    producer.ring()
    assert rung(consumer) == 1
    os.close(fd)


def test_bounds(bell: Doorbell) -> None:
    with pytest.raises(ValueError, match="no flag fits"):
        Doorbell(bytearray(128), 128, bell.fd)
    for _ in range(64):
        bell.watch(small_ring())
    with pytest.raises(ValueError, match="at most 64"):
        bell.watch(small_ring())


def test_repr(bell: Doorbell) -> None:
    assert repr(bell) == f"<Doorbell fd={bell.fd} awake, 0 rings>"


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol(records=3),
        Protocol(records=2, producers=2),
        Protocol(records=2, deaths=2),
        Protocol(records=1, producers=2, deaths=1),
    ],
    ids=str,
)
def test_no_interleaving_loses_a_wake_up(protocol: Protocol) -> None:
    states, lost = explore(protocol)
    assert states > 100
    assert lost == []


@pytest.mark.parametrize(
    "broken",
    [
        Protocol(producer_fence=False),
        Protocol(consumer_fence=False),
        Protocol(consumer_looks_again=False),
        Protocol(successor_rings=False, deaths=1),
        Protocol(producer_lowers_flag=True, deaths=1),
    ],
    ids=["no-producer-fence", "no-consumer-fence", "no-second-look", "silent-successor", "flag-lowered-by-the-dead"],
)
def test_the_walk_finds_what_each_part_is_for(broken: Protocol) -> None:
    assert explore(broken)[1]
