"""Where a node keeps its things: the data directory, the short runtime directory, and its name in shared memory.

Whoever knows the configuration, or the data directory, finds the running node by them.

Invariant: a directory of ours belongs to this user and nobody else may enter it. /tmp is shared, so a directory that
another user made under our name is refused, not used.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from dynomite_mp.config import Config
from dynomite_mp.errors import DynomiteError
from dynomite_mp.ipc.segment import slab_name
from dynomite_mp.pidfile import LOCK_NAME


class UnusableDirectory(DynomiteError):
    """A directory of the node cannot be made or must not be used."""


@dataclass(frozen=True, slots=True)
class NodePaths:
    """Where one node keeps its things. `of` computes, `make` makes."""

    data_dir: Path  # real path
    runtime_dir: Path
    slab_name: str

    @classmethod
    def of(cls, config: Config) -> "NodePaths":
        data_dir = Path(os.path.realpath(config.data_dir))
        return cls(data_dir, Path(os.path.realpath(config.runtime_dir)), slab_name(data_dir))

    @property
    def lock_file(self) -> Path:
        """Locked while anything of the node runs."""
        return self.data_dir / LOCK_NAME

    @property
    def runtime_lock_file(self) -> Path:
        """A second node that was given the same runtime directory would take away our sockets."""
        return self.runtime_dir / LOCK_NAME

    def make(self) -> None:
        """Make what is missing, private to this user. Raises UnusableDirectory."""
        make_private(self.data_dir, "data_dir")
        make_private(self.runtime_dir, "runtime_dir")
        if self.runtime_dir.parent.stat().st_uid not in (0, os.getuid()):
            raise UnusableDirectory(
                f"{self.runtime_dir.parent} belongs to another user, who could replace what is in it",
                "set `runtime_dir:` to a directory of this user",
            )


def make_private(path: Path, key: str) -> None:
    """A directory only this user may enter. One that exists must be ours, and is closed if it was open to others."""
    try:
        # The parents may be shared (~/.local/state); only what lies under /tmp needs a private parent too.
        for missing in reversed([parent for parent in path.parents if not parent.exists()]):
            missing.mkdir(mode=0o700)
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise UnusableDirectory(f"{path} cannot be used: {error.strerror}", f"set `{key}:` to another place") from error
    if not stat.S_ISDIR(status.st_mode):
        raise UnusableDirectory(f"{path} is not a directory", f"move it away, or set `{key}:` to another place")
    if status.st_uid != os.getuid():
        raise UnusableDirectory(f"{path} belongs to another user", f"set `{key}:` to a directory of this user")
    if status.st_mode & 0o077:
        path.chmod(0o700)
