"""Clocks that are wrong for a while: the log's times never go back, and all else goes with the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from postgres import SHIFTING_CLOCK
from reports import JOB, PENDING, STAGED, SUCCEEDED, granule, job, only
from stored import first_position, history, run

from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import JobStore

DAY = 86_400
MINUTE = 60_000_000


@pytest.fixture
def set_clock(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the store's clock be wrong by so many seconds."""
    right = time.time_ns
    if database_url.startswith("postgresql"):
        run(database_url, SHIFTING_CLOCK)

    def set_wrong(seconds: int) -> None:
        if database_url.startswith("postgresql"):
            run(database_url, f"update public.clock_shift set seconds = {seconds}")
        else:
            monkeypatch.setattr(time, "time_ns", lambda: right() + seconds * 1_000_000_000)

    return set_wrong


@pytest.fixture
def clocked_store(database_url: str, set_clock: Callable[[int], None]) -> Iterator[JobStore]:
    """A store that goes by that clock."""
    opened = open_store(database_url)
    try:
        opened.prepare()
        yield opened
    finally:
        opened.close()


@pytest.mark.session
def test_what_a_clock_does_shows_in_the_time_of_the_last_report_and_not_in_the_order_of_the_log(
    clocked_store: JobStore, database_url: str, set_clock: Callable[[int], None]
) -> None:
    store = clocked_store
    job_pk = store.report(job(granule("a", PENDING))).job_pk
    for offset, state in ((DAY, STAGED), (-DAY, SUCCEEDED), (0, None)):
        set_clock(offset)
        now = time.time() * 1e6 + offset * 1e6
        store.report(only(granule("a", state, message=f"at {offset}")))
        reported = store.read_job(JOB).last_report_time
        assert abs(reported - now) < MINUTE
        assert abs(store.read_clock() - now) < MINUTE
    changes = history(store, job_pk, first_position(database_url, job_pk))
    times = [change.change_time for change in changes]
    assert times == sorted(times)
    assert len(times) > 4
