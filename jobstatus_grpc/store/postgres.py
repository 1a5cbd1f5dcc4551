"""The store in PostgreSQL 14 or newer, through psycopg2; also behind PgBouncer in transaction mode."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from sqlalchemy import URL, ColumnElement, Connection, Engine, create_engine, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from jobstatus_grpc.model import Granule, GranuleKey, JobKey
from jobstatus_grpc.store import migrations, rows, schema
from jobstatus_grpc.store.base import NewsSource, StoredJob
from jobstatus_grpc.store.postgres_announcer import Announcer
from jobstatus_grpc.store.postgres_arrays import array_literal
from jobstatus_grpc.store.postgres_connection import connect
from jobstatus_grpc.store.postgres_news import PostgresNews, Silence
from jobstatus_grpc.store.retry import milliseconds, retry
from jobstatus_grpc.store.sql import SqlJobStore
from jobstatus_grpc.store.watchdog import Watchdog

_POOL_TIMEOUT: Final = 2.0
# Set for each transaction, since behind a pooler the session is shared. A client that stops in the middle of
# one gives its locks back.
_BEGIN: Final = """
begin isolation level read committed;
set local lock_timeout = :lock_timeout;
set local statement_timeout = :statement_timeout;
set local idle_in_transaction_session_timeout = 10000;
"""
_READ_LIMITS: Final = (
    "set local statement_timeout = {statement}; set local idle_in_transaction_session_timeout = 60000"
)

# What a transaction may take beyond the end of the trying, in seconds, before its connection is given up.
_GRACE: Final = 2.0
_PAGE_LIMIT: Final = 5.0

_GRANULE_NAMES: Final = [column.name for column in rows.GRANULE_COLUMNS]
_LOG_NAMES: Final = [column.name for column in rows.LOG_COLUMNS]

_BEGIN_WRITE: Final = text(_BEGIN)
# One round trip, yet statements of their own: each sees what was committed before it.
_BEGIN_LOCKED: Final = text(f"{_BEGIN} {rows.SELECT_JOB_BY_KEY} for update")
# One statement for the clock and the granules, after the one that took the lock. The clock is there even if
# no granule is. The limit keeps the planner from reading the whole job: the key's index, once for each key.
_SELECT_GRANULES: Final = text(f"""
select c.now, {", ".join(f"g.{name}" for name in _GRANULE_NAMES)}
from (select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as now) as c
left join (
    unnest(cast(:collection_ids as text[]), cast(:granule_ids as text[])) as k(collection_id, granule_id)
    cross join lateral (
        select {", ".join(_GRANULE_NAMES)}
        from granule
        where granule.job_pk = :job_pk
          and granule.collection_id = k.collection_id and granule.granule_id = k.granule_id
        limit 1
    ) as g
) on true
""")  # noqa: S608
# History, granules and job in one round trip. What a granule is now is what its latest change says.
_WRITE_REPORT: Final = text(f"""
with logged as materialized (
    select
        {", ".join(f"unnest(cast(:log_{name} as {type_}[])) as {name}" for name, type_ in rows.LOG_COLUMNS)},
        unnest(cast(:latest as boolean[])) as latest
), written as (
    insert into granule (job_pk, {", ".join(_GRANULE_NAMES)})
    select job_pk, {", ".join(_GRANULE_NAMES[:-2])}, change_time, revision
    from logged where kind = {rows.GRANULE_KIND} and latest
    on conflict (job_pk, collection_id, granule_id) do update
    set {", ".join(f"{name} = excluded.{name}" for name in _GRANULE_NAMES[2:])}
), told as (
    update job set {", ".join(f"{name} = :{name}" for name in rows.REPORTED_COLUMNS)} where job_pk = :job_pk
)
insert into change ({", ".join(_LOG_NAMES)})
select {", ".join(_LOG_NAMES)} from logged
""")  # noqa: S608
_SELECT_HEADS: Final = """
select job_pk, revision, commit_id, last_report_time
from job
where job_pk = any(cast(:job_pks as bigint[])) and delete_time is null
"""
# The limit keeps the planner from joining by a scan of all jobs: the unique index, once for each key.
_SELECT_JOBS: Final = f"""
select j.*
from unnest(cast(:project_ids as text[]), cast(:job_ids as text[])) as k(project_id, job_id)
cross join lateral (
    select {", ".join(f"job.{column.name}" for column in rows.JOB_COLUMNS)}
    from job
    where job.project_id = k.project_id and job.job_id = k.job_id
    limit 1
) as j
"""  # noqa: S608


class PostgresJobStore(SqlJobStore):
    """A store in a PostgreSQL database that `upgrade` has prepared."""

    insert = staticmethod(insert)

    def __init__(self, url: URL, read_connections: int, write_connections: int, notify: bool = True) -> None:
        super().__init__(
            engine(url, write_connections, "AUTOCOMMIT"),
            engine(url, read_connections, "REPEATABLE READ", read_only=True),
        )
        self._url = url
        self._watchdog = Watchdog()
        self._notify = notify
        self._announcer = Announcer(url, self._watchdog)

    def prepare(self) -> None:
        def run(end: float) -> None:
            with self.read(end) as connection:
                migrations.check(connection)
                self._identity = migrations.read_identity(connection)

        retry(run, None)

    @contextmanager
    def write(self, end: float) -> Iterator[Connection]:
        with self._committed(end) as connection:
            connection.execute(_BEGIN_WRITE, _timeouts(end))
            yield connection

    @contextmanager
    def write_locked(self, end: float, key: JobKey) -> Iterator[tuple[Connection, StoredJob | None]]:
        with self._committed(end) as connection:
            row = connection.execute(_BEGIN_LOCKED, {**_timeouts(end), **key._asdict()}).one_or_none()
            yield connection, None if row is None else rows.stored_job_from_row(row)

    @contextmanager
    def _committed(self, end: float) -> Iterator[Connection]:
        """Lend a connection, and end the transaction that is begun on it: the driver begins and ends none."""
        with self._guarded(self.writes, end) as connection:
            try:
                yield connection
                connection.exec_driver_sql("commit")
            except BaseException:
                _roll_back(connection)
                raise

    @contextmanager
    def read(self, end: float) -> Iterator[Connection]:
        with self._guarded(self.reads, end) as connection, connection.begin():
            connection.exec_driver_sql(_READ_LIMITS.format(statement=milliseconds(end)))
            yield connection

    @contextmanager
    def _guarded(self, pool: Engine, end: float) -> Iterator[Connection]:
        limit = end + _GRACE - time.monotonic()
        with pool.connect() as connection, self._watchdog.guard(_driver(connection), limit):
            yield connection

    def renew(self, connection: Connection) -> None:
        self._watchdog.renew(_driver(connection), _PAGE_LIMIT)

    def read_granules(
        self, connection: Connection, job_pk: int, keys: Sequence[GranuleKey]
    ) -> tuple[int, Mapping[GranuleKey, Granule]]:
        found = connection.execute(
            _SELECT_GRANULES,
            {
                "job_pk": job_pk,
                "collection_ids": array_literal(key.collection_id for key in keys),
                "granule_ids": array_literal(key.granule_id for key in keys),
            },
        ).all()
        granules = [rows.granule_from_row(row[1:]) for row in found if row[1] is not None]
        return found[0][0], {granule.key: granule for granule in granules}

    def write_report(
        self,
        connection: Connection,
        job_pk: int,
        job: rows.Row,
        changes: Sequence[rows.Row],
    ) -> None:
        columns = dict(zip(_LOG_NAMES, zip(*changes, strict=True), strict=True))
        keys = zip(columns["collection_id"], columns["granule_id"], strict=True)
        revisions = columns["revision"]
        latest = set(dict(zip(keys, revisions, strict=True)).values())
        parameters = dict(zip(rows.REPORTED_COLUMNS, job, strict=True))
        parameters |= {f"log_{name}": array_literal(values) for name, values in columns.items()}
        parameters["latest"] = array_literal(revision in latest for revision in revisions)
        parameters["job_pk"] = job_pk
        connection.execute(_WRITE_REPORT, parameters)

    def announce(self, job_pk: int) -> None:
        if self._notify:
            self._announcer.announce(job_pk)

    def listen(self) -> NewsSource:
        if not self._notify:
            return Silence()
        return PostgresNews(self._url, self._announcer, self._watchdog)

    def close(self) -> None:
        self._announcer.close()
        super().close()
        self._watchdog.close()

    def _heads_query(self, job_pks: Collection[int]) -> tuple[str, dict[str, Any]]:
        return _SELECT_HEADS, {"job_pks": array_literal(job_pks)}

    def _jobs_query(self, keys: Sequence[JobKey]) -> tuple[str, dict[str, Any]]:
        return _SELECT_JOBS, {
            "project_ids": array_literal(key.project_id for key in keys),
            "job_ids": array_literal(key.job_id for key in keys),
        }

    def _has_label(self, key: str, value: str) -> ColumnElement[bool]:
        labels = schema.job.c.labels.cast(postgresql.JSONB)
        has_label: ColumnElement[bool] = labels[key].astext == value
        return has_label.self_group()


def _timeouts(end: float) -> dict[str, int]:
    return {"lock_timeout": milliseconds(end), "statement_timeout": milliseconds(end + _GRACE)}


def _roll_back(connection: Connection) -> None:
    """End a transaction that has failed; if that fails too, the connection takes it along."""
    if not connection.invalidated:
        try:
            connection.exec_driver_sql("rollback")
        except DBAPIError:
            connection.invalidate()


def _driver(connection: Connection) -> Any:
    """Return psycopg2's connection."""
    return connection.connection.driver_connection


def engine(url: URL, size: int, isolation: str, read_only: bool = False) -> Engine:
    """Return an engine whose transactions have this isolation level, with `size` connections at most."""
    made = create_engine(
        "postgresql+psycopg2://",
        creator=partial(connect, url),
        isolation_level=isolation,
        pool_size=size,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT,
        pool_use_lifo=True,
        hide_parameters=True,
    )
    if read_only:

        @event.listens_for(made, "connect")
        def set_read_only(connection: Any, _: object) -> None:
            connection.set_session(readonly=True)

    return made
