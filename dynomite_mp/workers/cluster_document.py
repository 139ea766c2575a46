"""Who is in the cluster, in the forms that others read.

    /cluster_describe, DYNO TOPOLOGY         as the C server: datacenters, racks, servers; fields of ours after its own
    /REST/v1/admin/cluster_describe          as dynomite-manager: a flat list, every value a string (Dyno reads it)
    /REST/v1/admin/get_seeds                 as dynomite-manager: a seed list (a node's florida_provider reads it)

The members are those that gossip publishes. Of a node that does not gossip (a C node) its client port is not known;
then this node's own is given, because a C cluster has one for all. The same holds for hash and hash tag, which have to
be equal everywhere.
"""

from typing import Any

from dynomite_mp.cluster.membership_topology import NodeRow
from dynomite_mp.cluster.topology import Node
from dynomite_mp.enums import NodeState
from dynomite_mp.ipc.bulletin import Bulletin, seen_state
from dynomite_mp.workers.cluster_view import ClusterView
from dynomite_mp.workers.node_figures import NodeIdentity

NO_PORT = "0"


class ClusterDocument:
    """The forms of one view, as seen by one node: `who` and `state` are of the node itself, `seen` of the others."""

    def __init__(self, view: ClusterView, who: NodeIdentity, state: NodeState, seen: Bulletin) -> None:
        self._view = view
        self._who = who
        self._state = state
        self._seen = seen
        self._rows = {row.address: row for row in view.rows}

    # ---- the C server's

    def nested(self) -> dict[str, Any]:
        return {
            "dcs": [
                {
                    "name": dc.name,
                    "racks": [
                        {"name": rack.name, "servers": [self._server(node) for node in rack.nodes]} for rack in dc.racks
                    ],
                }
                for dc in self._view.topology.datacenters
            ]
        }

    def _server(self, node: Node) -> dict[str, Any]:
        row = self._rows[node.host, node.port]
        return {
            "name": (node.is_local and self._who.public_address) or node.name,
            "host": self._host(node),
            "port": node.port,
            "token": node.tokens[0],
            "tokens": list(node.tokens),
            "client_port": self._client_port(row),
            "stats_port": row.stats_port or self._who.stats_port,
            "state": self._state_of(row).name,
            "hash": row.hash or self._who.hash,
            "hash_tag": row.hash_tag.decode(errors="replace") if row.hash else self._who.hash_tag,
        }

    def _host(self, node: Node) -> str:
        """On a machine with private addresses the environment names public ones, for the node itself only."""
        return (node.is_local and self._who.public_name) or node.host

    def _client_port(self, row: NodeRow) -> int:
        return row.client_port or self._who.client_port

    def _state_of(self, row: NodeRow) -> NodeState:
        return self._state if row.is_local else seen_state(row.state, self._seen.peer(row.host, row.port))

    # ---- dynomite-manager's

    def flat(self) -> list[dict[str, str]]:
        """One item a token, all datacenters. `zone` is what Dyno takes for the rack."""
        items = []
        for node in self._view.topology.nodes():
            row = self._rows[node.host, node.port]
            port = str(self._client_port(row))
            item = {
                "hostname": self._host(node),
                "ip": (node.is_local and self._who.public_address) or node.host,
                "port": port,
                "secure_port": port,
                "secure_storage_port": NO_PORT,
                "peer_port": str(node.port),
                "rack": node.rack,
                "zone": node.rack,
                "dc": node.dc,
            }
            hash_tag = row.hash_tag.decode(errors="replace") if row.hash else self._who.hash_tag
            if hash_tag:
                item["hashtag"] = hash_tag
            items += [{"token": str(token), **item} for token in node.tokens]
        return items

    def seeds(self) -> str:
        """host:port:rack:dc:tokens of every node, joined by `|`."""
        return "|".join(
            f"{node.host}:{node.port}:{node.rack}:{node.dc}:{','.join(map(str, node.tokens))}"
            for node in self._view.topology.nodes()
        )
