"""Listening sockets: one owner of a port, a spread over several workers, leftovers of unix sockets."""

import os
import socket

import pytest

from dynomite_mp.config_values import Address
from dynomite_mp.enums import Role
from dynomite_mp.listeners import Listeners, ListenFailed, bind_address

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def test_one_worker_gets_one_plain_socket():
    (sock,) = bind_address("listen", Address(HOST, free_port()), 1, 16)
    with sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        assert not sock.get_inheritable() and not sock.getblocking()
        with socket.create_connection(sock.getsockname()):
            pass


def test_several_workers_get_one_socket_each_on_the_same_port():
    sockets = bind_address("listen", Address(HOST, free_port()), 3, 16)
    assert len({sock.getsockname() for sock in sockets}) == 1
    assert len({sock.fileno() for sock in sockets}) == 3
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize("first", [1, 3])
@pytest.mark.parametrize("second", [1, 3])
def test_a_port_that_is_taken_is_refused_however_many_workers_there_are(first, second):
    address = Address(HOST, free_port())
    sockets = bind_address("listen", address, first, 16)
    with pytest.raises(ListenFailed) as caught:
        bind_address("dyn_listen", address, second, 16)
    assert str(address) in caught.value.detail
    assert "`dyn_listen:`" in caught.value.detail and "address already in use" in caught.value.detail
    for sock in sockets:
        sock.close()


def test_an_address_that_is_not_ours_says_so():
    with pytest.raises(ListenFailed) as caught:
        bind_address("listen", Address("192.0.2.1", 8102), 1, 16)
    assert "no network interface" in caught.value.hint


def test_a_unix_socket_is_shared_and_a_leftover_is_replaced(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(path)
    sockets = bind_address("listen", Address("", 0, path), 2, 16)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    with pytest.raises(ListenFailed):
        bind_address("listen", Address("", 0, path), 1, 16)
    for sock in sockets:
        sock.close()


def test_a_file_in_the_place_of_a_unix_socket_is_not_removed(tmp_path):
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(ListenFailed):
        bind_address("listen", Address("", 0, str(path)), 1, 16)
    assert path.read_text() == "precious"


def bind_all(tmp_path, io_workers: int, stats_port: int) -> Listeners:
    listeners = Listeners(Address("", 0, str(tmp_path / "clients")), Address(HOST, free_port()), backlog=16)
    listeners.bind(Address(HOST, stats_port), io_workers)
    return listeners


def test_all_or_nothing(tmp_path):
    port = free_port()
    with socket.socket() as other:
        other.bind((HOST, port))
        other.listen()
        with pytest.raises(ListenFailed):
            bind_all(tmp_path, 1, port)
    assert not (tmp_path / "clients").exists()
    bind_all(tmp_path, 1, port).close()


def test_a_worker_that_is_given_up_closes_its_own_sockets_only_and_gets_them_back(tmp_path):
    listeners = bind_all(tmp_path, 2, free_port())
    address = listeners.peers[0].getsockname()
    listeners.close_io(0)
    assert [sock.fileno() >= 0 for sock in listeners.of(Role.IO, 0)] == [True, False]  # the unix socket is shared
    assert all(sock.fileno() >= 0 for sock in listeners.of(Role.IO, 1))
    listeners.open_io(0)
    assert listeners.peers[0].getsockname() == address
    listeners.close()
    assert not (tmp_path / "clients").exists()


def test_an_only_worker_refuses_when_it_is_given_up(tmp_path):
    listeners = bind_all(tmp_path, 1, free_port())
    address = listeners.peers[0].getsockname()
    listeners.close_io(0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    listeners.open_io(0)
    socket.create_connection(address).close()
    listeners.close()


def test_a_worker_cannot_close_the_descriptors_of_others_by_accident(tmp_path):
    listeners = bind_all(tmp_path, 2, free_port())
    others = [sock.fileno() for sock in (*listeners.of(Role.IO, 1), *listeners.stats)]
    own = [sock.fileno() for sock in listeners.of(Role.IO, 0)]
    listeners.keep_only(Role.IO, 0)
    assert [sock.fileno() for sock in listeners.of(Role.IO, 0)] == own
    listeners.close()
    for fd in others:
        os.close(fd)  # still open: the objects did not touch them


def test_each_role_gets_its_own(tmp_path):
    listeners = bind_all(tmp_path, 1, free_port())
    assert listeners.of(Role.IO, 0) == [*listeners.clients, *listeners.peers]
    assert listeners.of(Role.ADMIN, 0) == listeners.stats
    assert listeners.of(Role.GOSSIP, 0) == []
    listeners.close()


def test_connections_are_accepted_with_the_options_that_they_need():
    (sock,) = bind_address("listen", Address(HOST, free_port()), 1, 16)
    with sock, socket.create_connection(sock.getsockname()):
        sock.setblocking(True)
        with sock.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
