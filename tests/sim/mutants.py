"""Defects on purpose: each a small change of a rule that the simulator has to notice.

Not a test of its own: tests/unit/test_sim_mutants.py runs each one until some seed complains.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

MUTANTS: dict[str, "Mutant"] = {}


@dataclass(frozen=True)
class Mutant:
    name: str
    what: str
    scenarios: tuple[str, ...]
    """Where it shows."""
    target: type[Any]
    attribute: str
    make: Callable[[Any], Any]
    """From the right function to the wrong one."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        right = getattr(self.target, self.attribute)
        setattr(self.target, self.attribute, self.make(right))
        try:
            yield
        finally:
            setattr(self.target, self.attribute, right)
