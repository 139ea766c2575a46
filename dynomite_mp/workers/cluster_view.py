"""The cluster as a worker knows it, and what it posts of that for `status`, `/metrics` and `/cluster_describe`.

    gossip --TOPOLOGY--> ClusterView (who is where, and in which state) --+
    PeerMesh, WanMesh: links -----------------------------------------+--+--> Bulletin, once a second
    WanPath: lags ------------------------------------------------------+

Not here: routing (cluster.route takes the Topology), what is shown (cluster_document, metrics, status).

Invariant: `topology` and `rows` are of the same snapshot, in the same moment.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from dynomite_mp.cluster.membership_topology import NodeRow, decode_snapshot
from dynomite_mp.cluster.topology import Topology
from dynomite_mp.config import Config
from dynomite_mp.ipc.bulletin import LagRow, MemberRow, PeerRow, shortened
from dynomite_mp.workers.peer_mesh import PeerLink
from dynomite_mp.workers.topology_source import configured_topology

Lag = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class ClusterView:
    """One published snapshot."""

    topology: Topology
    rows: tuple[NodeRow, ...]

    @classmethod
    def configured(cls, config: Config) -> Self:
        """What the configuration says, until gossip has spoken. Raises TopologyError when that makes no cluster."""
        topology = configured_topology(config)
        rows = (
            NodeRow(node.dc, node.rack, node.host, node.port, node.tokens, node.is_local, node.secured)
            for node in topology.nodes()
        )
        return cls(topology, tuple(rows))

    @classmethod
    def published(cls, blob: bytes) -> Self:
        """Of a TOPOLOGY message."""
        version, rows = decode_snapshot(blob)
        return cls(Topology.build([row.node() for row in rows], version), tuple(rows))

    def members(self) -> tuple[MemberRow, ...]:
        return tuple(
            MemberRow(
                row.dc, row.rack, row.host, row.port, row.tokens[0], len(row.tokens), row.is_local, int(row.state),
                row.flavour, row.client_port,
            )
            for row in self.rows
        )  # fmt: skip


def peer_rows(links: Iterable[PeerLink]) -> tuple[PeerRow, ...]:
    """One row for each node that this process is to be connected to."""
    by_node: dict[tuple[str, int], list[PeerLink]] = {}
    for link in links:
        by_node.setdefault((link.node.host, link.node.port), []).append(link)
    return tuple(_peer_row(host, port, same) for (host, port), same in by_node.items())


def _peer_row(host: str, port: int, links: list[PeerLink]) -> PeerRow:
    conns = [link.conn for link in links if link.conn is not None]
    met = [link for link in links if link.times_up]
    flavour = ("ours" if met[0].is_ours else "c") if met else "unknown"
    return PeerRow(
        host,
        port,
        len(links),
        sum(link.is_up for link in links),
        flavour,
        any(conn.is_silent for conn in conns),
        all(link.is_resting for link in links),
        sum(conn.in_flight for conn in conns if conn.is_up),
        sum(conn.waiting_bytes for conn in conns if conn.is_up),
        sum(link.times_up for link in links),
        shortened(next((link.last_error for link in links if link.last_error and not link.is_up), "")),
    )


def lag_rows(lags: Mapping[str, Lag]) -> tuple[LagRow, ...]:
    return tuple(LagRow(name, *figures) for name, figures in lags.items())
