"""A simulated datastore, and the book of what every datastore did.

Every request carries an id of its own as its last word, and every reply echoes id and key, so that a reply that went
astray shows:

    GET key id          -> "id key value"
    SET key value id    -> "id key OK"
    INCR key id         -> "id key number"         of which replicas may differ
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from .streams import Streams

OOM = b"-OOM command not allowed when used memory > 'maxmemory'. %s\r\n"


@dataclass(frozen=True)
class Execution:
    """One command at one datastore."""

    store: str
    rack: int
    at_ms: int
    order: int
    reply: bytes

    @property
    def is_good(self) -> bool:
        return not self.reply.startswith(b"-")


@dataclass
class Book:
    """What was executed where."""

    executions: dict[bytes, list[Execution]] = field(default_factory=dict)
    by_store: dict[str, list[tuple[bytes, list[bytes]]]] = field(default_factory=dict)
    """Of each datastore in order: (id, words)."""
    count: int = 0

    def note(self, store: "Store", words: list[bytes], at_ms: int, reply: bytes) -> None:
        self.count += 1
        execution = Execution(store.name, store.rack, at_ms, self.count, reply)
        self.executions.setdefault(words[-1], []).append(execution)
        self.by_store.setdefault(store.name, []).append((words[-1], words))

    def of(self, request_id: bytes) -> list[Execution]:
        return self.executions.get(request_id, [])

    def writes(self) -> Iterator[tuple[str, list[tuple[bytes, list[bytes]]]]]:
        for name, rows in self.by_store.items():
            yield name, [row for row in rows if row[1][0] != b"GET"]


class Store:
    """One datastore; it keeps its data when it or its node dies."""

    def __init__(self, name: str, rack: int, streams: Streams, rng: Random, book: Book) -> None:
        self.name = name
        self.rack = rack
        self.streams = streams
        self.rng = rng
        self.book = book
        self.data: dict[bytes, bytes] = {}
        self.is_up = True
        self.is_full = False
        """It refuses writes."""
        self.stopped_until_ms = 0
        self._free_ms = 0
        self._queue: deque[tuple[list[bytes], Callable[[bytes], None]]] = deque()

    def submit(self, words: list[bytes], answer: Callable[[bytes], None]) -> None:
        """Execute later, in the order of submission; without an answer if the connection is lost meanwhile."""
        self._free_ms = max(self._free_ms, self.streams.now_ms + self.rng.randrange(3))
        self._queue.append((words, answer))
        self.streams.at(self._free_ms, self._run)

    def _run(self) -> None:
        """Each submission has one call, which executes the oldest of them."""
        if self.streams.now_ms < self.stopped_until_ms:
            self.streams.at(self.stopped_until_ms, self._run)
        elif self._queue:
            words, answer = self._queue.popleft()
            answer(self.execute(words))

    def execute(self, words: list[bytes]) -> bytes:
        command, key, request_id = words[0], words[1], words[-1]
        if command == b"GET":
            result = self.data.get(key, b"-")
        elif self.is_full:
            reply = OOM % request_id
            self.book.note(self, words, self.streams.now_ms, reply)
            return reply
        elif command == b"SET":
            self.data[key] = words[2]
            result = b"OK"
        else:
            result = self.data[key] = b"%d" % (int(self.data.get(key, b"0")) + 1)
        text = b"%s %s %s" % (request_id, key, result)
        reply = b"$%d\r\n%s\r\n" % (len(text), text)
        self.book.note(self, words, self.streams.now_ms, reply)
        return reply

    def stop(self, until_ms: int) -> None:
        """SIGSTOP for a while."""
        self.stopped_until_ms = max(self.stopped_until_ms, until_ms)

    def forget_connection(self) -> None:
        """What was sent and not executed is dropped."""
        self._queue.clear()
