"""What this node still has to tell others: each piece of news a bounded number of times, the least told first.

Not here: to whom and when (membership.py), what the news means (membership_view.py).

Invariants: at most one piece of news per member, but one per accuser while it is suspected, because accusations of
different members add up; newer news of a member displaces older.
"""

from collections.abc import Hashable

from dynomite_mp.cluster.membership_record import Liveness, News


class Rumours:
    """A queue of encoded news, keyed by what they are about."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[Hashable, tuple[int, bytes]] = {}  # times told, encoded

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, news: News) -> None:
        """News about a member."""
        if news.liveness is Liveness.SUSPECT:
            self._waiting.pop(news.node_id, None)
            self._waiting[news.node_id, news.by] = (0, news.encode())
        else:
            self.forget(news.node_id)
            self._waiting[news.node_id] = (0, news.encode())

    def put_text(self, place: Hashable, encoded: bytes) -> None:
        """A record of the C gossip text."""
        self._waiting["text", place] = (0, encoded)

    def forget(self, node_id: int) -> None:
        waiting = self._waiting
        waiting.pop(node_id, None)
        for key in [key for key in waiting if isinstance(key, tuple) and key[0] == node_id]:
            del waiting[key]

    def take(self, room_bytes: int, times: int) -> list[bytes]:
        """What goes into the next packet; news told `times` times is done."""
        waiting = self._waiting
        if not waiting:
            return []
        keys = list(waiting)
        if len(keys) > 1:
            keys.sort(key=lambda key: waiting[key][0])  # stable: among equals the older first
        taken: list[bytes] = []
        for key in keys:
            told, encoded = waiting[key]
            if len(encoded) > room_bytes and (taken or room_bytes < FULL_ROOM_BYTES):
                continue
            taken.append(encoded)
            room_bytes -= len(encoded)
            if told + 1 >= times:
                del waiting[key]
            else:
                waiting[key] = (told + 1, encoded)
            if room_bytes < SMALLEST_BYTES:
                break
        return taken


FULL_ROOM_BYTES = 1000
"""With at least this much room a packet is as good as empty; news that is larger than any packet goes then."""
SMALLEST_BYTES = 20
