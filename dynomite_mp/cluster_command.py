"""`dynomite-mp cluster ...`: a whole cluster on this machine; and `tokens`. What they do is in local_cluster.py."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dynomite_mp.enums import ExitCode
from dynomite_mp.errors import DynomiteError

if TYPE_CHECKING:
    from dynomite_mp.local_cluster import LocalCluster
    from dynomite_mp.local_layout import Layout
    from dynomite_mp.local_node import LocalNode
    from dynomite_mp.status import NodeStatus

DIRECTORY = click.Path(file_okay=False, path_type=Path)
UP_COLUMNS = ("node", "clients", "http", "pid")
STATUS_COLUMNS = ("node", "state", "pid", "processes", "clients", "requests", "address", "note")
COUNT = click.IntRange(1, 254)
directory_option = click.option(
    "--directory", type=DIRECTORY, metavar="DIR", help="Where the cluster is; by default beside the data of nodes."
)
nodes_argument = click.argument("names", metavar="NODE...", nargs=-1, required=True)


@click.command()
@click.option("--nodes", type=click.IntRange(1, 2**14), required=True, metavar="N", help="Nodes of the rack.")
@click.option("--hash", "hash_name", default="murmur", show_default=True, help="Hash function of the cluster.")
def tokens(nodes: int, hash_name: str) -> None:
    """Even tokens for a rack of N nodes, one a line."""
    from dynomite_mp.local_layout import even_tokens
    from dynomite_mp.settings import HASHES

    if hash_name not in HASHES:
        raise click.BadParameter(f"{hash_name} is none of {', '.join(HASHES)}", param_hint="--hash")
    for token in even_tokens(nodes, hash_name):
        click.echo(token)


@click.group()
def cluster() -> None:
    """A whole cluster on this machine, to try things out.

    Every node has a loopback address and a datastore of its own.
    """


@cluster.command()
@directory_option
@click.option("--dcs", type=COUNT, metavar="N", help="Datacenters.  [default: 1]")
@click.option("--racks", type=COUNT, metavar="N", help="Racks of each datacenter.  [default: 3]")
@click.option("--nodes", type=COUNT, metavar="N", help="Nodes of each rack.  [default: 1]")
@click.option("--layout", "layouts", multiple=True, metavar="DC=N,N,...", help="A datacenter: nodes of each rack.")
@click.option("--config", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of every node.")
@click.option("--hash-tag", metavar="XY", help="The setting hash_tag, for example {}.")
@click.option("--consistency", metavar="LEVEL", help="The settings read_consistency and write_consistency.")
@click.option("--io-workers", type=click.IntRange(1, 64), metavar="N", help="The setting io_workers.")
def up(directory: Path | None, settings: tuple[str, ...], **options: Any) -> None:
    """Make and start a cluster, or what does not run of one.

    A cluster that was made before keeps its layout and settings, unless settings are given while it is down.
    """
    with reported():
        wanted = read_settings(settings, options)
        made = prepare(directory_of(directory), wanted_layout(options), wanted)
        was_down = not any(node.runs for node in made.nodes)
        try:
            seconds = made.up()
        except BaseException:
            if was_down:
                click.echo("stopping all nodes", err=True)
                made.down()
            raise
    show_up(made, seconds, f" --directory {directory}" if directory else "")


def prepare(directory: Path, layout: "Layout | None", settings: dict[str, str]) -> "LocalCluster":
    """The cluster of the directory, made or changed first where that is asked for."""
    from dynomite_mp.local_cluster import LocalCluster
    from dynomite_mp.local_layout import Layout

    if not LocalCluster.exists(directory):
        return LocalCluster.create(layout or Layout.even(1, 3, 1), directory, settings)
    former = LocalCluster.open(directory)
    if (layout is None or layout.racks == former.layout.racks) and settings in ({}, former.config):
        return former
    return LocalCluster.create(layout or former.layout, directory, settings or former.config)


def wanted_layout(options: dict[str, Any]) -> "Layout | None":
    """None: nothing is said about it."""
    from dynomite_mp.local_layout import Layout

    counts = [options[key] for key in ("dcs", "racks", "nodes")]
    if options["layouts"]:
        if any(count is not None for count in counts):
            raise click.UsageError("--layout says all of --dcs, --racks and --nodes")
        return Layout.parse(options["layouts"])
    if all(count is None for count in counts):
        return None
    return Layout.even(counts[0] or 1, counts[1] or 3, counts[2] or 1)


def read_settings(settings: Sequence[str], options: dict[str, Any]) -> dict[str, str]:
    found = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} has no `=`", param_hint="--config")
        found[key] = value
    if options["hash_tag"] is not None:
        found["hash_tag"] = options["hash_tag"]
    if options["consistency"] is not None:
        found["read_consistency"] = found["write_consistency"] = options["consistency"]
    if options["io_workers"] is not None:
        found["io_workers"] = str(options["io_workers"])
    return found


def show_up(made: "LocalCluster", seconds: float, where: str) -> None:
    from dynomite_mp.status_text import table

    rows = [(node.name, node.client_address, node.stats_url, str(node.pid or "-")) for node in made.nodes]
    click.echo(table(UP_COLUMNS, rows))
    host, port = made.nodes[0].client_address.split(":")
    click.echo(
        f"\n{len(rows)} nodes up after {seconds:.2f} s, in {made.directory}\n"
        f"Try:   redis-cli -h {host} -p {port} SET hello world\n"
        f"Look:  dynomite-mp cluster status{where}\n"
        f"End:   dynomite-mp cluster down{where}"
    )


@cluster.command("status")
@directory_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object with all that is known.")
def status_command(directory: Path | None, as_json: bool) -> None:
    """Every node: state, pids, clients.

    Exit code: 0 all run, 1 some do, 5 none does.
    """
    from dynomite_mp.local_cluster import LocalCluster

    with reported():
        made = LocalCluster.open(directory_of(directory))
    found = [(node, node.status(), node.runs) for node in made.nodes]
    states = [state_of(status, runs) for _, status, runs in found]
    if as_json:
        show_json(made, found, states)
    else:
        from dynomite_mp.status_text import table

        rows = [status_cells(node, status, state) for (node, status, _), state in zip(found, states, strict=True)]
        click.echo(table(STATUS_COLUMNS, rows))
    if set(states) == {"running"}:
        sys.exit(ExitCode.OK)
    sys.exit(ExitCode.NOT_RUNNING if set(states) <= {"stopped", "killed"} else ExitCode.FAILURE)


def state_of(status: "NodeStatus | None", runs: bool) -> str:
    """One word for a node: that of its supervisor, if there is one."""
    if status is None:
        return "starting" if runs else "stopped"
    if status.is_stale:
        return "orphaned" if runs else "killed"
    return next((row.state for row in status.processes if row.role == "supervisor"), "starting")


def status_cells(node: "LocalNode", status: "NodeStatus | None", state: str) -> tuple[str, ...]:
    if status is None or status.is_stale:
        return (node.name, state, "-", "-", "-", "-", node.client_address, "")
    running = sum(row.state == "running" for row in status.processes)
    return (
        node.name,
        state,
        str(status.supervisor_pid),
        f"{running}/{len(status.processes)}",
        str(status.client_connections),
        str(status.requests_total),
        node.client_address,
        "; ".join(status.problems),
    )


def show_json(
    made: "LocalCluster", found: "Sequence[tuple[LocalNode, NodeStatus | None, bool]]", states: Sequence[str]
) -> None:
    import json

    from dynomite_mp.status import as_document

    nodes = [
        {
            "name": node.name,
            "datacenter": node.datacenter,
            "rack": node.rack,
            "token": node.token,
            "state": state,
            "listen": node.client_address,
            "dyn_listen": node.peer_address,
            "stats_url": node.stats_url,
            "conf": node.conf_path,
            "log": node.log_path,
            "datastore": node.store_path,
            "pid": node.pid,
            "status": as_document(status) if status is not None else None,
        }
        for (node, status, _), state in zip(found, states, strict=True)
    ]
    document = {"directory": made.directory, "prefix": made.prefix, "config": made.config, "nodes": nodes}
    click.echo(json.dumps(document, indent=2, default=str))


@cluster.command()
@directory_option
@nodes_argument
def stop(directory: Path | None, names: tuple[str, ...]) -> None:
    """Let nodes drain and end."""
    with reported():
        nodes = named(directory, names)
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait_ended()


@cluster.command()
@directory_option
@nodes_argument
def kill(directory: Path | None, names: tuple[str, ...]) -> None:
    """SIGKILL to all processes of nodes, datastores too."""
    with reported():
        for node in named(directory, names):
            node.kill()


@cluster.command()
@directory_option
@nodes_argument
def start(directory: Path | None, names: tuple[str, ...]) -> None:
    """Start nodes that were stopped or killed."""
    from dynomite_mp.local_cluster import LocalCluster

    with reported():
        made = LocalCluster.open(directory_of(directory))
        made.start([made.node(name) for name in names])


@cluster.command()
@directory_option
@click.option("--purge", is_flag=True, help="Remove the data and everything else of the cluster too.")
def down(directory: Path | None, purge: bool) -> None:
    """Stop all nodes and free their addresses.

    The data stays for the next `up`.
    """
    from dynomite_mp.local_cluster import LocalCluster

    with reported():
        LocalCluster.open(directory_of(directory)).down(purge=purge)


COMMANDS: dict[str, click.Command] = {"cluster": cluster, "tokens": tokens}


# ---- words -----------------------------------------------------------------------------------------------------------


def directory_of(directory: Path | None) -> Path:
    from dynomite_mp.local_cluster import default_directory

    return directory if directory is not None else default_directory()


def named(directory: Path | None, names: Sequence[str]) -> "list[LocalNode]":
    """All of them, or none: a name that is wrong changes nothing."""
    from dynomite_mp.local_cluster import LocalCluster

    made = LocalCluster.open(directory_of(directory))
    return [made.node(name) for name in names]


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """What goes wrong as a sentence and an exit code."""
    try:
        yield
    except DynomiteError as error:
        click.echo(f"dynomite-mp: {error}", err=True)
        sys.exit(ExitCode.FAILURE)
