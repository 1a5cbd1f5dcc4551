"""Several servers on one database: what one of them takes, the watchers of the others are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
from moments import wait_until
from postgres import LISTENING, MUTE, PostgresServer
from processes import ServerProcess
from reporting import PENDING, STAGED, SUCCEEDED, granules, names, read_table
from sqlalchemy import make_url
from stored import run
from watching import RawStream, Watcher

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

# Far longer than any test waits: whatever arrives was not found by looking at everything now and then.
NEVER = {"poll_interval": "600"}


@contextmanager
def overhearing(url: str) -> Iterator[Callable[[], int]]:
    """Listen too; the function returns how many notifications there have been."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute("listen jobstatus")

        def heard() -> int:
            connection.poll()
            return len(connection.notifies)

        yield heard


def listening(server: PostgresServer, url: str, number: int) -> Callable[[], bool]:
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND {LISTENING}"
    return lambda: server.execute(query, (make_url(url).database,))[0][0] == number


@pytest.mark.session
def test_what_one_server_takes_reaches_the_watchers_of_another_without_polling(database_url: str) -> None:
    with (
        ServerProcess(database_url, **NEVER) as one,
        ServerProcess(database_url, **NEVER) as other,
        JobStatusClient(one.address) as client,
        JobStatusClient(other.address) as reader,
    ):
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(100)))
        assert len(read_table(reader, "j")) == 100
        with Watcher(other.address, "j") as watcher:
            watcher.wait_for(lambda folded: folded.whole, "the snapshot")
            watcher.wait_for_heartbeat()
            # One by one, each waited for; then in bursts, of which the last must not be lost either.
            for name in names(20):
                result = client.report_granules("j", granules(STAGED, name))
                watcher.wait_for_revision(result.revision, 5)
            for burst in range(1, 9):
                for name in names(10 * burst):
                    result = client.report_granules("j", granules(STAGED, name, message=f"in burst {burst}"))
                watcher.wait_for_revision(result.revision, 5)
            assert watcher.folded.granules == read_table(reader, "j")
            assert not watcher.breaks
            with RawStream(other.address, "j") as stream:
                stream.read_kind("snapshot")
                client.report_job(pb.Job(job_id="j", state=pb.JOB_STATE_SUCCEEDED))
                begun = time.monotonic()
                assert stream.rest() == ["changes", "completed"]
                assert time.monotonic() - begun < 5
            watcher.wait_for(lambda folded: folded.completed is not None, "the end", 5)
        client.report_job(pb.Job(job_id="j", state=pb.JOB_STATE_RUNNING, attempt=2))
        with Watcher(other.address, "j") as watcher:
            watcher.wait_for(lambda folded: folded.whole, "the snapshot")
            client.delete("j")
            assert watcher.wait_for_failure(5).reason == "JOB_DELETED"


def test_where_no_notification_arrives_polling_alone_brings_everything(postgres_url: str) -> None:
    run(postgres_url, MUTE)
    with (
        ServerProcess(postgres_url) as one,
        ServerProcess(postgres_url) as other,
        JobStatusClient(one.address) as client,
        JobStatusClient(other.address) as reader,
        overhearing(postgres_url) as notifications,
    ):
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(40)))
        reader.get("j")
        with Watcher(other.address, "j") as watcher:
            watcher.wait_for(lambda folded: folded.whole, "the snapshot")
            for number in range(2):
                for name in names(40)[10 * number : 10 * number + 10]:
                    result = client.report_granules("j", granules(SUCCEEDED, name))
                watcher.wait_for_revision(result.revision, 10)
            assert watcher.folded.granules == read_table(reader, "j")
            deaf = watcher.wait_for_heartbeat()
        assert deaf.lag.ToMicroseconds() < 2_000_000
        assert notifications() == 0
        with Watcher(other.address, "j") as watcher:
            watcher.wait_for_heartbeat()
            client.delete("j")
            assert watcher.wait_for_failure(10).reason == "JOB_DELETED"


def test_a_listener_that_is_cut_off_again_and_again_misses_nothing(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    database = make_url(postgres_url).database or ""
    with (
        ServerProcess(postgres_url, **NEVER) as one,
        ServerProcess(postgres_url, **NEVER) as other,
        JobStatusClient(one.address) as client,
        JobStatusClient(other.address) as reader,
    ):
        client.report_job(pb.Job(job_id="j"))
        reader.get("j")
        with Watcher(other.address, "j") as watcher:
            watcher.wait_for(lambda folded: folded.whole, "the snapshot")
            for name in names(6):
                wait_until(listening(postgres_server, postgres_url, 2), "both servers listen")
                assert postgres_server.terminate_connections(database, LISTENING) == 2
                # Told to nobody, or to a listener that is just back: it is found all the same.
                result = client.report_granules("j", granules(PENDING, name))
                watcher.wait_for_revision(result.revision, 10)
            assert watcher.folded.granules == read_table(reader, "j")
            assert not watcher.breaks
