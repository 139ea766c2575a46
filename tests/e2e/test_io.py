"""The io workers of a whole node, one and two of them: what clients get is what the datastore alone would give.

Short forms of the acceptance scripts of one node; the loads check every reply themselves.
"""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence

import hiredis
import pytest

from tests.e2e.harness import CLIENT_PORT, AddressBlock, Node, Nodes, wait_for
from tests.load import big_value
from tests.load.bad_input import bad_input
from tests.load.bare_store import BareStore
from tests.load.checked_load import LoadPlan, checked_load
from tests.load.dual_run import dual_run

MB = 1024 * 1024
HARD_LIMIT_BYTES = 16 * MB  # the deaf client of the hostile ones is closed; no other may ask for so much at once


@pytest.fixture(scope="module")
def bare() -> Iterator[BareStore]:
    with BareStore() as running:
        yield running


@pytest.fixture(scope="module", params=[1, 2])
def serving(
    request: pytest.FixtureRequest, block: AddressBlock, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    made = Nodes(block, tmp_path_factory.mktemp("io"))
    with contextlib.ExitStack() as stack:
        stack.callback(made.destroy)
        yield made.start(io_workers=request.param, client_hard_limit_bytes=HARD_LIMIT_BYTES)


def target(node: Node) -> tuple[str, int]:
    return node.host, CLIENT_PORT


def restarts(node: Node) -> int:
    return sum(row["restarts"] for row in node.status()["processes"])


def test_random_commands_answer_like_a_bare_datastore(serving: Node, bare: BareStore) -> None:
    outcome = dual_run([target(serving)], (bare.host, bare.port), count=500, seed=5)
    assert outcome.commands == 500
    assert outcome.differences == []


def test_every_reply_under_load_is_right_and_in_order(serving: Node) -> None:
    unread_bytes_max = HARD_LIMIT_BYTES // 2
    result = checked_load(LoadPlan((target(serving),), 2.0, 20, 2, 5000, unread_bytes_max=unread_bytes_max, seed=2))
    assert result.replies > 1000
    assert result.error_count == 0, result.errors


def test_a_value_beyond_every_buffer_comes_back_whole(serving: Node) -> None:
    """Larger than a ring between io workers too: it goes by file."""
    assert big_value.round_trip(target(serving), 12 * MB).problems == []


def test_hostile_clients_harm_nobody_else(serving: Node) -> None:
    report = bad_input(target(serving), short=True, pid=serving.pid, memory_limit=128 * MB)
    assert report.failures() == []
    assert restarts(serving) == 0


def lose(node: Node, name: str) -> None:
    """Kill a process and wait for its successor."""
    pid = node.pid_of(name)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: node.pid_of(name) not in (0, pid), 10, f"{name} to be replaced")


def all_served(node: Node, keys: Sequence[str], word: str) -> bool:
    with node.connect() as client:
        return not any(isinstance(client.call("SET", key, word), hiredis.ReplyError) for key in keys)


@pytest.mark.parametrize("io_workers", [1, 2])
def test_after_the_loss_of_a_process_the_others_go_on_and_it_comes_back(nodes: Nodes, io_workers: int) -> None:
    node = nodes.start(io_workers=io_workers)
    keys = [f"k{i}" for i in range(32)]  # on every shard
    for victim in (f"io[{io_workers - 1}]", "datastore"):
        lose(node, victim)
        wait_for(lambda word=victim: all_served(node, keys, word), 15, f"service after the loss of {victim}")
        with node.connect() as client:
            assert [client.call("GET", key) for key in keys] == [victim.encode()] * len(keys)
    assert restarts(node) == 2
