"""Everything between the command line and the first fork: what can fail is tried here, in the foreground, with a clear
message and an exit code, and in an order in which a failure leaves nothing behind.

    configuration -> log -> directories -> locks -> listening sockets -> datastore chosen -> Boot

Not here: shared memory and forks (supervisor.py), because nothing of this may run a second time.

The locks come before the sockets, so that a second start of the same node says "locked" and not "address in use". When
the pid in a lock is dead, its supervisor was killed and its workers are draining: that ends by itself, so we wait.
"""

import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from dynomite_mp import config as configuration
from dynomite_mp import log
from dynomite_mp.config import Config
from dynomite_mp.enums import DataStore, ExitCode
from dynomite_mp.errors import ConfigError, DynomiteError, StoreError
from dynomite_mp.identity import NodeIdentity
from dynomite_mp.ipc.segment import unlink
from dynomite_mp.ipc.slab import Slab, SlabError
from dynomite_mp.listeners import Listeners
from dynomite_mp.notify import Notifier
from dynomite_mp.paths import NodePaths
from dynomite_mp.pidfile import Held, LockedFile
from dynomite_mp.process import raise_file_limit
from dynomite_mp.process_title import process_title
from dynomite_mp.store import managed
from dynomite_mp.store.managed import ManagedStore

_LEFTOVER_EXTRA_MS = 5_000
_LEFTOVER_POLL_S = 0.05

logger = logging.getLogger(__name__)


class BootError(Exception):
    """The node cannot start: an exit code and what to print."""

    def __init__(self, code: ExitCode, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class StartOptions:
    """What the command line says; it goes above the configuration file."""

    conf: str | None = None
    pid_file: str | None = None
    output: str | None = None
    verbosity: int | None = None
    interrupt_fails: bool = False  # SIGINT ends with exit code 1, as in C Dynomite


@dataclass(slots=True)
class Boot:
    """All that a node needs before its first process; closed again when it never gets one."""

    options: StartOptions
    config: Config
    paths: NodePaths
    notifier: Notifier
    listeners: Listeners
    locks: list[LockedFile] = field(default_factory=list)
    pid_file: LockedFile | None = None
    store: ManagedStore | None = None
    identity: NodeIdentity = field(default_factory=lambda: NodeIdentity(1, 1))

    @property
    def lock_fds(self) -> frozenset[int]:
        """Inherited by every child, so that the locks say whether anything of the node still runs."""
        return frozenset(lock.fd for lock in self.locks)

    def close(self) -> None:
        """The end of a node, or of a start that failed. The lock files stay, the pidfile goes."""
        self.listeners.close()
        if self.pid_file is not None:
            self.pid_file.remove()


def read_config(options: StartOptions) -> Config:
    """The configuration file, or the defaults, under the command line. Raises BootError with every problem in it."""
    try:
        config = configuration.load(options.conf) if options.conf else configuration.defaults()
    except ConfigError as error:
        raise BootError(ExitCode.CONFIG_INVALID, str(error)) from error
    return config if options.verbosity is None else replace(config, log_level=options.verbosity)


def set_up_log(options: StartOptions, config: Config) -> None:
    try:
        log.setup(
            "supervisor",
            config.log_level,
            as_json=config.log_format is configuration.LogFormat.JSON,
            node=f"{config.datacenter}/{config.rack}",
            path=options.output,
        )
    except OSError as error:
        raise BootError(ExitCode.FAILURE, f"cannot write the log to {options.output}: {error.strerror}") from error


def prepare(options: StartOptions) -> Boot:
    """Raises BootError; whatever was taken by then is given back."""
    config = read_config(options)
    set_up_log(options, config)
    listeners = Listeners(config.listen, config.dyn_listen, config.backlog)
    boot = Boot(options, config, NodePaths.of(config), Notifier(), listeners)
    try:
        raise_file_limit()
        boot.paths.make()
        _take_locks(boot)
        boot.identity = NodeIdentity.next(boot.paths.data_dir)
        sweep_slabs()
        boot.listeners.bind(config.stats_listen, config.io_workers)
        if config.datastore is None:
            boot.store = _choose_store(boot)
    except Held as error:
        boot.close()
        raise BootError(ExitCode.ALREADY_RUNNING, str(error)) from error
    except DynomiteError as error:
        boot.close()
        raise BootError(ExitCode.BOOT_FAILED, str(error)) from error
    return boot


def sweep_slabs() -> None:
    """Forget nodes of this user that ended without tidying up and whose data directory is gone, too.

    The slab of a node that may come back stays: it holds its last figures, and its next start replaces it.
    """
    for name in Slab.list_mine():
        try:
            slab = Slab.open(name)
            forgotten = slab.is_stale and not Path(slab.identity["data_dir"]).exists()
        except (SlabError, KeyError, TypeError):
            continue
        if forgotten:
            unlink(name)


def _take_locks(boot: Boot) -> None:
    patience_ms = boot.config.drain_timeout_ms + _LEFTOVER_EXTRA_MS
    for path in (boot.paths.lock_file, boot.paths.runtime_lock_file):
        boot.locks.append(_lock(path, patience_ms, mode=0o600))
    name = boot.options.pid_file or boot.config.pid_file
    if name is not None:
        boot.pid_file = _lock(Path(name).absolute(), patience_ms, mode=0o644)
        boot.locks.append(boot.pid_file)


def _lock(path: Path, patience_ms: int, mode: int) -> LockedFile:
    """Lock a file; wait for the children of a supervisor that is gone. Raises Held."""
    deadline_s = time.monotonic() + patience_ms / 1000
    told = False
    while True:
        try:
            return LockedFile.acquire(path, mode)
        except Held as error:
            if _is_alive(error.pid) or time.monotonic() >= deadline_s:
                raise
            if not told:
                logger.warning("%s: its node was killed; waiting until its processes have ended", path)
                told = True
        except OSError as error:
            raise DynomiteError(f"{path} cannot be written: {error.strerror}", "choose another place for it") from error
        time.sleep(_LEFTOVER_POLL_S)


def _is_alive(pid: int) -> bool:
    """Whether the supervisor with that pid still runs. No pid (0) means: not written yet, so look again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _choose_store(boot: Boot) -> ManagedStore:
    if boot.config.data_store is not DataStore.REDIS:
        raise StoreError("data_store: 1 (memcached) needs a server", "name a running memcached under `servers:`")
    return managed.prepare(
        data_dir=boot.paths.data_dir,
        runtime_dir=boot.paths.runtime_dir,
        persistence=boot.config.datastore_persistence.value,
        title=process_title("datastore", boot.config),
    )
