from dynomite_mp.cluster.topology import Node, Topology

LEVEL_ONE: int
LEVEL_QUORUM: int
LEVEL_SAFE_QUORUM: int
LEVEL_EACH_SAFE_QUORUM: int
PLAN_LOCAL: int
PLAN_ONE_READ: int
PLAN_ONE_WRITE: int
PLAN_QUORUM: int
PLAN_SAFE_QUORUM: int
PLAN_EACH_SAFE_QUORUM: int
PLAN_LEAD: int
PLAN_EFFECT: int
PLAN_PROBE: int
NO_OWNER: int

class RouteTable:
    """A topology made ready for the data path. A node is its index in `node_list`."""

    def __init__(self, topology: Topology) -> None: ...
    @property
    def version(self) -> int: ...
    @property
    def racks(self) -> int:
        """Of this datacenter, as are my_rack, nodes and node_list."""
    @property
    def my_rack(self) -> int: ...
    @property
    def local_node(self) -> int: ...
    @property
    def nodes(self) -> int: ...
    @property
    def node_list(self) -> tuple[Node, ...]: ...
    @property
    def addresses(self) -> tuple[bytes, ...]:
        """Peer addresses of node_list, host:port."""
    @property
    def is_alone(self) -> bool:
        """One node in this datacenter and no other datacenter."""
    @property
    def has_remote(self) -> bool: ...
    @property
    def remote_dcs(self) -> int: ...
    def owner_of(self, rack: int, token: int) -> int: ...
    def plan_of(self, is_write: bool, level: int, rack_only: bool = False) -> int: ...
    def signature_of(self, token: int, everywhere: bool = False) -> int: ...
