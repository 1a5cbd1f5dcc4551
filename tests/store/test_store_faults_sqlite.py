"""An SQLite file that another process holds: a report waits its turn, or is refused in time."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from reports import JOB, STAGED, granule, job, only
from sqlalchemy import make_url

from jobstatus_grpc.errors import DeadlineExceeded, StoreUnavailable
from jobstatus_grpc.model import Totals
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import GranuleQuery, JobStore


@pytest.fixture
def store(sqlite_url: str) -> Iterator[JobStore]:
    opened = open_store(sqlite_url)
    try:
        opened.prepare()
        opened.report(job(granule("a")))
        yield opened
    finally:
        opened.close()


def connect(url: str) -> sqlite3.Connection:
    return sqlite3.connect(make_url(url).database or "", isolation_level=None, check_same_thread=False)


@contextmanager
def held(url: str) -> Iterator[sqlite3.Connection]:
    """Hold the write lock of the file."""
    with closing(connect(url)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def test_a_report_waits_for_a_writer_that_is_soon_done(store: JobStore, sqlite_url: str) -> None:
    with held(sqlite_url) as holder:
        release = threading.Timer(0.5, lambda: holder.execute("ROLLBACK"))
        release.start()
        begun = time.monotonic()
        assert store.report(only(granule("a", STAGED))).totals == Totals(staged=1)
        assert 0.3 < time.monotonic() - begun < 3
        release.join()


def test_a_report_that_waits_too_long_for_a_writer_is_refused_while_reads_go_on(
    store: JobStore, sqlite_url: str
) -> None:
    with held(sqlite_url):
        reads: list[float] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                begun = time.monotonic()
                page = store.read_page(JOB, GranuleQuery(10))
                assert page.stored.job.totals == Totals(pending=1)
                reads.append(time.monotonic() - begun)

        reader = threading.Thread(target=read)
        reader.start()
        begun = time.monotonic()
        try:
            with pytest.raises(StoreUnavailable):
                store.report(only(granule("a", STAGED)))
            assert 1 < time.monotonic() - begun < 3.5
        finally:
            done.set()
            reader.join()
        assert len(reads) > 10
        assert max(reads) < 1
    assert store.report(only(granule("a", STAGED))).applied == 1


def test_a_deadline_that_passes_while_waiting_for_a_writer_is_answered_in_time(
    store: JobStore, sqlite_url: str
) -> None:
    with held(sqlite_url):
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            store.report(only(granule("a", STAGED)), begun + 0.5)
        assert 0.3 < time.monotonic() - begun < 2


def test_a_deletion_and_a_purge_wait_too(store: JobStore, sqlite_url: str) -> None:
    with held(sqlite_url) as holder:
        release = threading.Timer(0.3, lambda: holder.execute("ROLLBACK"))
        release.start()
        store.delete_job(JOB)
        release.join()
    with held(sqlite_url) as holder:
        release = threading.Timer(0.3, lambda: holder.execute("ROLLBACK"))
        release.start()
        assert store.purge()
        release.join()


def test_a_reader_in_the_midst_of_a_snapshot_holds_up_no_report(store: JobStore) -> None:
    with store.open_snapshot(JOB) as snapshot:
        begun = time.monotonic()
        assert store.report(only(granule("a", STAGED))).applied == 1
        assert time.monotonic() - begun < 1
        assert [one.revision for page in snapshot.pages for one in page] == [2]


def test_a_file_in_a_directory_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    opened = open_store(f"sqlite:///{tmp_path}/missing/jobstatus.db")
    try:
        with pytest.raises(StoreUnavailable):
            opened.prepare()
        with pytest.raises(StoreUnavailable):
            _ = opened.identity
    finally:
        opened.close()
