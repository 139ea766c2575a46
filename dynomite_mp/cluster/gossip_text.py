"""The gossip text of C Dynomite, both ways: the payload of a peer frame of type 7.

    dc1$rack1$101134286,1700000000,4,10.0.0.1|dc1$rack2$2147483648,1700000010,8,10.0.0.2
    dc  rack  token     timestamp  |  address       (records joined by |)
                        seconds    state, as enums.NodeState

A record carries one token and no port. The reader is tolerant: what is no record is counted and left out, because the
rest of the text is still worth having. The writer is strict: what C would misread is not written.

Not here: what a record changes (membership_guests.py), the frame around the text (proto/dnode).

Invariants: parse(write(records)) == records; parse() takes any bytes, in time linear in their number.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dynomite_mp.cluster.membership_record import NAME_LIMIT, is_wildcard
from dynomite_mp.cluster.topology import LARGEST_TOKEN
from dynomite_mp.config_values import InvalidValue, read_token
from dynomite_mp.enums import NodeState

SEPARATORS = frozenset("$,|")
RECORDS_LIMIT = 8192
TEXT_LIMIT_BYTES = 1024 * 1024
LARGEST_TIMESTAMP_S = 2**40
_DIGITS_LIMIT = 32


@dataclass(frozen=True, slots=True)
class TextRecord:
    """One record; a node with several tokens has as many."""

    dc: str
    rack: str
    token: int
    timestamp_s: int
    state: NodeState
    address: str

    def __str__(self) -> str:
        return f"{self.dc}${self.rack}${self.token},{self.timestamp_s},{int(self.state)},{self.address}"


def write(records: Iterable[TextRecord]) -> str:
    """The text of all records that C can read."""
    return "|".join(str(record) for record in records if is_writable(record))


def is_writable(record: TextRecord) -> bool:
    texts = (record.dc, record.rack, record.address)
    return all(_is_plain(text) for text in texts) and not is_wildcard(record.address)


def parse(text: bytes | str) -> tuple[list[TextRecord], int]:
    """The records of a text, and how many parts of it were none."""
    if isinstance(text, bytes):
        text = text[:TEXT_LIMIT_BYTES].decode("utf-8", "replace")
    records: list[TextRecord] = []
    bad = 0
    for part in text.strip("\r\n\0 ").split("|", RECORDS_LIMIT)[:RECORDS_LIMIT]:
        record = parse_record(part)
        if record is not None:
            records.append(record)
        elif part:
            bad += 1
    return records, bad


def parse_record(text: str) -> TextRecord | None:
    """One record, or None."""
    fields = text.split(",")
    if len(fields) != 4:
        return None
    names = fields[0].split("$")
    address = fields[3].strip()
    if len(names) != 3 or not all(map(_is_plain, (names[0], names[1], address))) or is_wildcard(address):
        return None
    timestamp_s, state = _number(fields[1]), _number(fields[2])
    if timestamp_s is None or state is None or timestamp_s > LARGEST_TIMESTAMP_S or len(names[2]) > _DIGITS_LIMIT:
        return None
    try:
        token = read_token(names[2])
    except InvalidValue:
        return None
    return TextRecord(names[0], names[1], token, timestamp_s, _state(state), address)


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= NAME_LIMIT and text.isprintable() and " " not in text and not SEPARATORS.intersection(text)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_LIMIT else None


def _state(number: int) -> NodeState:
    try:
        return NodeState(number)
    except ValueError:
        return NodeState.UNKNOWN


assert LARGEST_TOKEN == 2**32 - 1  # read_token() folds into exactly the tokens that a topology takes
