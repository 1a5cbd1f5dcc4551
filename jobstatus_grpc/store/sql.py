"""The store in SQL, once for both databases; `sqlite.py` and `postgres.py` add what truly differs."""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Select, select, text

from jobstatus_grpc.errors import JobNotFound, StoreUnavailable
from jobstatus_grpc.model import (
    Granule,
    GranuleKey,
    JobKey,
    Position,
    Report,
)
from jobstatus_grpc.store import first_pages, history, lists, pages, removal, rows, schema
from jobstatus_grpc.store.base import (
    ChangeBatch,
    FirstPage,
    GranuleQuery,
    Head,
    Identity,
    JobList,
    JobPage,
    JobQuery,
    JobStore,
    NoPage,
    Pruned,
    ReportResult,
    Snapshot,
    StoredJob,
)
from jobstatus_grpc.store.queries import Ask, Query
from jobstatus_grpc.store.report import ReportTransaction
from jobstatus_grpc.store.retry import retry, translated

T = TypeVar("T")

_JOB: Final = schema.job.c


class SqlJobStore(JobStore):
    """A store in a relational database.

    Attributes:
        writes: connections whose transactions write.
        reads: connections whose transactions read one snapshot of the database.
        insert: SQLAlchemy's insert of the database's dialect, which knows ON CONFLICT.
    """

    insert: Callable[..., Any]

    def __init__(self, writes: Engine, reads: Engine) -> None:
        self.writes = writes
        self.reads = reads
        self._identity: Identity | None = None
        self._closed = threading.Event()

    @property
    def identity(self) -> Identity:
        if self._identity is None:
            raise StoreUnavailable
        return self._identity

    @abc.abstractmethod
    def write(self, end: float) -> AbstractContextManager[Connection]:
        """Open a transaction that writes, for a try that ends at `end`; commit it at the end."""

    @abc.abstractmethod
    def read(self, end: float) -> AbstractContextManager[Connection]:
        """Open a transaction that reads one snapshot of the database, for a try that ends at `end`."""

    @abc.abstractmethod
    def glance(self, end: float) -> AbstractContextManager[Ask]:
        """Open a connection for statements that read each for itself, without a transaction around them.

        A statement sees one moment of the database; the next may see a later one.
        """

    def renew(self, connection: Connection) -> None:
        """Be told that a long transaction has got on. Most databases do not mind."""

    @abc.abstractmethod
    def lock_job(self, connection: Connection, key: JobKey) -> StoredJob | None:
        """Lock the job's row, in a statement of its own, and return it as it is then."""

    @abc.abstractmethod
    def read_granules(
        self, connection: Connection, job_pk: int, keys: Sequence[GranuleKey]
    ) -> tuple[int, Mapping[GranuleKey, Granule]]:
        """Return the database's clock, and those of the granules that exist."""

    def insert_job(self, connection: Connection, values: Mapping[str, Any]) -> int | None:
        """Insert a job and return its `job_pk`; `None` if somebody else did first."""
        inserted = self.insert(schema.job).values(values).on_conflict_do_nothing().returning(_JOB.job_pk)
        return connection.execute(inserted).scalar()

    @abc.abstractmethod
    def write_report(
        self,
        connection: Connection,
        job_pk: int,
        granules: Sequence[rows.Row],
        changes: Sequence[rows.Row],
    ) -> None:
        """Write the granules, and append the changes, not empty."""

    @abc.abstractmethod
    def announce(self, job_pk: int) -> None:
        """Tell other processes, soon and from outside any transaction, that the job has changed."""

    @abc.abstractmethod
    def heads_query(self, job_pks: Collection[int]) -> Query:
        """Return the query for job_pk, revision, commit_id, last_report_time of those that are there."""

    @abc.abstractmethod
    def first_pages_query(self, wanted: Sequence[FirstPage]) -> Query:
        """Return the query for the number in `wanted`, and the job and the granules as JSON.

        Of the pages whose job is there, in any order. The job is an array of JOB_COLUMNS, the granules are
        one of rows of GRANULE_COLUMNS: one more than the page may have if there are so many, or NULL if
        they are not for reading with others'.
        """

    @abc.abstractmethod
    def _jobs_query(self, keys: Sequence[JobKey]) -> tuple[str, dict[str, Any]]:
        """Return the query for the JOB_COLUMNS of those that are there."""

    @abc.abstractmethod
    def _has_label(self, key: str, value: str) -> ColumnElement[bool]:
        """Return the condition that a job has this label."""

    def ping(self) -> None:
        self._reading(lambda connection: connection.execute(select(schema.store.c.store_id)).one(), None)

    def report(self, report: Report, deadline: float | None = None) -> ReportResult:
        transaction = ReportTransaction(self, report)
        result = self._retry(transaction.run, deadline)
        if result.changed:
            self.announce(result.job_pk)
        return result

    def delete_job(self, key: JobKey, deadline: float | None = None) -> int:
        # The retry of a delete whose commit was in doubt must not hit a job that took the ids since.
        found: int | None = None

        def run(end: float) -> int:
            nonlocal found
            with self.write(end) as connection:
                if found is None:
                    stored = self.lock_job(connection, key)
                    if stored is None:
                        raise JobNotFound(*key)
                    found = stored.job_pk
                removal.mark_deleted(connection, [found])
            return found

        job_pk = self._retry(run, deadline)
        self.announce(job_pk)
        return job_pk

    def purge(self) -> bool:
        return self._writing(removal.purge)

    def read_clock(self) -> int:
        return self._reading(lambda connection: self.read_granules(connection, 0, ())[0], None)

    def prune_changes(self, before: int, after: int = 0, limit: int = 1000) -> Pruned:
        found, last = self._reading(
            lambda connection: removal.find_jobs(connection, after, removal.has_changes_before(before), 1),
            None,
        )
        if not found:
            return Pruned(0, last)
        job_pk = found[0]
        removed = self._writing(lambda connection: removal.prune_changes(connection, job_pk, before, limit))
        # Where the limit has cut, the next step looks at the same job again.
        return Pruned(removed, job_pk - 1 if removed == limit else job_pk)

    def prune_jobs(self, before: int, after: int = 0, limit: int = 100) -> Pruned:
        found, last = self._reading(
            lambda connection: removal.find_jobs(connection, after, removal.ended_before(before), limit), None
        )
        if not found:
            return Pruned(0, last)
        removed = self._writing(lambda connection: removal.prune_jobs(connection, found, before))
        for job_pk in found:
            self.announce(job_pk)
        return Pruned(removed, last)

    def read_job(self, key: JobKey, deadline: float | None = None) -> StoredJob:
        return self._reading(lambda connection: _find_job(connection, key), deadline)

    def read_jobs(self, keys: Sequence[JobKey], deadline: float | None = None) -> Mapping[JobKey, StoredJob]:
        def run(connection: Connection) -> Mapping[JobKey, StoredJob]:
            query, parameters = self._jobs_query(keys)
            found = map(rows.stored_job_from_row, connection.execute(text(query), parameters))
            return {stored.job.key: stored for stored in found}

        return self._reading(run, deadline) if keys else {}

    def read_page(self, key: JobKey, query: GranuleQuery, deadline: float | None = None) -> JobPage:
        return self._reading(
            lambda connection: pages.read_page(connection, _find_job(connection, key), query), deadline
        )

    def read_first_pages(
        self, wanted: Sequence[FirstPage], deadline: float | None = None
    ) -> Sequence[JobPage | NoPage]:
        def run(end: float) -> Sequence[JobPage | NoPage]:
            with self.glance(end) as ask:
                return first_pages.read(ask, self, wanted)

        return self._retry(run, deadline)

    def list_jobs(self, query: JobQuery, deadline: float | None = None) -> JobList:
        labelled = [self._has_label(key, value) for key, value in query.labels.items()]
        return self._reading(lambda connection: lists.read_list(connection, query, labelled), deadline)

    def read_changes(
        self, job_pk: int, position: Position, limit: int, deadline: float | None = None
    ) -> ChangeBatch | None:
        def run(connection: Connection) -> ChangeBatch | None:
            found = connection.execute(
                rows.SELECT_JOB.where(_JOB.job_pk == job_pk, _JOB.delete_time.is_(None))
            ).one_or_none()
            if found is None:
                return None
            return history.read_changes(connection, rows.stored_job_from_row(found), position, limit)

        return self._reading(run, deadline)

    @contextmanager
    def open_snapshot(self, key: JobKey, deadline: float | None = None) -> Iterator[Snapshot]:
        def start(end: float) -> tuple[AbstractContextManager[Connection], Connection, StoredJob]:
            opening = self.read(end)
            connection = opening.__enter__()
            try:
                stored = _find_job(connection, key)
            except BaseException as error:
                opening.__exit__(type(error), error, error.__traceback__)
                raise
            return opening, connection, stored

        opening, connection, stored = self._retry(start, deadline)
        with translated(), _closing(opening):
            yield Snapshot(stored, self._snapshot_pages(connection, stored.job_pk))

    def _snapshot_pages(self, connection: Connection, job_pk: int) -> Iterator[Sequence[Granule]]:
        for page in pages.read_all(connection, job_pk):
            self.renew(connection)
            yield page

    def read_heads(self, job_pks: Collection[int]) -> Mapping[int, Head]:
        def run(end: float) -> Mapping[int, Head]:
            with self.glance(end) as ask:
                found = ask(self.heads_query(job_pks))
                return {row[0]: Head(Position(row[1], row[2]), row[3]) for row in found}

        return self._retry(run, None) if job_pks else {}

    def close(self) -> None:
        self._closed.set()
        self.writes.dispose()
        self.reads.dispose()

    def _reading(self, work: Callable[[Connection], T], deadline: float | None) -> T:
        def run(end: float) -> T:
            with self.read(end) as connection:
                return work(connection)

        return self._retry(run, deadline)

    def _writing(self, work: Callable[[Connection], T]) -> T:
        def run(end: float) -> T:
            with self.write(end) as connection:
                return work(connection)

        return self._retry(run, None)

    def _retry(self, work: Callable[[float], T], deadline: float | None) -> T:
        # Nothing can be asked of a database that is not known to have the schema.
        if self._identity is None:
            raise StoreUnavailable
        return retry(work, deadline)


@contextmanager
def _closing(opening: AbstractContextManager[Connection]) -> Iterator[None]:
    """End a transaction that was entered by hand."""
    try:
        yield
    except BaseException as error:
        opening.__exit__(type(error), error, error.__traceback__)
        raise
    opening.__exit__(None, None, None)


def job_by_key(key: JobKey) -> Select[Any]:
    """Return the query for a job's row."""
    return rows.SELECT_JOB.where(_JOB.project_id == key.project_id, _JOB.job_id == key.job_id)


def _find_job(connection: Connection, key: JobKey) -> StoredJob:
    row = connection.execute(job_by_key(key)).one_or_none()
    if row is None:
        raise JobNotFound(*key)
    return rows.stored_job_from_row(row)
