"""Logging: one line per event to standard error or a file, as key=value text or JSON, naming process and node.

What it is: a formatter, a handler and setup() over the standard logging module. A forked child inherits the set-up
and calls rename(); SIGHUP leads to reopen(), after which a rotated file is released. An output file *becomes* standard
error, so that a stack dump of the interpreter goes where the log goes.
What it is not: a place for events per request; those are counters.

Invariants: a line is one write(2) to a file opened for appending, so lines of several processes never mix. A
reader that does not read (a pipe or terminal that is full) loses lines, counted and said later; it never stops a loop.
Nothing that came from a client can start a new line: unprintable characters are escaped.

    time=2026-11-22T09:22:01.123Z level=info process=io[0] node=dc1/rack1 msg="client closed" client=127.0.0.1:5
"""

import logging
import os
import select
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

NOTICE: Final = 25
LEVEL_MIN: Final = 0
LEVEL_MAX: Final = 11
# C Dynomite's 0..11 (EMERG ALERT CRIT ERR WARN NOTICE INFO DEBUG VERB VVERB VVVERB PVERB) as levels of logging.
C_LEVELS = (60, 55, logging.CRITICAL, logging.ERROR, logging.WARNING, NOTICE, logging.INFO, logging.DEBUG, 8, 6, 4, 2)
LEVEL_NAMES = {60: "emergency", 55: "alert", 50: "critical", 40: "error", 30: "warning", NOTICE: "notice", 20: "info",
               10: "debug", 8: "verbose", 6: "verbose", 4: "verbose", 2: "verbose"}  # fmt: skip
PIPE_BUF = select.PIPE_BUF
FILE_MODE = 0o640
STDERR = 2


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Key=value pairs of one event: LOG.info("ring full", extra=fields(ring=name, lost=3))."""
    return {"fields": values}


def setup(
    process: str,
    level: int = 6,
    *,
    as_json: bool = False,
    node: str = "",
    path: str | os.PathLike[str] | None = None,
) -> None:
    """Once, before anything is logged. With a path, standard error goes there; OSError when it cannot be opened."""
    _handler.path = Path(path).absolute() if path is not None else None
    _handler.setFormatter(JsonFormatter(process, node) if as_json else TextFormatter(process, node))
    reopen()
    for number, name in LEVEL_NAMES.items():
        logging.addLevelName(number, name)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.removeHandler(_handler)
    root.addHandler(_handler)
    set_level(level)


def rename(process: str) -> None:
    """Gives the lines of this process another name; for a child after its fork."""
    if isinstance(_handler.formatter, EventFormatter):
        _handler.formatter.process = process


def set_level(level: int) -> None:
    """Shows events up to C Dynomite's verbosity 0..11; others are clamped."""
    global _level
    _level = max(LEVEL_MIN, min(level, LEVEL_MAX))
    logging.getLogger().setLevel(C_LEVELS[_level])


def level() -> int:
    """The verbosity of now."""
    return _level


def reopen() -> None:
    """Opens the file anew, so that a rotated one is released. OSError when it cannot be: the old one stays."""
    _handler.reopen()


def output_path() -> Path | None:
    return _handler.path


def dropped_lines() -> int:
    """Lines lost since the start of the process, because nobody read them or the disk was full."""
    return _handler.dropped


class StderrHandler(logging.Handler):
    """Writes lines to standard error without ever waiting for its reader."""

    def __init__(self) -> None:
        super().__init__()
        self.path: Path | None = None
        self.dropped = 0
        self.dropped_unsaid = 0
        self.waits = True
        self.poll = select.poll()
        self.poll.register(STDERR, select.POLLOUT)

    def reopen(self) -> None:
        if self.path is not None:
            fresh = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(fresh, STDERR)
            os.close(fresh)
        try:  # a plain file never makes a writer wait for a reader; pipes, sockets and terminals do
            self.waits = not stat.S_ISREG(os.fstat(STDERR).st_mode)
        except OSError:
            self.waits = True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:
            self.handleError(record)
            return
        if self.dropped_unsaid:
            said = b'level=warning msg="log lines lost, the reader is slow" lines=%d\n' % self.dropped_unsaid
            if self.write(said):
                self.dropped_unsaid = 0
        if not self.write(line):
            self.dropped += 1
            self.dropped_unsaid += 1

    def write(self, line: bytes) -> bool:
        """Whether the whole line was taken. A pipe that polls as writable takes PIPE_BUF bytes without waiting."""
        step = PIPE_BUF if self.waits else len(line)
        try:
            for start in range(0, len(line), step):
                if self.waits and not any(event & select.POLLOUT for _, event in self.poll.poll(0)):
                    return False
                os.write(STDERR, line[start : start + step])
        except OSError:  # no disk left, or nobody reads: there is nobody to tell
            return False
        return True


class EventFormatter(logging.Formatter):
    """What both shapes have in common: the event as ordered keys and values."""

    def __init__(self, process: str, node: str) -> None:
        super().__init__()
        self.process = process
        self.node = node

    def event(self, record: logging.LogRecord) -> dict[str, Any]:
        moment = time.gmtime(record.created)
        event: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{int(record.created * 1000) % 1000:03d}Z",
            "level": LEVEL_NAMES.get(record.levelno, record.levelname),
        }
        if self.process:
            event["process"] = self.process
        if self.node:
            event["node"] = self.node
        event["msg"] = record.getMessage()
        extra = getattr(record, "fields", None)
        if isinstance(extra, Mapping):
            event.update(extra)
        if not record.name.startswith("dynomite_mp"):
            event["logger"] = record.name
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            event["stack"] = self.formatStack(record.stack_info)
        return event


class TextFormatter(EventFormatter):
    """key=value, quoted where needed; a traceback follows on lines of its own, indented."""

    def format(self, record: logging.LogRecord) -> str:
        event = self.event(record)
        tracebacks = [event.pop(key) for key in ("exception", "stack") if key in event]
        line = " ".join(f"{key}={quote(value)}" for key, value in event.items())
        indented = [f"\n    {escape(part)}" for trace in tracebacks for part in trace.splitlines()]
        return line + "".join(indented)


class JsonFormatter(EventFormatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        import json  # only processes that log JSON pay for it

        return json.dumps(self.event(record), default=str, ensure_ascii=False)


def escape(text: str) -> str:
    """Unprintable characters as escapes, so that no value can forge a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote(value: object) -> str:
    """The text of a value, in quotes unless it is one plain word."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if text and text.isprintable() and not any(c in ' "=\\' for c in text):
        return text
    return '"' + escape(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


_handler = StderrHandler()
_level = 6
