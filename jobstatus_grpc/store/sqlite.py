"""The store in an SQLite file: one writer at a time, many readers, any number of processes on one host."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import URL, ColumnElement, Connection, Engine, create_engine, event, exists, func, text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from jobstatus_grpc.model import Granule, GranuleKey, JobKey, NewsMode
from jobstatus_grpc.store import history, leases, migrations, rows, schema, trees
from jobstatus_grpc.store.base import FIRST_PAGE_GRANULES, FirstPage, Lease, News, NewsSource, StoredJob
from jobstatus_grpc.store.first_pages import MAX_DOCUMENT_BYTES
from jobstatus_grpc.store.queries import Ask, Query
from jobstatus_grpc.store.retry import milliseconds, retry
from jobstatus_grpc.store.sql import SqlJobStore
from jobstatus_grpc.store.sqlite_failures import SqliteFailures
from jobstatus_grpc.store.sqlite_files import SqliteFiles

# Asking costs some microseconds, so a commit of another process is seen at once, as people measure it.
_NEWS_INTERVAL: Final = 0.02
_BUSY_TIMEOUT: Final = 2.0

_GRANULE_NAMES: Final = [column.name for column in rows.GRANULE_COLUMNS]
_LOG_NAMES: Final = [column.name for column in rows.LOG_COLUMNS]
_JOB_NAMES: Final = ", ".join(f"job.{column.name}" for column in rows.JOB_COLUMNS)

_SELECT_ROOT: Final = text(trees.SELECT_ROOT)
# `cross join` keeps the order: without it SQLite scans the whole job once for every key.
_SELECT_GRANULES: Final = f"""
select {", ".join(f"g.{name}" for name in _GRANULE_NAMES)}, g.document, g.files
from json_each(?) as k cross join granule as g
where g.job_pk = ?
  and g.collection_id = json_extract(k.value, '$[0]') and g.granule_id = json_extract(k.value, '$[1]')
"""  # noqa: S608
_INSERT_CHANGES: Final = f"""
insert into change ({", ".join(_LOG_NAMES)}) values (?{", ?" * len(_LOG_NAMES[1:])})
"""  # noqa: S608
# What a granule is now is what its latest change says. Nothing has to come from the program twice.
_WRITE_GRANULES: Final = f"""
insert into granule (job_pk, {", ".join(_GRANULE_NAMES)})
select job_pk, {", ".join(_GRANULE_NAMES[:-2])}, change_time, revision
from change where job_pk = ? and revision >= ? and kind = {rows.GRANULE_KIND} order by revision
on conflict (job_pk, collection_id, granule_id) do update
set {", ".join(f"{name} = excluded.{name}" for name in _GRANULE_NAMES[2:])}
"""  # noqa: S608
_WRITE_DOCUMENTS: Final = """
update granule set document = ?4 where job_pk = ?1 and collection_id = ?2 and granule_id = ?3
"""
_INSERT_JOBS: Final = f"""
insert into job ({", ".join(rows.NEW_JOB_COLUMNS)}) values (?{", ?" * len(rows.NEW_JOB_COLUMNS[1:])})
"""  # noqa: S608
_UPDATE_JOB: Final = f"""
update job set {", ".join(f"{name} = ?" for name in rows.REPORTED_COLUMNS)} where job_pk = ?
"""  # noqa: S608
_SELECT_HEADS: Final = """
select job.job_pk, revision, commit_id, last_report_time
from json_each(:job_pks) as k cross join job on job.job_pk = k.value
where delete_time is null
"""
# A limit cannot come from a row here: it is that of the longest page.
_SELECT_FIRST_PAGES: Final = f"""
select k.key, json_array({_JOB_NAMES}),
    case when json_extract(k.value, '$[2]') > 0
        and min(json_extract(k.value, '$[2]'), {" + ".join(column.name for column in rows.COUNT_COLUMNS)})
            <= {FIRST_PAGE_GRANULES}
    then (
        select case when total(length(cast(g.document as blob))) <= {MAX_DOCUMENT_BYTES}
            then '[' || coalesce(group_concat(g.document), '') || ']' end
        from (
            select json_array({", ".join(_GRANULE_NAMES)}) as document
            from granule
            where granule.job_pk = job.job_pk
            order by collection_id, granule_id
            limit :most
        ) as g
    ) end as granules,
    case when job.details_bytes is not null then (
        select details from job_document where job_document.job_pk = job.job_pk
    ) end as details
from json_each(:wanted) as k cross join job
  on job.project_id = json_extract(k.value, '$[0]') and job.job_id = json_extract(k.value, '$[1]')
"""  # noqa: S608
_SELECT_JOBS: Final = f"""
select {_JOB_NAMES}
from json_each(:keys) as k cross join job
  on job.project_id = json_extract(k.value, '$[0]') and job.job_id = json_extract(k.value, '$[1]')
"""  # noqa: S608
_SELECT_HISTORY: Final = history.statement("json_array({})", "group_concat({})", "length({})", ":{}")


class SqliteJobStore(SqlJobStore):
    """A store in an SQLite file, in WAL mode, durable at every commit."""

    failures = SqliteFailures()
    files = SqliteFiles()

    def __init__(self, url: URL, read_connections: int, write_connections: int) -> None:
        self._url = url
        self._writer = threading.Lock()
        super().__init__(
            _engine(url, write_connections, begin="BEGIN IMMEDIATE"),
            _engine(url, read_connections, begin="BEGIN", query_only=True),
        )

    def prepare(self) -> None:
        """Migrate the file, if no other process has done so, and learn the store's identity."""

        def run(end: float) -> None:
            with self.writes.connect() as connection:
                raw = _driver(connection)
                raw.execute(f"PRAGMA busy_timeout = {milliseconds(end)}")
                # Changing the mode takes the file for oneself, without waiting: it is asked for only once.
                if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    raw.execute("PRAGMA journal_mode = WAL")
            # The lock of the write transaction makes one process the first; the others find its work done.
            with self.write(end) as connection:
                migrations.upgrade(connection)
                self._identity = migrations.read_identity(connection)

        retry(run, None)

    @contextmanager
    def write(self, end: float) -> Iterator[Connection]:
        with self._turn(end), self.writes.connect() as connection:
            _driver(connection).execute(f"PRAGMA busy_timeout = {milliseconds(end)}")
            with connection.begin():
                yield connection

    @contextmanager
    def write_locked(
        self, end: float, key: JobKey, parent_job_id: str | None = None
    ) -> Iterator[tuple[Connection, StoredJob | None]]:
        # The transaction locks the whole file at its beginning.
        with self.write(end) as connection:
            row = connection.execute(_SELECT_ROOT, {**key._asdict(), "parent_job_id": parent_job_id})
            root = row.one_or_none()
            yield connection, None if root is None else rows.stored_job_from_row(root)

    @contextmanager
    def _turn(self, end: float) -> Iterator[None]:
        """Let one thread at a time write: SQLite would have the others ask anew with ever longer pauses."""
        if not self._writer.acquire(timeout=max(0.0, end - time.monotonic())):
            raise PoolTimeout("other threads are writing")
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def read(self, end: float) -> Iterator[Connection]:
        with self.reads.connect() as connection:
            _driver(connection).execute(f"PRAGMA busy_timeout = {milliseconds(end)}")
            with connection.begin():
                yield connection

    @contextmanager
    def glance(self, end: float) -> Iterator[Ask]:
        with self.read(end) as connection:
            yield lambda query: connection.exec_driver_sql(query.statement, query.parameters).all()

    def read_granules(
        self, connection: Connection, job_pk: int, keys: Sequence[GranuleKey]
    ) -> tuple[int, Mapping[GranuleKey, Granule]]:
        now = time.time_ns() // 1000
        if not keys:
            return now, {}
        found = connection.exec_driver_sql(_SELECT_GRANULES, (json.dumps(keys), job_pk))
        granules = map(rows.reported_granule, found)
        return now, {granule.key: granule for granule in granules}

    def hold_lease(self, connection: Connection, lease: Lease) -> bool:
        return leases.is_held(connection, lease)

    def insert_jobs(self, connection: Connection, jobs: Sequence[rows.Row]) -> Mapping[JobKey, int]:
        # Nobody else can have done so since this transaction has looked.
        connection.exec_driver_sql(_INSERT_JOBS, list(jobs))
        named = [dict(zip(rows.NEW_JOB_COLUMNS, row, strict=True)) for row in jobs]
        keys = [JobKey(job["project_id"], job["job_id"]) for job in named]
        return {key: stored.job_pk for key, stored in self.find_jobs(connection, keys).items()}

    def write_report(
        self, connection: Connection, jobs: Sequence[rows.Row], changes: Sequence[rows.Row]
    ) -> None:
        # Tuples straight to the driver: SQLAlchemy's own inserts are three times slower here.
        connection.exec_driver_sql(_INSERT_CHANGES, changes)
        # By job, the oldest of its new changes: a later one does not replace it.
        first = {change[0]: change[1] for change in reversed(changes)}
        connection.exec_driver_sql(_WRITE_GRANULES, list(first.items()))
        connection.exec_driver_sql(_UPDATE_JOB, jobs)

    def write_granule_documents(self, connection: Connection, documents: Sequence[rows.Row]) -> None:
        connection.exec_driver_sql(_WRITE_DOCUMENTS, list(documents))

    def announce(self, job_pk: int) -> None:
        """Do nothing: other processes see the file change."""

    def listen(self) -> NewsSource:
        return SqliteNews(self._url)

    def heads_query(self, job_pks: Collection[int]) -> Query:
        return Query(_SELECT_HEADS, {"job_pks": json.dumps(list(job_pks))})

    def first_pages_query(self, wanted: Sequence[FirstPage]) -> Query:
        limits = [min(page.limit, FIRST_PAGE_GRANULES) for page in wanted]
        keys = [(*page.key, page.limit) for page in wanted]
        return Query(_SELECT_FIRST_PAGES, {"wanted": json.dumps(keys), "most": max(limits) + 1})

    def failures_query(self, job_pks: Collection[int]) -> Query:
        return self.failures.query(job_pks)

    def history_query(self, job_pk: int, revision: int, limit: int) -> Query:
        return Query(_SELECT_HISTORY, {"job_pk": job_pk, "revision": revision, "limit": limit})

    def _jobs_query(self, keys: Sequence[JobKey]) -> tuple[str, dict[str, Any]]:
        return _SELECT_JOBS, {"keys": json.dumps(keys)}

    def _has_label(self, key: str, value: str) -> ColumnElement[bool]:
        labels = func.json_each(schema.job.c.labels).table_valued("key", "value").alias()
        return exists().where(labels.c.key == key, labels.c.value == value)


class SqliteNews(NewsSource):
    """Watches the file: `data_version` moves with every commit of another connection."""

    def __init__(self, url: URL) -> None:
        self._path = url.database or ""
        self._waiting = threading.Lock()
        self._closed = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None

    @property
    def mode(self) -> NewsMode:
        return NewsMode.POLL

    def wait(self, timeout: float) -> News:
        end = time.monotonic() + timeout
        with self._waiting:
            while not self._closed.is_set():
                version = self._read_version()
                if version is not None and version != self._version:
                    self._version = version
                    return News(everything=True)
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._closed.wait(min(_NEWS_INTERVAL, left))
        return News()

    def close(self) -> None:
        self._closed.set()
        with self._waiting:
            self._disconnect()

    def _read_version(self) -> int | None:
        """Return the file's version; `None` while it cannot be read."""
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            self._disconnect()
            return None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._version = None


def _driver(connection: Connection) -> Any:
    """Return the driver's connection: what is executed there begins no transaction."""
    return connection.connection.driver_connection


def _engine(url: URL, size: int, begin: str, query_only: bool = False) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=_BUSY_TIMEOUT,
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": _BUSY_TIMEOUT},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = FULL")
        if query_only:
            connection.execute("PRAGMA query_only = ON")

    # A deferred BEGIN that writes later fails at once where it would have to wait: the driver's is not used.
    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
