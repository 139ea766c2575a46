"""Mutates requests and replies and compares the compiled framers with the model, in one piece and byte by byte.

    python tests/fuzz/fuzz_proto.py --seconds 60 [--seed N]
    python tests/fuzz/fuzz_proto.py --repro requests:2a310d0a...

Prints `N inputs, 0 findings`, or the input that was answered in two ways and exits 1. A finding goes to the unit tests
as a case. No coverage feedback: the corpus is built so that small changes of it reach every branch.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dynomite_mp.errors import ProtocolError
from dynomite_mp.proto.framer import ReplyFramer, RequestFramer, frame_keys
from tests.models import resp_model

Answer = tuple[list[tuple[Any, ...]], int, str | None]

COMMANDS = (
    "GET a|SET a b EX 5|MGET a b c d e f g h i j|MSET a 1 b 2|EVAL return 2 a b c|XREAD COUNT 1 BLOCK 0 STREAMS a 0"
    "|XREADGROUP GROUP g c NOACK STREAMS a b > >|SORT a BY w_* LIMIT 0 5 GET # STORE d|GEORADIUS a 1 2 3 km STORE d"
    "|ZUNIONSTORE d 2 a b WEIGHTS 1 2|OBJECT ENCODING a|COPY a b DB 1|CONFIG GET x|PING|JSON.MGET a b $|LMPOP 1 a LEFT"
)
LINES = ["PING", 'SET a "b c"', "SET a 'it\\'s'", '"\\x41\\n\\"" b', "", "  \t", "a\vb"]
VALUES = [
    *(b"+OK\r\n", b"-ERR x\r\n", b":1\r\n", b":-1\r\n", b"$-1\r\n", b"*-1\r\n", b"$3\r\nabc\r\n", b"$0\r\n\r\n"),
    *(b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(99\r\n", b"!5\r\nERR x\r\n", b"=7\r\ntxt:abc\r\n", b"*0\r\n"),
    *(b"$12\r\nhello\r\nworld\r\n", b"+" + b"x" * 50 + b"\r\n"),
]
NOTES = b"\r\n*$0123456789-+ \"'\\%~>|:_#,(=!x"


def array(args: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


def requests_corpus() -> list[bytes]:
    arrays = [array(command.encode().split()) for command in COMMANDS.split("|")]
    arrays += [array([b"SET", b"k", b"x" * size]) for size in (0, 9, 10, 99, 100, 1000)]
    return arrays + [line.encode() + end for line in LINES for end in (b"\r\n", b"\n")] + [b"*0\r\n", b"*-1\r\n"]


def replies_corpus() -> list[bytes]:
    nested = [kind + b"2\r\n" + VALUES[2] + VALUES[6] for kind in (b"*", b"~", b">")]
    nested += [b"%1\r\n" + VALUES[0] + nested[0], b"|1\r\n" + VALUES[0] + VALUES[2] + nested[1]]
    return VALUES + nested + [b"*3\r\n" + b"".join(nested[:3]), b"|0\r\n" + nested[3]]


def mutated(rng: random.Random, corpus: list[bytes]) -> bytes:
    """A few pieces of the corpus with a few changes."""
    data = bytearray(b"".join(rng.choices(corpus, k=rng.randrange(1, 5))))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(6)
        byte = rng.choice(NOTES) if rng.random() < 0.8 else rng.randrange(256)
        if what == 0:
            data[at : at + 1] = bytes([byte])
        elif what == 1:
            data[at:at] = bytes([byte])
        elif what == 2:
            del data[at : at + rng.randrange(1, 4)]
        elif what == 3:
            data[at:at] = rng.choice(corpus)[: rng.randrange(1, 8)]
        elif what == 4:
            data[at:at] = str(rng.choice((0, 1, 9, 10, 2**20, 2**29 + 1, 2**32, 10**18, 2**63, 2**64))).encode()
        else:
            del data[at:]
    return bytes(data)


def plain(frames: list[Any], consumed: int, error: str | None) -> Answer:
    return [tuple(frame) for frame in frames], consumed, error


def pieces(kind: str, data: bytes, size: int) -> Answer:
    framer = RequestFramer() if kind == "requests" else ReplyFramer()
    frames: list[Any] = []
    for at in range(0, len(data), size):
        frames += framer.feed(data[at : at + size])
    return plain(frames, framer.consumed, framer.error)


def finding(kind: str, data: bytes, size: int) -> str | None:
    """What is wrong with the answers to an input, None if nothing is."""
    if kind == "requests":
        model = plain(*resp_model.requests(data))
    else:
        model = plain(*resp_model.replies(data))
    whole = pieces(kind, data, max(1, len(data)))
    if whole != model:
        return f"whole {whole} is not the model's {model}"
    for step in (1, size):
        if pieces(kind, data, step) != whole:
            return f"in pieces of {step} it is not the whole's {whole}"
    if kind == "requests":
        for frame in whole[0]:
            if frame[0] and not frame[2]:
                keys_are_arguments(frame[1], frame[0])
    return None


def keys_are_arguments(raw: bytes, args: list[bytes]) -> None:
    try:
        found = frame_keys(raw)
    except ProtocolError:
        return
    assert found.places == sorted(set(found.places)), f"places {found.places}"
    assert found.keys == [args[place] for place in found.places], f"keys {found.keys}"


def inputs(seed: int) -> Iterator[tuple[str, bytes, int]]:
    rng = random.Random(seed)
    corpora = {"requests": requests_corpus(), "replies": replies_corpus()}
    while True:
        for kind, corpus in corpora.items():
            yield kind, mutated(rng, corpus), rng.randrange(1, 20)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repro", metavar="KIND:HEX", help="one input, as a finding prints it")
    options = parser.parse_args()
    if options.repro:
        kind, _, digits = options.repro.partition(":")
        source: Iterator[tuple[str, bytes, int]] = iter([(kind, bytes.fromhex(digits), 3)])
    else:
        source = inputs(options.seed)
    count = 0
    end = time.monotonic() + options.seconds
    for kind, data, size in source:
        try:
            problem = finding(kind, data, size)
        except Exception as error:
            problem = repr(error)
        count += 1
        if problem:
            print(f"{count} inputs, 1 finding: {problem}\nrepro: --repro {kind}:{data.hex()}")
            return 1
        if time.monotonic() > end:
            break
    print(f"{count} inputs, 0 findings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
