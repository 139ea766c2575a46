from collections.abc import Sequence

class LeadOrder:
    """The racks of one datacenter, by name."""

    def __init__(self, names: Sequence[str]) -> None: ...
    def order(self, token: int) -> list[int]:
        """All racks, the best first."""
