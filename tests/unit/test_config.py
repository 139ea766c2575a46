"""Configuration files: what is accepted, what it means, and what is said about everything that is wrong."""

import dataclasses
from pathlib import Path

import pytest

from dynomite_mp.config import Address, Config, ConfigErrors, LogFormat, SeedProvider, build, defaults, describe, load
from dynomite_mp.enums import Consistency, DataStore, SecureServerOption
from dynomite_mp.settings import SETTINGS

MINIMAL = {"listen": "127.0.0.1:8102", "dyn_listen": "127.0.0.1:8101"}
ROOT = Path(__file__).resolve().parents[2]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.yml"
    path.write_text(text)
    return path


def load_pool(tmp_path: Path, body: str) -> Config:
    """Loads a file whose pool holds the minimum and `body`."""
    lines = [
        "pool:",
        *(f"  {key}: {value}" for key, value in MINIMAL.items()),
        *(f"  {line}" for line in body.splitlines()),
    ]
    return load(write(tmp_path, "\n".join(lines) + "\n"))


def problems(tmp_path: Path, body: str) -> list[str]:
    """Problems of such a file, each as `line:column message`; the pool's own lines are 4 and on."""
    with pytest.raises(ConfigErrors) as caught:
        load_pool(tmp_path, body)
    return [f"{p.line}:{p.column} {p.message}" for p in caught.value.problems]


# ---- meaning -------------------------------------------------------------------------------------------------------


def test_a_file_in_the_style_of_c_dynomite(tmp_path):
    config = load(
        write(
            tmp_path,
            """\
cache_eu:   # any pool name
    datacenter: eu
    rack: eu-a
    listen: 0.0.0.0:8102
    dyn_listen: 0.0.0.0:8101
    dyn_seeds:
        - 10.1.0.2:8101:eu-b:eu:101134286
        - node3.example:8101:us-a:us:5,6 third
    dyn_seed_provider: simple_provider
    tokens: '101134286'
    servers:
    - 127.0.0.1:11371:1
    data_store: 0
    stats_listen: 0.0.0.0:33331
    read_consistency : DC_SAFE_QUORUM
    write_consistency: dc_quorum
    secure_server_option: datacenter
    preconnect: true
    hash_tag: "{}"
""",
        )
    )
    assert config.pool == "cache_eu"
    assert config.listen == Address("0.0.0.0", 8102)
    assert config.stats_listen == Address("0.0.0.0", 33331)
    assert (config.datacenter, config.rack, config.tokens) == ("eu", "eu-a", (101134286,))
    first, second = config.dyn_seeds
    assert (first.address, first.rack, first.datacenter) == (Address("10.1.0.2", 8101), "eu-b", "eu")
    assert (first.tokens, first.name) == ((101134286,), "10.1.0.2")
    assert (second.address.host, second.tokens, second.name) == ("node3.example", (5, 6), "third")
    assert config.datastore is not None
    assert (config.datastore.address, config.datastore.name) == (Address("127.0.0.1", 11371), "127.0.0.1:11371")
    assert config.dyn_seed_provider is SeedProvider.SIMPLE
    assert config.data_store is DataStore.REDIS
    assert config.read_consistency is Consistency.DC_SAFE_QUORUM
    assert config.write_consistency is Consistency.DC_QUORUM
    assert config.secure_server_option is SecureServerOption.DATACENTER
    assert config.hash_tag == b"{}"


def test_defaults_of_c_dynomite_hold():
    config = build(MINIMAL)
    expected = {
        "backlog": 512, "timeout": 5000, "hash": "murmur", "hash_tag": b"", "datacenter": "localdc",
        "rack": "localrack", "datastore_connections": 1, "local_peer_connections": 1, "remote_peer_connections": 1,
        "conn_msg_rate": 50000, "gos_interval": 30000, "enable_gossip": False, "preconnect": True,
        "auto_eject_hosts": True, "server_retry_timeout": 10000, "server_failure_limit": 3, "client_connections": 0,
        "mbuf_size": 16384, "max_msgs": 200000, "stats_interval": 30000, "env": "aws",
        "pem_key_file": Path("conf/dynomite.pem"), "read_repairs_enabled": False, "servers": (), "dyn_seeds": (),
        "tokens": (0,),
    }  # fmt: skip
    assert {key: getattr(config, key) for key in expected} == expected


def test_no_file_at_all_is_one_node_on_loopback():
    config = defaults()
    assert str(config.listen) == "127.0.0.1:8102"
    assert str(config.dyn_listen) == "127.0.0.1:8101"
    assert str(config.stats_listen) == "127.0.0.1:22222"
    assert config.datastore is None
    assert config.notes == ()


def test_all_scalars_are_raw_text(tmp_path):
    config = load_pool(tmp_path, "datacenter: no\nrack: 1e3\ntokens: 0123\nhash: 'murmur'")
    assert (config.datacenter, config.rack, config.tokens) == ("no", "1e3", (123,))


def test_flow_style_comments_and_empty_lists(tmp_path):
    text = "{p: {listen: '127.0.0.1:1', dyn_listen: '127.0.0.1:2', dyn_seeds: [], tokens: [3, 4], servers: []}} # end\n"
    config = load(write(tmp_path, text))
    assert (config.dyn_seeds, config.tokens, config.servers) == ((), (3, 4), ())
    assert load_pool(tmp_path, "dyn_seeds:\ntokens: 1").dyn_seeds == ()


def test_false_and_limits_that_c_ignores_are_honoured_and_said(tmp_path):
    config = load_pool(
        tmp_path, "preconnect: false\nauto_eject_hosts: false\nclient_connections: 7\ndyn_read_timeout: 90"
    )
    assert (config.preconnect, config.auto_eject_hosts, config.client_connections) == (False, False, 7)
    assert config.peer_timeout_ms(same_datacenter=True, write=False) == 90
    said = "\n".join(config.notes)
    for key in ("preconnect", "auto_eject_hosts", "client_connections", "dyn_read_timeout"):
        assert f"{key}: C Dynomite" in said


def test_keys_set_to_their_default_are_not_worth_a_note():
    assert build({**MINIMAL, "preconnect": "true", "client_connections": "0", "gos_interval": "30000"}).notes == ()


def test_keys_without_effect_yet_are_listed_once():
    notes = build({**MINIMAL, "tokens": "1", "conn_msg_rate": "7", "env": "x"}).notes
    assert [note for note in notes if note.endswith("does not act on it: conn_msg_rate, env")]


def test_zero_is_the_default_as_in_c(tmp_path):
    config = load_pool(tmp_path, "timeout: 0\nmbuf_size: 00\nclient_connections: 0")
    assert (config.timeout, config.mbuf_size, config.client_connections) == (5000, 16384, 0)
    assert [note for note in config.notes if note.startswith("timeout: 0 stands for the default 5000")]


def test_peer_timeouts_derive_from_timeout_as_in_c():
    config = build({**MINIMAL, "timeout": "1000"})
    cases = {(True, False): 1200, (True, True): 1200, (False, False): 6000, (False, True): 26000}
    for (same, write_), expected in cases.items():
        assert config.peer_timeout_ms(same_datacenter=same, write=write_) == expected


def test_stats_listen_is_closed_by_default_and_a_file_is_told(tmp_path):
    assert any("0.0.0.0:22222" in note for note in load_pool(tmp_path, "rack: r").notes)
    assert not any("22222" in note for note in load_pool(tmp_path, "stats_listen: 127.0.0.1:3").notes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("::1:8102", Address("::1", 8102)),
        ("[::1]:8102", Address("::1", 8102)),
        ("node-1.example:65535", Address("node-1.example", 65535)),
        ("/run/x.sock", Address("", 0, "/run/x.sock")),
    ],
)
def test_listen_addresses(text, expected):
    assert build({**MINIMAL, "listen": text}).listen == expected


def test_addresses_print_as_they_are_written():
    assert [str(Address(*a)) for a in (("h", 1), ("::1", 2), ("", 0, "/s"))] == ["h:1", "[::1]:2", "/s"]


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("127.0.0.1:6379:1", Address("127.0.0.1", 6379), "127.0.0.1:6379"),
        ("127.0.0.1:11211:1", Address("127.0.0.1", 11211), "127.0.0.1"),
        ("127.0.0.1:6379:9 cache", Address("127.0.0.1", 6379), "cache"),
        ("::1:6379:1", Address("::1", 6379), "[::1]:6379"),
        ("/tmp/redis.sock:1", Address("", 0, "/tmp/redis.sock"), "/tmp/redis.sock"),
    ],
)
def test_servers(text, address, name):
    datastore = build({**MINIMAL, "servers": [text]}).datastore
    assert datastore is not None
    assert (datastore.address, datastore.name) == (address, name)


@pytest.mark.parametrize(
    ("text", "token"), [("0", 0), ("4294967295", 4294967295), ("4294967296", 0), ("12345678901", 2733099390)]
)
def test_tokens_fold_as_in_c(text, token):
    config = build({**MINIMAL, "tokens": text})
    assert config.tokens == (token,)
    assert bool(config.notes) == (int(text) > 4294967295)


@pytest.mark.parametrize(
    ("text", "level"),
    [("dc_one", 0), ("DC_Quorum", 1), ("DC_SAFE_QUORUM", 2), ("dc_each_safe_quorum", 3), ("DC_ONE_or_so", 0)],
)
def test_consistency_ignores_case_and_what_follows(text, level):
    config = build({**MINIMAL, "read_consistency": text})
    assert config.read_consistency == level
    assert any("is taken as DC_ONE" in note for note in config.notes) == (text == "DC_ONE_or_so")


def test_advertise_takes_the_port_of_dyn_listen():
    assert build({**MINIMAL, "advertise": "10.0.0.9"}).advertise == Address("10.0.0.9", 8101)
    assert build({**MINIMAL, "advertise": "[2001:db8::1]"}).advertise == Address("2001:db8::1", 8101)
    assert build({**MINIMAL, "advertise": "h:9"}).advertise == Address("h", 9)


def test_log_words():
    config = build({**MINIMAL, "log_level": "warning", "log_format": "json"})
    assert (config.log_level, config.log_format) == (4, LogFormat.JSON)


def test_secrets_are_not_printed():
    text = repr(build({**MINIMAL, "admin_token": "tok-en", "datastore_password": "pass-word"}))
    assert "tok-en" not in text
    assert "pass-word" not in text


def test_a_config_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        defaults().timeout = 1  # type: ignore[misc]


def test_seeds_that_collide_are_noted():
    config = build({**MINIMAL, "tokens": "5", "dyn_seeds": ["h:1:localrack:localdc:5", "h:2:r2:localdc:5"]})
    assert [n for n in config.notes if "token 5 of localdc/localrack" in n and "this node" in n]
    assert not [n for n in config.notes if "localdc/r2" in n]


# ---- directories ---------------------------------------------------------------------------------------------------


def test_directories_follow_the_environment(monkeypatch, tmp_path):
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    node = "localdc.localrack.127.0.0.1:8101"
    assert defaults().data_dir == tmp_path / ".local/state/dynomite-mp" / node
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    assert defaults().data_dir == Path("/xdg/dynomite-mp", node)
    assert defaults().runtime_dir.parent == Path("/tmp/dynomite-mp")
    for unusable in ("/tmp/there-is-no-such-directory", str(tmp_path)):  # gone; too long for sockets in it
        monkeypatch.setenv("XDG_RUNTIME_DIR", unusable)
        assert str(defaults().runtime_dir).startswith("/tmp/dynomite-mp-")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/one")
    assert defaults().data_dir == Path("/var/lib/one", node)
    assert defaults().runtime_dir.parent == Path("/run/one")


def test_runtime_directories_differ_between_nodes_and_stay_short():
    long = {"rack": "r" * 200}
    one, two = build({**MINIMAL, **long}), build({**MINIMAL, "dyn_listen": "127.0.0.2:8101"})
    assert one.runtime_dir != two.runtime_dir
    assert len(one.runtime_dir.name) < 20


# ---- problems ------------------------------------------------------------------------------------------------------


def test_all_problems_at_once_with_their_places(tmp_path):
    assert problems(tmp_path, "timeot: 5\ntimeout: five\n\nhash: murmur9\npreconnect: yes\nrack: a:b") == [
        '4:3 directive "timeot" is unknown',
        '5:12 directive "timeout" is not a number',
        '7:9 directive "hash" is not a valid hash',
        '8:15 directive "preconnect" is not "true" or "false"',
        '9:9 directive "rack" has an invalid value',
    ]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("dyn_seed", "did you mean 'dyn_seeds'?"),
        ("Listen", "did you mean 'listen'?"),
        ("client_timeot", ""),
        ("redis_auth", "use datastore_password"),
    ],
)
def test_unknown_keys_name_the_nearest(wrong, hint):
    with pytest.raises(ConfigErrors) as caught:
        build({**MINIMAL, wrong: "x"})
    (problem,) = caught.value.problems
    assert problem.key == wrong
    assert hint in problem.hint


@pytest.mark.parametrize("first", ["0", "false", "5"])
def test_duplicates_are_found_whatever_the_first_value(tmp_path, first):
    key = "preconnect" if first == "false" else "timeout"
    found = problems(tmp_path, f"{key}: {first}\n{key}: {first}")
    assert found == [f'5:3 directive "{key}" is a duplicate']


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("timeout", "-1", "is not a number"),
        ("timeout", "5k", "is not a number"),
        ("timeout", "2147483648", "is not a number"),
        ("timeout", "٣", "is not a number"),
        ("listen", "8102", 'has an invalid "hostname:port" format string'),
        ("listen", "h:0", 'has an invalid port in "hostname:port" format string'),
        ("listen", "h:65536", 'has an invalid port in "hostname:port" format string'),
        ("servers", "127.0.0.1:6379",
         'has an invalid "hostname:port:weight [name]"or "/path/unix_socket:weight [name]" format string'),
        ("servers", "127.0.0.1:0:1", 'has an invalid port in "hostname:port:weight [name]" format string'),
        ("dyn_seeds", "h:8101:rack:dc", 'has an invalid format must match "hostname:port:rack:dc:tokens [name]"'),
        ("hash_tag", "{", "is not a valid hash tag string with two characters"),
        ("hash", "murmur3", "is not a valid hash"),
        ("hash", "Murmur", "is not a valid hash"),
        ("mbuf_size", "500", "mbuf chunk size must be between 512 and 512000 bytes"),
        ("mbuf_size", "16385", "must be a multiple of 16"),
        ("max_msgs", "99999", "max allocated messages buffer must be between 100000 and 1000000 messages"),
        ("data_store", "2", "has an invalid value"),
        ("read_consistency", "ONE", "must be one of 'DC_ONE' 'DC_SAFE_QUORUM' 'DC_QUORUM' 'DC_EACH_SAFE_QUORUM'"),
        ("secure_server_option", "tls", "must be one of 'none' 'rack' 'datacenter' 'all'"),
        ("dyn_seed_provider", "etcd", "must be one of 'simple_provider' 'florida_provider' 'dns_provider'"),
        ("tokens", "-5", "has an invalid value"),
        ("tokens", "1,1", "has an invalid value"),
        ("tokens", "", "has an invalid value"),
        ("datacenter", "a|b", "has an invalid value"),
        ("io_workers", "0", "must be between 1 and 64"),
        ("io_ring_bytes", "100000", "must be a power of two"),
        ("runtime_dir", "/" + "x" * 90, "has an invalid value"),
        ("stats_listen", "127.0.0.1:8102", "has an invalid value"),
        ("pem_key_file", "~nobody-of-that-name/key.pem", "has an invalid value"),
    ],
)  # fmt: skip
def test_reasons(key, text, reason):
    with pytest.raises(ConfigErrors) as caught:
        build({**MINIMAL, "tokens": "0", key: text})
    assert [p.message for p in caught.value.problems] == [f'directive "{key}" {reason}']


def test_a_broken_entry_of_a_list_has_its_own_place(tmp_path):
    body = "tokens: 1\ndyn_seeds:\n- h:1:r:d:2\n- h:x:r:d:2"
    assert problems(tmp_path, body) == [
        '7:5 directive "dyn_seeds" has an invalid port in "hostname:port:rack:dc:tokens [name]" format string'
    ]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigErrors) as caught:
        load(write(tmp_path, "p:\n  dyn_seeds: ['h:1:r:d:2']\n"))
    assert [p.message for p in caught.value.problems] == [
        'directive "listen:" is missing', 'directive "dyn_listen:" is missing', 'directive "tokens:" is missing',
    ]  # fmt: skip


def test_two_datastores_are_refused(tmp_path):
    assert problems(tmp_path, "servers: ['h:1:1', 'h:2:1']") == ['4:12 directive "servers" has an invalid value']


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", "'{}' must contain only 1 document; found 0 documents"),
        ("a:\n  listen: x\n---\nb:\n  listen: y\n", "'{}' must contain only 1 document; found 2 documents"),
        ("listen: 127.0.0.1:1\n", "the file must hold one pool name"),
        ("- a\n", "the file must hold one pool name"),
        ("a:\n  listen: [\n", "is not valid YAML: "),
        ("a:\n  listen: &x\n  b: *y\n", "is not valid YAML: "),
        ("a:\n\tlisten: 1\n", "is not valid YAML: "),
        ("a:\n  listen: {b: c}\n", 'directive "listen" has an invalid value'),
        ("a:\n  listen: [[b]]\n", 'directive "listen" has an invalid value'),
        ("\x00", "is not valid YAML: "),
    ],
)
def test_shapes_that_are_not_a_configuration(tmp_path, text, start):
    path = write(tmp_path, text)
    with pytest.raises(ConfigErrors) as caught:
        load(path)
    assert caught.value.problems[0].message.startswith(start.format(path))


def test_bytes_that_are_not_text(tmp_path):
    path = tmp_path / "node.yml"
    path.write_bytes(b"a:\n  rack: \xff\xfe\n")
    with pytest.raises(ConfigErrors, match="is not valid YAML"):
        load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigErrors, match=r"failed to open configuration .*No such file"):
        load(tmp_path / "none.yml")


def test_a_second_pool_is_refused(tmp_path):
    path = write(tmp_path, "a:\n  listen: h:1\n  dyn_listen: h:2\nb:\n  listen: h:3\n")
    with pytest.raises(ConfigErrors, match="a second pool 'b'"):
        load(path)


def test_a_problem_prints_place_reason_and_hint(tmp_path):
    with pytest.raises(ConfigErrors) as caught:
        load_pool(tmp_path, "dyn_seed: x")
    expected = f"{tmp_path}/node.yml:4:3: directive \"dyn_seed\" is unknown (did you mean 'dyn_seeds'?)"
    assert str(caught.value) == expected


# ---- the table -----------------------------------------------------------------------------------------------------


def test_every_row_says_what_holds_without_it():
    for key, row in SETTINGS.items():
        assert row.default is not None or row.default_doc or row.ignored, key
        assert row.default or row.example, f"{key} has nothing to show"


def test_the_documented_file_is_the_table():
    assert (ROOT / "conf/dynomite.yml").read_text() == describe(), "python -m dynomite_mp.settings > conf/dynomite.yml"


def test_the_documented_file_documents_the_defaults(tmp_path):
    """Its active lines are the node without a file; with every default line active nothing changes either."""
    plain = load(ROOT / "conf/dynomite.yml")
    assert dataclasses.replace(plain, source="", notes=()) == defaults()
    lines = []
    for line in describe().splitlines():
        key = line.strip().removeprefix("#").partition(":")[0]
        with_default = key in SETTINGS and SETTINGS[key].default is not None
        lines.append(line.replace("#", "", 1) if with_default else line)
    full = load(write(tmp_path, "\n".join(lines)))
    assert dataclasses.replace(full, source="", notes=()) == defaults()


def test_examples_load(tmp_path):
    """Every commented line of the documented file is a valid setting once its "#" is gone."""
    lines = []
    for line in describe().splitlines():
        is_setting = line.startswith("  #") and not line.startswith("  # ")
        lines.append(line.replace("#", "", 1) if is_setting else line)
    config = load(write(tmp_path, "\n".join(lines)))
    assert len(config.dyn_seeds) == len(config.servers) == 1


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yml")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_configurations_we_ship_load(path):
    assert load(path).tokens


@pytest.mark.parametrize("folder", ["three_racks", "two_dcs"])
def test_the_example_clusters_agree_about_themselves(folder):
    """Each node lists all the others as they describe themselves, and every rack covers the continuum once."""
    nodes = [load(path) for path in sorted((ROOT / "conf" / folder).glob("*.yml"))]
    described = {(str(n.dyn_listen), n.rack, n.datacenter, n.tokens) for n in nodes}
    for node in nodes:
        seeds = {(str(s.address), s.rack, s.datacenter, s.tokens) for s in node.dyn_seeds}
        assert seeds | {(str(node.dyn_listen), node.rack, node.datacenter, node.tokens)} == described
        assert not [note for note in node.notes if "dyn_seeds:" in note]
    assert len({(n.datacenter, n.rack, *n.tokens) for n in nodes}) == len(nodes)
    assert len({str(a) for n in nodes for a in (n.listen, n.dyn_listen, n.stats_listen)}) == 3 * len(nodes)
