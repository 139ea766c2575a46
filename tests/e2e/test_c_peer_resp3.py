"""A RESP3 client whose key a C node owns: the C node answers in RESP2, the client gets what RESP3 says.

The C node is played: it listens on the peer port, answers with version 1 and what the test gives it.
"""

import socket
import threading
from collections.abc import Iterator

import pytest

from dynomite_mp.cluster.token import hash_key
from dynomite_mp.proto.dnode import DNODE_REQ, DNODE_RES
from dynomite_mp.proto.dnode_frames import DnodeFramer, encode_frame
from dynomite_mp.proto.framer import frame_requests
from tests.accept.cluster_parts import figures
from tests.e2e.harness import PEER_PORT, AddressBlock, Node, Nodes, wait_for

HALF = 2**31
REPLIES = {
    b"HGETALL": b"*2\r\n$5\r\nfield\r\n$5\r\nvalue\r\n",
    b"SMEMBERS": b"*1\r\n$1\r\nm\r\n",
    b"ZSCORE": b"$3\r\n1.5\r\n",
    b"ZRANGE": b"*2\r\n$1\r\nm\r\n$3\r\n1.5\r\n",
    b"GET": b"$-1\r\n",
    b"INCR": b":7\r\n",
    b"SET": b"+OK\r\n",
    b"RESTORE": b"+OK\r\n",
    b"PING": b"+PONG\r\n",
}


class PlayedCNode:
    """One thread per connection; ends with its sockets."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.server = socket.create_server((host, PEER_PORT))
        self.socks: list[socket.socket] = []
        self.asked: list[list[bytes]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.server.accept()
            except OSError:
                return
            self.socks.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        framer = DnodeFramer()
        while True:
            try:
                data = sock.recv(65536)
            except OSError:
                return
            if not data:
                return
            for frame in framer.feed(data):
                if frame.type == DNODE_REQ:
                    (request,), _, _ = frame_requests(frame.payload)
                    self.asked.append(list(request.args))
                    reply = REPLIES.get(request.args[0].upper(), b"-ERR not played\r\n")
                    sock.sendall(encode_frame(frame.id, DNODE_RES, reply))

    def close(self) -> None:
        self.server.close()
        for sock in self.socks:
            sock.close()


@pytest.fixture
def pair(nodes: Nodes, block: AddressBlock) -> Iterator[Node]:
    played = PlayedCNode(block.take())
    try:
        node = nodes.make(
            datacenter="dc1", rack="r1", tokens="0", datastore_persistence="none", enable_gossip=False,
            dyn_seeds=[f"{played.host}:{PEER_PORT}:r1:dc1:{HALF}"],
        ).start()  # fmt: skip
        wait_for(lambda: figures(node)["peer_connections"] >= 1, 20, "the C node to be connected")
        yield node
    finally:
        played.close()


def key_of_c_node() -> str:
    return next(f"k{n}" for n in range(100) if 0 < hash_key("murmur", b"k%d" % n) <= HALF)


def raw(sock: socket.socket, words: list[str], size: int) -> bytes:
    parts = [word.encode() for word in words]
    sock.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
    got = b""
    while len(got) < size:
        data = sock.recv(size - len(got))
        assert data
        got += data
    return got


def test_replies_of_a_c_node_have_the_shape_that_the_client_asked_for(pair: Node) -> None:
    key = key_of_c_node()
    wanted = {
        ("HGETALL", key): b"%1\r\n$5\r\nfield\r\n$5\r\nvalue\r\n",
        ("SMEMBERS", key): b"~1\r\n$1\r\nm\r\n",
        ("ZSCORE", key, "m"): b",1.5\r\n",
        ("ZRANGE", key, "0", "-1", "WITHSCORES"): b"*1\r\n*2\r\n$1\r\nm\r\n,1.5\r\n",
        ("ZRANGE", key, "0", "-1"): REPLIES[b"ZRANGE"],
        ("GET", key): b"_\r\n",
        ("INCR", key): b":7\r\n",
        ("SET", key, "v"): b"+OK\r\n",
    }
    with pair.connect() as three, pair.connect() as two:
        three.call("HELLO", "3")
        for words, reply in wanted.items():
            assert raw(three.sock, list(words), len(reply)) == reply, words
            plain = REPLIES[words[0].encode()]
            assert raw(two.sock, list(words), len(plain)) == plain, words
