class HybridClock:
    """Stamps: 48 bits of Unix milliseconds, 16 bits below them. `unix_ns` is this machine's time."""

    def __init__(self, skew_max_ms: int, shift_ms: int = 0) -> None: ...
    def configure(self, skew_max_ms: int, shift_ms: int) -> None: ...
    @property
    def last(self) -> int: ...
    @property
    def ahead_ms(self) -> int:
        """By how much this clock runs before this machine's."""
    def now_at(self, unix_ns: int) -> int:
        """A stamp above all before."""
    def follow_at(self, remote: int, unix_ns: int) -> bool:
        """Another node's clock was seen; False: it is further ahead than is followed."""
