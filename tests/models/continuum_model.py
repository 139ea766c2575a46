"""The slow, clear twin of cluster/continuum.pyx: looks at every token."""

from collections.abc import Sequence


def owner(token_lists: Sequence[Sequence[int]], token: int) -> int | None:
    """Place of the node that owns a token: the one with the smallest token not below it, else the smallest of all."""
    pairs = [(t, place) for place, tokens in enumerate(token_lists) for t in tokens]
    above = [pair for pair in pairs if pair[0] >= token]
    return min(above or pairs)[1] if pairs else None


def in_range(token: int, after: int, upto: int) -> bool:
    """Whether a token lies in (after, upto], which wraps around zero when after >= upto."""
    if after < upto:
        return after < token <= upto
    return token > after or token <= upto
