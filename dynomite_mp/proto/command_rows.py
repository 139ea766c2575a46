"""The rows of the command table, as text: one line a command, columns separated by blanks, `-` for a column's default.

`commands.py` reads it and says what each column means. A line `@name` opens a family: for served commands the name
goes to the column `tested_by` (the family of the end-to-end suite that runs the command against a datastore and this
proxy and compares), for refused commands it is the reason, a row of errors.WIRE_ERRORS.

Arities and key positions are those of Redis 7.0 (tests/testdata/redis7-commands.json); where a newer server accepts
more, the wider arity stands here and the datastore judges. Rows are sorted by family and name. Order gives the
commands their ids, which live only inside a process.
"""

LEAD_IF: dict[str, tuple[int, str]] = {
    "set": (3, "nx xx get ifeq ifne ifdeq ifdne"),
    "restore": (4, "!replace"),
    "hsetex": (2, "fnx fxx"),
}
"""Rows whose conflict ends in `?`: class lead with one of these words from that argument on; `!`: without it."""


SERVED = """\
# name           arity key_spec  access routing   split merge conflict  replicate        session resend      resp3_shape
@string
append           3     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
decr             2     1:1:1     write normal     -     -     commute   as_is            -       before_send -
decrby           3     1:1:1     write normal     -     -     commute   as_is            -       before_send -
delifeq          3     1:1:1     write normal     -     -     lead      effect:delete    -       before_send -
get              2     1:1:1     read  normal     -     -     -         -                -       always      -
getdel           2     1:1:1     write normal     -     -     lead      effect:delete    -       before_send -
getex            -2    1:1:1     write normal     -     -     lead      effect:expire_at -       before_send -
getrange         4     1:1:1     read  normal     -     -     -         -                -       always      -
getset           3     1:1:1     write normal     -     -     lead      effect:set       -       before_send -
incr             2     1:1:1     write normal     -     -     commute   as_is            -       before_send -
incrby           3     1:1:1     write normal     -     -     commute   as_is            -       before_send -
incrbyfloat      3     1:1:1     write normal     -     -     commute   as_is            -       before_send -
lcs              -3    1:2:1     read  normal     -     -     -         -                -       always      map_opt
mget             -2    1:-1:1    read  normal     keys  array -         -                -       always      -
mset             -3    1:-1:2    write normal     pairs ok    overwrite as_is            -       always      -
msetnx           -3    1:-1:2    write normal     -     -     lead      effect:set       -       before_send -
psetex           4     1:1:1     write normal     -     -     overwrite effect:expire_at -       always      -
set              -3    1:1:1     write normal     -     -     overwrite? effect:expire_at -      always      -
setex            4     1:1:1     write normal     -     -     overwrite effect:expire_at -       always      -
setnx            3     1:1:1     write normal     -     -     lead      effect:set       -       before_send -
setrange         4     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
strlen           2     1:1:1     read  normal     -     -     -         -                -       always      -
substr           4     1:1:1     read  normal     -     -     -         -                -       always      -
@bitmap
bitcount         -2    1:1:1     read  normal     -     -     -         -                -       always      -
bitfield         -2    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
bitfield_ro      -2    1:1:1     read  normal     -     -     -         -                -       always      -
bitop            -4    2:-1:1    write normal     -     -     lead      effect:keys      -       before_send -
bitpos           -3    1:1:1     read  normal     -     -     -         -                -       always      -
getbit           3     1:1:1     read  normal     -     -     -         -                -       always      -
setbit           4     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
@hyperloglog
pfadd            -2    1:1:1     write normal     -     -     commute   as_is            -       before_send -
pfcount          -2    1:-1:1    read  normal     -     -     -         -                -       always      -
pfmerge          -2    1:-1:1    write normal     -     -     lead      effect:keys      -       before_send -
@generic
copy             -3    1:2:1     write normal     -     -     lead      effect:keys      -       before_send -
del              -2    1:-1:1    write normal     keys  sum   overwrite as_is            -       always      -
dump             2     1:1:1     read  rack_owner -     -     -         -                -       always      -
exists           -2    1:-1:1    read  normal     keys  sum   -         -                -       always      -
expire           -3    1:1:1     write normal     -     -     ordered   effect:expire_at -       before_send -
expireat         -3    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
expiretime       2     1:1:1     read  rack_owner -     -     -         -                -       always      -
keys             2     -         read  local_node -     -     -         -                -       always      -
object|encoding  3     2:2:1     read  rack_owner -     -     -         -                -       always      -
object|freq      3     2:2:1     read  rack_owner -     -     -         -                -       always      -
object|help      2     -         -     local_node -     -     -         -                -       always      -
object|idletime  3     2:2:1     read  rack_owner -     -     -         -                -       always      -
object|refcount  3     2:2:1     read  rack_owner -     -     -         -                -       always      -
persist          2     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
pexpire          -3    1:1:1     write normal     -     -     ordered   effect:expire_at -       before_send -
pexpireat        -3    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
pexpiretime      2     1:1:1     read  rack_owner -     -     -         -                -       always      -
pttl             2     1:1:1     read  rack_owner -     -     -         -                -       always      -
rename           3     1:2:1     write normal     -     -     lead      effect:keys      -       before_send -
renamenx         3     1:2:1     write normal     -     -     lead      effect:keys      -       before_send -
restore          -4    1:1:1     write normal     -     -     overwrite? effect:expire_at -      always      -
scan             -2    -         read  local_node -     -     -         -                -       always      -
sort             -2    special   write normal     -     -     lead      effect:keys      -       before_send -
sort_ro          -2    special   read  normal     -     -     -         -                -       always      -
touch            -2    1:-1:1    read  normal     keys  sum   -         -                -       always      -
ttl              2     1:1:1     read  rack_owner -     -     -         -                -       always      -
type             2     1:1:1     read  normal     -     -     -         -                -       always      -
unlink           -2    1:-1:1    write normal     keys  sum   overwrite as_is            -       always      -
@hash
hdel             -3    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
hexists          3     1:1:1     read  normal     -     -     -         -                -       always      -
hexpire          -6    1:1:1     write normal     -     -     ordered   effect:expire_at -       before_send -
hexpireat        -6    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
hexpiretime      -5    1:1:1     read  rack_owner -     -     -         -                -       always      -
hget             3     1:1:1     read  normal     -     -     -         -                -       always      -
hgetall          2     1:1:1     read  rack_owner -     -     -         -                -       always      map
hgetdel          -5    1:1:1     write normal     -     -     lead      effect:delete    -       before_send -
hgetex           -5    1:1:1     write normal     -     -     lead      effect:expire_at -       before_send -
hincrby          4     1:1:1     write normal     -     -     commute   as_is            -       before_send -
hincrbyfloat     4     1:1:1     write normal     -     -     commute   as_is            -       before_send -
hkeys            2     1:1:1     read  rack_owner -     -     -         -                -       always      -
hlen             2     1:1:1     read  normal     -     -     -         -                -       always      -
hmget            -3    1:1:1     read  normal     -     -     -         -                -       always      -
hmset            -4    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
hpersist         -5    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
hpexpire         -6    1:1:1     write normal     -     -     ordered   effect:expire_at -       before_send -
hpexpireat       -6    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
hpexpiretime     -5    1:1:1     read  rack_owner -     -     -         -                -       always      -
hpttl            -5    1:1:1     read  rack_owner -     -     -         -                -       always      -
hrandfield       -2    1:1:1     read  rack_owner -     -     -         -                -       always      pairs_opt
hscan            -3    1:1:1     read  rack_owner -     -     -         -                -       always      -
hset             -4    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
hsetex           -6    1:1:1     write normal     -     -     ordered?  effect:expire_at -       before_send -
hsetnx           4     1:1:1     write normal     -     -     lead      effect:set       -       before_send -
hstrlen          3     1:1:1     read  normal     -     -     -         -                -       always      -
httl             -5    1:1:1     read  rack_owner -     -     -         -                -       always      -
hvals            2     1:1:1     read  rack_owner -     -     -         -                -       always      -
@list
lindex           3     1:1:1     read  normal     -     -     -         -                -       always      -
linsert          5     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
llen             2     1:1:1     read  normal     -     -     -         -                -       always      -
lmove            5     1:2:1     write normal     -     -     lead      effect:element   -       before_send -
lmpop            -4    numkeys:1 write normal     -     -     lead      effect:pop       -       before_send -
lpop             -2    1:1:1     write normal     -     -     lead      effect:pop       -       before_send -
lpos             -3    1:1:1     read  normal     -     -     -         -                -       always      -
lpush            -3    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
lpushx           -3    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
lrange           4     1:1:1     read  normal     -     -     -         -                -       always      -
lrem             4     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
lset             4     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
ltrim            4     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
rpop             -2    1:1:1     write normal     -     -     lead      effect:pop       -       before_send -
rpoplpush        3     1:2:1     write normal     -     -     lead      effect:element   -       before_send -
rpush            -3    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
rpushx           -3    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
@set
sadd             -3    1:1:1     write normal     -     -     commute   as_is            -       before_send -
scard            2     1:1:1     read  normal     -     -     -         -                -       always      -
sdiff            -2    1:-1:1    read  normal     -     -     -         -                -       always      set
sdiffstore       -3    1:-1:1    write normal     -     -     lead      effect:keys      -       before_send -
sinter           -2    1:-1:1    read  normal     -     -     -         -                -       always      set
sintercard       -3    numkeys:1 read  normal     -     -     -         -                -       always      -
sinterstore      -3    1:-1:1    write normal     -     -     lead      effect:keys      -       before_send -
sismember        3     1:1:1     read  normal     -     -     -         -                -       always      -
smembers         2     1:1:1     read  normal     -     -     -         -                -       always      set
smismember       -3    1:1:1     read  normal     -     -     -         -                -       always      -
smove            4     1:2:1     write normal     -     -     lead      effect:element   -       before_send -
spop             -2    1:1:1     write normal     -     -     lead      effect:members   -       before_send set_opt
srandmember      -2    1:1:1     read  rack_owner -     -     -         -                -       always      -
srem             -3    1:1:1     write normal     -     -     commute   as_is            -       before_send -
sscan            -3    1:1:1     read  rack_owner -     -     -         -                -       always      -
sunion           -2    1:-1:1    read  normal     -     -     -         -                -       always      set
sunionstore      -3    1:-1:1    write normal     -     -     lead      effect:keys      -       before_send -
@zset
zadd             -4    1:1:1     write normal     -     -     ordered   as_is            -       before_send double_opt
zcard            2     1:1:1     read  normal     -     -     -         -                -       always      -
zcount           4     1:1:1     read  normal     -     -     -         -                -       always      -
zdiff            -3    numkeys:1 read  normal     -     -     -         -                -       always      scores_opt
zdiffstore       -4    numkeys:2:1 write normal   -     -     lead      effect:keys      -       before_send -
zincrby          4     1:1:1     write normal     -     -     commute   as_is            -       before_send double
zinter           -3    numkeys:1 read  normal     -     -     -         -                -       always      scores_opt
zintercard       -3    numkeys:1 read  normal     -     -     -         -                -       always      -
zinterstore      -4    numkeys:2:1 write normal   -     -     lead      effect:keys      -       before_send -
zlexcount        4     1:1:1     read  normal     -     -     -         -                -       always      -
zmpop            -4    numkeys:1 write normal     -     -     lead      effect:members   -       before_send scores_in
zmscore          -3    1:1:1     read  normal     -     -     -         -                -       always      doubles
zpopmax          -2    1:1:1     write normal     -     -     lead      effect:members   -       before_send scores
zpopmin          -2    1:1:1     write normal     -     -     lead      effect:members   -       before_send scores
zrandmember      -2    1:1:1     read  rack_owner -     -     -         -                -       always      scores_opt
zrange           -4    1:1:1     read  normal     -     -     -         -                -       always      scores_opt
zrangebylex      -4    1:1:1     read  normal     -     -     -         -                -       always      -
zrangebyscore    -4    1:1:1     read  normal     -     -     -         -                -       always      scores_opt
zrangestore      -5    1:2:1     write normal     -     -     lead      effect:keys      -       before_send -
zrank            -3    1:1:1     read  normal     -     -     -         -                -       always      -
zrem             -3    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
zremrangebylex   4     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
zremrangebyrank  4     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
zremrangebyscore 4     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
zrevrange        -4    1:1:1     read  normal     -     -     -         -                -       always      scores_opt
zrevrangebylex   -4    1:1:1     read  normal     -     -     -         -                -       always      -
zrevrangebyscore -4    1:1:1     read  normal     -     -     -         -                -       always      scores_opt
zrevrank         -3    1:1:1     read  normal     -     -     -         -                -       always      -
zscan            -3    1:1:1     read  rack_owner -     -     -         -                -       always      -
zscore           3     1:1:1     read  normal     -     -     -         -                -       always      double
zunion           -3    numkeys:1 read  normal     -     -     -         -                -       always      scores_opt
zunionstore      -4    numkeys:2:1 write normal   -     -     lead      effect:keys      -       before_send -
@geo
geoadd           -5    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
geodist          -4    1:1:1     read  normal     -     -     -         -                -       always      -
geohash          -2    1:1:1     read  normal     -     -     -         -                -       always      -
geopos           -2    1:1:1     read  normal     -     -     -         -                -       always      coords
georadius        -6    special   write normal     -     -     lead      effect:keys      -       before_send coords_opt
georadius_ro     -6    1:1:1     read  normal     -     -     -         -                -       always      coords_opt
georadiusbymember -5   special   write normal     -     -     lead      effect:keys      -       before_send coords_opt
georadiusbymember_ro -5 1:1:1    read  normal     -     -     -         -                -       always      coords_opt
geosearch        -7    1:1:1     read  normal     -     -     -         -                -       always      coords_opt
geosearchstore   -8    1:2:1     write normal     -     -     lead      effect:keys      -       before_send -
@stream
xack             -4    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
xadd             -5    1:1:1     write normal     -     -     lead      effect:id        -       before_send -
xautoclaim       -6    1:1:1     write normal     -     -     lead      effect:claim     -       before_send -
xclaim           -6    1:1:1     write normal     -     -     lead      effect:claim     -       before_send -
xdel             -3    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
xgroup|create    -5    2:2:1     write normal     -     -     lead      as_is            -       before_send -
xgroup|createconsumer 5 2:2:1    write normal     -     -     ordered   as_is            -       before_send -
xgroup|delconsumer 5   2:2:1     write normal     -     -     ordered   as_is            -       before_send -
xgroup|destroy   4     2:2:1     write normal     -     -     ordered   as_is            -       before_send -
xgroup|help      2     -         -     local_node -     -     -         -                -       always      -
xgroup|setid     -5    2:2:1     write normal     -     -     lead      as_is            -       before_send -
xinfo|consumers  4     2:2:1     read  rack_owner -     -     -         -                -       always      maps
xinfo|groups     3     2:2:1     read  rack_owner -     -     -         -                -       always      maps
xinfo|help       2     -         -     local_node -     -     -         -                -       always      -
xinfo|stream     -3    2:2:1     read  rack_owner -     -     -         -                -       always      map
xlen             2     1:1:1     read  normal     -     -     -         -                -       always      -
xpending         -3    1:1:1     read  rack_owner -     -     -         -                -       always      -
xrange           -4    1:1:1     read  normal     -     -     -         -                -       always      -
xread            -4    streams   read  normal     -     -     -         -                -       always      map
xreadgroup       -7    streams   write normal     -     -     lead      effect:group     -       before_send map
xrevrange        -4    1:1:1     read  normal     -     -     -         -                -       always      -
xsetid           -3    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
xtrim            -4    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
@json
json.arrappend   -4    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
json.arrindex    -4    1:1:1     read  normal     -     -     -         -                -       always      -
json.arrinsert   -5    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
json.arrlen      -2    1:1:1     read  normal     -     -     -         -                -       always      -
json.arrpop      -2    1:1:1     write normal     -     -     lead      effect:keys      -       before_send -
json.arrtrim     5     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
json.clear       -2    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
json.del         -2    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
json.forget      -2    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
json.get         -2    1:1:1     read  normal     -     -     -         -                -       always      -
json.merge       4     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
json.mget        -3    1:-2:1    read  normal     -     -     -         -                -       always      -
json.mset        -4    1:-1:3    write normal     -     -     overwrite as_is            -       always      -
json.numincrby   4     1:1:1     write normal     -     -     ordered   as_is            -       before_send -
json.nummultby   4     1:1:1     write normal     -     -     lead      effect:keys      -       before_send -
json.objkeys     -2    1:1:1     read  normal     -     -     -         -                -       always      -
json.objlen      -2    1:1:1     read  normal     -     -     -         -                -       always      -
json.resp        -2    1:1:1     read  normal     -     -     -         -                -       always      -
json.set         -4    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
json.strappend   -3    1:1:1     write normal     -     -     ordered   as_is            -       before_send -
json.strlen      -2    1:1:1     read  normal     -     -     -         -                -       always      -
json.toggle      3     1:1:1     write normal     -     -     lead      effect:keys      -       before_send -
json.type        -2    1:1:1     read  normal     -     -     -         -                -       always      -
@script
eval             -3    numkeys:2 write normal     -     -     lead      as_is            -       before_send script
eval_ro          -3    numkeys:2 read  normal     -     -     -         -                -       always      script
evalsha          -3    numkeys:2 write normal     -     -     lead      as_is            -       before_send script
evalsha_ro       -3    numkeys:2 read  normal     -     -     -         -                -       always      script
fcall            -3    numkeys:2 write normal     -     -     lead      as_is            -       before_send script
fcall_ro         -3    numkeys:2 read  normal     -     -     -         -                -       always      script
script|exists    -3    -         -     all_nodes  -     -     -         -                -       never       -
script|flush     -2    -         -     all_nodes  -     -     -         -                -       never       -
script|kill      2     -         -     all_nodes  -     -     -         -                -       never       -
script|load      3     -         -     all_nodes  -     -     -         -                -       never       -
@connection
auth             -2    -         -     answered   -     -     -         -                pin     -           -
client|capa      -3    -         -     answered   -     -     -         -                -       -           -
client|getname   2     -         -     answered   -     -     -         -                -       -           -
client|help      2     -         -     answered   -     -     -         -                -       -           -
client|id        2     -         -     answered   -     -     -         -                -       -           -
client|info      2     -         -     answered   -     -     -         -                -       -           verbatim
client|no-evict  3     -         -     answered   -     -     -         -                -       -           -
client|no-touch  3     -         -     answered   -     -     -         -                -       -           -
client|setinfo   4     -         -     answered   -     -     -         -                -       -           -
client|setname   3     -         -     answered   -     -     -         -                pin     -           -
echo             2     -         -     answered   -     -     -         -                -       -           -
hello            -1    -         -     answered   -     -     -         -                pin     -           map
ping             -1    -         -     answered   -     -     -         -                -       -           -
quit             -1    -         -     answered   -     -     -         -                pin     -           -
reset            1     -         -     answered   -     -     -         -                pin     -           -
select           2     -         -     answered   -     -     -         -                pin     -           -
@server
command          -1    -         -     answered   -     -     -         -                -       -           sets
command|count    2     -         -     answered   -     -     -         -                -       -           -
command|docs     -2    -         -     answered   -     -     -         -                -       -           map
command|getkeys  -3    -         -     answered   -     -     -         -                -       -           -
command|getkeysandflags -3 -     -     answered   -     -     -         -                -       -           sets
command|help     2     -         -     answered   -     -     -         -                -       -           -
command|info     -2    -         -     answered   -     -     -         -                -       -           sets
command|list     -2    -         -     answered   -     -     -         -                -       -           -
config|get       -3    -         -     local_node -     -     -         -                -       always      map
config|help      2     -         -     local_node -     -     -         -                -       always      -
dbsize           1     -         read  local_node -     -     -         -                -       always      -
info             -1    -         -     local_node -     -     -         -                -       always      verbatim
lastsave         1     -         -     local_node -     -     -         -                -       always      -
lolwut           -1    -         read  local_node -     -     -         -                -       always      verbatim
memory|doctor    2     -         -     local_node -     -     -         -                -       always      verbatim
memory|help      2     -         -     local_node -     -     -         -                -       always      -
memory|malloc-stats 2  -         -     local_node -     -     -         -                -       always      verbatim
memory|stats     2     -         -     local_node -     -     -         -                -       always      map
memory|usage     -3    2:2:1     read  rack_owner -     -     -         -                -       always      -
role             1     -         -     local_node -     -     -         -                -       always      -
time             1     -         -     local_node -     -     -         -                -       always      -
@dyno
dyno             -2    -         -     answered   -     -     -         -                -       -           -
dyno_config:conn_consistency 2 - -     answered   -     -     -         -                pin     -           -
"""


REFUSED = """\
# name          arity key_spec access session
@blocking_not_built
blmove          6     1:2:1    write  lease
blmpop          -5    numkeys:2 write lease
blpop           -3    1:-2:1   write  lease
brpop           -3    1:-2:1   write  lease
brpoplpush      4     1:2:1    write  lease
bzmpop          -5    numkeys:2 write lease
bzpopmax        -3    1:-2:1   write  lease
bzpopmin        -3    1:-2:1   write  lease
@transactions_not_built
discard         1     -        -      queue
exec            1     -        -      queue
multi           1     -        -      queue
unwatch         1     -        -      lease
watch           -2    1:-1:1   -      lease
@pubsub_not_built
psubscribe      -2    -        -      pin
publish         3     -        -      -
pubsub|channels -2    -        -      -
pubsub|help     2     -        -      -
pubsub|numpat   2     -        -      -
pubsub|numsub   -2    -        -      -
pubsub|shardchannels -2 -      -      -
pubsub|shardnumsub -2 -        -      -
punsubscribe    -1    -        -      pin
spublish        3     1:1:1    -      -
ssubscribe      -2    1:-1:1   -      pin
subscribe       -2    -        -      pin
sunsubscribe    -1    1:-1:1   -      pin
unsubscribe     -1    -        -      pin
@scripts_not_built
function|delete 3     -        write  -
function|dump   2     -        -      -
function|flush  -2    -        write  -
function|help   2     -        -      -
function|kill   2     -        -      -
function|list   -2    -        -      -
function|load   -3    -        write  -
function|restore -3   -        write  -
function|stats  2     -        -      -
script|debug    3     -        -      -
script|help     2     -        -      -
script|show     3     -        -      -
@keyspace_not_built
flushall        -1    -        write  -
flushdb         -1    -        write  -
randomkey       1     -        read   -
@client_admin_not_built
client|kill     -3    -        -      -
client|list     -2    -        -      -
client|pause    -3    -        -      -
client|unblock  -3    -        -      -
client|unpause  2     -        -      -
@never_on_shared_connection
client|caching  3     -        -      pin
client|getredir 2     -        -      -
client|import-source 3 -       -      -
client|reply    3     -        -      pin
client|tracking -3    -        -      pin
client|trackinginfo 2 -        -      -
monitor         1     -        -      lease
psync           -3    -        -      lease
replconf        -1    -        -      lease
sync            1     -        -      lease
@replicas_by_level
wait            3     -        -      lease
waitaof         4     -        -      lease
@one_database
move            3     1:1:1    write  -
swapdb          3     -        write  -
@cluster_disabled
asking          1     -        -      -
cluster|addslots -3   -        -      -
cluster|addslotsrange -4 -     -      -
cluster|bumpepoch 2   -        -      -
cluster|count-failure-reports 3 - -   -
cluster|countkeysinslot 3 -    -      -
cluster|delslots -3   -        -      -
cluster|delslotsrange -4 -     -      -
cluster|failover -2   -        -      -
cluster|flushslots 2  -        -      -
cluster|forget  3     -        -      -
cluster|getkeysinslot 4 -      -      -
cluster|help    2     -        -      -
cluster|info    2     -        -      -
cluster|keyslot 3     -        -      -
cluster|links   2     -        -      -
cluster|meet    -4    -        -      -
cluster|myid    2     -        -      -
cluster|nodes   2     -        -      -
cluster|replicas 3    -        -      -
cluster|replicate 3   -        -      -
cluster|reset   -2    -        -      -
cluster|saveconfig 2  -        -      -
cluster|set-config-epoch 3 -   -      -
cluster|setslot -4    -        -      -
cluster|shards  2     -        -      -
cluster|slaves  3     -        -      -
cluster|slots   2     -        -      -
readonly        1     -        -      -
readwrite       1     -        -      -
restore-asking  -4    1:1:1    write  -
@datastore_administration
acl|cat         -2    -        -      -
acl|deluser     -3    -        -      -
acl|dryrun      -4    -        -      -
acl|genpass     -2    -        -      -
acl|getuser     3     -        -      -
acl|help        2     -        -      -
acl|list        2     -        -      -
acl|load        2     -        -      -
acl|log         -2    -        -      -
acl|save        2     -        -      -
acl|setuser     -3    -        -      -
acl|users       2     -        -      -
acl|whoami      2     -        -      -
bgrewriteaof    1     -        -      -
bgsave          -1    -        -      -
commandlog|get  4     -        -      -
commandlog|help 2     -        -      -
commandlog|len  3     -        -      -
commandlog|reset 3    -        -      -
config|resetstat 2    -        -      -
config|rewrite  2     -        -      -
config|set      -4    -        -      -
debug           -2    -        -      -
failover        -1    -        -      -
latency|doctor  2     -        -      -
latency|graph   3     -        -      -
latency|help    2     -        -      -
latency|histogram -2  -        -      -
latency|history 3     -        -      -
latency|latest  2     -        -      -
latency|reset   -2    -        -      -
memory|purge    2     -        -      -
migrate         -6    3:3:1    write  -
module|help     2     -        -      -
module|list     2     -        -      -
module|load     -3    -        -      -
module|loadex   -3    -        -      -
module|unload   3     -        -      -
pfdebug         3     2:2:1    write  -
pfselftest      1     -        -      -
replicaof       3     -        -      -
save            1     -        -      -
shutdown        -1    -        -      -
slaveof         3     -        -      -
slowlog|get     -2    -        -      -
slowlog|help    2     -        -      -
slowlog|len     2     -        -      -
slowlog|reset   2     -        -      -
@cross_protocol
host:           -1    -        -      -
post            -1    -        -      -
@unknown_subcommand
acl             -2    -        -      -
client          -2    -        -      -
cluster         -2    -        -      -
commandlog      -2    -        -      -
config          -2    -        -      -
function        -2    -        -      -
latency         -2    -        -      -
memory          -2    -        -      -
module          -2    -        -      -
object          -2    -        -      -
pubsub          -2    -        -      -
script          -2    -        -      -
slowlog         -2    -        -      -
xgroup          -2    -        -      -
xinfo           -2    -        -      -
"""
