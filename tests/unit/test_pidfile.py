"""The lock that means "something of this node still runs": exclusive, inherited, and free when the last holder ends."""

import os

import pytest

from dynomite_mp.pidfile import Held, LockedFile, holder


def test_the_file_holds_our_pid_and_a_second_taker_is_told_it(tmp_path):
    path = tmp_path / "pid"
    locked = LockedFile.acquire(path)
    assert path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(Held) as caught:
        LockedFile.acquire(path)
    assert caught.value.pid == os.getpid()
    assert str(os.getpid()) in str(caught.value)
    os.close(locked.fd)
    os.close(LockedFile.acquire(path).fd)


def test_holder_says_who_has_it_and_none_when_nobody_does(tmp_path):
    path = tmp_path / "pid"
    assert holder(path) is None
    locked = LockedFile.acquire(path)
    assert holder(path) == os.getpid()
    os.close(locked.fd)
    assert holder(path) is None
    assert path.exists()


def test_a_child_that_inherited_it_keeps_it_locked_after_its_parent_closed_it(tmp_path):
    path = tmp_path / "pid"
    locked = LockedFile.acquire(path)
    go_reading, go_writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_writing)
        os.read(go_reading, 1)  # until the parent closes its end
        os._exit(0)
    os.close(go_reading)
    os.close(locked.fd)
    try:
        with pytest.raises(Held):
            LockedFile.acquire(path)
    finally:
        os.close(go_writing)
        os.waitpid(pid, 0)
    os.close(LockedFile.acquire(path).fd)


def test_the_pid_of_an_earlier_longer_number_does_not_shine_through(tmp_path):
    path = tmp_path / "pid"
    path.write_text("1234567890\n")
    locked = LockedFile.acquire(path)
    assert path.read_text() == f"{os.getpid()}\n"
    os.close(locked.fd)


def test_nonsense_in_the_file_is_no_pid(tmp_path):
    path = tmp_path / "pid"
    locked = LockedFile.acquire(path)
    path.write_text("nonsense")
    assert holder(path) == 0
    os.close(locked.fd)


def test_remove_takes_the_name_away(tmp_path):
    path = tmp_path / "pid"
    locked = LockedFile.acquire(path)
    locked.remove()
    assert not path.exists()
    second = LockedFile.acquire(path)  # a new file, so the old lock is no obstacle
    os.close(locked.fd)
    os.close(second.fd)
