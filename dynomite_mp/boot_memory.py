"""The shared memory of a node: its rings and its counter slab with the identity that `status` and `/info` show.

Made once, by the supervisor, when all that can fail earlier has been tried; the children inherit the mappings.
"""

import os
from pathlib import Path

from dynomite_mp import __version__
from dynomite_mp.boot import Boot
from dynomite_mp.ipc import wiring
from dynomite_mp.ipc.segment import Fabric


def make_fabric(parts: Boot) -> Fabric:
    """All shared memory of the node. A slab of the same name that a killed node left behind is replaced."""
    config = parts.config
    sizes = {key: getattr(config, key) for key in wiring.size_keys()}
    identity = {
        "version": __version__,
        "pool": config.pool,
        "dc": config.datacenter,
        "rack": config.rack,
        "tokens": list(config.tokens),
        "listen": str(config.listen),
        "dyn_listen": str(config.dyn_listen),
        "stats_listen": str(config.stats_listen),
        "data_dir": str(parts.paths.data_dir),
        "runtime_dir": str(parts.paths.runtime_dir),
        "conf": str(Path(parts.options.conf).absolute()) if parts.options.conf else "",
        "datastore": parts.store.binary.label if parts.store else str(config.datastore and config.datastore.address),
    }
    boot_id = int.from_bytes(os.urandom(8)) >> 1
    return Fabric.create(
        parts.paths.slab_name, wiring.expand(config.io_workers, sizes), identity=identity, boot_id=boot_id
    )
