"""`/cluster_describe`: datacenters, racks and nodes in the C server's form, with fields of ours after its own.

The members are those of the topology that gossip publishes. Of the other nodes it says what the topology knows.
"""

from typing import Any

from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.enums import NodeState
from dynomite_mp.workers.node_figures import NodeIdentity


def cluster_document(topology: Topology, who: NodeIdentity, state: NodeState) -> dict[str, Any]:
    """`who` and `state` are of the local node."""

    def server(node: Node) -> dict[str, Any]:
        return _server(node) | (_own(who, state) if node.is_local else {})

    return {
        "dcs": [
            {
                "name": dc.name,
                "racks": [{"name": rack.name, "servers": [server(node) for node in rack.nodes]} for rack in dc.racks],
            }
            for dc in topology.datacenters
        ]
    }


def _server(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "host": node.host,
        "port": node.port,
        "token": node.tokens[0],
        "tokens": list(node.tokens),
    }


def _own(who: NodeIdentity, state: NodeState) -> dict[str, Any]:
    """What only the node itself knows; on a machine with private addresses the environment names public ones."""
    own: dict[str, Any] = {"client_port": who.client_port, "state": state.name}
    if who.public_address:
        own["name"] = who.public_address
    if who.public_name:
        own["host"] = who.public_name
    return own
