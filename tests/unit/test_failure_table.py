"""The table of other people's failures: every test that it names exists, and no thread is without one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "known-failures.md"
THREADS = {
    678, 540, 772, 422, 524, 475, 706, 139, 484, 308, 221, 809, 811, 812, 462, 435, 194, 336, 504, 550, 570, 338, 339,
    452, 56, 827, 156, 123, 460, 103,
}  # fmt: skip
RELATIVES = 8


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def rows(text: str) -> list[tuple[str, list[str]]]:
    """Thread, tests."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [(row[0], re.findall(r"`([^`]+)`", row[2])) for row in cells if row[0] not in ("thread", "---")]


def complaints(text: str) -> list[str]:
    found = []
    for thread, tests in rows(text):
        if not tests:
            found.append(f"{thread} has no test")
        for test in tests:
            path, _, name = test.partition("::")
            if not (ROOT / path).is_file() or name not in names_in(path):
                found.append(f"{thread}: there is no {test}")
    numbers = {int(number) for thread, _ in rows(text) for number in re.findall(r"#(\d+)", thread)}
    found += [f"#{number} is not in the table" for number in sorted(THREADS - numbers)]
    if sum(thread == "relative" for thread, _ in rows(text)) < RELATIVES:
        found.append("a failure of a relative is missing")
    return found


def test_every_failure_has_a_test_that_exists() -> None:
    assert not complaints(TABLE.read_text("utf-8"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("::test_clients_notice_nothing", "::test_clients_notice"),
        ("#540, #509", "#509"),
        ("`tests/unit/test_sim.py::test_scenario`", "nothing"),
        ("| relative |", "| other |"),
    ],
)
def test_the_table_cannot_rot(old: str, new: str) -> None:
    text = TABLE.read_text("utf-8")
    assert old in text
    broken = text.replace(old, new)
    if new == "nothing":
        broken = "\n".join(re.sub(r"`[^`]+`", new, line) if new in line else line for line in broken.splitlines())
    assert complaints(broken)
