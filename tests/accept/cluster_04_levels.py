"""What each level answers when replicas disagree, fail, time out or are missing: 1 to 5 racks against an oracle.

Values are planted in the datastores themselves, past the nodes: rack by rack A, B or a value of the wrong type, in
every combination, a key for each. Then racks are taken away one after the other, and datastores stopped. The oracle
below is the table of the levels in plain words of its own. Last, counters are incremented through all nodes at once.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import hiredis

from tests.accept.cluster_parts import LEVELS, Cluster, Layout, figures, many, running_cluster
from tests.accept.one_node import Findings, options
from tests.e2e.harness import Node, wait_for

TOPIC = "cluster"
TITLE = "4: what each level answers for 1 to 5 racks that disagree, fail, time out or are missing; concurrent INCR"
A, B, ERROR, MISSING = "A", "B", "E", "-"
READ_VALUES = {A: b"100", B: b"200"}
WRONG_TYPE, NOT_A_NUMBER = b"-WRONGTYPE", b"-ERR value is not an integer"
NO_QUORUM = b"-ERR Dynomite: Failed to achieve Quorum"
UNREACHABLE = (b"-ERR Peer: ", b"-ERR Storage: ")
TIMEOUT_MS = 800
THREE_RACKS: Layout = {"dc1": {"r1": "oo", "r2": "oo", "r3": "oo"}}
TWO_DATACENTERS: Layout = {"dc1": {"r1": "oo", "r2": "o", "r3": "o"}, "dc2": {"r1": "o", "r2": "oo"}}


@dataclass(frozen=True)
class Case:
    """What every rack holds, as one letter for each, this node's rack at `mine`."""

    letters: str
    mine: int

    @property
    def quorum(self) -> int:
        return len(self.letters) // 2 + 1


# ---- the oracle ------------------------------------------------------------------------------------------------------


def wanted_read(level: str, case: Case) -> set[bytes]:
    """The replies that GET may have; an error by its beginning."""
    letters = case.letters
    good = [letter for letter in letters if letter in READ_VALUES]
    if level == "DC_ONE" or len(letters) == 1:
        order = letters[case.mine :] + letters[: case.mine]
        first = next((letter for letter in order if letter != MISSING), MISSING)
        return {READ_VALUES[first]} if first in READ_VALUES else {WRONG_TYPE} if first == ERROR else set(UNREACHABLE)
    for letter in READ_VALUES:
        if good.count(letter) >= case.quorum:
            return {READ_VALUES[letter]}
    if len(good) < case.quorum:
        return first_error(letters, WRONG_TYPE)
    if level == "DC_QUORUM":
        return {READ_VALUES[letter] for letter in good}
    answered, differed = len(letters) - letters.count(MISSING), min(good.count(A), good.count(B))
    return {b"%s (%d of %d racks answered, %d differed)" % (NO_QUORUM, answered, len(letters), differed)}


def wanted_write(level: str, case: Case) -> set[bytes]:
    """The same for INCR. Replicas that applied it agree, whatever it gave there."""
    letters, mine = case.letters, case.letters[case.mine]
    results = {letter: b"%d" % (int(value) + 1) for letter, value in READ_VALUES.items()} | {ERROR: NOT_A_NUMBER}
    present = [letter for letter in letters if letter != MISSING]
    if level == "DC_ONE" or len(letters) == 1:
        if mine != MISSING:
            return {results[mine]}
        return {results[letter] for letter in present} or set(UNREACHABLE)
    good = [letter for letter in present if letter != ERROR]
    if len(good) < case.quorum:
        return first_error(letters, NOT_A_NUMBER)
    return {results[letter] for letter in good}  # of the first quorum of them


def first_error(letters: str, refusal: bytes) -> set[bytes]:
    """Whichever came first; an unreachable rack counts as an error at once."""
    return ({refusal} if ERROR in letters else set()) | (set(UNREACHABLE) if MISSING in letters else set())


# ---- planting and asking ---------------------------------------------------------------------------------------------


class Trial:
    """A cluster of racks of one node each; racks from the back are taken away."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.present = list(cluster.nodes)
        self.silent: list[Node] = []
        self.round = 0

    def letters(self) -> Iterator[str]:
        """Every combination of what the racks that are left can hold."""
        kinds = [A + B + ERROR if node in self.present else MISSING for node in self.cluster.nodes]
        return map("".join, itertools.product(*kinds))

    def plant(self, wrong: tuple[bytes, bytes, bytes]) -> list[tuple[bytes, str]]:
        """A key for each combination, written past the nodes; `wrong` makes a value that the command refuses."""
        self.round += 1
        keys = [(b"%d:%d:%s" % (self.round, n, text.encode()), text) for n, text in enumerate(self.letters())]
        for place, node in enumerate(self.cluster.nodes):
            if node in self.present:
                with node.store() as store:
                    many(store, [self._write(key, text[place], wrong) for key, text in keys])
        return keys

    @staticmethod
    def _write(key: bytes, letter: str, wrong: tuple[bytes, bytes, bytes]) -> tuple[bytes, ...]:
        return (b"SET", key, READ_VALUES[letter]) if letter in READ_VALUES else (wrong[0], key, *wrong[1:])

    def seen(self, text: str) -> str:
        """What can be had of a combination: silent racks do not answer."""
        return "".join(
            MISSING if node in self.silent else letter
            for node, letter in zip(self.cluster.nodes, text, strict=True)
        )  # fmt: skip

    def ask(self, node: Node, level: str, command: bytes, keys: Sequence[tuple[bytes, str]]) -> list[bytes]:
        """One connection at that level, all keys at once; replies as text, errors with their minus."""
        with node.connect(timeout_s=30) as client:
            assert client.call("dyno_config:conn_consistency", level) == b"OK"
            return [as_text(reply) for reply in many(client, [(command, key) for key, _ in keys])]


def as_text(reply: object) -> bytes:
    if isinstance(reply, hiredis.ReplyError):
        return b"-" + str(reply).encode()
    return b"%d" % reply if isinstance(reply, int) else reply if isinstance(reply, bytes) else repr(reply).encode()


def check_round(trial: Trial) -> tuple[int, list[str]]:
    """All combinations, levels and coordinators, reads and writes: how many, and what differs from the oracle."""
    problems = []
    answers = 0
    for level in LEVELS:
        for node in {id(node): node for node in (trial.present[0], trial.present[-1])}.values():
            for command, wrong, wanted in (
                (b"GET", (b"SADD", b"member", b"other"), wanted_read),
                (b"INCR", (b"SET", b"no number", b"KEEPTTL"), wanted_write),
            ):
                keys = trial.plant(wrong)
                mine = trial.cluster.nodes.index(node)
                answers += len(keys)
                for (_, text), reply in zip(keys, trial.ask(node, level, command, keys), strict=True):
                    allowed = wanted(level, Case(trial.seen(text), mine))
                    if not any(reply == one or (one[:1] == b"-" and reply.startswith(one)) for one in allowed):
                        problems.append(
                            f"{command.decode()} at {level} by rack {mine} of {trial.seen(text)}: {reply!r}, "
                            f"wanted {sorted(allowed)}"
                        )
    return answers, problems


# ---- the script ------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    findings = Findings()
    for racks in (2, 3) if short else (1, 2, 3, 4, 5):
        for line, problems in of_racks(racks):
            for problem in problems[:10]:
                print(problem)
            findings.check(not problems, line)
    for level, layout in (("DC_SAFE_QUORUM", THREE_RACKS), ("DC_EACH_SAFE_QUORUM", TWO_DATACENTERS)):
        line, problems = concurrent_increments(20 if short else 400, level, layout)
        for problem in problems[:10]:
            print(problem)
        findings.check(not problems, line)
    return findings.code


def of_racks(racks: int, with_silent: bool = True) -> Iterator[tuple[str, list[str]]]:
    """All racks there; silent datastores; then fewer and fewer racks."""
    layout = {"dc1": {f"r{n}": "o" for n in range(1, racks + 1)}}
    with running_cluster(layout, timeout=TIMEOUT_MS) as cluster:
        trial = Trial(cluster)
        yield report(racks, "all there", trial)
        for silent in range(1, racks if with_silent else 1):
            if racks - silent >= racks // 2:  # with fewer, every quorum fails alike
                yield silent_stores(racks, trial, silent)
        for missing in range(1, racks):
            kill(trial.present.pop())
            yield report(racks, f"{missing} killed", trial)


def report(racks: int, what: str, trial: Trial) -> tuple[str, list[str]]:
    answers, problems = check_round(trial)
    return f"{racks} racks, {what}: {answers} answers, {len(problems)} wrong", problems


def silent_stores(racks: int, trial: Trial, count: int) -> tuple[str, list[str]]:
    """The last `count` datastores do not answer; what they hold is planted before."""
    problems = []
    keys = trial.plant((b"SADD", b"member", b"other"))
    trial.silent = trial.present[-count:]
    pids = [node.pid_of("datastore") for node in trial.silent]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for level in LEVELS:
            replies = trial.ask(trial.present[0], level, b"GET", keys)
            for (_, text), reply in zip(keys, replies, strict=True):
                allowed = wanted_read(level, Case(trial.seen(text), 0))
                if not any(reply == one or (one[:1] == b"-" and reply.startswith(one)) for one in allowed):
                    problems.append(f"GET at {level} of {trial.seen(text)}: {reply!r}, wanted {sorted(allowed)}")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        trial.silent = []
    for node in trial.present:
        wait_for(lambda node=node: all_answer(node, len(trial.present)), 10, f"all racks to answer {node} again")
    answers = len(keys) * len(LEVELS)
    return f"{racks} racks, {count} datastores silent: {answers} answers, {len(problems)} wrong", problems


def all_answer(node: Node, racks: int) -> bool:
    """Whether two reads of each key agree, which takes a quorum, and no rack is held for silent any longer, nor thinks
    that it may have missed something."""
    if node.status()["node_state"] != "NORMAL":
        return False
    before = figures(node)["client_unreachable_requests"]
    with node.connect() as client:
        client.call("dyno_config:conn_consistency", "DC_SAFE_QUORUM")
        replies = [client.call("GET", f"alive:{n}") for n in range(racks)]
    return replies == [None] * racks and figures(node)["client_unreachable_requests"] == before


def kill(node: Node) -> None:
    """All processes of a node at once."""
    for process in node.processes():
        process.kill()
    node.wait()


def concurrent_increments(
    each: int, level: str = "DC_SAFE_QUORUM", layout: Layout = THREE_RACKS
) -> tuple[str, list[str]]:
    """INCR of the same keys through all nodes at once: no error, and every replica everywhere has the sum."""
    problems: list[str] = []
    keys = [b"count:%d" % n for n in range(10)]

    def client(node: Node) -> None:
        with node.connect(timeout_s=30) as connection:
            connection.call("dyno_config:conn_consistency", level)
            for _ in range(each):
                replies = many(connection, [(b"INCR", key) for key in keys])
                problems.extend(f"{node}: {reply!r}" for reply in replies if not isinstance(reply, int))

    with running_cluster(layout) as cluster:
        threads = [threading.Thread(target=client, args=(node,)) for node in cluster.nodes for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wanted = each * len(threads)
        cluster.wait_quiet()
        for key in keys:
            for node in cluster.owners(key):
                with node.store() as store:
                    found = int(store.call("GET", key) or 0)
                if found != wanted:
                    problems.append(f"{key!r} is {found} at {node}, {wanted} INCRs were acknowledged")
        replicas = len(cluster.racks)
    return (
        f"{wanted * len(keys)} INCRs through {len(threads) // 2} nodes at {level}, {replicas} replicas of each key, "
        f"{len(problems)} problems"
    ), problems
