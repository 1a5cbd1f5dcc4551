"""Many reporters at once: no update is lost, no revision given twice."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing import get_context
from typing import TypeVar

import pytest
from reports import FAILED, JOB, PENDING, STAGED, SUCCEEDED, count, fold, granule, job, only
from sqlalchemy import event
from stored import first_position, granules, history, log_rows, opened, run

from jobstatus_grpc.errors import JobNotFound
from jobstatus_grpc.model import JobKey, JobState, Report, Totals
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import GranuleQuery, Identity, JobStore, ReportResult
from jobstatus_grpc.store.sql import SqlJobStore

T = TypeVar("T")

THREADS = 8
PROCESSES = 8


def at_once(works: Sequence[Callable[[], T]]) -> list[T]:
    """Run each in a thread of its own, all beginning together, and return what they return."""
    barrier = threading.Barrier(len(works), timeout=30)

    def begin(work: Callable[[], T]) -> T:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        begun = [pool.submit(begin, work) for work in works]
    assert [work.exception() for work in begun] == [None] * len(works)
    return [work.result() for work in begun]


def reporter(store: JobStore, reports: Sequence[Report]) -> Callable[[], list[ReportResult]]:
    return lambda: [store.report(report) for report in reports]


def check_history(store: JobStore, url: str, results: Sequence[ReportResult], key: JobKey = JOB) -> None:
    """Check that the log, the granules, the totals and the answers tell one story."""
    job_pk = results[0].job_pk
    log = log_rows(url, job_pk)
    assert [row.revision for row in log] == list(range(1, len(log) + 1))
    stored = store.read_job(key)
    assert stored.position == (log[-1].revision, log[-1].commit_id)
    changes = history(store, job_pk, first_position(url, job_pk))
    assert len(changes) == len(log) - 1
    folded = fold(changes, after=1)
    assert sorted(folded.values()) == granules(store, key)
    assert stored.job.totals == count(folded.values()) == log[-1].totals
    # Each transaction's rows stand together, and each that changed something has rows of its own.
    starts = [
        row.commit_id
        for before, row in zip([None, *log], log, strict=False)
        if before is None or before.commit_id != row.commit_id
    ]
    assert len(starts) == len(set(starts))
    by_revision = {row.revision: row for row in log}
    for result in results:
        row = by_revision[result.position.revision]
        assert (row.commit_id, row.totals) == (result.position.commit_id, result.totals)


def test_reports_of_different_granules_at_once_are_all_taken(store: JobStore, database_url: str) -> None:
    created = store.report(job())
    works = [
        reporter(
            store,
            [
                only(*[granule(f"t{thread}-{index}", state) for index in range(5)])
                for state in (PENDING, STAGED, SUCCEEDED)
            ],
        )
        for thread in range(THREADS)
    ]
    results = [created, *(result for each in at_once(works) for result in each)]
    assert sum(result.applied for result in results[1:]) == THREADS * 5 * 3
    assert store.read_job(JOB).job.totals == Totals(succeeded=THREADS * 5)
    check_history(store, database_url, results)


def test_a_job_is_read_to_be_written_only_when_the_writer_before_is_done(
    store: SqlJobStore, database_url: str
) -> None:
    store.report(job())
    end = time.monotonic() + 60

    def read() -> str | None:
        with store.write_locked(end, JOB) as (_, root):
            return root and root.job.message

    with ThreadPoolExecutor(1) as pool:
        with store.write_locked(end, JOB) as (connection, _):
            other = pool.submit(read)
            with pytest.raises(TimeoutError):
                other.result(0.5)
            connection.exec_driver_sql("update job set message = 'written before'")
        assert other.result() == "written before"


def test_a_job_that_another_has_reported_since_its_lock_was_looked_for_is_locked(postgres_url: str) -> None:
    locked: list[bool] = []

    def look(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "for update" in statement and not locked:
            other.report(job(granule("a")))
            locked.append(False)

    def write(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "insert into change" in statement:
            later = pool.submit(other.report, only(granule("b")))
            locked[0] = later in wait([later], 0.5).not_done

    with opened(postgres_url) as store, opened(postgres_url) as other:
        assert isinstance(store, SqlJobStore)
        with ThreadPoolExecutor(2) as pool:
            event.listen(store.writes, "after_cursor_execute", look)
            event.listen(store.writes, "before_cursor_execute", write)
            reporting = pool.submit(store.report, job(granule("c")))
            wait([reporting])
        # Before what becomes of two that write at once: the database's own keys keep them apart.
        assert locked == [True]
        assert reporting.result().position.revision == 3
        assert store.read_job(JOB).job.totals == Totals(pending=3)


def test_reports_of_the_same_granules_at_once_are_merged_one_after_the_other(
    store: JobStore, database_url: str
) -> None:
    created = store.report(job())
    states = [PENDING, STAGED, SUCCEEDED, FAILED]
    works = []
    for thread in range(THREADS):
        chance = random.Random(thread)
        reports = [
            only(
                *[
                    granule(f"g{chance.randrange(10)}", chance.choice(states), attempt=chance.randrange(1, 4))
                    for _ in range(8)
                ]
            )
            for _ in range(6)
        ]
        works.append(reporter(store, reports))
    results = [created, *(result for each in at_once(works) for result in each)]
    items = sum(result.applied + result.unchanged + result.stale for result in results[1:])
    assert items == THREADS * 6 * 8
    check_history(store, database_url, results)


def test_a_granule_reported_by_all_at_once_is_counted_once(store: JobStore, database_url: str) -> None:
    created = store.report(job(state=JobState.RUNNING))
    for turn in range(5):
        works = [reporter(store, [only(granule(f"g{turn}", SUCCEEDED))]) for _ in range(THREADS)]
        results = [result for each in at_once(works) for result in each]
        assert sorted(result.applied for result in results) == [0] * (THREADS - 1) + [1]
        assert {result.totals for result in results} == {Totals(succeeded=turn + 1)}
        check_history(store, database_url, [created, *results])


def test_one_job_created_by_many_at_once_is_one_job(store: JobStore, database_url: str) -> None:
    for turn in range(20):
        key = JobKey("p", f"j{turn}")
        works = [reporter(store, [job(granule(f"g{thread}"), key=key)]) for thread in range(THREADS)]
        results = [result for each in at_once(works) for result in each]
        assert len({result.job_pk for result in results}) == 1
        assert sum(row.granule_id is None for row in log_rows(database_url, results[0].job_pk)) == 1
        assert store.read_job(key).job.totals == Totals(pending=THREADS)
        assert run(database_url, "SELECT count(*) FROM job")[0][0] == turn + 1
        check_history(store, database_url, results, key)


def test_one_job_created_by_two_stores_at_once_is_one_job(store: JobStore, database_url: str) -> None:
    other = open_store(database_url)
    try:
        other.prepare()
        for turn in range(10):
            key = JobKey("p", f"j{turn}")
            works = [reporter(each, [job(granule("a"), key=key)]) for each in (store, other)]
            first, second = (results[0] for results in at_once(works))
            assert first.job_pk == second.job_pk
            assert sorted([first.position.revision, second.position.revision]) == [2, 2]
            assert sorted([first.changed, second.changed]) == [False, True]
    finally:
        other.close()


def test_many_jobs_reported_at_once_do_not_meet(store: JobStore) -> None:
    keys = [JobKey("p", f"j{thread}") for thread in range(THREADS)]
    works = [
        reporter(store, [job(granule(f"g{turn}", STAGED), key=key) for turn in range(5)]) for key in keys
    ]
    at_once(works)
    for key in keys:
        assert store.read_job(key).job.totals == Totals(staged=5)
        assert store.read_job(key).job.revision == 7


def test_readers_always_see_a_job_that_adds_up(store: JobStore) -> None:
    store.report(job(*[granule(f"g{index}") for index in range(50)]))
    done = threading.Event()

    def write() -> int:
        try:
            for turn in range(1, 16):
                store.report(
                    only(*[granule(f"g{index}", STAGED, attempt=turn) for index in range(0, 50, turn)])
                )
                store.report(only(*[granule(f"g{index}", FAILED, attempt=turn) for index in range(0, 50, 2)]))
        finally:
            done.set()
        return 0

    def read() -> int:
        reads = 0
        while not done.is_set() or reads == 0:
            page = store.read_page(JOB, GranuleQuery(100))
            assert page.stored.job.totals == count(page.granules)
            assert max(one.revision for one in page.granules) <= page.stored.job.revision
            with store.open_snapshot(JOB) as snapshot:
                read = [one for part in snapshot.pages for one in part]
            assert snapshot.stored.job.totals == count(read)
            batch = store.read_changes(snapshot.stored.job_pk, snapshot.stored.position, 50)
            assert batch is not None
            fold(batch.changes, read, snapshot.stored.job.revision)
            reads += 1
        return reads

    assert min(at_once([write, read, read])[1:]) > 0


def test_a_job_deleted_while_it_is_reported_is_deleted_or_a_new_one(
    store: JobStore, database_url: str
) -> None:
    for _ in range(5):
        old = store.report(job(granule("a"))).job_pk

        def delete() -> int:
            return store.delete_job(JOB)

        def report() -> int:
            return store.report(job(granule("b"))).job_pk

        deleted, reported = at_once([delete, report])
        assert deleted == old
        if reported == old:
            with pytest.raises(JobNotFound):
                store.read_job(JOB)
        else:
            stored = store.read_job(JOB)
            assert (stored.job_pk, stored.job.totals) == (reported, Totals(pending=1))
            store.delete_job(JOB)
    assert run(database_url, "SELECT count(*) FROM job WHERE delete_time IS NULL")[0][0] == 0


def prepare_and_report(url: str, name: str) -> tuple[Identity, int]:
    """Use a store as a process of its own does."""
    store = open_store(url)
    try:
        store.prepare()
        return store.identity, store.report(job(granule(name), key=JobKey("p", name))).job_pk
    finally:
        store.close()


def report_groups(url: str, process: int) -> list[ReportResult]:
    """Report to the one job as a process of its own does, several reports together each time."""
    store = open_store(url)
    try:
        store.prepare()
        outcomes = [
            outcome
            for turn in range(10)
            for outcome in store.report_all(
                [
                    only(granule(f"p{process}-{turn}", STAGED), granule("all", attempt=turn + 1)),
                    only(granule("all", STAGED, attempt=turn + 1)),
                    only(granule(f"p{process}-{turn}", SUCCEEDED)),
                ]
            )
        ]
        return [outcome for outcome in outcomes if isinstance(outcome, ReportResult)]
    finally:
        store.close()


def test_eight_processes_reporting_to_one_job_leave_a_log_without_gaps(
    store: JobStore, database_url: str
) -> None:
    created = store.report(job(state=JobState.RUNNING))
    with get_context("spawn").Pool(PROCESSES) as pool:
        made = pool.starmap(report_groups, [(database_url, index) for index in range(PROCESSES)], 1)
        pool.close()
        pool.join()
    results = [result for each in made for result in each]
    assert len(results) == PROCESSES * 10 * 3
    # What is each process's own was news to the store twice; the one granule of all moved twice an attempt.
    assert sum(result.applied for result in results) == PROCESSES * 10 * 2 + 10 * 2
    assert store.read_job(JOB).job.revision == 1 + PROCESSES * 10 * 2 + 10 * 2
    check_history(store, database_url, [created, *results])


@pytest.fixture
def fresh_sqlite_url(sqlite_url: str) -> Iterator[str]:
    yield sqlite_url
    assert run(sqlite_url, "PRAGMA integrity_check")[0][0] == "ok"


def test_four_processes_preparing_one_empty_file_at_once_make_one_store(fresh_sqlite_url: str) -> None:
    with get_context("spawn").Pool(4) as pool:
        made = pool.starmap(prepare_and_report, [(fresh_sqlite_url, f"j{index}") for index in range(4)], 1)
        pool.close()
        pool.join()
    assert len({identity for identity, _ in made}) == 1
    assert len({job_pk for _, job_pk in made}) == 4
    assert run(fresh_sqlite_url, "SELECT count(*) FROM store")[0][0] == 1
    assert run(fresh_sqlite_url, "SELECT count(*) FROM alembic_version")[0][0] == 1
    assert run(fresh_sqlite_url, "PRAGMA journal_mode")[0][0] == "wal"


def test_a_store_prepared_again_is_the_same_store(store: JobStore, database_url: str) -> None:
    other = open_store(database_url)
    try:
        other.prepare()
        assert other.identity == store.identity
    finally:
        other.close()
    assert (len(store.identity.store_id), len(store.identity.secret)) == (16, 32)
