from dynomite_mp.workers.remote_lane import RemoteLane
from dynomite_mp.workers.stamps import Stamps

HINT_MISSED: int
HINT_UNKNOWN: int
HINT_REFUSED: int

class Writes(Stamps):
    def set_remote(self, remote: RemoteLane) -> None: ...
    def has_remote_lane(self) -> bool: ...
    def set_catching_up(self, is_catching_up: bool) -> None:
        """Reads go to other racks, as long as any can take them."""
