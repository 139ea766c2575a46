"""The shape of a cluster on one machine, its configurations and its addresses. Nothing is started here."""

import fcntl
import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from dynomite_mp import address_block, cli, config
from dynomite_mp.address_block import AddressBlock, NoAddresses
from dynomite_mp.cluster_command import wanted_layout
from dynomite_mp.enums import ExitCode
from dynomite_mp.ipc import wiring
from dynomite_mp.ipc.ring import footprint_bytes
from dynomite_mp.local_cluster import LocalCluster, LocalClusterError, read_state
from dynomite_mp.local_layout import DEFAULTS, HASH_SPACES, Layout, LayoutError, conf_text, even_tokens
from dynomite_mp.local_node import OwnProcess
from dynomite_mp.settings import HASHES

VECTORS = Path(__file__).parents[1] / "testdata" / "hash-vectors.json"


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two blocks only, with lock files of their own."""
    monkeypatch.setattr(address_block, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(address_block, "PREFIXES", ("127.60.1", "127.60.2"))
    return tmp_path / "locks"


# ---- layout ----------------------------------------------------------------------------------------------------------


def test_an_even_layout_names_every_node():
    names = [place.name for place in Layout.even(2, 3, 2).places()]
    assert len(names) == len(set(names)) == 12
    assert names[:3] == ["dc1-rack1-1", "dc1-rack1-2", "dc1-rack2-1"] and names[-1] == "dc2-rack3-2"


def test_racks_and_datacenters_may_differ():
    layout = Layout.parse(["east=2,1", "west=3"])
    tokens = [(place.name, place.token("murmur")) for place in layout.places()]
    third = 2**32 // 3
    assert tokens == [
        ("east-rack1-1", 0), ("east-rack1-2", 2**31), ("east-rack2-1", 0),
        ("west-rack1-1", 0), ("west-rack1-2", third), ("west-rack1-3", 2 * third),
    ]  # fmt: skip
    assert layout.node_count == 6 and str(layout) == "east=2,1 west=3"


@pytest.mark.parametrize(
    "texts",
    [[], ["dc1"], ["dc1="], ["dc1=2,"], ["dc1=2,0"], ["dc1=-1"], ["dc1=1", "dc1=2"], ["dc1=200,55"], ["a:b=1"],
     ["../x=1"], [".x=1"], ["=1"]],
    ids=str,
)  # fmt: skip
def test_what_is_no_layout_is_refused(texts):
    with pytest.raises(LayoutError):
        Layout.parse(texts)


def test_no_datacenter_or_rack_is_without_a_node():
    for counts in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(LayoutError):
            Layout.even(*counts)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"nodes": 2}, {"dc1": (2, 2, 2)}),
        ({"dcs": 2, "racks": 1}, {"dc1": (1,), "dc2": (1,)}),
        ({"layouts": ("a=1,2",)}, {"a": (1, 2)}),
    ],
)
def test_what_the_command_line_says_of_the_layout(options, expected):
    layout = wanted_layout({"dcs": None, "racks": None, "nodes": None, "layouts": (), **options})
    assert (layout and layout.racks) == expected


def test_tokens_are_even_over_what_the_hash_returns():
    recorded = json.loads(VECTORS.read_text())
    for place, name in enumerate(recorded["names"], 1):
        space = HASH_SPACES.get(name, 2**32)
        highest = max(row[place] for row in recorded["rows"])
        assert highest < space, name
        # 400 keys: were the space any larger, a node of two would get next to none of them.
        if name != "crc16":  # C's overflows into some of the upper bits only
            assert highest > space * 0.9, name
        assert even_tokens(2, name) == [0, space // 2]
    assert even_tokens(4, "redis_slot") == [0, 4096, 8192, 12288]
    assert set(HASH_SPACES) <= set(HASHES)


# ---- configurations --------------------------------------------------------------------------------------------------


def test_every_configuration_loads_and_names_all_others(locks, tmp_path):
    layout = Layout.parse(["dc1=2,1", "dc2=1"])
    cluster = LocalCluster.create(layout, tmp_path / "c", {"hash_tag": "{}", "write_consistency": "DC_QUORUM"})
    confs = [config.load(node.conf_path) for node in cluster.nodes]
    places = {(c.datacenter, c.rack, c.tokens, str(c.dyn_listen)) for c in confs}
    assert len(places) == 4
    for node, conf in zip(cluster.nodes, confs, strict=True):
        seeds = {(seed.datacenter, seed.rack, seed.tokens, str(seed.address)) for seed in conf.dyn_seeds}
        own = (conf.datacenter, conf.rack, conf.tokens, str(conf.dyn_listen))
        assert len(seeds) == 3 and seeds | {own} == places
        assert conf.hash_tag == b"{}" and conf.write_consistency.name == "DC_QUORUM" and conf.datastore is None
        assert (str(conf.listen), conf.data_dir, conf.runtime_dir) == (
            node.client_address, node.data_dir, node.runtime_dir
        )  # fmt: skip
    assert len({c.runtime_dir for c in confs}) == 4


def test_the_hash_function_decides_about_the_tokens(locks, tmp_path):
    cluster = LocalCluster.create(Layout.even(1, 1, 2), tmp_path / "c", {"hash": "redis_slot"})
    assert [config.load(node.conf_path).tokens for node in cluster.nodes] == [(0,), (8192,)]


def test_the_rings_of_a_node_are_small():
    sizes = {key: int(value) for key, value in DEFAULTS.items()}
    rings = wiring.expand(1, {**sizes, "lane_overflow_bytes": 0})
    default = wiring.expand(1, {"io_ring_bytes": 4 << 20, "replication_ring_bytes": 64 << 20, "lane_overflow_bytes": 0})
    total, usual = (sum(footprint_bytes(spec.capacity_bytes) for spec in specs) for specs in (rings, default))
    assert total <= 4 << 20 and usual > 64 << 20


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"tokens": "1"}, "tokens"), ({"dyn_seeds": "x"}, "dyn_seeds"), ({"timeuot": "1"}, "timeout"),
     ({"timeout": "soon"}, "timeout")],
)  # fmt: skip
def test_settings_that_no_node_could_have_are_refused_before_anything_is_written(settings, named, locks, tmp_path):
    with pytest.raises(LocalClusterError, match=named):
        LocalCluster.create(Layout.even(1, 1, 1), tmp_path / "c", settings)
    assert not locks.exists() and not LocalCluster.exists(tmp_path / "c")


@pytest.mark.parametrize("value", ["{}", "a: b", "- x", '"', "'", "#", "true", "1", "", "*x", "%", "a b"])
def test_any_text_survives_the_configuration_file(value, tmp_path):
    import yaml

    text = conf_text({"key": value, "list": [value], "empty": []})
    read = yaml.load(text, Loader=yaml.BaseLoader)
    assert read == {"dyn_o_mite": {"key": value, "list": [value]}}


# ---- directories -----------------------------------------------------------------------------------------------------


def test_a_cluster_is_found_again_by_its_directory(locks, tmp_path):
    made = LocalCluster.create(Layout.parse(["a=1,2"]), tmp_path / "c", {"timeout": "700"})
    found = LocalCluster.open(tmp_path / "c")
    assert found.nodes == made.nodes and found.config == {"timeout": "700"} and found.layout == made.layout
    assert found.node("a-rack2-2").host == made.nodes[2].host
    with pytest.raises(LocalClusterError, match="a-rack1-1"):
        found.node("a-rack9-1")


def test_a_cluster_of_another_layout_is_not_replaced(locks, tmp_path):
    LocalCluster.create(Layout.even(1, 1, 1), tmp_path / "c").release()
    with pytest.raises(LocalClusterError, match="another layout"):
        LocalCluster.create(Layout.even(1, 1, 2), tmp_path / "c")


def test_settings_change_and_addresses_stay(locks, tmp_path):
    first = LocalCluster.create(Layout.even(1, 1, 2), tmp_path / "c")
    first.release()
    second = LocalCluster.create(Layout.even(1, 1, 2), tmp_path / "c", {"timeout": "700"})
    assert [node.host for node in second.nodes] == [node.host for node in first.nodes]
    assert config.load(second.nodes[0].conf_path).timeout == 700


def test_a_directory_with_something_else_in_it_is_left_alone(locks, tmp_path):
    (tmp_path / "c" / "dc1-rack1-1").mkdir(parents=True)
    with pytest.raises(LocalClusterError, match="exists already"):
        LocalCluster.create(Layout.even(1, 1, 1), tmp_path / "c")


def test_purge_removes_what_the_cluster_has_written_and_nothing_else(locks, tmp_path):
    other = tmp_path / "c" / "mine.txt"
    cluster = LocalCluster.create(Layout.even(1, 1, 2), tmp_path / "c")
    other.write_text("x")
    cluster.down()
    assert cluster.nodes[0].conf_path.exists()
    cluster.down(purge=True)
    assert list((tmp_path / "c").iterdir()) == [other]
    with pytest.raises(LocalClusterError, match="there is no cluster"):
        LocalCluster.open(tmp_path / "c")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99}', "null"])
def test_a_state_that_cannot_be_read_is_named(text, tmp_path):
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(LocalClusterError, match=r"cluster\.json"):
        read_state(tmp_path)


# ---- addresses -------------------------------------------------------------------------------------------------------


def is_locked(path: Path) -> bool:
    """As the tests' own blocks see it."""
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def test_a_block_has_one_owner_until_its_last_holder_is_gone(locks):
    first = AddressBlock.acquire("a")
    assert is_locked(locks / first.prefix)
    inherited = os.dup(first.fd)
    first.release()
    assert is_locked(locks / first.prefix)
    os.close(inherited)
    assert not is_locked(locks / first.prefix)


def test_no_block_is_given_twice(locks):
    prefixes = {AddressBlock.acquire("a").prefix, AddressBlock.acquire("a").prefix}
    assert prefixes == {"127.60.1", "127.60.2"}
    with pytest.raises(NoAddresses):
        AddressBlock.acquire("a")


def test_a_block_locked_by_others_is_passed_over(locks):
    locks.mkdir()
    with open(locks / "127.60.1", "w") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        assert AddressBlock.acquire("a").prefix == "127.60.2"


def test_a_lock_file_that_leads_elsewhere_is_passed_over(locks, tmp_path):
    locks.mkdir()
    (tmp_path / "precious").write_text("x")
    (locks / "127.60.1").symlink_to(tmp_path / "precious")
    assert AddressBlock.acquire("a").prefix == "127.60.2"
    assert (tmp_path / "precious").read_text() == "x"


def test_processes_of_one_owner_share_a_block(locks, monkeypatch):
    monkeypatch.setattr(address_block, "RECLAIM_S", 0.0)
    first = AddressBlock.acquire("a")
    second = AddressBlock.reclaim(first.prefix, "a")
    assert second is not None and AddressBlock.reclaim(first.prefix, "b") is None
    first.release()
    assert is_locked(locks / first.prefix) and AddressBlock.reclaim(first.prefix, "b") is None
    second.release()
    assert AddressBlock.reclaim(first.prefix, "b") is not None
    assert AddressBlock.reclaim(first.prefix, "a") is None


def test_an_address_that_is_in_use_is_passed_over(locks):
    block = AddressBlock.acquire("a")
    with socket.create_server((f"{block.prefix}.2", address_block.PEER_PORT)):
        assert block.hosts(2) == [f"{block.prefix}.1", f"{block.prefix}.3"]
        with pytest.raises(NoAddresses, match="253"):
            block.hosts(254)


# ---- processes -------------------------------------------------------------------------------------------------------


def test_only_a_process_that_holds_the_lock_file_is_signalled(tmp_path):
    lock = tmp_path / "lock"
    assert OwnProcess.open(os.getpid(), lock) is None
    with open(lock, "w"):
        found = OwnProcess.open(os.getpid(), lock)
        assert found is not None and found.pid == os.getpid()
        with found:
            assert OwnProcess.open(os.getppid(), lock) is None
    assert OwnProcess.open(os.getpid(), lock) is None


# ---- command line ----------------------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.commands, arguments)
    return done.exit_code, done.output


def test_tokens():
    assert run("tokens", "--nodes", "4") == (0, "0\n1073741824\n2147483648\n3221225472\n")
    assert run("tokens", "--nodes", "2", "--hash", "redis_slot") == (0, "0\n8192\n")
    assert run("tokens", "--nodes", "2", "--hash", "sha")[0] == ExitCode.USAGE
    assert run("tokens", "--nodes", "0")[0] == ExitCode.USAGE


def test_commands_of_the_other_module_are_listed():
    code, text = run("--help")
    assert code == 0 and "cluster" in text and "tokens" in text and "start" in text


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("down",), ("stop", "x"), ("kill", "x"), ("start", "x")],
    ids=lambda arguments: arguments[0],
)
def test_without_a_cluster_the_commands_say_so(arguments, tmp_path):
    code, text = run("cluster", *arguments, "--directory", str(tmp_path))
    assert code == ExitCode.FAILURE and "there is no cluster" in text and "Traceback" not in text


def test_status_of_a_cluster_that_is_down(locks, tmp_path):
    LocalCluster.create(Layout.even(1, 1, 2), tmp_path / "c")
    code, text = run("cluster", "status", "--directory", str(tmp_path / "c"))
    assert code == ExitCode.NOT_RUNNING and text.count("stopped") == 2
    code, text = run("cluster", "status", "--json", "--directory", str(tmp_path / "c"))
    nodes = json.loads(text)["nodes"]
    assert [(node["name"], node["state"], node["pid"]) for node in nodes] == [
        ("dc1-rack1-1", "stopped", None), ("dc1-rack1-2", "stopped", None)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [("--config", "timeout"), ("--layout", "a=1", "--dcs", "2"), ("--dcs", "0")],
    ids=lambda arguments: " ".join(arguments),
)
def test_orders_that_make_no_sense(arguments, locks, tmp_path):
    code, _ = run("cluster", "up", "--directory", str(tmp_path / "c"), *arguments)
    assert code == ExitCode.USAGE and not LocalCluster.exists(tmp_path / "c")
