"""The whole product under supervision: what a client sees when a process of its node dies, drains or is told things."""

import json
import os
import signal
import urllib.request

import hiredis
import pytest

from dynomite_mp.enums import ExitCode
from tests.e2e.harness import Node, Nodes, wait_for

pytest.importorskip("dynomite_mp.workers.io_worker")
pytest.importorskip("dynomite_mp.workers.admin")


def http(node: Node, path: str, method: str = "GET") -> bytes:
    request = urllib.request.Request(f"http://{node.conf['stats_listen']}{path}", method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        body: bytes = answer.read()
        return body


def answers_ok(node: Node) -> bool:
    return bool(node.call("SET", "k", "v") == b"OK")


def test_io_and_datastore_die_and_the_next_command_is_served(node):
    assert answers_ok(node)
    os.kill(node.pid_of("io[0]"), signal.SIGKILL)
    wait_for(lambda: answers_ok(node), 10)
    with node.connect() as client:
        os.kill(node.pid_of("datastore"), signal.SIGKILL)
        replies = [client.call("SET", "n", 1)]
        wait_for(lambda: replies.append(client.call("SET", "n", 2)) or replies[-1] == b"OK", 10)
        # In between the datastore was refused in words; the client's connection was never closed.
        assert all(isinstance(reply, hiredis.ReplyError) for reply in replies if reply != b"OK")


def test_a_drain_answers_everything_that_was_sent(nodes):
    node = nodes.start(io_workers=2)
    clients = [node.connect() for _ in range(4)]
    for number, client in enumerate(clients):
        assert client.call("PING") == b"PONG"
        client.send_raw(b"".join(hiredis.pack_command(("SET", f"k{number}", n)) for n in range(500)))
        assert client.reply() == b"OK"  # so the worker has begun with this client
    node.signal(signal.SIGTERM)
    for client in clients:
        assert [client.reply() for _ in range(499)] == [b"OK"] * 499
        assert client.at_eof()
    assert node.wait() == ExitCode.OK
    node.start()
    assert [node.call("GET", f"k{number}") for number in range(4)] == [b"499"] * 4


def test_an_order_of_the_operator_reaches_all_processes_also_a_restarted_one(node):
    assert http(node, "/setloglevel/7", "POST").strip() == b"OK"
    os.kill(node.pid_of("gossip"), signal.SIGKILL)
    node.logged("level=debug process=gossip", 25)


def test_without_admin_the_node_serves_and_can_be_looked_at(node):
    pid = node.pid_of("admin")
    os.kill(pid, signal.SIGSTOP)
    assert answers_ok(node)
    done = node.command("status", "--json", "--conf", str(node.conf_path))
    assert done.returncode == ExitCode.OK
    assert {row["state"] for row in json.loads(done.stdout)["processes"]} == {"running"}
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: json.loads(http(node, "/health/ready"))["ready"], 10)


def test_status_counts_what_clients_do(node):
    with node.connect() as client:
        for n in range(10):
            client.call("SET", "k", n)
        client.call("GET", "k")
        status = wait_for(lambda: (s := node.status())["requests_total"] >= 11 and s, 5)
        assert status["client_connections"] >= 1


def test_eight_nodes_start_together(nodes: Nodes):
    made = [nodes.make(io_workers=1) for _ in range(8)]
    for node in made:
        node.start(wait=False)
    for node in made:
        node.wait_ready()
        assert answers_ok(node)
    for node in made:
        node.signal(signal.SIGTERM)
    assert [node.wait() for node in made] == [ExitCode.OK] * 8
