"""The cluster as the configuration names it: this node and its seeds, as a Topology."""

from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.config import Config

LONE_TOKEN = 0  # a node without seeds owns everything, wherever it stands


def configured_topology(config: Config, version: int = 1) -> Topology:
    """Raises TopologyError when the nodes make no cluster."""
    peer = config.advertise or config.dyn_listen
    tokens = config.tokens or (LONE_TOKEN,)
    own = Node(config.datacenter, config.rack, peer.host or "localhost", peer.port, tokens, is_local=True)
    seeds = (
        Node(seed.datacenter, seed.rack, seed.address.host, seed.address.port, seed.tokens) for seed in config.dyn_seeds
    )
    return Topology.build([own, *seeds], version)
