"""The words that several layers share, as enums. Values that travel on a wire or in shared memory are explicit."""

from enum import Enum, IntEnum


class Role(IntEnum):
    """A process of a node; the value is its place in the counter slab and in the wiring table."""

    SUPERVISOR = 0
    GOSSIP = 1
    REPLICATION = 2
    ADMIN = 3
    IO = 4
    DATASTORE = 5

    @property
    def label(self) -> str:
        return self.name.lower()


class ProcessState(IntEnum):
    """Life of a supervised process, as `status` shows it."""

    STOPPED = 0
    STARTING = 1
    RUNNING = 2
    DRAINING = 3
    BACKOFF = 4
    FAILED = 5


class NodeState(IntEnum):
    """State of a node; the values are those of the C gossip text (reference 9.1)."""

    INIT = 0
    STANDBY = 1
    WRITES_ONLY = 2
    RESUMING = 3
    NORMAL = 4
    JOINING = 7
    DOWN = 8
    RESET = 11
    UNKNOWN = 12


class Missing(IntEnum):
    """What a node that is catching up may lack."""

    NOTHING = 0
    WRITES = 1
    """Some of the last ones: better than no answer."""
    EVERYTHING = 2
    """Its datastore may be empty: an error is better."""


class Consistency(IntEnum):
    """How many replicas answer before the client does."""

    DC_ONE = 0
    DC_QUORUM = 1
    DC_SAFE_QUORUM = 2
    DC_EACH_SAFE_QUORUM = 3


class DataStore(IntEnum):
    """Protocol of the datastore (`data_store:`)."""

    REDIS = 0
    MEMCACHE = 1


class WarmUpMode(Enum):
    """When a node is filled from the other racks (`warm_up:`)."""

    AUTO = "auto"
    OFF = "off"
    FORCE = "force"


class SecureServerOption(Enum):
    """Which peer links are encrypted (`secure_server_option:`)."""

    NONE = "none"
    RACK = "rack"
    DATACENTER = "datacenter"
    ALL = "all"


class ExitCode(IntEnum):
    """Exit codes of the commands and of the worker processes."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIG_INVALID = 3
    BOOT_FAILED = 4
    NOT_RUNNING = 5
    ALREADY_RUNNING = 6
    STALE = 7
