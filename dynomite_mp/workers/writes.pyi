from dynomite_mp.workers.remote_lane import RemoteLane
from dynomite_mp.workers.stamps import Stamps

HINT_MISSED: int
HINT_UNKNOWN: int
HINT_REFUSED: int

class Writes(Stamps):
    def set_remote(self, remote: RemoteLane) -> None: ...
    def has_remote_lane(self) -> bool: ...
