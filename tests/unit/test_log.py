"""The log: C's levels, one line a record, a file that can be rotated, and a reader that does not keep up."""

import json
import logging
import os
import subprocess
import sys

import pytest

from dynomite_mp import log


@pytest.fixture
def logged(tmp_path):
    """Runs a few lines of Python in a process of its own and returns what it wrote to standard error."""

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", f"import logging, os\nfrom dynomite_mp import log\n{code}"],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        return done.stderr

    return run


def test_a_record_is_one_line_with_time_level_process_and_text(logged):
    (line,) = logged("log.setup('io[0]', 6); logging.getLogger('x').warning('lost %d', 3)").splitlines()
    moment, level, process, text = line.split(" ", 3)
    assert (level, process, text) == ("warning", "io[0]", "lost 3")
    assert moment.endswith("Z") and "T" in moment


def test_json_lines_are_json_and_keep_a_traceback_on_one_line(logged):
    out = logged(
        "log.setup('gossip', 6, as_json=True)\n"
        "try: 1/0\n"
        "except ZeroDivisionError: logging.getLogger().exception('oh')"
    )
    (line,) = out.splitlines()
    fields = json.loads(line)
    assert fields["process"] == "gossip" and fields["level"] == "error"
    assert "ZeroDivisionError" in fields["text"]


@pytest.mark.parametrize(
    ("level", "shown"),
    [(0, "critical"), (3, "critical error"), (4, "critical error warning"), (6, "critical error warning notice info"),
     (7, "critical error warning notice info debug"), (99, "critical error warning notice info debug"), (-1, "critical")],
)  # fmt: skip
def test_levels_count_as_in_c(logged, level, shown):
    out = logged(f"log.setup('x', {level})\nfor n in (50, 40, 30, log.NOTICE, 20, 10): logging.log(n, 'm')")
    assert [line.split()[1] for line in out.splitlines()] == shown.split()


def test_an_output_file_takes_the_place_of_standard_error_and_can_be_rotated(logged, tmp_path):
    out = logged(
        "log.setup('x', 6, path='log.txt'); logging.warning('one')\n"
        "os.rename('log.txt', 'log.1'); log.reopen(); logging.warning('two'); os.write(2, b'raw')"
    )
    assert out == ""
    assert (tmp_path / "log.1").read_text().endswith("x one\n")
    assert (tmp_path / "log.txt").read_text().endswith("x two\nraw")


def test_a_full_pipe_drops_lines_instead_of_blocking(logged):
    out = logged(
        "reading, writing = os.pipe(); kept = os.dup(2); os.dup2(writing, 2); log.setup('x', 6)\n"
        "for _ in range(2000): logging.warning('y' * 100)\n"
        "os.write(kept, str(log.dropped_lines()).encode())"
    )
    assert int(out) > 0


def test_a_line_is_never_longer_than_one_atomic_write(logged):
    out = logged("log.setup('x', 6); logging.warning('y' * 100_000)")
    assert len(out) <= log.LINE_BYTES_MAX and out.endswith("...\n")


def test_setting_the_level_is_remembered():
    before = log.level(), logging.getLogger().level
    try:
        log.set_level(8)
        assert log.level() == 8
    finally:
        log.set_level(before[0])
        logging.getLogger().setLevel(before[1])
