"""A NodeStatus as text for people: one block a node, columns that keep their place so that --watch does not jump."""

import time
from collections.abc import Sequence

from dynomite_mp.ipc.bulletin import HintRow, RepairRow
from dynomite_mp.status import NodeStatus, ProcessRow, RingRow
from dynomite_mp.workers.cluster_figures import DatacenterStatus, PeerStatus

PROCESS_COLUMNS = ("process", "pid", "state", "cpu%", "memory", "restarts", "up", "note")
PEER_COLUMNS = ("node", "rack", "token", "state", "connection", "in flight", "note")
LAG_COLUMNS = ("datacenter", "racks", "nodes", "waiting", "bytes", "oldest", "sent", "other rack", "dropped")
HINT_COLUMNS = ("writes to come for", "records", "bytes", "oldest", "not kept", "note")
RING_COLUMNS = ("ring", "waiting", "of", "highest", "full", "dropped")


def node_text(status: NodeStatus, *, all_rings: bool = False) -> str:
    """Who, what is wrong, its processes, what it does, the cluster as it sees it, its rings."""
    parts = [headline(status), *(f"  ! {problem}" for problem in status.problems)]
    if status.leftover_pids:
        parts.append(f"  ! still draining: {', '.join(map(str, status.leftover_pids))}")
    parts.append(table(PROCESS_COLUMNS, [process_cells(row) for row in status.processes]))
    if status.rates:
        parts.append(activity(status))
    if status.peers:
        parts.append(table(PEER_COLUMNS, [own_cells(status), *(peer_cells(row) for row in status.peers)]))
    if status.not_shown:
        parts.append(f"  and {status.not_shown} more rows than shared memory has room for")
    if len(status.datacenters) > 1:
        parts.append(table(LAG_COLUMNS, [datacenter_cells(row) for row in status.datacenters]))
    hints = [row for row in status.hints if row.records or row.dirty]
    if hints:
        parts.append(table(HINT_COLUMNS, [hint_cells(row) for row in hints]))
    parts += [repair_line(row) for row in status.repairs]
    rings = [row for row in status.rings if all_rings or row.depth_bytes or row.failed_offers or row.dropped]
    if rings:
        parts.append(table(RING_COLUMNS, [ring_cells(row) for row in rings]))
    return "\n".join(parts)


def headline(status: NodeStatus) -> str:
    identity = status.identity
    tokens = ",".join(map(str, identity.get("tokens", ()))) or "none"
    state = "STALE" if status.is_stale else f"up {duration(time.time() - status.started_at)}"
    return (
        f"{identity.get('dc')}/{identity.get('rack')}  token {tokens}  {state}  dynomite-mp {identity.get('version')}\n"
        f"  clients {identity.get('listen')}  peers {identity.get('dyn_listen')}"
        f"  http {identity.get('stats_listen')}\n"
        f"  datastore {identity.get('datastore')}  data {identity.get('data_dir')}"
    )


def process_cells(row: ProcessRow) -> tuple[str, ...]:
    return (
        row.name,
        str(row.pid) if row.pid else "-",
        row.state,
        f"{row.cpu_percent:.1f}" if row.cpu_percent is not None else "-",
        size(row.rss_bytes),
        str(row.restarts),
        duration(row.uptime_s) if row.uptime_s is not None else "-",
        f"silent for {row.silent_ms / 1000:.0f} s" if row.is_silent and row.silent_ms is not None else "",
    )


def own_cells(status: NodeStatus) -> tuple[str, ...]:
    """The node itself, in the table of the cluster."""
    identity = status.identity
    tokens = tuple(identity.get("tokens", ()))
    place = f"{identity.get('dc')}/{identity.get('rack')}"
    return (
        str(identity.get("dyn_listen")), place, token_cell(tokens[0] if tokens else None, len(tokens)),
        status.node_state, "this node", "-", "",
    )  # fmt: skip


def peer_cells(row: PeerStatus) -> tuple[str, ...]:
    return (
        row.address,
        f"{row.dc}/{row.rack}" if row.rack else "-",
        token_cell(row.token, row.token_count),
        row.state,
        connection(row),
        f"{row.in_flight} ({size(row.waiting_bytes)})" if row.in_flight else "0",
        row.last_error,
    )


def token_cell(token: int | None, count: int) -> str:
    """The first token and how many more there are."""
    if token is None:
        return "-"
    return f"{token} +{count - 1}" if count > 1 else str(token)


def connection(row: PeerStatus) -> str:
    """One word for the links to a peer, with their number when there are several; then what runs there."""
    if row.is_resting:
        return "taken out"
    word = "silent" if row.is_silent else "up" if row.links_up else "down" if row.links else "-"
    if 0 < row.links_up < row.links:
        word += f" {row.links_up} of {row.links}"
    return f"{word}, C" if row.flavour == "c" else word


def datacenter_cells(row: DatacenterStatus) -> tuple[str, ...]:
    nodes = f"{row.nodes_connected} of {row.nodes}" if row.nodes else "-"
    if row.is_local:
        return (row.name, str(row.racks), nodes, *["-"] * 6)
    return (
        row.name,
        str(row.racks),
        nodes,
        str(row.waiting),
        size(row.waiting_bytes),
        f"{row.oldest_ms} ms" if row.waiting else "-",
        str(row.sent),
        str(row.failed_over),
        str(row.dropped),
    )


def hint_cells(row: HintRow) -> tuple[str, ...]:
    oldest = duration(row.oldest_ms / 1000) if row.records else "-"
    note = f"DIRTY: {row.dirty}" if row.dirty else ""
    return row.name, str(row.records), size(row.size_bytes), oldest, str(row.lost), note


def repair_line(row: RepairRow) -> str:
    """The comparison under way, or the last one and how long ago it ended."""
    when = "" if row.state == "running" else f" {duration(time.time() - row.ended_ms / 1000)} ago"
    line = (
        f"  comparison ({row.why}) {row.state}{when}: {row.keys_read} keys read, {row.keys_differing} differed,"
        f" {row.keys_mended} mended"
    )
    return f"{line}; {row.text}" if row.text else line


def ring_cells(row: RingRow) -> tuple[str, ...]:
    return (
        f"{row.producer} > {row.consumer}",
        size(row.depth_bytes),
        size(row.capacity_bytes),
        size(row.high_water_bytes),
        str(row.failed_offers),
        str(row.dropped),
    )


def activity(status: NodeStatus) -> str:
    rates = status.rates
    return (
        f"  {rates['requests']:.0f} requests/s ({rates['reads']:.0f} reads, {rates['writes']:.0f} writes,"
        f" {rates['errors']:.0f} errors), {size(int(rates['bytes_in']))}/s in, {size(int(rates['bytes_out']))}/s out,"
        f" {status.client_connections} clients, {status.requests_total} requests since start"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces in and between."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [columns, *rows]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def size(count: int | None) -> str:
    """1023 B, 1.0 KiB, 12.3 MiB."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """The two largest units: 12 s, 3 min 4 s, 2 h 5 min, 3 d 4 h."""
    whole = int(max(0, seconds))
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    for place, (unit, length) in enumerate(units):
        if whole >= length or length == 1:
            shown = f"{whole // length} {unit}"
            if place + 1 < len(units):
                smaller, smaller_length = units[place + 1]
                shown += f" {whole % length // smaller_length} {smaller}"
            return shown
    raise AssertionError("unreachable")
