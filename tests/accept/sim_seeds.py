"""The simulator over many seeds: every scenario clean, every mutant caught, and how long views took to converge.

    python -m tests.accept.sim_seeds [--seeds 1000] [--large 1000] [--jobs 2]

`--large` is the number of seeds with 100 nodes; each takes some seconds.
"""

import argparse
import sys
from collections.abc import Sequence

from tests.sim import __main__ as command
from tests.sim.mutants import MUTANTS

TOPIC = "sim"
TITLE = "simulated clusters: 1,000 seeds clean of gossip and of requests, views converge, every mutant is caught"
MUTANT_SEEDS = 200


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="sim_seeds")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--large", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(list(argv))
    jobs = ["--jobs", str(options.jobs)]
    failed = command.main(["--seeds", str(options.seeds), *jobs])
    missed = [name for name in MUTANTS if not is_caught(name)]
    print(f"{len(MUTANTS) - len(missed)} of {len(MUTANTS)} mutants caught" + (f", not {missed}" if missed else ""))
    if options.large:
        failed |= command.main(["--scenario", "large", "--seeds", str(options.large), *jobs])
    return int(bool(failed or missed))


def is_caught(name: str) -> bool:
    mutant = MUTANTS[name]
    for seed in range(MUTANT_SEEDS):
        for scenario in mutant.scenarios:
            report = command.run_one((scenario, seed, 0, name))
            if report.complaints:
                print(f"mutant {name}: {report.scenario} seed {seed}: {report.complaints[0][:90]}")
                return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
