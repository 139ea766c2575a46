"""Fixtures of the end-to-end tests: a block of addresses per test process, nodes that are cleaned up per test."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import AddressBlock, Node, Nodes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the last lines of every node's log."""
    report = yield
    if report.failed and report.when == "call":
        for found in getattr(item, "funcargs", {}).values():
            if isinstance(found, Nodes):
                report.sections.append(("logs of the nodes", found.tails()))
            elif isinstance(found, Node):
                report.sections.append(("log of the node", found.tail()))
    return report


@pytest.fixture(scope="session")
def block() -> Iterator[AddressBlock]:
    with AddressBlock.acquire() as acquired:
        yield acquired


@pytest.fixture
def nodes(block: AddressBlock, tmp_path: Path) -> Iterator[Nodes]:
    """nodes.make(io_workers=2), nodes.start(...), nodes.cluster({"dc1": {"rack1": 2}})."""
    made = Nodes(block, tmp_path)
    yield made
    made.destroy()


@pytest.fixture
def node(nodes: Nodes) -> Node:
    """One running node with default settings."""
    return nodes.start()
