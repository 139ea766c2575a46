"""The commands of the dual run, one row each: group, name, arguments, rule of comparison.

Arguments are a template, read by `command_mix`: a word of its list names a generator (`key`, `value`, `int`), any other
word stands for itself; `[a|b]` is one of these or nothing, `<a|b>` one of these, `{a}` one to four of it. A row that is
`fixed` is never given wrong arguments: with others it could be another kind of command, or one whose effect nobody can
foretell. What a row can not have, because no two servers would agree on it: random members that change a data set,
times of day, XADD with `*`, cursors of large collections.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.load.replies import Rule

E, U, P, S, SP = Rule.EXACT, Rule.UNORDERED, Rule.PAIRS, Rule.SCAN, Rule.SCAN_PAIRS
TTL_S, TTL_MS, NEAR, SHAPE, PRESENCE = Rule.TTL_S, Rule.TTL_MS, Rule.NEAR, Rule.SHAPE, Rule.PRESENCE


class Row(NamedTuple):
    """One way to call a command."""

    group: str  # the type of its keys, or: any, session, wrong, onekey, script
    name: str
    template: str
    rule: Rule = E
    weight: int = 4
    fixed: bool = False


ROWS: tuple[Row, ...] = (
    # strings
    Row("string", "SET", "key value", weight=12),
    Row("string", "SET", "key value [NX|XX] [GET] [EX ttl|PX ttlms|EXAT future|PXAT futurems|KEEPTTL]", weight=10),
    Row("string", "GET", "key", weight=14),
    Row("string", "GETSET", "key value"),
    Row("string", "GETDEL", "key", weight=2),
    Row("string", "GETEX", "key [EX ttl|PX ttlms|EXAT future|PERSIST]"),
    Row("string", "SETNX", "key value"),
    Row("string", "SETEX", "key ttl value"),
    Row("string", "PSETEX", "key ttlms value"),
    Row("string", "APPEND", "key value"),
    Row("string", "STRLEN", "key"),
    Row("string", "GETRANGE", "key int int"),
    Row("string", "SUBSTR", "key int int", weight=2),
    Row("string", "SETRANGE", "key offset value"),
    Row("number", "SET", "key int", weight=6),
    Row("number", "GET", "key"),
    Row("number", "INCR", "key", weight=8),
    Row("number", "DECR", "key"),
    Row("number", "INCRBY", "key int"),
    Row("number", "DECRBY", "key int"),
    Row("number", "INCRBYFLOAT", "key float", weight=2),
    # bitmaps
    Row("bitmap", "SETBIT", "key offset <0|1>", weight=10),
    Row("bitmap", "GETBIT", "key offset"),
    Row("bitmap", "BITCOUNT", "key"),
    Row("bitmap", "BITCOUNT", "key int int [BYTE|BIT]"),
    Row("bitmap", "BITPOS", "key <0|1> [int|int int|int int BIT]"),
    Row("bitmap", "BITFIELD", "key {<GET u8 offset|SET i5 offset int|INCRBY u4 offset int|OVERFLOW SAT>}", weight=6),
    Row("bitmap", "BITFIELD_RO", "key {GET u8 offset}"),
    # any type
    Row("any", "DEL", "key", weight=8, fixed=True),
    Row("any", "UNLINK", "key", weight=4, fixed=True),
    Row("any", "EXISTS", "key", weight=8, fixed=True),
    Row("any", "TOUCH", "key", fixed=True),
    Row("any", "TYPE", "key", weight=8),
    Row("any", "EXPIRE", "key ttl [NX|XX|GT|LT]", weight=8),
    Row("any", "PEXPIRE", "key ttlms [NX|XX]"),
    Row("any", "EXPIREAT", "key future [NX|XX|GT|LT]"),
    Row("any", "PEXPIREAT", "key futurems"),
    Row("any", "EXPIRE", "key <0|-1>", weight=1),
    Row("any", "EXPIREAT", "key 1", weight=1),
    Row("any", "PEXPIRE", "key 1", weight=1),  # followed by a pause: see command_mix
    Row("any", "PERSIST", "key"),
    Row("any", "TTL", "key", TTL_S, weight=8),
    Row("any", "PTTL", "key", TTL_MS),
    Row("any", "EXPIRETIME", "key", TTL_S),
    Row("any", "PEXPIRETIME", "key", TTL_MS),
    Row("any", "OBJECT", "ENCODING key"),
    Row("any", "OBJECT", "REFCOUNT key"),
    Row("any", "OBJECT", "IDLETIME key", NEAR),
    Row("any", "OBJECT", "FREQ key", weight=1),
    Row("any", "DUMP", "key", PRESENCE),
    Row("string", "RESTORE", "key <0|ttlms> dump [REPLACE]", weight=3),
    Row("string", "RESTORE", "key 0 value", weight=1),
    Row("any", "MEMORY", "USAGE key", SHAPE, weight=2),
    Row("any", "SORT_RO", "key [LIMIT 0 count] [ASC|DESC] ALPHA", U),
    Row("list", "SORT", "key [LIMIT 0 count] [ASC|DESC] [ALPHA]"),
    # hashes
    Row("hash", "HSET", "key {field value}", weight=12),
    Row("hash", "HSET", "key many", weight=1, fixed=True),
    Row("hash", "HMSET", "key {field value}"),
    Row("hash", "HSETNX", "key field value"),
    Row("hash", "HGET", "key field", weight=8),
    Row("hash", "HMGET", "key {field}", weight=6),
    Row("hash", "HGETALL", "key", P, weight=8),
    Row("hash", "HKEYS", "key", U),
    Row("hash", "HVALS", "key", U),
    Row("hash", "HLEN", "key"),
    Row("hash", "HSTRLEN", "key field"),
    Row("hash", "HEXISTS", "key field"),
    Row("hash", "HDEL", "key {field}"),
    Row("hash", "HINCRBY", "key field int"),
    Row("hash", "HINCRBYFLOAT", "key field float", weight=2),
    Row("hash", "HRANDFIELD", "key", PRESENCE, weight=2),
    Row("hash", "HRANDFIELD", "key count [WITHVALUES]", SHAPE),
    Row("hash", "HSCAN", "key 0 COUNT 100000", SP),
    # lists
    Row("list", "LPUSH", "key {value}", weight=8),
    Row("list", "RPUSH", "key {value}", weight=8),
    Row("list", "RPUSH", "key many", weight=1, fixed=True),
    Row("list", "LPUSHX", "key {value}"),
    Row("list", "RPUSHX", "key {value}"),
    Row("list", "LPOP", "key [count]", weight=6),
    Row("list", "RPOP", "key [count]", weight=6),
    Row("list", "LLEN", "key"),
    Row("list", "LRANGE", "key int int", weight=6),
    Row("list", "LRANGE", "key 0 -1", weight=6),
    Row("list", "LINDEX", "key int"),
    Row("list", "LSET", "key int value"),
    Row("list", "LINSERT", "key <BEFORE|AFTER> member value"),
    Row("list", "LREM", "key int member"),
    Row("list", "LTRIM", "key int int", weight=1),
    Row("list", "LPOS", "key member [RANK -1] [COUNT 0] [MAXLEN 20]"),
    # sets
    Row("set", "SADD", "key {member}", weight=12),
    Row("set", "SADD", "key many", weight=1, fixed=True),
    Row("set", "SREM", "key {member}", weight=6),
    Row("set", "SISMEMBER", "key member"),
    Row("set", "SMISMEMBER", "key {member}"),
    Row("set", "SMEMBERS", "key", U, weight=8),
    Row("set", "SCARD", "key"),
    Row("set", "SPOP", "key 1000000", U, weight=1, fixed=True),
    Row("set", "SRANDMEMBER", "key", PRESENCE, weight=2),
    Row("set", "SRANDMEMBER", "key count", SHAPE),
    Row("set", "SSCAN", "key 0 COUNT 100000", S),
    # sorted sets
    Row("zset", "ZADD", "key {score member}", weight=12),
    Row("zset", "ZADD", "key [NX|XX] [GT|LT] [CH] {score member}"),
    Row("zset", "ZADD", "key many", weight=1, fixed=True),
    Row("zset", "ZADD", "key INCR score member", weight=2),
    Row("zset", "ZSCORE", "key member"),
    Row("zset", "ZMSCORE", "key {member}"),
    Row("zset", "ZINCRBY", "key score member"),
    Row("zset", "ZCARD", "key"),
    Row("zset", "ZCOUNT", "key scorelow scorehigh"),
    Row("zset", "ZRANGE", "key int int [WITHSCORES]", weight=6),
    Row("zset", "ZRANGE", "key 0 -1 [REV] WITHSCORES", weight=6),
    Row("zset", "ZRANGE", "key scorelow scorehigh BYSCORE [LIMIT 0 count] [WITHSCORES]"),
    Row("zset", "ZREVRANGE", "key int int [WITHSCORES]"),
    Row("zset", "ZRANGEBYSCORE", "key scorelow scorehigh [WITHSCORES] [LIMIT 0 count]"),
    Row("zset", "ZREVRANGEBYSCORE", "key scorelow scorehigh [WITHSCORES]"),
    Row("zset", "ZRANK", "key member"),
    Row("zset", "ZREVRANK", "key member"),
    Row("zset", "ZREM", "key {member}"),
    Row("zset", "ZREMRANGEBYRANK", "key int int", weight=1),
    Row("zset", "ZREMRANGEBYSCORE", "key scorelow scorehigh", weight=1),
    Row("zset", "ZPOPMIN", "key [count]"),
    Row("zset", "ZPOPMAX", "key [count]"),
    Row("zset", "ZRANDMEMBER", "key count [WITHSCORES]", SHAPE),
    Row("zset", "ZSCAN", "key 0 COUNT 100000", SP),
    # sorted sets of one score: with several, ranges by name depend on the random levels of a skip list
    Row("lex", "ZADD", "key {0 member}", weight=8, fixed=True),
    Row("lex", "ZLEXCOUNT", "key lexlow lexhigh", weight=2),
    Row("lex", "ZRANGE", "key lexlow lexhigh BYLEX", weight=2),
    Row("lex", "ZRANGEBYLEX", "key lexlow lexhigh", weight=2),
    Row("lex", "ZREVRANGEBYLEX", "key lexlow lexhigh", weight=2),
    Row("lex", "ZREMRANGEBYLEX", "key lexlow lexhigh", weight=1),
    # streams
    Row("stream", "XADD", "key [NOMKSTREAM] [MAXLEN count|MAXLEN ~ 100] id {field value}", weight=14, fixed=True),
    Row("stream", "XLEN", "key"),
    Row("stream", "XRANGE", "key - + [COUNT count]", weight=6),
    Row("stream", "XREVRANGE", "key + - [COUNT count]"),
    Row("stream", "XDEL", "key id", weight=2),
    Row("stream", "XTRIM", "key <MAXLEN count|MAXLEN ~ 100|MINID id>", weight=1),
    Row("stream", "XSETID", "key id", weight=1),
    Row("stream", "XREAD", "[COUNT count] STREAMS key <0|id|$>", fixed=True),
    Row("stream", "XGROUP", "CREATE key group <0|$|id> [MKSTREAM]", weight=5),
    Row("stream", "XGROUP", "SETID key group <0|$>", weight=2),
    Row("stream", "XGROUP", "CREATECONSUMER key group consumer", weight=2),
    Row("stream", "XGROUP", "DELCONSUMER key group consumer", weight=1),
    Row("stream", "XGROUP", "DESTROY key group", weight=1),
    Row("stream", "XREADGROUP", "GROUP group consumer [COUNT count] [NOACK] STREAMS key <newest|0|id>",
        weight=8, fixed=True),
    Row("stream", "XACK", "key group {id}"),
    Row("stream", "XPENDING", "key group"),
    Row("stream", "XPENDING", "key group - + 10 [consumer]", NEAR),
    Row("stream", "XCLAIM", "key group consumer 0 {id} [JUSTID]", weight=2),
    Row("stream", "XAUTOCLAIM", "key group consumer 0 0 COUNT count [JUSTID]", weight=2),
    Row("stream", "XINFO", "STREAM key"),
    Row("stream", "XINFO", "STREAM key FULL", NEAR, weight=2),
    Row("stream", "XINFO", "GROUPS key"),
    Row("stream", "XINFO", "CONSUMERS key group", NEAR, weight=2),
    # HyperLogLog
    Row("hll", "PFADD", "key {member}", weight=10),
    Row("hll", "PFADD", "key", weight=1),
    Row("hll", "PFCOUNT", "key", fixed=True),
    Row("hll", "PFMERGE", "key", weight=1, fixed=True),
    # geo
    Row("geo", "GEOADD", "key [NX|XX] [CH] {longitude latitude member}", weight=10),
    Row("geo", "GEOPOS", "key {member}"),
    Row("geo", "GEODIST", "key member member [m|km|mi|ft]"),
    Row("geo", "GEOHASH", "key {member}"),
    Row("geo", "GEOSEARCH", "key <FROMLONLAT longitude latitude|FROMMEMBER member> "
        "<BYRADIUS radius km|BYBOX radius radius mi> ASC [COUNT count] [WITHCOORD] [WITHDIST] [WITHHASH]"),
    Row("geo", "GEORADIUS", "key longitude latitude radius km ASC [WITHDIST]", fixed=True),
    Row("geo", "GEORADIUS_RO", "key longitude latitude radius km", U),
    Row("geo", "GEORADIUSBYMEMBER", "key member radius km DESC", fixed=True),
    Row("geo", "GEORADIUSBYMEMBER_RO", "key member radius km", U),
    # a session's own
    Row("session", "PING", "[value]", weight=4),
    Row("session", "ECHO", "value", weight=4),
    Row("session", "SELECT", "0", weight=1, fixed=True),
    # wrong on purpose
    Row("wrong", "NOSUCHCOMMAND", "key [value] [int]", weight=2, fixed=True),
    Row("wrong", "XINFO", "NOSUCH key", weight=2, fixed=True),
    Row("wrong", "OBJECT", "NOSUCH key", weight=2, fixed=True),
    Row("wrong", "GET", "", weight=2, fixed=True),
    Row("wrong", "GET", "key int", weight=2, fixed=True),
    Row("wrong", "HSET", "key field", weight=2, fixed=True),
    Row("wrong", "ECHO", "", weight=2, fixed=True),
    # commands of several keys, called with one
    Row("onekey", "MGET", "key", fixed=True),
    Row("onekey", "MSET", "key value", fixed=True, weight=2),
    Row("onekey", "SUNION", "key", U, fixed=True),
    Row("onekey", "SINTER", "key", U, fixed=True),
    Row("onekey", "SDIFF", "key", U, fixed=True),
    Row("onekey", "SINTERCARD", "1 key [LIMIT count]", fixed=True),
    Row("onekey", "ZUNION", "1 key WITHSCORES", fixed=True),
    Row("onekey", "ZINTERCARD", "1 key", fixed=True),
    Row("onekey", "LMPOP", "1 key <LEFT|RIGHT> [COUNT count]", fixed=True),
    Row("onekey", "ZMPOP", "1 key <MIN|MAX> [COUNT count]", fixed=True),
    # scripts
    Row("script", "EVAL", "script 1 key value", fixed=True),
    Row("script", "EVAL_RO", "script 1 key value", fixed=True),
)  # fmt: skip

TYPES = ("string", "number", "bitmap", "hash", "list", "set", "zset", "lex", "stream", "hll", "geo")
DEFAULT_GROUPS = (*TYPES, "any", "session", "wrong")
ALL_GROUPS = (*DEFAULT_GROUPS, "onekey", "script")
