"""What is known about one member, which of two pieces of news about it is newer, and their form in a packet.

    Member = who (node_id) + what it says of itself (Profile, state, hints) + what is thought of it (Liveness)
    News   = one such statement on its way; without a profile when the profile is not what changed

News about one member are totally ordered by (boot, incarnation, liveness): only the member itself raises its boot and
incarnation, others may only make it SUSPECT, DOWN or LEFT within one. So it does not matter in which order news come,
nor how often.

Not here: the table of members and who wins a place (membership_view.py), when to suspect (failure.py).

Invariants: a Profile that exists is valid (names without separators, a host that is not a wildcard, ports and tokens in
range, tokens sorted and distinct); decode() returns valid News or raises BadNews, whatever the bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import ip_address
from typing import Any

import msgpack  # type: ignore[import-untyped]

from dynomite_mp.cluster.failure import RoundTrip, Suspicion
from dynomite_mp.cluster.topology import LARGEST_TOKEN
from dynomite_mp.config_values import NAME_SEPARATORS
from dynomite_mp.enums import NodeState
from dynomite_mp.errors import TopologyError

Address = tuple[str, int]

LARGEST_ID = 2**64 - 1
LARGEST_NUMBER = 2**53
NAME_LIMIT = 255
TOKENS_LIMIT = 8192
HINTS_LIMIT = 4096
TOKEN_BYTES = 4


class Liveness(IntEnum):
    """What is thought of a member; of two opinions about the same incarnation the larger one wins."""

    ALIVE = 0
    SUSPECT = 1
    DOWN = 2
    LEFT = 3


class BadNews(ValueError):
    """Bytes or values that no member sends."""


def is_wildcard(host: str) -> bool:
    """`0.0.0.0`, `::` and the like: an address to listen on, never one to reach somebody by."""
    if host in ("", "*"):
        return True
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Profile:
    """What a node says of itself and rarely changes."""

    dc: str
    rack: str
    tokens: tuple[int, ...]
    host: str
    port: int
    """Peer port, TCP and UDP alike."""
    client_port: int = 0
    stats_port: int = 0
    hash: str = "murmur"
    hash_tag: bytes = b""
    version: str = ""
    claim: int = 0
    """Of two nodes with one place (datacenter, rack, tokens) the one with the higher claim has it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(sorted(set(self.tokens))))
        if problem := self._problem():
            raise TopologyError(f"node {self.host}:{self.port} {problem}", "")

    def _problem(self) -> str:
        for name in (self.dc, self.rack):
            if not 0 < len(name) <= NAME_LIMIT or any(c in NAME_SEPARATORS or not c.isprintable() for c in name):
                return f"has an unusable datacenter or rack name {name[:NAME_LIMIT]!r}"
        if is_wildcard(self.host) or len(self.host) > NAME_LIMIT or any(c in "$,|" or c <= " " for c in self.host):
            return "has an address by which nobody can reach it; set advertise:"
        if not 0 < self.port <= 65535 or not 0 <= self.client_port <= 65535 or not 0 <= self.stats_port <= 65535:
            return "has a port that is none"
        if not 0 < len(self.tokens) <= TOKENS_LIMIT or self.tokens[0] < 0 or self.tokens[-1] > LARGEST_TOKEN:
            return "has no token, too many, or one that is out of range"
        return ""

    @property
    def address(self) -> Address:
        return self.host, self.port

    @property
    def place(self) -> tuple[str, str, tuple[int, ...]]:
        return self.dc, self.rack, self.tokens

    def to_plain(self) -> list[Any]:
        tokens = b"".join(token.to_bytes(TOKEN_BYTES, "big") for token in self.tokens)
        return [
            self.dc, self.rack, tokens, self.host, self.port, self.client_port, self.stats_port,
            self.hash, self.hash_tag, self.version, self.claim,
        ]  # fmt: skip

    @classmethod
    def from_plain(cls, plain: Any) -> "Profile":
        """The inverse; fields that a later version appends are ignored."""
        if not isinstance(plain, list) or len(plain) < len(_PROFILE_TYPES):
            raise BadNews("a profile is a longer list")
        for place, kind in enumerate(_PROFILE_TYPES):
            value = plain[place]
            if type(value) is not kind or (isinstance(value, int) and not 0 <= value <= LARGEST_NUMBER):
                raise BadNews(f"a profile holds {value!r}")
        dc, rack, tokens, host, port, client_port, stats_port, hash_name, hash_tag, version, claim, *_ = plain
        if len(tokens) % TOKEN_BYTES or len(hash_name) > NAME_LIMIT or len(hash_tag) > 2 or len(version) > NAME_LIMIT:
            raise BadNews("a profile's tokens or names have a wrong length")
        numbers = tuple(int.from_bytes(tokens[i : i + TOKEN_BYTES], "big") for i in range(0, len(tokens), TOKEN_BYTES))
        try:
            return cls(dc, rack, numbers, host, port, client_port, stats_port, hash_name, hash_tag, version, claim)
        except TopologyError as problem:
            raise BadNews(problem.detail) from problem


_PROFILE_TYPES = (str, str, bytes, str, int, int, int, str, bytes, str, int)


@dataclass(frozen=True, slots=True)
class News:
    """One statement about one member. `by` is who suspects it, 0 when nobody does."""

    node_id: int
    boot: int
    incarnation: int
    liveness: Liveness
    state: NodeState
    edition: int
    """Incarnation in which the profile last changed: tells whether a profile known elsewhere is this one."""
    hints: Mapping[int, int] = field(default_factory=dict)
    by: int = 0
    profile: Profile | None = None

    @property
    def rank(self) -> tuple[int, int, int]:
        return self.boot, self.incarnation, self.liveness

    def encode(self) -> bytes:
        plain = [
            self.node_id, self.boot, self.incarnation, self.liveness, self.state, self.edition,
            dict(self.hints), self.by, self.profile.to_plain() if self.profile else None,
        ]  # fmt: skip
        packed: bytes = msgpack.packb(plain)
        return packed


def decode(plain: Any) -> News:
    """News from an unpacked list; fields that a later version appends are ignored."""
    if not isinstance(plain, list) or len(plain) < 9:
        raise BadNews("news is a longer list")
    node_id, boot, incarnation, liveness, state, edition, hints, by, profile, *_ = plain
    for number in (boot, incarnation, liveness, state, edition):
        if type(number) is not int or not 0 <= number <= LARGEST_NUMBER:
            raise BadNews(f"news holds {number!r} where a number belongs")
    if not is_id(node_id) or not (by == 0 or is_id(by)) or edition > incarnation:
        raise BadNews("news holds a wrong id or edition")
    if not isinstance(hints, dict) or len(hints) > HINTS_LIMIT or not all(map(_is_hint, hints.items())):
        raise BadNews("news holds wrong hint figures")
    try:
        return News(
            node_id, boot, incarnation, Liveness(liveness), NodeState(state), edition, hints, by,
            None if profile is None else Profile.from_plain(profile),
        )  # fmt: skip
    except ValueError as problem:
        raise BadNews(str(problem)) from problem


def is_id(value: Any) -> bool:
    return type(value) is int and 0 < value <= LARGEST_ID


def _is_hint(item: tuple[Any, Any]) -> bool:
    return is_id(item[0]) and type(item[1]) is int and 0 <= item[1] <= LARGEST_NUMBER


class Member:
    """One member as this node knows it."""

    __slots__ = (
        "boot", "changed_ms", "edition", "heard_ms", "hints", "incarnation", "liveness", "node_id", "profile",
        "round_trip", "stamp", "state", "suspicion",
    )  # fmt: skip

    def __init__(self, news: News, profile: Profile, now_ms: int) -> None:
        self.node_id = news.node_id
        self.boot = news.boot
        self.incarnation = news.incarnation
        self.liveness = news.liveness
        self.state = news.state
        self.edition = news.edition
        self.hints = news.hints
        self.profile = profile
        self.suspicion: Suspicion | None = None
        self.round_trip = RoundTrip()
        self.heard_ms = 0
        """Last direct answer of it to this node."""
        self.changed_ms = now_ms
        """Since when its liveness is what it is."""
        self.stamp = 0
        """Its hybrid clock, as last heard."""

    @property
    def rank(self) -> tuple[int, int, int]:
        return self.boot, self.incarnation, self.liveness

    @property
    def address(self) -> Address:
        return self.profile.address

    @property
    def is_present(self) -> bool:
        """Alive or suspected: takes part in everything."""
        return self.liveness <= Liveness.SUSPECT

    @property
    def shown_state(self) -> NodeState:
        """The state that others act on."""
        return self.state if self.is_present else NodeState.DOWN

    def news(self, *, full: bool = False, by: int = 0) -> News:
        return News(
            self.node_id, self.boot, self.incarnation, self.liveness, self.state, self.edition, self.hints, by,
            self.profile if full else None,
        )  # fmt: skip


def tokens_text(tokens: Sequence[int]) -> str:
    """Tokens for a log line."""
    shown = ",".join(str(token) for token in tokens[:4])
    return shown + (f",... ({len(tokens)})" if len(tokens) > 4 else "")
