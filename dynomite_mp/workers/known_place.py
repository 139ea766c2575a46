"""Whether the nodes of this datacenter send their writes here yet; a step of the way back (workers.returning).

    this node, at its start --`knows`, me--> replication of every node of the datacenter --LEADING me, no--> io workers
                            <-STRANGER, NAMED or CONNECTED---------------------------------<-LEADING_SEEN---

A replacement has its predecessor's place and an address of its own. It is announced when the predecessor is known to be
dead; until each coordinator has heard of it, writes go to the old address. What is copied before that is not up to date
when it is, and nobody would notice: the writes that the predecessor missed are kept for the predecessor.

What it is not: it announces nothing (membership does), and is no part of the data path.

Invariants: nodes that cannot be asked are not waited for, they connect and say what they hold; a node of whom another
says that it is a stranger waits without end where gossip can change that, else for catch_up_max_ms.
"""

import asyncio
import logging
from typing import Final

from dynomite_mp.cluster.topology import Topology
from dynomite_mp.workers.peer_calls import CallError, PeerCalls

log = logging.getLogger("dynomite_mp.replication")

STRANGER, NAMED, CONNECTED = range(3)
POLL_S: Final = 0.05
ANSWER_MS: Final = 4000


class KnownPlace:
    """One a replication process."""

    def __init__(self, calls: PeerCalls, *, has_gossip: bool, most_ms: int) -> None:
        self._calls = calls
        self._has_gossip = has_gossip
        self._most_s = most_ms / 1000
        self._own = ""
        self._peers: tuple[str, ...] = ()
        self._is_known = False
        calls.handlers["knows"] = self._on_knows

    def swap(self, topology: Topology) -> None:
        self._own = topology.local.address
        self._peers = topology.replica_addresses()

    async def _on_knows(self, address: str) -> int:
        """Another node asks whether its share of the writes of this one goes to it."""
        if address not in self._peers:
            return STRANGER
        return CONNECTED if await self._calls.handlers["lead"](address, False) else NAMED

    async def step(self, _reason: str) -> None:
        """Once, at the start."""
        begun_s = asyncio.get_running_loop().time()
        was_told = False
        while not self._is_known:
            answers = await asyncio.gather(*(self._ask(peer) for peer in self._peers))
            least = min(answers, default=CONNECTED)
            is_over = asyncio.get_running_loop().time() > begun_s + self._most_s
            self._is_known = least == CONNECTED or (is_over and (least == NAMED or not self._has_gossip))
            if self._is_known:
                break
            if not was_told:
                was_told = True
                log.info("other nodes do not send their writes here yet")
            await asyncio.sleep(POLL_S)

    async def _ask(self, peer: str) -> int:
        try:
            return int(await self._calls.call(peer, "knows", self._own, timeout_ms=ANSWER_MS, is_hasty=True))
        except CallError as failure:
            log.debug("%s: %s", peer, failure)
            return CONNECTED
