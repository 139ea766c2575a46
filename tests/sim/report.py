"""What one run of the simulator showed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cluster import Cluster


@dataclass
class Report:
    """Complaints, figures, and for one process what happened."""

    scenario: str
    seed: int
    nodes: int = 0
    complaints: list[str] = field(default_factory=list)
    converge_ms: list[int] = field(default_factory=list)
    """From the end of the faults until all views were equal and right."""
    detect_ms: list[int] = field(default_factory=list)
    """From a death until the last one knew."""
    datagrams: int = 0
    requests: int = 0
    answered: int = 0
    """Requests that got something else than an error."""
    cluster: Cluster | None = None
    lines: list[str] = field(default_factory=list)
    """The history of a run of requests."""

    def __str__(self) -> str:
        head = f"{self.scenario} seed {self.seed} ({self.nodes} nodes): "
        return head + ("; ".join(self.complaints[:3]) if self.complaints else "fine")
