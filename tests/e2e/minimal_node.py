"""`python -m tests.e2e.minimal_node start --conf FILE`: the whole product but for its io and admin workers.

For tests of the supervisor alone; the crash-loop limits are short so that a test does not wait for half a minute.
"""

import sys

from dynomite_mp import cli, restart_policy, spawner
from dynomite_mp.enums import Role
from dynomite_mp.restart_policy import Limits

if __name__ == "__main__":
    spawner.ROLES = {
        **spawner.ROLES,
        Role.IO: "tests.e2e.minimal_workers:MinimalIo",
        Role.ADMIN: "tests.e2e.minimal_workers:MinimalAdmin",
    }
    restart_policy.LIMITS = {
        **restart_policy.LIMITS,
        Role.IO: Limits(crash_limit=4, backoff_first_ms=50, stale_ms=2_000),
    }
    sys.exit(cli.main())
