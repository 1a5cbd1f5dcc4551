"""A database that crashes, loses connections, gives none, holds locks, or tells no news."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import psycopg2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from moments import wait_until
from postgres import LISTENING, PostgresServer
from proxy import Proxy
from sqlalchemy import make_url

from faults.fleet import Fleet
from faults.recordings import Came, Refused
from faults.trials import Trial
from jobstatus import v1 as pb


def broken_streams(run: Trial) -> int:
    """Return how many streams broke that were open."""
    return sum(back.open for back in run.backs)


def refusals(run: Trial) -> list[Refused]:
    return [event for events in run.recording.values() for event in events if isinstance(event, Refused)]


def heartbeats(run: Trial) -> Iterator[pb.Heartbeat]:
    """Yield all heartbeats that came."""
    for events in run.recording.values():
        for event in events:
            if isinstance(event, Came):
                frame = pb.WatchJobResponse.FromString(event.frame)
                if frame.HasField("heartbeat"):
                    yield frame.heartbeat


def is_serving(address: str, service: str = "") -> bool:
    with grpc.insecure_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@contextmanager
def transaction(url: str, *statements: str) -> Iterator[None]:
    """Have a transaction of somebody else's last as long as the block."""
    with closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        yield
        connection.rollback()


def test_a_database_that_crashes_ends_no_stream_and_is_found_again_in_seconds(
    fleet: Fleet, postgres_server: PostgresServer, trial: Callable[..., Trial]
) -> None:
    with trial("PostgreSQL stopped at once, 3 times, for 3 s", fleet) as run:
        run.flow()
        with run.fault(least=50):
            for _ in range(3):
                postgres_server.stop("immediate")
                wait_until(lambda: not any(map(is_serving, fleet.addresses)), "no server is ready", 5)
                assert all(is_serving(address, "liveness") for address in fleet.addresses)
                time.sleep(2)
                postgres_server.start()
                wait_until(lambda: all(map(is_serving, fleet.addresses)), "all are ready again", 5)
                run.flow(20)
        run.flow()
    assert broken_streams(run) == 0
    assert max(beat.lag.ToMicroseconds() for beat in heartbeats(run)) > 1e6
    assert max(event.seconds for event in refusals(run)) < 6


def test_ears_that_are_cut_off_each_second_miss_nothing(
    fleet: Fleet, postgres_server: PostgresServer, trial: Callable[..., Trial]
) -> None:
    database = make_url(fleet.database_url).database or ""
    with trial("listeners terminated, each second, 10 times", fleet) as run:
        run.flow()
        cut = 0
        with run.fault(least=200):
            for _ in range(10):
                cut += postgres_server.terminate_connections(database, LISTENING)
                time.sleep(1)
        run.flow()
    # At least each time one, and at most all: who has just been cut off comes back with a pause.
    assert 10 <= cut <= 30
    assert broken_streams(run) == 0


def test_connections_that_are_all_cut_off_each_second_end_no_stream(
    fleet: Fleet, postgres_server: PostgresServer, trial: Callable[..., Trial]
) -> None:
    database = make_url(fleet.database_url).database or ""
    with trial("all connections terminated, each second, 5 times", fleet) as run:
        run.flow()
        with run.fault(least=100):
            for _ in range(5):
                assert postgres_server.terminate_connections(database) > 3
                time.sleep(1)
        run.flow()
    assert broken_streams(run) == 0


def test_news_that_nobody_hears_are_polled_for_until_they_are_heard_again(
    postgres_url: str, postgres_server: PostgresServer, tmp_path: Path, trial: Callable[..., Trial]
) -> None:
    with Proxy(postgres_url) as proxy, Fleet(proxy.url, tmp_path, postgres=postgres_server) as fleet:
        with trial("NOTIFY never delivered", fleet) as run:
            run.flow()
            with run.fault(least=200):
                proxy.deafen()
                time.sleep(10)
                proxy.mend()
            run.flow()
        modes = {beat.news_mode for beat in heartbeats(run)}
        assert modes == {pb.NEWS_MODE_NOTIFY, pb.NEWS_MODE_POLL}
        assert broken_streams(run) == 0


def test_a_job_whose_row_somebody_holds_waits_and_the_others_do_not(
    fleet: Fleet, trial: Callable[..., Trial]
) -> None:
    with trial("one job's row held by somebody else, 8 s", fleet) as run:
        run.flow()
        project, job = run.keys[0]
        hold = f"SELECT 1 FROM job WHERE project_id = '{project}' AND job_id = '{job}' FOR UPDATE"
        with run.fault(least=200), transaction(fleet.database_url, hold):
            time.sleep(8)
        run.flow()
    refused = refusals(run)
    assert {(event.failure.code, event.failure.reason) for event in refused} == {
        ("UNAVAILABLE", "STORE_UNAVAILABLE")
    }
    assert max(event.seconds for event in refused) < 6
    assert broken_streams(run) == 0


def test_pools_whose_every_connection_waits_are_given_back_and_keep_streams_alive(
    fleet: Fleet, trial: Callable[..., Trial]
) -> None:
    with trial("pools exhausted: all reads and writes wait, 8 s", fleet) as run:
        run.flow()
        lock = "LOCK TABLE job, granule, change IN ACCESS EXCLUSIVE MODE"
        with run.fault(least=0), transaction(fleet.database_url, lock):
            time.sleep(8)
        run.flow()
    assert broken_streams(run) == 0
    assert {event.failure.code for event in refusals(run)} <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


def test_a_database_that_takes_no_more_connections_is_waited_for(
    fleet: Fleet, postgres_server: PostgresServer, trial: Callable[..., Trial]
) -> None:
    database = make_url(fleet.database_url).database or ""
    allow = f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS '
    with trial("PostgreSQL ends all connections, takes none, 5 s", fleet) as run:
        run.flow()
        with run.fault(least=0):
            # To a client the same as a server that has too many: refused as soon as it connects.
            postgres_server.execute(allow + "false")
            assert postgres_server.terminate_connections(database) > 3
            time.sleep(5)
            postgres_server.execute(allow + "true")
        run.flow()
    assert broken_streams(run) == 0
