"""Logging of every process of a node: the standard library's, one line a record, to standard error.

With an output file, the file *becomes* standard error (dup2), so that a stack dump or a traceback of the interpreter
goes where the log goes. Levels count as in C Dynomite, 0 (emergency) to 11.

    2026-11-22T09:31:02.123Z info io[0] connected to the datastore                                        text
    {"time": "...", "level": "info", "process": "io[0]", "pid": 123, "text": "connected to the datastore"}  json

Invariants:
- Logging never blocks the process: when the reader of a pipe does not keep up, lines are dropped and counted.
- A line is one write of at most PIPE_BUF bytes to a file opened for appending, so lines of several processes that
  share the file do not mix.
"""

import json
import logging
import os
import select
import sys
import time
from typing import Final

NOTICE: Final = 25
LEVEL_MIN, LEVEL_MAX = 0, 11
LINE_BYTES_MAX = select.PIPE_BUF

# Index: the level of C; a record is shown when its own level is at least this.
_PYTHON_LEVELS: Final = (50, 50, 50, 40, 30, NOTICE, 20, 10, 8, 6, 4, 2)
_NAMES: Final = {50: "critical", 40: "error", 30: "warning", NOTICE: "notice", 20: "info", 10: "debug"}


class StderrHandler(logging.Handler):
    """Writes records to file descriptor 2."""

    def __init__(self) -> None:
        super().__init__()
        self.process_name = "dynomite-mp"
        self.as_json = False
        self.path: str | None = None
        self.dropped_lines = 0
        self._poll = select.poll()
        self._poll.register(2, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data = self._line(record).encode("utf-8", "backslashreplace")
            if len(data) >= LINE_BYTES_MAX:
                data = data[: LINE_BYTES_MAX - 4] + b"..."
            # A pipe that polls as writable takes PIPE_BUF bytes without blocking; a file always does.
            if not self._poll.poll(0) or os.write(2, data + b"\n") == 0:
                self.dropped_lines += 1
        except OSError:  # the reader is gone or the disk is full; there is nobody left to tell
            self.dropped_lines += 1

    def _line(self, record: logging.LogRecord) -> str:
        level = _NAMES.get(record.levelno, "verbose" if record.levelno < 10 else "info")
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
        seconds, millis = divmod(int(record.created * 1000), 1000)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03d}Z"
        if self.as_json:
            fields = {"time": moment, "level": level, "process": self.process_name, "pid": os.getpid(), "text": text}
            return json.dumps(fields, ensure_ascii=False)
        return f"{moment} {level} {self.process_name} {text}"


_handler = StderrHandler()


def setup(process_name: str, level: int, *, as_json: bool = False, path: str | None = None) -> None:
    """Once, in the supervisor, before anything is logged. Raises OSError when the file cannot be opened."""
    _handler.process_name = process_name
    _handler.as_json = as_json
    _handler.path = os.path.abspath(path) if path else None
    reopen()
    root = logging.getLogger()
    root.handlers = [_handler]
    set_level(level)


def rename(process_name: str) -> None:
    """A forked process takes its own name."""
    _handler.process_name = process_name


def reopen() -> None:
    """Begin a new file after the old one was renamed; does nothing without an output file."""
    if _handler.path is None:
        return
    fd = os.open(_handler.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    if sys.stdout is not None:
        sys.stdout.flush()
    os.dup2(fd, 2)
    os.close(fd)


def output_path() -> str | None:
    return _handler.path


def dropped_lines() -> int:
    return _handler.dropped_lines


def set_level(level: int) -> None:
    """A level of C, clamped to 0..11."""
    global _level
    _level = min(max(level, LEVEL_MIN), LEVEL_MAX)
    logging.getLogger().setLevel(_PYTHON_LEVELS[_level])


def level() -> int:
    return _level


_level = 6
