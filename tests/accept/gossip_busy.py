"""Twelve gossip processes on a machine that is busy with something else: nobody is called down who lives, and a killed
process is known to all within three seconds.

    python -m tests.accept.gossip_busy [--nodes 12] [--hogs 8] [--seconds 60] [--kills 3]

Each node is a process of its own with a real UDP socket on 127.0.90.N; hogs are processes that only compute.
"""

import argparse
import asyncio
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

TOPIC = "gossip"
TITLE = "12 nodes beside 8 busy processes: no false alarm, a killed one known to all in 3 s"
LIMIT_MS = 3000
PORT = 8190
HOG = "while True: pass"
SETTLE_S = 30.0


# ---- a node's process ------------------------------------------------------------------------------------------------


async def node(number: int, count: int) -> None:
    """Gossip until the parent closes standard input; events go to standard output as they happen."""
    from dynomite_mp.cluster.membership_own import Identity
    from dynomite_mp.cluster.membership_record import Profile
    from dynomite_mp.config_values import Address, Seed
    from dynomite_mp.enums import NodeState
    from dynomite_mp.workers.gossip_sockets import GossipSettings, GossipSockets
    from dynomite_mp.workers.seed_sources import SimpleSource

    def say(**fields: Any) -> None:
        os.write(1, json.dumps({"node": number, "at_s": time.monotonic(), **fields}).encode() + b"\n")

    seeds = [
        Seed(Address(f"127.0.90.{other}", PORT), f"rack{other % 3}", "dc1", (other,), str(other))
        for other in range(1, count + 1)
        if other != number
    ]
    address = (f"127.0.90.{number}", PORT)
    profile = Profile("dc1", f"rack{number % 3}", (number,), *address)
    gossip = GossipSockets(
        GossipSettings(Identity(number, 1, profile, NodeState.NORMAL), address),
        SimpleSource(seeds),
        lambda version, blob: say(event="TOPOLOGY", other=len(gossip.membership.view.present())),
        lambda event: say(event=event.happened.name, other=event.node_id),
    )
    await gossip.start()
    closed = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_reader(0, lambda: closed.done() or closed.set_result(None))
    await closed
    figures = gossip.membership.figures
    used = os.times()
    say(
        event="END", other=0, cpu_s=used.user + used.system, packets=figures.packets_in + figures.packets_out,
        late=figures.late_wakeups, suspicions=figures.suspicions, probes_failed=figures.probes_failed,
    )  # fmt: skip


# ---- the parent ------------------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """All processes, and what the nodes have said."""

    count: int
    nodes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    hogs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    present: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.rest: dict[int, bytes] = {}
        for number in range(1, self.count + 1):
            command = [
                sys.executable,
                "-m",
                __spec__.name if __spec__ else __name__,
                "--node",
                str(number),
                str(self.count),
            ]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.nodes[number] = process
            self.selector.register(process.stdout, selectors.EVENT_READ, number)  # type: ignore[arg-type]

    def burden(self, hogs: int) -> None:
        self.hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(hogs)]

    def listen(self, seconds: float, until: Any = lambda: False) -> bool:
        """Read what nodes say for so long, or until something holds."""
        end_s = time.monotonic() + seconds
        while not until():
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return False
            for key, _ in self.selector.select(left_s):
                data = os.read(key.fd, 65536)
                if not data:
                    self.selector.unregister(key.fileobj)
                    continue
                *lines, self.rest[key.fd] = (self.rest.get(key.fd, b"") + data).split(b"\n")
                for said in map(json.loads, lines):
                    if said["event"] == "TOPOLOGY":
                        self.present[said["node"]] = said["other"]
                    else:
                        self.said.append(said)
        return True

    def downs(self, number: int) -> list[dict[str, Any]]:
        return [said for said in self.said if said["event"] == "DOWN" and said["other"] == number]

    def close(self) -> None:
        for process in self.nodes.values():
            if process.stdin and not process.stdin.closed:
                process.stdin.close()
        self.listen(5.0, lambda: not self.selector.get_map())
        for process in [*self.nodes.values(), *self.hogs]:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="gossip_busy")
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--hogs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=3)
    options = parser.parse_args(list(argv))
    stage = Stage(options.nodes)
    try:
        return watch(stage, options)
    finally:
        stage.close()
        report_costs(stage)


def watch(stage: Stage, options: argparse.Namespace) -> int:
    started_s = time.monotonic()
    everybody = options.nodes - 1
    if not stage.listen(SETTLE_S, lambda: list(stage.present.values()) == [everybody] * options.nodes):
        print(f"the nodes did not find each other in {SETTLE_S:.0f} s: {stage.present}")
        return 1
    print(f"{options.nodes} nodes know each other {time.monotonic() - started_s:.1f} s after the first process started")
    stage.burden(options.hogs)
    stage.listen(options.seconds)
    false = [said for said in stage.said if said["event"] == "DOWN"]
    suspected = sum(said["event"] == "SUSPECTED" for said in stage.said)
    print(
        f"{options.seconds:.0f} s beside {options.hogs} busy processes: {len(false)} called down, {suspected} suspected"
    )
    failed = bool(false)
    for number in range(1, options.kills + 1):
        killed_s = time.monotonic()
        stage.nodes[number].send_signal(signal.SIGKILL)
        known = stage.listen(10.0, lambda n=number: len(stage.downs(n)) >= options.nodes - n)
        last_ms = max((said["at_s"] - killed_s for said in stage.downs(number)), default=10.0) * 1000
        knowing = f"{len(stage.downs(number))} of {options.nodes - number}"
        print(f"node {number} killed: known to {knowing} after {last_ms:.0f} ms")
        failed = failed or not known or last_ms > LIMIT_MS
        stage.listen(2.0)
    return int(failed)


def report_costs(stage: Stage) -> None:
    ends = [said for said in stage.said if said["event"] == "END"]
    if ends:
        print(
            f"per gossip process: CPU {sum(e['cpu_s'] for e in ends) / len(ends):.2f} s, "
            f"{sum(e['packets'] for e in ends) / len(ends):.0f} packets, late wake-ups {[e['late'] for e in ends]}, "
            f"probes failed {[e['probes_failed'] for e in ends]}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--node"]:
        import uvloop

        asyncio.Runner(loop_factory=uvloop.new_event_loop).run(node(int(sys.argv[2]), int(sys.argv[3])))
    else:
        sys.exit(main(sys.argv[1:]))
