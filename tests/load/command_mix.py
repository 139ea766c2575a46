"""Random commands of all types from a seed: the same seed gives the same commands, keys and values, on any machine.

Keys come from small pools, one for each type, so commands meet data; one time in seven the key is of another type,
which gives WRONGTYPE. A few commands get an argument too many, one too few, or a wrong one. Times to live are either
far away and different in every step, so that no comparison of two of them depends on milliseconds, or over at once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.load.command_rows import DEFAULT_GROUPS, ROWS, TYPES
from tests.load.replies import Rule

KEYS_OF_A_TYPE = 12
PAUSE_AFTER_SHORT_EXPIRY_MS = 30
FAR_FUTURE_S = 4_102_444_800  # the year 2100
ODD_KEY_TAILS = (b" with space", b"\r\nGET x\r\n", b"\x00\xff\x80", b"{tag}tail", b"{}", b"{", b"x" * 300)
OVERWRITING = ("SET", "SETEX", "PSETEX", "MSET", "RESTORE")  # would turn keys of all types into strings
KEPT_APART = {"lex": ("zset", "geo"), "zset": ("lex",), "geo": ("lex",)}  # pools of one type that must not mix
SCRIPTS = (
    b"return redis.call('TYPE', KEYS[1])",
    b"return {KEYS[1], ARGV[1], 7}",
    b"return redis.call('EXISTS', KEYS[1])",
    b"return redis.error_reply('ERR from a script')",
)
TOKEN = re.compile(r"\[(?P<maybe>[^\]]*)\]|<(?P<one>[^>]*)>|\{(?P<many>[^}]*)\}|(?P<word>\S+)")


@dataclass(frozen=True)
class Step:
    """One command of a run."""

    index: int
    args: tuple[bytes, ...]
    rule: Rule
    key: bytes | None
    pause_ms: int = 0


def _crc64(data: bytes) -> int:
    """CRC-64/Jones, reflected, as DUMP payloads end with."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc


def dump_payload(text: bytes) -> bytes:
    """What DUMP gives for a short string, in version 9 of the format."""
    assert len(text) < 64
    body = b"\x00" + bytes([len(text)]) + text + (9).to_bytes(2, "little")
    return body + _crc64(body).to_bytes(8, "little")


class CommandMix:
    """An endless, reproducible stream of steps (`iter(mix)`)."""

    def __init__(
        self, seed: int, prefix: bytes, groups: Sequence[str] = DEFAULT_GROUPS, empty_key: bool = True
    ) -> None:
        self.rng = random.Random(seed)
        self.pools = {kind: self._pool(kind, prefix) for kind in TYPES}
        if empty_key:
            self.pools["string"].append(b"")
        self.rows = [row for row in ROWS if row.group in groups]
        self.weights = [row.weight for row in self.rows]
        self.index = 0
        self.key: bytes | None = None
        self.row = self.rows[0]
        choice, uniform = self.rng.choice, self.rng.uniform
        self.words: dict[str, Callable[[], bytes | list[bytes]]] = {
            "key": self._key,
            "value": self._value,
            "int": self._int,
            "count": lambda: b"%d" % self.rng.randint(0, 5),
            "offset": self._offset,
            "float": lambda: b"%.3f" % uniform(-100, 100),
            "ttl": lambda: b"%d" % self._ttl(),
            "ttlms": lambda: b"%d" % (self._ttl() * 1000),
            "future": lambda: b"%d" % (FAR_FUTURE_S + self._ttl()),
            "futurems": lambda: b"%d" % ((FAR_FUTURE_S + self._ttl()) * 1000),
            "field": self._field,
            "member": self._member,
            "score": self._score,
            "scorelow": lambda: self._bound(b"-inf", self._score),
            "scorehigh": lambda: self._bound(b"+inf", self._score),
            "lexlow": lambda: self._lex(b"-"),
            "lexhigh": lambda: self._lex(b"+"),
            "id": self._stream_id,
            "newest": lambda: b">",
            "group": lambda: choice((b"g1", b"g2")),
            "consumer": lambda: choice((b"alice", b"bob")),
            "longitude": lambda: b"%.4f" % uniform(-190, 190),
            "latitude": lambda: b"%.4f" % uniform(-80, 80),
            "radius": lambda: choice((b"1", b"500", b"5000")),
            "script": lambda: choice(SCRIPTS),
            "dump": lambda: dump_payload(b"restored %d" % self.index),
            "many": self._many,
        }

    @staticmethod
    def _pool(kind: str, prefix: bytes) -> list[bytes]:
        names = [prefix + b"%s:%d" % (kind.encode(), n) for n in range(KEYS_OF_A_TYPE)]
        for n, tail in enumerate(ODD_KEY_TAILS[: KEYS_OF_A_TYPE // 2]):
            names[n] += tail
        return names

    def all_keys(self) -> list[tuple[str, bytes]]:
        """Every key that a run can touch, with the type of its pool."""
        return [(kind, key) for kind, pool in self.pools.items() for key in pool]

    def __iter__(self) -> Iterator[Step]:
        while True:
            yield self._step()

    def _step(self) -> Step:
        rng = self.rng
        self.index += 1
        self.key = None
        self.row = row = rng.choices(self.rows, self.weights)[0]
        args = self._expand(row.template)
        if not row.fixed and rng.random() < 0.03:
            args = self._spoil(args)
        name = row.name.encode()
        dice = rng.random()
        if dice < 0.4:
            name = name.lower() if dice < 0.3 else name.capitalize()
        pause = PAUSE_AFTER_SHORT_EXPIRY_MS if row.name == "PEXPIRE" and row.template == "key 1" else 0
        return Step(self.index, (name, *args), row.rule, self.key, pause)

    def _expand(self, template: str) -> list[bytes]:
        args: list[bytes] = []
        for match in TOKEN.finditer(template):
            maybe, one, many, word = match.group("maybe", "one", "many", "word")
            if word is not None:
                made = self.words[word]() if word in self.words else word.encode()
                args.extend(made if isinstance(made, list) else [made])
            elif many is not None:
                for _ in range(self.rng.randint(1, 4)):
                    args.extend(self._expand(many))
            elif one is not None or self.rng.random() < 0.4:
                choices = (one if one is not None else maybe or "").split("|")
                args.extend(self._expand(self.rng.choice(choices)))
        return args

    def _spoil(self, args: list[bytes]) -> list[bytes]:
        """Give a command a wrong argument, or a wrong number of them; its key stays where it was."""
        kind = self.rng.randrange(3)
        if kind == 0 and len(args) > 1:
            return args[:-1]
        if kind == 1 or len(args) < 2:
            return [*args, b"junk"]
        place = self.rng.randrange(1, len(args))
        if args[place] == self.key:
            return args
        wrong = self.rng.choice((b"notanumber", b"9223372036854775808", b"", b"-1", b"1.5"))
        if self.row.rule in (Rule.SCAN, Rule.SCAN_PAIRS) and wrong in (b"9223372036854775808", b"-1"):
            wrong = b"notanumber"  # they are cursors, and mean something else to each server
        return [*args[:place], wrong, *args[place + 1 :]]

    def _key(self) -> bytes:
        kind = self.row.group
        strange = 0.005 if self.row.name in OVERWRITING else 0.14
        if kind not in self.pools or self.rng.random() < strange:
            kind = self.rng.choice([other for other in TYPES if other not in KEPT_APART.get(kind, ())])
        self.key = self.rng.choice(self.pools[kind])
        return self.key

    def _value(self) -> bytes:
        rng = self.rng
        dice = rng.random()
        if dice < 0.45:
            return b"value-%d" % rng.randrange(1000)
        if dice < 0.65:
            return b"%d" % rng.randint(-1000, 1000)
        if dice < 0.80:
            return rng.randbytes(rng.randint(1, 60)) + rng.choice((b"", b"\r\n", b"\r\n$3\r\n", b"\x00", b"+OK\r\n"))
        if dice < 0.85:
            return b""
        size = rng.randint(100, 3000) if dice < 0.97 else rng.randint(10_000, 70_000) if dice < 0.995 else 300_000
        return (b"%d." % rng.randrange(1 << 30) * (size // 3))[:size]

    def _int(self) -> bytes:
        dice = self.rng.random()
        if dice < 0.9:
            return b"%d" % self.rng.randint(-6, 12)
        return b"%d" % self.rng.choice((2**62, -(2**62), 10**9, 0))

    def _offset(self) -> bytes:
        return b"%d" % (self.rng.randint(0, 200) if self.rng.random() < 0.95 else 50_000)

    def _ttl(self) -> int:
        """Seconds; at least 10 s from every other time to live of the run."""
        return 10_000 + 10 * (self.index * 7919 % 100_003)

    def _field(self) -> bytes:
        return b"f%d" % self.rng.randrange(12) if self.rng.random() < 0.97 else b"long field " * 8

    def _member(self) -> bytes:
        dice = self.rng.random()
        if dice < 0.5:
            return b"%d" % self.rng.randrange(30)
        return b"m%d" % self.rng.randrange(20) if dice < 0.95 else b"member\r\n" + b"y" * self.rng.choice((1, 90))

    def _score(self) -> bytes:
        dice = self.rng.random()
        if dice < 0.6:
            return b"%d" % self.rng.randint(-10, 50)
        return b"%.2f" % self.rng.uniform(-10, 50) if dice < 0.9 else self.rng.choice((b"inf", b"-inf", b"1e3", b"0"))

    def _bound(self, infinite: bytes, made: Callable[[], bytes]) -> bytes:
        dice = self.rng.random()
        return infinite if dice < 0.3 else b"(" + made() if dice < 0.6 else made()

    def _lex(self, infinite: bytes) -> bytes:
        return infinite if self.rng.random() < 0.4 else self.rng.choice((b"[", b"(")) + self._member()

    def _stream_id(self) -> bytes:
        dice = self.rng.random()
        at = self.index if dice < 0.7 else self.rng.randint(0, self.index)
        return b"%d-%d" % (at, self.rng.randint(0, 3)) if dice < 0.9 else b"%d" % at

    def _many(self) -> list[bytes]:
        """Enough to leave the compact encodings: 300 arguments, numbers and names taking turns."""
        return [b"%d" % (n // 2) if n % 2 == 0 else b"n%d" % (n // 2 % 140) for n in range(300)]
