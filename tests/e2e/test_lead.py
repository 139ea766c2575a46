"""Commands that must not happen twice, sent through every node of a datacenter of three racks."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import cycle

import hiredis
import pytest

from dynomite_mp.cluster.lead import LeadOrder
from tests.accept.cluster_03_failover import signal_all
from tests.accept.cluster_parts import Cluster, running_cluster
from tests.e2e.harness import Node, wait_for
from tests.e2e.test_effects import cases, words_of
from tests.models import token_model


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster({"dc1": {"rack1": "o", "rack2": "o", "rack3": "o"}}) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(cluster: Cluster) -> None:
    for node in cluster.nodes:
        with node.store() as store:
            store.call("FLUSHALL")


@pytest.mark.parametrize("case", cases(), ids=lambda case: case[1][0].split()[0].lower())
def test_replicas_are_equal_after_commands_through_any_node(
    cluster: Cluster, case: tuple[list[str], list[str]]
) -> None:
    clients = [node.connect() for node in cluster.nodes]
    before, commands = case
    for client, line in zip(cycle(clients), before + commands, strict=False):
        client.call(*words_of(line, cluster.nodes[0]))
    cluster.wait_quiet()
    assert not cluster.replica_problems()


def test_each_element_is_popped_once(cluster: Cluster) -> None:
    with cluster.nodes[0].connect() as client:
        for start in range(0, 1500, 100):
            client.call("RPUSH", "queue", *range(start, start + 100))
    found: list[bytes] = []

    def consume(node) -> None:
        with node.connect() as client:
            while element := client.call("LPOP", "queue"):
                found.append(element)

    consumers = [threading.Thread(target=consume, args=(node,)) for node in cluster.nodes]
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join()
    assert Counter(found) == Counter(b"%d" % number for number in range(1500))
    assert cluster.keys_held() == 0


def test_what_is_pipelined_behind_a_lead_s_command_comes_after_it(cluster: Cluster) -> None:
    for node in cluster.nodes:
        with node.connect() as client:
            for number in range(20):
                queue, other, text = (f"{name}:{number}" for name in ("queue", "other", "text"))
                steps = (
                    (("RPUSH", queue, "a", "b", "c"), 3),
                    (("RPOP", queue), b"c"),
                    (("LRANGE", queue, "0", "-1"), [b"a", b"b"]),
                    (("SET", text, "one"), b"OK"),
                    (("RPOPLPUSH", queue, other), b"b"),
                    (("LRANGE", other, "0", "-1"), [b"b"]),
                    (("DEL", queue, other), 2),
                    (("GETDEL", text), b"one"),
                    (("SET", text, "two"), b"OK"),
                    (("GET", text), b"two"),
                    (("SET", text, "three", "GET"), b"two"),
                    (("APPEND", text, "!"), 6),
                    (("MGET", text, queue), [b"three!", None]),
                    (("DEL", text), 1),
                )
                client.send_raw(b"".join(hiredis.pack_command(words) for words, _ in steps))
                assert [client.reply() for _ in steps] == [wanted for _, wanted in steps], node.host
    cluster.wait_quiet()
    assert not cluster.replica_problems()


def test_one_of_those_who_want_a_lock_gets_it(cluster: Cluster) -> None:
    clients = [node.connect() for node in cluster.nodes]
    for round in range(200):
        for number, client in enumerate(clients):
            client.send("SET", f"lock{round}", number, "NX", "PX", 60000)
        assert sorted(str(client.reply()) for client in clients) == ["None", "None", "b'OK'"]
    cluster.wait_quiet()
    assert not cluster.replica_problems()


def leads(node: Node) -> bool:
    """Whether it leads now. On a busy machine a datastore may have paused before, and its node does not for a while."""
    log = node.log()
    return log.rfind("this node leads its share of the keys") > log.rfind("this node leads no keys")


def test_a_lead_s_datastore_that_stands_still_gives_nothing_twice(cluster: Cluster) -> None:
    """What it pops when it goes on was given by another lead meanwhile."""
    count = 60
    lead, other, third = cluster.nodes
    order = LeadOrder([str(node.conf["rack"]) for node in cluster.nodes])
    queue = next(key for key in map(str, range(99)) if order.order(token_model.murmur(key.encode()))[0] == 0)
    with other.connect(20) as waiting, third.connect(20) as client:
        client.call("RPUSH", queue, *range(count))
        wait_for(lambda: leads(lead), 30, f"{lead} to lead")
        datastore = lead.pid_of("datastore")
        os.kill(datastore, signal.SIGSTOP)
        try:
            waiting.send("LPOP", queue)
            wait_for(lambda: not leads(lead), 10, f"{lead} to give up the lead")
            found = [client.call("LPOP", queue) for _ in range(20)]
        finally:
            os.kill(datastore, signal.SIGCONT)
        assert "outcome unknown" in str(waiting.reply())
        while (element := client.call("LPOP", queue)) is not None:
            found.append(element)
    assert all(isinstance(element, bytes) for element in found)
    assert len(set(found)) == len(found) >= count - 1
    cluster.wait_quiet()
    assert not cluster.replica_problems()


def test_when_a_node_is_killed_its_keys_are_led_elsewhere(cluster: Cluster) -> None:
    """The last test of the file: a third of these keys had the killed node for their lead."""
    victim, *others = cluster.nodes
    signal_all(victim.processes(), signal.SIGKILL)
    victim.wait()
    clients = [node.connect(timeout_s=20.0) for node in others]
    for round in range(30):
        for number, client in enumerate(clients):
            client.send("SET", f"after{round}", number, "NX")
        replies = sorted(str(client.reply()) for client in clients)
        assert replies == ["None", "b'OK'"] or any("outcome unknown" in reply for reply in replies)
        assert replies.count("b'OK'") <= 1
