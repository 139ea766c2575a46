"""Logging: one line per event to stderr or a file, as key=value text or JSON, naming process and node.

What it is: a formatter, a handler and setup() over the standard logging module. A forked child inherits the set-up
and calls rename(); SIGHUP leads to reopen(), after which a rotated file is released.
What it is not: a place for events per request; those are counters.

Invariants: a line is one write(2) to a descriptor opened for appending, so lines of several processes never mix. A
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
from typing import Any

from dynomite_mp.config_values import LogFormat

__all__ = ["NOTICE", "LogFormat", "descriptor", "fields", "get_level", "rename", "reopen", "set_level", "setup"]

NOTICE = 25
# C Dynomite's 0..11 (EMERG ALERT CRIT ERR WARN NOTICE INFO DEBUG VERB VVERB VVVERB PVERB) as levels of logging.
C_LEVELS = (60, 55, logging.CRITICAL, logging.ERROR, logging.WARNING, NOTICE, logging.INFO, logging.DEBUG, 8, 6, 4, 2)
LEVEL_NAMES = {60: "emergency", 55: "alert", 50: "critical", 40: "error", 30: "warning", NOTICE: "notice", 20: "info",
               10: "debug", 8: "verbose", 6: "verbose", 4: "verbose", 2: "verbose"}  # fmt: skip
PIPE_BUF = select.PIPE_BUF
FILE_MODE = 0o640


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Key=value pairs of one event: LOG.info("ring full", extra=fields(ring=name, lost=3))."""
    return {"fields": values}


def setup(
    *,
    level: int = 6,
    shape: LogFormat = LogFormat.TEXT,
    process: str = "",
    node: str = "",
    path: str | os.PathLike[str] | None = None,
) -> None:
    """Sends all logging of this process to stderr, or appends it to a file; raises OSError if that cannot be opened."""
    global _handler
    handler = DescriptorHandler(path)
    handler.setFormatter(JsonFormatter(process, node) if shape is LogFormat.JSON else TextFormatter(process, node))
    for number, name in LEVEL_NAMES.items():
        logging.addLevelName(number, name)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, DescriptorHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    _handler = handler
    set_level(level)


def rename(process: str) -> None:
    """Gives the lines of this process another name; for a child after its fork."""
    formatter = _handler.formatter if _handler else None
    if isinstance(formatter, EventFormatter):
        formatter.process = process


def set_level(level: int) -> None:
    """Shows events up to C Dynomite's verbosity 0..11; others are clamped."""
    global _level
    _level = max(0, min(level, len(C_LEVELS) - 1))
    logging.getLogger().setLevel(C_LEVELS[_level])


def get_level() -> int:
    return _level


def reopen() -> None:
    """Opens the file anew, so that a rotated one is released; keeps the old one when that fails."""
    if _handler:
        _handler.reopen()


def descriptor() -> int:
    """The descriptor that lines are written to; a child that closes what it did not ask for must keep it."""
    return _handler.fd if _handler else sys.__stderr__.fileno() if sys.__stderr__ else 2


class DescriptorHandler(logging.Handler):
    """Writes lines to a descriptor without ever waiting for its reader."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        super().__init__()
        self.path = Path(path).absolute() if path is not None else None
        self.fd = self._open() if self.path else 2
        self.lost = 0
        self.wait_free = self._never_waits()

    def _open(self) -> int:
        assert self.path
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)

    def _never_waits(self) -> bool:
        """Plain files never make a writer wait for a reader; pipes, sockets and terminals do."""
        try:
            return stat.S_ISREG(os.fstat(self.fd).st_mode)
        except OSError:  # closed stderr
            return True

    def reopen(self) -> None:
        if not self.path:
            return
        try:
            fresh = self._open()
        except OSError as error:
            logging.getLogger(__name__).error("cannot reopen the log file", extra=fields(path=self.path, error=error))
            return
        os.dup2(fresh, self.fd, inheritable=False)  # the number stays, others may hold it
        os.close(fresh)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:
            self.handleError(record)
            return
        if self.lost and self._write(b'level=warning msg="log lines lost, the reader is slow" lines=%d\n' % self.lost):
            self.lost = 0
        if not self._write(line):
            self.lost += 1

    def _write(self, line: bytes) -> bool:
        """Whether the whole line was taken."""
        step = len(line) if self.wait_free else PIPE_BUF  # a pipe with POLLOUT takes PIPE_BUF at once
        for start in range(0, len(line), step):
            if not self.wait_free and not self._has_room():
                return False
            try:
                os.write(self.fd, line[start : start + step])
            except OSError:  # no disk left, or stderr is closed: there is nobody to tell
                return False
        return True

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return any(event & select.POLLOUT for _, event in poll.poll(0))

    def close(self) -> None:
        if self.path and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        super().close()


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


_handler: DescriptorHandler | None = None
_level = 6
