"""All scenarios and all mutants of the simulator, by name.

Two simulations share the network: of gossip (cluster.py, scenarios.py, checkers.py, mutants.py) and of requests
(request_cluster.py and its neighbours).
"""

from collections.abc import Callable

from . import request_mutants as _listed  # noqa: F401 - it adds its rows to mutants.MUTANTS
from .report import Report
from .request_scenarios import REQUEST_SCENARIOS
from .scenarios import SCENARIOS as GOSSIP_SCENARIOS

SCENARIOS: dict[str, Callable[..., Report]] = GOSSIP_SCENARIOS | REQUEST_SCENARIOS
