"""Taking and giving up the lead: a node leads only when the nodes of the other racks have been told.

What it is: the replication process's part of `leading`. Commands that must not happen twice run at the best rack that
leads; so a node that comes back, or whose datastore does, asks first.

    io worker --LEAD_READY--> Leadership --call "lead", me, yes--> replication of every node of the other racks
                                                                     |--LEADING me--> io workers: no new request of
                                                                     |<-LEADING_SEEN- mine, those begun are finished
    io worker <--LEADING me-- Leadership <--all said yes-------------+

What it is not: it decides nothing about a key (cluster.lead does), and it is no consensus: nodes that cannot reach each
other each believe that they lead.

Invariants:
- a node that missed writes that others hold for it does not ask;
- a node that does not answer for GRACE_S is taken for dead and not waited for;
- what was said is said again now and then: a node may have lost the connection for a moment.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any, Final

from dynomite_mp.cluster.topology import Topology
from dynomite_mp.workers.peer_calls import CallError, PeerCalls

log = logging.getLogger("dynomite_mp.replication")

GRACE_S: Final = 1.0
RETRY_S: Final = 0.1
REPEAT_S: Final = 2.0
CALL_MS: Final = 800
SEEN_S: Final = 3.0

Tell = Callable[[int, int, str, bool], object]


class Leadership:
    """One a replication process. `tell(worker, nonce, address, is_leading)` sends LEADING to an io worker."""

    def __init__(self, calls: PeerCalls, workers: int, tell: Tell) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls = calls
        self._workers = workers
        self._tell_worker = tell
        self._local = ""
        self._others: tuple[str, ...] = ()  # nodes of the other racks of this datacenter
        self._ready: dict[int, bool] = {}
        self._leaders: set[str] = set()  # other nodes that said they lead
        self._silent_since: dict[str, float] = {}
        self._nonces = itertools.count(1)
        self._seen: dict[int, asyncio.Future[bool]] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_leading = False
        calls.handlers["lead"] = self._on_lead

    def start(self) -> None:
        self._task = self._loop.create_task(self._run())

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def swap(self, topology: Topology) -> None:
        self._local = topology.local.address
        self._others = tuple(
            node.address for rack in topology.local_dc.racks if rack.name != topology.local.rack for node in rack.nodes
        )
        self._silent_since = {a: since for a, since in self._silent_since.items() if a in self._others}
        self._leaders &= set(self._others)
        self._changed.set()

    # ---- from the io workers

    def note_ready(self, worker: int, is_ready: bool) -> None:
        """An io worker can, or cannot, execute commands for others: now and then, and at every change."""
        if self._ready.get(worker) != is_ready:
            self._ready[worker] = is_ready
            self._changed.set()

    def note_seen(self, nonce: int, is_known: bool) -> None:
        future = self._seen.get(nonce)
        if future is not None and not future.done():
            future.set_result(is_known)

    async def _tell(self, address: str, is_leading: bool) -> bool:
        """To every io worker; whether each of them knows it now and has nothing begun that it would do itself."""
        futures: list[asyncio.Future[bool]] = []
        nonces = []
        for worker in range(self._workers):
            nonce = next(self._nonces)
            future: asyncio.Future[bool] = self._loop.create_future()
            self._seen[nonce] = future
            nonces.append(nonce)
            futures.append(future)
            self._tell_worker(worker, nonce, address, is_leading)
        try:
            async with asyncio.timeout(SEEN_S):
                return all([await future for future in futures])
        except TimeoutError:
            return False
        finally:
            for nonce in nonces:
                self._seen.pop(nonce, None)

    # ---- from other nodes

    async def _on_lead(self, address: str, is_leading: bool) -> bool:
        if not is_leading:
            self._leaders.discard(address)
        elif address in self._others:
            self._leaders.add(address)
        return await self._tell(address, is_leading)

    # ---- this node

    async def _run(self) -> None:
        pause_s: float | None
        while True:
            pause_s = RETRY_S if self._wants() and not self.is_leading else REPEAT_S
            if not self._others:
                pause_s = None  # nobody to tell
            try:
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            except TimeoutError:
                pass  # time to say it again
            self._changed.clear()
            if self._others:
                await self._step()

    def _wants(self) -> bool:
        return all(self._ready.get(worker, False) for worker in range(self._workers))

    async def _step(self) -> None:
        if not self._wants():
            if self.is_leading:
                log.info("this node leads no keys until its datastore and its data are whole again")
            self.is_leading = False
            await self._tell(self._local, False)
            await asyncio.gather(*(self._say(address, False) for address in self._others))
            return
        if not self.is_leading:
            for address in tuple(self._leaders):  # an io worker that was restarted does not know
                await self._tell(address, True)
        agreed = await asyncio.gather(*(self._say(address, True) for address in self._others))
        if all(agreed) and self._wants():
            if not self.is_leading:
                log.info("this node leads its share of the keys")
            self.is_leading = await self._tell(self._local, True)

    async def _say(self, address: str, is_leading: bool) -> bool:
        """Whether the other node agrees, or has not answered for so long that it must be dead."""
        try:
            if is_leading and not self.is_leading and await self._missed_at(address):
                return False
            answer = await self._calls.call(address, "lead", self._local, is_leading, timeout_ms=CALL_MS)
        except CallError:
            since = self._silent_since.setdefault(address, self._loop.time())
            return self._loop.time() - since >= GRACE_S
        self._silent_since.pop(address, None)
        return bool(answer)

    async def _missed_at(self, address: str) -> bool:
        """Whether that node holds writes that this one has missed."""
        try:
            answer: Any = await self._calls.call(address, "hints", self._local, timeout_ms=CALL_MS)
        except CallError as problem:
            if "no such verb" in str(problem):
                return False
            raise
        return bool(answer[0])
