"""The simulator finds nothing wrong in fifty seeds of every scenario, and something in every mutant."""

import pytest

from tests.sim import __main__ as command
from tests.sim.catalogue import SCENARIOS
from tests.sim.mutants import MUTANTS
from tests.sim.request_scenarios import REQUEST_SCENARIOS

SEEDS = 50
LARGE_SEEDS = 1
MUTANT_SEEDS = 60


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario):
    seeds = LARGE_SEEDS if scenario == "large" else SEEDS
    failed = [str(report) for seed in range(seeds) if (report := SCENARIOS[scenario](seed)).complaints]
    assert not failed, "\n".join(failed) + f"\nagain: python -m tests.sim --scenario {scenario} --seed N"


def test_a_seed_is_a_run():
    first, second = (SCENARIOS["storm"](11) for _ in range(2))
    assert first.cluster is not None and second.cluster is not None
    assert first.cluster.history == second.cluster.history
    assert first.datagrams == second.datagrams > 0
    other = SCENARIOS["storm"](12)
    assert other.datagrams != first.datagrams


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name):
    mutant = MUTANTS[name]
    with mutant.applied():
        caught = any(
            SCENARIOS[scenario](seed).complaints for seed in range(MUTANT_SEEDS) for scenario in mutant.scenarios
        )
    assert caught, f"{MUTANT_SEEDS} seeds did not notice: {mutant.what}"


def test_there_are_mutants_enough():
    of_requests = [m for m in MUTANTS.values() if set(m.scenarios) <= set(REQUEST_SCENARIOS)]
    assert len(MUTANTS) - len(of_requests) >= 8
    assert len(of_requests) >= 8
    assert {"quorum_off_by_one", "next_request", "stale_topology"} <= {m.name for m in of_requests}


@pytest.mark.parametrize("scenario", REQUEST_SCENARIOS)
def test_a_seed_is_a_run_of_requests(scenario):
    first, second = (SCENARIOS[scenario](5) for _ in range(2))
    assert first.lines == second.lines
    assert first.answered > first.requests // 4
    assert SCENARIOS[scenario](6).lines != first.lines


def test_the_command_prints_a_line_per_failure_and_returns_1(capsys):
    assert command.main(["--scenario", "intruder", "--seeds", "2"]) == 0
    assert "2 runs, 0 failed" in capsys.readouterr().out
    assert command.main(["--scenario", "intruder", "--seeds", "2", "--mutant", "place_by_force"]) == 1
    out = capsys.readouterr().out
    assert "FAILED intruder seed 0" in out and "2 failed" in out
    assert command.main(["--scenario", "calm", "--seed", "3"]) == 0
    assert "ANNOUNCED" in capsys.readouterr().out
