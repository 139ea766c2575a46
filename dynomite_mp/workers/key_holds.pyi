from collections.abc import Callable, Sequence
from typing import Any

from dynomite_mp.workers.peer_service import PeerService
from dynomite_mp.workers.source_conn import SourceConn

class HeldWrite: ...
class KeyHold: ...
class CopySource(SourceConn): ...

class KeyHolds(PeerService):
    """Keys whose writes wait while a copy of the key is fetched."""

    def set_on_applied(self, on_applied: Callable[[int, bytes, bytes], object]) -> None:
        """on_applied(copy id, key, the datastore's error or b"")."""
    def hold_keys(self, copy_id: int, keys: Sequence[bytes]) -> list[bytes]:
        """From now on writes of these keys wait; those of the keys that are this io worker's and free."""
    def keys_known(self, keys: Sequence[bytes], most: int) -> list[tuple[bytes, tuple[Any, ...] | None]]:
        """(key, key_known(key)) of those of the keys that are this io worker's, whether they are held or not; of their
        writes since the last overwrite so many at most, whenever they were."""
    def key_known(self, key: bytes) -> tuple[Any, ...] | None:
        """(stamp, origin node, flags, ids of recent writes, stamp and origin of its last overwrite, other ids, stamps
        of the recent ones)."""
    def apply_key(self, copy_id: int, key: bytes, known: Any, commands: Sequence[bytes]) -> bool:
        """Commands that make the key equal to its copy, then what was held; False if the hold is gone."""
    def release_keys(self, copy_id: int) -> None:
        """Whatever this copy still holds goes on without a copy."""
    def expire_holds(self) -> None:
        """Holds that were kept for too long are given up."""
