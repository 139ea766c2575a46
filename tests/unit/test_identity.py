"""Who a node is: the same id for as long as its data_dir lives, a higher boot number at every start."""

from pathlib import Path

import pytest

from dynomite_mp.identity import FILE, NodeIdentity


def test_a_node_is_known_again(tmp_path: Path) -> None:
    first = NodeIdentity.next(tmp_path)
    assert 0 < first.node_id < 2**63
    assert first.boot == 1
    assert NodeIdentity.next(tmp_path) == NodeIdentity(first.node_id, 2)
    assert NodeIdentity.next(tmp_path) == NodeIdentity(first.node_id, 3)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"node_id": "x", "boot": 1}', "\x00"])
def test_a_spoilt_file_makes_a_new_node(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert NodeIdentity.next(tmp_path).boot == 1


def test_two_nodes_are_two(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert NodeIdentity.next(tmp_path).node_id != NodeIdentity.next(tmp_path / "other").node_id
