"""The command line: `dynomite-mp <command>`, and `dynomite` with the options of C Dynomite (c_command_line.py).

Commands that only look at a node (status, hash, conf) never touch it; stop and reload send it a signal and nothing
else. Everything is imported inside its command: the start of a node pays for what a node needs.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from dynomite_mp import __version__
from dynomite_mp.enums import ExitCode
from dynomite_mp.pidfile import LOCK_NAME, holder

if TYPE_CHECKING:
    from dynomite_mp.boot import StartOptions
    from dynomite_mp.config import Config
    from dynomite_mp.status import NodeStatus

CONF = click.Path(dir_okay=False, path_type=str)
STOP_EXTRA_S = 70.0  # beyond drain_timeout_ms: the other workers, then the datastore
UNKNOWN_DRAIN_S = 60.0
POLL_S = 0.05
conf_option = click.option("--conf", "-c", type=CONF, metavar="FILE", help="Configuration file of the node.")


class Commands(click.Group):
    """The commands below, and those of other modules, which are imported when one of their commands is named."""

    elsewhere = ("cluster", "repair", "tokens")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.elsewhere])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.elsewhere:
            return super().get_command(ctx, cmd_name)
        if cmd_name == "repair":
            from dynomite_mp import repair_command

            return repair_command.repair
        from dynomite_mp import cluster_command

        return cluster_command.COMMANDS[cmd_name]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def commands() -> None:
    """A sharding and replication layer in front of Redis, Valkey and what speaks their protocol."""


# ---- start -----------------------------------------------------------------------------------------------------------


@commands.command()
@conf_option
@click.option("--test-conf", "-t", is_flag=True, help="Check the configuration and exit.")
@click.option("--pid-file", "-p", type=CONF, metavar="FILE", help="Write the pid here; locked while the node runs.")
@click.option("--output", "-o", type=CONF, metavar="FILE", help="Log to this file instead of standard error.")
@click.option("--verbosity", "-v", type=click.IntRange(0, 11, clamp=True), metavar="N", help="Log level, 0 to 11.")
@click.option("--daemonize", "-d", is_flag=True, help="Go to the background once the node serves.")
def start(
    conf: str | None,
    test_conf: bool,
    pid_file: str | None,
    output: str | None,
    verbosity: int | None,
    daemonize: bool,
) -> None:
    """Run a node in the foreground, until SIGTERM or Ctrl-C.

    Without --conf it listens on 127.0.0.1:8102 and runs a datastore of its own.
    """
    if test_conf:
        sys.exit(check_configuration(conf))
    from dynomite_mp.boot import StartOptions

    sys.exit(start_node(StartOptions(conf, pid_file, output, verbosity), daemonize=daemonize))


def start_node(options: "StartOptions", *, daemonize: bool) -> int:
    """A whole node; the exit code."""
    report: Callable[[int], None] = lambda code: None  # noqa: E731
    if daemonize:
        from dynomite_mp import daemon

        report = daemon.go_to_background()
    from dynomite_mp import boot, supervisor

    # A log file takes the place of standard error before all that can fail was tried.
    terminal_fd = os.dup(2)

    def on_booted() -> None:
        os.close(terminal_fd)
        if daemonize:
            daemon.detach_output(has_log_file=options.output is not None)

    try:
        code = supervisor.run_node(options, on_booted=on_booted, on_serving=lambda: report(ExitCode.OK))
        report(code)
        return code
    except boot.BootError as error:
        complain(str(error))
        if options.output is not None:
            with contextlib.suppress(OSError):
                os.write(terminal_fd, f"dynomite-mp: {error}\n".encode())
        report(error.code)
        return error.code


# ---- looking ---------------------------------------------------------------------------------------------------------


@commands.command()
@conf_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object for --conf FILE, else {nodes: [...]}.")
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.05, 60), default=None, help="Seconds over which rates are taken.")
@click.option("--rings", is_flag=True, help="All rings, also those that are idle.")
def status(conf: str | None, as_json: bool, watch: bool, interval: float | None, rings: bool) -> None:
    """Processes, rates and rings of a node, or of all nodes.

    Without --conf: all nodes of this user.
    Reads shared memory and /proc only, so it answers when the node does not. Exit code: 0 running, 5 not running,
    7 its supervisor is gone.
    """
    seconds = interval or (1.0 if watch else 0.25)
    if watch:
        from dynomite_mp import status_watch

        status_watch.watch(lambda: look(conf, seconds), all_rings=rings)
        return
    nodes = look(conf, seconds)
    if as_json:
        show_json(nodes, single=conf is not None)
    elif nodes:
        from dynomite_mp.status_text import node_text

        click.echo("\n\n".join(node_text(node, all_rings=rings) for node in nodes))
    else:
        complain("no node is running" if conf is None else f"the node of {conf} is not running")
    sys.exit(exit_code_of(nodes))


def look(conf: str | None, interval_s: float) -> "list[NodeStatus]":
    from dynomite_mp import status as reading
    from dynomite_mp.ipc.slab import SlabError

    names: Iterable[str] = reading.find_all()
    if conf is not None:
        name = reading.find(load(conf))
        names = [name] if name else []
    found = []
    for name in names:
        try:
            found.append(reading.collect(name, interval_s))
        except SlabError as error:  # ended meanwhile, or made by another version
            complain(str(error))
    return found


def exit_code_of(nodes: "list[NodeStatus]") -> ExitCode:
    if not nodes:
        return ExitCode.NOT_RUNNING
    return ExitCode.STALE if all(node.is_stale for node in nodes) else ExitCode.OK


def show_json(nodes: "list[NodeStatus]", *, single: bool) -> None:
    import json

    from dynomite_mp.status import as_document

    documents = [as_document(node) for node in nodes]
    click.echo(json.dumps(documents[0] if single and documents else {"nodes": documents}, indent=2, default=str))


@commands.command("hash")
@click.argument("key")
@conf_option
def hash_command(key: str, conf: str | None) -> None:
    """Token of KEY, and the node of every rack that owns it.

    Without --conf there is no cluster to ask, and only the token is printed.
    """
    from dynomite_mp.cluster.continuum import continuum_of
    from dynomite_mp.cluster.token import hash_key, tagged
    from dynomite_mp.workers.topology_source import configured_topology

    config = load(conf)
    hashed = tagged(os.fsencode(key), config.hash_tag or None)
    token = hash_key(config.hash, hashed) if hashed else 0
    click.echo(f"token {token} ({config.hash}{f' of {hashed!r}' if hashed != os.fsencode(key) else ''})")
    if conf is None:
        return
    for datacenter in configured_topology(config).datacenters:
        for rack in datacenter.racks:
            owner = rack.nodes[continuum_of(rack).owner(token)]
            tokens = ",".join(map(str, owner.tokens))
            click.echo(
                f"{rack.dc}/{rack.name}  {owner.address}  tokens {tokens}{'  this node' if owner.is_local else ''}"
            )


@commands.command()
def version() -> None:
    """Versions of dynomite-mp, Python and the datastore."""
    from dynomite_mp.errors import StoreError
    from dynomite_mp.store import managed

    click.echo(f"dynomite-mp {__version__}")
    click.echo(f"python {sys.version.split()[0]}")
    try:
        found = [f"{binary.label} ({binary.path})" for binary in map(managed.identify, managed.candidates(os.environ))]
    except StoreError as error:
        found = [str(error)]
    click.echo("datastore " + (", ".join(found) or "none found"))


@commands.group()
def conf() -> None:
    """Configuration files."""


@conf.command("check")
@click.argument("file", type=CONF)
def conf_check(file: str) -> None:
    """Everything that is wrong with FILE, by line and column.

    Exit code: 3 if anything is.
    """
    sys.exit(check_configuration(file))


@conf.command("describe")
def conf_describe() -> None:
    """A configuration file with every key, explained."""
    from dynomite_mp import config

    click.echo(config.describe(), nl=False)


def check_configuration(file: str | None) -> ExitCode:
    config = load(file)
    for note in config.notes:
        click.echo(f"note: {note}")
    click.echo(f"{file or 'the default configuration'} is valid")
    return ExitCode.OK


# ---- orders ----------------------------------------------------------------------------------------------------------


@commands.command()
@conf_option
@click.option("--pid-file", "-p", type=CONF, metavar="FILE", help="Pidfile of the node.")
@click.option("--force", is_flag=True, help="Do not wait for requests in flight.")
@click.option("--timeout", type=click.FloatRange(min=0), default=None, help="Seconds to wait for the end of the node.")
def stop(conf: str | None, pid_file: str | None, force: bool, timeout: float | None) -> None:
    """Drain and stop a node.

    Waits until the last of its processes is gone.
    """
    lock, drain_s = lock_of(conf, pid_file)
    pid = running_pid(lock)
    send(pid, signal.SIGTERM)
    if force:
        time.sleep(POLL_S)  # two signals that are pending together are one
        send(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + (drain_s + STOP_EXTRA_S if timeout is None else timeout)
    while holder(lock) is not None:
        if time.monotonic() >= deadline_s:
            fail(f"the node with pid {pid} has not ended yet", ExitCode.FAILURE)
        time.sleep(POLL_S)


@commands.command("reload")
@conf_option
@click.option("--pid-file", "-p", type=CONF, metavar="FILE", help="Pidfile of the node.")
def reload_command(conf: str | None, pid_file: str | None) -> None:
    """Let a node read its configuration and reopen its log.

    Its log says what has changed.
    A file with an error is refused here, before the node sees it. A process that was given up is tried again.
    """
    lock, _ = lock_of(conf, pid_file)
    send(running_pid(lock), signal.SIGHUP)


def lock_of(conf: str | None, pid_file: str | None) -> tuple[Path, float]:
    """The file that is locked while the node runs, and its drain time-out.

    Without --conf it is the node that was started without --conf, else the only node there is.
    """
    from dynomite_mp import status as reading
    from dynomite_mp.ipc.slab import Slab
    from dynomite_mp.paths import NodePaths

    config = load(conf)
    drain_s = config.drain_timeout_ms / 1000
    if pid_file is not None:
        return Path(pid_file), drain_s
    name = reading.find(config)
    lock = (Path(Slab.open(name).identity["data_dir"]) if name else NodePaths.of(config).data_dir) / LOCK_NAME
    if conf is not None or holder(lock) is not None:
        return lock, drain_s
    nodes = [node for node in look(None, 0.0) if not node.is_stale]
    if not nodes:
        fail("no node is running", ExitCode.NOT_RUNNING)
    if len(nodes) > 1:
        names = "\n".join(f"  --conf {node.identity.get('conf') or '?'}  {node.name}" for node in nodes)
        fail(f"several nodes are running; say which:\n{names}", ExitCode.USAGE)
    return Path(str(nodes[0].identity["data_dir"])) / LOCK_NAME, UNKNOWN_DRAIN_S


def running_pid(lock: Path) -> int:
    pid = holder(lock)
    if pid is None:
        fail("the node is not running", ExitCode.NOT_RUNNING)
    return pid


def send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        if number is signal.SIGHUP:
            fail(f"the supervisor (pid {pid}) is gone; its processes are draining", ExitCode.STALE)
    except PermissionError:
        fail(f"the node with pid {pid} belongs to another user", ExitCode.FAILURE)


# ---- words -----------------------------------------------------------------------------------------------------------


def load(conf: str | None) -> "Config":
    """The configuration; an error in it ends the command."""
    from dynomite_mp.boot import BootError, StartOptions, read_config

    try:
        return read_config(StartOptions(conf=conf))
    except BootError as error:
        fail(str(error), error.code)


def complain(text: str) -> None:
    click.echo(f"dynomite-mp: {text}", err=True)


def fail(text: str, code: ExitCode) -> NoReturn:
    complain(text)
    sys.exit(code)


def main() -> NoReturn:
    """Entry point `dynomite-mp`."""
    commands(prog_name="dynomite-mp")
    sys.exit(ExitCode.OK)


def dynomite_main() -> NoReturn:
    """Entry point `dynomite`: the command line of C Dynomite."""
    from dynomite_mp.c_command_line import run

    sys.exit(run(sys.argv[1:], start_node))
