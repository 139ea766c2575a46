from dynomite_mp.workers.data_path import DataPath
from dynomite_mp.workers.datastore_link import DatastoreLink
from dynomite_mp.workers.target_conn import TargetConn

class DatastoreConn(TargetConn):
    """One of the connections of a protocol group; the index is its place in the group."""

    def __init__(self, path: DataPath, owner: DatastoreLink, group: int, index: int) -> None: ...
    @property
    def group(self) -> int:
        """GROUP_RESP2 or GROUP_RESP3."""
    @property
    def index(self) -> int: ...
