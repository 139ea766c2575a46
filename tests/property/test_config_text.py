"""Whatever a file holds, loading it gives a configuration or ConfigErrors, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynomite_mp.config import Config, ConfigErrors, build, load
from dynomite_mp.settings import SETTINGS

KEYS = st.sampled_from([*SETTINGS, "lisen", "<<", ""])
WORDS = st.sampled_from(
    [
        "0",
        "1",
        "true",
        "false",
        "127.0.0.1:1",
        "h:2:1",
        "h:8101:r:d:1",
        "/s:1",
        "dc_one",
        "99999999999999999999",
        "{}",
        "~",
    ]
)
SCALARS = st.one_of(WORDS, st.text(max_size=12))
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))


def outcome(make) -> Config | ConfigErrors:
    try:
        return make()
    except ConfigErrors as error:
        assert error.problems
        assert all(problem.message for problem in error.problems)
        return error


@given(st.dictionaries(KEYS, VALUES, max_size=12))
def test_any_values(values):
    found = outcome(lambda: build(values))
    if isinstance(found, ConfigErrors):
        assert {problem.key for problem in found.problems} <= {
            *values,
            "listen",
            "dyn_listen",
            "tokens",
            "runtime_dir",
            "",
        }
    else:
        assert build(values) == found


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_bytes(data)
    outcome(lambda: load(path))


@given(st.dictionaries(KEYS, VALUES, max_size=8), st.sampled_from(["block", "flow"]))
def test_a_file_means_what_its_values_mean(tmp_path_factory, values, style):
    """The same values from YAML and at hand: the same configuration, or the same messages."""
    import yaml

    path = tmp_path_factory.getbasetemp() / "values.yml"
    path.write_text(yaml.safe_dump({"pool": values}, default_flow_style=style == "flow", default_style='"'), "utf-8")
    if not values:  # an empty mapping is no pool at all
        with pytest.raises(ConfigErrors):
            load(path)
        return
    one, other = outcome(lambda: load(path)), outcome(lambda: build(values, pool="pool"))
    assert isinstance(one, ConfigErrors) == isinstance(other, ConfigErrors)
    if isinstance(one, ConfigErrors) and isinstance(other, ConfigErrors):
        assert sorted(p.message for p in one.problems) == sorted(p.message for p in other.problems)


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{b: " * 20_000, "a:\n b: " + "- " * 50_000, "&a [*a]"])
def test_hostile_nesting(tmp_path, text):
    path = tmp_path / "deep.yml"
    path.write_text(text)
    outcome(lambda: load(path))
