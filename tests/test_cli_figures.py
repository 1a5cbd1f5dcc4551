"""What the live view shows in numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobstatus_grpc.cli.bars import shares
from jobstatus_grpc.cli.pace import Pace


@given(st.lists(st.integers(0, 10**9), min_size=5, max_size=5), st.integers(1, 200))
def test_a_bar_is_full_and_shows_each_state_there_is(counts: list[int], width: int) -> None:
    cells = shares(counts, width)
    present = sum(1 for count in counts if count)
    assert sum(cells) == (width if present else 0)
    assert all(cell == 0 for cell, count in zip(cells, counts, strict=True) if not count)
    if width >= present:
        assert all(cell >= 1 for cell, count in zip(cells, counts, strict=True) if count)
        total = sum(counts)
        for cell, count in zip(cells, counts, strict=True):
            assert abs(cell - count * width / max(total, 1)) <= present + 1


def test_a_pace_is_what_ended_in_the_last_half_minute() -> None:
    pace = Pace()
    assert pace.rate(0.0) is None
    pace.note(0.0, 100)
    assert pace.rate(0.5) is None
    assert pace.rate(1.0) == 0.0
    for second in range(1, 61):
        pace.note(float(second), 100 + 4 * second)
    assert pace.rate(60.0) == pytest.approx(4.0)
    # Nothing more ends: the pace falls.
    assert pace.rate(90.0) == pytest.approx(2.0)


def test_a_pace_begins_anew_when_granules_are_tried_again() -> None:
    pace = Pace()
    pace.note(0.0, 100)
    pace.note(10.0, 200)
    pace.note(11.0, 20)
    assert pace.rate(11.5) is None
    pace.note(13.0, 40)
    assert pace.rate(13.0) == pytest.approx(10.0)
