"""News through PostgreSQL where something on the way is broken: found out, lived without, and mended."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2
import pytest
from moments import wait_until
from postgres import PostgresServer
from processes import ServerProcess
from proxy import Proxy
from reports import JOB, granule, job, only
from sqlalchemy import make_url

from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.model import JobState, NewsMode
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import JobStore, News, NewsSource
from jobstatus_grpc.store.postgres_connection import connect
from jobstatus_grpc.store.postgres_news import Proof

LISTENING = "lower(left(query, 6)) = 'listen'"
ANNOUNCING = "left(query, 16) = 'select pg_notify'"
# What a listener waits for its proof, and how long it trusts a silence, in seconds.
PATIENCE, SILENCE = 3.0, 5.0


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(postgres_url) as made:
        yield made


@contextmanager
def opened(url: str, notify: bool = True) -> Iterator[JobStore]:
    store = open_store(url, notify=notify)
    try:
        store.prepare()
        yield store
    finally:
        store.close()


class Ear:
    """Waits for news all the time, as a server does, and keeps them with the moments they came at."""

    def __init__(self, source: NewsSource) -> None:
        self.source = source
        self.heard: list[tuple[float, News]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Ear:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.source.close()
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()

    def has(self, wanted: Callable[[News], bool], since: float = 0) -> bool:
        return any(moment >= since and wanted(news) for moment, news in list(self.heard))

    def wait_for_mode(self, mode: NewsMode, seconds: float = 10) -> None:
        wait_until(lambda: self.source.mode is mode, f"news by {mode}", seconds)

    def _run(self) -> None:
        while not self._ended.is_set():
            if news := self.source.wait(1):
                self.heard.append((time.monotonic(), news))


def turns(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log says about how news come, in order."""
    lines = (record.getMessage() for record in caplog.records)
    return [line.partition(" come by ")[2] for line in lines if line.startswith("news of other processes")]


def test_behind_a_pooler_that_passes_no_notifications_on_news_come_by_polling_and_it_is_said_once(
    proxy: Proxy, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    proxy.deafen()
    with opened(proxy.url) as store, Ear(store.listen()) as ear, opened(postgres_url) as other:
        begun = time.monotonic()
        wait_until(lambda: bool(turns(caplog)), "it is found out", PATIENCE + 1)
        assert ear.source.mode is NewsMode.POLL
        wait_until(lambda: ear.has(lambda news: news.everything), "what may have been missed is looked for")
        result = other.report(job())
        wait_until(lambda: time.monotonic() > begun + 3 * PATIENCE, "it has tried again, in vain")
        assert not ear.has(lambda news: result.job_pk in news.job_pks)
        assert turns(caplog) == ["poll: notifications do not arrive, as behind a pooler"]
        # The pools aside, one connection for each try: at once, and then more and more seldom.
        assert proxy.connected <= 7
        proxy.mend()
        ear.wait_for_mode(NewsMode.NOTIFY, 20)
        assert turns(caplog)[1:] == ["notify: what is sent is heard"]


def test_a_connection_on_which_everything_is_lost_is_noticed_and_made_anew(
    proxy: Proxy, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with opened(proxy.url) as store, Ear(store.listen()) as ear, opened(postgres_url) as other:
        ear.wait_for_mode(NewsMode.NOTIFY)
        begun = time.monotonic()
        proxy.swallow()
        ear.wait_for_mode(NewsMode.POLL, SILENCE + PATIENCE + 1)
        assert time.monotonic() - begun > PATIENCE
        other.report(job())
        proxy.mend()
        mended = time.monotonic()
        wait_until(lambda: ear.has(lambda news: news.everything, mended), "what was missed is looked for")
        ear.wait_for_mode(NewsMode.NOTIFY)
        assert [line.partition(":")[0] for line in turns(caplog)] == ["notify", "poll", "notify"]


def test_a_silence_in_which_all_is_well_is_no_reason_to_connect_anew(proxy: Proxy) -> None:
    with opened(proxy.url) as store, Ear(store.listen()) as ear:
        ear.wait_for_mode(NewsMode.NOTIFY)
        connected, heard = proxy.connected, len(ear.heard)
        end = time.monotonic() + SILENCE + PATIENCE + 1
        while time.monotonic() < end:
            assert ear.source.mode is NewsMode.NOTIFY
            time.sleep(0.1)
        # Nor are proofs, one's own or others', news.
        assert (proxy.connected, len(ear.heard)) == (connected, heard)


def test_a_listener_that_is_killed_every_second_loses_no_change_and_little_time(
    proxy: Proxy, postgres_url: str, postgres_server: PostgresServer
) -> None:
    database = make_url(postgres_url).database or ""
    interval, seconds = 1.0, 10
    with (
        opened(postgres_url) as writer,
        ServerProcess(proxy.url, poll_interval=str(interval)) as server,
        JobStatusClient(server.address) as client,
    ):
        writer.report(job())
        delays: list[float] = []
        revisions: list[int] = []
        begun = threading.Event()

        def watch() -> None:
            for frame in client.frames(JOB.job_id):
                now = time.time()
                begun.set()
                for change in frame.changes.changes:
                    revisions.append(change.revision)
                    delays.append(now - change.change_time.ToNanoseconds() / 1e9)

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        wait_until(lambda: _listeners(postgres_server, database) == 1, "the server listens")
        assert begun.wait(10)
        connected, kills = proxy.connected, 0
        end = time.monotonic() + seconds
        for number in range(10_000):
            last = writer.report(only(granule(f"g{number}"))).position.revision
            if time.monotonic() > end - seconds + kills:
                kills += postgres_server.terminate_connections(database, LISTENING)
            if time.monotonic() > end:
                break
            time.sleep(0.04)
        wait_until(lambda: revisions[-1:] == [last], "the last change", interval + 1)
        writer.report(job(granules_complete=True, state=JobState.SUCCEEDED))
        watching.join(timeout=10)
    assert revisions[0] == 2
    assert revisions[: last - 1] == list(range(2, last + 1))
    assert kills >= seconds / 2
    assert proxy.connected - connected <= 2 * seconds
    assert max(delays) < interval + 0.5


def _listeners(server: PostgresServer, database: str) -> int:
    words = f"SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND {LISTENING}"
    return int(server.execute(words, (database,))[0][0])


def test_an_announcing_connection_that_has_died_costs_no_notification(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    database = make_url(postgres_url).database or ""
    with opened(postgres_url) as store, opened(postgres_url) as other, Ear(other.listen()) as ear:
        ear.wait_for_mode(NewsMode.NOTIFY)
        job_pk = store.report(job()).job_pk
        wait_until(lambda: ear.has(lambda news: job_pk in news.job_pks), "it is heard")
        # Two: the listener's process has one too, for its proofs.
        assert postgres_server.terminate_connections(database, ANNOUNCING) == 2
        begun = time.monotonic()
        store.report(only(granule("a")))
        wait_until(lambda: ear.has(lambda news: job_pk in news.job_pks, begun), "it is heard again", 3)


def test_switched_off_nothing_is_announced_and_nobody_listens(
    postgres_url: str, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    database = make_url(postgres_url).database or ""
    connection = psycopg2.connect(postgres_url)
    connection.autocommit = True
    connection.cursor().execute("select 1; listen jobstatus")
    with opened(postgres_url, notify=False) as store, Ear(store.listen()) as ear:
        store.report(job())
        assert ear.source.mode is NewsMode.POLL
        assert turns(caplog) == ["poll: notify is off"]
        assert _listeners(postgres_server, database) == 0
    # The store has said all it had to when it is closed.
    connection.poll()
    assert connection.notifies == []
    connection.close()
    assert ear.heard == []


def test_what_a_pooler_sends_to_a_connection_that_does_not_listen_is_not_kept(postgres_url: str) -> None:
    connection = connect(make_url(postgres_url))
    connection.autocommit = True
    cursor = connection.cursor()
    # As if somebody else's LISTEN had been made in this session.
    cursor.execute("listen jobstatus")
    cursor.execute("select pg_notify('jobstatus', '1')")
    connection.poll()
    assert len(connection.notifies) == 0
    connection.close()


def test_closing_does_not_wait_for_a_database_that_does_not_answer(proxy: Proxy) -> None:
    with opened(proxy.url) as store, Ear(store.listen()) as ear:
        ear.wait_for_mode(NewsMode.NOTIFY)
        proxy.stall()
        proxy.cut()
        ear.wait_for_mode(NewsMode.POLL)
        begun = time.monotonic()
        ear.source.close()
        assert time.monotonic() - begun < 0.5
        proxy.resume()


def test_a_process_with_thousands_of_connections_hears_too(postgres_url: str) -> None:
    needed = 1200
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2 * needed:
        pytest.skip(f"needs {2 * needed} open files")
    files = [os.dup(1) for _ in range(needed)]
    try:
        with opened(postgres_url) as store, Ear(store.listen()) as ear:
            ear.wait_for_mode(NewsMode.NOTIFY)
            job_pk = store.report(job()).job_pk
            wait_until(lambda: ear.has(lambda news: job_pk in news.job_pks), "it is heard")
    finally:
        for file in files:
            os.close(file)


class TestProof:
    def test_only_ones_own_last_word_is_a_proof(self) -> None:
        sent: list[str] = []
        proof = Proof(sent.append, 100.0)
        assert len(sent) == 1
        proof.hear({"7", "?0"}, 100.1)
        assert not proof.given
        proof.hear({"7", *sent}, 100.2)
        assert proof.given

    def test_without_an_answer_it_is_overdue_whatever_else_is_heard(self) -> None:
        proof = Proof(lambda _: None, 100.0)
        proof.hear({"7"}, 102.9)
        assert proof.demand(102.9)
        assert proof.due == 103.0
        assert not proof.demand(103.0)

    def test_every_silence_is_asked_about_with_another_word(self) -> None:
        sent: list[str] = []
        proof = Proof(sent.append, 100.0)
        proof.hear(sent, 100.5)
        assert proof.due == 105.5
        proof.hear({"7"}, 103.0)
        assert proof.demand(107.9)
        assert len(sent) == 1
        assert proof.demand(108.0)
        assert len(set(sent)) == 2
        proof.hear({sent[0]}, 109.0)
        assert not proof.demand(111.0)
        assert proof.given
