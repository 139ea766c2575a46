"""The log of missed writes at its limits: full, torn, damaged, on a full disk.

    a (coordinator) --> b, stopped: a's lane for b fills

1. past hint_log_bytes_max clients notice nothing and the lane is DIRTY in `status`;
2. all processes of a are killed, the end of the log is torn off and a byte is flipped: both are seen at the next start,
   and b gets nothing that was not written;
3. the log's directory is on a disk that is full: clients notice nothing, the lane is DIRTY, and the log says why.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.accept.cluster_03_failover import signal_all
from tests.accept.cluster_parts import Cluster, running_cluster
from tests.accept.one_node import Findings
from tests.e2e.harness import Node, wait_for

TOPIC = "lost"
TITLE = "9: the hint log past its bound, torn, damaged, and on a full disk"
LAYOUT = {"dc1": {"a": "o", "b": "o"}}
VALUE = "v" * 100


@contextlib.contextmanager
def stopped_replica(**conf: Any) -> Iterator[tuple[Node, Node]]:
    """A coordinator, and the replica that misses its writes."""
    with running_cluster(LAYOUT, **conf) as cluster:
        near, away = cluster.nodes
        stop(cluster)
        yield near, away


def stop(cluster: Cluster) -> None:
    near, away = cluster.nodes
    signal_all(away.processes(), signal.SIGSTOP)
    near.call("SET", "first", VALUE)


def write(node: Node, count: int, prefix: str = "key") -> list[str]:
    """Errors, if any."""
    with node.connect(timeout_s=15) as client:
        replies = [client.call("SET", f"{prefix}:{number}", VALUE) for number in range(count)]
    return [str(reply) for reply in replies if isinstance(reply, Exception)]


def lane(node: Node) -> dict[str, Any]:
    """The first lane with anything in it, or DIRTY."""
    rows: list[dict[str, Any]] = node.status()["hints"]
    return next((row for row in rows if row["records"] or row["dirty"]), {})


def log_files(node: Node) -> list[Path]:
    return sorted(Path(str(node.conf["data_dir"])).glob("hints/node.*/*.log"))


def past_the_bound(findings: Findings, count: int) -> None:
    with stopped_replica(hint_log_bytes_max=65536) as (near, _):
        errors = write(near, count)
        row = wait_for(lambda: lane(near).get("dirty") and lane(near), 15, "the lane to be DIRTY")
        text = near.command("status", "--conf", str(near.conf_path)).stdout
        findings.check(
            not errors and "hint_log_bytes_max" in row["dirty"] and "DIRTY" in text and row["size_bytes"] <= 65536,
            f"past the bound: {len(errors)} client errors, {row['records']} records of {row['size_bytes']} bytes kept, "
            f"{row['lost']} not; status says DIRTY: {row['dirty']}",
        )


def torn_and_damaged(findings: Findings, count: int) -> None:
    with stopped_replica() as (near, away):
        errors = write(near, count)
        wait_for(lambda: lane(near).get("records", 0) >= count, 15, "the writes to be kept")
        signal_all(near.processes(), signal.SIGKILL)
        near.wait()
        [path] = log_files(near)
        kept = bytearray(path.read_bytes())
        flipped = len(kept) * 3 // 4
        kept[flipped] ^= 0x10
        path.write_bytes(kept[:-7])
        near.start()
        row = wait_for(lambda: lane(near).get("dirty") and lane(near), 15, "the damage to be seen")
        signal_all(away.processes(), signal.SIGCONT)
        wait_for(lambda: not lane(near).get("records"), 60, "the rest to be brought")
        with away.store() as store:
            values = {store.call("GET", f"key:{number}") for number in range(count)}
        findings.check(
            not errors and "damaged" in row["dirty"] and values <= {VALUE.encode(), None},
            f"torn end and flipped byte: seen after kill -9 (DIRTY: {row['dirty']}), {len(values - {None})} kinds of "
            f"values at the replica, all as written: {values <= {VALUE.encode(), None}}",
        )


def full_disk(findings: Findings, count: int) -> None:
    with running_cluster(LAYOUT) as cluster:
        near, _ = cluster.nodes
        hints = Path(str(near.conf["data_dir"])) / "hints"
        near.stop()
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(hints)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            near.start()
            print("full disk: a small disk cannot be mounted here, left out")
            return
        try:
            near.start()
            cluster.wait_connected()
            stop(cluster)
            errors = write(near, count)
            row = wait_for(lambda: lane(near).get("dirty") and lane(near), 15, "the lane to be DIRTY")
            near.logged("cannot be kept")
            findings.check(
                not errors and "could not be written" in row["dirty"],
                f"full disk: {len(errors)} client errors, {row['records']} records kept, {row['lost']} not, DIRTY: "
                f"{row['dirty']}; said in the log",
            )
            near.stop()
        finally:
            subprocess.run(["umount", str(hints)], capture_output=True, check=False)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument("--short", action="store_true", help="fewer writes")
    count = 1000 if parser.parse_args(argv).short else 5000
    findings = Findings()
    past_the_bound(findings, count)
    torn_and_damaged(findings, count)
    full_disk(findings, count)
    return findings.code
