from dynomite_mp.workers.data_path import DataPath
from dynomite_mp.workers.sessions import Session
from dynomite_mp.workers.source_conn import SourceConn

class ClientConn(SourceConn):
    def __init__(self, path: DataPath, fd: int, address: str, read_level: int = 0, write_level: int = 0) -> None:
        """Levels are enums.Consistency."""
    @property
    def session(self) -> Session | None:
        """None until a command needs one."""
