"""Histograms of the last minutes."""

from dynomite_mp.ipc.layout import HISTOGRAM_BUCKETS
from dynomite_mp.ipc.slab import HistogramValues
from dynomite_mp.workers.histogram_window import HistogramWindow, since


def histogram(*values: int) -> HistogramValues:
    """Values below 8 have a bucket each."""
    buckets = tuple(values.count(bucket) for bucket in range(HISTOGRAM_BUCKETS))
    return HistogramValues(buckets, sum(values), max(values, default=0))


def test_what_was_added_between_two_readings() -> None:
    added = since(histogram(1, 1, 2, 7), histogram(1, 7))
    assert (added.count, added.sum) == (2, 3)
    assert added.percentile(100) == 2


def test_without_an_earlier_reading_everything_was_added() -> None:
    assert since(histogram(3), None) == histogram(3)


def test_a_reading_caught_half_way_never_counts_below_zero() -> None:
    added = since(histogram(1), histogram(1, 1))
    assert (added.count, added.sum) == (0, 0)


def test_everything_is_shown_until_the_window_is_full() -> None:
    window = HistogramWindow(window_s=10, reading_every_s=2)
    window.take(0, {"a": histogram(1)})
    window.take(2, {"a": histogram(1, 2)})
    assert window.shown({"a": histogram(1, 2, 3)})["a"].count == 3


def test_what_is_older_than_the_window_is_not_shown() -> None:
    window = HistogramWindow(window_s=10, reading_every_s=2)
    counted: list[int] = []
    for now_s in range(0, 31, 2):
        counted.append(now_s % 8)
        window.take(now_s, {"a": histogram(*counted)})
        shown = window.shown({"a": histogram(*counted)})["a"].count
        assert shown <= 7
    assert shown == 5


def test_readings_that_come_too_often_are_not_kept() -> None:
    window = HistogramWindow(window_s=10, reading_every_s=2)
    window.take(0, {})
    assert not window.wants(1.9)
    window.take(1.9, {"a": histogram(1)})
    window.take(10, {"a": histogram(1, 2)})
    assert window.shown({"a": histogram(1, 2)})["a"].count == 2
    assert window.wants(12)


def test_a_reset_forgets_what_was() -> None:
    window = HistogramWindow()
    window.take(0, {"a": histogram(1)})
    window.forget(1, {"a": histogram(1, 2)})
    assert window.shown({"a": histogram(1, 2)})["a"].count == 0
    assert window.shown({"a": histogram(1, 2, 3)})["a"].percentile(50) == 3


def test_a_histogram_that_is_new_is_shown_whole() -> None:
    window = HistogramWindow()
    window.forget(0, {})
    assert window.shown({"b": histogram(4)})["b"].count == 1
