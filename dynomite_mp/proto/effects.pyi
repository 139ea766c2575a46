def conflict(request: bytes) -> int:
    """Class of a write, its options considered: a place in commands.CONFLICTS."""

def conflict_of_effect(request: bytes) -> int:
    """The same of an effect, which is never of class lead."""

def probes(request: bytes) -> bytes:
    """The requests that must follow it, joined."""

def effect(request: bytes, reply: bytes, probed: bytes = b"", now_ms: int = 0) -> bytes:
    """The requests that the other replicas are sent, joined; empty when nothing has changed."""
