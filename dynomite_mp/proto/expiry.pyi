def absolute(request: bytes, now_ms: int) -> bytes:
    """The request with its expiry made absolute; the same bytes when there is nothing to make."""
