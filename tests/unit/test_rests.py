"""When the io worker rests between two turns, and for how long (ADR 86)."""

import pytest

from dynomite_mp.workers.conn import rest_after

MS = 1_000_000


@pytest.mark.parametrize(
    ("window_ns", "sources", "reads", "requests", "sent_on", "rest_ns"),
    [
        (MS, 50, 90, 90, 0, 60_000),  # many clients, one request each time
        (MS, 1000, 1000, 1000, 0, 60_000),
        (MS, 16, 40, 40, 0, 20_000),  # the fewer, the shorter
        (MS, 15, 90, 90, 0, 0),  # few are served as they come
        (MS, 1, 20, 20, 0, 0),
        (MS, 50, 62, 992, 0, 0),  # pipelines make batches by themselves
        (MS, 50, 90, 180, 0, 0),
        (MS, 50, 62, 992, 496, 100_000),  # dealt out among peers they do not
        (MS, 20, 62, 992, 248, 50_000),
        (MS, 50, 62, 992, 247, 0),  # few go there
        (MS, 50, 62, 992, 1984, 0),  # every peer gets every one
        (MS, 50, 90, 90, 180, 60_000),
        (2 * MS, 50, 90, 90, 0, 0),  # no turn for a while: this is no load
        (MS, 0, 0, 0, 0, 0),
    ],
)
def test_a_rest_is_for_many_sources_that_ask_for_little(
    window_ns: int, sources: int, reads: int, requests: int, sent_on: int, rest_ns: int
) -> None:
    assert rest_after(window_ns, sources, reads, requests, sent_on) == rest_ns
