"""Starts several nodes from one set of imports: `python -c "...launcher.main()"` of local_cluster, never by hand.

Most of what the start of a node costs is importing. Here it is done once, and every supervisor is a fork that begins
where `dynomite-mp start` does after its imports: it reads its configuration, binds, forks its workers.

    standard input    one JSON object a node: {"name", "conf", "log"}       end of input: this process ends
    argv[1]           a pipe for what became of them: {"name", "event": "serving" | "ended", "detail"}
    argv[2]           the lock of the address block: every supervisor keeps it open, and nobody else

It is a process of its own because only a process without threads and without an event loop may fork like this.

Invariants: a supervisor is in a session of its own and has none of our files but the lock. What it executes inherits
nothing: both descriptors are closed on exec.
"""

import gc
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from dynomite_mp import spawner, supervisor
from dynomite_mp.boot import BootError, StartOptions
from dynomite_mp.enums import ExitCode

# Imported by every node at its start, though not at the top of a module.
LAZY_IMPORTS = (
    "ctypes",
    "encodings.idna",
    "setproctitle",
    "yaml",
)


@dataclass(frozen=True, slots=True)
class Reports:
    """The pipe on which a supervisor says, once, what became of its start."""

    fd: int
    name: str

    def say(self, event: str, detail: str = "") -> None:
        line = json.dumps({"name": self.name, "event": event, "detail": detail[:2000]}) + "\n"
        try:
            os.write(self.fd, line.encode())
        except OSError:  # nobody waits for it any more
            return


def main() -> NoReturn:
    """Until the end of standard input."""
    gc.disable()
    report_fd, lock_fd = int(sys.argv[1]), int(sys.argv[2])
    for fd in (report_fd, lock_fd):
        os.set_inheritable(fd, False)
    preload()
    for line in sys.stdin:
        start(json.loads(line), report_fd)
    os._exit(ExitCode.OK)


def preload() -> None:
    """What the nodes share from now on, with the collector's bookkeeping off those pages."""
    for module in LAZY_IMPORTS:
        __import__(module)
    for role in spawner.ROLES:
        spawner.load(role)
    gc.collect()
    gc.freeze()


def start(order: Mapping[str, str], report_fd: int) -> None:
    """Fork one supervisor."""
    if os.fork() == 0:
        code = int(ExitCode.FAILURE)
        try:
            code = run(order, Reports(report_fd, order["name"]))
        finally:
            os._exit(code)


def run(order: Mapping[str, str], reports: Reports) -> int:
    """The life of one supervisor; its exit code."""
    os.setsid()
    redirect(Path(order["log"]))
    has_served = False

    def on_serving() -> None:
        nonlocal has_served
        has_served = True
        reports.say("serving")
        os.close(reports.fd)

    detail = ""
    try:
        return supervisor.run_node(StartOptions(order["conf"], output=order["log"]), on_serving=on_serving)
    except BootError as error:
        detail = str(error)
        os.write(2, f"dynomite-mp: {detail}\n".encode())
        return error.code
    finally:
        if not has_served:
            reports.say("ended", detail)


def redirect(log: Path) -> None:
    """What is printed before there is a log goes where the log will be."""
    null = os.open(os.devnull, os.O_RDWR)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    os.close(output)
