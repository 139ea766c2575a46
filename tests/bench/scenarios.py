"""Which contenders meet under which loads, and the figures that are wanted of the node.

A scenario is a row of SCENARIOS; a goal says: this figure of the node, divided by the same figure of that contender, is
at most this. Goals beyond a contender that is missing are not judged.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.clusters import Layout
from tests.bench.redis_benchmark import Load

NODE = "dynomite-mp"


@dataclass(frozen=True)
class Goal:
    """A wanted ratio: `figure` of the node over that of `against`, under each load in `loads`."""

    figure: str  # a field of measure.Round
    loads: tuple[str, ...]
    against: str
    at_most: float
    hoped: float | None = None  # what the design hopes for beyond it; printed, not judged


@dataclass(frozen=True)
class Part:
    """Loads on the same contenders: single nodes, or clusters of one layout."""

    loads: tuple[Load, ...]
    layout: Layout | None = None


@dataclass(frozen=True)
class Scenario:
    """Contenders, loads and goals."""

    name: str
    what: str
    peers: tuple[str, ...]
    parts: tuple[Part, ...]
    goals: tuple[Goal, ...]

    @property
    def loads(self) -> list[Load]:
        return [load for part in self.parts for load in part.loads]


PLAIN = ("GET", "SET")
PIPELINED = ("GET -P 16", "SET -P 16")
ALONE = ("GET -c 1", "SET -c 1")

SINGLE_LOADS = (
    Load("SET", "SET", 50, 1, 100_000, 20_000),
    Load("GET", "GET", 50, 1, 100_000, 20_000),
    Load("SET -P 16", "SET", 50, 16, 2_000_000, 80_000),
    Load("GET -P 16", "GET", 50, 16, 2_000_000, 80_000),
    Load("SET -c 1", "SET", 1, 1, 20_000, 4_000),
    Load("GET -c 1", "GET", 1, 1, 20_000, 4_000),
)

ONE_PLAIN = "3 racks DC_ONE SET"
ONE_PIPELINED = "3 racks DC_ONE SET -P 16"
QUORUM_PLAIN = "3 racks DC_QUORUM SET"
FORWARDED = "1 rack of 2 GET -P 16"

SCENARIOS = {
    "single": Scenario(
        name="single",
        what="one node in front of one datastore",
        peers=(NODE, "dynomite-c", "nutcracker", "redis"),
        parts=(Part(SINGLE_LOADS),),
        goals=(
            Goal("cpu_us", PLAIN, "dynomite-c", 0.70, 0.65),
            Goal("cpu_us", PLAIN, "redis", 1.05, 1.0),
            Goal("cpu_us", PLAIN, "nutcracker", 0.85),
            Goal("cpu_us", PIPELINED, "dynomite-c", 0.30, 0.25),
            Goal("cpu_us", PIPELINED, "nutcracker", 0.35),
            Goal("added_ms", ALONE, "dynomite-c", 1.0),
            Goal("p99_ms", PLAIN, "dynomite-c", 1.0),
        ),
    ),
    "cluster": Scenario(
        name="cluster",
        what="clusters, every node in front of a datastore of its own",
        peers=(NODE, "dynomite-c"),
        parts=(
            Part(
                (
                    Load(ONE_PLAIN, "SET", 50, 1, 50_000, 10_000),
                    Load(ONE_PIPELINED, "SET", 50, 16, 200_000, 40_000),
                ),
                Layout("3 racks DC_ONE", (1, 1, 1), "DC_ONE"),
            ),
            Part(
                (Load(QUORUM_PLAIN, "SET", 50, 1, 50_000, 10_000),),
                Layout("3 racks DC_QUORUM", (1, 1, 1), "DC_QUORUM"),
            ),
            Part(
                (Load(FORWARDED, "GET", 50, 16, 200_000, 40_000),),
                Layout("1 rack of 2 nodes", (2,), "DC_ONE"),
            ),
        ),
        goals=(
            Goal("coordinator_cpu_us", (ONE_PLAIN,), "dynomite-c", 0.65, 0.60),
            Goal("cpu_us", (ONE_PIPELINED,), "dynomite-c", 0.25, 0.20),
            Goal("cpu_us", (QUORUM_PLAIN,), "dynomite-c", 0.65, 0.60),
            Goal("cpu_us", (FORWARDED,), "dynomite-c", 0.35, 0.30),
        ),
    ),
}
