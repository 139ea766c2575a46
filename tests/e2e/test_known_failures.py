"""What made C Dynomite and its peers crash or answer wrongly, done to a cluster; docs/known-failures.md lists it.

All links between nodes are encrypted, as they were where most of it happened.

dc1  r1: west, east (the key space in halves)   r2: twin (all of it)        dc2  r1: far
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hiredis
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dynomite_mp.proto.dnode import DNODE_REQ
from dynomite_mp.proto.dnode_frames import DnodeFramer, encode_frame
from tests.accept.cluster_parts import Cluster
from tests.e2e.harness import PEER_PORT, STATS_PORT, AddressBlock, Node, Nodes, Resp, wait_for

TIMEOUT_MS = 400
BIG = 1_500_000
ANNOUNCED = 400_000_000
GREW_MOST = 64 << 20


@dataclass(frozen=True)
class Stage:
    cluster: Cluster
    west: Node
    east: Node
    twin: Node
    far: Node
    first_replies: list[object]
    """Of every node of dc1 to the first command it ever got, at DC_QUORUM."""


def make_key(directory: Path) -> str:
    path = directory / "dynomite.pem"
    key = rsa.generate_private_key(65537, 1024)  # the length that C nodes use
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return str(path)


@pytest.fixture(scope="module")
def stage(block: AddressBlock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("known")
    made = Nodes(block, directory)
    try:
        nodes = made.cluster(
            {"dc1": {"r1": 2, "r2": 1}, "dc2": {"r1": 1}},
            timeout=TIMEOUT_MS, datastore_persistence="none",
            secure_server_option="all", pem_key_file=make_key(directory), read_consistency="DC_QUORUM",
        )  # fmt: skip
        cluster = Cluster(nodes)
        cluster.start()
        yield Stage(cluster, *nodes, [node.call("GET", "never:written") for node in nodes[:3]])
    finally:
        made.destroy()


def pids(nodes: list[Node]) -> dict[str, int]:
    """Of all processes, by node and name; nobody may have died meanwhile."""
    return {f"{node.host} {row['name']}": row["pid"] for node in nodes for row in node.status()["processes"]}


@contextmanager
def nobody_dies(stage: Stage) -> Iterator[None]:
    before = pids(stage.cluster.nodes)
    yield
    assert pids(stage.cluster.nodes) == before


@contextmanager
def stopped(node: Node) -> Iterator[None]:
    """Its datastore does not answer; afterwards everybody reaches it again."""
    pid = node.pid_of("datastore")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        wait_for(lambda: node.call("PING") == b"PONG" and not is_error(node.call("DBSIZE")), 10, f"{node} to answer")


def is_error(reply: object) -> bool:
    return isinstance(reply, hiredis.ReplyError)


def held(node: Node, key: bytes) -> object:
    with node.store() as store:
        return store.call("GET", key)


def written(client: Resp, *words: bytes) -> bool:
    return not is_error(client.call(*words))


def test_the_first_command_of_a_fresh_cluster_may_be_a_quorum_read(stage: Stage) -> None:
    assert stage.first_replies == [None, None, None]


def test_a_write_at_dc_one_reaches_every_rack_of_every_datacenter(stage: Stage) -> None:
    keys = [stage.cluster.key_of(node, f"fan{n}") for n, node in enumerate(stage.cluster.nodes)]
    for number, node in enumerate(stage.cluster.nodes):
        for key in keys:
            with node.connect() as client:
                client.call("dyno_config:conn_consistency", "DC_ONE")
                assert client.call("SET", key, f"{number}") == b"OK"
            for owner in stage.cluster.owners(key):
                wait_for(lambda o=owner, k=key, n=number: held(o, k) == b"%d" % n, 10, f"{key!r} at {owner}")
    assert not stage.cluster.replica_problems(b"fan")


def test_values_beyond_every_buffer_in_commands_of_many_keys(stage: Stage) -> None:
    keys = [stage.cluster.key_of(node, "big") for node in (stage.west, stage.east)]
    assert keys[0] != keys[1]
    values = [os.urandom(BIG), os.urandom(BIG + 1)]
    with nobody_dies(stage), stage.west.connect(timeout_s=20) as client:
        assert client.call("MSET", keys[0], values[0], keys[1], values[1]) == b"OK"
        for node in (stage.west, stage.twin):
            assert node.connect(timeout_s=20).call("MGET", *keys) == values
        assert client.call("SCAN", "0", "COUNT", "1000")[0] is not None
        assert client.call("DEL", *keys) == 2


def test_timeouts_on_encrypted_links_cost_only_the_requests(stage: Stage) -> None:
    key = stage.cluster.key_of(stage.east, "slow")
    with nobody_dies(stage):
        with stopped(stage.east), stage.west.connect(timeout_s=20) as client:
            client.call("dyno_config:conn_consistency", "DC_SAFE_QUORUM")
            for number in range(300):
                client.send("HSET", key, f"field{number}", "x" * 500)
            replies = [client.reply() for _ in range(300)]
            assert all(map(is_error, replies))
            assert client.call("PING") == b"PONG"
        with stage.west.connect() as client:
            wait_for(lambda: written(client, b"SET", key, b"again"), 10, "a write to succeed")


def test_a_pipeline_beyond_all_budgets_is_answered_in_order(stage: Stage) -> None:
    key = stage.cluster.key_of(stage.east, "pipe")
    with nobody_dies(stage), stage.west.connect(timeout_s=60) as client:
        client.call("SET", key, "0")
        count = 30_000
        request = hiredis.pack_command(("INCR", key)) + hiredis.pack_command(("ECHO", "x" * 50))
        client.sock.settimeout(60)
        replies: list[object] = []
        for _ in range(count // 1000):
            client.send_raw(request * 1000)
            replies += [client.reply() for _ in range(2000)]
        assert replies[::2] == list(range(1, count + 1))
        assert set(replies[1::2]) == {b"x" * 50}


def test_a_datacenter_that_is_cut_off_hard_does_no_harm(stage: Stage) -> None:
    near = [stage.west, stage.east, stage.twin]
    before = pids(near)
    for process in stage.far.processes():
        process.kill()
    stage.far.wait()
    for node in near:
        with node.connect() as client:
            for number in range(50):
                assert client.call("SET", f"near{number}", "x") == b"OK"
    assert pids(near) == before
    stage.far.start()
    stage.cluster.wait_connected()
    key = b"back"
    assert stage.west.call("SET", key, "1") == b"OK"
    wait_for(lambda: held(stage.far, key) == b"1", 10, "a write to reach the other datacenter again")


def test_a_lost_peer_and_a_lost_datastore_keep_no_process_busy(stage: Stage) -> None:
    os.kill(stage.twin.pid_of("io[0]"), signal.SIGSTOP)
    try:
        with stopped(stage.east), stage.west.connect(timeout_s=20) as client:
            client.call("dyno_config:conn_consistency", "DC_SAFE_QUORUM")
            key = stage.cluster.key_of(stage.east, "busy")
            assert is_error(client.call("GET", key))
            processes = [psutil.Process(node.pid_of("io[0]")) for node in (stage.west, stage.east)]
            for process in processes:
                process.cpu_percent()
            shares = [process.cpu_percent(interval=1.0) for process in processes]
            assert max(shares) < 50, shares
    finally:
        os.kill(stage.twin.pid_of("io[0]"), signal.SIGCONT)
    with stage.west.connect() as client:
        wait_for(lambda: written(client, b"SET", b"busy", b"over"), 10, "a write to succeed")


def test_keys_of_several_nodes_are_never_combined_at_one_of_them(stage: Stage) -> None:
    keys = [stage.cluster.key_of(node, "set") for node in (stage.west, stage.east)]
    for number, key in enumerate(keys):
        assert stage.west.call("SADD", key, f"member{number}") == 1
    for command in (("SUNION",), ("SINTER",), ("SDIFF",), ("SUNIONSTORE", keys[0])):
        reply = stage.west.call(*command, *keys)
        assert is_error(reply), f"{command[0]} of keys of two nodes gave {reply!r}"


def test_a_node_executes_what_another_sends_even_if_it_is_not_the_owner(nodes: Nodes) -> None:
    """Two nodes may have different views for a while; a request that were routed again could go round for ever."""
    one, two = nodes.cluster({"dc1": {"r1": 2}}, datastore_persistence="none")
    cluster = Cluster([one, two])
    cluster.start()
    key = cluster.key_of(two)
    with socket.create_connection((one.host, PEER_PORT), timeout=10) as sock:
        framer = DnodeFramer()
        sock.sendall(encode_frame(77, DNODE_REQ, hiredis.pack_command(("SET", key, "here"))))
        frames = []
        while not frames:
            data = sock.recv(4096)
            assert data, "the node closed the connection"
            frames = framer.feed(data)
    assert [(frame.id, frame.payload) for frame in frames] == [(77, b"+OK\r\n")]
    assert held(one, key) == b"here" and held(two, key) is None


def test_lengths_that_are_announced_take_no_memory(node: Node) -> None:
    process = psutil.Process(node.pid_of("io[0]"))
    before = process.memory_info().rss
    head = encode_frame(1, DNODE_REQ, b"", version=2)
    assert head.endswith(b"*0\r\n")
    huge = [
        (PEER_PORT, head[: -len(b"*0\r\n")] + b"*%d\r\n" % ANNOUNCED),
        (PEER_PORT, b"   $2014$ 1 3 0 1 1 *%d d *1\r\n" % ANNOUNCED),
        (8102, b"*2\r\n$3\r\nGET\r\n$%d\r\n" % ANNOUNCED),
        (8102, b"*%d\r\n" % 1_000_000),
    ]
    socks = []
    for port, data in huge * 5:
        sock = socket.create_connection((node.host, port), timeout=5)
        sock.sendall(data + b"x" * 100)
        socks.append(sock)
    for _ in range(20):
        assert node.call("PING") == b"PONG"
    assert process.memory_info().rss - before < GREW_MOST
    for sock in socks:
        sock.close()
    assert node.pid_of("io[0]") == process.pid


def test_a_restart_does_not_wait_for_old_connections_of_any_port(node: Node) -> None:
    """The server's end closes first, so its address lingers in the kernel."""
    for port in (8102, PEER_PORT, STATS_PORT):
        with socket.create_connection((node.host, port), timeout=5) as sock:
            sock.sendall(b"GET /ping HTTP/1.0\r\n\r\n" if port == STATS_PORT else b"PING\r\n")
            if port != PEER_PORT:
                assert sock.recv(100)
            node_socket = sock.dup()
        node_socket.close()
    kept = socket.create_connection((node.host, 8102), timeout=5)
    node.restart()
    assert kept.recv(1) == b""
    kept.close()
    assert node.call("PING") == b"PONG"


BROKEN_KEY = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"


@pytest.mark.parametrize("text", ["", "no key", BROKEN_KEY], ids=["empty", "text", "broken"])
def test_a_key_file_that_holds_no_key_is_refused_at_start(nodes: Nodes, tmp_path: Path, text: str) -> None:
    pem = tmp_path / "wrong.pem"
    pem.write_text(text)
    node = nodes.make(secure_server_option="all", pem_key_file=str(pem), datastore_persistence="none")
    node.start(wait=False)
    assert node.wait() != 0
    assert "pem_key_file" in node.log()
    assert "Traceback" not in node.log()


@pytest.mark.skipif(shutil.which("memcached") is None, reason="needs memcached")
def test_a_memcached_get_is_answered_and_kills_nobody(nodes: Nodes, block: AddressBlock) -> None:
    host = block.take()
    arguments = ["memcached", "-l", host, "-p", "11211", *(["-u", "nobody"] if os.getuid() == 0 else [])]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as memcached:
        try:
            node = nodes.start(data_store="1", servers=[f"{host}:11211:1"])
            before = pids([node])
            for command in (b"get key\r\n", b"set key 0 0 1\r\nx\r\n", b"gets a b\r\n"):
                with socket.create_connection((node.host, 8102), timeout=10) as sock:
                    sock.sendall(command)
                    assert sock.recv(100)
            assert pids([node]) == before
        finally:
            memcached.kill()
