"""Hostile clients: a clear error where the protocol allows one, bounded memory, nobody else harmed."""

from __future__ import annotations

from collections.abc import Sequence

from tests.accept.one_node import MB, Findings, options, running_node, target
from tests.load.bad_input import bad_input

TOPIC = "node"
TITLE = "6: bad input: clear errors, bounded memory, other clients unharmed"
HARD_LIMIT_MB = 64
MEMORY_LIMIT_MB = 256


def main(argv: Sequence[str]) -> int:
    short = options(argv, TITLE).short
    findings = Findings()
    with running_node(client_hard_limit_bytes=HARD_LIMIT_MB * MB) as node:
        report = bad_input(target(node), short=short, pid=node.pid, memory_limit=MEMORY_LIMIT_MB * MB)
        print(report.table())
        for failure in report.failures():
            findings.check(False, failure)
        restarts = {row["name"]: row.get("restarts", 0) for row in node.status()["processes"]}
        findings.check(not any(restarts.values()), f"no process had to be restarted: {restarts}")
    findings.check(report.cases, report.line())
    return findings.code
