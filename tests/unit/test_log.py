"""Log lines: their shape, where they go, and that a slow reader never stops the writer."""

import fcntl
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynomite_mp import log

LOG = logging.getLogger("dynomite_mp.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Gives standard error and the root logger back."""
    root = logging.getLogger()
    level, stderr = root.level, os.dup(log.STDERR)
    yield
    os.dup2(stderr, log.STDERR)
    os.close(stderr)
    root.removeHandler(log._handler)
    root.setLevel(level)
    log._handler = log.StderrHandler()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.log"


def test_text_is_key_value_with_process_and_node(path):
    log.setup("io[0]", path=path, node="dc1/rack1")
    LOG.info("client %s closed", "c1", extra=log.fields(client="127.0.0.1:5", bytes=3, why="idle too long"))
    (line,) = path.read_text().splitlines()
    when, rest = line.split(" ", 1)
    assert when.startswith("time=20")
    assert when.endswith("Z")
    assert rest == (
        'level=info process=io[0] node=dc1/rack1 msg="client c1 closed" client=127.0.0.1:5 bytes=3 why="idle too long"'
    )


def test_json_is_one_object_a_line(path):
    log.setup("gossip", as_json=True, path=path, node="d/r")
    LOG.warning('say "hi"\n', extra=log.fields(n=1, where=path))
    (line,) = path.read_text().splitlines()
    event = json.loads(line)
    assert (event["level"], event["process"], event["node"]) == ("warning", "gossip", "d/r")
    assert (event["msg"], event["n"], event["where"]) == ('say "hi"\n', 1, str(path))


def test_no_value_can_forge_a_line(path):
    log.setup("x", path=path)
    LOG.info("a\nlevel=error", extra=log.fields(key='x" level=error\r\n\x1b[0m', back="\\"))
    (line,) = path.read_text().splitlines()
    assert line.endswith(r'msg="a\nlevel=error" key="x\" level=error\r\n\x1b[0m" back="\\"')


def test_undecodable_text_is_written_escaped(path):
    log.setup("x", path=path)
    LOG.info("bytes", extra=log.fields(key=b"\xff".decode(errors="surrogateescape")))
    assert "\\udcff" in path.read_text()


def test_tracebacks_follow_indented(path):
    log.setup("x", path=path)
    try:
        raise ValueError("bad\nthing")
    except ValueError:
        LOG.exception("failed")
    first, *others = path.read_text().splitlines()
    assert first.endswith("level=error process=x msg=failed")
    assert len(others) >= 3
    assert all(line.startswith("    ") for line in others)
    assert "ValueError: bad" in "".join(others)


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [(0, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6), (11, 7), (99, 7), (-1, 0)],
)
def test_verbosity_of_c(path, verbosity, shown):
    log.setup("x", verbosity, path=path)
    for level in (logging.CRITICAL, logging.ERROR, logging.WARNING, log.NOTICE, logging.INFO, logging.DEBUG, 2):
        LOG.log(level, "x")
    assert len(path.read_text().splitlines()) == shown
    assert log.level() == max(0, min(verbosity, 11))


def test_level_names_are_those_of_c(path):
    log.setup("x", 11, path=path)
    for level in (logging.CRITICAL, log.NOTICE, 8):
        LOG.log(level, "x")
    assert [line.split()[1] for line in path.read_text().splitlines()] == [
        "level=critical", "level=notice", "level=verbose",
    ]  # fmt: skip


def test_reopen_releases_a_rotated_file(path):
    log.setup("x", path=path)
    LOG.info("one")
    rotated = path.with_suffix(".1")
    path.rename(rotated)
    LOG.info("two")
    log.reopen()
    LOG.info("three")
    os.write(log.STDERR, b"a stack dump msg=four\n")
    assert [line.split("msg=")[1] for line in rotated.read_text().splitlines()] == ["one", "two"]
    assert [line.split("msg=")[1] for line in path.read_text().splitlines()] == ["three", "four"]
    assert log.output_path() == path


def test_reopen_keeps_the_old_file_when_the_new_one_cannot_be_opened(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    log.setup("x", path=folder / "node.log")
    moved = tmp_path / "moved"
    folder.rename(moved)
    with pytest.raises(FileNotFoundError):
        log.reopen()
    LOG.info("still here")
    assert "still here" in (moved / "node.log").read_text()


def test_a_child_gets_a_name_of_its_own(path):
    log.setup("supervisor", path=path, node="d/r")
    log.rename("io[1]")
    LOG.info("x")
    assert "process=io[1] node=d/r" in path.read_text()


def test_other_libraries_are_named(path):
    log.setup("x", path=path)
    logging.getLogger("aiohttp.access").info("x")
    assert path.read_text().rstrip().endswith("msg=x logger=aiohttp.access")


def test_setup_twice_writes_once(path):
    log.setup("x", path=path)
    log.setup("x", path=path)
    LOG.info("x")
    assert len(path.read_text().splitlines()) == 1


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        log.setup("x", path=tmp_path / "no" / "node.log")


def test_a_reader_that_does_not_read_loses_lines_and_is_told_how_many():
    """A full pipe: a blocking write would hang this test until its time limit."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 16384)
    os.dup2(writer, log.STDERR)
    os.close(writer)
    log.setup("x")
    for i in range(1000):
        LOG.info("line %d %s", i, "x" * 100)
    lost = log.dropped_lines()
    assert lost > 0
    assert os.read(reader, 65536).count(b"\n") == 1000 - lost
    LOG.info("after")
    then = os.read(reader, 65536).decode()
    assert f"lines={lost}" in then
    assert "msg=after" in then
    assert log.dropped_lines() == lost
    LOG.info("and more")
    assert b"lines=" not in os.read(reader, 65536)
    os.close(reader)


def test_a_reader_that_is_gone_is_survived():
    reader, writer = os.pipe()
    os.dup2(writer, log.STDERR)
    os.close(writer)
    os.close(reader)
    log.setup("x")
    LOG.info("nobody reads")
    assert log.dropped_lines() == 1


def test_long_lines_are_whole(path):
    log.setup("x", path=path)
    LOG.info("y" * 100_000)
    assert "y" * 100_000 in path.read_text()


def test_an_event_that_cannot_be_formatted_does_not_raise(path, monkeypatch):
    log.setup("x", path=path)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    log._handler.emit(logging.makeLogRecord({"name": "x", "msg": "%d", "args": ("not a number",)}))
    log._handler.emit(logging.makeLogRecord({"name": "x", "msg": "next"}))
    assert "msg=next" in path.read_text()
