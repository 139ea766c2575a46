"""What a changed configuration file means for a node that runs: which keys act at once, which wait for the next start.

Nothing is applied here. The supervisor gets a verdict: the values to tell the workers, the configuration that is now
in force, and one sentence for the log per key that differs. A file with any error changes nothing at all.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dynomite_mp.boot import BootError, StartOptions, read_config
from dynomite_mp.config import Config
from dynomite_mp.settings import SETTINGS

# Told to the workers as CONTROL set.
TOLD: Final = frozenset(
    {
        "log_level",
        "timeout",
        "client_connections",
        "client_soft_budget_bytes",
        "client_hard_limit_bytes",
        "datastore_budget_bytes",
        "process_budget_bytes",
        "max_value_bytes",
    }
)
# Only the supervisor acts on them, and it always looks them up.
OWN: Final = frozenset({"drain_timeout_ms"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do after the file was read again."""

    lines: tuple[str, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)
    config: Config | None = None  # what is in force from now on; None: as before
    failed: bool = False


def read_again(options: StartOptions, current: Config) -> Verdict:
    if options.conf is None:
        return Verdict(("there is no configuration file, so nothing was read",))
    try:
        new = read_config(options)
    except BootError as error:
        return Verdict((*str(error).splitlines(), "the node goes on as it was"), failed=True)
    return compare(current, new)


def compare(current: Config, new: Config) -> Verdict:
    """Pure: two configurations, one verdict."""
    differing = [key for key in SETTINGS if getattr(current, key) != getattr(new, key)]
    if not differing:
        return Verdict((f"{new.source}: nothing has changed",))
    acting = {key: getattr(new, key) for key in differing if key in TOLD | OWN}
    lines = tuple(_line(key, getattr(current, key), getattr(new, key)) for key in differing)
    changes = {key: value for key, value in acting.items() if key in TOLD}
    return Verdict(lines, changes, dataclasses.replace(current, **acting))


def _line(key: str, old: Any, new: Any) -> str:
    effect = "in force now" if key in TOLD | OWN else "takes effect at the next start"
    if SETTINGS[key].secret:
        return f"{key} has changed: {effect}"
    return f"{key}: {_shown(old)} -> {_shown(new)}, {effect}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    name = getattr(value, "name", None)
    return str(name) if isinstance(name, str) and name.isupper() else str(value)
