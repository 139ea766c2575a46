"""The settings table: one row per configuration key, and the frozen Config that holds their values.

What it is: the class Config, each of whose fields is one row: how the text is read, the default as text, the unit,
what it means, and where C Dynomite differs. Parsing, the check command, conf/dynomite.yml and the settings page of
the documentation are all derived from these rows; to add a key is to add a row.
What it is not: it reads no file (config.py) and starts nothing.

Invariants: the name of a field is the key; the default is read by the same reader as a value from a file; a Config
never changes, a reload makes another one.
"""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dynomite_mp import config_values as read
from dynomite_mp.config_values import Address, DatastorePersistence, LogFormat, Seed, SeedProvider, Server
from dynomite_mp.enums import Consistency, DataStore, SecureServerOption, WarmUpMode

DEFAULT_POOL = "dyn_o_mite"
KIB, MIB, GIB = 1024, 1024**2, 1024**3

# Time that C Dynomite grants a request to another node over `timeout`; used when dyn_*_timeout is not set.
SAME_DATACENTER_EXTRA_MS = 200
OTHER_DATACENTER_EXTRA_MS = 5_000
OTHER_DATACENTER_WRITE_EXTRA_MS = 20_000

DAY_MS = 86_400_000

MBUF_REASON = "mbuf chunk size must be between 512 and 512000 bytes"
MESSAGES_REASON = "max allocated messages buffer must be between 100000 and 1000000 messages"

HASHES = ("one_at_a_time", "md5", "crc16", "crc32", "crc32a", "fnv1_64", "fnv1a_64", "fnv1_32", "fnv1a_32", "hsieh",
          "murmur", "jenkins", "redis_slot")  # fmt: skip

CONSISTENCIES = {  # in the order in which C tries the prefixes
    "DC_ONE": Consistency.DC_ONE,
    "DC_SAFE_QUORUM": Consistency.DC_SAFE_QUORUM,
    "DC_QUORUM": Consistency.DC_QUORUM,
    "DC_EACH_SAFE_QUORUM": Consistency.DC_EACH_SAFE_QUORUM,
}
SECURE_OPTIONS = {option.value: option for option in SecureServerOption}
LOG_LEVEL_NAMES = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
LOG_LEVELS = {str(level): level for level in range(12)} | {name: level for level, name in enumerate(LOG_LEVEL_NAMES)}


def read_data_store(text: str) -> DataStore:
    """0 is Redis and all that speak its protocol, 1 is memcached."""
    if text not in ("0", "1"):
        raise read.InvalidValue("is not a number" if read.digits(text, read.MAX_C_INT) is None else read.INVALID,
                                "Invalid datastore in conf file: 0 is Redis, 1 is memcached")  # fmt: skip
    return DataStore(int(text))


def read_hash(text: str) -> str:
    """Name of a hash function; murmur3 has a name in C but no code behind it."""
    if text not in HASHES:
        hint = "C Dynomite names murmur3 but never computes it; murmur is the default" if text == "murmur3" else ""
        raise read.InvalidValue("is not a valid hash", hint or "one of " + " ".join(HASHES))
    return text


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table."""

    read: Callable[[str], Any]
    default: str | None
    doc: str
    section: str
    unit: str = ""
    shape: str = "scalar"  # scalar | list | commas (one scalar with commas, or a list)
    default_doc: str = ""  # what holds when there is no default text
    example: str = ""  # shown where there is no default text
    since_c: bool = False
    zero_is_default: bool = False  # C cannot tell 0 from absent
    differs: str = ""  # said at start when the key is given a value of its own: where C ignores or breaks it
    pending: bool = False  # read and checked, but nothing in this version acts on it yet
    ignored: bool = False  # kept so that old files load
    deprecated: bool = False  # in C too
    secret: bool = False

    absent: Any = None  # the value when there is neither text nor default text

    def default_value(self) -> Any:
        if self.default is None:
            return () if self.shape == "list" else self.absent
        return self.read(self.default)


SECTIONS = {
    "addresses": "addresses",
    "place": "place in the cluster",
    "datastore": "datastore",
    "clients": "clients",
    "consistency": "placement of keys and consistency",
    "peers": "other nodes",
    "gossip": "gossip",
    "encryption": "encryption between nodes, as in C Dynomite",
    "processes": "processes, memory and directories",
    "logs": "logs, statistics and administration",
    "old": "old keys, read so that old files load",
}


def setting(section: str, reader: Callable[[str], Any], default: str | None, doc: str, **columns: Any) -> Any:
    """A row of ours."""
    row = Setting(reader, default, doc, section, **columns)
    return field(default=row.default_value(), repr=not row.secret, metadata={"setting": row})


def c_setting(section: str, reader: Callable[[str], Any], default: str | None, doc: str, **columns: Any) -> Any:
    """A row that C Dynomite has too, with its name, meaning and default."""
    return setting(section, reader, default, doc, since_c=True, **columns)


def c_number(section: str, default: str, doc: str, **columns: Any) -> Any:
    """A number of C's: 0 means "not set" there, and here."""
    return c_setting(section, read.number(), default, doc, zero_is_default=True, **columns)


def milliseconds(low: int = 1, high: int = DAY_MS) -> Callable[[str], int]:
    return read.number(low=low, high=high)


# fmt: off
@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting of one node, checked. `notes` are sentences the node says at start."""

    listen: Address = c_setting(
        "addresses", read.read_listen, "127.0.0.1:8102",
        "Where clients connect: host:port or the path of a unix socket. Required in a file.")
    dyn_listen: Address = c_setting(
        "addresses", read.read_listen, "127.0.0.1:8101",
        "Where the other nodes connect. Required in a file. Connections to other nodes are made from this host.")
    stats_listen: Address = c_setting(
        "addresses", read.read_listen, "127.0.0.1:22222",
        "HTTP: statistics, metrics and administration. C Dynomite's default is 0.0.0.0:22222.")
    advertise: Address | None = setting(
        "addresses", read.read_advertise, None,
        "The address by which others reach dyn_listen, when it differs: host or host:port.",
        default_doc="that of dyn_listen", example="10.0.0.1:8101")
    backlog: int = c_number(
        "addresses", "512", "Connections that may wait to be accepted, per listening socket.")

    datacenter: str = c_setting("place", read.read_name, "localdc", "Name of this node's datacenter.")
    rack: str = c_setting(
        "place", read.read_name, "localrack",
        "Name of this node's rack. A rack holds the whole data set, split over its nodes.")
    tokens: tuple[int, ...] = c_setting(
        "place", read.read_tokens, "0",
        "Tokens of this node, 0 to 4294967295, commas between. A node owns the keys whose hash lies above the token"
        " before its own, up to and including its own. C Dynomite takes one token only. Required when there are"
        " other nodes.", shape="commas")
    dyn_seeds: tuple[Seed, ...] = c_setting(
        "place", read.read_seed, None,
        "The other nodes, one `host:port:rack:datacenter:tokens` a line. This node itself is not listed.",
        shape="list", default_doc="none, a node on its own", example="127.0.0.2:8101:rack2:localdc:0")
    dyn_seed_provider: SeedProvider = c_setting(
        "place", read.starts_with({p.value: p for p in SeedProvider}), "simple_provider",
        "Where the list of other nodes comes from: simple_provider (dyn_seeds only), florida_provider (HTTP) or"
        " dns_provider (TXT record).")

    servers: tuple[Server, ...] = c_setting(
        "datastore", read.read_server, None,
        "The datastore beside this node: one `host:port:weight` or `/path/of/unix/socket:weight`. The weight is not"
        " used.", shape="list", default_doc="none, the node runs and supervises a datastore of its own",
        example="127.0.0.1:6379:1")
    data_store: DataStore = c_setting(
        "datastore", read_data_store, "0",
        "Protocol of the datastore: 0 is Redis, Valkey and the like, 1 is memcached.")
    datastore_connections: int = c_number(
        "datastore", "1", "Connections to the datastore, per protocol version that clients negotiated.")
    datastore_user: str | None = setting(
        "datastore", read.read_text, None, "User name for AUTH on the datastore.",
        default_doc="none", example="default")
    datastore_password: str | None = setting(
        "datastore", read.read_text, None, "Password for AUTH on the datastore.",
        default_doc="none", example="secret", secret=True)
    datastore_persistence: DatastorePersistence = setting(
        "datastore", read.choice(DatastorePersistence), "aof_everysec",
        "What the managed datastore keeps on disk: aof_everysec (an append-only file, synced each second) or none.")
    datastore_budget_bytes: int = setting(
        "datastore", read.size_bytes(low=64 * KIB), str(256 * MIB),
        "Requests that may wait for the datastore before their clients are paused. Lower: less memory when it stalls.",
        unit="bytes")
    datastore_loss_window_ms: int = setting(
        "datastore", milliseconds(0), "2000",
        "How far back a restarted datastore with a persisted data set may have lost writes; keys written since are"
        " copied again.", unit="ms", pending=True)
    warm_up: WarmUpMode = setting(
        "datastore", read.choice(WarmUpMode), "auto",
        "When to fill the datastore from the other racks: auto (it is empty or was started anew), off, force (also at"
        " each start).")
    timeout: int = c_number(
        "datastore", "5000",
        "Longest wait for a reply of the datastore; the time-outs of other nodes derive from it.", unit="ms")
    preconnect: bool = c_setting(
        "datastore", read.read_bool, "true", "Connect to the datastore at start; false: at the first request.",
        differs="C Dynomite turns false into true; here it holds")
    server_retry_timeout: int = c_number(
        "datastore", "10000",
        "Longest pause between two attempts to reconnect to the datastore; never above 1,000 ms in effect.", unit="ms")
    auto_eject_hosts: bool = c_setting(
        "datastore", read.read_bool, "true",
        "Answer at once, instead of waiting, for a node or datastore that is unreachable; false: try it each time.",
        differs="C Dynomite turns false into true and ejects nothing", pending=True)
    server_failure_limit: int = c_number(
        "datastore", "3", "Failures in a row after which auto_eject_hosts acts.",
        differs="C Dynomite never acts on it", pending=True)

    client_connections: int = c_setting(
        "clients", read.number(), "0",
        "Most client connections at a time; further ones are told so and closed. 0: no limit.",
        differs="C Dynomite reads it and enforces no limit; here it holds")
    client_soft_budget_bytes: int = setting(
        "clients", read.size_bytes(low=16 * KIB), str(8 * MIB),
        "Unanswered requests of one client past which its socket is not read until half are answered.", unit="bytes")
    client_hard_limit_bytes: int = setting(
        "clients", read.size_bytes(low=64 * KIB), str(GIB),
        "Requests and unsent replies of one client past which it is closed.", unit="bytes")
    process_budget_bytes: int = setting(
        "clients", read.size_bytes(low=MIB), str(4 * GIB),
        "Buffers of all connections of one io process past which no source of requests is read.", unit="bytes")
    max_value_bytes: int = setting(
        "clients", read.size_bytes(low=KIB, high=4 * GIB), str(512 * MIB),
        "Largest argument of a command, as proto-max-bulk-len of Redis.", unit="bytes")

    hash: str = c_setting(
        "consistency", read_hash, "murmur",
        "Function that places keys: " + ", ".join(HASHES) + ". All nodes and clients of a cluster use the same one.")
    hash_tag: bytes = c_setting(
        "consistency", read.read_hash_tag, None,
        'Two characters; only what stands between them in a key is hashed, so "{}" keeps {user1}:a and {user1}:b'
        " together.", default_doc="none, the whole key is hashed", example='"{}"', absent=b"")
    read_consistency: Consistency = c_setting(
        "consistency", read.starts_with(CONSISTENCIES, ignore_case=True), "DC_ONE",
        "How many replicas answer a read before the client is answered: DC_ONE, DC_QUORUM, DC_SAFE_QUORUM or"
        " DC_EACH_SAFE_QUORUM.")
    write_consistency: Consistency = c_setting(
        "consistency", read.starts_with(CONSISTENCIES, ignore_case=True), "DC_ONE",
        "How many replicas store a write before the client is answered; the same words.")
    read_other_datacenters: bool = setting(
        "consistency", read.read_bool, "false",
        "A read that no rack of this datacenter can answer is asked of another; it may be older than the last write.")
    read_repairs_enabled: bool = c_setting(
        "consistency", read.read_bool, "false",
        "Mend replicas that answer a read with an older value; needs both levels above DC_ONE.")
    anti_entropy_interval_ms: int = setting(
        "consistency", milliseconds(0), "0",
        "Compare this node's keys with those of other replicas this often, and mend what differs; 0: only on request"
        " and after outages that were too long to keep every write.", unit="ms")
    repair_rate: int = setting(
        "consistency", read.number(), "20000",
        "Most keys a second that such a comparison reads from a datastore. Lower: less load; 0: no limit.")
    max_clock_skew_ms: int = setting(
        "consistency", milliseconds(), "5000",
        "A node whose clock is further ahead than this is reported and its stamps are replaced.", unit="ms")
    debug_clock_offset_ms: int = setting(
        "consistency", read.read_offset, "0",
        "For tests: this node stamps writes as if its clock were that much ahead, or behind if negative.", unit="ms")

    local_peer_connections: int = c_number(
        "peers", "1", "Connections to each node of the same datacenter.")
    remote_peer_connections: int = c_number(
        "peers", "1", "Connections to each node of another datacenter.")
    peer_budget_bytes: int = setting(
        "peers", read.size_bytes(low=64 * KIB), str(64 * MIB),
        "Requests that may wait for one connection to another node; past it a node of this rack makes clients wait, one"
        " of another rack counts as unreachable.", unit="bytes")
    dyn_read_timeout: int | None = c_setting(
        "peers", read.number(), None, "Longest wait for another node's reply to a read.", unit="ms",
        zero_is_default=True, default_doc="timeout + 200 in the same datacenter, timeout + 5,000 in others",
        example="10000", differs="C Dynomite reads it and ignores it")
    dyn_write_timeout: int | None = c_setting(
        "peers", read.number(), None, "Longest wait for another node's reply to a write.", unit="ms",
        zero_is_default=True, default_doc="timeout + 200 in the same datacenter, timeout + 25,000 in others",
        example="10000", differs="C Dynomite reads it and ignores it")
    conn_msg_rate: int = c_number(
        "peers", "50000", "Most messages a second on a connection to another datacenter.", pending=True)
    peer_silence_ms: int = setting(
        "peers", milliseconds(10), "500",
        "A node or datastore that owes replies and sent nothing for this long is unreachable for new requests. Lower:"
        " faster fail-over; higher: tolerates long pauses, for example of a datastore that forks.", unit="ms")
    hint_sync_ms: int = setting(
        "peers", milliseconds(0), "1000",
        "The log of writes for absent replicas is synced to disk this often, but not more often than every 50 ms.",
        unit="ms")
    hint_log_bytes_max: int = setting(
        "peers", read.size_bytes(), str(GIB),
        "Log of writes that one replica, or one other datacenter, has missed. Past it later ones are not kept and a"
        " comparison mends the replica. Lower: less disk in a long outage; higher: longer outages without comparison.",
        unit="bytes")
    hint_age_ms_max: int = setting(
        "peers", milliseconds(0), "10800000",
        "Such writes are given up after this long, and a comparison mends the replica; 0: never.", unit="ms")
    hint_rate: int = setting(
        "peers", read.number(), "0",
        "Most such writes a second that are brought to one replica when it is back; 0: no limit.")
    catch_up_max_ms: int = setting(
        "peers", milliseconds(), "60000",
        "A node that returns takes reads after this long at the latest, even when others still hold writes for it.",
        unit="ms")

    enable_gossip: bool = c_setting(
        "gossip", read.read_bool, "false",
        "Exchange membership with the other nodes, over UDP on the port of dyn_listen; false: the seeds are the"
        " cluster.")
    gos_interval: int = c_number(
        "gossip", "30000", "Period of asking the seed provider and of telling C nodes.", unit="ms")
    cluster_key: str | None = setting(
        "gossip", read.read_text, None, "Secret that all nodes share; gossip without its signature is ignored.",
        default_doc="none, gossip is not signed", example="secret", secret=True)
    env: str = c_setting(
        "gossip", read.read_text, "aws",
        "Which environment variables name this node: aws (EC2_*) or anything else (PUBLIC_*).",
        differs="C Dynomite always uses EC2_*", pending=True)

    secure_server_option: SecureServerOption = c_setting(
        "encryption", read.starts_with(SECURE_OPTIONS), "none",
        "Which links to other nodes are encrypted: none, rack, datacenter or all.")
    pem_key_file: Path = c_setting(
        "encryption", read.read_path, "conf/dynomite.pem",
        "RSA private key (PKCS#1, 1024 bits) that all nodes share.")
    mbuf_size: int = c_setting(
        "encryption", read.number(low=512, high=512_000, multiple_of=16, reason=MBUF_REASON), "16384",
        "Chunk of encrypted traffic with C nodes; the same on all nodes. Buffers here are sized by need.",
        unit="bytes", zero_is_default=True)

    data_dir: Path = setting(
        "processes", read.read_path, None,
        "What survives a restart: the managed datastore's files and logs of writes.", example="/var/lib/dynomite-mp",
        default_doc="$STATE_DIRECTORY, or $XDG_STATE_HOME/dynomite-mp, or ~/.local/state/dynomite-mp; below it"
        " <datacenter>.<rack>.<dyn_listen>")
    runtime_dir: Path = setting(
        "processes", read.read_path, None,
        "Unix sockets and spill files. Keep it short: the path of a unix socket holds 107 bytes.",
        example="/run/dynomite-mp",
        default_doc="$RUNTIME_DIRECTORY, or $XDG_RUNTIME_DIR/dynomite-mp, or /tmp/dynomite-mp-<uid>; below it a short"
        " name of the node")
    pid_file: Path | None = setting(
        "processes", read.read_path, None, "File that holds the pid of the supervisor.",
        default_doc="none", example="/run/dynomite-mp/node.pid")
    io_workers: int = setting(
        "processes", read.number(low=1, high=64), "1",
        "Processes that serve clients; the keys are divided between them by hash.")
    drain_timeout_ms: int = setting(
        "processes", milliseconds(0), "10000",
        "Longest time for requests in flight to finish when the node stops.", unit="ms")
    io_ring_bytes: int = setting(
        "processes", read.size_bytes(low=64 * KIB, high=GIB, power_of_two=True), str(4 * MIB),
        "Shared-memory ring between two io processes.", unit="bytes")
    replication_ring_bytes: int = setting(
        "processes", read.size_bytes(low=64 * KIB, high=4 * GIB, power_of_two=True), str(64 * MIB),
        "Shared-memory ring from an io process to the replication process: writes for other datacenters. All rings"
        " together must fit into /dev/shm.", unit="bytes")
    lane_overflow_bytes: int = setting(
        "processes", read.size_bytes(), str(64 * MIB),
        "What an io process holds when that ring is full; past it the copies are made up later by comparison.",
        unit="bytes", pending=True)
    spill_limit_bytes: int = setting(
        "processes", read.size_bytes(), str(GIB),
        "Values too large for a ring wait in files of runtime_dir; all of them together.", unit="bytes")

    log_level: int = setting(
        "logs", read.one_of(LOG_LEVELS), "6",
        "0 emergency, 1 alert, 2 critical, 3 error, 4 warning, 5 notice, 6 info, 7 debug, up to 11: numbers or names.")
    log_format: LogFormat = setting("logs", read.choice(LogFormat), "text", "text (key=value) or json.")
    admin_token: str | None = setting(
        "logs", read.read_text, None,
        "Secret that lets other hosts use the verbs of stats_listen that change something; loopback needs none.",
        default_doc="none, such verbs work from loopback only", example="secret", secret=True)

    stats_interval: int = c_number(
        "old", "30000", "Not used: statistics are read from shared memory when asked for.", unit="ms", ignored=True)
    dyn_port: int | None = c_setting(
        "old", read.number(), None, "Not used: dyn_listen has the port.", example="8101", ignored=True)
    dyn_connections: int = c_number(
        "old", "100", "Not used: see local_peer_connections and remote_peer_connections.", ignored=True)
    max_msgs: int = c_setting(
        "old", read.number(low=100_000, high=1_000_000, reason=MESSAGES_REASON), "200000",
        "Not used: memory is bounded in bytes, see process_budget_bytes.", zero_is_default=True, ignored=True)
    recon_key_file: Path = c_setting("old", read.read_path, "conf/recon_key.pem", "Not used.", ignored=True)
    recon_iv_file: Path = c_setting("old", read.read_path, "conf/recon_iv.pem", "Not used.", ignored=True)
    distribution: str | None = c_setting(
        "old", str, None, "Not used: keys are always placed by token.", example="vnode", ignored=True, deprecated=True)
    server_connections: str | None = c_setting(
        "old", str, None, "Not used: see datastore_connections.", example="1", ignored=True, deprecated=True)
    # fmt: on

    pool: str = DEFAULT_POOL
    source: str = ""  # the file, "" when there was none
    notes: tuple[str, ...] = ()

    @property
    def datastore(self) -> Server | None:
        """The configured datastore; None: the node runs one itself."""
        return self.servers[0] if self.servers else None

    @property
    def node_name(self) -> str:
        """The name C Dynomite gives a node: the host part of dyn_listen."""
        return self.dyn_listen.host or str(self.dyn_listen)

    def peer_timeout_ms(self, *, same_datacenter: bool, write: bool) -> int:
        """Deadline of a request to a peer."""
        given = self.dyn_write_timeout if write else self.dyn_read_timeout
        if given is not None:
            return given
        if same_datacenter:
            return self.timeout + SAME_DATACENTER_EXTRA_MS
        return self.timeout + OTHER_DATACENTER_EXTRA_MS + (OTHER_DATACENTER_WRITE_EXTRA_MS if write else 0)


SETTINGS: dict[str, Setting] = {f.name: f.metadata["setting"] for f in fields(Config) if "setting" in f.metadata}


FILE_HEAD = """\
Every setting of dynomite-mp, with its meaning and default. The file as it is starts one node with a datastore of its
own. It is made from the table in dynomite_mp/settings.py by `python -m dynomite_mp.settings`: edit the table, not this.
Commented lines show the default, or an example where there is none. Numbers are decimal digits.
"""
ACTIVE_KEYS = ("listen", "dyn_listen", "tokens")


def describe() -> str:
    """The text of conf/dynomite.yml."""
    lines = [f"# {line}" for line in FILE_HEAD.splitlines()]
    lines += ["", f"{DEFAULT_POOL}:"]
    for section, title in SECTIONS.items():
        lines += ["", f"  # ---- {title} " + "-" * (70 - len(title))]
        for key, row in SETTINGS.items():
            if row.section == section:
                lines += ["", *(f"  # {line}" for line in textwrap.wrap(describe_row(row), 112))]
                lines += [("  " if key in ACTIVE_KEYS else "  #") + line for line in example_lines(key, row)]
    return "\n".join(lines) + "\n"


def describe_row(row: Setting) -> str:
    """What a key means, in sentences."""
    parts = [row.doc]
    if row.unit:
        parts.append({"ms": "Milliseconds.", "bytes": "Bytes."}[row.unit])
    if row.default_doc:
        parts.append(f"Default: {row.default_doc}.")
    if row.differs:
        parts.append(row.differs + ".")
    if row.pending:
        parts.append("Not acted on yet.")
    return " ".join(parts)


def example_lines(key: str, row: Setting) -> list[str]:
    text = row.default if row.default is not None else row.example
    return [f"{key}:", f"- {text}"] if row.shape == "list" else [f"{key}: {text}"]


def describe_markdown() -> str:
    """The settings page of the documentation."""
    lines = ["# Settings", "", "Made from the settings table. Keys of C Dynomite are marked with C.", ""]
    for section, title in SECTIONS.items():
        lines += [f"## {title[0].upper() + title[1:]}", "", "| key | default | | meaning |", "|---|---|---|---|"]
        for key, row in SETTINGS.items():
            if row.section == section:
                default = f"`{row.default}`" if row.default is not None else ""
                meaning = describe_row(row).replace("|", "\\|").replace("<", "&lt;")
                lines.append(f"| `{key}` | {default} | {'C' if row.since_c else ''} | {meaning} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(describe(), end="")
