from dynomite_mp.workers.data_path import DataPath
from dynomite_mp.workers.sessions import Session
from dynomite_mp.workers.source_conn import SourceConn

class ClientConn(SourceConn):
    def __init__(self, path: DataPath, fd: int, address: str) -> None: ...
    @property
    def session(self) -> Session | None:
        """None until a command needs one."""
