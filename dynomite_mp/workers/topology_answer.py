"""What `DYNO TOPOLOGY` answers: the document of `/cluster_describe`, made by the io worker itself.

It is read like every figure, out of shared memory and without a message, so it needs neither admin nor gossip; and it
is made at most once a second, so a client that asks too often costs little.
"""

import json
import os

from dynomite_mp.config import Config
from dynomite_mp.ipc.slab import Slab
from dynomite_mp.workers import health
from dynomite_mp.workers.cluster_document import ClusterDocument
from dynomite_mp.workers.cluster_view import ClusterView
from dynomite_mp.workers.node_figures import identity_of, read_node


class TopologyAnswer:
    """Call it for the answer; `forget` when a second has passed."""

    def __init__(self, slab_name: str, config: Config, view: ClusterView) -> None:
        self._slab_name = slab_name
        self._identity = identity_of(config, 0.0, os.environ)
        self._view = view
        self._slab: Slab | None = None
        self._answer: bytes | None = None

    def take(self, view: ClusterView) -> None:
        self._view = view
        self.forget()

    def forget(self) -> None:
        self._answer = None

    def __call__(self) -> bytes:
        if self._answer is None:
            if self._slab is None:
                self._slab = Slab.open(self._slab_name)
            node = read_node(self._slab, self._identity)
            made = ClusterDocument(self._view, self._identity, health.node_state(node), node.cluster)
            self._answer = json.dumps(made.nested(), separators=(",", ":")).encode()
        return self._answer
