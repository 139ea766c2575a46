"""DNS messages, as far as seeds need them: a question, and the A, AAAA, SRV and TXT records of its answer.

The resolver of the C library gives addresses only, so SRV and TXT are asked for directly.

Not here: sending anything (workers/seed_sources.py).

Invariants: parse_answer() raises SeedError for bytes that are no answer to the question, whatever they are; names are
followed through at most POINTERS_LIMIT pointers.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from dynomite_mp.cluster.seeds import SeedError

A, CNAME, TXT, AAAA, SRV = 1, 5, 16, 28, 33
KINDS = {"A": A, "AAAA": AAAA, "SRV": SRV, "TXT": TXT}
_IN = 1
_OPT = 41
_RECURSION_DESIRED = 0x0100
_IS_ANSWER = 0x8000
_TRUNCATED = 0x0200
_NO_SUCH_NAME = 3
ANSWER_BYTES = 4096
"""What we say a datagram may hold."""
POINTERS_LIMIT = 32
LABEL_LIMIT = 63
NAME_LIMIT_BYTES = 255
_HEAD_BYTES = 12


@dataclass(slots=True)
class Answer:
    """The records of the kinds that we know."""

    truncated: bool = False
    no_such_name: bool = False
    addresses: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    services: list[tuple[int, str, int]] = field(default_factory=list)
    """Priority, host, port."""


def question(name: str, kind: int, number: int) -> bytes:
    """A query with recursion, and room for a large answer."""
    encoded = b""
    for label in name.rstrip(".").split("."):
        raw = label.encode("idna") if not label.isascii() else label.encode()
        if not 0 < len(raw) <= LABEL_LIMIT:
            raise SeedError(f"{name!r} is not a DNS name", "check DYNOMITE_DNS_NAME")
        encoded += bytes((len(raw),)) + raw
    if len(encoded) >= NAME_LIMIT_BYTES:
        raise SeedError(f"{name!r} is too long for a DNS name", "check DYNOMITE_DNS_NAME")
    head = struct.pack(">6H", number, _RECURSION_DESIRED, 1, 0, 0, 1)
    return (
        head + encoded + b"\0" + struct.pack(">2H", kind, _IN) + b"\0" + struct.pack(">2HIH", _OPT, ANSWER_BYTES, 0, 0)
    )


def parse_answer(data: bytes, number: int, kind: int) -> Answer:
    """The answer to a question."""
    try:
        return _parse(data, number, kind)
    except (IndexError, struct.error, UnicodeError) as problem:
        raise SeedError("a DNS answer is cut off or malformed", "") from problem


def _parse(data: bytes, number: int, kind: int) -> Answer:
    got, flags, questions, answers = struct.unpack_from(">4H", data)
    if got != number or not flags & _IS_ANSWER:
        raise SeedError("a DNS answer belongs to another question", "")
    code = flags & 15
    if code not in (0, _NO_SUCH_NAME):
        raise SeedError(f"the DNS server answers with error {code}", "")
    answer = Answer(truncated=bool(flags & _TRUNCATED), no_such_name=code == _NO_SUCH_NAME)
    at = _HEAD_BYTES
    for _ in range(questions):
        _, at = _name(data, at)
        at += 4
    for _ in range(answers):
        _, at = _name(data, at)
        found, _, _, length = struct.unpack_from(">2HIH", data, at)
        at += 10
        if at + length > len(data):
            raise SeedError("a DNS answer is cut off", "")
        if found == kind:
            _take(answer, data, at, length, found)
        at += length
    return answer


def _take(answer: Answer, data: bytes, at: int, length: int, kind: int) -> None:
    raw = data[at : at + length]
    if kind == A and length == 4:
        answer.addresses.append(str(IPv4Address(raw)))
    elif kind == AAAA and length == 16:
        answer.addresses.append(str(IPv6Address(raw)))
    elif kind == TXT:
        answer.texts.append(b"".join(_strings(raw)).decode("utf-8", "replace"))
    elif kind == SRV:
        priority, _, port = struct.unpack_from(">3H", data, at)
        host, _ = _name(data, at + 6)
        answer.services.append((priority, host, port))


def _strings(raw: bytes) -> Iterator[bytes]:
    """The character strings of a TXT record; a list longer than 255 bytes is several of them."""
    at = 0
    while at < len(raw):
        yield raw[at + 1 : at + 1 + raw[at]]
        at += 1 + raw[at]


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name, and where it ends."""
    labels: list[str] = []
    end = 0
    for _ in range(NAME_LIMIT_BYTES + POINTERS_LIMIT):
        length = data[at]
        if length >= 0xC0:
            end = end or at + 2
            at = (length & 0x3F) << 8 | data[at + 1]
        elif length > LABEL_LIMIT:
            raise SeedError("a DNS name has a wrong label", "")
        elif length == 0:
            return ".".join(labels), end or at + 1
        else:
            labels.append(data[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
    raise SeedError("a DNS name never ends", "")


def resolv_conf(text: str) -> tuple[list[str], list[str], int]:
    """Name servers, search domains and ndots of a resolv.conf."""
    servers: list[str] = []
    search: list[str] = []
    dots = 1
    for line in text.splitlines():
        words = line.partition("#")[0].partition(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1].partition("%")[0])
        elif words[0] in ("search", "domain"):
            search = words[1:]
        elif words[0] == "options":
            for option in words[1:]:
                name, _, value = option.partition(":")
                if name == "ndots" and value.isdigit():
                    dots = int(value)
    return servers or ["127.0.0.1"], search, dots


def full_names(name: str, search: list[str], dots: int) -> list[str]:
    """The names to try for one that may be short, in order."""
    if name.endswith("."):
        return [name[:-1]]
    searched = [f"{name}.{domain.rstrip('.')}" for domain in search]
    return [name, *searched] if name.count(".") >= dots else [*searched, name]
