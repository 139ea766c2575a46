"""Which contenders meet under which loads, and the figures that are wanted of the node.

A scenario is a row of SCENARIOS; a goal says: this figure of the node, divided by the same figure of that contender, is
at most this. Goals beyond a contender that is missing are not judged.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.redis_benchmark import Load

NODE = "dynomite-mp"


@dataclass(frozen=True)
class Goal:
    """A wanted ratio: `figure` of the node over that of `against`, under each load in `loads`."""

    figure: str  # a field of measure.Round
    loads: tuple[str, ...]
    against: str
    at_most: float


@dataclass(frozen=True)
class Scenario:
    """Contenders, loads and goals."""

    name: str
    what: str
    peers: tuple[str, ...]
    loads: tuple[Load, ...]
    goals: tuple[Goal, ...]


PLAIN = ("GET", "SET")
PIPELINED = ("GET -P 16", "SET -P 16")
ALONE = ("GET -c 1", "SET -c 1")

SINGLE_LOADS = (
    Load("SET", "SET", 50, 1, 100_000, 20_000),
    Load("GET", "GET", 50, 1, 100_000, 20_000),
    Load("SET -P 16", "SET", 50, 16, 400_000, 80_000),
    Load("GET -P 16", "GET", 50, 16, 400_000, 80_000),
    Load("SET -c 1", "SET", 1, 1, 20_000, 4_000),
    Load("GET -c 1", "GET", 1, 1, 20_000, 4_000),
)

SCENARIOS = {
    "single": Scenario(
        name="single",
        what="one node in front of one datastore",
        peers=(NODE, "dynomite-c", "nutcracker", "redis"),
        loads=SINGLE_LOADS,
        goals=(
            Goal("cpu_us", PLAIN, "dynomite-c", 0.70),
            Goal("cpu_us", PLAIN, "redis", 1.05),
            Goal("cpu_us", PLAIN, "nutcracker", 0.85),
            Goal("cpu_us", PIPELINED, "dynomite-c", 0.30),
            Goal("cpu_us", PIPELINED, "nutcracker", 0.35),
            Goal("added_ms", ALONE, "dynomite-c", 1.0),
            Goal("p99_ms", PLAIN, "dynomite-c", 1.0),
        ),
    ),
}
