QUORUM_WAIT: int
QUORUM_AGREED: int
QUORUM_FAILED: int
QUORUM_DIFFER: int
REPLICA_WAITS: int
REPLICA_GOOD: int
REPLICA_ERROR: int
REPLICA_MISSED: int

class Replies:
    """The replies of one request, one replica per rack; for tests."""

    def __init__(self, racks: int) -> None: ...
    def good(self, rack: int, reply: bytes) -> int:
        """The verdict so far, a QUORUM_*."""
    def bad(self, rack: int, answered: bool) -> int: ...
    def again(self, rack: int) -> bool:
        """A replica that did not answer is asked once more; whether it is one."""
    @property
    def chosen(self) -> int:
        """The replica whose reply is the answer, -1 for none yet."""
    @property
    def first_bad(self) -> int: ...
    @property
    def differing(self) -> int:
        """How many good replies are not of the most frequent kind."""
