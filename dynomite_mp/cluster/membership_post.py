"""The outgoing side of membership: packets with rumours on them, events and figures, until the caller takes them.

Nothing is sent here: a packet is a pair (address, bytes) in `Outputs`, and the owner of a socket sends it.

Invariants: a packet to somebody who is suspected or called down carries that very news, so that he can protest at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from dynomite_mp.cluster.failure import Timings, retransmissions
from dynomite_mp.cluster.membership_packets import PACKET_BYTES, Kind, Writer
from dynomite_mp.cluster.membership_record import Address, Liveness, Member
from dynomite_mp.cluster.membership_rumours import Rumours
from dynomite_mp.cluster.membership_view import View

if TYPE_CHECKING:
    from random import Random

_HEAD_ROOM_BYTES = 100
_SEQUENCES = 2**32


class Happened(Enum):
    """What there is to know about a change."""

    JOINED = auto()
    UP = auto()
    """It was down and is back."""
    SUSPECTED = auto()
    DOWN = auto()
    LEFT = auto()
    CHANGED = auto()
    """Its state, address, tokens or hint figures are others."""
    REPLACED = auto()
    """Another node has its place now."""
    GUEST = auto()
    """A C node appeared or has another address."""
    ANNOUNCED = auto()
    """This node: the others are told of it from now on."""
    PLACE_TAKEN = auto()
    """This node: another one that lives has its tokens; it waits until that one is gone."""
    PLACE_LOST = auto()
    """This node: another one has taken its tokens."""
    TWIN = auto()
    """This node: another one that lives has its node id, as after a copy of the data directory."""
    BOOT_BEHIND = auto()
    """This node: the others remember a higher boot number of it, as after an old copy of the data directory."""
    REFUTED = auto()
    """This node: it was suspected or called down, and protests."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, for the log and for those who act on it."""

    happened: Happened
    node_id: int
    address: Address
    detail: str = ""


@dataclass(slots=True)
class Outputs:
    """What the caller has to do: send, tell, and call tick() again by next_wakeup_ms."""

    packets: list[tuple[Address, bytes]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    next_wakeup_ms: int = 0


@dataclass(slots=True)
class Figures:
    """Counts since the start."""

    packets_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    bad_packets: int = 0
    bad_signatures: int = 0
    probes: int = 0
    probes_failed: int = 0
    suspicions: int = 0
    refutations: int = 0
    downs: int = 0
    exchanges: int = 0
    late_wakeups: int = 0


class Post:
    """What all parts of one node's membership send through."""

    def __init__(self, writer: Writer, view: View, timings: Timings, rng: "Random") -> None:
        self.rumours = Rumours()
        self.figures = Figures()
        self._writer = writer
        self._view = view
        self._timings = timings
        self._sequence = rng.randrange(_SEQUENCES)
        self._outputs = Outputs()
        self._population = -1
        self._times = 0

    def sequence(self) -> int:
        """A number for a question, by which its answer is known."""
        self._sequence = (self._sequence + 1) % _SEQUENCES
        return self._sequence

    def send(
        self, to: Address, kind: Kind, body: Sequence[Any], about: Member | None = None, extra: Sequence[bytes] = ()
    ) -> None:
        """A packet with as many rumours as fit; `about` is the receiver, as far as it is a known member."""
        notice = list(extra)
        if about is not None and about.liveness in _ACCUSED:
            notice.append(about.news(full=False).encode())
        room_bytes = PACKET_BYTES - _HEAD_ROOM_BYTES - sum(map(len, notice))
        if len(self.rumours):
            notice += self.rumours.take(room_bytes, self._times_told())
        self._put(to, self._writer.encode(kind, self._view.fingerprint, body, notice))

    def send_records(self, to: Address, body: Sequence[Any], records: Sequence[bytes]) -> None:
        """A packet with these records and nothing else."""
        self._put(to, self._writer.encode(Kind.RECORDS, self._view.fingerprint, body, records))

    def _put(self, to: Address, data: bytes) -> None:
        self._outputs.packets.append((to, data))
        self.figures.packets_out += 1
        self.figures.bytes_out += len(data)

    def _times_told(self) -> int:
        population = len(self._view.present())
        if population != self._population:
            self._population = population
            self._times = max(1, retransmissions(self._timings, population))
        return self._times

    def event(self, happened: Happened, member: Member, detail: str = "") -> None:
        self.event_at(happened, member.node_id, member.address, detail)

    def event_at(self, happened: Happened, node_id: int, address: Address, detail: str = "") -> None:
        self._outputs.events.append(Event(happened, node_id, address, detail))

    def collect(self) -> Outputs:
        """All that was sent since the last call."""
        outputs, self._outputs = self._outputs, Outputs()
        return outputs


_ACCUSED = (Liveness.SUSPECT, Liveness.DOWN)
