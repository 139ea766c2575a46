"""The service manager's protocol, against a real datagram socket."""

import os
import socket

import pytest

from dynomite_mp.notify import Notifier


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def test_what_is_said_arrives_as_lines_in_one_datagram(manager):
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("serving")
    assert manager.recv(4096).decode().split("\n") == ["READY=1", "STATUS=serving", f"MAINPID={os.getpid()}"]
    notifier.reloading(42)
    assert manager.recv(4096) == b"RELOADING=1\nMONOTONIC_USEC=42"
    notifier.stopping("draining")
    assert manager.recv(4096) == b"STOPPING=1\nSTATUS=draining"
    notifier.watchdog()
    assert manager.recv(4096) == b"WATCHDOG=1"


def test_an_abstract_socket_is_named_with_an_at_sign():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"dynomite-mp-test-{os.getpid()}"
        sock.bind("\0" + name)
        Notifier({"NOTIFY_SOCKET": "@" + name}).watchdog()
        assert sock.recv(100) == b"WATCHDOG=1"


def test_without_a_manager_nothing_happens():
    notifier = Notifier({})
    notifier.ready("serving")
    assert notifier.watchdog_interval_ms == 0


def test_a_manager_that_is_gone_is_no_error(tmp_path):
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).watchdog()


def test_the_variables_are_not_passed_on_to_children(manager):
    environ = {
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "10000000",
        "WATCHDOG_PID": str(os.getpid()),
        "A": "b",
    }
    notifier = Notifier(environ)
    assert environ == {"A": "b"}
    assert notifier.watchdog_interval_ms == 5000


@pytest.mark.parametrize(("usec", "pid"), [("", ""), ("x", ""), ("10000000", "1")])
def test_no_watchdog_unless_it_is_meant_for_us(usec, pid):
    assert Notifier({"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}).watchdog_interval_ms == 0
