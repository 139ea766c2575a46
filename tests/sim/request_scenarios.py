"""What happens in one run of requests, drawn from the seed: the datacenter, the clients, and faults.

    requests   no faults, only delays: no error, everything is executed everywhere
    away       one node or datastore at a time is killed or stopped and comes back: DC_ONE notices nothing
    turmoil    lost connections, crashes, stops, partitions, full datastores, dropped frames, all at once
    retoken    tokens move while requests run, and nodes hear of it late and out of order

Not here: what must hold (request_checkers.py).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random

from dynomite_mp.cluster.route import LEVEL_ONE, LEVEL_QUORUM, LEVEL_SAFE_QUORUM
from dynomite_mp.cluster.topology import Node

from . import request_checkers as checkers
from .coordinator import Coordinator
from .network import Address, Weather
from .report import Report
from .request_cluster import TOKENS, RequestCluster

REQUESTS = 240
KEYS = 8
COMPLAINTS_MOST = 10
SETTLE_MS = 5_000
"""After the last request: more than any deadline, and a reconnect."""
LAG_MS = 1_500
"""Until a node hears of a new topology; request_checkers.TOPOLOGY_LAG_MS allows for it."""
STOP_MS = 5_000
"""More than request_checkers.ANSWER_LIMIT_MS: a deadline has to help."""
LEVELS = (LEVEL_ONE, LEVEL_QUORUM, LEVEL_SAFE_QUORUM)

Check = Callable[[RequestCluster], Iterator[str]]


class RequestRun:
    """One datacenter on its way through a scenario."""

    def __init__(self, scenario: str, seed: int, racks: int = 0) -> None:
        self.rng = rng = Random(f"{scenario}/{seed}")
        self.report = Report(scenario, seed)
        weather = Weather(delay_ms=(0, rng.choice((1, 5, 30))))
        layout = [self._rack(rng.randrange(1, 4)) for _ in range(racks or rng.randrange(1, 6))]
        self.cluster = RequestCluster(rng, weather, layout)
        self.written = 0
        self.counts_only = False
        """What safe quorums are asked for: nothing that differs while writes cross, and they do without stamps."""

    def _rack(self, nodes: int) -> list[list[int]]:
        """Tokens that have nothing to do with those of other racks; one node or more."""
        return [sorted(self.rng.sample(range(TOKENS), self.rng.choice((1, 1, 4)))) for _ in range(nodes)]

    def start(self, levels: Sequence[int] = LEVELS) -> None:
        self.cluster.start(self.rng.randrange(2, 7), levels)
        self.cluster.run(500)

    def traffic(self, requests: int = REQUESTS, fault: Callable[[], None] = lambda: None, every: int = 0) -> None:
        """Requests by random clients, some close together; a fault in front of each `every`-th of them."""
        for number in range(requests):
            if every and number % every == every - 1:
                fault()
            self.ask()
            if self.rng.random() < 0.6:
                self.cluster.run(self.rng.choice((1, 3, 10, 40)))

    def ask(self) -> None:
        client = self.rng.choice(self.cluster.clients)
        key = b"key%d" % self.rng.randrange(KEYS)
        kind = self.rng.random()
        if self.counts_only and client.level == LEVEL_SAFE_QUORUM:
            kind = 1.0
        if kind < 0.45:
            client.ask(b"GET", key)
        elif kind < 0.85:
            self.written += 1
            client.ask(b"SET", key, b"%s@%d" % (key, self.written))
        else:
            client.ask(b"INCR", b"count" + key)

    def finish(self, *checks: Check) -> Report:
        cluster = self.cluster
        cluster.run(SETTLE_MS)
        for check in (*checkers.ALWAYS, *checks):
            for number, complaint in enumerate(check(cluster)):
                if number < COMPLAINTS_MOST:
                    cluster.complaints.append(complaint)
        report = self.report
        report.complaints = cluster.complaints
        report.nodes = len(cluster.nodes)
        report.requests = len(cluster.asked)
        report.answered = sum(asked.is_answered for asked in cluster.asked)
        report.lines = [*cluster.history, *(str((a.sent_ms, a.words, a.level, a.reply)) for a in cluster.asked)]
        return report


# ---- faults ----------------------------------------------------------------------------------------------------------


class Turmoil:
    """Faults, one after the other; end() mends what is left of them."""

    def __init__(self, run: RequestRun) -> None:
        self.cluster = run.cluster
        self.rng = run.rng
        self.faults = (
            self.lose, self.lose, self.crash, self.restart, self.restart, self.pause, self.resume, self.partition,
            self.heal, self.heal, self.stop_store, self.kill_store, self.mend_stores, self.fill, self.swallow,
        )  # fmt: skip

    def once(self) -> None:
        fault = self.rng.choice(self.faults)
        self.cluster.note(fault.__name__)
        fault()

    def node(self) -> Coordinator:
        return self.rng.choice(self.cluster.nodes)

    def lose(self) -> None:
        """A connection, of whatever kind."""
        ends = self.cluster.streams.ends()
        if ends:
            self.rng.choice(ends).cut()

    def crash(self) -> None:
        self.node().crash()

    def restart(self) -> None:
        for node in self.cluster.nodes:
            if not node.is_running:
                node.start()

    def pause(self) -> None:
        node = self.node()
        if node.is_running:
            node.pause()

    def resume(self) -> None:
        for node in self.cluster.nodes:
            node.resume()

    def partition(self) -> None:
        side = {node.address[0] for node in self.cluster.nodes if self.rng.random() < 0.5}
        self.cluster.streams.is_blocked = lambda a, b: self.is_between_nodes(a, b) and (a[0] in side) != (b[0] in side)

    @staticmethod
    def is_between_nodes(a: Address, b: Address) -> bool:
        return a[0].startswith("10.") and b[0].startswith("10.")

    def heal(self) -> None:
        self.cluster.streams.is_blocked = lambda source, to: False

    def stop_store(self) -> None:
        self.node().store.stop(self.cluster.now_ms + self.rng.randrange(2500))

    def kill_store(self) -> None:
        node = self.node()
        if node.is_running:
            node.set_store(False)

    def mend_stores(self) -> None:
        for node in self.cluster.nodes:
            node.store.is_full = False
            node.swallowed = 0.0
            if not node.store.is_up:
                node.set_store(True)

    def fill(self) -> None:
        self.node().store.is_full = True

    def swallow(self) -> None:
        self.node().swallowed = 0.3

    def end(self) -> None:
        self.heal()
        self.resume()
        self.restart()
        self.mend_stores()


# ---- scenarios -------------------------------------------------------------------------------------------------------


def requests(seed: int, nodes: int = 0) -> Report:
    """No faults, only delays: no error, everything is executed everywhere."""
    run = RequestRun("requests", seed)
    run.counts_only = True
    run.start()
    run.traffic()
    return run.finish(checkers.calm, checkers.later_reads)


def away(seed: int, nodes: int = 0) -> Report:
    """One node or datastore at a time is killed or stopped and comes back: DC_ONE notices nothing."""
    run = RequestRun("away", seed, racks=Random(seed).randrange(2, 5))
    cluster, rng = run.cluster, run.rng
    victims = cluster.nodes[1:]
    run.start()
    for client in cluster.clients:
        # Clients of a node that dies lose their connections, which is no error of the cluster's.
        if client.node is not cluster.nodes[0]:
            client.node = cluster.nodes[0]
            if client.end is not None:
                client.end.close()
                client.on_closed(client.end)
            client.connect()
    cluster.run(500)
    for _ in range(3):
        victim = rng.choice(victims)
        how = rng.choice(("crash", "pause", "kill_store", "stop_store"))
        run.traffic(40)
        cluster.note(f"{victim.name}: {how}")
        match how:
            case "crash":
                victim.crash()
            case "pause":
                victim.pause()
            case "kill_store":
                victim.set_store(False)
            case "stop_store":
                victim.store.stop(cluster.now_ms + STOP_MS)
        run.traffic(40)
        victim.resume()
        if not victim.is_running:
            victim.start()
        if not victim.store.is_up:
            victim.set_store(True)
        cluster.run(STOP_MS + 500)
    return run.finish(checkers.available, checkers.later_reads)


def turmoil(seed: int, nodes: int = 0) -> Report:
    """Lost connections, crashes, stops, partitions, full datastores, dropped frames, all at once."""
    run = RequestRun("turmoil", seed)
    run.start()
    faults = Turmoil(run)
    run.traffic(fault=faults.once, every=run.rng.choice((4, 10, 25)))
    faults.end()
    run.traffic(30)
    return run.finish(checkers.later_reads)


def retoken(seed: int, nodes: int = 0) -> Report:
    """Tokens move while requests run, and nodes hear of it late and out of order."""
    run = RequestRun("retoken", seed)
    cluster, rng = run.cluster, run.rng
    run.start()

    def move(node: Node) -> Node:
        count = len(node.tokens)
        return replace(node, tokens=tuple(rng.sample(range(TOKENS), count))) if rng.random() < 0.5 else node

    for _ in range(rng.randrange(2, 5)):
        run.traffic(50)
        cluster.publish([move(node) for node in cluster.members], LAG_MS)
        cluster.run(rng.choice((0, 100, 3_000)))
    cluster.run(LAG_MS)
    run.traffic(60)
    return run.finish()


REQUEST_SCENARIOS: dict[str, Callable[..., Report]] = {
    "requests": requests, "away": away, "turmoil": turmoil, "retoken": retoken,
}  # fmt: skip
