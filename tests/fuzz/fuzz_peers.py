"""Mutates what other nodes send and compares a node that gets it in one piece with one that gets it in small ones.

    python -m tests.fuzz.fuzz_peers --seconds 60 [--seed N]

                 +-- in one piece --> data path A --> datastore and other racks, played here --+
    mutated  ----+                                                                             +--> the same answers
     frames      +-- in pieces -----> data path B --> datastore and other racks, played here --+

Frames of our nodes (batches of writes, stamped writes, questions) and of C nodes; what they say may be anything. A
finding is a difference in which requests are answered, in what order, and whether the connection is closed; an
exception inside a data path; or one that no longer serves its clients. What is executed may differ: some of that goes
by the clock. Prints `N inputs, 0 findings`, or the seed and number of the input and what is wrong, and exits 1.
"""

import argparse
import asyncio
import contextlib
import logging
import random
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import hiredis

from dynomite_mp.proto.dnode import (
    DNODE_REQ,
    DNODE_REQ_FORWARD,
    DNODE_VERSION_BATCHES,
    DNODE_VERSION_C,
    EXTENSION_RUN,
)
from dynomite_mp.proto.dnode_frames import DnodeFrame, DnodeFramer, encode_frame, unpack_extension
from tests.fuzz.fuzz_proto import mutated
from tests.unit.peer_batches import written
from tests.unit.replica_stage import ReplicaStage
from tests.unit.test_stamps import extension, now

ASKED = (("GET", "a"), ("MGET", "a", "b"), ("EXISTS", "c"), ("PING",), ("DYNO", "KEY", "a"), ("HGET", "h", "f"))
WRITES = (("SET", "a", "1"), ("INCR", "b"), ("APPEND", "c", "x" * 40), ("DEL", "a"), ("HSET", "h", "f", "v"))
CLASSES = (1, 2, 3)
PIECE_MOST = 40
ROOM_BYTES = 4 << 20  # single bytes that are not read yet, with what each of them costs
QUEUES = ("dnode_client_in_queue", "in_queue:resp2", "in_queue:resp3", "out_queue:resp2", "out_queue:resp3",
          "peer_in_queue", "peer_out_queue")  # fmt: skip

Answers = list[int] | None  # ids of the requests that were answered; None: the connection was closed


class Faults(logging.Handler):
    """Exceptions that a data path has survived; they are defects all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.seen.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


class Writer:
    """Frames as other nodes send them; stamps and numbers go up from one to the next."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._number = 0

    def corpus(self) -> list[bytes]:
        return [make() for make in (self.batch, self.batch, self.stamped, self.asked, self.of_c_node) for _ in (1, 2)]

    def _next(self) -> tuple[int, int, int, tuple[str, ...]]:
        self._number += self._rng.choice((1, 1, 1, 2, 40))
        return now() + self._number, self._number, self._rng.choice(CLASSES), self._rng.choice(WRITES)

    def batch(self) -> bytes:
        return written(self._number + 1, [self._next() for _ in range(self._rng.randrange(1, 5))])

    def stamped(self) -> bytes:
        stamp, number, klass, words = self._next()
        protocol = {"protocol": self._rng.choice((2, 3))}
        return self._frame(number, words, DNODE_VERSION_BATCHES, extension(stamp, klass, number, **protocol))

    def asked(self) -> bytes:
        return self._frame(self._next()[1], self._rng.choice(ASKED), DNODE_VERSION_BATCHES, b"d")

    def of_c_node(self) -> bytes:
        kind = self._rng.choice((DNODE_REQ, DNODE_REQ_FORWARD))
        words = self._rng.choice(ASKED + WRITES)
        return self._frame(self._next()[1], words, DNODE_VERSION_C, b"d", kind)

    @staticmethod
    def _frame(number: int, words: tuple[str, ...], version: int, data: bytes, kind: int = DNODE_REQ) -> bytes:
        return encode_frame(number, kind, hiredis.pack_command(words), version=version, data=data)


def is_idle(stage: ReplicaStage) -> bool:
    """Whether nobody is owed an answer, once what had been held back has had its chance: one turn lets go of it, and
    the next one goes on."""
    for _turn in range(2):
        stage.path.turn()
    figures = stage.path.figures()
    return not any(figures[name] for name in QUEUES)


async def served(stage: ReplicaStage, data: bytes, size: int, number: int) -> Answers:
    """The answers to these bytes, which come in pieces of that size."""
    node, peer = socket.socketpair()
    node.setblocking(False)
    peer.setblocking(False)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM_BYTES)
    stage.path.accept_peer(node.detach(), "peer", None)
    with contextlib.suppress(BrokenPipeError):  # what can be no frame ends the connection
        for at in range(0, len(data), size):
            peer.sendall(data[at : at + size])
            stage.path.turn()

    def answered() -> bool:
        while not stage.store.waiting.empty():
            stage.store.waiting.get_nowait()
            stage.store.reply(b"+OK\r\n")
        for played in stage.peers:
            while not played.waiting.empty():
                played.reply(played.waiting.get_nowait(), b"+OK\r\n")
        return is_idle(stage) and stage.store.waiting.empty()

    await stage.until(answered)
    answers = answers_at(peer)
    peer.close()
    stage.records()
    await one_is_served(stage, b"mark:%d" % number)
    return answers


def answers_at(peer: socket.socket) -> Answers:
    framer = DnodeFramer()
    frames: list[DnodeFrame] = []
    try:
        while data := peer.recv(65536):
            frames += framer.feed(data)
    except BlockingIOError:
        return [one for frame in frames for one in ids_of(frame)]
    except ConnectionResetError:
        pass
    return None


def ids_of(frame: DnodeFrame) -> range:
    """One, or those of a run."""
    told = unpack_extension(frame.data)
    run = told.run if told is not None and told.fields & EXTENSION_RUN else 1
    return range(frame.id - run + 1, frame.id + 1)


async def one_is_served(stage: ReplicaStage, key: bytes) -> None:
    client = await stage.client()
    client.send("GET", key)
    if (asked := await stage.store.request()) != (2, [b"GET", key]):
        raise ValueError(f"{asked} is asked of the datastore, which was not owed")
    stage.store.reply(b"$1\r\nv\r\n")
    await client.reply()
    client.close()


@contextlib.asynccontextmanager
async def two_stages() -> AsyncIterator[tuple[ReplicaStage, ReplicaStage]]:
    with tempfile.TemporaryDirectory(prefix="dmp-fuzz-") as name:
        folders = [Path(name, side) for side in "ab"]
        for folder in folders:
            folder.mkdir()
        async with ReplicaStage.open(folders[0]) as first, ReplicaStage.open(folders[1]) as second:
            yield first, second


async def search(seed: int, *, seconds: float = 0.0, count: int = 0) -> tuple[int, str | None]:
    """Inputs looked at until the time or the count is over, and the first finding."""
    rng = random.Random(seed)
    writer, faults = Writer(rng), Faults()
    log = logging.getLogger("dynomite_mp.io")
    log.addHandler(faults)
    log.propagate = False
    end = time.monotonic() + seconds
    number = 0
    try:
        async with two_stages() as (first, second):
            while number < count or time.monotonic() < end:
                number += 1
                data = mutated(rng, writer.corpus())
                whole = await served(first, data, max(1, len(data)), number)
                size = rng.randrange(1, PIECE_MOST)
                pieces = await served(second, data, size, number)
                if whole != pieces:
                    return number, f"in pieces of {size} {pieces}, in one {whole}: {data!r}"
                if faults.seen:
                    return number, f"{faults.seen[0]}: {data!r}"
    except (TimeoutError, EOFError, ValueError) as error:
        return number, f"clients are no longer served ({error!r}): {data!r}"
    finally:
        log.removeHandler(faults)
        log.propagate = True
    return number, None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    number, problem = asyncio.run(search(options.seed, seconds=options.seconds))
    if problem:
        print(f"seed {options.seed}, input {number}, 1 finding: {problem}")
        return 1
    print(f"{number} inputs, 0 findings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
