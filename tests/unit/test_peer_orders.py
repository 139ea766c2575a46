"""Orders of the operator about single peers, and what a worker makes of the links to them for others to see."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from dynomite_mp.cluster.topology import Node
from dynomite_mp.ipc.bulletin import LagRow, PeerRow
from dynomite_mp.workers.cluster_view import lag_rows, peer_rows
from dynomite_mp.workers.peer_mesh import PeerOrders

A, B, V6 = "10.0.0.1:8101", "10.0.0.2:8101", "[::2]:8101"


@dataclass
class Conn:
    is_up: bool = True
    is_silent: bool = False
    in_flight: int = 0
    waiting_bytes: int = 0


@dataclass
class Link:
    """The part of a PeerLink that orders touch and that is shown."""

    node: Node
    is_resting: bool = False
    is_up: bool = False
    is_ours: bool = False
    times_up: int = 0
    last_error: str = ""
    conn: Conn | None = None
    resets: list[str] = field(default_factory=list)

    def rest(self) -> None:
        self.is_resting = True

    def wake(self) -> None:
        self.is_resting = False

    def reset(self) -> None:
        self.resets.append(self.node.address)


def link(address: str, **changes: object) -> Link:
    host, _, port = address.rpartition(":")
    return Link(Node("dc", "rack", host.strip("[]"), int(port), (0,)), **changes)  # type: ignore[arg-type]


def resting(links: Iterable[Link]) -> list[bool]:
    return [one.is_resting for one in links]


def take(orders: PeerOrders, links: list[Link], key: str, value: str) -> bool:
    return orders.take(links, key, value)  # type: ignore[arg-type]


def test_an_order_is_for_all_links_to_one_address() -> None:
    orders, links = PeerOrders(), [link(A), link(A), link(B), link(V6)]
    assert take(orders, links, f"peer/{A}", "down")
    assert resting(links) == [True, True, False, False]
    assert take(orders, links, f"peer/{V6}", "down")
    assert take(orders, links, f"peer/{A}", "up")
    assert resting(links) == [False, False, False, True]


def test_the_last_of_several_orders_holds() -> None:
    orders, links = PeerOrders(), [link(A)]
    for value in ("down", "up", "down", "down"):
        take(orders, links, f"peer/{A}", value)
    assert resting(links) == [True]
    take(orders, links, f"peer/{A}", "up")
    assert resting(links) == [False]


def test_an_order_holds_for_links_that_are_made_later() -> None:
    orders = PeerOrders()
    take(orders, [], f"peer/{B}", "down")
    links = [link(A), link(B)]
    orders.apply(links)  # type: ignore[arg-type]
    assert resting(links) == [False, True]


def test_a_reset_is_for_one_address_and_leaves_no_trace() -> None:
    orders, links = PeerOrders(), [link(A), link(B)]
    assert take(orders, links, "peer_reset", B)
    assert [one.resets for one in links] == [[], [B]]
    assert resting(links) == [False, False]


def test_other_settings_are_none_of_these() -> None:
    assert not take(PeerOrders(), [link(A)], "timeout", "3")


def test_links_to_one_node_are_shown_as_one_peer() -> None:
    links = [
        link(A, is_up=True, is_ours=True, times_up=2, conn=Conn(in_flight=3, waiting_bytes=30)),
        link(A, last_error="Connection refused", times_up=1),
        link(A, is_up=True, is_ours=True, times_up=1, conn=Conn(is_silent=True, in_flight=1, waiting_bytes=9)),
        link(B, conn=Conn(is_up=False, in_flight=1, waiting_bytes=50)),
        link(V6, is_resting=True, times_up=1),
    ]
    assert peer_rows(links) == (  # type: ignore[arg-type]
        PeerRow("10.0.0.1", 8101, 3, 2, "ours", True, False, 4, 39, 4, "Connection refused"),
        PeerRow("10.0.0.2", 8101, 1, 0, "unknown"),  # its greeting is under way: no request of anybody
        PeerRow("::2", 8101, 1, 0, "c", False, True, times_up=1),
    )


def test_lags_are_rows_by_name() -> None:
    assert lag_rows({"dc2": (1, 2, 3, 4, 5, 6)}) == (LagRow("dc2", 1, 2, 3, 4, 5, 6),)
