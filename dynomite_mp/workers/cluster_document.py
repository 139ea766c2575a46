"""`/cluster_describe`: datacenters, racks and nodes in the C server's form, with fields of ours after its own.

This version knows one node, itself. What it serves is what it describes: seeds that it does not talk to are left out.
"""

from typing import Any

from dynomite_mp.workers.health import node_state
from dynomite_mp.workers.node_figures import NodeFigures


def host_and_port(address: str) -> tuple[str, int]:
    """`host:port` with the brackets of IPv6 taken off; a path has port 0."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return address, 0
    return host.removeprefix("[").removesuffix("]"), int(port)


def cluster_document(node: NodeFigures) -> dict[str, Any]:
    who = node.identity
    host, port = host_and_port(who.dyn_listen)
    server: dict[str, Any] = {
        "name": who.public_address or host,
        "host": who.public_name or host,
        "port": port,
        "token": who.tokens[0] if who.tokens else 0,
        "tokens": list(who.tokens),
        "client_port": host_and_port(who.listen)[1],
        "state": node_state(node).name,
    }
    return {"dcs": [{"name": who.dc, "racks": [{"name": who.rack, "servers": [server]}]}]}
