"""A changed configuration: what acts at once, what waits, and that a broken file changes nothing."""

from dynomite_mp import config, reload
from dynomite_mp.boot import StartOptions, read_config

BASE = {"listen": "127.0.0.1:8102", "dyn_listen": "127.0.0.1:8101"}


def compared(**changes):
    return reload.compare(config.build(BASE), config.build({**BASE, **changes}))


def test_nothing_changed():
    verdict = compared()
    assert verdict.config is None and not verdict.changes and not verdict.failed
    assert "nothing has changed" in verdict.lines[0]


def test_the_log_level_is_told_to_all_and_in_force():
    verdict = compared(log_level="debug")
    assert verdict.changes == {"log_level": 7}
    assert verdict.config.log_level == 7
    assert verdict.lines == ("log_level: 6 -> 7, in force now",)


def test_what_only_the_supervisor_needs_is_not_told():
    verdict = compared(drain_timeout_ms="1")
    assert not verdict.changes and verdict.config.drain_timeout_ms == 1


def test_the_rest_waits_for_the_next_start_and_a_restarted_worker_does_not_see_it_either():
    verdict = compared(listen="127.0.0.1:9999", backlog="1", log_level="3")
    assert verdict.config.listen.port == 8102 and verdict.config.backlog == 512
    assert "listen: 127.0.0.1:8102 -> 127.0.0.1:9999, takes effect at the next start" in verdict.lines
    assert "backlog: 512 -> 1, takes effect at the next start" in verdict.lines


def test_lists_and_enums_are_shown_as_they_are_written():
    verdict = compared(servers=["127.0.0.1:6379:1"], read_consistency="DC_QUORUM")
    assert any("read_consistency: DC_ONE -> DC_QUORUM" in line for line in verdict.lines)
    assert any("127.0.0.1:6379" in line for line in verdict.lines)


def test_a_secret_is_never_shown():
    verdict = compared(admin_token="hush")
    assert verdict.lines == ("admin_token has changed: takes effect at the next start",)


def test_a_broken_file_is_told_line_by_line_and_changes_nothing(tmp_path):
    path = tmp_path / "c.yml"
    path.write_text("dyn_o_mite:\n  lissten: x\n  listen: y\n")
    verdict = reload.read_again(StartOptions(str(path)), config.build(BASE))
    assert verdict.failed and verdict.config is None and not verdict.changes
    assert len(verdict.lines) >= 3 and verdict.lines[-1] == "the node goes on as it was"


def test_without_a_file_there_is_nothing_to_read():
    assert "no configuration file" in reload.read_again(StartOptions(), config.build(BASE)).lines[0]


def test_the_command_line_stays_above_the_file(tmp_path):
    path = tmp_path / "c.yml"
    path.write_text("dyn_o_mite:\n  listen: 127.0.0.1:8102\n  dyn_listen: 127.0.0.1:8101\n  log_level: 3\n")
    options = StartOptions(str(path), verbosity=7)
    assert "nothing has changed" in reload.read_again(options, read_config(options)).lines[0]
