"""From nothing: `make run` in an empty place with a fresh HOME, `make test` in a second clone, `make run` once more.

The machine should have neither redis-server nor valkey-server; where it has one and we are root, the first part runs in
a mount namespace that hides it. The second part is `make test` from a clean clone and takes as long as that takes.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.accept.one_node import SKIPPED, Findings, options
from tests.e2e.harness import REPO, Resp, port_is_free, wait_for
from tests.load.bare_store import answers_ping

TOPIC = "node"
TITLE = "1: make run and make test from nothing, without a datastore on the machine"
HOST, PORT = "127.0.0.1", 8102
BUILD_LIMIT_S = 900.0
ROLES = ("supervisor", "gossip", "replication", "admin", "io", "datastore")
STORES = ("redis-server", "valkey-server")
KEPT_VARIABLES = ("PATH", "LANG", "TERM", "PYENV_ROOT")
KEPT_PREFIXES = ("PIP_", "SSL_", "http", "HTTP", "no_proxy", "NO_PROXY")


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    findings = Findings()
    if not (REPO / ".git").exists():
        print("this tree is no git checkout, so it cannot be cloned")
        return SKIPPED
    if not port_is_free(HOST, PORT):
        print(f"something listens on {HOST}:{PORT} already")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="dmp-fresh-") as name:
        place = Path(name)
        (place / "home").mkdir()
        first = clone(place / "first")
        with running(first, place / "home", hide_stores=True) as seconds:
            findings.check(True, f"make run from nothing: a node answers after {seconds:.0f} s")
            findings.check(
                call("SET", "fresh", "kept") == b"OK" and call("GET", "fresh") == b"kept", "SET and GET on 8102"
            )
            show_status(first, place / "home", findings)
        if not short:
            make_test(clone(place / "second"), place / "home", findings)
        with running(first, place / "home", hide_stores=False) as seconds:
            value = call("GET", "fresh")
            findings.check(
                value == b"kept", f"make run again after {seconds:.1f} s, on the data of the first: {value!r}"
            )
    return findings.code


def clone(directory: Path) -> Path:
    """A clone of what is committed here."""
    subprocess.run(["git", "clone", "--quiet", str(REPO), str(directory)], check=True)
    return directory


def fresh_environ(home: Path) -> dict[str, str]:
    """What a new user has: no settings of ours, an empty HOME; what pip needs on this machine stays."""
    kept = {k: v for k, v in os.environ.items() if k in KEPT_VARIABLES or k.startswith(KEPT_PREFIXES)}
    own_bin = str(Path(sys.executable).parent)
    kept["PATH"] = ":".join(part for part in kept["PATH"].split(":") if part != own_bin)
    return {**kept, "HOME": str(home)}


def hiding(command: Sequence[str]) -> list[str]:
    """`command`, such that it finds no datastore on this machine."""
    found = [path for path in map(shutil.which, STORES) if path]
    if not found:
        return list(command)
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        raise RuntimeError(f"{', '.join(found)} would have to be hidden, which needs root and unshare")
    print(f"     hidden: {', '.join(found)}")
    hide = "; ".join(f"mount --bind /dev/null {shlex.quote(str(Path(path).resolve()))}" for path in found)
    return ["unshare", "--mount", "sh", "-c", f"set -e; {hide}; exec {shlex.join(command)}"]


@contextlib.contextmanager
def running(tree: Path, home: Path, *, hide_stores: bool) -> Iterator[float]:
    """`make run` in `tree` until it answers PING; then whatever the block does; then SIGTERM to all of it."""
    command = hiding(["make", "run"]) if hide_stores else ["make", "run"]
    log_path = tree.parent / f"{tree.name}.log"
    started = time.monotonic()
    with open(log_path, "ab") as log:
        process = subprocess.Popen(
            command, cwd=tree, env=fresh_environ(home), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: answers_ping(HOST, PORT) or process.poll() is not None, BUILD_LIMIT_S, "make run to serve")
        if process.poll() is not None:
            raise RuntimeError(f"make run ended with {process.returncode}:\n{log_path.read_text()[-3000:]}")
        yield time.monotonic() - started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        wait_for(lambda: port_is_free(HOST, PORT), 30, "the port to be free again")


def call(*words: str) -> object:
    with Resp(HOST, PORT) as client:
        return client.call(*words)


def show_status(tree: Path, home: Path, findings: Findings) -> None:
    """`dynomite-mp status` as its user would call it."""
    command = [str(tree / ".venv/bin/dynomite-mp"), "status"]
    done = subprocess.run(command, env=fresh_environ(home), capture_output=True, text=True, timeout=30, check=False)
    print(done.stdout.rstrip() or done.stderr.rstrip())
    missing = [role for role in ROLES if role not in done.stdout]
    findings.check(not done.returncode and not missing, f"status shows all processes; missing: {missing or 'none'}")


def make_test(tree: Path, home: Path, findings: Findings) -> None:
    started = time.monotonic()
    done = subprocess.run(
        ["make", "test"], cwd=tree, env=fresh_environ(home), capture_output=True, text=True, check=False
    )  # fmt: skip
    last = [line for line in done.stdout.splitlines() if " passed" in line or " failed" in line]
    findings.check(
        not done.returncode, f"make test from nothing: {time.monotonic() - started:.0f} s; {'; '.join(last)}"
    )
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-1000:])
