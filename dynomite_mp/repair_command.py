"""`dynomite-mp repair`: starts a comparison of a running node's keys with the other replicas, and shows how it goes.

It asks the node's stats_listen, as an operator with curl would: /repair/start, then /repair until it has ended. Not
here: the comparison (workers/comparison.py). Interrupting the command leaves the comparison running.
"""

import http.client
import json
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from dynomite_mp.enums import ExitCode

if TYPE_CHECKING:
    from dynomite_mp.config import Config

POLL_S = 0.5
TIMEOUT_S = 10.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


@click.command()
@click.option("--conf", "-c", metavar="FILE", help="Configuration file of the node.")
@click.option("--stop", is_flag=True, help="End the comparison that is under way.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def repair(conf: str | None, stop: bool, as_json: bool) -> None:
    """Compare a node's keys with all their replicas and mend what differs.

    Every key that the node owns is compared, in all racks of all datacenters. To cover a whole cluster run it on each
    node of one rack. The exit code is 0 if all replicas are equal afterwards.
    """
    from dynomite_mp.cli import fail, load

    config = load(conf)
    try:
        started = ask(config, "POST", "/repair/stop" if stop else "/repair/start")
        if stop:
            return
        row = follow(config, started["run"], quiet=as_json)
    except OSError as error:
        fail(f"no answer at {config.stats_listen}: {error}", ExitCode.NOT_RUNNING)
    except RefusedError as error:
        fail(str(error), ExitCode.FAILURE)
    click.echo(json.dumps(row) if as_json else outcome(row))
    is_equal = row["state"] == "done" and row["keys_mended"] == row["keys_differing"] and not row["text"]
    sys.exit(ExitCode.OK if is_equal else ExitCode.FAILURE)


class RefusedError(Exception):
    """The node said no."""


def ask(config: "Config", method: str, path: str) -> Any:
    """The answer as JSON; of an order that is answered with text, nothing."""
    where = config.stats_listen
    connection = (
        _UnixConnection(where.path)
        if where.path
        else http.client.HTTPConnection(_reachable(where.host), where.port, timeout=TIMEOUT_S)
    )
    headers = {"Authorization": f"Bearer {config.admin_token}"} if config.admin_token else {}
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read().decode()
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise RefusedError(body.strip())
    return json.loads(body) if body.startswith("{") else {}


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def follow(config: "Config", run: str, *, quiet: bool) -> dict[str, Any]:
    """Until this run has ended; a line whenever there is something new."""
    shown = ""
    while True:
        row: dict[str, Any] = ask(config, "GET", "/repair")
        if row.get("run") != run:
            raise RefusedError("the node has begun another comparison, or was restarted")
        line = progress(row)
        if line != shown and not quiet:
            click.echo(line)
            shown = line
        if row["state"] != "running":
            return row
        time.sleep(POLL_S)


def progress(row: dict[str, Any]) -> str:
    return f"{row['keys_read']} keys read here, {row['keys_differing']} differ, {row['keys_mended']} mended"


def outcome(row: dict[str, Any]) -> str:
    took_s = (row["ended_ms"] - row["started_ms"]) / 1000
    line = (
        f"{row['state']} in {took_s:.1f} s: {row['keys_compared']} keys compared with {row['peers_done']} of "
        f"{row['peers']} replicas, {row['keys_differing']} differed, {row['keys_mended']} mended, "
        f"{row['call_bytes']} bytes exchanged"
    )
    return f"{line}; {row['text']}" if row["text"] else line
