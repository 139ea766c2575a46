"""What must hold of requests, seen from outside: what clients sent and got, and what every datastore executed.

    replies     each belongs to its request, comes in order, and comes at all
    applied     a write at most once at every replica
    lanes       writes of one key through one node have one order at every replica
    places      only owners execute, by a topology that was in force shortly before
    quorum      an answer stands on a majority; a later read sees what a majority acknowledged
    calm        without faults there are no errors, and every owner has every write

Each checker is a generator of complaints. They count by themselves: none of the code under test is used, but for the
hash of a key.
"""

from collections import Counter
from collections.abc import Callable, Iterator

from dynomite_mp.cluster.route import LEVEL_ONE, LEVEL_QUORUM, LEVEL_SAFE_QUORUM
from dynomite_mp.cluster.token import hash_key

from .request_cluster import Asked, RequestCluster

ANSWER_LIMIT_MS = 4_000
TOPOLOGY_LAG_MS = 2_000


def replies(cluster: RequestCluster) -> Iterator[str]:
    for asked in cluster.asked:
        if asked.reply is None:
            if not asked.is_lost:
                yield f"{asked.id!r} of {asked.sent_ms} ms was never answered"
        elif asked.id not in (words := asked.reply.replace(b"$", b" ").split()):
            if asked.is_answered or b"ERR" not in words[0]:
                yield f"{asked.id!r} {asked.words} got the reply of another: {asked.reply!r}"
        elif asked.is_answered and asked.words[1] not in words:
            yield f"{asked.id!r} {asked.words} got the reply for another key: {asked.reply!r}"
        elif asked.is_answered and not any(e.reply == asked.reply for e in cluster.book.of(asked.id)):
            yield f"{asked.id!r} got {asked.reply!r}, which no datastore said"
        if asked.reply is not None and asked.replied_ms - asked.sent_ms > ANSWER_LIMIT_MS:
            yield f"{asked.id!r} was answered after {asked.replied_ms - asked.sent_ms} ms"


def applied(cluster: RequestCluster) -> Iterator[str]:
    for store, rows in cluster.book.writes():
        for request_id, times in Counter(request_id for request_id, _ in rows).items():
            if times > 1:
                yield f"{store} executed {request_id!r} {times} times"


def lanes(cluster: RequestCluster) -> Iterator[str]:
    for store, rows in cluster.book.writes():
        last: dict[tuple[str, int, bytes], int] = {}
        for request_id, words in rows:
            sent = cluster.dispatched[request_id]
            lane = (sent.coordinator, sent.life, words[1])
            if last.get(lane, -1) > sent.order:
                yield f"{store} executed {request_id!r} after a later write of {words[1]!r} through {sent.coordinator}"
            last[lane] = max(last.get(lane, -1), sent.order)


def owner(cluster: RequestCluster, version: int, rack: int, key: bytes) -> str:
    """The first token at or above the key's, of all in the rack; else the smallest."""
    token = hash_key("murmur", key)
    tokens = sorted((t, n.host) for n in cluster.topologies[version][1] if n.rack == f"r{rack}" for t in n.tokens)
    return next((host for place, host in tokens if place >= token), tokens[0][1])


def places(cluster: RequestCluster) -> Iterator[str]:
    ends = [at_ms for at_ms, _ in cluster.topologies[1:]]
    for request_id, executions in cluster.book.executions.items():
        sent = cluster.dispatched[request_id]
        in_force = [
            version
            for version, (begin_ms, _) in enumerate(cluster.topologies)
            if begin_ms <= sent.at_ms and (version == len(ends) or ends[version] + TOPOLOGY_LAG_MS >= sent.at_ms)
        ]
        for execution in executions:
            if not any(owner(cluster, v, execution.rack, sent.words[1]) == execution.store for v in in_force):
                yield f"{execution.store} executed {request_id!r} {sent.words}, and it did not own the key"


def quorum(cluster: RequestCluster) -> Iterator[str]:
    need = cluster.racks // 2 + 1
    for asked in cluster.asked:
        if not asked.is_answered or asked.level == LEVEL_ONE:
            continue
        good = [e for e in cluster.book.of(asked.id) if e.is_good and e.at_ms <= asked.replied_ms]
        if len({e.rack for e in good}) < need:
            yield f"{asked.id!r} {asked.words} was answered, and {len(good)} of {cluster.racks} racks had executed it"
        elif asked.words[0] == b"GET" and asked.level != LEVEL_QUORUM:
            same = sum(e.reply == asked.reply for e in good)
            if same < need:
                yield f"{asked.id!r} was answered with {asked.reply!r}, which {same} of {cluster.racks} racks said"


def later_reads(cluster: RequestCluster) -> Iterator[str]:
    """Two majorities meet: of the replicas that agreed on a read, one had executed what was acknowledged before."""
    writes: dict[bytes, list[Asked]] = {}
    for asked in cluster.asked:
        if asked.words[0] == b"SET" and asked.is_answered and asked.level >= LEVEL_QUORUM:
            writes.setdefault(asked.words[1], []).append(asked)
    for read in cluster.asked:
        if read.words[0] != b"GET" or not read.is_answered or read.level < LEVEL_SAFE_QUORUM:
            continue
        said = {e.store for e in cluster.book.of(read.id) if e.reply == read.reply and e.at_ms <= read.replied_ms}
        for write in writes.get(read.words[1], ()):
            if write.replied_order < read.order:
                had = {e.store for e in cluster.book.of(write.id) if e.is_good and e.at_ms <= write.replied_ms}
                if not had & said:
                    yield f"{read.id!r} read {read.reply!r} from {said}; {write.words} was acknowledged by {had} before"


def calm(cluster: RequestCluster) -> Iterator[str]:
    for asked in cluster.asked:
        if not asked.is_answered:
            yield f"{asked.id!r} {asked.words} failed without a fault: {asked.reply!r}"
        elif asked.words[0] != b"GET":
            wanted = {owner(cluster, 0, rack, asked.words[1]) for rack in range(cluster.racks)}
            found = Counter(e.store for e in cluster.book.of(asked.id))
            if found != Counter(wanted):
                yield f"{asked.id!r} was executed by {dict(found)}, its owners are {sorted(wanted)}"


def available(cluster: RequestCluster) -> Iterator[str]:
    """While one node or datastore at a time is away, a client of another node notices nothing at DC_ONE."""
    for asked in cluster.asked:
        if asked.level == LEVEL_ONE and asked.reply is not None and not asked.is_answered:
            yield f"{asked.id!r} {asked.words} failed although another rack was there: {asked.reply!r}"


ALWAYS: tuple[Callable[[RequestCluster], Iterator[str]], ...] = (replies, applied, lanes, places, quorum)
