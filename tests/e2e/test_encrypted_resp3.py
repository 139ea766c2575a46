"""RESP3 clients of a cluster whose links are encrypted: what another node answers has the shape that they chose.

An encrypted frame has no room to say the client's protocol, so the other node answers in RESP2.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.accept.cluster_02_mixed import make_key
from tests.accept.cluster_parts import Cluster, running_cluster
from tests.e2e.harness import Resp


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One rack of two nodes."""
    key: Path = make_key(tmp_path_factory.mktemp("key"))
    with running_cluster({"dc": {"r": "oo"}}, secure_server_option="all", pem_key_file=key) as running:
        yield running


@pytest.mark.parametrize(("place", "where"), [(0, "here"), (1, "at the other node")], ids=["own", "forwarded"])
def test_replies_are_of_resp3(cluster: Cluster, place: int, where: str) -> None:
    key = cluster.key_of(cluster.nodes[place], where)
    with Resp(cluster.nodes[0].host) as client:
        client.call(b"HELLO", b"3")
        for request, wanted in (
            ((b"GET", key), b"_\r\n"),
            ((b"ZADD", key, b"1.5", b"m"), b":1\r\n"),
            ((b"ZSCORE", key, b"m"), b",1.5\r\n"),
        ):
            client.send(*request)
            assert received(client, len(wanted)) == wanted


def received(client: Resp, size: int) -> bytes:
    """The next bytes as they came."""
    data = b""
    while len(data) < size:
        data += client.sock.recv(size - len(data))
    return data
