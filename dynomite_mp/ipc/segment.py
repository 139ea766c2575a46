"""The shared memory of a node: one segment with all doorbells and rings, one named segment with the counters.

The supervisor makes both before its first fork, and the eventfds with them; children inherit the mappings. Not who may
send what (wiring.py), not how (proxies.py).

    Fabric (supervisor)                      Port (one process)
    rings segment, unlinked at once    --->  inbound rings, own doorbell
    counter slab, named                      outbound rings, their consumers' doorbells
    one eventfd a process                    own slab record

Invariants: memory is really allocated (posix_fallocate) before it is mapped, because touching a page that /dev/shm has
no room for kills the process; a ring outlives the processes at its ends, so a restarted worker gets the same Port.
"""

import errno
import hashlib
import os
import time
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgpack  # type: ignore[import-untyped]
import posix_ipc  # type: ignore[import-not-found]

from dynomite_mp.enums import Role
from dynomite_mp.ipc import counter_table, layout, slab
from dynomite_mp.ipc.counters import SlabWriter, process_record_bytes
from dynomite_mp.ipc.doorbell import Doorbell
from dynomite_mp.ipc.mapping import Mapping
from dynomite_mp.ipc.ring import SpscRing, footprint_bytes
from dynomite_mp.ipc.wiring import Endpoint, RingSpec

MIB = 1024 * 1024


class SegmentError(Exception):
    """Shared memory could not be had. `hint` says what to change."""

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(f"{detail}; {hint}" if hint else detail)
        self.detail = detail
        self.hint = hint


def slab_name(data_dir: Path) -> str:
    """Name of the counter slab of the node whose data_dir this is: one per user and real path."""
    path_hash = hashlib.sha256(os.fsencode(os.path.realpath(data_dir))).hexdigest()[:16]
    return f"/{slab.name_prefix()}{path_hash}"


def allocate(name: str, size_bytes: int, hint: str) -> Mapping:
    """A new segment of that name, allocated and mapped; a stale one of the same name is replaced."""
    unlink(name)
    segment = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=0o600)
    try:
        os.posix_fallocate(segment.fd, 0, size_bytes)
        return Mapping(segment.fd, size_bytes)
    except OSError as problem:
        unlink(name)
        if problem.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EFBIG):
            raise SegmentError(f"shared memory {name}: {problem.strerror}") from problem
        free_bytes = os.statvfs(slab.SHM_DIRECTORY).f_bavail * os.statvfs(slab.SHM_DIRECTORY).f_frsize
        raise SegmentError(
            f"{size_bytes / MIB:.1f} MiB of shared memory needed, {free_bytes / MIB:.1f} MiB free in /dev/shm", hint
        ) from problem
    finally:
        segment.close_fd()


def unlink(name: str) -> None:
    """Remove the name, if it exists; mappings of it stay."""
    try:
        posix_ipc.unlink_shared_memory(name)
    except posix_ipc.ExistentialError:
        return


def size_hint(rings: Sequence[RingSpec]) -> str:
    """What to change when the rings do not fit: the config key behind most of the bytes."""
    by_key: dict[str, list[int]] = {}
    for spec in rings:
        if isinstance(spec.row.size, str):
            by_key.setdefault(spec.row.size, []).append(spec.capacity_bytes)
    container = "give the container more (docker run --shm-size=...)"
    if not by_key:
        return container
    key, sizes = max(by_key.items(), key=lambda item: sum(item[1]))
    return f"lower {key} (now {len(sizes)} x {sizes[0] / MIB:g} MiB) or {container}"


@dataclass(frozen=True, slots=True)
class Port:
    """All that one process may touch: its rings, bells and counters. Valid in the supervisor and in every fork."""

    endpoint: Endpoint
    inbound: list[tuple[Endpoint, SpscRing]]
    outbound: dict[Endpoint, SpscRing]
    specs: dict[Endpoint, RingSpec]
    doorbell: Doorbell
    doorbells: dict[Endpoint, Doorbell]
    slab: SlabWriter

    @property
    def fds(self) -> set[int]:
        """Descriptors that the process must keep open: its own eventfd and those it rings."""
        return {self.doorbell.fd, *(bell.fd for bell in self.doorbells.values())}

    def doorbell_of(self, endpoint: Endpoint) -> Doorbell:
        return self.doorbells[endpoint]

    def attach(self) -> None:
        """First thing in a (re)started process. A predecessor may have died after publishing and before ringing."""
        self.slab.reset_gauges()
        for bell in self.doorbells.values():
            bell.ring()

    def is_idle(self) -> bool:
        """No inbound ring holds a record."""
        return all(ring.is_empty() for _, ring in self.inbound)


class Fabric:
    """The node's shared memory; made once, by the supervisor, before the first fork."""

    def __init__(self, name: str, rings: Sequence[RingSpec], memory: Mapping, counters: Mapping) -> None:
        self.name = name
        self.specs = tuple(rings)
        self.processes = _processes(rings)
        self._owner_pid = os.getpid()
        self._counters = counters
        self._words = memoryview(counters).cast("Q")
        self._ring_rows_word = _slab_plan(len(self.processes), len(rings))["ring_offset"] // 8
        offset = len(self.processes) * layout.DOORBELL_BYTES
        self._doorbells = {
            endpoint: Doorbell(memory, i * layout.DOORBELL_BYTES, os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
            for i, endpoint in enumerate(self.processes)
            if endpoint.role is not Role.DATASTORE
        }
        self.rings: list[SpscRing] = []
        for spec in self.specs:
            ring = SpscRing(memory, offset, spec.capacity_bytes, create=True)
            offset += footprint_bytes(spec.capacity_bytes)
            self.rings.append(ring)
            self._doorbells[spec.consumer].watch(ring)

    @classmethod
    def create(cls, name: str, rings: Sequence[RingSpec], *, identity: MappingType[str, Any], boot_id: int) -> Self:
        """Make both segments and the eventfds. `name` is slab_name(data_dir); whoever calls holds data_dir's lock.

        `identity` is what `status` prints of the node: dc rack tokens listen dyn_listen stats_listen data_dir version.
        SegmentError when /dev/shm has no room.
        """
        processes = _processes(rings)
        hint = size_hint(rings)
        ring_bytes = sum(footprint_bytes(spec.capacity_bytes) for spec in rings)
        memory = allocate(f"{name}.rings", len(processes) * layout.DOORBELL_BYTES + ring_bytes, hint)
        unlink(f"{name}.rings")
        schema = {"cells": counter_table.cell_names(), "histograms": counter_table.histogram_names()}
        blobs = {"identity": msgpack.packb(dict(identity)), "schema": msgpack.packb(schema)}
        plan = _slab_plan(len(processes), len(rings), {key: len(blob) for key, blob in blobs.items()})
        counters = allocate(name, plan["total_bytes"], hint)
        fabric = cls(name, rings, memory, counters)
        fabric._write_slab(plan, blobs, boot_id)
        return fabric

    def _write_slab(self, plan: dict[str, int], blobs: dict[str, bytes], boot_id: int) -> None:
        start_ticks = slab.process_start_ticks(os.getpid())
        plan |= {
            "layout_version": layout.SLAB_LAYOUT_VERSION,
            "boot_id": boot_id,
            "supervisor_pid": os.getpid(),
            "supervisor_start_ticks": start_ticks or 0,
            "created_at_ns": time.time_ns(),
        }
        content = memoryview(self._counters)
        for key, blob in blobs.items():
            content[plan[f"{key}_offset"] : plan[f"{key}_offset"] + len(blob)] = blob
        for i, word in enumerate(layout.SLAB_HEADER_WORDS[1:], start=1):
            self._words[i] = plan[word]
        for endpoint in self.processes:
            record = self.process_slab(endpoint)
            record.set_header("role", endpoint.role)
            record.set_header("index", endpoint.index)
        self.publish_rings()
        self._words[0] = layout.SLAB_MAGIC

    def port(self, role: Role, index: int = 0) -> Port:
        """The port of one process; the same rings each time, so also for its successor."""
        endpoint = Endpoint(role, index)
        ends = list(zip(self.specs, self.rings, strict=True))
        outbound = {spec.consumer: ring for spec, ring in ends if spec.producer == endpoint}
        return Port(
            endpoint,
            [(spec.producer, ring) for spec, ring in ends if spec.consumer == endpoint],
            outbound,
            {spec.consumer: spec for spec in self.specs if spec.producer == endpoint},
            self._doorbells[endpoint],
            {consumer: self._doorbells[consumer] for consumer in outbound},
            self.process_slab(endpoint),
        )

    def process_slab(self, endpoint: Endpoint) -> SlabWriter:
        """The slab record of any process: the supervisor writes its header words (pid, state, boot_count, ...)."""
        place = self.processes.index(endpoint)
        return SlabWriter(self._counters, layout.SLAB_HEADER_BYTES + place * process_record_bytes())

    def publish_rings(self) -> None:
        """Copy every ring's figures into the slab; the supervisor does it once a second."""
        now_ns = time.monotonic_ns()
        for spec, ring in zip(self.specs, self.rings, strict=True):
            row = (
                spec.producer.role,
                spec.producer.index,
                spec.consumer.role,
                spec.consumer.index,
                ring.capacity_bytes,
                ring.depth_bytes,
                ring.high_water_bytes,
                ring.failed_offers,
                ring.records,
                ring.dropped,
                ring.producer_pos,
                ring.handler_errors,
                now_ns,
            )
            start = self._ring_rows_word + spec.index * layout.RING_ROW_WORDS
            for i, value in enumerate(row):
                self._words[start + i] = value

    @property
    def fds(self) -> set[int]:
        """Every eventfd; a child closes those that are not in its port."""
        return {bell.fd for bell in self._doorbells.values()}

    def close(self) -> None:
        """Close the eventfds and remove the slab's name. Does nothing in a forked child."""
        if os.getpid() != self._owner_pid:
            return
        self._owner_pid = 0
        for bell in self._doorbells.values():
            os.close(bell.fd)
        unlink(self.name)

    def __repr__(self) -> str:
        return f"<Fabric {self.name}, {len(self.rings)} rings, {len(self.processes)} processes>"


def _processes(rings: Sequence[RingSpec]) -> tuple[Endpoint, ...]:
    """Every process at an end of a ring, then the datastore, in slab order."""
    ends = {end for spec in rings for end in (spec.producer, spec.consumer)}
    return (*sorted(ends), Endpoint(Role.DATASTORE, 0))


def _slab_plan(processes: int, rings: int, blob_bytes: MappingType[str, int] | None = None) -> dict[str, int]:
    """Where everything lies in the slab."""
    plan = {
        "process_count": processes,
        "process_offset": layout.SLAB_HEADER_BYTES,
        "process_stride_bytes": process_record_bytes(),
        "cell_count": len(counter_table.cell_names()),
        "command_count": layout.COMMAND_CELLS,
        "histogram_count": len(counter_table.HISTOGRAMS),
        "histogram_words": layout.HISTOGRAM_WORDS,
        "ring_count": rings,
        "ring_offset": layout.SLAB_HEADER_BYTES + processes * process_record_bytes(),
        "ring_row_words": layout.RING_ROW_WORDS,
    }
    end = plan["ring_offset"] + rings * layout.RING_ROW_WORDS * 8
    for key, size_bytes in (blob_bytes or {}).items():
        plan[f"{key}_offset"] = end
        plan[f"{key}_bytes"] = size_bytes
        end = layout.align(end + size_bytes, 8)
    plan["total_bytes"] = end
    return plan
