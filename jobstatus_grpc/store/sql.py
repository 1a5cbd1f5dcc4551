"""The store in SQL, once for both databases; `sqlite.py` and `postgres.py` add what truly differs."""

from __future__ import annotations

import abc
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Select, select, text, update

from jobstatus_grpc.digest import Failures
from jobstatus_grpc.errors import JobNotFound, JobStatusError, NotARoot, StoreUnavailable
from jobstatus_grpc.model import (
    Granule,
    GranuleKey,
    JobKey,
    Position,
    Report,
    WholeJob,
)
from jobstatus_grpc.store import (
    documents,
    files,
    first_pages,
    history,
    lists,
    pages,
    removal,
    rows,
    schema,
    trees,
    values,
)
from jobstatus_grpc.store.base import (
    ChangeBatch,
    FirstPage,
    GranuleQuery,
    Head,
    Identity,
    JobList,
    JobPage,
    JobQuery,
    Lease,
    NoPage,
    Pruned,
    ReportOutcome,
    ReportResult,
    Snapshot,
    StoredGranule,
    StoredJob,
)
from jobstatus_grpc.store.failures import FailureTables, failures_from_row
from jobstatus_grpc.store.files import FileTables
from jobstatus_grpc.store.leases import LeasingStore
from jobstatus_grpc.store.queries import Ask, Query
from jobstatus_grpc.store.report import ReportTransaction
from jobstatus_grpc.store.retry import ending, retry, translated

T = TypeVar("T")

_log = logging.getLogger(__name__)

_JOB: Final = schema.job.c


class SqlJobStore(LeasingStore):
    """A store in a relational database.

    Attributes:
        writes: connections whose transactions write.
        reads: connections whose transactions read one snapshot of the database.
        failures: the tables of failures.
        files: the tables of files.
    """

    failures: FailureTables
    files: FileTables

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
    def write_locked(
        self, end: float, key: JobKey, parent_job_id: str | None = None
    ) -> AbstractContextManager[tuple[Connection, StoredJob | None]]:
        """Open a transaction as `write` does, lock the root of a job's tree, and return it as it is then.

        The lock is taken by a statement of its own. Where there is no such job, it is the root of the parent
        told of it; where there is none either, nothing is locked.
        """

    @abc.abstractmethod
    def insert_jobs(self, connection: Connection, jobs: Sequence[rows.Row]) -> Mapping[JobKey, int]:
        """Insert jobs, not empty, and return their rows; without those that somebody else did first.

        Args:
            connection: in a transaction that writes.
            jobs: of NEW_JOB_COLUMNS.
        """

    def find_jobs(self, connection: Connection, keys: Collection[JobKey]) -> Mapping[JobKey, StoredJob]:
        """Return those of the jobs that exist."""
        query, parameters = self._jobs_query(list(keys))
        found = map(rows.stored_job_from_row, connection.execute(text(query), parameters))
        return {stored.job.key: stored for stored in found}

    @abc.abstractmethod
    def write_report(
        self, connection: Connection, jobs: Sequence[rows.Row], changes: Sequence[rows.Row]
    ) -> None:
        """Append to the histories of a tree's jobs, and write the jobs and their granules.

        In a fixed number of statements, whatever the number of granules.

        Args:
            connection: in a transaction that holds the root's lock.
            jobs: of REPORTED_COLUMNS, and the `job_pk`; not empty.
            changes: of LOG_COLUMNS, oldest first; not empty. A granule is written as its last one says.
        """

    @abc.abstractmethod
    def write_granule_documents(self, connection: Connection, documents: Sequence[rows.Row]) -> None:
        """Write the documents of granules that are there already, in one statement.

        Args:
            connection: in a transaction that holds the root's lock.
            documents: of DOCUMENT_COLUMNS, no granule twice; not empty.
        """

    def write_report_time(self, connection: Connection, job_pks: Sequence[int], now: int) -> None:
        """Set when jobs were last reported."""
        connection.execute(update(schema.job).where(_JOB.job_pk.in_(job_pks)).values(last_report_time=now))

    def read_commit_id(self, connection: Connection, job_pk: int, revision: int) -> int | None:
        """Return which transaction made a revision of a job; `None` if none has."""
        change = schema.change.c
        query = select(change.commit_id).where(change.job_pk == job_pk, change.revision == revision)
        return connection.scalar(query)

    @abc.abstractmethod
    def announce(self, job_pk: int) -> None:
        """Tell other processes, soon and from outside any transaction, that the job has changed."""

    @abc.abstractmethod
    def heads_query(self, job_pks: Collection[int]) -> Query:
        """Return the query for job_pk, revision, commit_id, last_report_time of those that are there."""

    @abc.abstractmethod
    def first_pages_query(self, wanted: Sequence[FirstPage]) -> Query:
        """Return the query for the number in `wanted`, and the job, the granules and the details as JSON.

        Of the pages whose job is there, in any order. The job is an array of JOB_COLUMNS, the granules are
        one of rows of GRANULE_COLUMNS: one more than the page may have if there are so many, or NULL if
        they are not for reading with others'. The details are as their column has them.
        """

    @abc.abstractmethod
    def failures_query(self, job_pks: Collection[int]) -> Query:
        """Return the query for the failures of jobs, as `FailureTables.query` does, for a glance."""

    @abc.abstractmethod
    def history_query(self, job_pk: int, revision: int, limit: int) -> Query:
        """Return the query for the job, its `change_floor`, and so many of its changes from a revision on.

        As `history.statement` writes it: all in one row, of one moment, and none for a job that is deleted.
        """

    @abc.abstractmethod
    def _jobs_query(self, keys: Sequence[JobKey]) -> tuple[str, dict[str, Any]]:
        """Return the query for the JOB_COLUMNS of those that are there."""

    @abc.abstractmethod
    def _has_label(self, key: str, value: str) -> ColumnElement[bool]:
        """Return the condition that a job has this label."""

    def _newest(
        self, chosen: Select[Any], column: ColumnElement[Any], value: str | int, first: int, end: int
    ) -> Select[Any]:
        """Restrict a selection to jobs whose column has a value, `first` to before `end`, newest first."""
        jobs = chosen.where(column == value, _JOB.job_pk >= first, _JOB.job_pk < end)
        return jobs.order_by(_JOB.job_pk.desc())

    def ping(self) -> None:
        self._reading(lambda connection: connection.execute(select(schema.store.c.store_id)).one(), None)

    def report(
        self, report: Report, deadline: float | None = None, lease: Lease | None = None
    ) -> ReportResult:
        (outcome,) = self.report_all([report], deadline, lease)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def report_all(
        self, reports: Sequence[Report], deadline: float | None = None, lease: Lease | None = None
    ) -> Sequence[ReportOutcome]:
        transaction = ReportTransaction(self, reports, lease)
        try:
            outcomes = self._retry(transaction.run, deadline)
        except JobStatusError:
            raise
        except Exception as error:
            if transaction.in_doubt:
                raise
            if len(reports) == 1:
                return [error]
            # One of them must be to blame, and the others are not to suffer for it.
            _log.exception("reports cannot be written together, and are written one by one")
            return [outcome for report in reports for outcome in self.report_all([report], deadline, lease)]
        results = [each for each in outcomes if isinstance(each, ReportResult)]
        for job_pk in {job_pk for each in results for job_pk in each.grown.values()}:
            self.announce(job_pk)
        left_out = [report for report, outcome in zip(reports, outcomes, strict=True) if outcome is None]
        others = iter(self.report_all(left_out, deadline, lease) if left_out else ())
        return [next(others) if outcome is None else outcome for outcome in outcomes]

    def delete_job(self, key: JobKey, deadline: float | None = None) -> int:
        # The retry of a delete whose commit was in doubt must not hit a job that took the ids since.
        found: int | None = None
        deleted: Collection[int] = ()

        def run(end: float) -> int:
            nonlocal found, deleted
            with self.write_locked(end, key) as (connection, root):
                if found is None:
                    if root is None:
                        raise JobNotFound(*key)
                    if root.job.key != key:
                        raise NotARoot(*key, root.job.job_id)
                    found = root.job_pk
                deleted = removal.mark_deleted(connection, [found]) or deleted
            return found

        root_pk = self._retry(run, deadline)
        for job_pk in deleted:
            self.announce(job_pk)
        return root_pk

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

    def read_tree(self, key: JobKey, deadline: float | None = None) -> tuple[StoredJob, Sequence[WholeJob]]:
        def run(connection: Connection) -> tuple[StoredJob, Sequence[WholeJob]]:
            stored = _find_job(connection, key)
            return stored, trees.read_sub_jobs(connection, stored)

        return self._reading(run, deadline)

    def read_jobs(self, keys: Sequence[JobKey], deadline: float | None = None) -> Mapping[JobKey, StoredJob]:
        return self._reading(lambda connection: self.find_jobs(connection, keys), deadline) if keys else {}

    def read_page(self, key: JobKey, query: GranuleQuery, deadline: float | None = None) -> JobPage:
        return self._reading(
            lambda connection: pages.read_page(connection, _find_job(connection, key), query, self), deadline
        )

    def read_granule(self, key: JobKey, granule: GranuleKey, deadline: float | None = None) -> StoredGranule:
        return self._reading(lambda connection: files.read_granule(connection, key, granule), deadline)

    def read_files(self, key: JobKey, after: values.FilePlace) -> values.FilePage:
        return self._reading(lambda connection: files.read_page(connection, key, after), None)

    def read_first_pages(
        self, wanted: Sequence[FirstPage], deadline: float | None = None
    ) -> Sequence[JobPage | NoPage]:
        def run(end: float) -> Sequence[JobPage | NoPage]:
            with self.glance(end) as ask:
                return first_pages.read(ask, self, wanted)

        return self._retry(run, deadline)

    def list_jobs(self, query: JobQuery, deadline: float | None = None) -> JobList:
        labelled = [self._has_label(key, value) for key, value in query.labels.items()]

        def run(connection: Connection) -> JobList:
            parent_pk = None
            if query.parent_job_id:
                parent_pk = _find_job(connection, JobKey(query.project_id, query.parent_job_id)).job_pk
            return lists.read_list(connection, query, parent_pk, labelled, self._newest)

        return self._reading(run, deadline)

    def read_changes(
        self, job_pk: int, position: Position, limit: int, deadline: float | None = None
    ) -> ChangeBatch | None:
        def run(end: float) -> ChangeBatch | None:
            with self.glance(end) as ask:
                return history.read_changes(ask, self, job_pk, position, limit)

        return self._retry(run, deadline)

    def open_snapshot(self, key: JobKey, deadline: float | None = None) -> AbstractContextManager[Snapshot]:
        def run(connection: Connection) -> Snapshot:
            stored = _find_job(connection, key)
            parts = trees.read_sub_jobs(connection, stored)
            return Snapshot(stored, self._pages(connection, stored.job_pk), parts)

        return self._holding(run, deadline)

    def open_whole(self, key: JobKey, deadline: float | None = None) -> AbstractContextManager[WholeJob]:
        def run(connection: Connection) -> WholeJob:
            granules = partial(self._pages, connection, with_documents=True)
            return documents.read_whole(connection, _find_job(connection, key), granules)

        return self._holding(run, deadline)

    @contextmanager
    def _holding(self, work: Callable[[Connection], T], deadline: float | None) -> Iterator[T]:
        """Do as `_reading` does, and go on with the transaction for as long as the context lasts."""

        def start(end: float) -> tuple[AbstractContextManager[Connection], T]:
            opening = self.read(end)
            connection = opening.__enter__()
            try:
                return opening, work(connection)
            except BaseException as error:
                opening.__exit__(type(error), error, error.__traceback__)
                raise

        opening, opened = self._retry(start, deadline)
        with translated(), ending(opening):
            yield opened

    def _pages(
        self, connection: Connection, job_pk: int, *, with_documents: bool = False
    ) -> Iterator[Sequence[Granule]]:
        for page in pages.read_all(connection, job_pk, with_documents=with_documents):
            self.renew(connection)
            yield page

    def read_heads(self, job_pks: Collection[int]) -> Mapping[int, Head]:
        def run(end: float) -> Mapping[int, Head]:
            with self.glance(end) as ask:
                found = ask(self.heads_query(job_pks))
                return {row[0]: Head(Position(row[1], row[2]), row[3]) for row in found}

        return self._retry(run, None) if job_pks else {}

    def read_failures(self, job_pks: Collection[int]) -> Mapping[int, Failures]:
        def run(end: float) -> Mapping[int, Failures]:
            with self.glance(end) as ask:
                return {row[0]: failures_from_row(row) for row in ask(self.failures_query(job_pks))}

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


def job_by_key(key: JobKey) -> Select[Any]:
    """Return the query for a job's row."""
    return rows.SELECT_JOB.where(_JOB.project_id == key.project_id, _JOB.job_id == key.job_id)


def _find_job(connection: Connection, key: JobKey) -> StoredJob:
    row = connection.execute(job_by_key(key)).one_or_none()
    if row is None:
        raise JobNotFound(*key)
    return rows.stored_job_from_row(row)
