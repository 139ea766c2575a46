"""Directories of a node: private, ours, and the same name for the same place."""

import os
import stat

import pytest

from dynomite_mp import config
from dynomite_mp.paths import NodePaths, UnusableDirectory, make_private


def node_paths(tmp_path, data: str) -> NodePaths:
    return NodePaths.of(
        config.build(
            {
                "listen": "127.0.0.1:1",
                "dyn_listen": "127.0.0.1:2",
                "data_dir": str(tmp_path / data),
                "runtime_dir": "/tmp/x",
            }
        )
    )


def test_the_name_in_shared_memory_is_that_of_the_real_path(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    assert node_paths(tmp_path, "data").slab_name == node_paths(tmp_path, "link").slab_name
    assert node_paths(tmp_path, "other").slab_name != node_paths(tmp_path, "data").slab_name
    assert node_paths(tmp_path, "data").slab_name.startswith(f"/dynomite-mp.{os.getuid()}.")


def test_directories_are_made_private(tmp_path):
    make_private(tmp_path / "a" / "b", "data_dir")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    make_private(tmp_path / "open", "data_dir")
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700


def test_a_file_or_a_link_in_its_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(UnusableDirectory) as caught:
            make_private(tmp_path / name, "runtime_dir")
        assert "runtime_dir" in caught.value.hint


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, -1)
    with pytest.raises(UnusableDirectory, match="another user"):
        make_private(tmp_path / "theirs", "data_dir")
