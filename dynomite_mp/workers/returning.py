"""The way back of a node that may have missed writes: RESUMING until its peers hold none for it any more.

    why it may have missed some             io worker                      replication process
    it has started                          RESUMING --NODE_EVENT-->       begin()
    its datastore was lost and is back      RESUMING --NODE_EVENT-->       begin()
    its event loop stood still (SIGSTOP)    RESUMING --NODE_EVENT-->       begin()
    a peer holds hints for it                                              begin(), by the call `resume`
                                            <--NODE_RETURN-- told at once, and when it is over

In between: what must come first (`steps`: filling an empty datastore, keys a datastore lost), then every peer of the
datacenter is asked how many hints it holds for this node, until all that answer say none and no key copy is pending;
at most catch_up_max_ms.

What it is not: it brings no write (the peers' hint lanes do) and refuses no read (the io workers do: they take writes,
and reads go to another rack).

Invariants: a node whose datacenter has one rack never is RESUMING; an io worker that asks again while this is going on
is not released by an answer that was meant for the time before.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from dynomite_mp.cluster.topology import Topology
from dynomite_mp.enums import Missing
from dynomite_mp.workers.key_copies import KeyCopies
from dynomite_mp.workers.peer_calls import CallError, PeerCalls

log = logging.getLogger("dynomite_mp.replication")

POLL_S: Final = 0.1
ANSWER_MS: Final = 1000
# A peer that had lost this node connects again within a second; until then its writes become hints.
RECONNECTED_S: Final = 1.2
ANY_EPISODE: Final = 2**32 - 1

Step = Callable[[str], Awaitable[None]]


class Returning:
    """One a replication process. `tell(worker, what is missing, episodes heard)` reaches an io worker."""

    def __init__(
        self,
        calls: PeerCalls,
        copies: KeyCopies,
        tell: Callable[[int, Missing, int], object],
        io_workers: int,
        catch_up_max_ms: int,
    ) -> None:
        self._calls = calls
        self._copies = copies
        self._tell = tell
        self._heard = dict.fromkeys(range(io_workers), ANY_EPISODE)
        self._catch_up_max_s = catch_up_max_ms / 1000
        self._own = ""
        self._peers: tuple[str, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._reasons: list[str] = []
        self._missing = Missing.NOTHING
        self.steps: list[Step] = []
        self.times = 0
        calls.handlers["resume"] = self._on_resume

    @property
    def is_returning(self) -> bool:
        return self._task is not None

    def swap(self, topology: Topology) -> None:
        self._own = topology.local.address
        self._peers = topology.replica_addresses()

    def on_event(self, worker: int, what: str, episode: int, missing: Missing) -> None:
        """An io worker says why it is RESUMING."""
        self._heard[worker] = episode
        self.begin(what, missing)

    async def _on_resume(self, *_args: object) -> bool:
        """A peer holds hints for this node."""
        if not self.is_returning:
            self.begin("a peer holds hints for this node", Missing.WRITES)
        return True

    def begin(self, reason: str, missing: Missing) -> None:
        """Again from the start, if it is going on already."""
        self._reasons.append(reason)
        self._missing = max(self._missing, missing)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._reasons:
                reasons, self._reasons = self._reasons, []
                await self._return(reasons)
        finally:
            self._task = None
            self._tell_all(Missing.NOTHING)

    async def _return(self, reasons: Sequence[str]) -> None:
        self.times += 1
        if self._peers:
            self._tell_all(self._missing)
        for reason in dict.fromkeys(reasons):
            for step in self.steps:
                await self._take(step, reason)
        if not self._reasons:
            self._missing = Missing.WRITES
        if self._peers:
            self._tell_all(self._missing)
            await self._catch_up(reasons[0])
        if not self._reasons:
            self._missing = Missing.NOTHING

    def _tell_all(self, missing: Missing) -> None:
        for worker, heard in self._heard.items():
            self._tell(worker, missing, heard)

    async def _take(self, step: Step, reason: str) -> None:
        try:
            await step(reason)
        except Exception:
            # A node that cannot be filled is still better than none; comparison mends what is missing.
            log.exception("on the way back: a step failed")

    async def _catch_up(self, reason: str) -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        zeros = 0
        pending = await self._pending()
        if pending == 0 and not self._copies.pending:
            await asyncio.sleep(POLL_S)  # what peers are just about to find missing
            pending = await self._pending()
        if pending == 0 and not self._copies.pending:
            return
        log.info("catching up (%s): %d writes are kept for this node", reason, pending)
        while loop.time() < begun_s + self._catch_up_max_s:
            await asyncio.sleep(POLL_S)
            pending = await self._pending()
            zeros = zeros + 1 if pending + self._copies.pending == 0 else 0
            if zeros > 1 and loop.time() > begun_s + RECONNECTED_S:
                log.info("caught up after %.1f s", loop.time() - begun_s)
                return
        log.warning("not caught up within catch_up_max_ms (%d writes pending); serving nevertheless", pending)

    async def _pending(self) -> int:
        """Hints for this node, here and at all peers that answer; one more for each lane that has given up some."""
        asked = [self._ask(peer) for peer in self._peers]
        if "hints" in self._calls.handlers:
            asked.append(self._own_pending())
        return sum(await asyncio.gather(*asked))

    async def _own_pending(self) -> int:
        answer = await self._calls.handlers["hints"](self._own)
        return int(answer[0]) + bool(answer[1])

    async def _ask(self, peer: str) -> int:
        try:
            answer = await self._calls.call(peer, "hints", self._own, timeout_ms=ANSWER_MS, is_hasty=True)
        except CallError as failure:
            log.debug("hints at %s: %s", peer, failure)
            return 0
        return int(answer[0]) + bool(answer[1])
