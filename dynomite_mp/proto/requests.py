"""Requests as bytes, for whoever asks a datastore or a node on its own account. Not for what passes through."""


def request(*words: str | bytes | int) -> bytes:
    """One command in array form; text as UTF-8, numbers in decimal."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])
