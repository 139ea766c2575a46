from dynomite_mp.workers.data_path import DataPath
from dynomite_mp.workers.peer_cipher import NodeKey
from dynomite_mp.workers.source_conn import SourceConn

class PeerInConn(SourceConn):
    """A connection that another node has made to us."""

    def __init__(self, path: DataPath, fd: int, address: str, keys: NodeKey | None) -> None: ...
