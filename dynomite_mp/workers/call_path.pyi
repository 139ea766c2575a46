from collections.abc import Callable, Sequence

from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.proto.dnode_frames import ExtensionFields
from dynomite_mp.workers.data_path import DataPath
from dynomite_mp.workers.peer_out_conn import PeerOutConn

_Reply = tuple[bytes, ExtensionFields | None]

class CallBatch:
    """Requests that were sent together and what came back for them."""

    @property
    def replies(self) -> list[_Reply | None]: ...
    @property
    def pending(self) -> int: ...

class CallPath(DataPath):
    """The requests of the replication process to single nodes, each with its reply."""

    def __init__(
        self,
        schedule_turn: Callable[[], object],
        schedule_tick: Callable[[], object],
        slab: SlabWriter,
        *,
        deadline_ms: int,
    ) -> None: ...
    def send(
        self,
        conn: PeerOutConn,
        payloads: Sequence[bytes],
        on_done: Callable[[list[_Reply | None]], object],
        *,
        is_forward: bool = False,
        extensions: Sequence[bytes] | None = None,
    ) -> CallBatch | None:
        """All on one connection, in this order; None: nothing was sent, the connection is of no use now.

        `extensions` are those of the payloads, in their order; a C node gets none.
        """
    def waiting_bytes(self) -> int:
        """Bytes of requests that are not answered yet."""
    def tick(self) -> bool:
        """Deadlines; True: call it again in 10 ms."""
