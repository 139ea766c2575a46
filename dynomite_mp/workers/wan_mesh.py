"""Connections from the replication process to every node of the other datacenters, as the topology names them.

The counterpart of peer_mesh for the WAN: a link belongs to a place in a rack of a remote datacenter, not to a place in
a route table.
"""

import asyncio
from collections.abc import Callable

from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.workers.peer_cipher import NodeKey
from dynomite_mp.workers.peer_mesh import PeerLink, PeerOrders
from dynomite_mp.workers.wan_path import RemoteDatacenter, RemoteRack, WanPath


class WanLink(PeerLink):
    """`where` is what the data path files the connection under."""

    where: tuple[RemoteRack, int]


class WanMesh:
    """All links of the process. `swap` is the only way in."""

    def __init__(
        self,
        path: WanPath,
        loop: asyncio.AbstractEventLoop,
        *,
        connections: int,
        bind_host: str,
        key: NodeKey | None,
        is_secured: Callable[[Node, Node], bool],
        on_change: Callable[[PeerLink], None],
    ) -> None:
        self._path = path
        self._loop = loop
        self._bind_host = bind_host
        self._key = key
        self._is_secured = is_secured
        self._on_change = on_change
        self._links: dict[tuple[str, int], WanLink] = {}
        self._orders = PeerOrders()

    @property
    def links(self) -> list[WanLink]:
        return list(self._links.values())

    def swap(self, topology: Topology) -> None:
        """Links of nodes that stay are kept, whatever rack order or place they have now."""
        datacenters: list[RemoteDatacenter] = []
        kept: dict[tuple[str, int], WanLink] = {}
        fresh: list[WanLink] = []
        for index, dc in enumerate(topology.datacenters[1:]):
            remote = RemoteDatacenter(dc.name, index, topology.rack_order(dc))
            datacenters.append(remote)
            for rack in remote.rack_list():
                for place, node in enumerate(rack.nodes):
                    link = self._links.pop((node.host, node.port), None)
                    if link is None:
                        link = self._new_link(topology.local, node)
                        fresh.append(link)
                    link.node = node
                    link.where = (rack, place)
                    kept[node.host, node.port] = link
        gone = list(self._links.values())
        self._links = kept
        conns = [(*link.where, link.conn) for link in kept.values() if link.conn is not None]
        self._path.set_datacenters(datacenters, conns)
        for link in gone:
            link.close()
        self._orders.apply(fresh)
        for link in fresh:
            link.start()

    def _new_link(self, local: Node, node: Node) -> WanLink:
        return WanLink(
            self._path,
            self._loop,
            node,
            0,
            place=0,
            same_dc=False,
            bind_host=self._bind_host,
            key=self._key if self._is_secured(local, node) else None,
            on_change=self._on_change,
        )

    def take_order(self, key: str, value: str) -> bool:
        """A setting about a single peer; False if it is none."""
        return self._orders.take(self.links, key, value)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()
