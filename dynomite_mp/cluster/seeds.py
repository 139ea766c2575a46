"""What seed providers answer, as text or bytes, turned into nodes of the cluster.

    dyn_seeds, file      host:port:rack:dc:tokens, one a line      \\
    Florida HTTP         the same, joined by |                      +--> SeedList(seeds, contacts, problems)
    DNS TXT              the same, joined by |                     /
    DNS A, AAAA, SRV     addresses alone: where members may be found

A line that is no seed is reported and left out: the others are still worth having.

Not here: asking anybody anything (workers/seed_sources.py), the DNS wire format (seeds_dns.py).

Invariants: nothing here raises for what a provider answered, but SeedError when the whole answer is none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dynomite_mp.cluster.membership_record import Address
from dynomite_mp.config_values import InvalidValue, Seed, read_seed
from dynomite_mp.errors import DynomiteError

SEEDS_LIMIT = 4096
RESPONSE_LIMIT_BYTES = 1024 * 1024
_SHOWN = 80
_PROBLEMS_LIMIT = 20

FLORIDA_HOST = "127.0.0.1"
FLORIDA_PORT = 8080
FLORIDA_REQUEST = "GET /REST/v1/admin/get_seeds HTTP/1.0\r\nHost: 127.0.0.1\r\nUser-Agent: HTMLGET 1.0\r\n\r\n"
DNS_NAME = "_dynomite.ec2-internal"
DNS_KINDS = ("TXT", "A", "AAAA", "SRV")


class SeedError(DynomiteError):
    """A provider gave no usable answer; it is asked again later."""


@dataclass(frozen=True, slots=True)
class SeedList:
    """What a provider says."""

    seeds: tuple[Seed, ...] = ()
    contacts: tuple[Address, ...] = ()
    """Addresses of members whose place is not told."""
    problems: tuple[str, ...] = ()
    """Parts of the answer that make no sense."""

    def __add__(self, other: "SeedList") -> "SeedList":
        """Both; where they name one address, the other's seed."""
        seeds = {seed.address: seed for seed in (*self.seeds, *other.seeds)}
        contacts = dict.fromkeys((*self.contacts, *other.contacts))
        return SeedList(tuple(seeds.values()), tuple(contacts), self.problems + other.problems)


def parse_seeds(text: str) -> SeedList:
    """Seeds joined by `|` or line ends; `#` starts a comment."""
    seeds: dict[object, Seed] = {}
    problems: list[str] = []
    for line in text.splitlines():
        for part in line.partition("#")[0].split("|"):
            entry = part.strip().removeprefix("- ").strip()
            if not entry:
                continue
            try:
                seed = read_seed(entry)
            except InvalidValue as problem:
                problems.append(f"{entry[:_SHOWN]!r} {problem.reason}")
                continue
            seeds[seed.address] = seed
            if len(seeds) > SEEDS_LIMIT:
                raise SeedError(f"more than {SEEDS_LIMIT} seeds", "is this a seed list?")
    return SeedList(tuple(seeds.values()), (), tuple(problems[:_PROBLEMS_LIMIT]))


# ---- Florida: HTTP ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FloridaTarget:
    """Whom to ask, and the bytes to ask with."""

    address: Address
    request: bytes


def florida_target(environ: Mapping[str, str]) -> FloridaTarget:
    """As C reads it from the environment."""
    host = environ.get("DYNOMITE_FLORIDA_IP") or FLORIDA_HOST
    port_text = environ.get("DYNOMITE_FLORIDA_PORT") or str(FLORIDA_PORT)
    if not port_text.isascii() or not port_text.isdigit() or not 0 < int(port_text) <= 65535:
        raise SeedError(f"DYNOMITE_FLORIDA_PORT is {port_text[:_SHOWN]!r}", "give a port from 1 to 65535")
    request = environ.get("DYNOMITE_FLORIDA_REQUEST") or FLORIDA_REQUEST
    if not request.endswith("\r\n\r\n"):
        request = request.rstrip("\r\n") + "\r\n\r\n"
    return FloridaTarget((host, int(port_text)), request.encode())


def http_body(response: bytes, *, at_end: bool) -> bytes | None:
    """The body of a response as far as it has come; None while more is to come. SeedError if it is none."""
    head, separator, body = response.partition(b"\r\n\r\n")
    if not separator:
        if at_end:
            raise SeedError("the seed server closed the connection in the middle", "")
        return None
    status, *lines = head.decode("latin-1").split("\r\n")
    words = status.split(" ", 2)
    if not words[0].startswith("HTTP/") or len(words) < 2:
        raise SeedError(f"the seed server does not speak HTTP: {status[:_SHOWN]!r}", "")
    if words[1] != "200":
        raise SeedError(f"the seed server answers {status[:_SHOWN]!r}", "")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return _dechunk(body, at_end=at_end)
    length = fields.get("content-length", "")
    if length.isascii() and length.isdigit():
        if len(body) >= int(length):
            return body[: int(length)]
        if at_end:
            raise SeedError("the seed server closed the connection in the middle", "")
        return None
    return body if at_end else None


def _dechunk(body: bytes, *, at_end: bool) -> bytes | None:
    whole = b""
    while True:
        line, separator, rest = body.partition(b"\r\n")
        size_text = line.partition(b";")[0].strip()
        try:
            size = int(size_text, 16) if separator else -1
        except ValueError:
            raise SeedError("the seed server's answer has a wrong chunk length", "") from None
        if size == 0:
            return whole
        if size < 0 or len(rest) < size + 2:
            if at_end or size < -1:
                raise SeedError("the seed server closed the connection in the middle", "")
            return None
        whole += rest[:size]
        body = rest[size + 2 :]


def parse_florida(body: bytes) -> SeedList:
    """The seeds in a response body."""
    return parse_seeds(body.decode("utf-8", "replace"))


# ---- DNS -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DnsTarget:
    """What to look up."""

    name: str
    kinds: tuple[str, ...]


def dns_target(environ: Mapping[str, str]) -> DnsTarget:
    """As C reads it from the environment; A means addresses here, and several kinds may stand with commas between."""
    text = environ.get("DYNOMITE_DNS_TYPE") or "TXT"
    kinds = tuple(dict.fromkeys(kind.strip().upper() for kind in text.split(",")))
    for kind in kinds:
        if kind not in DNS_KINDS:
            raise SeedError(f"DYNOMITE_DNS_TYPE is {text[:_SHOWN]!r}", f"use {', '.join(DNS_KINDS)}")
    return DnsTarget((environ.get("DYNOMITE_DNS_NAME") or DNS_NAME).rstrip("."), kinds)


def seeds_of_texts(texts: Iterable[str]) -> SeedList:
    """TXT records, all of them; C looks at the last one only, so what C understands means the same here."""
    return parse_seeds("\n".join(texts))


def seeds_of_addresses(hosts: Iterable[str], port: int) -> SeedList:
    """A and AAAA records: members at this node's own peer port."""
    return SeedList(contacts=tuple(dict.fromkeys((host, port) for host in hosts)))


def seeds_of_services(services: Iterable[tuple[int, str, int]]) -> SeedList:
    """SRV records as (priority, host, port); the preferred ones first."""
    ordered = sorted(services, key=lambda service: service[0])
    return SeedList(contacts=tuple(dict.fromkeys((host, port) for _, host, port in ordered if host and port)))
