"""What must hold: views that are equal and right once faults are over, and at every moment snapshots that are usable.

Each checker says in a sentence what is wrong, or nothing.
"""

import msgpack

from dynomite_mp.cluster.membership_record import Liveness
from dynomite_mp.cluster.topology import Topology
from dynomite_mp.enums import NodeState
from dynomite_mp.errors import TopologyError

from .cluster import Cluster, SimNode


def disagreement(cluster: Cluster) -> str:
    """Why the views of the working nodes are not all equal to what is really there; empty when they are."""
    truth: dict[int, SimNode] = {node.node_id: node for node in cluster.nodes}
    first: tuple[SimNode, set[tuple[object, ...]]] | None = None
    for node in cluster.working():
        if not node.m.announced:
            return f"{node} is not announced"
        if problem := wrong_view(cluster, node, truth):
            return problem
        listed = {(m.node_id, m.liveness, m.profile) for m in node.m.members() if m.liveness is not Liveness.LEFT}
        if first is None:
            first = node, listed
        elif listed != first[1]:
            return f"{node} and {first[0]} do not know the same dead nodes: {listed ^ first[1]}"
    return ""


def wrong_view(cluster: Cluster, node: SimNode, truth: dict[int, SimNode]) -> str:
    """What is wrong in one node's view."""
    known = {m.node_id: m for m in node.m.members()}
    for other in cluster.working():
        if other.node_id not in known:
            return f"{node} does not know {other}"
    for member in known.values():
        other = truth[member.node_id]
        if other.working:
            if member.liveness is not Liveness.ALIVE:
                return f"{node} thinks that {other} is {member.liveness.name}"
            own = other.m.own.member
            if (member.boot, member.profile, member.state, member.hints) != (
                own.boot, own.profile, own.state, own.hints,
            ):  # fmt: skip
                return f"{node} knows an old {other}"
        elif member.liveness <= Liveness.SUSPECT:
            return f"{node} thinks that {other} is alive"
    return ""


def final(cluster: Cluster) -> None:
    """Everything that must hold in the end."""
    states = {node.node_id: node for node in cluster.nodes}
    tables = {}
    for node in cluster.working():
        table = usable_topology(cluster, node)
        if table is not None:
            tables[str(node)] = table
        for member in node.m.members():
            owner = states[member.node_id]
            if owner.working and (member.boot, member.incarnation) > (owner.boot, owner.m.own.member.incarnation):
                cluster.complain(f"{node} knows an incarnation of {owner} that it never had")
    if not cluster.complaints and len(set(map(str, tables.values()))) > 1:
        cluster.complain(f"topologies differ: {tables}")
    if cluster.complaints:
        return
    replaced = {n.profile.place for n in cluster.working()}
    for name, table in tables.items():
        for dc, rack, host, tokens, state in table:
            if (dc, rack, tokens) in replaced and state is NodeState.DOWN:
                cluster.complain(f"{name} lists {host}, whose place {dc}/{rack}/{tokens} is another's")


def usable_topology(cluster: Cluster, node: SimNode) -> list[tuple[object, ...]] | None:
    """The topology that a node publishes, as others would too; complains if it makes none."""
    try:
        topology = Topology.from_plain(msgpack.unpackb(node.m.to_topology(), strict_map_key=False))
    except TopologyError as problem:
        cluster.complain(f"{node} publishes a topology that is none: {problem}")
        return None
    if topology.local.tokens != node.profile.tokens:
        cluster.complain(f"{node} publishes a topology in which it is not itself")
    _, rows, clashes = node.m.snapshot()
    for clash in clashes:
        cluster.complain(f"{node} sees a contradiction: {clash}")
    return [(row.dc, row.rack, row.host, row.tokens, row.state) for row in rows if row.node_id]
