from dynomite_mp.workers.data_path import DataPath
from dynomite_mp.workers.peer_cipher import LinkCipher
from dynomite_mp.workers.target_conn import TargetConn

class LaterReply:
    """A request that is answered out of order."""

class PeerOutConn(TargetConn):
    """A connection to another node; the index is its place among those to the same node."""

    node: int
    """Place in the route table, -1: no longer part of the topology."""
    is_ours: bool
    """A node of this program; known when it has answered."""
    takes_batches: bool
    """It reads several writes behind one header."""
    is_leading: bool
    """It says that it leads."""

    def __init__(
        self, path: DataPath, owner: object, node: int, index: int, same_dc: bool, cipher: LinkCipher | None
    ) -> None: ...
    @property
    def index(self) -> int: ...
    @property
    def same_dc(self) -> bool: ...
    @property
    def version_seen(self) -> int:
        """Of the frame that came last."""
