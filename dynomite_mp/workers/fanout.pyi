from collections.abc import Callable, Iterable

from dynomite_mp.cluster.route import RouteTable
from dynomite_mp.workers.peer_out_conn import PeerOutConn
from dynomite_mp.workers.writes import Writes

class Fanout(Writes):
    def set_table(self, table: RouteTable, peer_count: int, conns: Iterable[PeerOutConn]) -> None:
        """peer_count connections to each node; `conns` are those to keep, each with its new node."""
    def set_node_state(self, state: int) -> None:
        """An enums.NodeState."""
    def set_read_repairs(self, mends_reads: bool) -> None: ...
    def set_remote_reads(self, reads_remote: bool) -> None: ...
    def set_on_demand(self, connect: Callable[[], object] | None) -> None: ...
