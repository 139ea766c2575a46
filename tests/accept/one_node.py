"""What the scripts about one node share: starting it, options, and where its processes are. Not a script itself."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.e2e.harness import CLIENT_PORT, AddressBlock, Node, wait_for
from tests.load import process_tree
from tests.load.bare_store import BareStore

SKIPPED = 77
MB = 1024 * 1024
WORKERS = ("gossip", "replication", "admin")
T = TypeVar("T")


def options(argv: Sequence[str], what: str, *, is_dual: bool = False) -> argparse.Namespace:
    """The options that every script has; and those of dual runs of several clusters."""
    parser = argparse.ArgumentParser(prog="make accept ARGS=", description=what)
    parser.add_argument("--short", action="store_true", help="a quick version of the same")
    if is_dual:
        parser.add_argument("--seed", type=int, default=1, help="of the first run in every cluster")
        parser.add_argument("--only", default="", metavar="TEXT", help="clusters with this in their name")
    return parser.parse_args(list(argv))


@contextlib.contextmanager
def running_node(*, managed: bool = False, store: BareStore | None = None, **conf: Any) -> Iterator[Node]:
    """A started node; its datastore is `store`, or a bare one of ours, or with `managed` its own."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dmp-accept-")))
        block = stack.enter_context(AddressBlock.acquire())
        if not managed:
            store = store or stack.enter_context(BareStore())
            conf.setdefault("servers", [f"{store.host}:{store.port}:1"])
        node = Node(block.take(), directory / "node", **conf)
        stack.callback(node.destroy)
        node.start()
        yield node


def target(node: Node) -> tuple[str, int]:
    """Where its clients connect."""
    return node.host, CLIENT_PORT


def own_pids(node: Node) -> list[int]:
    """Its processes without the datastore."""
    return process_tree.tree(node.pid)


def rss_mb(node: Node) -> float:
    return process_tree.rss_bytes(own_pids(node)) / MB


def pss_mb(node: Node) -> float:
    return process_tree.pss_bytes(own_pids(node)) / MB


def worker_pids(node: Node) -> dict[str, int]:
    """Name -> pid of every process in `status`."""
    return {row["name"]: int(row["pid"]) for row in node.status()["processes"]}


def seconds_until(condition: Callable[[], T], timeout_s: float, what: str) -> float:
    """How long it took until the condition held."""
    started = time.monotonic()
    wait_for(condition, timeout_s, what, poll_s=0.005)
    return time.monotonic() - started


def is_running_anew(node: Node, name: str, old_pid: int) -> bool:
    """Whether another process has taken the place of `old_pid` and serves."""
    row = node.row(name)
    return int(row["pid"]) not in (0, old_pid) and row["state"] == "running"


class Findings:
    """Lines with a verdict, printed as they come; `code` is what the script returns."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, good: object, line: str) -> None:
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {line}", flush=True)

    @property
    def code(self) -> int:
        return int(self.failed > 0)
