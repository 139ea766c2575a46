"""A RESP2 reply as the RESP3 reply that the same command would have had: column resp3_shape of the command table.

Nodes of C Dynomite speak RESP2 to everybody. A client of ours that said HELLO 3 expects maps, sets and doubles all the
same, and replies of several replicas are compared byte by byte, so a reply that comes from a C node is put into shape
before anything else is done with it.

    tree of the RESP2 reply --> SHAPERS[row.resp3_shape](tree, words of the request) --> bytes of RESP3

What it is not: it is not on the way of replies of our own nodes; those had a RESP3 datastore.

Invariants: pure; a null becomes the null of RESP3 wherever it stands; what does not look as its shape says, or is
nested deeper than any reply, is left as it came, which is valid RESP3 too.
"""

from collections.abc import Callable, Sequence

from dynomite_mp.proto.commands import COMMANDS, Command
from dynomite_mp.proto.framer import frame_requests

MOST_NESTING = 16
NULL = b"_\r\n"
Words = Sequence[bytes]


class OutOfShapeError(Exception):
    """The reply is not what the shape expects."""


class Scalar(bytes):
    """A reply without parts, as the bytes that it came in."""


Tree = Scalar | list["Tree"] | None


def reshape(command: Command, words: Words, reply: bytes) -> bytes:
    """The reply to a command of the table whose arguments, its name first, are `words`."""
    if reply[:1] in (b"+", b"-", b":"):
        return reply
    try:
        tree, end = _parse(reply, 0, 0)
        if end != len(reply):
            return reply
        return bytes(SHAPERS.get(command.resp3_shape, _same)(tree, words))
    except (OutOfShapeError, ValueError, IndexError):
        return reply


def reshape_by_id(command_id: int, words: Words, reply: bytes) -> bytes:
    return reshape(COMMANDS[command_id - 1], words, reply)


def reshape_frame(command_id: int, request: bytes, reply: bytes) -> bytes:
    """The same for the request as it was sent; it is only looked into when the shape may depend on it."""
    command = COMMANDS[command_id - 1]
    if reply[:1] == b"$" and command.resp3_shape not in SHAPERS:
        return NULL if reply[1:2] == b"-" else reply
    requests, _, _ = frame_requests(request)
    return reshape(command, requests[0].args, reply) if requests else reply


# ---- RESP2 to a tree and a tree to bytes -----------------------------------------------------------------------------


def _parse(data: bytes, at: int, depth: int) -> tuple[Tree, int]:
    if depth > MOST_NESTING:
        raise OutOfShapeError
    line = data.index(b"\r\n", at)
    kind, end = data[at : at + 1], line + 2
    if kind == b"$" or kind == b"*":
        count = int(data[at + 1 : line])
        if count < 0:
            return None, end
        if kind == b"$":
            end += count + 2
            return Scalar(data[at:end]), end
        items: list[Tree] = []
        for _ in range(count):
            item, end = _parse(data, end, depth + 1)
            items.append(item)
        return items, end
    return Scalar(data[at:end]), end


def _plain(tree: Tree) -> bytes:
    if tree is None:
        return NULL
    if isinstance(tree, Scalar):
        return tree
    return _aggregate(b"*", tree, _plain)


def _aggregate(kind: bytes, items: Sequence[Tree], of_item: Callable[[Tree], bytes]) -> bytes:
    return b"%s%d\r\n" % (kind, len(items)) + b"".join(map(of_item, items))


def _text(tree: Tree) -> bytes:
    """What a bulk string holds."""
    if not isinstance(tree, Scalar) or tree[:1] != b"$":
        raise OutOfShapeError
    return tree[tree.index(b"\r\n") + 2 : -2]


def _items(tree: Tree) -> list[Tree]:
    if not isinstance(tree, list):
        raise OutOfShapeError
    return tree


def _by_twos(tree: Tree) -> list[list[Tree]]:
    items = _items(tree)
    if len(items) % 2:
        raise OutOfShapeError
    return [items[at : at + 2] for at in range(0, len(items), 2)]


def _has(words: Words, option: bytes) -> bool:
    return any(word.upper() == option for word in words[2:])


# ---- the shapes ------------------------------------------------------------------------------------------------------


def _same(tree: Tree, words: Words) -> bytes:
    return _plain(tree)


def _double(tree: Tree, words: Words = ()) -> bytes:
    return NULL if tree is None else b",%s\r\n" % _text(tree)


def _double_opt(tree: Tree, words: Words) -> bytes:
    """ZADD INCR; without it the reply is a number."""
    return _double(tree) if tree is None or tree[:1] == b"$" else _plain(tree)


def _doubles(tree: Tree, words: Words) -> bytes:
    return NULL if tree is None else _aggregate(b"*", _items(tree), _double)


def _set(tree: Tree, words: Words) -> bytes:
    return NULL if tree is None else _aggregate(b"~", _items(tree), _plain)


def _set_opt(tree: Tree, words: Words) -> bytes:
    """SPOP with a count gives a set, without one a member."""
    return _set(tree, words) if isinstance(tree, list) else _plain(tree)


def _map_of(tree: Tree) -> bytes:
    pairs = _by_twos(tree)
    return b"%%%d\r\n" % len(pairs) + b"".join(_plain(name) + _plain(value) for name, value in pairs)


def _map(tree: Tree, words: Words) -> bytes:
    """Names and values in turn; XREAD gives them in pairs."""
    if tree is None:
        return NULL
    if words[0].upper() in (b"XREAD", b"XREADGROUP"):
        tree = [part for pair in _items(tree) for part in _items(pair)]
    return _map_of(tree)


def _map_opt(tree: Tree, words: Words) -> bytes:
    """LCS IDX."""
    return _map_of(tree) if isinstance(tree, list) else _plain(tree)


def _maps(tree: Tree, words: Words) -> bytes:
    return _aggregate(b"*", _items(tree), _map_of)


def _scored(pair: Sequence[Tree]) -> bytes:
    return b"*2\r\n" + _plain(pair[0]) + _double(pair[1])


def _pairs_opt(tree: Tree, words: Words) -> bytes:
    """HRANDFIELD WITHVALUES."""
    if not _has(words, b"WITHVALUES"):
        return _plain(tree)
    return _plain([list(pair) for pair in _by_twos(tree)])


def _scores_opt(tree: Tree, words: Words) -> bytes:
    if tree is None or not _has(words, b"WITHSCORES"):
        return _plain(tree)
    pairs = _by_twos(tree)
    return b"*%d\r\n" % len(pairs) + b"".join(map(_scored, pairs))


def _scores(tree: Tree, words: Words) -> bytes:
    """ZPOPMIN and ZPOPMAX: with a count, pairs; without one, a member and its score side by side."""
    pairs = _by_twos(tree)
    if len(words) > 2:
        return b"*%d\r\n" % len(pairs) + b"".join(map(_scored, pairs))
    return b"".join(map(_scored, pairs)) if pairs else b"*0\r\n"


def _scores_in(tree: Tree, words: Words) -> bytes:
    """ZMPOP: the key, then pairs."""
    if tree is None:
        return NULL
    key, members = _items(tree)
    pairs = [_items(pair) for pair in _items(members)]
    return b"*2\r\n" + _plain(key) + b"*%d\r\n" % len(pairs) + b"".join(map(_scored, pairs))


def _place(tree: Tree) -> bytes:
    return NULL if tree is None else _aggregate(b"*", _items(tree), _double)


def _coords(tree: Tree, words: Words) -> bytes:
    return _aggregate(b"*", _items(tree), _place)


def _coords_opt(tree: Tree, words: Words) -> bytes:
    """Only WITHCOORD gives places: the one part of an item that has parts itself."""
    if not _has(words, b"WITHCOORD"):
        return _plain(tree)

    def item(found: Tree) -> bytes:
        return _aggregate(b"*", _items(found), lambda part: _place(part) if isinstance(part, list) else _plain(part))

    return _aggregate(b"*", _items(tree), item)


def _verbatim(tree: Tree, words: Words) -> bytes:
    text = _text(tree)
    return b"=%d\r\ntxt:%s\r\n" % (len(text) + 4, text)


SHAPERS: dict[str, Callable[[Tree, Words], bytes]] = {
    "double": _double, "double_opt": _double_opt, "doubles": _doubles, "set": _set, "set_opt": _set_opt, "map": _map,
    "map_opt": _map_opt, "maps": _maps, "pairs_opt": _pairs_opt, "scores": _scores, "scores_opt": _scores_opt,
    "scores_in": _scores_in, "coords": _coords, "coords_opt": _coords_opt, "verbatim": _verbatim,
}  # fmt: skip
"""By resp3_shape; the others (same, script, sets of commands that no peer is asked) only have their nulls changed."""
