"""Configuration: reads the YAML file of a node, checks all of it and returns a frozen Config.

What it is: load(path) for a file, defaults() for none, build() for values at hand.
A file that is wrong anywhere gives one ConfigErrors that lists every problem with file, line, column and the nearest
valid key, in C Dynomite's words where it has some.
What it is not: the table of keys (settings.py) or the rules of single values (config_values.py). It opens the one
file, resolves no host name and creates no directory.

Invariants: every file that C Dynomite loads is loaded with the same meaning, unless the meaning was a trap (then it is
refused, or `notes` says what differs). All scalars are raw strings, so quotes are irrelevant and `no` is a name.
"""

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynomite_mp.config_values import (
    TOKEN_SPACE,
    Address,
    DatastorePersistence,
    InvalidValue,
    LogFormat,
    Seed,
    SeedProvider,
    Server,
    digits,
)
from dynomite_mp.enums import Consistency
from dynomite_mp.errors import ConfigError
from dynomite_mp.settings import CONSISTENCIES, DEFAULT_POOL, SECURE_OPTIONS, SETTINGS, Config, Setting, describe

if TYPE_CHECKING:
    import yaml

__all__ = [
    "Address", "Config", "ConfigErrors", "ConfigProblem", "DatastorePersistence", "LogFormat", "Seed", "SeedProvider",
    "Server", "build", "defaults", "describe", "load",
]  # fmt: skip

SUN_PATH_BYTES = 107
SOCKET_NAME_BYTES = 24  # the longest name of a socket in runtime_dir
FILE_LIMIT_BYTES = 16 * 1024**2
DEPTH_LIMIT = 8  # three are of use
SHAPE = "the file must hold one pool name with its settings below it, indented"

# Keys of Dynomite's relatives and of wishful thinking, with what to write instead.
OTHER_WORDS = {
    "redis": "use data_store: 0 (Redis) or 1 (memcached)",
    "redis_auth": "use datastore_password",
    "requirepass": "use datastore_password",
    "redis_requirepass": "use datastore_password",
    "redis_db": "only database 0 exists",
    "gossip": "use enable_gossip",
    "stats_port": "use stats_listen",
    "<<": "merge keys are not supported",
}


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing wrong in a file; line and column count from 1, 0 when the problem has no place."""

    file: str
    line: int
    column: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: "
        return place + self.message + (f" ({self.hint})" if self.hint else "")


class ConfigErrors(ConfigError):
    """All the problems of one file."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems), "")


@dataclass(frozen=True, slots=True)
class Given:
    """The raw text of a key and its place; items is None for a scalar."""

    text: str
    items: tuple["Given", ...] | None = None
    line: int = 0
    column: int = 0


class Reading:
    """One pass over one file: collects problems and notes."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[ConfigProblem] = []
        self.notes: list[str] = []
        self.pending: list[str] = []  # keys that were set and that nothing acts on
        self.broken: set[str] = set()  # keys whose value could not be read
        self.unreadable = False  # there is nothing to look for keys in

    def problem(self, where: Given, key: str, message: str, hint: str = "") -> None:
        file = self.source or "configuration"
        self.problems.append(ConfigProblem(file, where.line, where.column, key, message, hint))

    def directive(self, where: Given, key: str, reason: str, hint: str = "") -> None:
        self.broken.add(key)
        self.problem(where, key, f'directive "{key}" {reason}', hint)

    def all_notes(self) -> list[str]:
        """What the node says at start."""
        if not self.pending:
            return self.notes
        return [*self.notes, f"read and checked, but this version does not act on it: {', '.join(self.pending)}"]


NOWHERE = Given("")


def load(path: str | os.PathLike[str]) -> Config:
    """The checked configuration of a file; raises ConfigErrors with everything that is wrong in it."""
    source = os.fspath(path)
    reading = Reading(source)
    pool, given = DEFAULT_POOL, dict[str, Given]()
    try:
        with open(source, "rb") as file:
            text = file.read(FILE_LIMIT_BYTES)
    except OSError as error:
        reading.unreadable = True
        reading.problem(NOWHERE, "", f"failed to open configuration '{source}': {error.strerror}")
    else:
        pool, given = read_yaml(text, reading)
    return finish(pool, given, reading)


def defaults() -> Config:
    """The configuration of a node that has no file: alone, on loopback, with a datastore of its own."""
    return build({"listen": "127.0.0.1:8102", "dyn_listen": "127.0.0.1:8101"})


def build(values: Mapping[str, str | Sequence[str]], *, pool: str = DEFAULT_POOL) -> Config:
    """A configuration from raw texts by key, checked like a file."""
    reading = Reading("")
    given = {}
    for key, value in values.items():
        if key not in SETTINGS:
            unknown_key(Given(key), reading)
        elif isinstance(value, str):
            given[key] = Given(value)
        else:
            given[key] = Given("", tuple(Given(item) for item in value))
    return finish(pool, given, reading)


def finish(pool: str, given: Mapping[str, Given], reading: Reading) -> Config:
    """Reads every value, checks them against each other, and makes the Config or raises."""
    if not reading.unreadable:
        values = {key: read_setting(key, SETTINGS[key], given[key], reading) for key in SETTINGS if key in given}
        values = {key: value for key, value in values.items() if key not in reading.broken}
        config = complete(Config(**values, pool=pool, source=reading.source))
        check_required(given, reading)
        check_together(config, given, reading)
        if not reading.problems:
            return replace(config, notes=tuple(reading.all_notes()))
    raise ConfigErrors(sorted(reading.problems, key=lambda p: (p.line or FILE_LIMIT_BYTES, p.column)))


# ---- YAML ----------------------------------------------------------------------------------------------------------


def read_yaml(text: bytes, reading: Reading) -> tuple[str, dict[str, Given]]:
    """Pool name and the raw values by key."""
    import yaml  # 20 ms and 3 MB that only a process which reads a file should pay

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    reading.unreadable = True
    try:
        if too_deep(text, loader, reading):
            return DEFAULT_POOL, {}
        documents = [node for node in yaml.compose_all(text, Loader=loader) if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Given("", None, mark.line + 1, mark.column + 1) if mark else NOWHERE
        reading.problem(where, "", f"is not valid YAML: {error.problem or error}", error.context or "")
        return DEFAULT_POOL, {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reading.problem(NOWHERE, "", f"is not valid YAML: {error}")
        return DEFAULT_POOL, {}
    if len(documents) != 1:
        where = mark_of(documents[1]) if documents else NOWHERE
        found = f"found {len(documents)} documents"
        reading.problem(where, "", f"'{reading.source}' must contain only 1 document; {found}")
        return DEFAULT_POOL, {}
    return read_document(documents[0], reading)


def too_deep(text: bytes, loader: Any, reading: Reading) -> bool:
    """Reports nesting that no configuration has: the composer of libyaml recurses, and would end the process."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_LIMIT:
            reading.problem(mark_of(event), "", SHAPE, "it is nested too deeply")
            return True
    return False


def read_document(root: "yaml.Node", reading: Reading) -> tuple[str, dict[str, Given]]:
    """The one pool of a document."""
    import yaml

    if not isinstance(root, yaml.MappingNode) or not root.value:
        reading.problem(mark_of(root), "", SHAPE, "for example `dyn_o_mite:` as its first line")
        return DEFAULT_POOL, {}
    (name, body), *others = root.value
    if not isinstance(body, yaml.MappingNode):
        hint = "put `dyn_o_mite:` above and indent the rest" if name.value in SETTINGS else ""
        reading.problem(mark_of(body), "", SHAPE, hint)
        return DEFAULT_POOL, {}
    for other, _ in others:
        reading.problem(mark_of(other), "", f"a second pool {scalar_text(other)!r}: one file configures one node")
    reading.unreadable = False
    return scalar_text(name), read_pool(body, reading)


def read_pool(body: "yaml.MappingNode", reading: Reading) -> dict[str, Given]:
    """Raw values by key; unknown and duplicate keys are problems."""
    given: dict[str, Given] = {}
    for key_node, value_node in body.value:
        key = scalar_text(key_node)
        place = mark_of(key_node)
        if key not in SETTINGS:
            unknown_key(Given(key, None, place.line, place.column), reading)
        elif key in given:
            reading.directive(place, key, "is a duplicate", f"it stands in line {given[key].line} already")
        else:
            given[key] = read_node(key, value_node, reading)
    return given


def read_node(key: str, node: "yaml.Node", reading: Reading) -> Given:
    """A scalar or a sequence of scalars as raw text."""
    import yaml

    place = mark_of(node)
    if isinstance(node, yaml.ScalarNode):
        return Given(node.value, None, place.line, place.column)
    items = []
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            at = mark_of(item)
            if isinstance(item, yaml.ScalarNode):
                items.append(Given(item.value, None, at.line, at.column))
            else:
                reading.directive(at, key, "has an invalid value", "an entry of a list is one plain value")
    else:
        reading.directive(place, key, "has an invalid value", "a value is plain text or a list, never a mapping")
    return Given("", tuple(items), place.line, place.column)


def mark_of(part: "yaml.Node | yaml.Event") -> Given:
    mark = part.start_mark
    return Given("", None, mark.line + 1, mark.column + 1) if mark else NOWHERE


def scalar_text(node: "yaml.Node") -> str:
    return node.value if isinstance(node.value, str) else ""


def unknown_key(where: Given, reading: Reading) -> None:
    """Names the nearest valid key."""
    import difflib  # only wanted when something is wrong

    key = where.text
    near = difflib.get_close_matches(key.lower(), SETTINGS, n=1, cutoff=0.6)
    hint = OTHER_WORDS.get(key) or (f"did you mean {near[0]!r}?" if near else "")
    reading.directive(where, key, "is unknown", hint)


# ---- values --------------------------------------------------------------------------------------------------------


def read_setting(key: str, row: Setting, given: Given, reading: Reading) -> Any:
    """The value of one key, with its note when it means something else than in C."""
    if row.shape == "list":
        value: Any = tuple(read_items(key, row, given, reading))
    elif given.items is not None and row.shape == "commas":
        joined = ",".join(item.text for item in given.items)
        value = read_scalar(key, row, replace(given, text=joined, items=None), reading)
    elif given.items is not None:
        reading.directive(given, key, "has an invalid value", "one value, not a list")
        return None
    else:
        value = read_scalar(key, row, given, reading)
    note_setting(key, row, given, value, reading)
    return value


def read_items(key: str, row: Setting, given: Given, reading: Reading) -> Iterator[Any]:
    """The entries of a list; a plain scalar is a list of one, nothing at all an empty one."""
    items = given.items if given.items is not None else (given,) if given.text else ()
    for item in items:
        value = read_scalar(key, row, item, reading)
        if value is not None:
            yield value


def read_scalar(key: str, row: Setting, given: Given, reading: Reading) -> Any:
    if row.zero_is_default and digits(given.text, 0) == 0:
        reading.notes.append(f"{key}: 0 stands for the default{default_text(row)}, as in C Dynomite")
        return row.default_value()
    try:
        return row.read(given.text)
    except InvalidValue as error:
        reading.directive(given, key, error.reason, error.hint)
        return None


def default_text(row: Setting) -> str:
    return f" {row.default}" if row.default is not None else ""


def note_setting(key: str, row: Setting, given: Given, value: Any, reading: Reading) -> None:
    """What the node says at start about a key that was set."""
    if row.deprecated:
        reading.notes.append(f'Field "{key}" in the conf file is DEPRECATED. {row.doc}')
    elif value != row.default_value():
        if row.differs:
            reading.notes.append(f"{key}: {row.differs}")
        if row.ignored:
            reading.notes.append(f"{key}: {row.doc}")
        elif row.pending:
            reading.pending.append(key)


# ---- checks of several values --------------------------------------------------------------------------------------


def check_required(given: Mapping[str, Given], reading: Reading) -> None:
    """C Dynomite refuses a file without listen, and dies later without dyn_listen or tokens."""
    required = ["listen", "dyn_listen"]
    if given.keys() & {"dyn_seeds", "dyn_seed_provider", "enable_gossip"}:
        required.append("tokens")
    for key in required:
        if key not in given:
            row = SETTINGS[key]
            hint = f"for example {key}: {row.default}"
            reading.problem(NOWHERE, key, f'directive "{key}:" is missing', hint)


def check_together(config: Config, given: Mapping[str, Given], reading: Reading) -> None:
    """Rules that concern more than one value."""
    if len(config.servers) > 1:
        hint = "one datastore a node; more nodes hold more"
        reading.directive(given["servers"], "servers", "has an invalid value", hint)
    check_listeners(config, given, reading)
    soft, hard = "client_soft_budget_bytes", "client_hard_limit_bytes"
    if config.client_soft_budget_bytes > config.client_hard_limit_bytes and not reading.broken & {soft, hard}:
        reading.directive(
            given.get(soft, given.get(hard, NOWHERE)), soft, "has an invalid value", f"it is above {hard}"
        )
    room = SUN_PATH_BYTES - SOCKET_NAME_BYTES
    if len(os.fsencode(config.runtime_dir)) > room:
        hint = f"longer than {room} bytes: sockets in it could not be opened"
        reading.directive(given.get("runtime_dir", NOWHERE), "runtime_dir", "has an invalid value", hint)
    if config.source and "stats_listen" not in given:
        here = f"stats_listen: {config.stats_listen}, reachable from this host only"
        reading.notes.append(f"{here}; C Dynomite's default is 0.0.0.0:22222")
    if config.read_repairs_enabled and Consistency.DC_ONE in (config.read_consistency, config.write_consistency):
        reading.notes.append("read_repairs_enabled: no effect while a consistency level is DC_ONE")
    note_prefixes(config, given, reading)
    note_tokens(config, given, reading)


def check_listeners(config: Config, given: Mapping[str, Given], reading: Reading) -> None:
    """Two listeners cannot share an address."""
    taken: dict[str, str] = {}
    for key in ("listen", "dyn_listen", "stats_listen"):
        address = str(getattr(config, key))
        if address in taken and not reading.broken & {key, taken[address]}:
            hint = f"{address} is that of {taken[address]}"
            reading.directive(given.get(key, NOWHERE), key, "has an invalid value", hint)
        taken[address] = key


def note_prefixes(config: Config, given: Mapping[str, Given], reading: Reading) -> None:
    """C compares prefixes; say so where the text is more than the word it starts with."""
    words: dict[str, tuple[str, ...]] = {
        "secure_server_option": tuple(SECURE_OPTIONS),
        "dyn_seed_provider": tuple(provider.value for provider in SeedProvider),
        "read_consistency": tuple(CONSISTENCIES),
        "write_consistency": tuple(CONSISTENCIES),
    }
    for key, allowed in words.items():
        if key in given and key not in reading.broken:
            text, value = given[key].text, getattr(config, key)
            taken = value.name if isinstance(value, Consistency) else value.value
            if text not in allowed and text.upper() not in allowed:
                reading.notes.append(f"{key}: {text!r} is taken as {taken}, as in C Dynomite")


def note_tokens(config: Config, given: Mapping[str, Given], reading: Reading) -> None:
    """Tokens that fold, collide or are this node's own."""
    if "tokens" in given and "tokens" not in reading.broken:
        texts = [item.text for item in given["tokens"].items or (given["tokens"],)]
        for text, token in zip(",".join(texts).split(","), config.tokens, strict=True):
            if int(text) >= TOKEN_SPACE:
                above = f"tokens: {text.strip()} is above {TOKEN_SPACE - 1}"
                reading.notes.append(f"{above} and is taken as {token}, as in C Dynomite")
    owners = {(config.datacenter, config.rack, token): "this node" for token in config.tokens}
    for seed in config.dyn_seeds:
        for token in seed.tokens:
            owner = owners.setdefault((seed.datacenter, seed.rack, token), str(seed.address))
            if owner != str(seed.address):
                place = f"token {token} of {seed.datacenter}/{seed.rack}"
                reading.notes.append(f"dyn_seeds: {seed.address} has {place}, and so has {owner}")


# ---- what depends on other values ----------------------------------------------------------------------------------


def complete(config: Config) -> Config:
    """Fills in the defaults that depend on other values."""
    advertise = config.advertise
    if advertise is not None and not advertise.port:
        advertise = Address(advertise.host, config.dyn_listen.port)
    data_dir = config.data_dir or default_data_dir(config)
    return replace(
        config,
        advertise=advertise,
        data_dir=data_dir,
        runtime_dir=config.runtime_dir or default_runtime_dir(config, data_dir),
    )


def default_data_dir(config: Config) -> Path:
    name = f"{config.datacenter}.{config.rack}.{config.dyn_listen}".replace("/", "_")
    home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]  # systemd gives a list
    return Path(state or f"{home}/dynomite-mp", name)


def default_runtime_dir(config: Config, data_dir: Path) -> Path:
    """Short, because of the limit on socket paths; different for different data."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime:
        usable = 0 < len(session) < 40 and Path(session).is_dir()  # `su` keeps the variable and not the directory
        runtime = f"{session}/dynomite-mp" if usable else f"/tmp/dynomite-mp-{os.getuid()}"
    return Path(runtime, f"{config.dyn_listen.port}-{zlib.crc32(os.fsencode(data_dir)):08x}")
