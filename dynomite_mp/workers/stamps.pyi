from collections.abc import Callable

from dynomite_mp.workers.answers import Answers

COPY_DISORDERED: int
COPY_SKIPPED: int
COPY_FORGOTTEN: int
COPY_REFUSED: int
COPY_WIDE: int
COPY_READ: int

class Stamps(Answers):
    def set_identity(
        self,
        node_id: int,
        boot_id: int,
        worker_id: int,
        *,
        skew_max_ms: int,
        shift_ms: int = 0,
        on_skew: Callable[[str], object] | None = None,
    ) -> None:
        """Who stamps here. Without it nothing is stamped."""
    @property
    def is_stamping(self) -> bool: ...
    def clock_ahead_ms(self) -> int:
        """By how much the cluster's time is before this machine's."""
