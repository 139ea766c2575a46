def peeked(data: bytes) -> bytes | None:
    """The key of the request that may begin here, as it is guessed."""
