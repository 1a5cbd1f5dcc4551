"""The store in PostgreSQL 14 or newer, through psycopg2; also behind PgBouncer in transaction mode."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Select,
    create_engine,
    event,
    text,
    tuple_,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert

from jobstatus_grpc.model import Granule, GranuleKey, JobKey
from jobstatus_grpc.store import migrations, rows, schema
from jobstatus_grpc.store.base import NewsSource, StoredJob
from jobstatus_grpc.store.postgres_announcer import Announcer
from jobstatus_grpc.store.postgres_connection import connect
from jobstatus_grpc.store.postgres_news import PostgresNews, Silence
from jobstatus_grpc.store.retry import milliseconds, retry
from jobstatus_grpc.store.sql import SqlJobStore, job_by_key
from jobstatus_grpc.store.watchdog import Watchdog

_POOL_TIMEOUT: Final = 2.0
# Every statement has an index to go by, and whatever is wanted in an order is in that of an index. Left to
# itself the planner takes another way where its statistics are old, or none were made yet: it reads all of a
# job, or of a project, and sorts it, once for every page. What it then thinks to be expensive it would
# compile, too, which takes longer than to execute it.
_BY_INDEX: Final = (
    "set local enable_seqscan = off; set local enable_sort = off; set local enable_incremental_sort = off; "
    "set local jit = off"
)
# Set for each transaction, since behind a pooler the session is shared. A client that stops in the middle of
# one gives its locks back.
_WRITE_LIMITS: Final = (
    "set local lock_timeout = {lock}; set local statement_timeout = {statement}; "
    f"set local idle_in_transaction_session_timeout = 10000; {_BY_INDEX}"
)
_READ_LIMITS: Final = (
    "set local statement_timeout = {statement}; "
    f"set local idle_in_transaction_session_timeout = 60000; {_BY_INDEX}"
)

# What a transaction may take beyond the end of the trying, in seconds, before its connection is given up.
_GRACE: Final = 2.0
_PAGE_LIMIT: Final = 5.0

_GRANULE_NAMES: Final = [column.name for column in rows.GRANULE_COLUMNS]
_CHANGE_NAMES: Final = [column.name for column in rows.CHANGE_COLUMNS]

_LIST_KEY: Final = tuple_(schema.job.c.project_id, schema.job.c.job_pk)


def _unnest(prefix: str, columns: Iterable[rows.TypedColumn]) -> str:
    return ", ".join(f"cast(:{prefix}_{column.name} as {column.type}[])" for column in columns)


# One statement for the clock and the granules, after the one that took the lock. The clock is there even if
# no granule is. The limit keeps the planner from joining by a scan of the whole job: the primary key, once
# for each granule.
_SELECT_GRANULES: Final = text(f"""
select c.now, {", ".join(f"g.{name}" for name in _GRANULE_NAMES)}
from (select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as now) as c
left join (
    select g.*
    from unnest(cast(:collection_ids as text[]), cast(:granule_ids as text[])) as k(collection_id, granule_id)
    cross join lateral (
        select *
        from granule as g
        where g.job_pk = :job_pk and g.collection_id = k.collection_id and g.granule_id = k.granule_id
        limit 1
    ) as g
) as g on true
""")  # noqa: S608
# Granules and changes in one round trip. Arrays travel as one literal each, which costs a fraction of what
# psycopg2's lists do.
_WRITE_REPORT: Final = text(f"""
with written as (
    insert into granule (job_pk, {", ".join(_GRANULE_NAMES)})
    select :job_pk, * from unnest({_unnest("g", rows.GRANULE_COLUMNS)})
    on conflict (job_pk, collection_id, granule_id) do update
    set {", ".join(f"{name} = excluded.{name}" for name in _GRANULE_NAMES[2:])}
)
insert into change (job_pk, {", ".join(_CHANGE_NAMES)})
select :job_pk, * from unnest({_unnest("c", rows.CHANGE_COLUMNS)})
""")  # noqa: S608
_SELECT_HEADS: Final = """
select job_pk, revision, commit_id, last_report_time
from job
where job_pk = any(cast(:job_pks as bigint[])) and delete_time is null
"""
# By the unique index, once for each key, for the same reason.
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
            engine(url, write_connections, "READ COMMITTED"),
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
        with self._guarded(self.writes, end) as connection, connection.begin():
            lock, statement = milliseconds(end), milliseconds(end + _GRACE)
            connection.exec_driver_sql(_WRITE_LIMITS.format(lock=lock, statement=statement))
            yield connection

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

    def lock_job(self, connection: Connection, key: JobKey) -> StoredJob | None:
        row = connection.execute(job_by_key(key).with_for_update()).one_or_none()
        return None if row is None else rows.stored_job_from_row(row)

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
        granules: Sequence[rows.Row],
        changes: Sequence[rows.Row],
    ) -> None:
        parameters = {
            "job_pk": job_pk,
            **_array_parameters("g", rows.GRANULE_COLUMNS, granules),
            **_array_parameters("c", rows.CHANGE_COLUMNS, changes),
        }
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

    def _newest(self, chosen: Select[Any], project_id: str, first: int, end: int) -> Select[Any]:
        # A range of the index, and in its order: by the project alone the planner may go through the jobs of
        # all projects in the order of their keys, which is worth it only until another project is busy.
        jobs = chosen.where(tuple_(project_id, first) <= _LIST_KEY, tuple_(project_id, end) > _LIST_KEY)
        return jobs.order_by(schema.job.c.project_id.desc(), schema.job.c.job_pk.desc())

    def _has_label(self, key: str, value: str) -> ColumnElement[bool]:
        labels = schema.job.c.labels.cast(postgresql.JSONB)
        has_label: ColumnElement[bool] = labels[key].astext == value
        return has_label.self_group()


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


def array_literal(values: Iterable[str | int | None]) -> str:
    """Return the values as the text of a PostgreSQL array."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(int(value))


def _array_parameters(
    prefix: str, columns: Sequence[rows.TypedColumn], values: Sequence[rows.Row]
) -> dict[str, str]:
    """Return one array literal for each column."""
    by_column = zip(*values, strict=True) if values else [()] * len(columns)
    return {
        f"{prefix}_{column.name}": array_literal(column_values)
        for column, column_values in zip(columns, by_column, strict=True)
    }
