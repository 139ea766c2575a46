"""`/info`: one JSON document with every field name of the C server, in its order, and fields of ours after them.

Three tables hold the names: figures of the node (`NODE_ROWS`), of the pool (`POOL_ROWS`, nested under the pool's name)
and of the datastore (`SERVER_ROWS`, nested under the datastore's name inside the pool). A row says which counters add
up to the field. A row without counters is a name that monitoring of the C server may look for and that this version
has nothing to feed with: it stays 0, and that is said in the row.

Latencies are those of the last minutes (`histogram_figures`), in microseconds.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dynomite_mp.enums import Role
from dynomite_mp.proto.commands import COMMANDS
from dynomite_mp.workers.histogram_figures import HistogramFigures, merged
from dynomite_mp.workers.node_figures import NodeFigures
