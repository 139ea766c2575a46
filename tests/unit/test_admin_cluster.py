"""`/cluster_describe`: the form of the C server, and what only the node itself knows."""

from dataclasses import replace

from dynomite_mp.config import build
from dynomite_mp.enums import NodeState
from dynomite_mp.workers.cluster_document import cluster_document
from dynomite_mp.workers.node_figures import identity_of
from dynomite_mp.workers.topology_source import configured_topology

CONFIG = build(
    {
        "listen": "[::1]:8102",
        "dyn_listen": "[::1]:8101",
        "datacenter": "dc-a",
        "rack": "rack-1",
        "tokens": "5",
        "dyn_seeds": ["10.0.0.2:8101:rack-1:dc-a:2147483648", "10.1.0.1:8101:rack-9:dc-b:7"],
    }
)
WHO = identity_of(CONFIG, 0.0, {})


def test_all_members_by_datacenter_and_rack() -> None:
    document = cluster_document(configured_topology(CONFIG), WHO, NodeState.NORMAL)
    assert document == {
        "dcs": [
            {
                "name": "dc-a",
                "racks": [
                    {
                        "name": "rack-1",
                        "servers": [
                            {"name": "::1", "host": "::1", "port": 8101, "token": 5, "tokens": [5],
                             "client_port": 8102, "state": "NORMAL"},
                            {"name": "10.0.0.2", "host": "10.0.0.2", "port": 8101, "token": 2147483648,
                             "tokens": [2147483648]},
                        ],
                    }
                ],
            },
            {
                "name": "dc-b",
                "racks": [
                    {
                        "name": "rack-9",
                        "servers": [
                            {"name": "10.1.0.1", "host": "10.1.0.1", "port": 8101, "token": 7, "tokens": [7]}
                        ],
                    }
                ],
            },
        ]
    }  # fmt: skip


def test_the_environment_names_the_public_address_of_the_node_itself() -> None:
    environ = {"EC2_PUBLIC_IPV4": "192.0.2.7", "EC2_PUBLIC_HOSTNAME": "node7.example"}
    document = cluster_document(configured_topology(CONFIG), identity_of(CONFIG, 0.0, environ), NodeState.NORMAL)
    own, other = document["dcs"][0]["racks"][0]["servers"]
    assert (own["name"], own["host"]) == ("192.0.2.7", "node7.example")
    assert (other["name"], other["host"]) == ("10.0.0.2", "10.0.0.2")


def test_the_first_of_several_tokens_is_that_of_c() -> None:
    several = replace(CONFIG, tokens=(9, 3))
    document = cluster_document(configured_topology(several), WHO, NodeState.JOINING)
    own = document["dcs"][0]["racks"][0]["servers"][0]
    assert (own["token"], own["tokens"], own["state"]) == (3, [3, 9], "JOINING")
