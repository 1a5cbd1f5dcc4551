"""The store in PostgreSQL 14 or newer, through psycopg2; also behind PgBouncer in transaction mode."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    text,
    tuple_,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from jobstatus_grpc.model import Granule, GranuleKey, JobKey
from jobstatus_grpc.store import history, leases, migrations, rows, schema, trees
from jobstatus_grpc.store.base import FIRST_PAGE_GRANULES, FirstPage, Lease, NewsSource, StoredJob
from jobstatus_grpc.store.first_pages import MAX_DOCUMENT_BYTES
from jobstatus_grpc.store.postgres_announcer import Announcer
from jobstatus_grpc.store.postgres_arrays import array_literal
from jobstatus_grpc.store.postgres_connection import connect
from jobstatus_grpc.store.postgres_failures import PostgresFailures
from jobstatus_grpc.store.postgres_files import PostgresFiles
from jobstatus_grpc.store.postgres_news import PostgresNews, Silence
from jobstatus_grpc.store.queries import Ask, Query
from jobstatus_grpc.store.retry import BUDGET, milliseconds, retry
from jobstatus_grpc.store.sql import SqlJobStore
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
# What a transaction may take beyond the end of the trying, in seconds, before its connection is given up.
_GRACE: Final = 2.0
# Set for each transaction, since behind a pooler the session is shared. A client that stops in the middle of
# one gives its locks back as soon as nobody who is at work could still hold them.
_BEGIN: Final = f"""
begin isolation level read committed;
set local lock_timeout = :lock_timeout;
set local statement_timeout = :statement_timeout;
set local idle_in_transaction_session_timeout = {round((BUDGET + _GRACE) * 1000)};
{_BY_INDEX};
"""
_BEGIN_READ: Final = (
    "begin isolation level repeatable read read only; set local statement_timeout = {statement}; "
    f"set local idle_in_transaction_session_timeout = 60000; {_BY_INDEX}"
)

_PAGE_LIMIT: Final = 5.0

_GRANULE_NAMES: Final = [column.name for column in rows.GRANULE_COLUMNS]
_LOG_NAMES: Final = [column.name for column in rows.LOG_COLUMNS]
_JOB_NAMES: Final = ", ".join(f"job.{column.name}" for column in rows.JOB_COLUMNS)


def _type(name: str) -> str:
    """Return the type of a column of `job`, without its collation."""
    column_type = schema.job.c[name].type.dialect_impl(postgresql.dialect())  # type: ignore[no-untyped-call]
    return str(column_type.compile(postgresql.dialect())).partition(" ")[0]  # type: ignore[no-untyped-call]


_BEGIN_WRITE: Final = text(_BEGIN)
# One round trip, yet statements of their own: each sees what was committed before it.
_BEGIN_LOCKED: Final = text(f"{_BEGIN}{trees.SELECT_ROOT} for update")
# One statement for the clock and the granules, after the one that took the lock. The clock is there even if
# no granule is. The limit keeps the planner from reading the whole job: the key's index, once for each key.
_SELECT_GRANULES: Final = text(f"""
select c.now, {", ".join(f"g.{name}" for name in _GRANULE_NAMES)}, g.document, g.files
from (select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as now) as c
left join (
    unnest(cast(:collection_ids as text[]), cast(:granule_ids as text[])) as k(collection_id, granule_id)
    cross join lateral (
        select {", ".join(_GRANULE_NAMES)}, document, files
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
# By the key's index, once for each key, as above. Where a row is does not change under the root's lock.
_WRITE_DOCUMENTS: Final = text(f"""
update granule set document = k.document
from unnest({", ".join(f"cast(:{name} as {type_}[])" for name, type_ in rows.DOCUMENT_COLUMNS)})
    as k(job_pk, collection_id, granule_id, document)
cross join lateral (
    select g.ctid
    from granule as g
    where g.job_pk = k.job_pk and g.collection_id = k.collection_id and g.granule_id = k.granule_id
    limit 1
) as place
where granule.ctid = place.ctid
""")  # noqa: S608
_INSERT_JOBS: Final = text(f"""
insert into job ({", ".join(rows.NEW_JOB_COLUMNS)})
select * from unnest({", ".join(f"cast(:{name} as {_type(name)}[])" for name in rows.NEW_JOB_COLUMNS)})
on conflict do nothing
returning project_id, job_id, job_pk
""")  # noqa: S608
_TOLD_NAMES: Final = (*rows.REPORTED_COLUMNS, "job_pk")
_WRITE_JOBS: Final = text(f"""
update job set {", ".join(f"{name} = told.{name}" for name in rows.REPORTED_COLUMNS)}
from unnest({", ".join(f"cast(:{name} as {_type(name)}[])" for name in _TOLD_NAMES)})
    as told({", ".join(_TOLD_NAMES)})
where job.job_pk = told.job_pk
""")  # noqa: S608
# With its own limit in the same message, which is a transaction of its own: one way to the server and back,
# where BEGIN, SET and COMMIT would be three more.
_GLANCE_LIMIT: Final = f"set local statement_timeout = %(statement_timeout)s; {_BY_INDEX}; "
_SELECT_HEADS: Final = f"""
{_GLANCE_LIMIT}
select job_pk, revision, commit_id, last_report_time
from job
where job_pk = any(cast(%(job_pks)s as bigint[])) and delete_time is null
"""  # noqa: S608
# By the unique index, once for each key, for the same reason.
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
select k.number - 1, j.document, j.granules, j.details
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
        ) end as granules,
        case when job.details_bytes is not null then (
            select details from job_document where job_document.job_pk = job.job_pk
        ) end as details
    from job
    where job.project_id = k.project_id and job.job_id = k.job_id
    limit 1
) as j
"""  # noqa: S608
_SELECT_HISTORY: Final = _GLANCE_LIMIT + history.statement(
    "cast(json_build_array({}) as text)", "string_agg({}, ',')", "octet_length({})", "%({})s"
)


class PostgresJobStore(SqlJobStore):
    """A store in a PostgreSQL database that `upgrade` has prepared."""

    failures = PostgresFailures()
    files = PostgresFiles()

    def __init__(self, url: URL, read_connections: int, write_connections: int, notify: bool = True) -> None:
        super().__init__(engine(url, write_connections), engine(url, read_connections))
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
        with self._committed(self.writes, end) as connection:
            connection.execute(_BEGIN_WRITE, _timeouts(end))
            yield connection

    @contextmanager
    def write_locked(
        self, end: float, key: JobKey, parent_job_id: str | None = None
    ) -> Iterator[tuple[Connection, StoredJob | None]]:
        named = {**key._asdict(), "parent_job_id": parent_job_id}
        with self._committed(self.writes, end) as connection:
            row = connection.execute(_BEGIN_LOCKED, {**_timeouts(end), **named}).one_or_none()
            yield connection, None if row is None else rows.stored_job_from_row(row)

    @contextmanager
    def _committed(self, pool: Engine, end: float) -> Iterator[Connection]:
        """Lend a connection, and end the transaction that is begun on it: the driver begins and ends none."""
        with self._guarded(pool, end) as connection:
            try:
                yield connection
                connection.exec_driver_sql("commit")
            except BaseException:
                _roll_back(connection)
                raise

    @contextmanager
    def read(self, end: float) -> Iterator[Connection]:
        with self._committed(self.reads, end) as connection:
            connection.exec_driver_sql(_BEGIN_READ.format(statement=milliseconds(end)))
            yield connection

    @contextmanager
    def glance(self, end: float) -> Iterator[Ask]:
        with self._guarded(self.reads, end) as connection:

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
        granules = [rows.reported_granule(row[1:]) for row in found if row[1] is not None]
        return found[0][0], {granule.key: granule for granule in granules}

    def hold_lease(self, connection: Connection, lease: Lease) -> bool:
        return leases.is_held(connection, lease, leases.SHARED)

    def insert_jobs(self, connection: Connection, jobs: Sequence[rows.Row]) -> Mapping[JobKey, int]:
        columns = zip(rows.NEW_JOB_COLUMNS, zip(*jobs, strict=True), strict=True)
        inserted = connection.execute(_INSERT_JOBS, {name: array_literal(values) for name, values in columns})
        return {JobKey(row[0], row[1]): row[2] for row in inserted}

    def write_report(
        self, connection: Connection, jobs: Sequence[rows.Row], changes: Sequence[rows.Row]
    ) -> None:
        columns = dict(zip(_LOG_NAMES, zip(*changes, strict=True), strict=True))
        keys = zip(columns["job_pk"], columns["collection_id"], columns["granule_id"], strict=True)
        last = {key: index for index, key in enumerate(keys)}
        latest = set(last.values())
        parameters = dict(zip(_TOLD_NAMES, jobs[0], strict=True))
        parameters |= {f"log_{name}": array_literal(values) for name, values in columns.items()}
        parameters["latest"] = array_literal(index in latest for index in range(len(changes)))
        connection.execute(_WRITE_REPORT, parameters)
        if len(jobs) > 1:
            others = zip(_TOLD_NAMES, zip(*jobs[1:], strict=True), strict=True)
            connection.execute(_WRITE_JOBS, {name: array_literal(values) for name, values in others})

    def write_granule_documents(self, connection: Connection, documents: Sequence[rows.Row]) -> None:
        columns = zip(rows.DOCUMENT_COLUMNS, zip(*documents, strict=True), strict=True)
        parameters = {column.name: array_literal(values) for column, values in columns}
        connection.execute(_WRITE_DOCUMENTS, parameters)

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

    def failures_query(self, job_pks: Collection[int]) -> Query:
        query = self.failures.query(job_pks)
        return Query(_GLANCE_LIMIT + query.statement, query.parameters)

    def history_query(self, job_pk: int, revision: int, limit: int) -> Query:
        return Query(_SELECT_HISTORY, {"job_pk": job_pk, "revision": revision, "limit": limit})

    def _jobs_query(self, keys: Sequence[JobKey]) -> tuple[str, dict[str, Any]]:
        return _SELECT_JOBS, {
            "project_ids": array_literal(key.project_id for key in keys),
            "job_ids": array_literal(key.job_id for key in keys),
        }

    def _newest(
        self, chosen: Select[Any], column: ColumnElement[Any], value: str | int, first: int, end: int
    ) -> Select[Any]:
        # A range of the index, and in its order: by the column alone the planner may go through all jobs in
        # the order of their keys, which is worth it only until another project is busy.
        key = tuple_(column, schema.job.c.job_pk)
        jobs = chosen.where(tuple_(value, first) <= key, tuple_(value, end) > key)
        return jobs.order_by(column.desc(), schema.job.c.job_pk.desc())

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


def engine(url: URL, size: int, isolation: str = "AUTOCOMMIT") -> Engine:
    """Return an engine with `size` connections at most.

    By itself its driver begins no transactions: with BEGIN and its limits in one message they take one way
    to the server and back less.
    """
    return create_engine(
        "postgresql+psycopg2://",
        creator=partial(connect, url),
        isolation_level=isolation,
        pool_size=size,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT,
        pool_use_lifo=True,
        hide_parameters=True,
    )
