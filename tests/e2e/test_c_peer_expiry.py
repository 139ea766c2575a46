"""What a C node in another rack is sent: commands with the arguments that it knows, lest it closes the connection."""

from tests.accept.cluster_parts import figures
from tests.e2e.harness import PEER_PORT, AddressBlock, Nodes, wait_for
from tests.e2e.test_c_peer_resp3 import PlayedCNode


def test_an_expiry_stays_as_the_client_said_it(nodes: Nodes, block: AddressBlock) -> None:
    played = PlayedCNode(block.take())
    try:
        node = nodes.make(
            datacenter="dc1", rack="r1", tokens="0", datastore_persistence="none", enable_gossip=False,
            dyn_seeds=[f"{played.host}:{PEER_PORT}:r2:dc1:0"],
        ).start()  # fmt: skip
        wait_for(lambda: figures(node)["peer_connections"] >= 1, 20, "the C node to be connected")
        with node.connect() as client:
            client.call("SET", "key", "value")
            wait_for(lambda: isinstance(client.call("DUMP", "key"), bytes), what="reads of its own datastore")
            dump = client.call("DUMP", "key")
            request = [b"RESTORE", b"other", b"100000", dump]
            assert client.call(*request) == b"OK"
            wait_for(lambda: any(words[0] == b"RESTORE" for words in played.asked), what="the copy")
        assert request in played.asked
        assert [b"DBSIZE"] not in played.asked
    finally:
        played.close()
