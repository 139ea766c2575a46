"""The shape of a cluster on one machine, and the configuration of each of its nodes. Pure but for names of directories.

    Layout.even(2, 3, 2)                      2 datacenters of 3 racks of 2 nodes
    Layout.parse(["dc1=2,2,2", "dc2=3"])      datacenters may differ: nodes per rack, for each datacenter
    layout.places()                           dc1-rack1-1, dc1-rack1-2, dc1-rack2-1, ...

Invariant: the tokens of every rack are even, for the hash function that is configured.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dynomite_mp.config_values import TOKEN_SPACE, InvalidValue, read_name
from dynomite_mp.errors import DynomiteError
from dynomite_mp.settings import DEFAULT_POOL

MAX_NODES = 254
# Hash functions whose results do not fill the 32 bits of a token.
HASH_SPACES: Mapping[str, int] = {"crc32": 2**15, "redis_slot": 2**14}
# Keys that the cluster sets, each node its own value.
NODE_KEYS = frozenset(
    {"listen", "dyn_listen", "stats_listen", "advertise", "datacenter", "rack", "tokens", "dyn_seeds", "servers",
     "data_dir", "runtime_dir", "pid_file"}
)  # fmt: skip
# All nodes are on one machine and its /dev/shm may be small: about 4 MiB of it a node.
DEFAULTS: Mapping[str, str] = {"io_ring_bytes": str(256 * 1024), "replication_ring_bytes": str(1024 * 1024)}

_LAYOUT = re.compile(r"([^=]+)=(\d+(?:,\d+)*)")
_PLAIN_SCALAR = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_/.:,-]*")


class LayoutError(DynomiteError):
    """No cluster has this shape."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands."""

    datacenter: str
    rack: str
    number: int  # in its rack, from 1
    rack_size: int

    @property
    def name(self) -> str:
        return f"{self.datacenter}-{self.rack}-{self.number}"

    def token(self, hash_name: str) -> int:
        return even_tokens(self.rack_size, hash_name)[self.number - 1]


@dataclass(frozen=True, slots=True)
class Layout:
    """The number of nodes of every rack of every datacenter."""

    racks: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        sizes = [size for racks in self.racks.values() for size in racks]
        if not sizes or not all(self.racks.values()) or min(sizes) < 1:
            raise LayoutError(f"{self} has a rack or datacenter without a node", "say at least 1 everywhere")
        if sum(sizes) > MAX_NODES:
            raise LayoutError(f"{self} has {sum(sizes)} nodes", f"one block of addresses has room for {MAX_NODES}")
        for datacenter in self.racks:
            check_name(datacenter)

    @classmethod
    def even(cls, datacenters: int, racks: int, nodes: int) -> "Layout":
        """The same everywhere: so many datacenters, racks in each, nodes in each of those."""
        return cls({f"dc{number}": (nodes,) * racks for number in range(1, datacenters + 1)})

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Layout":
        """One text a datacenter, `name=nodes,nodes,...` with a number for every rack."""
        racks: dict[str, tuple[int, ...]] = {}
        for text in texts:
            match = _LAYOUT.fullmatch(text)
            if match is None:
                raise LayoutError(f"{text!r} is no layout of a datacenter", "for example dc1=2,2,2: 3 racks of 2 nodes")
            if match[1] in racks:
                raise LayoutError(f"datacenter {match[1]} is given twice", "name every rack of it in one --layout")
            racks[match[1]] = tuple(map(int, match[2].split(",")))
        return cls(racks)

    @property
    def node_count(self) -> int:
        return sum(map(sum, self.racks.values()))

    def places(self) -> Iterator[Place]:
        for datacenter, sizes in self.racks.items():
            for number, size in enumerate(sizes, 1):
                for place in range(1, size + 1):
                    yield Place(datacenter, f"rack{number}", place, size)

    def __str__(self) -> str:
        return " ".join(f"{name}={','.join(map(str, sizes))}" for name, sizes in self.racks.items())


def check_name(datacenter: str) -> None:
    """A name that is also one of a directory and of a node."""
    try:
        read_name(datacenter)
    except InvalidValue as error:
        raise LayoutError(f"{datacenter!r} cannot name a datacenter: {error.reason}", error.hint) from error
    if "/" in datacenter or datacenter.startswith("."):
        raise LayoutError(f"{datacenter!r} cannot name a datacenter", "it names directories: no slash, no dot first")


def even_tokens(count: int, hash_name: str = "murmur") -> list[int]:
    """Tokens that give `count` nodes equal parts of what the hash function can return."""
    step = HASH_SPACES.get(hash_name, TOKEN_SPACE) // count
    return [step * number for number in range(count)]


def conf_text(settings: Mapping[str, str | Sequence[str]]) -> str:
    """A configuration file, in a shape that C Dynomite reads too."""
    lines = [f"{DEFAULT_POOL}:"]
    for key, value in settings.items():
        if isinstance(value, str):
            lines.append(f"  {key}: {scalar(value)}")
        elif value:
            lines += [f"  {key}:", *(f"  - {scalar(item)}" for item in value)]
    return "\n".join(lines) + "\n"


def scalar(text: str) -> str:
    """A YAML scalar: JSON's quotes are YAML's."""
    return text if _PLAIN_SCALAR.fullmatch(text) else json.dumps(text)
