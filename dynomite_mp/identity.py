"""Who a node is, beyond the lives of its processes: an id and how many times it was started, kept in data_dir.

Not the numbers of single processes: those follow from the boot number here and the count of the supervisor
(WorkerContext.boot_id).
"""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

FILE = "node.json"


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    node_id: int
    boot: int

    @classmethod
    def next(cls, data_dir: Path) -> Self:
        """For a start of the node: known again by its id, one boot later."""
        path = data_dir / FILE
        try:
            known = json.loads(path.read_text())
            identity = cls(int(known["node_id"]), int(known["boot"]) + 1)
        except (OSError, ValueError, KeyError, TypeError):
            identity = cls(secrets.randbits(63) | 1, 1)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"node_id": identity.node_id, "boot": identity.boot}))
        fresh.replace(path)
        return identity
