"""What sections are measured on: a PostgreSQL server, databases, servers, and how large everything is."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields
from types import TracebackType
from typing import Self
from uuid import uuid4

import psycopg2
from observed import OBSERVED
from postgres import PostgresServer
from processes import ServerProcess

from bench.figures import Findings
from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.store import upgrade

Key = tuple[str, str]

ROUNDS = 3

_FILL = """
with job as (
    update job set revision = %(count)s + 1, pending_count = %(count)s
    where project_id = %(project)s and job_id = %(job)s and revision = 1
    returning *
), logged as (
    insert into change (job_pk, revision, commit_id, change_time, kind, collection_id, granule_id, state,
        attempt, unspecified_count, pending_count, staged_count, succeeded_count, failed_count)
    select job_pk, revision, commit_id, update_time, 1, 'tiles', 'granule-' || lpad(%(count)s::text, 8, '0'),
        1, 1, 0, %(count)s, 0, 0, 0
    from job
)
insert into granule (job_pk, collection_id, granule_id, state, attempt, request_time, update_time, revision)
select job_pk, 'tiles', 'granule-' || lpad(number::text, 8, '0'), 1, 1, update_time, update_time, number + 1
from job cross join generate_series(1, %(count)s) as number
"""


class Stage:
    """Where a run takes place. Use it as a context manager.

    Args:
        scale: how large it is; 1 is what the goals are for.
        findings: takes the figures.
    """

    def __init__(self, scale: float, findings: Findings) -> None:
        self.scale = scale
        self.findings = findings
        self._postgres = PostgresServer(os.environ.get("TEST_POSTGRES_URL"))
        self._databases: list[str] = []

    def __enter__(self) -> Self:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        self._postgres.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._databases:
            self._postgres.drop_database(name)
        self._postgres.close()

    def seconds(self, full: float) -> float:
        """Return how long to measure what takes so long at full scale; nothing is learnt from a moment."""
        return max(min(full, 2.0), full * self.scale)

    def number(self, full: int, least: int) -> int:
        """Return how many there are where at full scale there are so many."""
        return min(full, max(least, round(full * self.scale)))

    def database(self) -> str:
        """Return the URL of a new database, empty and up to date."""
        name = f"jobstatus_bench_{uuid4().hex}"
        self._postgres.create_database(name)
        self._databases.append(name)
        url = self._postgres.url(name)
        upgrade(url)
        return url

    def fill(self, url: str, key: Key, granules: int) -> None:
        """Give a job that has just been reported so many granules, past the store."""
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(_FILL, {"project": key[0], "job": key[1], "count": granules})
                cursor.execute("vacuum analyze granule")


class BenchedServer(ServerProcess):
    """A server as a user starts it, and its process."""

    def __init__(self, database_url: str, **settings: str) -> None:
        super().__init__(database_url, log_level="error", **settings)


class ObservedServer(BenchedServer):
    """A server that tells how many tasks it has."""

    command = OBSERVED


def keys(projects: int, jobs: int) -> Sequence[Key]:
    """Return the ids of so many jobs, evenly over projects."""
    return [(f"project-{number % projects}", f"job-{number}") for number in range(jobs)]


def knows_setting(name: str) -> bool:
    """Return whether a server can be told so, in this version."""
    return name in {field.name for field in fields(ServerConfig)}
