"""Starts the processes of a node: a fork for a worker, a fork and exec for the datastore, each with what it needs.

The supervisor knows a worker by role only; the table says which class runs in it.
"""

import gc
import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dynomite_mp import process
from dynomite_mp.boot import Boot
from dynomite_mp.config import Address, Config
from dynomite_mp.enums import Role
from dynomite_mp.ipc.segment import Fabric
from dynomite_mp.restart_policy import Child

if TYPE_CHECKING:
    from dynomite_mp.workers.base import DatastoreAddress, Worker

ROLES: Mapping[Role, str] = {
    Role.IO: "dynomite_mp.workers.io_worker:IoWorker",
    Role.GOSSIP: "dynomite_mp.workers.gossip:GossipWorker",
    Role.REPLICATION: "dynomite_mp.workers.replication:ReplicationWorker",
    Role.ADMIN: "dynomite_mp.workers.admin:AdminWorker",
}


class Spawner:
    """Turns a Child that is to be started into a process."""

    def __init__(self, parts: Boot, fabric: Fabric) -> None:
        self._parts = parts
        self._fabric = fabric
        # Nobody ever writes: it is readable when the last writing end is closed, which is when the supervisor ends.
        self._lifeline_fd, self._lifeline_end = os.pipe()

    def preload(self) -> None:
        """Import what the workers share, once.

        What only one of them needs too: imported after the fork it goes into the gaps of pages that are shared until
        then, and each is copied (ADR 80). For the same reason no garbage is collected here: that makes gaps.
        """
        for role in ROLES:
            load(role)

    def start(self, child: Child, config: Config, settings: Mapping[str, Any]) -> int:
        """The pid of the new process; `settings` are those that were changed since the node started."""
        gc.freeze()
        return self._start_store() if child.role is Role.DATASTORE else self._start_worker(child, config, settings)

    def _start_worker(self, child: Child, config: Config, settings: Mapping[str, Any]) -> int:
        def child_main() -> None:
            from dynomite_mp.workers import base

            self._parts.listeners.keep_only(child.role, child.index)
            context = base.WorkerContext(
                role=child.role,
                index=child.index,
                boot=child.boots + 1,
                config=config,
                port=self._fabric.port(child.role, child.index),
                sockets=self._parts.listeners.of(child.role, child.index),
                lifeline_fd=self._lifeline_fd,
                datastore=self._datastore_address(config),
                data_dir=self._parts.paths.data_dir,
                runtime_dir=self._parts.paths.runtime_dir,
                slab_name=self._parts.paths.slab_name,
                keep_fds=self._parts.lock_fds,
                settings=settings,
                node_id=self._parts.identity.node_id,
                node_boot=self._parts.identity.boot,
            )
            base.run(load(child.role), context)

        return process.fork_worker(child_main)

    def _start_store(self) -> int:
        store = self._parts.store
        assert store is not None
        output_fd = os.open(store.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return process.fork_program(
                store.argv, directory=store.directory, output_fd=output_fd, inherit=self._parts.lock_fds
            )
        finally:
            os.close(output_fd)

    def _datastore_address(self, config: Config) -> "DatastoreAddress":
        from dynomite_mp.workers.base import DatastoreAddress

        if self._parts.store is not None:
            return DatastoreAddress(Address("", 0, self._parts.store.socket_path), managed=True)
        server = config.datastore
        assert server is not None
        return DatastoreAddress(server.address, False, config.datastore_user, config.datastore_password)


def load(role: Role) -> "type[Worker]":
    """The class that runs in this role."""
    module, _, name = ROLES[role].partition(":")
    worker_class: type[Worker] = getattr(importlib.import_module(module), name)
    return worker_class
