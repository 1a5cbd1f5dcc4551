"""How fast granules end: what four numbers tell of a job that goes on steadily, in bursts, or rests."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobstatus_grpc.model import Change, Granule, GranuleState, Totals
from jobstatus_grpc.pace import Outlook, Pace, Progress, advance, count_ended, progress_at

SECOND = 1_000_000
START = 1_700_000_000 * SECOND


def paced(ends: Iterable[tuple[float, int]]) -> tuple[Pace | None, int]:
    """Return the pace after granules have ended, told by seconds and how many, and the last moment."""
    pace, last = None, START
    for seconds, ended in ends:
        now = START + round(seconds * SECOND)
        pace = advance(pace, ended, now, last)
        last = now
    return pace, last


def rate_at(pace: Pace | None, moment: int, left: int | None = None) -> Progress:
    return progress_at(Outlook(pace, left, START), moment)


@pytest.mark.parametrize("rate", [0.003, 0.1, 1.0, 50.0, 5000.0])
@pytest.mark.parametrize("reports", [12, 300, 3000])
def test_a_steady_pace_is_told_as_it_is(rate: float, reports: int) -> None:
    size = max(1, round(rate))
    pace, last = paced((number * size / rate, size) for number in range(reports))
    told = rate_at(pace, last, left=1000)
    assert told.rate == pytest.approx(rate, rel=0.11)
    assert told.estimated_end_time == pytest.approx(last + 1000 / rate * SECOND, rel=0.11, abs=SECOND)


def test_a_pace_that_changes_is_the_new_one_soon() -> None:
    slow = [(number, 1) for number in range(300)]
    fast = [(300 + number, 20) for number in range(1, 62)]
    pace, last = paced([*slow, *fast])
    assert rate_at(pace, last).rate == pytest.approx(20, rel=0.05)


def test_batches_far_apart_are_no_rest_and_a_long_rest_is_no_pace() -> None:
    batches = [(60.0 * number, 1000) for number in range(30)]
    pace, last = paced(batches)
    assert rate_at(pace, last).rate == pytest.approx(1000 / 60, rel=0.3)
    assert rate_at(pace, last + 45 * SECOND).rate == pytest.approx(1000 / 60, rel=0.5)
    rested = 86_400.0
    pace, last = paced([*batches, *[(rested + number, 10) for number in range(20)]])
    assert rate_at(pace, last).rate == pytest.approx(10, rel=0.1)


def test_where_nothing_ends_any_more_the_pace_falls_and_nothing_is_estimated_at_none() -> None:
    pace, last = paced([(number, 10) for number in range(100)])
    rates = [rate_at(pace, last + after * SECOND).rate or 0 for after in (0, 60, 600, 6000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1
    assert rate_at(Pace(START), START + 10 * SECOND, left=5) == Progress(0.0, None)


def test_nothing_is_told_before_there_is_something_to_tell() -> None:
    assert rate_at(None, START, left=5) == Progress()
    assert rate_at(Pace(START, 10), START + SECOND // 2, left=5) == Progress()
    assert rate_at(Pace(START, 10), START + 2 * SECOND, left=None) == Progress(5.0, None)
    assert rate_at(Pace(START, 10), START + 2 * SECOND, left=0) == Progress(5.0, None)
    # A clock behind the database's is not earlier than the job's last change.
    assert progress_at(Outlook(Pace(START, 10), 5, START + 2 * SECOND), START - SECOND).rate == 5.0


@given(
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10_000)), max_size=60),
    st.integers(0, 10**13),
    st.integers(1, 2**31 - 1),
)
def test_whatever_happens_it_is_four_numbers_and_an_end_that_a_clock_can_tell(
    steps: list[tuple[int, int]], later: int, left: int
) -> None:
    pace, now = None, START
    for length, ended in steps:
        last, now = now, now + length
        pace = advance(pace, ended, now, last)
    told = rate_at(pace, now + later, left)
    assert len(json.dumps(pace)) < 80
    assert told.rate is None or told.rate >= 0
    if told.estimated_end_time is not None:
        assert now < told.estimated_end_time < 10**17


def test_a_granule_ends_each_time_it_is_tried() -> None:
    def change(before: GranuleState | None, state: GranuleState) -> Change:
        granule = Granule("", "g", state, None, 1, None, None, None, None, 1, 1)
        return Change(1, 1, 1, granule, before, Totals())

    pending, succeeded, failed = GranuleState.PENDING, GranuleState.SUCCEEDED, GranuleState.FAILED
    assert count_ended([change(None, pending), change(pending, failed), change(failed, pending)]) == 1
    assert count_ended([change(None, failed), change(failed, failed), change(failed, succeeded)]) == 2
