"""What the replication processes of two nodes say to each other, and what one asks of another node's datastore.

    calls.ask(address, [payloads])  --REQ------------------> io worker of the node --> its datastore
    calls.call(address, verb, ...)  --REQ DYNO CALL--------> io worker --PEER_CALL--> replication: handlers[verb](...)
                                    <------ msgpack: [DONE, result] or [FAILED, text] or [PENDING, ticket]

Two connections a node, made when they are first needed: one for calls, one for the rest, so that a question is not
answered behind a stream of values. Replies on a connection come in order, so no handler may keep it: what is not done
after PENDING_MS is answered with a ticket, and the asker asks for that (`wait`) until it is. `call` hides this.

What it is not: it knows no topology by itself (`swap`), re-sends nothing, and decides nothing.

Invariants: a question is asked at most once; when the answer is lost, the asker gets CallError and cannot know whether
it was carried out. Handlers are to be such that asking twice does no harm.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from dynomite_mp.cluster.topology import Node, Topology
from dynomite_mp.errors import DynomiteError
from dynomite_mp.ipc.counters import SlabWriter
from dynomite_mp.proto.dnode_frames import ExtensionFields
from dynomite_mp.proto.requests import request
from dynomite_mp.workers.call_path import CallPath
from dynomite_mp.workers.peer_cipher import NodeKey
from dynomite_mp.workers.peer_mesh import PeerLink

log = logging.getLogger("dynomite_mp.replication")

DONE: Final = 0
FAILED: Final = 1
PENDING: Final = 2

NO_SUCH_VERB: Final = "no such verb"
PENDING_MS = 200
TICKETS_MAX = 10000
ASK_MS = 5000
TICK_S = 0.010
LOOK_AGAIN_S = 0.02
CALLS, REQUESTS = 0, 1  # what a connection is for
OURS_ONLY = (b"*3\r\n$4\r\nDYNO\r\n", b"*1\r\n$6\r\nDBSIZE\r\n")  # a C node would close the connection

Reply = tuple[bytes, ExtensionFields | None]
Handler = Callable[..., Awaitable[Any]]


class CallError(DynomiteError):
    """A node could not be asked, or did not answer, or answered an error."""


class CNodeError(CallError):
    """The node is one of C Dynomite: it has no replication process to call."""


class UnknownVerbError(CallError):
    """The node does not know the question: it is of an older version."""


@dataclass(frozen=True, slots=True)
class CallWays:
    """How connections are made; the same for all nodes."""

    bind_host: str
    key: NodeKey | None
    is_secured: Callable[[Node, Node], bool]
    deadline_ms: int


class PeerCalls:
    """One a replication process. `handlers` is the table of verbs, open to whoever answers one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slab: SlabWriter, ways: CallWays) -> None:
        self._loop = loop
        self._ways = ways
        self._nodes: dict[str, Node] = {}
        self._local: Node | None = None
        self._links: dict[tuple[str, int], PeerLink] = {}
        self._changed = asyncio.Event()
        self._tickets: dict[int, asyncio.Task[Any]] = {}
        self._next_ticket = itertools.count(1)
        self.handlers: dict[str, Handler] = {"ping": _ping}
        self.path = CallPath(
            lambda: loop.call_soon(self.path.turn),
            lambda: loop.call_later(TICK_S, self._on_tick),
            slab,
            deadline_ms=ways.deadline_ms,
        )

    def start(self) -> None:
        self._loop.add_reader(self.path.fd, self.path.turn)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        for task in self._tickets.values():
            task.cancel()
        self.path.close_all()

    def swap(self, topology: Topology) -> None:
        """Who may be asked, this node among them. Connections to nodes that left are closed."""
        self._local = topology.local
        self._nodes = {node.address: node for node in topology.nodes()}
        for address, kind in list(self._links):
            if address not in self._nodes:
                self._links.pop((address, kind)).close()
        self._changed.set()

    def _on_tick(self) -> None:
        if self.path.tick():
            self._loop.call_later(TICK_S, self._on_tick)

    # ---- asking

    async def ask(
        self,
        address: str,
        payload: bytes,
        *,
        is_forward: bool = False,
        extension: bytes | None = None,
        timeout_ms: int = ASK_MS,
    ) -> tuple[bytes, ExtensionFields | None]:
        """One request for the node's datastore, or (is_forward) for its datacenter: its reply as RESP bytes."""
        extensions = None if extension is None else (extension,)
        replies = await self.ask_many(
            address, (payload,), is_forward=is_forward, extensions=extensions, timeout_ms=timeout_ms
        )
        return replies[0]

    async def ask_many(
        self,
        address: str,
        payloads: Sequence[bytes],
        *,
        is_forward: bool = False,
        extensions: Sequence[bytes] | None = None,
        timeout_ms: int = ASK_MS,
        kind: int = REQUESTS,
        is_hasty: bool = False,
    ) -> list[Reply]:
        """The same for several that leave together, in this order, each with its extension (a C node gets none).

        CallError if any has no reply. `is_hasty`: a node that refuses the connection is not waited for.
        """
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                link = await self._link(address, kind, is_hasty)
                if not link.is_ours and (kind == CALLS or any(payload.startswith(OURS_ONLY) for payload in payloads)):
                    raise CNodeError(f"{address} is a C node", "it cannot be asked")
                replies = await self._send(link, payloads, is_forward, extensions)
        except TimeoutError:
            raise CallError(f"{address} did not answer within {timeout_ms} ms") from None
        answered = [reply for reply in replies if reply is not None]
        if len(answered) < len(replies):
            raise CallError(f"the connection to {address} was lost")
        return answered

    async def _send(
        self, link: PeerLink, payloads: Sequence[bytes], is_forward: bool, extensions: Sequence[bytes] | None
    ) -> list[Reply | None]:
        future: asyncio.Future[list[Reply | None]] = self._loop.create_future()

        def on_done(replies: list[Reply | None]) -> None:
            if not future.done():
                future.set_result(replies)

        assert link.conn is not None
        if self.path.send(link.conn, payloads, on_done, is_forward=is_forward, extensions=extensions) is None:
            raise CallError(f"{link.node.address} is silent")
        return await future

    async def call(self, address: str, verb: str, *args: Any, timeout_ms: int = ASK_MS, is_hasty: bool = False) -> Any:
        """What the node's handler of this verb returns; CallError if it raises, or nobody answers in time."""
        end_s = self._loop.time() + timeout_ms / 1000
        question = [verb, *args]
        while True:
            left_ms = max(1, int((end_s - self._loop.time()) * 1000))
            frame = request(b"DYNO", b"CALL", msgpack.packb(question, use_bin_type=True))
            reply, _ = (await self.ask_many(address, (frame,), timeout_ms=left_ms, kind=CALLS, is_hasty=is_hasty))[0]
            status, value = _opened(address, reply)
            if status == DONE:
                return value
            if status == FAILED:
                kind = UnknownVerbError if str(value).startswith(NO_SUCH_VERB) else CallError
                raise kind(f"{address}: {verb}: {value}")
            question = ["wait", value]

    async def _link(self, address: str, kind: int, is_hasty: bool) -> PeerLink:
        """The connection to a node, once it is up; CallError when the node is not of the cluster."""
        while True:
            link = self._links.get((address, kind)) or self._open(address, kind)
            if link.conn is not None and link.conn.is_up:
                return link
            if is_hasty and link.last_error:
                raise CallError(f"{address}: {link.last_error}")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_AGAIN_S if is_hasty else None)

    def _open(self, address: str, kind: int) -> PeerLink:
        node = self._nodes.get(address)
        if node is None or self._local is None:
            raise CallError(f"{address} is no node of this cluster")
        ways = self._ways
        link = PeerLink(
            self.path,
            self._loop,
            node,
            kind,
            place=0,
            same_dc=node.dc == self._local.dc,
            bind_host=ways.bind_host,
            key=ways.key if ways.is_secured(self._local, node) else None,
            on_change=lambda _link: self._changed.set(),
        )
        self._links[address, kind] = link
        link.start()
        return link

    @property
    def local_address(self) -> str:
        """This node's, by which others know it."""
        return self._local.address if self._local is not None else ""

    def is_up(self, address: str) -> bool:
        """Whether a connection to the node stands now."""
        return any(link.is_up for (other, _kind), link in self._links.items() if other == address)

    # ---- answering

    async def answer(self, payload: bytes) -> bytes:
        """The reply to a PEER_CALL, as RESP; within PENDING_MS, if only to say that it goes on."""
        try:
            verb, *args = msgpack.unpackb(payload, raw=False, strict_map_key=False)
            if verb == "wait":
                ticket = int(args[0])
                task = self._tickets.get(ticket)
                if task is None:
                    return _sealed(FAILED, "the node was restarted meanwhile")
            else:
                ticket = 0
                task = self._loop.create_task(_run(self.handlers.get(verb), verb, args))
        except (ValueError, TypeError, msgpack.UnpackException) as problem:
            return _sealed(FAILED, f"not a call: {problem}")
        done, _ = await asyncio.wait((task,), timeout=PENDING_MS / 1000)
        if not done:
            if not ticket:
                ticket = next(self._next_ticket)
                self._tickets[ticket] = task
                self._forget_old()
            return _sealed(PENDING, ticket)
        self._tickets.pop(ticket, None)
        return _sealed(*task.result())

    def _forget_old(self) -> None:
        """Askers that never came back."""
        while len(self._tickets) > TICKETS_MAX:
            self._tickets.pop(next(iter(self._tickets))).cancel()


async def _run(handler: Handler | None, verb: str, args: Sequence[Any]) -> tuple[int, Any]:
    if handler is None:
        return FAILED, f"{NO_SUCH_VERB}: {verb}"
    try:
        return DONE, await handler(*args)
    except Exception as problem:
        # The other side sees the text; a defect of ours is to be seen here.
        if not isinstance(problem, DynomiteError):
            log.exception("call %s failed", verb)
        return FAILED, f"{type(problem).__name__}: {problem}"


async def _ping(*args: Any) -> list[Any]:
    """Says what was said: is the replication process there?"""
    return list(args)


def _sealed(status: int, value: Any) -> bytes:
    body: bytes = msgpack.packb([status, value], use_bin_type=True)
    return b"$%d\r\n%b\r\n" % (len(body), body)


def _opened(address: str, reply: bytes) -> tuple[int, Any]:
    if reply[:1] != b"$":
        raise CallError(f"{address}: {reply.decode(errors='replace').strip()}")
    status, value = msgpack.unpackb(reply[reply.index(b"\n") + 1 : -2], raw=False, strict_map_key=False)
    return int(status), value
