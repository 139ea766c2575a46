"""Log lines: their shape, where they go, and that a slow reader never stops the writer."""

import fcntl
import io
import json
import logging
import os
from collections.abc import Iterator

import pytest

from dynomite_mp import log

LOG = logging.getLogger("dynomite_mp.test")


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Leaves no handler of ours behind."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [h for h in root.handlers if isinstance(h, log.DescriptorHandler)]:
        root.removeHandler(handler)
        handler.close()
    log._handler = None
    root.setLevel(level)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "node.log"


def test_text_is_key_value_with_process_and_node(path):
    log.setup(path=path, process="io[0]", node="dc1/rack1")
    LOG.info("client %s closed", "c1", extra=log.fields(client="127.0.0.1:5", bytes=3, why="idle too long"))
    (line,) = path.read_text().splitlines()
    when, rest = line.split(" ", 1)
    assert when.startswith("time=20")
    assert when.endswith("Z")
    assert rest == (
        'level=info process=io[0] node=dc1/rack1 msg="client c1 closed" client=127.0.0.1:5 bytes=3 why="idle too long"'
    )


def test_json_is_one_object_a_line(path):
    log.setup(path=path, process="gossip", node="d/r", shape=log.LogFormat.JSON)
    LOG.warning('say "hi"\n', extra=log.fields(n=1, where=path))
    (line,) = path.read_text().splitlines()
    event = json.loads(line)
    assert (event["level"], event["process"], event["node"]) == ("warning", "gossip", "d/r")
    assert (event["msg"], event["n"], event["where"]) == ('say "hi"\n', 1, str(path))


def test_no_value_can_forge_a_line(path):
    log.setup(path=path)
    LOG.info("a\nlevel=error", extra=log.fields(key='x" level=error\r\n\x1b[0m', back="\\"))
    (line,) = path.read_text().splitlines()
    assert line.endswith(r'msg="a\nlevel=error" key="x\" level=error\r\n\x1b[0m" back="\\"')


def test_undecodable_text_is_written_escaped(path):
    log.setup(path=path)
    LOG.info("bytes", extra=log.fields(key=b"\xff".decode(errors="surrogateescape")))
    assert "\\udcff" in path.read_text()


def test_tracebacks_follow_indented(path):
    log.setup(path=path)
    try:
        raise ValueError("bad\nthing")
    except ValueError:
        LOG.exception("failed")
    first, *others = path.read_text().splitlines()
    assert first.endswith("level=error msg=failed")
    assert len(others) >= 3
    assert all(line.startswith("    ") for line in others)
    assert "ValueError: bad" in "".join(others)


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [(0, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6), (11, 7), (99, 7), (-1, 0)],
)
def test_verbosity_of_c(path, verbosity, shown):
    log.setup(path=path, level=verbosity)
    for level in (logging.CRITICAL, logging.ERROR, logging.WARNING, log.NOTICE, logging.INFO, logging.DEBUG, 2):
        LOG.log(level, "x")
    assert len(path.read_text().splitlines()) == shown
    assert log.get_level() == max(0, min(verbosity, 11))


def test_level_names_are_those_of_c(path):
    log.setup(path=path, level=11)
    for level in (logging.CRITICAL, log.NOTICE, 8):
        LOG.log(level, "x")
    assert [line.split()[1] for line in path.read_text().splitlines()] == [
        "level=critical", "level=notice", "level=verbose",
    ]  # fmt: skip


def test_reopen_releases_a_rotated_file(path):
    log.setup(path=path)
    number = log.descriptor()
    LOG.info("one")
    rotated = path.with_suffix(".1")
    path.rename(rotated)
    LOG.info("two")
    log.reopen()
    LOG.info("three")
    assert [line.split("msg=")[1] for line in rotated.read_text().splitlines()] == ["one", "two"]
    assert [line.split("msg=")[1] for line in path.read_text().splitlines()] == ["three"]
    assert log.descriptor() == number


def test_reopen_keeps_the_old_file_when_the_new_one_cannot_be_opened(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    log.setup(path=folder / "node.log")
    moved = tmp_path / "moved"
    folder.rename(moved)
    log.reopen()
    LOG.info("still here")
    assert "cannot reopen" in (moved / "node.log").read_text()
    assert "still here" in (moved / "node.log").read_text()


def test_a_child_gets_a_name_of_its_own(path):
    log.setup(path=path, process="supervisor", node="d/r")
    log.rename("io[1]")
    LOG.info("x")
    assert "process=io[1] node=d/r" in path.read_text()


def test_other_libraries_are_named(path):
    log.setup(path=path)
    logging.getLogger("aiohttp.access").info("x")
    assert path.read_text().rstrip().endswith("msg=x logger=aiohttp.access")


def test_setup_twice_writes_once(path):
    log.setup(path=path)
    log.setup(path=path)
    LOG.info("x")
    assert len(path.read_text().splitlines()) == 1


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        log.setup(path=tmp_path / "no" / "node.log")


def test_a_reader_that_does_not_read_loses_lines_and_is_told_how_many():
    """A full pipe: a blocking write would hang this test until its time limit."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 16384)
    log.setup()
    handler = log._handler
    assert handler is not None
    handler.fd, handler.wait_free = writer, False
    try:
        for i in range(1000):
            LOG.info("line %d %s", i, "x" * 100)
        assert handler.lost > 0
        lost = handler.lost
        first = os.read(reader, 65536)
        assert first.count(b"\n") == 1000 - lost
        LOG.info("after")
        second = os.read(reader, 65536).decode()
        assert f"lines={lost}" in second
        assert "msg=after" in second
        assert handler.lost == 0
    finally:
        handler.fd = 2
        os.close(reader)
        os.close(writer)


def test_a_closed_descriptor_is_survived():
    log.setup()
    handler = log._handler
    assert handler is not None
    reader, writer = os.pipe()
    os.close(reader)
    handler.fd, handler.wait_free = writer, False
    LOG.info("nobody reads")
    handler.fd = 2
    os.close(writer)


def test_an_event_that_cannot_be_formatted_does_not_raise(path, monkeypatch):
    log.setup(path=path)
    handler = log._handler
    assert handler is not None
    monkeypatch.setattr("sys.stderr", io.StringIO())
    handler.emit(logging.makeLogRecord({"name": "x", "msg": "%d", "args": ("not a number",)}))
    handler.emit(logging.makeLogRecord({"name": "x", "msg": "next"}))
    assert "msg=next" in path.read_text()
