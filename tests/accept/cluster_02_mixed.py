"""Clusters of C Dynomite and nodes of ours mixed: a dual run through nodes of both kinds, then every replica compared.

C takes RESP2 and the commands of its own table only, and what a node of ours forwards to a C node must be of them as
well, so the mix keeps to them; RESP3 clients talk to our nodes. The key of encrypted links is made for the run.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hiredis
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.accept.cluster_c_commands import only_of_c
from tests.accept.cluster_parts import LEVELS, Cluster, Layout, running_cluster, targets
from tests.accept.one_node import SKIPPED, Findings, options
from tests.e2e.c_node import c_binary
from tests.e2e.harness import wait_for
from tests.load.bare_store import BareStore
from tests.load.command_mix import CommandMix
from tests.load.command_rows import ALL_GROUPS
from tests.load.dual_run import DRIVER_NAMES, Address, Driver, DualRun, RawDriver
from tests.load.replies import read_frame

TOPIC = "cluster"
TITLE = "2: nodes of C Dynomite and ours in one cluster, plain and encrypted: dual run through both, replicas equal"
RAW_RESP2 = ("raw2",)
ONE_DC_LEVELS = LEVELS[:3]


@dataclass(frozen=True)
class Scenario:
    """A layout (o: ours, c: C) with settings, and the levels of its dual runs.

    C itself gets some wrong, also among C nodes alone: every quorum in a datacenter of one rack; and when peers of its
    own datacenter are encrypted every quorum, and with `all` the copies to other racks, which it encrypts a second
    time. `c_levels` and `c_copies` leave these out.
    """

    name: str
    layout: Layout
    levels: tuple[str, ...] = ONE_DC_LEVELS
    c_levels: tuple[str, ...] = ONE_DC_LEVELS
    c_copies: bool = True
    conf: dict[str, object] = field(default_factory=dict)


TWO_RACKS: Layout = {"dc1": {"r1": "oc", "r2": "co"}}
TWO_FAR_RACKS: Layout = {"dc1": {"r1": "oc", "r2": "co"}, "dc2": {"r1": "co", "r2": "oc"}}
ONE_FAR_RACK: Layout = {"dc1": {"r1": "oc"}, "dc2": {"r1": "co"}}
THREE_RACKS: Layout = {"dc1": {"r1": "oc", "r2": "co", "r3": "oo"}}
SCENARIOS = (
    Scenario("same rack and another, plain", TWO_RACKS),
    Scenario("three racks, plain", THREE_RACKS),
    Scenario("encrypted between racks", TWO_RACKS, c_levels=("DC_ONE",), conf={"secure_server_option": "rack"}),
    Scenario("encrypted everywhere", TWO_RACKS, c_levels=("DC_ONE",), c_copies=False,
             conf={"secure_server_option": "all"}),
    Scenario("encrypted between racks, two connections to a peer, 2 io workers", TWO_RACKS, c_levels=("DC_ONE",),
             conf={"secure_server_option": "rack", "local_peer_connections": 2, "io_workers": 2}),
    Scenario("two datacenters, plain", TWO_FAR_RACKS, levels=LEVELS),
    Scenario("two datacenters of a rack, plain", ONE_FAR_RACK, levels=LEVELS, c_levels=("DC_ONE",)),
    Scenario("C nodes far away only, plain", {"dc1": {"r1": "oo", "r2": "o"}, "dc2": {"r1": "cc"}}, levels=LEVELS,
             c_levels=("DC_ONE",)),
    Scenario("encrypted between datacenters", ONE_FAR_RACK, levels=LEVELS, c_levels=("DC_ONE",),
             conf={"secure_server_option": "datacenter"}),
    Scenario("two datacenters, encrypted everywhere", ONE_FAR_RACK, levels=LEVELS, c_levels=("DC_ONE",),
             c_copies=False, conf={"secure_server_option": "all"}),
)  # fmt: skip
SHORT = (SCENARIOS[0], SCENARIOS[3], SCENARIOS[6])


def main(argv: Sequence[str]) -> int:
    asked = options(argv, TITLE, is_dual=True)
    if c_binary() is None:
        print("DYNOMITE_BIN names no C Dynomite binary")
        return SKIPPED
    findings = Findings()
    for scenario in SHORT if asked.short else SCENARIOS:
        if asked.only not in scenario.name:
            continue
        print(f"{scenario.name}: {scenario.layout}")
        for line, problems in run_scenario(scenario, 300 if asked.short else 3000, asked.seed):
            for problem in problems[:10]:
                print(problem)
            findings.check(not problems, line)
    return findings.code


def run_scenario(scenario: Scenario, count: int, first_seed: int = 1) -> Iterator[tuple[str, list[str]]]:
    """A line and its problems for each level and kind of entry."""
    with tempfile.TemporaryDirectory(prefix="dmp-key-") as directory:
        conf = dict(scenario.conf)
        if "secure_server_option" in conf:
            conf["pem_key_file"] = make_key(Path(directory))
        with running_cluster(scenario.layout, **conf) as cluster, BareStore() as bare:
            reference = (bare.host, bare.port)
            for seed, level in enumerate(scenario.levels, first_seed):
                if level in scenario.c_levels:
                    prefix = f"{level}:both:".encode()
                    run = MixedRun(level, prefix, seed, is_through_c=True)
                    yield run.go(targets(cluster.nodes), reference, count, RAW_RESP2)
                    if scenario.c_copies:
                        yield compared(cluster, prefix)
                prefix = f"{level}:ours:".encode()
                yield MixedRun(level, prefix, seed).go(targets(cluster.ours), reference, count, DRIVER_NAMES)
                yield compared(cluster, prefix)


@dataclass(frozen=True)
class MixedRun:
    """The commands that C knows, at one level of every connection; the keys stay."""

    level: str
    prefix: bytes
    seed: int
    is_through_c: bool = False

    def go(
        self, at: Sequence[Address], reference: Address, count: int, drivers: Sequence[str]
    ) -> tuple[str, list[str]]:
        run = DualRun(at, reference, self.seed, drivers)
        try:
            for driver in run.to_target.values():
                say_level(driver, self.level)
            mix = CommandMix(self.seed, self.prefix, ALL_GROUPS, empty_key=False)
            run.run(itertools.islice(only_of_c(mix, self.level, self.is_through_c), count))
            run.compare_contents([key for _, key in mix.all_keys() if b"\0" not in key])
        finally:
            run.close()
        through = "nodes of both kinds" if self.is_through_c else "our nodes"
        line = f"{self.level} through {through}: {run.outcome.line()}"
        return line, [str(difference) for difference in run.outcome.differences]


def say_level(driver: Driver, level: str) -> None:
    """In one piece: C Dynomite closes the connection when this command comes in two."""
    command = (b"dyno_config:conn_consistency", level.encode())
    if isinstance(driver, RawDriver):
        driver.socket.sendall(hiredis.pack_command(command))
        reply = read_frame(driver.stream).value
    else:
        reply = driver.send([command])[0]
    if reply != b"OK":
        raise AssertionError(f"{level} was answered with {reply!r}")


def compared(cluster: Cluster, prefix: bytes) -> tuple[str, list[str]]:
    """Copies to other racks may still be on their way: equal within two seconds, or not."""
    problems = [""]

    def are_equal() -> bool:
        problems[:] = cluster.replica_problems(prefix)
        return not problems

    with contextlib.suppress(AssertionError):
        wait_for(are_equal, 2.0, poll_s=0.2)
    copies = cluster.keys_held(prefix)
    return f"  {copies} copies of keys, {len(problems)} keys not equal on exactly their owners", problems


def make_key(directory: Path) -> Path:
    """An RSA key as C Dynomite needs it: 1024 bits, PKCS#1."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    path = directory / "dynomite.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return path
