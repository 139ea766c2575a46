"""What the operating system says about the processes of a node: CPU, memory, descriptors.

Read when somebody asks, never by a timer: an idle node does not pay for it. The proportional memory (PSS) makes the
kernel walk the page tables of the process under a lock that the process itself may want, so it is read at most every
`PSS_EVERY_S`, and never for the datastore, which may be large and must not be stopped by a scrape.
"""

from dataclasses import dataclass
from typing import Final

import psutil

from dynomite_mp.enums import Role

PSS_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class SystemFigures:
    """One process; None where the system does not say (gone, or not ours to look at)."""

    cpu_user_s: float
    cpu_system_s: float
    rss_bytes: int
    pss_bytes: int | None
    open_fds: int | None

    @property
    def cpu_s(self) -> float:
        return self.cpu_user_s + self.cpu_system_s


class ProcessTable:
    """Remembers the psutil object and the last PSS of each pid that is still the process it was."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}
        self._pss: dict[int, tuple[float, int]] = {}

    def read(self, pid: int, role: Role, now_s: float) -> SystemFigures | None:
        """None when there is no such process any more."""
        try:
            process = self._process(pid)
            with process.oneshot():
                cpu = process.cpu_times()
                rss_bytes = process.memory_info().rss
            return SystemFigures(
                cpu.user,
                cpu.system,
                rss_bytes,
                None if role is Role.DATASTORE else self._pss_bytes(process, now_s),
                self._open_fds(process),
            )
        except psutil.NoSuchProcess:
            self._forget(pid)
            return None

    def keep_only(self, pids: set[int]) -> None:
        """Forgets processes that the node does not have any more."""
        for pid in self._known.keys() - pids:
            self._forget(pid)

    def _process(self, pid: int) -> psutil.Process:
        process = self._known.get(pid)
        if process is None or not process.is_running():
            self._pss.pop(pid, None)
            process = self._known[pid] = psutil.Process(pid)
        return process

    def _forget(self, pid: int) -> None:
        self._known.pop(pid, None)
        self._pss.pop(pid, None)

    def _pss_bytes(self, process: psutil.Process, now_s: float) -> int | None:
        read_s, pss_bytes = self._pss.get(process.pid, (-PSS_EVERY_S, 0))
        if now_s - read_s >= PSS_EVERY_S:
            try:
                pss_bytes = int(process.memory_full_info().pss)
            except psutil.AccessDenied:
                return None
            self._pss[process.pid] = (now_s, pss_bytes)
        return pss_bytes

    @staticmethod
    def _open_fds(process: psutil.Process) -> int | None:
        try:
            return int(process.num_fds())
        except psutil.AccessDenied:
            return None
