"""The command line of C Dynomite, for scripts and unit files that start `dynomite -c ... -d -p ...`.

Same options, messages and exit codes: 0 for -h, -V, -D and a valid -t, 1 for everything that goes wrong, and 1 after
SIGINT, as there. Two differences, both on purpose: SIGTERM drains and ends with 0 (C dies of the signal, which a
service manager takes for success too), and -d returns when the node serves instead of at once.
"""

import getopt
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from dynomite_mp import __version__
from dynomite_mp.boot import BootError, StartOptions, read_config

SHORT = "?hVdDtv:o:c:p:m:M:x:"
LONG = [
    "help", "version", "test-conf", "daemonize", "describe-stats", "verbosity=", "output=", "conf-file=", "pid-file=",
    "mbuf-size=", "max-msgs=", "admin-operation=",
]  # fmt: skip
DEFAULT_CONF_FILES = ("/etc/dynomite.yml", "/etc/dynomite/dynomite.yml", "/usr/local/etc/dynomite.yml")
DEFAULT_VERBOSITY = 5
USAGE = """\
Usage: dynomite [-?hVdDt] [-v verbosity level] [-o output file]
                [-c conf file] [-p pid file]

Options:
  -h, --help              : this help
  -V, --version           : show version and exit
  -t, --test-conf         : test configuration for syntax errors and exit
  -d, --daemonize         : run as a daemon
  -D, --describe-stats    : print stats description and exit
  -v, --verbosity=N       : set logging level (default: 5, min: 0, max: 11)
  -o, --output=S          : set logging file (default: stderr)
  -c, --conf-file=S       : set configuration file (default: /etc/dynomite.yml)
  -p, --pid-file=S        : set pid file (default: off)
  -x, --admin-operation=N : not offered by dynomite-mp
  -m, --mbuf-size=N       : deprecated, has no effect
  -M, --max-msgs=N        : deprecated, has no effect
"""

Start = Callable[..., int]


class Refused(Exception):
    """An option that C Dynomite refuses too."""


@dataclass(slots=True)
class Options:
    """What was asked for; the names are those of the long options."""

    help: bool = False
    version: bool = False
    test_conf: bool = False
    daemonize: bool = False
    describe_stats: bool = False
    verbosity: int = DEFAULT_VERBOSITY
    output: str | None = None
    conf_file: str | None = None
    pid_file: str | None = None


def run(arguments: Sequence[str], start: Start) -> int:
    """The exit code. `start` runs a node."""
    try:
        options = parse(arguments)
    except Refused as error:
        say(f"dynomite: {error}")
        return 1
    if options.version or options.help:
        say(f"This is dynomite-{__version__}")
        if options.help:
            say(USAGE)
        if options.describe_stats:
            describe_stats()
        return 0
    if options.describe_stats:
        describe_stats()
        return 0
    conf = options.conf_file or next(filter(os.path.exists, DEFAULT_CONF_FILES), DEFAULT_CONF_FILES[0])
    if options.test_conf:
        return test_configuration(conf)
    return run_node(conf, options, start)


def parse(arguments: Sequence[str]) -> Options:
    """Raises Refused."""
    options = Options()
    try:
        given, rest = getopt.getopt(list(arguments), SHORT, LONG)
    except getopt.GetoptError as error:
        raise Refused(f"invalid option: {error.msg}") from error
    if rest:
        raise Refused(f"invalid option: unexpected argument {rest[0]!r}")
    for name, value in given:
        match name:
            case "-h" | "-?" | "--help":
                options.help = True
            case "-V" | "--version":
                options.version = True
            case "-t" | "--test-conf":
                options.test_conf = True
            case "-d" | "--daemonize":
                options.daemonize = True
            case "-D" | "--describe-stats":
                options.describe_stats = True
            case "-v" | "--verbosity":
                options.verbosity = min(number("-v", value, least=0), 11)
            case "-o" | "--output":
                options.output = value
            case "-c" | "--conf-file":
                options.conf_file = value
            case "-p" | "--pid-file":
                options.pid_file = value
            case "-m" | "--mbuf-size" | "-M" | "--max-msgs":
                number(name, value, least=1)
                say(f"dynomite: option {name} is deprecated and has no effect")
            case "-x" | "--admin-operation":
                number("-x", value, least=1)
                raise Refused("option -x is not offered; `dynomite-mp hash KEY --conf FILE` says who owns a key")
    return options


def number(option: str, text: str, *, least: int) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise Refused(f"option {option} requires a number")
    if int(text) < least:
        raise Refused(f"option {option} requires a non-zero number")
    return int(text)


def test_configuration(conf: str) -> int:
    try:
        read_config(StartOptions(conf=conf))
    except BootError as error:
        say(str(error))
        say(f"dynomite: configuration file '{conf}' syntax is invalid")
        return 1
    say(f"dynomite: configuration file '{conf}' syntax is valid")
    return 0


def run_node(conf: str, options: Options, start: Start) -> int:
    code = start(
        StartOptions(conf, options.pid_file, options.output, options.verbosity, interrupt_fails=True),
        daemonize=options.daemonize,
    )
    return 1 if code else 0


def describe_stats() -> None:
    from dynomite_mp.ipc import counter_table

    click.echo(counter_table.describe())


def say(text: str) -> None:
    """C Dynomite says everything on standard error."""
    click.echo(text, file=sys.stderr)
