"""Nodes that may have missed writes: no read through any node is older than what was acknowledged, and in the end the
racks hold the same."""

import os
import select
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import AddressBlock, Node, Nodes, Resp, seed_line, wait_for

KEYS = 300


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    with AddressBlock.acquire() as block:
        nodes = Nodes(block, tmp_path_factory.mktemp("returning"))
        try:
            made = nodes.cluster({"dc": {"r1": 1, "r2": 1, "r3": 1}}, datastore_persistence="none")
            for node in made:
                node.start(wait=False)
            for node in made:
                node.wait_ready()
            wait_for(lambda: everywhere(made), what="writes to reach all racks")
            yield made
        finally:
            nodes.destroy()


def everywhere(nodes: list[Node]) -> bool:
    nodes[0].call("SET", "ready", "1")
    return all(content(node).get(b"ready") is not None for node in nodes)


def content(node: Node) -> dict[bytes, object]:
    """What a node's datastore holds."""
    with node.store() as store:
        keys = sorted(store.call("KEYS", "*"))
        return {key: (store.call("DUMP", key), store.call("PEXPIRETIME", key)) for key in keys}


def fill(node: Node) -> None:
    with node.connect() as client:
        for i in range(KEYS):
            client.call("SET", f"string{i}", f"v{i}")
            client.call("RPUSH", f"list{i}", "a", i)
            client.call("HSET", f"hash{i}", "f", i)
        client.call("PEXPIREAT", "string1", 4102444800000)


def is_normal(node: Node) -> bool:
    return node.status()["node_state"] == "NORMAL"


@contextmanager
def checked_reads(writer: Node, reader: Node) -> Iterator[Callable[[], int]]:
    """Each key is overwritten through one node and read through another; an older value than acknowledged is kept."""
    stop = threading.Event()
    wrong: list[str] = []
    rounds = 0

    def run() -> None:
        nonlocal rounds
        number = 0
        out, back = Resp(writer.host), None
        while not stop.is_set():
            number += 1
            place = number % 10
            assert out.call("SET", f"checked{place}", number) == b"OK"
            try:
                back = back or Resp(reader.host)
                seen = back.call("GET", f"checked{place}")
            except OSError:  # the node is away
                back = None
                continue
            if isinstance(seen, bytes) or seen is None:
                rounds += 1
                if seen is None or int(seen) < number:
                    wrong.append(f"checked{place}: {seen!r} instead of {number}")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield lambda: rounds
    finally:
        stop.set()
        thread.join()
    assert not wrong, wrong[:10]


@contextmanager
def appends(node: Node) -> Iterator[None]:
    """What a replica misses of it is not made good by the next one."""
    stop = threading.Event()

    def run() -> None:
        with Resp(node.host) as client:
            number = 0
            while not stop.is_set():
                number += 1
                assert not isinstance(client.call("APPEND", f"appended{number % 10}", f"{number},"), Exception)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def settle(cluster: list[Node]) -> None:
    wait_for(lambda: all(is_normal(node) for node in cluster), 30, "all nodes to be NORMAL")
    first, *others = cluster
    for other in others:
        wait_for(lambda other=other: content(other) == content(first), 30, f"{other} to hold what {first} holds")


def test_a_datastore_that_lost_everything_is_filled(cluster: list[Node]) -> None:
    first, second, _third = cluster
    fill(first)
    settle(cluster)
    times_up = second.pid_of("datastore")
    with checked_reads(first, first):
        os.kill(times_up, signal.SIGKILL)
        wait_for(lambda: second.pid_of("datastore") not in (times_up, 0), what="a new datastore")
        wait_for(lambda: second.call("GET", "string7") == b"v7", 30, "a read through the node")
        wait_for(lambda: is_normal(second), 30, "the node to be NORMAL")
    assert second.call("GET", "list9") is not None
    settle(cluster)
    assert "warm-up is done" in second.log()


def test_a_replaced_node_is_filled(cluster: list[Node]) -> None:
    first, _second, third = cluster
    fill(first)
    third.stop()
    shutil.rmtree(Path(str(third.conf["data_dir"])))
    third.start()
    with third.connect() as client:
        for i in range(KEYS):
            assert client.call("GET", f"string{i}") == b"v%d" % i
    settle(cluster)


def test_a_replacement_with_another_address_has_what_was_written_meanwhile(tmp_path: Path) -> None:
    """Until the others know of it their writes go to the address of the dead one."""
    with AddressBlock.acquire() as block:
        nodes = Nodes(block, tmp_path)
        try:
            made = nodes.cluster(
                {"dc": {"r1": 1, "r2": 1, "r3": 1}}, datastore_persistence="none", enable_gossip=True
            )  # fmt: skip
            for node in made:
                node.start(wait=False)
            for node in made:
                node.wait_ready()
            wait_for(lambda: everywhere(made), what="writes to reach all racks")
            first, second, dead = made
            for process in dead.processes():  # none of them says goodbye
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            dead.wait()
            third = nodes.make(
                datacenter="dc", rack="r3", tokens="0", datastore_persistence="none", enable_gossip=True,
                dyn_seeds=[seed_line(first), seed_line(second)],
            )  # fmt: skip
            with appends(first):
                third.start(wait=False)
                wait_for(lambda: "warm-up is done" in third.log() and is_normal(third), 60, "the node to be NORMAL")
            settle([first, second, third])
        finally:
            nodes.destroy()


def test_a_warm_up_that_was_killed_starts_again(cluster: list[Node]) -> None:
    first, _second, third = cluster
    fill(first)
    third.stop()
    data = Path(str(third.conf["data_dir"]))
    (data / "warm_up").write_text("killed in the middle\n")
    third.start()
    wait_for(lambda: not (data / "warm_up").exists(), 30, "the end of the warm-up")
    assert "the last one was not finished" in third.log()
    settle(cluster)


def test_a_datastore_that_keeps_nothing_is_filled_whatever_is_written_meanwhile(cluster: list[Node]) -> None:
    """The writes kept for it would make it look as if it had never been empty."""
    first, _second, third = cluster
    fill(first)
    third.stop()
    with first.connect() as client:
        for i in range(KEYS):
            client.call("RPUSH", f"list{i}", "later")
            client.call("SET", f"string{i}", "later")
    before = third.log().count("keeps nothing over a restart")
    third.start()
    wait_for(lambda: third.log().count("warm-up is done") and is_normal(third), 30, "the end of the warm-up")
    assert third.log().count("keeps nothing over a restart") == before + 1
    settle(cluster)


def test_a_cluster_that_starts_together_is_normal_soon(cluster: list[Node]) -> None:
    for node in cluster:
        node.stop()
    for node in cluster:
        node.start(wait=False)
    for node in cluster:
        node.wait_ready()
        wait_for(lambda node=node: is_normal(node), 10)
    assert all(node.call("SET", "again", 1) == b"OK" for node in cluster)


# ---- on the way out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_client_is_let_go_between_two_requests(cluster: list[Node], number: signal.Signals) -> None:
    """Whether the node is told to stop or loses its supervisor: what a client has sent before the end is answered."""
    victim = cluster[2]
    client, ends = victim.connect(), select.poll()
    ends.register(client.sock, select.POLLRDHUP)
    acknowledged = 0
    while not ends.poll(0):
        if acknowledged == 100:
            os.kill(victim.pid, number)
        acknowledged += 1
        assert client.call("SET", "parting", acknowledged) == b"OK"
    client.close()
    assert acknowledged > 100
    assert int(cluster[0].call("GET", "parting")) == acknowledged
    victim.wait()
    psutil.wait_procs(victim.processes(), timeout=15)
    victim.start()
    wait_for(lambda: is_normal(victim) and content(victim) == content(cluster[0]), 30, "the copy to be complete")
