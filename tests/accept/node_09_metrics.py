"""`/metrics` by promtool, every counter that one node can move moved, `/info` with every field of C Dynomite."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.accept.info_fields import POOL, SERVER, TOP
from tests.accept.one_node import MB, SKIPPED, Findings, is_running_anew, options, running_node, target
from tests.e2e.harness import STATS_PORT, Node, wait_for
from tests.load.bad_input import read_until_quiet
from tests.load.bare_store import BareStore
from tests.load.checked_load import LoadPlan, checked_load

TOPIC = "node"
TITLE = "9: promtool accepts /metrics, every counter moves, /info has every field of C Dynomite"


# Counters that one node with one datastore has no way to move: they belong to clusters, to other processes' failures,
# or to limits of the machine. Everything else must move.
NOT_HERE = re.compile(
    r"peer|dnode|quorum|remote|cross_|fragments|topology|link_state|accept_pauses|forward_error"
    r"|message_errors|messages_dropped|process_budget|http_refused|log_lines|spill_refused|server_err"
    r"|server_timedout_total"
    r"|datastore_dropped_requests|ring_(failed|dropped|handler)|boot_failures|_created|silent"
    r"|clock_skews|hints_|key_cop|lead_|(missed|refused|restamped|skipped)_writes|repairs?_"
)


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    findings = Findings()
    settings: dict[str, Any] = {"timeout": 800, "io_workers": 2}
    settings |= {"client_soft_budget_bytes": 65536, "client_hard_limit_bytes": 8 * MB}
    with BareStore() as store, running_node(store=store, **settings) as node, contextlib.ExitStack() as stack:
        before = samples(node)
        ordinary_load(node, 2.0 if short else 8.0)
        bad_requests(node)
        clients_that_misbehave(node)
        stack.enter_context(datastore_that_fails(node, store))
        crash_of_a_worker(node)
        time.sleep(1.5)
        after = samples(node)
        moved = {name for name, value in after.items() if value != before.get(name, 0.0)}
        still = sorted(name for name in after if name not in moved and must_move(name))
        findings.check(not still, f"{len(moved)} of {len(after)} metrics moved; that should have: {still or 'none'}")
        info_fields(node, findings)
        accepted = promtool(node, findings)
    return findings.code or (0 if accepted else SKIPPED)


def fetch(node: Node, path: str) -> str:
    with urllib.request.urlopen(f"http://{node.host}:{STATS_PORT}{path}", timeout=10) as reply:
        body: bytes = reply.read()
    return body.decode()


def samples(node: Node) -> dict[str, float]:
    """Name -> sum over all labels, of every sample."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(fetch(node, "/metrics")):
        for sample in family.samples:
            if "le" not in sample.labels and "quantile" not in sample.labels:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def must_move(name: str) -> bool:
    """Counters, and the counts of histograms."""
    return name.endswith(("_total", "_count")) and "_process_" not in name and not NOT_HERE.search(name)


def send(node: Node, data: bytes, wait_s: float = 0.1) -> None:
    with socket.create_connection(target(node), 5) as sock:
        sock.sendall(data)
        read_until_quiet(sock, wait_s)


def ordinary_load(node: Node, seconds: float) -> None:
    """Requests of every class by both protocols, values that are too large for a ring, and HTTP."""
    checked_load(LoadPlan((target(node),), seconds, clients=20, flooders=1, flood_depth=5000))
    for words in (b"SADD s 1", b"LPUSH l 1", b"SPOP s", b"HSET h a b", b"APPEND a x", b"INCR n", b"OBJECT ENCODING a"):
        send(node, b"HELLO 3\r\n" + words + b"\r\n")
        send(node, words + b"\r\n")
    for path in ("/info", "/ping", "/help", "/health/live", "/health/ready", "/metrics"):
        fetch(node, path)


def bad_requests(node: Node) -> None:
    """What is answered with an error."""
    for data in (b"*1\r\n$x\r\n", b"NOSUCH a\r\n", b"GET\r\n", b"MULTI\r\n", b"SET w 1\r\nLPUSH w 1\r\n"):
        send(node, data)


def clients_that_misbehave(node: Node) -> None:
    """One past its soft budget, one past its hard limit, one that ends with a reset."""
    send(node, b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n" * 200_000, 0.5)
    send(node, b"*3\r\n$3\r\nSET\r\n$1\r\nm\r\n$1048576\r\n" + b"m" * MB + b"\r\n", 0.5)
    with socket.create_connection(target(node), 5) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(b"*2\r\n$3\r\nGET\r\n$1\r\nm\r\n" * 100)
        time.sleep(1.0)
    for _ in range(20):
        with socket.create_connection(target(node), 5) as sock:
            sock.sendall(b"PING\r\n" * 10)
            time.sleep(0.02)  # the replies lie unread in the socket: closing it resets the connection
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def datastore_that_fails(node: Node, store: BareStore) -> BareStore:
    """Stopped past the deadline, back, then killed with requests under way, then another one; that one."""
    os.kill(store.pid, signal.SIGSTOP)
    for _ in range(3):
        send(node, b"GET a\r\nGET b\r\nGET c\r\nGET d\r\n", 1.2)
    os.kill(store.pid, signal.SIGCONT)
    wait_for(lambda: node.call("SET", "back", "1") == b"OK", 15, "the datastore to be used again")
    os.kill(store.pid, signal.SIGSTOP)
    with socket.create_connection(target(node), 5) as sock:
        sock.sendall(b"".join(b"SET k%d 1\r\n" % number for number in range(100)))
        time.sleep(0.1)
        store.process.kill()  # it dies with requests unread, so that its connections end with a reset
        read_until_quiet(sock, 1.0)
    send(node, b"GET a\r\nGET b\r\nGET c\r\n", 0.5)
    other = BareStore(store.host, store.port)
    wait_for(lambda: node.call("SET", "back", "2") == b"OK", 15, "the datastore to be used again")
    return other


def crash_of_a_worker(node: Node) -> None:
    """Counted as a restart."""
    old = node.pid_of("gossip")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: is_running_anew(node, "gossip", old), 15, "gossip to be back")


def info_fields(node: Node, findings: Findings) -> None:
    """Every field of the original's document is there, at its level."""
    info = json.loads(fetch(node, "/info"))
    pools = [value for value in info.values() if isinstance(value, dict)]
    servers = [value for pool in pools for value in pool.values() if isinstance(value, dict)]
    missing = [name for name in TOP if name not in info]
    missing += [f"pool: {name}" for name in POOL if not pools or name not in pools[0]]
    missing += [f"server: {name}" for name in SERVER if not servers or name not in servers[0]]
    findings.check(not missing, f"/info: {len(TOP) + len(POOL) + len(SERVER)} fields, missing: {missing or 'none'}")
    server = servers[0] if servers else {}
    findings.check(
        server.get("redis_req_get", 0) > 0 and server.get("redis_req_set", 0) > 0, "/info counts GET and SET"
    )


def promtool(node: Node, findings: Findings) -> bool:
    """What Prometheus' own checker says; False when it is not installed."""
    program = os.environ.get("PROMTOOL_BIN") or shutil.which("promtool")
    if program is None:
        print("no promtool (apt-get install prometheus, or PROMTOOL_BIN names one): /metrics not checked by it")
        return False
    text = fetch(node, "/metrics")
    done = subprocess.run(
        [program, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    said = (done.stdout + done.stderr).strip()
    findings.check(
        not done.returncode and not said, f"promtool check metrics, {len(text.splitlines())} lines: {said or 'fine'}"
    )
    return True
