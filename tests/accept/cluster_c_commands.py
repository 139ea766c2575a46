"""Which commands C Dynomite takes, and with how many arguments: the rest closes the connection. Not a script.

Where C would only get the command wrong it is left out as well: replies with several nested arrays lose its parser, so
no GEOPOS of two members and no GEORADIUS with distances. TTL and PFCOUNT it treats as writes, which is no matter here.
"""

from collections.abc import Iterable, Iterator

from tests.load.command_mix import Step

KEY_ONLY = (
    "PTTL TYPE DUMP GET STRLEN HLEN LLEN SCARD SMEMBERS SRANDMEMBER ZCARD HGETALL HKEYS HVALS PERSIST TTL DECR INCR "
    "LPOP RPOP PFCOUNT"
)
ONE_MORE = (
    "GETBIT HEXISTS HGET LINDEX SISMEMBER ZRANK ZREVRANK ZSCORE EXPIRE EXPIREAT PEXPIRE PEXPIREAT APPEND DECRBY GETSET "
    "INCRBY INCRBYFLOAT SETNX LPUSHX RPUSHX"
)
TWO_MORE = (
    "GETRANGE LRANGE ZCOUNT ZLEXCOUNT PSETEX SETBIT SETEX SETRANGE HINCRBY HINCRBYFLOAT HSET HSETNX LREM LSET LTRIM "
    "ZINCRBY ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE RESTORE"
)
THREE_MORE = "LINSERT"
ANY_MORE = (
    "SORT BITCOUNT HMGET SDIFF SINTER SUNION ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX "
    "ZREVRANGEBYSCORE GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER HSCAN SSCAN ZSCAN SET HDEL HMSET LPUSH RPUSH "
    "SADD SREM SPOP ZADD ZREM PFADD GEOADD MGET EXISTS DEL MSET"
)
ARGUMENTS: dict[bytes, range] = {
    name.encode(): counts
    for names, counts in (
        (KEY_ONLY, range(2, 3)), (ONE_MORE, range(3, 4)), (TWO_MORE, range(4, 5)), (THREE_MORE, range(5, 6)),
        (ANY_MORE, range(2, 10_000)),
    )
    for name in names.split()
}  # fmt: skip
UNORDERED = {b"SRANDMEMBER", b"SPOP", b"SUNION", b"SINTER", b"SDIFF", b"DUMP", b"SORT"}
INEXACT = {b"PTTL", b"TTL"}  # a replica that is asked a moment later says less
REWRITTEN = {b"SMEMBERS"}  # C makes SORT of it at DC_SAFE_QUORUM, which takes lists and sorted sets as well
NESTED = {b"WITHDIST", b"WITHCOORD", b"WITHHASH"}


def c_takes(args: tuple[bytes, ...]) -> bool:
    """Whether C Dynomite answers this, and with the reply of its datastore."""
    name = args[0].upper()
    if len(args) not in ARGUMENTS.get(name, ()) or args[1] == b"":
        return False
    if name == b"GEOPOS":
        return len(args) == 3
    if name == b"SMEMBERS":
        return b"\0" not in args[1]  # at DC_SAFE_QUORUM it is rewritten as a C string, and never answered
    if name in (b"MSET", b"HMSET"):
        return len(args) % 2 == (1 if name == b"MSET" else 0)
    return not (name.startswith(b"GEORADIUS") and NESTED & {arg.upper() for arg in args})


def safe_through_c(args: tuple[bytes, ...]) -> bool:
    """What C Dynomite can compare between replicas byte by byte: no order of a set, no random member, no time left."""
    return args[0].upper() not in UNORDERED | INEXACT | REWRITTEN


def only_of_c(steps: Iterable[Step], level: str = "DC_ONE", is_through_c: bool = False) -> Iterator[Step]:
    """The steps that C Dynomite takes; with `is_through_c` those whose replies it compares rightly at this level."""
    for step in steps:
        if c_takes(step.args) and (level == "DC_ONE" or not is_through_c or safe_through_c(step.args)):
            yield step
