from dynomite_mp.workers.answers import Answers
from dynomite_mp.workers.remote_lane import RemoteLane

HINT_MISSED: int
HINT_UNKNOWN: int
HINT_REFUSED: int

class Writes(Answers):
    def set_remote(self, remote: RemoteLane) -> None: ...
    def has_remote_lane(self) -> bool: ...
