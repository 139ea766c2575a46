"""What happens in one run, drawn from the seed: the cluster, the weather, and faults one after the other.

    calm       bad weather, no faults: nobody may be called down
    kill       one node dies at a time: everybody knows within DETECTION_MS
    leave      one node at a time says that it goes, some come back: everybody knows within LEAVE_MS
    sleep      one process is stopped for seconds: it may be called down, but nobody else, by it least of all
    storm      crashes, restarts, stops, partitions, clogs, leaves, replacements; then they end and views converge
    large      100 nodes, 10 % loss, partitions and crashes; the same
    intruder   a node with the tokens of a living one starts: it must not get them until that one is gone

Not here: what has to hold in the end (checkers.py).
"""

from collections.abc import Callable
from random import Random

from dynomite_mp.cluster.membership_record import Liveness
from dynomite_mp.enums import NodeState

from . import checkers
from .cluster import Cluster, SimNode
from .network import Weather
from .report import Report

DETECTION_MS = 3_000
LARGE_DETECTION_MS = 4_000
LEAVE_MS = 1_000
CONVERGE_LIMIT_MS = 60_000
STEP_MS = 100
TOKEN_STEP = 1 << 26


class Run:
    """One cluster on its way through a scenario."""

    def __init__(self, scenario: str, seed: int, weather: Callable[[Random], Weather]) -> None:
        self.rng = Random(f"{scenario}/{seed}")
        self.report = Report(scenario, seed)
        key = b"k" * 16 if self.rng.random() < 0.2 else None
        self.cluster = Cluster(self.rng, weather(self.rng), key=key)
        self.report.cluster = self.cluster

    def build(self, nodes: int, dcs: int = 1, racks: int = 3) -> None:
        """Nodes in round robin over datacenters and racks."""
        for number in range(nodes):
            tokens = self.rng.choice((1, 1, 1, 8))
            self.cluster.add(number % dcs + 1, number // dcs % racks + 1, number * TOKEN_STEP, tokens=tokens)
        if self.rng.random() < 0.3:
            self.cluster.seed_limit = min(3, nodes)

    def start(self, spread_ms: int = 1000) -> None:
        for node in self.cluster.nodes:
            self.cluster.network.call_at(self.rng.randrange(spread_ms + 1), node.start)
        self.run(spread_ms)

    def run(self, ms: int) -> None:
        self.cluster.network.run_until(self.cluster.now_ms + ms)

    def converge(self, limit_ms: int = CONVERGE_LIMIT_MS) -> bool:
        """Wait until all views are equal and right."""
        start_ms = self.cluster.now_ms
        problem = checkers.disagreement(self.cluster)
        while problem and self.cluster.now_ms - start_ms < limit_ms:
            self.run(STEP_MS)
            problem = checkers.disagreement(self.cluster)
        if problem:
            self.cluster.complain(f"views did not converge within {limit_ms} ms: {problem}")
            return False
        self.report.converge_ms.append(self.cluster.now_ms - start_ms)
        return True

    def finish(self) -> Report:
        checkers.final(self.cluster)
        report = self.report
        report.complaints = self.cluster.complaints
        report.nodes = len(self.cluster.nodes)
        report.datagrams = self.cluster.network.sent
        return report


# ---- weather ---------------------------------------------------------------------------------------------------------


def mild(rng: Random) -> Weather:
    return Weather(rng.choice((0.0, 0.01, 0.05)), (0, rng.choice((1, 5, 20))), duplicate=0.01, reorder=0.01)


def fair(rng: Random) -> Weather:
    """As mild, without the loss that could swallow both goodbyes of a node."""
    return Weather(0.0, (0, rng.choice((1, 5, 20))), duplicate=0.01, reorder=0.01)


def rough(rng: Random) -> Weather:
    near = (0, rng.choice((2, 20, 60)))
    far = rng.choice(((20, 40), (80, 150)))
    return Weather(rng.choice((0.0, 0.05, 0.1, 0.15)), near, far, rng.choice((0.0, 0.1)), rng.choice((0.0, 0.1)))


def lossy(rng: Random) -> Weather:
    return Weather(0.1, (0, 5), (40, 60), 0.01, 0.01)


# ---- faults of a storm -----------------------------------------------------------------------------------------------


class Storm:
    """Faults, one after the other; each leaves something that end() mends."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.cluster = run.cluster
        self.rng = run.rng
        self.faults = (
            self.crash, self.crash, self.restart, self.restart, self.pause, self.resume, self.partition, self.isolate,
            self.one_way, self.heal, self.clog, self.leave, self.shut_down, self.replace, self.change_state, self.hints,
        )  # fmt: skip

    def pick(self, *, working: bool) -> SimNode | None:
        nodes = [n for n in self.cluster.nodes if n.working == working and not n.gone]
        # Somebody has to be left over.
        if not nodes or (working and len(nodes) <= 2):
            return None
        return self.rng.choice(nodes)

    def once(self) -> None:
        self.rng.choice(self.faults)()

    def crash(self) -> None:
        if node := self.pick(working=True):
            node.crash()

    def restart(self) -> None:
        node = self.pick(working=False)
        if node and not node.running and not self.is_replaced(node):
            node.start()

    def is_replaced(self, node: SimNode) -> bool:
        return any(n is not node and n.profile.place == node.profile.place for n in self.cluster.nodes)

    def pause(self) -> None:
        if node := self.pick(working=True):
            node.pause()

    def resume(self) -> None:
        for node in self.cluster.nodes:
            node.resume()

    def partition(self) -> None:
        side = {n.address for n in self.cluster.nodes if self.rng.random() < 0.5}
        self.cluster.network.partition(lambda a, b: (a in side) != (b in side))

    def isolate(self) -> None:
        if node := self.pick(working=True):
            lost = node.address
            self.cluster.network.partition(lambda a, b: lost in (a, b))

    def one_way(self) -> None:
        """Some can send to others but not hear them."""
        deaf = {n.address for n in self.cluster.nodes if self.rng.random() < 0.3}
        self.cluster.network.partition(lambda a, b: b in deaf and a not in deaf)

    def heal(self) -> None:
        self.cluster.network.partition(None)

    def clog(self) -> None:
        a, b = (self.rng.choice(self.cluster.nodes).address for _ in range(2))
        self.cluster.network.clog(a, b, self.cluster.now_ms + self.rng.randrange(10_000))

    def leave(self) -> None:
        if (node := self.pick(working=True)) and self.rng.random() < 0.5:
            self.cluster.leave(node, for_good=True)

    def shut_down(self) -> None:
        if node := self.pick(working=True):
            self.cluster.leave(node, for_good=False)

    def replace(self) -> None:
        """The machine is lost; another one gets its tokens."""
        node = self.pick(working=self.rng.random() < 0.3)
        if node and not self.is_replaced(node):
            if node.running:
                node.crash()
            node.gone = True
            self.cluster.replacement(node).start()

    def change_state(self) -> None:
        if node := self.pick(working=True):
            state = self.rng.choice((NodeState.NORMAL, NodeState.STANDBY, NodeState.RESUMING))
            node.take(node.m.set_state(self.cluster.now_ms, state))

    def hints(self) -> None:
        node, other = self.pick(working=True), self.rng.choice(self.cluster.nodes)
        if node:
            node.take(node.m.set_hints(self.cluster.now_ms, {other.node_id: self.rng.randrange(1000)}))

    def end(self) -> None:
        """Faults are over: whoever is stopped goes on, the network is whole; who is dead stays dead."""
        self.heal()
        self.resume()
        self.cluster.provide_seeds()


# ---- scenarios -------------------------------------------------------------------------------------------------------


def calm(seed: int, nodes: int = 0) -> Report:
    run = Run("calm", seed, rough)
    run.build(nodes or run.rng.randrange(2, 13), run.rng.choice((1, 1, 2)))
    run.start()
    run.converge()
    run.run(20_000)
    for at_ms, observer, node_id in run.cluster.downs:
        run.cluster.complain(f"{observer} called {node_id:x} down at {at_ms} ms, and it lives")
    return run.finish()


def kill(seed: int, nodes: int = 0) -> Report:
    run = Run("kill", seed, mild)
    run.build(nodes or run.rng.randrange(2, 13))
    run.start()
    run.converge()
    for _ in range(3):
        run.run(run.rng.randrange(500, 2000))
        alive = run.cluster.working()
        if len(alive) < 2:
            break
        detect(run, run.rng.choice(alive), DETECTION_MS)
    run.converge()
    return run.finish()


def detect(run: Run, victim: SimNode, limit_ms: int) -> None:
    """A node dies; when the last one knows."""
    cluster, start_ms = run.cluster, run.cluster.now_ms
    victim.crash()
    others = {str(n) for n in cluster.working()}
    while cluster.now_ms - start_ms < 2 * limit_ms:
        run.run(STEP_MS)
        seen = {str(o): at_ms for at_ms, o, node_id in cluster.downs if node_id == victim.node_id and at_ms >= start_ms}
        if others <= seen.keys():
            run.report.detect_ms.append(max(seen[name] for name in others) - start_ms)
            break
    else:
        cluster.complain(f"not everybody knows that {victim} is dead after {2 * limit_ms} ms")
        return
    if run.report.detect_ms[-1] > limit_ms:
        cluster.complain(f"the death of {victim} was known after {run.report.detect_ms[-1]} ms, limit {limit_ms}")


def leave(seed: int, nodes: int = 0) -> Report:
    run = Run("leave", seed, fair)
    run.build(nodes or run.rng.randrange(2, 13))
    run.start()
    run.converge()
    cluster = run.cluster
    for _ in range(3):
        alive = cluster.working()
        if len(alive) < 2:
            break
        node, for_good = run.rng.choice(alive), run.rng.random() < 0.5
        cluster.leave(node, for_good=for_good)
        run.run(LEAVE_MS)
        wanted = Liveness.LEFT if for_good else Liveness.DOWN
        for other in cluster.working():
            thought = other.m.view.members[node.node_id].liveness
            if thought is not wanted:
                cluster.complain(f"{other} thinks {LEAVE_MS} ms later that {node}, which said it is {wanted.name},"
                                 f" is {thought.name}")  # fmt: skip
        if run.rng.random() < 0.5:
            node.gone = False
            node.start()
        run.converge()
    return run.finish()


def sleep(seed: int, nodes: int = 0) -> Report:
    run = Run("sleep", seed, mild)
    run.build(nodes or run.rng.randrange(3, 13))
    run.start()
    run.converge()
    sleeper = run.rng.choice(run.cluster.working())
    if run.rng.random() < 0.5:
        # It falls asleep in the middle of suspecting others, whose protest waits for it when it wakes.
        lost = sleeper.address
        run.cluster.network.partition(lambda a, b: lost in (a, b))
        run.run(run.rng.randrange(800, 1200))
        run.cluster.network.partition(None)
    sleeper.pause()
    run.run(run.rng.randrange(100, 20_000))
    sleeper.resume()
    run.converge()
    run.run(5_000)
    for at_ms, observer, node_id in run.cluster.downs:
        if node_id != sleeper.node_id:
            run.cluster.complain(f"{observer} called {node_id:x} down at {at_ms} ms, but {sleeper} slept")
    return run.finish()


def storm(seed: int, nodes: int = 0) -> Report:
    run = Run("storm", seed, rough)
    run.build(nodes or run.rng.randrange(3, 13), run.rng.choice((1, 1, 2)))
    run.start()
    weather = Storm(run)
    for _ in range(run.rng.randrange(5, 30)):
        run.run(run.rng.randrange(3000))
        weather.once()
    weather.end()
    run.converge()
    return run.finish()


def large(seed: int, nodes: int = 0) -> Report:
    run = Run("large", seed, lossy)
    run.build(nodes or 100, run.rng.choice((1, 2)))
    run.start(2000)
    if not run.converge():
        return run.finish()
    detect(run, run.rng.choice(run.cluster.working()), LARGE_DETECTION_MS)
    weather = Storm(run)
    run.rng.choice((weather.partition, weather.isolate, weather.one_way))()
    run.run(run.rng.randrange(1000, 8000))
    for _ in range(run.rng.randrange(5)):
        weather.crash()
    run.run(run.rng.randrange(2000))
    for _ in range(2):
        weather.restart()
    weather.end()
    run.converge()
    return run.finish()


def intruder(seed: int, nodes: int = 0) -> Report:
    """A configuration copied to a second machine."""
    run = Run("intruder", seed, mild)
    run.build(nodes or run.rng.randrange(2, 9))
    run.start()
    run.converge()
    cluster = run.cluster
    holder = run.rng.choice(cluster.working())
    copy = cluster.replacement(holder)
    if run.rng.random() < 0.5:
        # It finds nobody at first, and takes itself for the first node of all.
        lost = copy.address
        cluster.network.partition(lambda a, b: lost in (a, b))
        copy.start()
        run.run(run.rng.randrange(1000, 4000))
        cluster.network.partition(None)
        run.run(2500)
    else:
        copy.start()
    for _ in range(80):
        run.run(STEP_MS)
        if copy.m.announced or not holder.m.announced:
            cluster.complain(f"{copy} took the tokens of {holder}, which lives")
            return run.finish()
    if run.rng.random() < 0.5:
        holder.crash()
    else:
        cluster.leave(holder, for_good=run.rng.random() < 0.5)
    holder.gone = True
    run.converge()
    return run.finish()


SCENARIOS: dict[str, Callable[..., Report]] = {
    "calm": calm, "kill": kill, "leave": leave, "sleep": sleep, "storm": storm, "large": large, "intruder": intruder,
}  # fmt: skip
