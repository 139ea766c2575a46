"""Every example configuration of C Dynomite loads unchanged and means what it says.

The directory with the .yml files is the first argument or $DYNOMITE_CONF (a checkout's `conf`); without one the script
is skipped. For each key of each file the loaded value is printed back and compared with the text of the file.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from dynomite_mp.config import Config, ConfigErrors, Seed, Server, load

TOPIC = "config"
TITLE = "example configurations of C Dynomite load unchanged"
SKIPPED = 77


def main(argv: Sequence[str]) -> int:
    place = argv[0] if argv else os.environ.get("DYNOMITE_CONF", "")
    if not place:
        print("name a directory: make accept TOPIC=config ARGS=DIR, or set DYNOMITE_CONF")
        return SKIPPED
    files = sorted(path for pattern in ("*.yml", "*.yaml") for path in Path(place).rglob(pattern))
    good = 0
    for path in files:
        try:
            complaints = differences(load(path), raw_values(path))
        except ConfigErrors as error:
            complaints = [str(problem) for problem in error.problems]
        good += not complaints
        print(f"{path.name}: {'; '.join(complaints) or 'loads'}")
    print(f"{good} of {len(files)} load unchanged")
    return int(not files or good != len(files))


def raw_values(path: Path) -> Mapping[str, str | list[str]]:
    """The texts of the one pool, by a reader that knows nothing of settings."""
    (pool,) = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader).values()
    assert isinstance(pool, dict)
    return pool


def differences(config: Config, raw: Mapping[str, str | list[str]]) -> list[str]:
    """Keys whose value does not print as the text it was read from."""
    found = []
    for key, text in raw.items():
        values = getattr(config, key)
        shown = [shown_value(value) for value in values] if isinstance(text, list) else shown_value(values)
        same = shown == text or (isinstance(shown, str) and isinstance(text, str) and shown.lower() == text.lower())
        if not same:
            found.append(f"{key}: {text} became {shown}")
    return found


def shown_value(value: Any) -> str:
    """A value as a configuration file writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, Server):
        return f"{value.address}:{value.weight}"
    if isinstance(value, Seed):
        return f"{value.address}:{value.rack}:{value.datacenter}:{shown_value(value.tokens)}"
    if isinstance(value, Enum):
        return str(value.value) if isinstance(value.value, str) or value.name in ("REDIS", "MEMCACHE") else value.name
    return str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
