"""Options of C Dynomite become those of a start."""

import pytest

from dynomite_mp import c_command_line
from dynomite_mp.boot import StartOptions
from dynomite_mp.c_command_line import Refused, parse, run


def started(*arguments: str, code: int = 0) -> tuple[int, StartOptions, bool]:
    seen = []

    def start(options: StartOptions, *, daemonize: bool) -> int:
        seen.append((options, daemonize))
        return code

    result = run(arguments, start)
    ((options, daemonize),) = seen
    return result, options, daemonize


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "f.yml", "-o", "log", "-p", "pid", "-d", "-v", "7"),
        ("-dcf.yml", "-olog", "-ppid", "-v7"),
        ("--conf-file=f.yml", "--output", "log", "--pid-file=pid", "--daemonize", "--verbosity=7"),
        ("--conf=f.yml", "--out=log", "--pid=pid", "--daem", "--verb=7"),  # getopt_long takes a unique beginning
    ],
)
def test_all_spellings(arguments):
    code, options, daemonize = started(*arguments)
    assert code == 0 and daemonize
    assert (options.conf, options.output, options.pid_file, options.verbosity) == ("f.yml", "log", "pid", 7)
    assert options.interrupt_fails


def test_the_default_level_is_that_of_c_and_levels_are_clamped():
    assert started("-c", "f")[1].verbosity == 5
    assert started("-c", "f", "-v", "99")[1].verbosity == 11


@pytest.mark.parametrize("code", [1, 3, 4, 6])
def test_every_failure_is_1(code):
    assert started("-c", "f", code=code)[0] == 1


@pytest.mark.parametrize(
    "arguments", [("-s", "1"), ("-i", "1"), ("-a", "x"), ("-g",), ("-v",), ("-v", "-1"), ("-M", "x"), ("stray",)]
)
def test_refused_as_in_c(arguments):
    with pytest.raises(Refused):
        parse(arguments)


def test_deprecated_options_are_named_and_ignored(capsys):
    assert started("-c", "f", "-m", "16384", "-M", "200000")[0] == 0
    assert capsys.readouterr().err.count("deprecated") == 2


def test_help_and_version_win_over_everything(capsys):
    assert run(["-h", "-c", "nowhere"], lambda: 9) == 0
    assert c_command_line.USAGE.splitlines()[0] in capsys.readouterr().err
    assert run(["-V", "-t"], lambda: 9) == 0
