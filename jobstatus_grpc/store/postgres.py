"""The store in PostgreSQL 14 or newer, through psycopg2; also behind PgBouncer in transaction mode."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from sqlalchemy import URL, ColumnElement, Connection, Engine, create_engine, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert

from jobstatus_grpc.model import Granule, GranuleKey, JobKey
from jobstatus_grpc.store import migrations, rows, schema
from jobstatus_grpc.store.base import FIRST_PAGE_GRANULES, FirstPage, NewsSource, StoredJob
from jobstatus_grpc.store.first_pages import MAX_DOCUMENT_BYTES
from jobstatus_grpc.store.postgres_announcer import Announcer
from jobstatus_grpc.store.postgres_connection import connect
from jobstatus_grpc.store.postgres_news import PostgresNews, Silence
from jobstatus_grpc.store.queries import Ask, Query
from jobstatus_grpc.store.retry import milliseconds, retry
from jobstatus_grpc.store.sql import SqlJobStore, job_by_key
from jobstatus_grpc.store.watchdog import Watchdog

_POOL_TIMEOUT: Final = 2.0
# Set for each transaction, since behind a pooler the session is shared. A client that stops in the middle of
# one gives its locks back.
_WRITE_LIMITS: Final = (
    "set local lock_timeout = {lock}; set local statement_timeout = {statement}; "
    "set local idle_in_transaction_session_timeout = 10000; "
)
_READ_LIMITS: Final = (
    "set local statement_timeout = {statement}; set local idle_in_transaction_session_timeout = 60000"
)

# What a transaction may take beyond the end of the trying, in seconds, before its connection is given up.
_GRACE: Final = 2.0
_PAGE_LIMIT: Final = 5.0

_GRANULE_NAMES: Final = [column.name for column in rows.GRANULE_COLUMNS]
_CHANGE_NAMES: Final = [column.name for column in rows.CHANGE_COLUMNS]
_JOB_NAMES: Final = ", ".join(f"job.{column.name}" for column in rows.JOB_COLUMNS)


def _unnest(prefix: str, columns: Iterable[rows.TypedColumn]) -> str:
    return ", ".join(f"cast(:{prefix}_{column.name} as {column.type}[])" for column in columns)


# One statement for the clock and the granules, after the one that took the lock. The clock is there even if
# no granule is.
_SELECT_GRANULES: Final = text(f"""
select c.now, {", ".join(f"g.{name}" for name in _GRANULE_NAMES)}
from (select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as now) as c
left join (
    select g.*
    from unnest(cast(:collection_ids as text[]), cast(:granule_ids as text[])) as k(collection_id, granule_id)
    join granule as g
      on g.job_pk = :job_pk and g.collection_id = k.collection_id and g.granule_id = k.granule_id
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
# With its own limit in the same message, which is a transaction of its own: one way to the server and back,
# where BEGIN, SET and COMMIT would be three more.
_GLANCE_LIMIT: Final = "set local statement_timeout = %(statement_timeout)s; "
_SELECT_HEADS: Final = f"""
{_GLANCE_LIMIT}
select job_pk, revision, commit_id, last_report_time
from job
where job_pk = any(cast(%(job_pks)s as bigint[])) and delete_time is null
"""  # noqa: S608
# The limit keeps the planner from joining by a scan of all jobs: the unique index, once for each key.
_SELECT_JOBS: Final = f"""
select j.*
from unnest(cast(:project_ids as text[]), cast(:job_ids as text[])) as k(project_id, job_id)
cross join lateral (
    select {_JOB_NAMES}
    from job
    where job.project_id = k.project_id and job.job_id = k.job_id
    limit 1
) as j
"""  # noqa: S608
# A job and its granules come as two texts: as columns and rows they cost the process that asks three times as
# much. A text that is too long stays in the database.
_SELECT_FIRST_PAGES: Final = f"""
{_GLANCE_LIMIT}
select k.number - 1, j.document, j.granules
from unnest(cast(%(project_ids)s as text[]), cast(%(job_ids)s as text[]), cast(%(limits)s as integer[]))
    with ordinality as k(project_id, job_id, page_limit, number)
cross join lateral (
    select cast(json_build_array({_JOB_NAMES}) as text) as document,
        case when k.page_limit > 0
            and least(k.page_limit, {" + ".join(column.name for column in rows.COUNT_COLUMNS)})
                <= {FIRST_PAGE_GRANULES}
        then (
            select case when coalesce(sum(octet_length(g.document)), 0) <= {MAX_DOCUMENT_BYTES}
                then '[' || coalesce(string_agg(g.document, ','), '') || ']' end
            from (
                select cast(json_build_array({", ".join(_GRANULE_NAMES)}) as text) as document
                from granule
                where granule.job_pk = job.job_pk
                order by collection_id, granule_id
                limit least(k.page_limit, {FIRST_PAGE_GRANULES}) + 1
            ) as g
        ) end as granules
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
        self._glances = engine(url, read_connections, "AUTOCOMMIT")
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
    def glance(self, end: float) -> Iterator[Ask]:
        with self._guarded(self._glances, end) as connection:

            def ask(query: Query) -> Sequence[rows.Row]:
                limit = {"statement_timeout": milliseconds(end)}
                return connection.exec_driver_sql(query.statement, {**query.parameters, **limit}).all()

            yield ask

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
        self._glances.dispose()
        self._watchdog.close()

    def heads_query(self, job_pks: Collection[int]) -> Query:
        return Query(_SELECT_HEADS, {"job_pks": array_literal(job_pks)})

    def first_pages_query(self, wanted: Sequence[FirstPage]) -> Query:
        return Query(
            _SELECT_FIRST_PAGES,
            {
                "project_ids": array_literal(page.key.project_id for page in wanted),
                "job_ids": array_literal(page.key.job_id for page in wanted),
                "limits": array_literal(page.limit for page in wanted),
            },
        )

    def _jobs_query(self, keys: Sequence[JobKey]) -> tuple[str, dict[str, Any]]:
        return _SELECT_JOBS, {
            "project_ids": array_literal(key.project_id for key in keys),
            "job_ids": array_literal(key.job_id for key in keys),
        }

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
