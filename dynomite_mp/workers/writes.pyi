from collections.abc import Callable

from dynomite_mp.workers.remote_lane import RemoteLane
from dynomite_mp.workers.stamps import Stamps

HINT_MISSED: int
HINT_UNKNOWN: int
HINT_REFUSED: int

class Writes(Stamps):
    def set_remote(self, remote: RemoteLane) -> None: ...
    def has_remote_lane(self) -> bool: ...
    def set_catching_up(self, missing: int) -> None:
        """enums.Missing: reads go to other racks, as long as any can take them."""
    def set_on_store_back(self, on_store_back: Callable[[], object]) -> None:
        """Called when the datastore was silent and is not any more, before anything that it says is used."""
    def set_on_behind(self, on_behind: Callable[[str, int], object]) -> None:
        """Called with the address of a replica and how many writes it was known to have missed; lane_empty answers."""
    def lane_empty(self, node: bytes, number: int) -> None: ...
    def ask_again(self) -> None: ...
    def mark_behind(self, node: bytes, is_behind: bool) -> None: ...
