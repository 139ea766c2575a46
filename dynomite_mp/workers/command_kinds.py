"""Which `redis_req_*` field of `/info` a command counts for.

The C server names sixteen kinds. Where its own sorting contradicts the name (set commands and SETBIT count as
`redis_req_set`, `redis_req_sets` never moves, half of the hash and list commands are `other`) the name is followed.
Kept from it: LREM and SUNION, the expensive ones, count twice, under their own name and under their type.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

KINDS: Final = (
    "get",
    "set",
    "del",
    "incr_decr",
    "keys",
    "mget",
    "scan",
    "sort",
    "lreqm",
    "sunion",
    "ping",
    "lists",
    "sets",
    "hashes",
    "sortedsets",
    "other",
)

_NAMES: Final[Mapping[str, str]] = {
    "get": "get",
    "set": "set setex psetex setnx",
    "del": "del unlink",
    "incr_decr": "incr decr incrby decrby incrbyfloat",
    "keys": "keys",
    "mget": "mget",
    "scan": "scan",
    "sort": "sort sort_ro",
    "lreqm": "lrem",
    "sunion": "sunion",
    "ping": "ping",
    "lists": "lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange lrem lset ltrim rpop rpoplpush rpush "
    "rpushx blmove blmpop blpop brpop brpoplpush",
    "sets": "sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove spop "
    "srandmember srem sscan sunion sunionstore",
    "hashes": "hdel hexists hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset hsetnx "
    "hstrlen hvals",
    "sortedsets": "zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore "
    "zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex "
    "zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion "
    "zunionstore bzmpop bzpopmax bzpopmin",
}

KINDS_OF_NAME: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(kind for kind in KINDS if name in _NAMES.get(kind, "").split())
    for names in _NAMES.values()
    for name in names.split()
}


def counts_by_kind(command_names: Iterable[str], counts: Sequence[int]) -> dict[str, int]:
    """`counts[i]` is how often the i-th of the names, counted from 1, was asked for; id 0 is no known command."""
    by_kind = dict.fromkeys(KINDS, 0)
    for command_id, name in enumerate(command_names, start=1):
        if command_id >= len(counts):
            break
        for kind in KINDS_OF_NAME.get(name, ("other",)):
            by_kind[kind] += counts[command_id]
    return by_kind
