"""Hearing of commits that other stores make."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from moments import wait_until
from postgres import PostgresServer
from reports import JOB, STAGED, granule, job, only
from sqlalchemy import make_url
from stored import run

from jobstatus_grpc.model import JobKey, NewsMode
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import JobStore, News, NewsSource

pytestmark = pytest.mark.session

LISTENING = "lower(left(query, 6)) = 'listen'"

# Half a second at the end of each transaction that appends to a history, before its commit.
SLOW_COMMITS = """
create function wait() returns trigger language plpgsql as 'begin perform pg_sleep(0.5); return null; end';
create constraint trigger wait after insert on change deferrable initially deferred
    for each row execute function wait()
"""


@pytest.fixture
def other(database_url: str) -> Iterator[JobStore]:
    """Another store on the same database, as another process has it."""
    opened = open_store(database_url)
    try:
        opened.prepare()
        yield opened
    finally:
        opened.close()


@pytest.fixture
def news(other: JobStore, database_url: str) -> Iterator[NewsSource]:
    """What `other` hears; it has heard everything so far."""
    source = other.listen()
    try:
        wait_for_mode(source, mode_on(database_url))
        settle(source)
        yield source
    finally:
        source.close()


def mode_on(database_url: str) -> NewsMode:
    told = make_url(database_url).get_backend_name() == "postgresql"
    return NewsMode.NOTIFY if told else NewsMode.POLL


def wait_for_mode(source: NewsSource, mode: NewsMode) -> None:
    """Return once the source hears in this way; whatever it hears meanwhile is lost."""
    wait_until(lambda: not source.wait(0.01) and source.mode is mode, f"news by {mode}")


def settle(source: NewsSource) -> None:
    """Return when the source has been quiet for a moment."""
    end = time.monotonic() + 10
    quiet = 0
    while quiet < 2:
        assert time.monotonic() < end
        quiet = 0 if source.wait(0.1) else quiet + 1


def hear(source: NewsSource, wanted: Callable[[News], bool], seconds: float = 10) -> News:
    """Return the first news that are wanted."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        heard = source.wait(left)
        if heard and wanted(heard):
            return heard
    raise AssertionError(f"not heard within {seconds} s")


def of(job_pk: int) -> Callable[[News], bool]:
    return lambda news: news.everything or job_pk in news.job_pks


def test_the_first_news_are_everything(other: JobStore) -> None:
    source = other.listen()
    try:
        assert hear(source, bool).everything
    finally:
        source.close()


def test_a_commit_of_another_store_is_heard_soon(store: JobStore, news: NewsSource) -> None:
    result = store.report(job(granule("a")))
    begun = time.monotonic()
    heard = hear(news, of(result.job_pk))
    assert time.monotonic() - begun < 1
    if news.mode is NewsMode.POLL:
        assert heard.everything
    else:
        assert heard.job_pks == {result.job_pk}


def test_news_are_told_by_postgresql_and_asked_for_of_sqlite(database_url: str, news: NewsSource) -> None:
    assert news.mode is mode_on(database_url)


def test_commits_of_many_jobs_are_all_heard(store: JobStore, news: NewsSource) -> None:
    missing = {store.report(job(key=JobKey("p", f"j{index}"))).job_pk for index in range(50)}
    end = time.monotonic() + 10
    while missing and time.monotonic() < end:
        heard = news.wait(1)
        missing = set() if heard.everything else missing - heard.job_pks
    assert not missing


def test_a_commit_is_no_news_before_others_can_read_it(
    store: JobStore, other: JobStore, news: NewsSource, database_url: str
) -> None:
    job_pk = store.report(job(granule("a"))).job_pk
    hear(news, of(job_pk))
    settle(news)
    if mode_on(database_url) is NewsMode.NOTIFY:
        run(database_url, SLOW_COMMITS)
    with ThreadPoolExecutor(1) as pool:
        reporting = pool.submit(store.report, only(granule("a", STAGED)))
        hear(news, of(job_pk))
        found = other.read_job(JOB).position
        assert found == reporting.result().position


def test_a_commit_while_nobody_waits_is_heard_afterwards(store: JobStore, news: NewsSource) -> None:
    result = store.report(job())
    store.ping()
    assert hear(news, of(result.job_pk))


def test_a_deletion_is_heard(store: JobStore, news: NewsSource) -> None:
    job_pk = store.report(job()).job_pk
    hear(news, of(job_pk))
    settle(news)
    store.delete_job(JOB)
    assert hear(news, of(job_pk))


def test_there_are_no_news_where_nothing_happens(store: JobStore, news: NewsSource) -> None:
    begun = time.monotonic()
    assert not news.wait(0.2)
    assert 0.15 < time.monotonic() - begun < 5


def test_a_report_that_changes_nothing_is_no_news_of_the_job(store: JobStore, news: NewsSource) -> None:
    job_pk = store.report(job(granule("a", STAGED))).job_pk
    hear(news, of(job_pk))
    settle(news)
    store.report(only(granule("a", STAGED)))
    heard = news.wait(0.2)
    assert job_pk not in heard.job_pks


def test_a_wait_ends_soon_after_the_source_is_closed(other: JobStore) -> None:
    source = other.listen()
    settle(source)
    entered, ended = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        source.wait(10)
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    entered.wait(10)
    begun = time.monotonic()
    source.close()
    waiting.join(timeout=20)
    assert ended.is_set()
    assert time.monotonic() - begun < 3


def listeners(server: PostgresServer, url: str) -> int:
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND {LISTENING}"
    return int(server.execute(query, (make_url(url).database,))[0][0])


def test_a_closed_source_leaves_no_connection(postgres_server: PostgresServer, postgres_url: str) -> None:
    store = open_store(postgres_url)
    store.prepare()
    source = store.listen()
    settle(source)
    assert listeners(postgres_server, postgres_url) == 1
    source.close()
    wait_until(lambda: listeners(postgres_server, postgres_url) == 0, "the listening connection is closed", 5)
    store.close()


def test_after_a_lost_connection_everything_may_have_happened_and_news_go_on(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    store = open_store(postgres_url)
    store.prepare()
    source = store.listen()
    try:
        first = store.report(job())
        hear(source, of(first.job_pk))
        settle(source)
        database = make_url(postgres_url).database or ""
        for _ in range(3):
            assert postgres_server.terminate_connections(database, LISTENING) == 1
            assert hear(source, lambda heard: heard.everything)
            wait_for_mode(source, NewsMode.NOTIFY)
            store.report(only(granule(f"g{time.monotonic_ns()}")))
            assert hear(source, of(first.job_pk)).job_pks == {first.job_pk}
    finally:
        source.close()
        store.close()


def test_while_the_database_is_away_there_are_no_news_and_no_errors(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    store = open_store(postgres_url)
    store.prepare()
    source = store.listen()
    try:
        settle(source)
        postgres_server.stop("immediate")
        wait_until(lambda: not source.wait(0.05) and source.mode is NewsMode.POLL, "the loss is noticed")
        for _ in range(5):
            assert not source.wait(0.05)
        postgres_server.start()
        assert hear(source, lambda heard: heard.everything)
        result = store.report(job())
        assert hear(source, of(result.job_pk)).job_pks == {result.job_pk}
    finally:
        postgres_server.start()
        source.close()
        store.close()
