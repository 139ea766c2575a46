from collections.abc import Sequence

def request_of(args: Sequence[bytes]) -> bytes:
    """The bytes of a request with these arguments; for tests and the cold side."""
