"""What a tree of processes costs, read from /proc: CPU in nanoseconds, memory, descriptors.

CPU is sum_exec_runtime, the first field of /proc/PID/task/TID/schedstat: user and system time together, in nanoseconds,
where utime and stime of /proc/PID/stat count clock ticks. A thread that ended between two readings takes its time with
it; the processes measured here keep their threads.

A tree is a root pid and all its descendants, less every process whose name marks it as a datastore: a proxy is compared
without the store behind it, whether the store is its child or not.
"""

from __future__ import annotations

import os
from pathlib import Path

DATASTORE_NAMES = ("redis-server", "valkey-server", "memcached", "redis-check-rdb")


def _children_of() -> dict[int, list[int]]:
    """Parent pid -> child pids, of every process there is."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        parent = int(stat[stat.rindex(")") + 2 :].split()[1])
        found.setdefault(parent, []).append(int(entry.name))
    return found


def is_datastore(pid: int) -> bool:
    """Whether the program of `pid` is a datastore, by its name or its command line."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    program = command.split()[0] if command.split() else ""
    return any(wanted in (name, Path(program).name) for wanted in DATASTORE_NAMES)


def tree(root_pid: int, *, with_datastores: bool = False) -> list[int]:
    """The pids of `root_pid` and its descendants that live now."""
    children = _children_of()
    pids: list[int] = []
    todo = [root_pid]
    while todo:
        pid = todo.pop()
        if pid != root_pid and not with_datastores and is_datastore(pid):
            continue
        if Path(f"/proc/{pid}").exists():
            pids.append(pid)
        todo.extend(children.get(pid, ()))
    return pids


def cpu_ns(pids: list[int]) -> int:
    """CPU time that all threads of `pids` have used so far."""
    total = 0
    for pid in pids:
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            continue
        for task in tasks:
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except (OSError, IndexError):
                continue
    return total


def _memory_field_bytes(pid: int, file: str, field: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def pss_bytes(pids: list[int]) -> int:
    """Proportional set size: shared pages are divided among those that share them."""
    return sum(_memory_field_bytes(pid, "smaps_rollup", "Pss") for pid in pids)


def rss_bytes(pids: list[int]) -> int:
    """Resident set size; pages shared by several processes count in each."""
    return sum(_memory_field_bytes(pid, "status", "VmRSS") for pid in pids)


def peak_rss_bytes(pid: int) -> int:
    """The highest resident set size of one process so far."""
    return _memory_field_bytes(pid, "status", "VmHWM")


def fd_count(pids: list[int]) -> int:
    """Open descriptors."""
    total = 0
    for pid in pids:
        try:
            total += len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except OSError:
            continue
    return total


def busy_ns() -> int:
    """CPU time that this machine has spent on anything but idling and waiting, all cores together."""
    fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def title(pid: int) -> str:
    """The command line as `ps` shows it."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
