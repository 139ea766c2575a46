from dynomite_mp.workers.conn import Conn

class SourceConn(Conn):
    """A connection that requests come from."""

    @property
    def address(self) -> str:
        """Of the other side, for messages: `host:port`, or the path of the unix socket it came by."""
