"""Several sources of one ORCA database: one of them works, whatever becomes of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from bringing import JOB, SourceCommand, states
from moments import wait_until
from orca import STAGED, SUCCESS, OrcaDatabase, orca_granules
from postgres import PostgresServer
from stored import connected, opened

from jobstatus_grpc.errors import StoreUnavailable
from jobstatus_grpc.store.sql import SqlJobStore


@pytest.fixture
def orca(postgres_server: PostgresServer) -> Iterator[OrcaDatabase]:
    database = OrcaDatabase(postgres_server)
    yield database
    database.close()


@contextmanager
def started(url: str, orca: OrcaDatabase) -> Iterator[SourceCommand]:
    source = SourceCommand(url, orca)
    try:
        yield source
    finally:
        if source.process.poll() is None:
            source.kill()


def test_nobody_takes_over_before_the_last_report_has_ended(postgres_url: str) -> None:
    with opened(postgres_url) as one, opened(postgres_url) as other:
        assert isinstance(one, SqlJobStore)
        lease = one.take_lease("orca", 0)
        assert lease is not None
        with one.write(time.monotonic() + 5) as connection:
            assert one.hold_lease(connection, lease)
            with pytest.raises(StoreUnavailable):
                other.take_lease("orca", 30)
        assert other.take_lease("orca", 30) is not None
        with one.write(time.monotonic() + 5) as connection:
            assert not one.hold_lease(connection, lease)


def test_an_owner_that_stops_in_the_middle_of_a_transaction_holds_nobody_up(
    postgres_url: str, orca: OrcaDatabase
) -> None:
    (one,) = orca_granules("job", 1, 1)
    with (
        orca.writer() as writer,
        opened(postgres_url) as store,
        connected(postgres_url) as connection,
        ExitStack() as sources,
    ):
        writer.create(one)
        first = sources.enter_context(started(postgres_url, orca))
        wait_until(lambda: bool(states(store)), "it is there")
        second = sources.enter_context(started(postgres_url, orca))
        reading = "select count(*) from pg_stat_activity where application_name = 'jobstatus source'"
        wait_until(lambda: connection.exec_driver_sql(reading).scalar() == 2, "another one waits")
        connection.exec_driver_sql("begin; select 1 from job for update")
        writer.update(one, "f-0", STAGED)
        waiting = "select count(*) from pg_locks where not granted"
        wait_until(lambda: connection.exec_driver_sql(waiting).scalar() == 1, "the owner writes")
        first.kill(signal.SIGSTOP)
        connection.exec_driver_sql("commit")
        wait_until(lambda: states(store) == {"g-00000": ("STAGED", 1)}, "it has taken over", 10)
        writer.update(one, "f-0", SUCCESS)
        wait_until(lambda: states(store) == {"g-00000": ("SUCCEEDED", 1)}, "it goes on")
        first.process.send_signal(signal.SIGCONT)
        wait_until(lambda: store.read_job(JOB).job.granules_complete, "it is complete")
        for source in (first, second):
            source.kill(signal.SIGTERM)
            assert source.process.returncode == 0
        assert states(store) == {"g-00000": ("SUCCEEDED", 1)}
