"""PostgreSQL going away, waiting and answering late: a report is taken once, or refused in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from moments import wait_until
from postgres import PostgresServer
from proxy import Moment, Proxy
from reports import FAILED, JOB, STAGED, SUCCEEDED, granule, job, only
from sqlalchemy import make_url
from stored import granules, log_rows, run

from jobstatus_grpc.errors import (
    DeadlineExceeded,
    HistoryChanged,
    InvalidRequest,
    JobNotFound,
    SchemaMismatch,
    StoreUnavailable,
)
from jobstatus_grpc.model import MAX_GRANULE_BYTES, Details, Report, Totals
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import FirstPage, GranuleQuery, JobPage, JobStore, ReportResult
from jobstatus_grpc.store.postgres import PostgresJobStore
from jobstatus_grpc.store.queries import Query

BEFORE: Moment = "before the commit"
AFTER: Moment = "after the commit"


@pytest.fixture
def store(postgres_url: str) -> Iterator[JobStore]:
    opened = open_store(postgres_url)
    try:
        opened.prepare()
        yield opened
    finally:
        opened.close()


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(postgres_url) as made:
        yield made


@pytest.fixture
def far(proxy: Proxy) -> Iterator[JobStore]:
    """A store that reaches its database through the proxy."""
    opened = open_store(proxy.url)
    try:
        opened.prepare()
        yield opened
    finally:
        proxy.resume()
        opened.close()


@contextmanager
def lock_on_job(url: str) -> Iterator[psycopg2.extensions.connection]:
    """Hold the lock of every job's row, as a reporter that has stopped in mid-transaction does."""
    connection = psycopg2.connect(url)
    try:
        connection.cursor().execute("SELECT * FROM job FOR UPDATE")
        yield connection
    finally:
        connection.close()


def waiting_for_a_lock(server: PostgresServer, url: str) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    return bool(server.execute(query, (make_url(url).database,))[0][0])


def first_page(store: JobStore) -> JobPage:
    (page,) = store.read_first_pages([FirstPage(JOB, 1)])
    assert isinstance(page, JobPage)
    return page


def test_a_report_after_all_connections_were_ended_is_taken(
    store: JobStore, postgres_server: PostgresServer, postgres_url: str
) -> None:
    store.report(job(granule("a")))
    database = make_url(postgres_url).database or ""
    for state in (STAGED, SUCCEEDED):
        store.read_job(JOB)
        assert postgres_server.terminate_connections(database) >= 1
        result = store.report(only(granule("a", state)))
        assert result.applied == 1
        assert postgres_server.terminate_connections(database) >= 1
        assert store.read_job(JOB).position == result.position
        assert postgres_server.terminate_connections(database) >= 1
        assert first_page(store).stored.position == result.position
        assert postgres_server.terminate_connections(database) >= 1
        assert first_page(store).stored.position == result.position
        assert [one.state for one in granules(store, JOB)] == [state]


def test_a_report_waits_for_a_lock_that_is_soon_let_go(
    store: JobStore, postgres_server: PostgresServer, postgres_url: str
) -> None:
    store.report(job(granule("a")))
    with lock_on_job(postgres_url) as holder, ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        answer = pool.submit(store.report, only(granule("a", STAGED)))
        wait_until(lambda: waiting_for_a_lock(postgres_server, postgres_url), "the report waits for the lock")
        assert not answer.done()
        assert store.read_job(JOB).job.totals == Totals(pending=1)
        while time.monotonic() - begun < 1:
            assert not answer.done()
            time.sleep(0.05)
        holder.rollback()
        assert answer.result(timeout=10).totals == Totals(staged=1)


def test_a_report_that_waits_too_long_for_a_lock_is_refused_and_writes_nothing(
    store: JobStore, postgres_url: str
) -> None:
    first = store.report(job(granule("a")))
    with lock_on_job(postgres_url):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.report(only(granule("a", STAGED)))
        assert 1 < time.monotonic() - begun < 5
    assert store.read_job(JOB).position == first.position
    assert store.report(only(granule("a", STAGED))).applied == 1


def test_a_first_page_that_waits_too_long_is_given_up_and_its_limit_is_no_later_querys(
    store: JobStore, postgres_url: str
) -> None:
    store.report(job(granule("a")))
    with closing(psycopg2.connect(postgres_url)) as holder:
        holder.cursor().execute("lock table job in access exclusive mode")
        for seconds, error in ((None, StoreUnavailable), (0.3, DeadlineExceeded)):
            begun = time.monotonic()
            with pytest.raises(error):
                store.read_first_pages([FirstPage(JOB, 1)], seconds and begun + seconds)
            assert time.monotonic() - begun < (seconds or 2) + 1.5
    assert isinstance(store, PostgresJobStore)
    with store.glance(time.monotonic() + 30) as ask:
        assert ask(Query("show statement_timeout", {}))[0][0] == "0"


def test_a_deadline_that_passes_while_waiting_for_a_lock_is_answered_in_time(
    store: JobStore, postgres_url: str
) -> None:
    store.report(job(granule("a")))
    with lock_on_job(postgres_url):
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            store.report(only(granule("a", STAGED)), begun + 0.5)
        assert 0.3 < time.monotonic() - begun < 2


def check_taken_once(
    store: JobStore, url: str, proxy: Proxy, report: Report, cuts: tuple[Moment, ...]
) -> None:
    """Report while commits are cut, and compare with what the same report says when nothing is."""
    before = store.read_job(JOB) if report.job is None else None
    proxy.cut_commits(*cuts)
    result = store.report(report)
    assert proxy.commits_cut == len(cuts)
    first = 0 if before is None else before.job.revision
    log = [row for row in log_rows(url, result.job_pk) if row.revision > first]
    assert {row.commit_id for row in log} == {result.position.commit_id}
    assert [row.revision for row in log] == list(range(first + 1, result.position.revision + 1))
    stored = store.read_job(JOB)
    assert (stored.position, stored.job.totals) == (result.position, result.totals)
    assert (stored.job.state, result.totals) == (result.state, log[-1].totals)
    assert result.changed
    assert sum(result.totals) == len(granules(store, JOB))
    failures = store.read_failures([result.job_pk])[result.job_pk]
    assert failures.position == result.position
    assert sum(reason.granule_count for reason in failures.reasons) == result.totals.failed


@pytest.mark.parametrize("cuts", [(BEFORE,), (AFTER,), (BEFORE, AFTER), (BEFORE, BEFORE)], ids=" then ".join)
def test_an_update_whose_commit_is_in_doubt_is_taken_once(
    far: JobStore, proxy: Proxy, postgres_url: str, cuts: tuple[Moment, ...]
) -> None:
    far.report(job(granule("a"), granule("b"), granule("f", FAILED), granule("g", FAILED)))
    report = only(
        *(granule("a", STAGED), granule("c", SUCCEEDED), granule("a", SUCCEEDED)),
        *(granule("d", FAILED), granule("e", FAILED), granule("g", SUCCEEDED, attempt=2)),
    )
    check_taken_once(far, postgres_url, proxy, report, cuts)
    assert far.read_job(JOB).job.totals == Totals(pending=1, succeeded=3, failed=3)


@pytest.mark.parametrize("cuts", [(BEFORE,), (AFTER,), (BEFORE, AFTER), (BEFORE, BEFORE)], ids=" then ".join)
def test_a_creation_whose_commit_is_in_doubt_is_taken_once(
    far: JobStore, proxy: Proxy, postgres_url: str, cuts: tuple[Moment, ...]
) -> None:
    report = job(granule("a", STAGED), granule("b"), description="d")
    check_taken_once(far, postgres_url, proxy, report, cuts)
    assert far.read_job(JOB).job.revision == 4
    assert run(postgres_url, "SELECT count(*) FROM job")[0][0] == 1


@pytest.mark.parametrize("cuts", [(BEFORE,), (AFTER,), (BEFORE, AFTER)], ids=" then ".join)
def test_what_is_kept_of_a_report_in_doubt_is_kept_once(
    far: JobStore, proxy: Proxy, postgres_url: str, cuts: tuple[Moment, ...]
) -> None:
    first, last = Details("sdrs", {"resource_id": "1"}), Details("sdrs", {"resource_id": "2"})
    far.report(job(granule("a", document="1"), granule("b"), details=first, document="1"))
    proxy.cut_commits(*cuts)
    result = far.report(
        job(granule("a", document=""), granule("b", document="2"), details=last, document="2")
    )
    assert (result.applied, result.unchanged, result.position.revision) == (1, 2, 4)
    # Of this one nothing is found in the log: it is written again, and is what it was.
    proxy.cut_commits(*cuts)
    result = far.report(job(granule("b", document="3"), document="3"))
    assert (result.unchanged, result.changed, result.position.revision) == (2, False, 4)
    assert proxy.commits_cut == 2 * len(cuts)
    with far.open_whole(JOB) as whole:
        assert (whole.details, whole.document) == (last, "3")
        assert [each.document for each in whole.granules] == [None, "3"]
    assert run(postgres_url, "select count(*) from job_document") == [(1,)]


@pytest.mark.parametrize("cut", [BEFORE, AFTER])
def test_the_answer_to_a_report_in_doubt_counts_its_items_as_the_first_try_did(
    far: JobStore, proxy: Proxy, cut: Moment
) -> None:
    far.report(job(granule("a"), granule("b", SUCCEEDED)))
    proxy.cut_commits(cut)
    result = far.report(only(granule("a", STAGED), granule("b", STAGED), granule("a", STAGED)))
    assert (result.applied, result.unchanged, result.stale) == (1, 1, 1)
    assert (result.changed, result.totals) == (True, Totals(staged=1, succeeded=1))


@pytest.mark.parametrize("cuts", [(BEFORE,), (AFTER,), (BEFORE, AFTER)], ids=" then ".join)
@pytest.mark.parametrize("created", [False, True], ids=["update", "creation"])
def test_reports_written_together_whose_commit_is_in_doubt_are_each_taken_once(
    far: JobStore, proxy: Proxy, postgres_url: str, created: bool, cuts: tuple[Moment, ...]
) -> None:
    if not created:
        far.report(job())
    proxy.cut_commits(*cuts)
    outcomes = far.report_all(
        [
            job(granule("a", STAGED), granule("b"), description="d"),
            only(granule("c", message="m" * MAX_GRANULE_BYTES)),
            only(granule("a", STAGED), granule("b", SUCCEEDED), granule("a", SUCCEEDED)),
            only(granule("b", STAGED)),
            only(granule("c", STAGED)),
        ]
    )
    assert proxy.commits_cut == len(cuts)
    refused = outcomes[1]
    assert isinstance(refused, InvalidRequest)
    first, moved, stale, last = [each for each in outcomes if isinstance(each, ReportResult)]
    assert [(each.applied, each.unchanged, each.stale) for each in (first, moved, stale, last)] == [
        (3, 0, 0),
        (2, 1, 0),
        (0, 0, 1),
        (1, 0, 0),
    ]
    log = log_rows(postgres_url, first.job_pk)
    assert [row.granule_id for row in log] == [None, "a", "b", None, "b", "a", "c"]
    assert [row.revision for row in log] == list(range(1, 8))
    assert {row.commit_id for row in log[not created :]} == {last.position.commit_id}
    assert [each.position.revision for each in (first, moved, stale, last)] == [4, 6, 6, 7]
    for each in (first, moved, stale, last):
        assert each.totals == log[each.position.revision - 1].totals
    stored = far.read_job(JOB)
    assert (stored.position, stored.job.totals) == (last.position, Totals(staged=1, succeeded=2))
    assert run(postgres_url, "SELECT count(*) FROM job")[0][0] == 1


def test_reports_written_together_are_all_refused_while_the_database_is_away(
    store: JobStore, postgres_url: str
) -> None:
    first = store.report(job(granule("a")))
    with lock_on_job(postgres_url), pytest.raises(StoreUnavailable):
        store.report_all([only(granule("a", STAGED)), only(granule("b"))])
    assert store.read_job(JOB).position == first.position


@pytest.mark.parametrize("cut", [BEFORE, AFTER])
def test_a_report_in_doubt_is_answered_as_it_was_though_another_came_between(
    far: JobStore, store: JobStore, proxy: Proxy, postgres_url: str, cut: Moment
) -> None:
    far.report(job(granule("a"), granule("b")))
    proxy.cut_commits(cut)
    with ThreadPoolExecutor(2) as pool:
        answers = [
            pool.submit(far.report, only(granule("a", STAGED))),
            pool.submit(store.report, only(granule("b", SUCCEEDED))),
        ]
        results = [answer.result(timeout=10) for answer in answers]
    assert [result.applied for result in results] == [1, 1]
    log = {row.revision: row for row in log_rows(postgres_url, results[0].job_pk)}
    for result in results:
        row = log[result.position.revision]
        assert (row.commit_id, row.totals) == (result.position.commit_id, result.totals)
    assert store.read_job(JOB).job.totals == Totals(staged=1, succeeded=1)


def test_a_report_after_all_connections_were_cut_is_taken(far: JobStore, proxy: Proxy) -> None:
    far.report(job(granule("a")))
    far.read_job(JOB)
    proxy.cut()
    assert far.report(only(granule("a", STAGED))).applied == 1
    proxy.cut()
    assert far.read_job(JOB).job.totals == Totals(staged=1)
    for _ in range(2):
        assert first_page(far).stored.job.totals == Totals(staged=1)
        proxy.cut()


def test_a_database_that_falls_silent_is_unavailable_in_time(far: JobStore, proxy: Proxy) -> None:
    far.report(job(granule("a")))
    far.read_job(JOB)
    first_page(far)
    proxy.stall()
    with ThreadPoolExecutor(3) as pool:
        begun = time.monotonic()
        answers: list[Future[Any]] = [
            pool.submit(far.report, only(granule("a", STAGED))),
            pool.submit(far.read_job, JOB),
            pool.submit(first_page, far),
        ]
        try:
            for answer in answers:
                with pytest.raises(StoreUnavailable):
                    answer.result(timeout=10)
                assert time.monotonic() - begun < 5
        finally:
            proxy.resume()
    wait_until(lambda: far.read_job(JOB).job.revision >= 2, "the database answers again", 10)
    assert first_page(far).stored.job.revision >= 2
    assert far.report(only(granule("a", STAGED))).totals == Totals(staged=1)


def test_a_stopped_server_is_unavailable_in_time_and_works_again_when_it_is_back(
    store: JobStore, postgres_server: PostgresServer
) -> None:
    first = store.report(job(granule("a")))
    postgres_server.stop("immediate")
    try:
        for call in (
            lambda: store.report(only(granule("a", STAGED))),
            lambda: store.read_job(JOB),
            lambda: store.read_page(JOB, GranuleQuery(1)),
            lambda: first_page(store),
            store.ping,
        ):
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable):
                call()
            assert time.monotonic() - begun < 5
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            store.read_job(JOB, begun + 0.3)
        assert time.monotonic() - begun < 2
    finally:
        postgres_server.start()
    store.ping()
    assert store.read_job(JOB).position == first_page(store).stored.position == first.position
    assert store.report(only(granule("a", STAGED))).position.revision == first.position.revision + 2


def test_a_committed_report_survives_a_crash_of_the_server(
    store: JobStore, postgres_server: PostgresServer, postgres_url: str
) -> None:
    store.report(job())
    # What is committed durably takes along all that was committed before.
    run(postgres_url, "create table durable ()")
    for turn in range(3):
        result = store.report(job(granule(f"g{turn}", SUCCEEDED)))
        postgres_server.stop("immediate")
        postgres_server.start()
        assert store.read_job(JOB).position == result.position
        assert len(granules(store, JOB)) == turn + 1


def test_a_server_restored_from_an_older_copy_has_another_history(
    store: JobStore, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    older = store.report(job(granule("a")))
    postgres_server.stop()
    copy = tmp_path_factory.mktemp("copies") / "data"
    postgres_server.copy_data(copy)
    postgres_server.start()
    lost = store.report(only(granule("a", STAGED)))
    postgres_server.stop()
    postgres_server.restore_data(copy)
    postgres_server.start()
    with pytest.raises(HistoryChanged):
        store.read_changes(lost.job_pk, lost.position, 10)
    assert store.read_job(JOB).position == older.position
    again = store.report(only(granule("a", SUCCEEDED)))
    assert again.position.revision == lost.position.revision
    with pytest.raises(HistoryChanged):
        store.read_changes(lost.job_pk, lost.position, 10)
    assert store.read_changes(lost.job_pk, older.position, 10) is not None


def test_a_store_not_prepared_has_no_identity(postgres_url: str) -> None:
    opened = open_store(postgres_url)
    try:
        with pytest.raises(StoreUnavailable):
            _ = opened.identity
    finally:
        opened.close()


def test_a_database_without_a_schema_is_refused_by_the_command_that_makes_it(
    postgres_server: PostgresServer,
) -> None:
    postgres_server.create_database("jobstatus_empty")
    opened = open_store(postgres_server.url("jobstatus_empty"))
    try:
        with pytest.raises(SchemaMismatch, match="jobstatus db upgrade"):
            opened.prepare()
    finally:
        opened.close()
        postgres_server.drop_database("jobstatus_empty")


def test_a_report_of_an_unknown_job_is_refused_after_a_lost_connection_too(
    store: JobStore, postgres_server: PostgresServer, postgres_url: str
) -> None:
    store.ping()
    postgres_server.terminate_connections(make_url(postgres_url).database or "")
    with pytest.raises(JobNotFound):
        store.report(only(granule("a")))
