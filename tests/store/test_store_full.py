from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from reports import JOB, granule, job, only
from sqlalchemy import event

from jobstatus_grpc.errors import StoreFull
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import ReportResult
from jobstatus_grpc.store.sqlite import SqliteJobStore

PAGES = 200


@pytest.fixture
def narrow(sqlite_url: str) -> Iterator[SqliteJobStore]:
    """A store whose file may grow to so many pages and no further, as on a disk that is full."""
    store = open_store(sqlite_url)
    assert isinstance(store, SqliteJobStore)

    @event.listens_for(store.writes, "connect")
    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {PAGES}")

    store.prepare()
    yield store
    store.close()


def fill(store: SqliteJobStore) -> ReportResult:
    """Report until the file is full; return the last answer."""
    acknowledged = None
    for index in range(1000):
        try:
            acknowledged = store.report(only(granule(f"g{index}", message="m" * 10_000)))
        except StoreFull:
            assert acknowledged is not None
            return acknowledged
    raise AssertionError("the file was never full")


def test_a_full_disk_refuses_reports_keeps_what_was_acknowledged_and_serves_reads(
    narrow: SqliteJobStore,
) -> None:
    narrow.report(job(granule("first")))
    acknowledged = fill(narrow)
    stored = narrow.read_job(JOB)
    assert stored.position == acknowledged.position
    assert stored.job.totals == acknowledged.totals
    with narrow.open_snapshot(JOB) as snapshot:
        assert sum(map(len, snapshot.pages)) == sum(acknowledged.totals)


def test_a_disk_that_has_room_again_takes_reports_again(narrow: SqliteJobStore) -> None:
    narrow.report(job(granule("first")))
    fill(narrow)
    narrow.delete_job(JOB)
    while narrow.purge():
        pass
    assert narrow.report(job(granule("again"))).totals.pending == 1
