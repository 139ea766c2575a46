"""The values a configuration file may hold, and the rules by which their text is read.

What it is: small frozen values (Address, Server, Seed) and one reader per kind of value. A reader takes the raw text of
a YAML scalar and returns a value or raises InvalidValue with the reason in the words of C Dynomite where it has some.
What it is not: it knows no key, no file and no default (settings.py), resolves no host name and opens no file.

Invariants: text that C Dynomite accepts and understands means the same here. Text that C accepts and then
misunderstands (an unknown seed provider, a misspelt secure_server_option) is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeVar

V = TypeVar("V")
E = TypeVar("E", bound=Enum)

TOKEN_SPACE = 2**32
MAX_C_INT = 2**31 - 1
MAX_SIZE_BYTES = 2**62
MAX_PORT = 65535
MEMCACHED_PORT = 11211

LISTEN_FORMAT = 'has an invalid "hostname:port" format string'
LISTEN_PORT = 'has an invalid port in "hostname:port" format string'
SERVER_FORMAT = 'has an invalid "hostname:port:weight [name]"or "/path/unix_socket:weight [name]" format string'
SERVER_PORT = 'has an invalid port in "hostname:port:weight [name]" format string'
SEED_PORT = 'has an invalid port in "hostname:port:rack:dc:tokens [name]" format string'
SEED_FORMAT = 'has an invalid format must match "hostname:port:rack:dc:tokens [name]"'
INVALID = "has an invalid value"

# These separate the fields of gossip records and seed strings, so a name that holds one cannot travel.
NAME_SEPARATORS = "$,|:"


class InvalidValue(ValueError):
    """The text of a scalar is not a value of its kind; the reason completes `directive "key" ...`."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or connect: host and port, or the path of a unix socket (then host is "" and port 0)."""

    host: str
    port: int
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Server:
    """A datastore of `servers:`; the weight is read and not used, as in C."""

    address: Address
    weight: int
    name: str


@dataclass(frozen=True, slots=True)
class Seed:
    """Another node of the cluster, from `dyn_seeds:`."""

    address: Address
    rack: str
    datacenter: str
    tokens: tuple[int, ...]
    name: str


class SeedProvider(Enum):
    """Where the list of the other nodes comes from (`dyn_seed_provider:`)."""

    SIMPLE = "simple_provider"
    FLORIDA = "florida_provider"
    DNS = "dns_provider"


class LogFormat(Enum):
    """Shape of a log line (`log_format:`)."""

    TEXT = "text"
    JSON = "json"


class DatastorePersistence(Enum):
    """What the managed datastore keeps on disk (`datastore_persistence:`)."""

    AOF_EVERYSEC = "aof_everysec"
    NONE = "none"


def read_text(text: str) -> str:
    """Free text; only emptiness is refused."""
    if not text:
        raise InvalidValue(INVALID, "it is empty; leave the line out to get the default")
    return text


def read_name(text: str) -> str:
    """Name of a rack or a datacenter."""
    bad = sorted({c for c in read_text(text) if c in NAME_SEPARATORS or not c.isprintable()})
    if bad:
        raise InvalidValue(
            INVALID, f"names may not contain {' '.join(map(repr, bad))}: gossip and seed strings use them"
        )
    return text


def read_path(text: str) -> Path:
    path = Path(read_text(text))
    try:
        return path.expanduser()
    except RuntimeError:
        raise InvalidValue(INVALID, f"{path.parts[0]} is the home directory of nobody here") from None


def read_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise InvalidValue('is not "true" or "false"')
    return text == "true"


def digits(text: str, limit: int) -> int | None:
    """The number that decimal digits spell, or None; no sign, no suffix, no underscore, as in C."""
    if not text.isascii() or not text.isdigit():
        return None
    value = int(text) if len(text) <= len(str(limit)) + 20 else limit + 1
    return value if value <= limit else None


def number(*, low: int = 0, high: int = MAX_C_INT, reason: str = "", multiple_of: int = 1) -> Callable[[str], int]:
    """Reader of a whole number between low and high."""

    def read(text: str) -> int:
        value = digits(text, MAX_SIZE_BYTES)
        if value is None or (value > high == MAX_C_INT):
            raise InvalidValue("is not a number", "decimal digits only" if not text.isdigit() else f"at most {high}")
        if not low <= value <= high:
            raise InvalidValue(reason or f"must be between {low} and {high}")
        if value % multiple_of:
            raise InvalidValue(f"must be a multiple of {multiple_of}")
        return value

    return read


def read_offset(text: str) -> int:
    """A whole number that may be negative."""
    value = digits(text.removeprefix("-"), MAX_C_INT)
    if value is None:
        raise InvalidValue("is not a number", "decimal digits, a minus sign in front")
    return -value if text.startswith("-") else value


def size_bytes(*, low: int = 0, high: int = MAX_SIZE_BYTES, power_of_two: bool = False) -> Callable[[str], int]:
    """Reader of a number of bytes."""
    read_number = number(low=low, high=high)

    def read(text: str) -> int:
        value = read_number(text)
        if power_of_two and value & (value - 1):
            below = 1 << (value.bit_length() - 1)
            raise InvalidValue("must be a power of two", f"{below} or {below * 2}")
        return value

    return read


def choice(kind: type[E]) -> Callable[[str], E]:
    """Reader of one of an enum's values, exactly."""
    return one_of({member.value: member for member in kind})


def one_of(values: dict[str, V]) -> Callable[[str], V]:
    """Reader of one of a few words, exactly."""

    def read(text: str) -> V:
        if text not in values:
            raise InvalidValue("must be one of " + " ".join(f"'{value}'" for value in values))
        return values[text]

    return read


def starts_with(values: dict[str, V], *, ignore_case: bool = False) -> Callable[[str], V]:
    """Reader of a word that *starts with* one of a few: C compares prefixes, so `allowed` means `all` there."""

    def read(text: str) -> V:
        probe = text.upper() if ignore_case else text
        for word, value in values.items():
            if probe.startswith(word):
                return value
        raise InvalidValue("must be one of " + " ".join(f"'{value}'" for value in values))

    return read


def read_hash_tag(text: str) -> bytes:
    """Two characters, that is two bytes: the hash works on bytes."""
    tag = text.encode()
    if len(tag) != 2:
        raise InvalidValue("is not a valid hash tag string with two characters", 'for example "{}"')
    return tag


def split_port(text: str, format_reason: str, port_reason: str) -> tuple[str, int]:
    """`host:port` from the right, so that an IPv6 host may be written with or without brackets."""
    host, colon, port_text = text.rpartition(":")
    if not colon or not host:
        raise InvalidValue(format_reason)
    port = digits(port_text, MAX_PORT)
    if not port:
        raise InvalidValue(port_reason, "a port is a number from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or any(c.isspace() for c in host):
        raise InvalidValue(format_reason)
    return host, port


def read_listen(text: str) -> Address:
    """`hostname:port` or `/path/of/a/unix/socket`."""
    if text.startswith("/"):
        return Address("", 0, text)
    return Address(*split_port(text, LISTEN_FORMAT, LISTEN_PORT))


def read_advertise(text: str) -> Address:
    """`hostname:port`, or a host alone: port 0 then stands for that of dyn_listen."""
    bare = text.removeprefix("[").removesuffix("]")
    if bare and ("[" + bare + "]" == text or ":" not in text) and not any(c.isspace() for c in text):
        return Address(bare, 0)
    return Address(*split_port(text, LISTEN_FORMAT, LISTEN_PORT))


def read_server(text: str) -> Server:
    """`hostname:port:weight [name]` or `/path:weight [name]`."""
    place, _, name = text.partition(" ")
    name = name.strip()
    where, colon, weight_text = place.rpartition(":")
    weight = digits(weight_text, MAX_C_INT)
    if not colon or not where or weight is None or (":" not in where and where[0] != "/"):
        raise InvalidValue(SERVER_FORMAT, "for example 127.0.0.1:6379:1; the last number is a weight, 1 will do")
    if where.startswith("/"):
        return Server(Address("", 0, where), weight, name or where)
    address = Address(*split_port(where, SERVER_FORMAT, SERVER_PORT))
    shown = address.host if address.port == MEMCACHED_PORT else str(address)
    return Server(address, weight, name or shown)


def read_seed(text: str) -> Seed:
    """`hostname:port:rack:dc:tokens [name]`, from the right: a host may hold colons, a rack or datacenter may not."""
    place, _, name = text.partition(" ")
    parts = place.rsplit(":", 3)
    if len(parts) != 4 or not all(parts):
        raise InvalidValue(SEED_FORMAT)
    where, rack, datacenter, tokens = parts
    address = Address(*split_port(where, SEED_FORMAT, SEED_PORT))
    return Seed(address, read_name(rack), read_name(datacenter), read_tokens(tokens), name.strip() or address.host)


def read_tokens(text: str) -> tuple[int, ...]:
    """One token, or several with commas between."""
    tokens = tuple(read_token(part.strip()) for part in text.split(","))
    if len(set(tokens)) != len(tokens):
        raise InvalidValue(INVALID, "the same token stands twice")
    return tokens


def read_token(text: str) -> int:
    """A place on the continuum, 0 .. 4294967295. Longer numbers fold the way C folds them, so that both agree."""
    if not text.isascii() or not text.isdigit():
        raise InvalidValue(INVALID, "a token is a number from 0 to 4294967295")
    first = len(text) % 10 or 10
    value = int(text[:first]) % TOKEN_SPACE
    for start in range(first, len(text), 10):
        value = (value * 0x17179149 + int(text[start : start + 10])) % TOKEN_SPACE
    return value
