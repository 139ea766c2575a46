"""Which server a node runs beside itself: the one that wrote the data, and never one that could not read it."""

import json
import os
import stat

import pytest

from dynomite_mp.errors import StoreError
from dynomite_mp.store import managed
from dynomite_mp.store.managed import StoreBinary, StoreRecord


def binary(name: str, *version: int) -> StoreBinary:
    return StoreBinary(name, version, f"/bin/{name}-server")


VALKEY_9 = binary("valkey", 9, 1, 2)
VALKEY_8 = binary("valkey", 8, 0, 1)
REDIS_7 = binary("redis", 7, 0, 15)


def record(name: str, *version: int) -> StoreRecord:
    return StoreRecord(name, version, "aof_everysec")


def test_without_data_the_first_found_is_used(tmp_path):
    assert managed.choose([VALKEY_8, REDIS_7, VALKEY_9], None, tmp_path) is VALKEY_8


def test_the_server_that_wrote_the_data_is_preferred(tmp_path):
    assert managed.choose([VALKEY_9, REDIS_7], record("redis", 7, 0, 15), tmp_path) is REDIS_7


def test_the_nearest_newer_version_is_taken_when_the_same_is_gone(tmp_path):
    found = [binary("valkey", 10, 0, 0), VALKEY_9, VALKEY_8]
    assert managed.choose(found, record("valkey", 8, 1, 0), tmp_path) is VALKEY_9


def test_an_older_version_is_refused_with_the_fix(tmp_path):
    with pytest.raises(StoreError) as caught:
        managed.choose([VALKEY_8], record("valkey", 9, 1, 2), tmp_path)
    assert "written by valkey 9.1.2" in caught.value.detail and "older: valkey 8.0.1" in caught.value.detail
    assert "install valkey-server 9.1.2 or newer" in caught.value.hint
    assert str(tmp_path) in caught.value.hint


def test_another_server_is_refused_with_the_fix(tmp_path):
    with pytest.raises(StoreError) as caught:
        managed.choose([VALKEY_9], record("redis", 7, 0, 15), tmp_path)
    assert "another server: valkey 9.1.2" in caught.value.detail
    assert "install redis-server 7.0.15 or newer" in caught.value.hint


def test_no_server_at_all_says_what_to_install(tmp_path):
    with pytest.raises(StoreError) as caught:
        managed.choose([], None, tmp_path)
    assert "pip install" in caught.value.hint and "servers:" in caught.value.hint


@pytest.mark.parametrize(
    ("output", "name", "version"),
    [
        (b"Valkey server v=9.1.2 sha=00000000:0 malloc=libc bits=64 build=1", "valkey", (9, 1, 2)),
        (b"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=2", "redis", (7, 0, 15)),
    ],
)
def test_the_program_says_itself_what_it_is(output, name, version):
    assert managed.parse_version("/x", output) == StoreBinary(name, version, "/x")


def test_a_program_that_is_no_datastore_is_refused():
    with pytest.raises(StoreError):
        managed.parse_version("/x", b"usage: x [-h]")


def program(directory, name: str, output: str):
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)
    return path


def test_the_path_is_searched_before_the_bundled_server(tmp_path):
    redis = program(tmp_path, "redis-server", "Redis server v=7.0.15 sha=0")
    valkey = program(tmp_path, "valkey-server", "Valkey server v=8.0.1 sha=0")
    found = list(managed.candidates({"PATH": str(tmp_path)}))
    assert found[:2] == [str(valkey), str(redis)]
    assert managed.identify(str(redis)) == StoreBinary("redis", (7, 0, 15), str(redis))


def test_a_server_that_cannot_be_run_is_an_error_not_a_crash(tmp_path):
    path = tmp_path / "valkey-server"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    with pytest.raises(StoreError):
        managed.identify(str(path))


def test_the_bundled_server_is_found_without_importing_its_package():
    path = managed.bundled_binary()
    assert path is None or os.access(path, os.X_OK)


def prepare(tmp_path, output: str, persistence: str = "aof_everysec") -> managed.ManagedStore:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir(exist_ok=True)
    program(bin_dir, "redis-server", output)
    (tmp_path / "data").mkdir(exist_ok=True)
    return managed.prepare(
        data_dir=tmp_path / "data",
        runtime_dir=tmp_path,
        persistence=persistence,
        title="dynomite-mp: datastore dc/rack",
        environ={"PATH": str(bin_dir)},
    )


def settings(argv: tuple[str, ...]) -> dict[str, str]:
    words = argv[1:]
    return {key.removeprefix("--"): value for key, value in zip(words[::2], words[1::2], strict=True)}


def test_it_listens_on_a_unix_socket_only_and_syncs_every_second(tmp_path):
    store = prepare(tmp_path, "Redis server v=7.0.15 sha=0")
    given = settings(store.argv)
    assert given["port"] == "0" and given["unixsocket"] == str(tmp_path / "datastore.sock")
    assert given["appendonly"] == "yes" and given["appendfsync"] == "everysec" and given["save"] == ""
    assert given["dir"] == str(tmp_path / "data" / "datastore")
    assert given["logfile"] == str(tmp_path / "data" / "datastore.log")
    assert given["proc-title-template"] == "dynomite-mp: datastore dc/rack (redis 7.0.15)"


def test_a_server_that_does_not_know_process_titles_is_not_asked_for_one(tmp_path):
    assert "proc-title-template" not in settings(prepare(tmp_path, "Redis server v=6.0.16 sha=0").argv)


def test_the_choice_is_recorded_beside_the_data_and_holds_at_the_next_start(tmp_path):
    prepare(tmp_path, "Redis server v=7.0.15 sha=0")
    directory = tmp_path / "data" / "datastore"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    written = json.loads((directory / "written-by.json").read_text())
    assert written == {"name": "redis", "version": "7.0.15", "persistence": "aof_everysec"}
    prepare(tmp_path, "Redis server v=7.2.4 sha=0")
    assert managed.read_record(directory) == record("redis", 7, 2, 4)
    with pytest.raises(StoreError):
        prepare(tmp_path, "Redis server v=7.0.15 sha=0")
    assert managed.read_record(directory) == record("redis", 7, 2, 4)


def test_moving_the_directory_away_lifts_the_refusal(tmp_path):
    prepare(tmp_path, "Redis server v=7.2.4 sha=0")
    (tmp_path / "data" / "datastore").rename(tmp_path / "old")
    assert prepare(tmp_path, "Redis server v=7.0.15 sha=0").binary.version == (7, 0, 15)


def test_a_record_that_cannot_be_read_is_refused_not_overwritten(tmp_path):
    directory = tmp_path / "data" / "datastore"
    directory.mkdir(parents=True)
    (directory / "written-by.json").write_text("{}")
    with pytest.raises(StoreError):
        prepare(tmp_path, "Redis server v=7.0.15 sha=0")
    assert (directory / "written-by.json").read_text() == "{}"


def test_persistence_cannot_be_switched_off_over_an_append_only_file(tmp_path):
    prepare(tmp_path, "Redis server v=7.0.15 sha=0")
    (tmp_path / "data" / "datastore" / "appendonlydir").mkdir()
    with pytest.raises(StoreError) as caught:
        prepare(tmp_path, "Redis server v=7.0.15 sha=0", persistence="none")
    assert "append-only file" in caught.value.detail


def test_without_persistence_nothing_is_written(tmp_path):
    given = settings(prepare(tmp_path, "Redis server v=7.0.15 sha=0", persistence="none").argv)
    assert given["appendonly"] == "no" and given["save"] == ""


def test_a_socket_left_by_a_killed_server_is_removed(tmp_path):
    (tmp_path / "datastore.sock").write_text("")
    prepare(tmp_path, "Redis server v=7.0.15 sha=0")
    assert not (tmp_path / "datastore.sock").exists()
