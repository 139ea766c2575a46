"""Where the admin process gets its figures: the slab in shared memory, the process table, the clocks.

The one place among the admin modules that looks at the world; what it finds it hands as plain data to the modules that
make documents of it. Nothing is read unless somebody asks, but for one reading of the histograms every half a minute.
"""

import socket
import time
from typing import Any

from dynomite_mp.ipc.slab import Slab
from dynomite_mp.proto.commands import COMMANDS, command_class
from dynomite_mp.workers import info_document
from dynomite_mp.workers.cluster_view import ClusterView
from dynomite_mp.workers.histogram_window import HistogramWindow
from dynomite_mp.workers.node_figures import NodeFigures, NodeIdentity, read_histograms, read_node
from dynomite_mp.workers.process_figures import ProcessTable, SystemFigures

COMMAND_NAMES = tuple(row.name for row in COMMANDS)
CLASS_OF_COMMAND = {command_id: command_class(row) for command_id, row in enumerate(COMMANDS, start=1)}


class SlabSource:
    """Figures and documents of the node that a slab belongs to."""

    def __init__(self, slab: Slab, identity: NodeIdentity, view: ClusterView) -> None:
        self.view = view
        self._slab = slab
        self._identity = identity
        self._window = HistogramWindow()
        self._processes = ProcessTable()
        self._hostname = socket.gethostname()

    def now_ns(self) -> int:
        """The clock of the heartbeats."""
        return time.monotonic_ns()

    def figures(self) -> NodeFigures:
        return read_node(self._slab, self._identity)

    def tick(self) -> None:
        """Once a second: keeps a reading of the histograms now and then."""
        now_s = time.monotonic()
        if self._window.wants(now_s):
            self._window.take(now_s, read_histograms(self._slab))

    def forget_histograms(self) -> None:
        self._window.forget(time.monotonic(), read_histograms(self._slab))

    def info(self) -> dict[str, Any]:
        node = self.figures()
        return info_document.info_document(
            info_document.InfoInput(
                node,
                self._window.shown(read_histograms(self._slab)),
                self._system(node),
                COMMAND_NAMES,
                self._hostname,
                time.time(),
            )
        )

    def metrics(self) -> tuple[bytes, str]:
        from dynomite_mp.workers import metrics  # several MB that a node without a scraper need not have

        node = self.figures()
        given = metrics.MetricsInput(
            node, read_histograms(self._slab), self._system(node), CLASS_OF_COMMAND, self.now_ns()
        )
        return metrics.metrics_text(given), metrics.CONTENT_TYPE

    def _system(self, node: NodeFigures) -> dict[int, SystemFigures]:
        now_s = time.monotonic()
        self._processes.keep_only({process.pid for process in node.processes})
        read = {process.pid: self._processes.read(process.pid, process.role, now_s) for process in node.processes}
        return {pid: figures for pid, figures in read.items() if figures is not None}
