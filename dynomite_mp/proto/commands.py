"""The command table: what every command is, where its keys lie, and how it is routed, split, replicated and refused.

One row a command, one table for the server and the client; every branch on a command elsewhere is a column here. The
rows are text in `command_rows.py`; `command_lookup.pyx` turns them into C rows for the hot path.

Columns

  name         lower case; a subcommand is `container|name`
  arity        number of arguments with the command name; negative: at least that many
  key_spec     none | first:last:step (last may count from the end) | numkeys:ARG[:KEY] (argument ARG counts the keys
               that follow it; KEY is one key more) | streams (behind the word STREAMS) | special (written out in
               resp.pyx, by name)
  access       read | write | none
  routing      normal (hashed, replicas by level) | rack_owner (hashed, one rack) | local_node | all_nodes |
               answered (here, without a datastore) | refused:<wire error>
  split        none | keys | pairs: a command over several owners may be cut by key, or by key and value
  merge        none | array | sum | ok: how the parts' replies become one
  conflict     overwrite | commute | ordered | lead | none: what a replica may do with it; a class with `?` is lead
               with the options that LEAD_IF names
  replicate    as_is | effect:<function> | none: what the other replicas are sent (expire_at: expiry.pyx, the others
               effects.pyx)
  session      none | lease (a datastore connection of its own) | queue (until EXEC) | pin (state of the connection)
  resend       never | before_send | always: may it be sent a second time
  resp3_shape  same, or how a RESP2 reply becomes the RESP3 one: map, maps, set, sets, double, doubles, scores,
               scores_in (one level down), coords, verbatim, script; `_opt`: only with the option that asks for it
  tested_by    family of the end-to-end suite

Invariants: names are unique; an id is a row's place + 1; a row that names no routing does not exist; ids fit the
counter slab (512 cells).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dynomite_mp.errors import WIRE_ERRORS, InternalError
from dynomite_mp.proto.command_rows import LEAD_IF, REFUSED, SERVED

MOST_COMMANDS = 511
"""Ids of commands are cells of the counter slab; 0 is the unknown command's."""

ACCESSES = ("none", "read", "write")
ROUTINGS = ("refused", "normal", "local_node", "rack_owner", "all_nodes", "answered")
SPLITS = ("none", "keys", "pairs")
MERGES = ("none", "array", "sum", "ok")
CONFLICTS = ("none", "overwrite", "commute", "ordered", "lead")
SESSIONS = ("none", "lease", "queue", "pin")
RESENDS = ("never", "before_send", "always")
EFFECTS = (
    "none", "as_is", "effect:expire_at", "effect:set", "effect:delete", "effect:pop", "effect:members",
    "effect:element", "effect:id", "effect:claim", "effect:group", "effect:keys",
)  # fmt: skip
CLASSES = ("none", "read", "overwrite", "commute", "ordered", "lead")
"""The words of the columns, in the order of the C enums of command_lookup.pxd."""
SHAPES = frozenset(
    (
        *("same", "map", "map_opt", "maps", "set", "set_opt", "sets", "double", "double_opt", "doubles", "pairs_opt"),
        *("scores", "scores_opt", "scores_in", "coords", "coords_opt", "verbatim", "script"),
    )
)
SPECIAL_KEYS = frozenset({"sort", "sort_ro", "georadius", "georadiusbymember"})


@dataclass(frozen=True, slots=True)
class LeadIf:
    """When a command of another class is one of class lead: one of the words, or the lack of it, from argument `first`
    on; behind the word FIELDS there are no options."""

    first: int
    words: tuple[str, ...]
    is_unless: bool


@dataclass(frozen=True, slots=True)
class Command:
    """One row; the columns are described at the head of this module."""

    name: str
    arity: int
    key_spec: str
    access: str
    routing: str
    split: str
    merge: str
    conflict: str
    replicate: str
    session: str
    resend: str
    resp3_shape: str
    tested_by: str
    lead_if: LeadIf | None = None

    @property
    def refusal(self) -> str | None:
        """Name of the wire error that answers it, None for a served command."""
        return self.routing.partition(":")[2] or None

    @property
    def container(self) -> str | None:
        """Name of the command that this is a subcommand of."""
        head, bar, _ = self.name.partition("|")
        return head if bar else None


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A key_spec taken apart; the fields mean what those of CommandRow mean."""

    kind: str
    first: int = 0
    last: int = 0
    step: int = 0


DEFAULTS = {"resend": "never", "resp3_shape": "same"}
"""What `-` stands for, where it is not `none`."""


def _rows(text: str) -> Iterator[tuple[str, list[str]]]:
    """Family and cells of every row of a block of command_rows."""
    family = ""
    for line in text.splitlines():
        if line.startswith("@"):
            family = line[1:]
        elif not line.startswith("#"):
            yield family, line.split()


def _served() -> Iterator[Command]:
    columns = SERVED.splitlines()[0].lstrip("# ").split()
    for family, cells in _rows(SERVED):
        row = {c: DEFAULTS.get(c, "none") if v == "-" else v for c, v in zip(columns, cells, strict=True)}
        lead_if = _lead_if(row["name"]) if row["conflict"].endswith("?") else None
        row["conflict"] = row["conflict"].rstrip("?")
        cells_of_row = {**row, "arity": int(row["arity"]), "tested_by": family, "lead_if": lead_if}
        yield Command(**cells_of_row)  # type: ignore[arg-type]


def _lead_if(name: str) -> LeadIf:
    first, words = LEAD_IF[name]
    return LeadIf(first, tuple(words.lstrip("!").split()), words.startswith("!"))


def _refused() -> Iterator[Command]:
    for reason, cells in _rows(REFUSED):
        name, arity, key_spec, access, session = (v if v != "-" else "none" for v in cells)
        yield Command(
            name, int(arity), key_spec, access, f"refused:{reason}", "none", "none",
            "lead" if access == "write" else "none", "none", session, "never", "same", "refusals",
        )  # fmt: skip


def key_spec(row: Command) -> KeySpec:
    """The key_spec of a row, taken apart."""
    words = row.key_spec.split(":")
    if row.key_spec in ("none", "streams"):
        return KeySpec(row.key_spec)
    if row.key_spec == "special":
        return KeySpec("sort" if row.name.startswith("sort") else "georadius", 1, 1, 1)
    if words[0] == "numkeys":
        return KeySpec("numkeys", int(words[1]), int(words[2]) if len(words) > 2 else 0, 1)
    first, last, step = (int(word) for word in words)
    return KeySpec("range", first, last, step)


def command_class(row: Command) -> str:
    """The class under which latency is measured and replicas decide: one of CLASSES."""
    return row.conflict if row.access == "write" else row.access


def _check(row: Command) -> None:
    """Raises for a row whose cells contradict each other."""
    words = (
        (row.access, ACCESSES), (row.routing.partition(":")[0], ROUTINGS), (row.split, SPLITS), (row.merge, MERGES),
        (row.conflict, CONFLICTS), (row.session, SESSIONS), (row.resend, RESENDS), (row.resp3_shape, SHAPES),
    )  # fmt: skip
    wrong = [word for word, allowed in words if word not in allowed]
    if row.refusal is not None and row.refusal not in WIRE_ERRORS:
        wrong.append(row.refusal)
    if row.replicate not in EFFECTS or (row.lead_if is not None and row.access != "write"):
        wrong.append(row.replicate)
    if row.key_spec == "special" and row.name not in SPECIAL_KEYS:
        wrong.append("special")
    if (row.conflict == "none") != (row.access != "write"):
        wrong.append(f"{row.access} with conflict {row.conflict}")
    if (row.split == "none") != (row.merge == "none"):
        wrong.append(f"split {row.split} with merge {row.merge}")
    if row.routing in ("normal", "rack_owner") and row.key_spec == "none":
        wrong.append(f"{row.routing} without a key")
    if row.arity == 0:
        wrong.append("arity 0")
    key_spec(row)
    if wrong:
        raise InternalError(f"command table, row {row.name}: {', '.join(wrong)}", "correct proto/command_rows.py")


def _build() -> tuple[Command, ...]:
    rows = (*_served(), *_refused())
    names = {row.name for row in rows}
    for row in rows:
        _check(row)
        if row.container is not None and row.container not in names:
            raise InternalError(f"command table, row {row.name}: no row {row.container}")
    if len(names) != len(rows) or len(rows) > MOST_COMMANDS:
        raise InternalError(f"command table: {len(rows)} rows, {len(names)} names, at most {MOST_COMMANDS}")
    return rows


COMMANDS: tuple[Command, ...] = _build()
"""Every command; row i has id i + 1."""

COMMAND_BY_NAME: Mapping[str, Command] = MappingProxyType({row.name: row for row in COMMANDS})
COMMAND_IDS: Mapping[str, int] = MappingProxyType({row.name: place + 1 for place, row in enumerate(COMMANDS)})
CONTAINERS: frozenset[str] = frozenset(row.container for row in COMMANDS if row.container is not None)
