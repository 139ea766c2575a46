"""Commands that must not happen twice, through every node of a datacenter of three racks, in peace and under kills.

    queue   10,000 elements, nine consumers (LPOP) at three nodes        each element is delivered once
    locks   1,000 rounds of SET NX through two racks at the same time    one winner a round

Under faults a node, all its processes but its datastore, is killed again and again and comes back: by its share of the
keys it is the lead of the queue or of the lock at hand now and then. Then nothing may happen twice: an element is
delivered at most once, and those that nobody got are at most as many as there were answers that say that the outcome is
unknown (or connections that were lost with the node); a lock has at most one winner, and what all replicas hold is its
value. Afterwards the replicas are equal.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from dynomite_mp.cluster.lead import LeadOrder
from tests.accept.cluster_03_failover import signal_all
from tests.accept.cluster_parts import Cluster, running_cluster
from tests.accept.one_node import Findings, options, seconds_until
from tests.e2e.harness import Node, Resp
from tests.load.bare_store import BareStore
from tests.models import token_model

TOPIC = "lost"
TITLE = "7: list elements are delivered once and locks have one winner, also while leads are killed"
RACKS = ("rack1", "rack2", "rack3")
STORE_PORT = 22122
QUEUE = "queue"
UNKNOWN = "outcome unknown"
CONSUMERS_PER_NODE = 3
AWAY_S = 1.5
PAUSE_S = 0.03  # of a client between two commands, while nodes are killed
CONVERGE_S = 60.0


@dataclass
class Seen:
    """What all clients got, by one lock-free list each."""

    elements: list[bytes] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # answers that say so, and lost connections
    refused: list[str] = field(default_factory=list)  # certainly not executed
    other: list[str] = field(default_factory=list)  # must not be


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    findings = Findings()
    elements, rounds = (1000, 100) if short else (10_000, 1000)
    with running_stage() as cluster:
        queue_in_peace(cluster, elements, findings)
        locks(cluster, rounds, findings, "in peace", None)
        for seed in range(1 if short else 3):
            queue_under_kills(cluster, elements, findings, Killer(cluster, seed, 1.0 if short else 4.0))
        locks(cluster, rounds, findings, "leads killed", Killer(cluster, 7, 1.0 if short else 4.0))
    return findings.code


@contextlib.contextmanager
def running_stage() -> Iterator[Cluster]:
    """Three racks of a node each; datastores that no node has started, so that they live on."""
    with contextlib.ExitStack() as stack:
        stores: list[BareStore] = []
        stack.callback(lambda: [store.__exit__(None, None, None) for store in stores])

        def with_store(nodes: list[Node]) -> None:
            for node in nodes:
                stores.append(BareStore(node.host, STORE_PORT))
                node.store = lambda host=node.host: Resp(host, STORE_PORT)  # type: ignore[method-assign]
                node.conf["servers"] = [f"{node.host}:{STORE_PORT}:1"]

        layout = {"dc1": dict.fromkeys(RACKS, "o")}
        yield stack.enter_context(running_cluster(layout, prepare=with_store))


class Killer:
    """Kills one node after another, every second time the queue's lead, and starts it again; a context."""

    def __init__(self, cluster: Cluster, seed: int, every_s: float) -> None:
        self.cluster = cluster
        self.kills = 0
        self._every_s = every_s
        self._lead = cluster.nodes[LeadOrder(RACKS).order(token_model.murmur(QUEUE.encode()))[0]]
        self._chance = random.Random(seed)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()
        self.cluster.wait_connected()

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            victim = self._chance.choice(self.cluster.nodes) if self.kills % 2 else self._lead
            signal_all(victim.processes(), signal.SIGKILL)
            victim.wait()
            self.kills += 1
            self._end.wait(AWAY_S)
            victim.start()


class Client:
    """A connection that is made again after every loss; one command at a time."""

    def __init__(self, node: Node, seen: Seen) -> None:
        self.node = node
        self.seen = seen
        self._resp: Resp | None = None

    def call(self, *words: str | bytes | int) -> object:
        """The reply; None with a note in `seen` for an error, whatever it was."""
        if self._resp is None:
            try:
                self._resp = self.node.connect(timeout_s=15.0)
            except OSError:
                time.sleep(0.05)
                return ConnectionError
        try:
            reply = self._resp.call(*words)
        except OSError as error:
            self._resp = None
            self.seen.unknown.append(f"{self.node.host}: {error!r}")
            return OSError
        if isinstance(reply, Exception):
            self._note(str(reply))
            return reply
        return reply

    def _note(self, text: str) -> None:
        if UNKNOWN in text:
            self.seen.unknown.append(text)
        elif "at the moment" in text or "shutting down" in text:
            self.seen.refused.append(text)
        else:
            self.seen.other.append(text)


# ---- the queue


def fill(cluster: Cluster, elements: int) -> None:
    with cluster.nodes[0].connect() as client:
        for start in range(0, elements, 500):
            client.call("RPUSH", QUEUE, *range(start, min(start + 500, elements)))


def consume(cluster: Cluster, pause_s: float = 0.0) -> Seen:
    """Pops with nine clients until every node says that the queue is empty."""
    seen = Seen()

    def run(node: Node) -> None:
        client = Client(node, seen)
        while True:
            reply = client.call("LPOP", QUEUE)
            if reply is None:
                return
            if isinstance(reply, bytes):
                seen.elements.append(reply)
            time.sleep(pause_s)

    together([lambda node=node: run(node) for node in cluster.nodes for _ in range(CONSUMERS_PER_NODE)])
    return seen


def together(runs: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=run) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def queue_in_peace(cluster: Cluster, elements: int, findings: Findings) -> None:
    fill(cluster, elements)
    started = time.monotonic()
    seen = consume(cluster)
    took_s = time.monotonic() - started
    counts = Counter(seen.elements)
    good = counts == Counter(b"%d" % n for n in range(elements)) and not (seen.unknown or seen.refused or seen.other)
    findings.check(
        good,
        f"queue in peace: {len(seen.elements)} of {elements} delivered, {most(counts)} times the most frequent one, "
        f"{len(seen.unknown) + len(seen.refused) + len(seen.other)} errors, {elements / took_s:.0f}/s",
    )
    equal(cluster, findings, "queue in peace")


def queue_under_kills(cluster: Cluster, elements: int, findings: Findings, killer: Killer) -> None:
    fill(cluster, elements)
    with killer:
        seen = consume(cluster, PAUSE_S)
    counts = Counter(seen.elements)
    missing = elements - len(counts)
    findings.check(
        killer.kills and most(counts) == 1 and missing <= len(seen.unknown) and not seen.other,
        f"queue, {killer.kills} kills: {len(counts)} of {elements} delivered, {most(counts)} times the most frequent "
        f"one, {missing} to nobody, {len(seen.unknown)} outcomes unknown, {len(seen.refused)} refused, "
        f"{len(seen.other)} other errors {seen.other[:3]}",
    )
    equal(cluster, findings, f"queue, {killer.kills} kills")


def most(counts: Counter[bytes]) -> int:
    return max(counts.values(), default=0)


# ---- the locks


def locks(cluster: Cluster, rounds: int, findings: Findings, name: str, killer: Killer | None) -> None:
    """Two clients at two racks want the same lock at the same time; which two changes from round to round."""
    seen = Seen()
    clients = [Client(node, seen) for node in cluster.nodes]
    winners: list[list[int]] = []
    with killer or contextlib.nullcontext():
        for number in range(rounds):
            replies: dict[int, object] = {}
            pair = (number % 3, (number + 1) % 3)

            def want(place: int, number: int = number, replies: dict[int, object] = replies) -> None:
                replies[place] = clients[place].call("SET", f"{name[:2]}lock{number}", place, "NX")

            together([lambda place=place: want(place) for place in pair])
            winners.append([place for place, reply in replies.items() if reply in (b"OK", "OK")])
            if killer is not None:
                time.sleep(PAUSE_S)
    two = sum(len(won) > 1 for won in winners)
    none = sum(not won for won in winners)
    troubles = len(seen.unknown) + len(seen.refused)
    findings.check(
        two == 0 and (none == 0 or killer is not None) and not seen.other,
        f"locks, {name}, {killer.kills if killer else 0} kills: {rounds} rounds, {two} with two winners, {none} with "
        f"none, {troubles} unknown or refused, {len(seen.other)} other errors {seen.other[:3]}",
    )
    equal(cluster, findings, f"locks, {name}")
    with cluster.nodes[0].store() as store:
        held = [store.call("GET", f"{name[:2]}lock{number}") for number in range(rounds)]
    wrong = [n for n, won in enumerate(winners) if won and held[n] != b"%d" % won[0]]
    findings.check(not wrong, f"locks, {name}: {len(wrong)} hold another value than their winner's {wrong[:5]}")


def equal(cluster: Cluster, findings: Findings, name: str) -> None:
    """How long until all replicas hold the same."""
    try:
        took_s = seconds_until(lambda: not cluster.replica_problems(), CONVERGE_S, "equal replicas")
    except (TimeoutError, AssertionError):
        problems = cluster.replica_problems()
        findings.check(False, f"{name}: {len(problems)} keys differ after {CONVERGE_S:.0f} s: {problems[:3]}")
        return
    findings.check(True, f"{name}: replicas equal after {took_s:.1f} s")


if __name__ == "__main__":
    raise SystemExit(main([]))
